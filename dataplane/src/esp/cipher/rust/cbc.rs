//! AES-CBC (RFC 3602) or no encryption (RFC 2410), with an HMAC over the result.

use aes::cipher::consts::U16;
use aes::cipher::{
    Array, BlockCipherDecrypt, BlockCipherEncrypt, BlockModeDecrypt, BlockModeEncrypt, BlockSizeUser,
    InnerIvInit,
};
use aes::{Aes128, Aes256};
use cbc::{Decryptor, Encryptor};

use super::super::expand;
use super::super::job::{OpenJob, SealJob};
use super::hmac::KeyedHmac;
use crate::esp::key::KeyMaterial;
use crate::esp::key_memory::{OutOfMemory, Slot};
use crate::esp::suite::{Encryption, HEADER_LEN, Integrity};

/// A block, or an IV.
type Block = Array<u8, U16>;

/// A cipher that authenticates nothing, and the HMAC that does.
#[derive(Clone)]
pub(super) struct EncryptThenMac {
    cipher: BlockCipher,
    mac: KeyedHmac,
    icv_len: usize,
}

#[derive(Clone)]
enum BlockCipher {
    Null,
    Aes128(Slot<Aes128>),
    Aes256(Slot<Aes256>),
}

impl EncryptThenMac {
    pub(super) fn new(integrity: Integrity, keys: &KeyMaterial) -> Result<Self, OutOfMemory> {
        let key = keys.encryption();
        let cipher = match keys.suite().encryption() {
            Encryption::AesCbc128 => BlockCipher::Aes128(Slot::new(expand(key))?),
            Encryption::AesCbc256 => BlockCipher::Aes256(Slot::new(expand(key))?),
            _ => BlockCipher::Null,
        };
        Ok(Self { cipher, mac: KeyedHmac::new(integrity, keys)?, icv_len: keys.suite().icv_len() })
    }

    pub(super) fn seal(&self, job: &mut SealJob<'_>) -> bool {
        let Some((packet, icv)) = split_icv(job.esp, self.icv_len) else { return false };
        let encrypted = match &self.cipher {
            BlockCipher::Null => true,
            BlockCipher::Aes128(cipher) => encrypt(&**cipher, packet),
            BlockCipher::Aes256(cipher) => encrypt(&**cipher, packet),
        };
        if encrypted {
            self.mac.sign(packet, job.sequence_high, icv);
        }
        encrypted
    }

    pub(super) fn open(&self, job: &mut OpenJob<'_>) -> bool {
        let Some((packet, icv)) = split_icv(job.esp, self.icv_len) else { return false };
        if !self.mac.verify(packet, job.sequence_high, icv) {
            return false;
        }
        match &self.cipher {
            BlockCipher::Null => true,
            BlockCipher::Aes128(cipher) => decrypt(&**cipher, packet),
            BlockCipher::Aes256(cipher) => decrypt(&**cipher, packet),
        }
    }

    #[inline(always)]
    pub(super) fn fetch(&self) {
        self.mac.fetch();
        match &self.cipher {
            BlockCipher::Null => {}
            BlockCipher::Aes128(cipher) => cipher.fetch::<3>(0),
            BlockCipher::Aes256(cipher) => cipher.fetch::<4>(0),
        }
    }
}

fn split_icv(esp: &mut [u8], icv_len: usize) -> Option<(&mut [u8], &mut [u8])> {
    let at = esp.len().checked_sub(icv_len)?;
    esp.split_at_mut_checked(at)
}

/// IV and payload in whole blocks.
#[inline(always)]
fn blocks(packet: &mut [u8]) -> Option<(Block, &mut [Block])> {
    let (iv, payload) = packet.get_mut(HEADER_LEN..)?.split_first_chunk_mut()?;
    let (blocks, rest) = Array::slice_as_chunks_mut(payload);
    rest.is_empty().then_some((Array(*iv), blocks))
}

#[inline(always)]
fn encrypt<C>(cipher: &C, packet: &mut [u8]) -> bool
where
    C: BlockCipherEncrypt + BlockSizeUser<BlockSize = U16>,
{
    let Some((iv, blocks)) = blocks(packet) else { return false };
    Encryptor::inner_iv_init(cipher, &iv).encrypt_blocks(blocks);
    true
}

#[inline(always)]
fn decrypt<C>(cipher: &C, packet: &mut [u8]) -> bool
where
    C: BlockCipherDecrypt + BlockSizeUser<BlockSize = U16>,
{
    let Some((iv, blocks)) = blocks(packet) else { return false };
    Decryptor::inner_iv_init(cipher, &iv).decrypt_blocks(blocks);
    true
}
