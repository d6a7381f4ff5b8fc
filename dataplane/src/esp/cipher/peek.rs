//! A look at the first bytes of a payload that nobody has authenticated yet.
//!
//! Only to choose the core that will open the packet, by the inner flow: a forged packet lands on some core
//! and dies there. Has a key of its own, the same for every backend: a look needs no engine, and the
//! backends' keys stay theirs.

use aes::cipher::consts::{U16, U32};
use aes::cipher::{
    Array, BlockCipherDecrypt, BlockCipherEncrypt, BlockSizeUser, KeyIvInit, StreamCipher, StreamCipherSeek,
};
use aes::{Aes128Dec, Aes128Enc, Aes256Dec, Aes256Enc};
use chacha20::ChaCha20;

use super::expand;
use crate::esp::key::KeyMaterial;
use crate::esp::key_memory::{OutOfMemory, Slot};
use crate::esp::suite::{Encryption, HEADER_LEN, Suite};

/// Bytes of a look: four blocks of AES, one of ChaCha20.
const LOOK_LEN: usize = 64;
/// Bytes of a block of AES.
const BLOCK_LEN: usize = 16;

/// A key, and the salt that begins its nonces.
struct Salted<K> {
    salt: [u8; 4],
    key: K,
}

/// What it takes to look.
#[derive(Clone)]
pub(super) struct Peek(Expanded);

#[derive(Clone)]
enum Expanded {
    Null,
    Gcm128(Slot<Salted<Aes128Enc>>),
    Gcm256(Slot<Salted<Aes256Enc>>),
    ChaCha(Slot<Salted<Array<u8, U32>>>),
    Cbc128(Slot<Aes128Dec>),
    Cbc256(Slot<Aes256Dec>),
}

impl Peek {
    pub(super) fn new(keys: &KeyMaterial) -> Result<Self, OutOfMemory> {
        let salt = keys.salt();
        let key = keys.encryption();
        Ok(Self(match keys.suite().encryption() {
            Encryption::Null => Expanded::Null,
            Encryption::AesGcm128 => Expanded::Gcm128(Slot::new(Salted { salt, key: expand(key) })?),
            Encryption::AesGcm256 => Expanded::Gcm256(Slot::new(Salted { salt, key: expand(key) })?),
            Encryption::ChaCha20Poly1305 => {
                let mut copy = Array::default();
                copy.copy_from_slice(key);
                Expanded::ChaCha(Slot::new(Salted { salt, key: copy })?)
            }
            Encryption::AesCbc128 => Expanded::Cbc128(Slot::new(expand(key))?),
            Encryption::AesCbc256 => Expanded::Cbc256(Slot::new(expand(key))?),
        }))
    }

    /// The first bytes of the payload of `esp`, at most [`LOOK_LEN`]; empty when there is none.
    pub(super) fn look<'b>(&self, suite: Suite, esp: &[u8], out: &'b mut [u8; LOOK_LEN]) -> &'b [u8] {
        let payload_at = HEADER_LEN + suite.iv_len();
        let payload_end = esp.len().saturating_sub(suite.icv_len());
        let (Some(iv), Some(payload)) = (esp.get(HEADER_LEN..payload_at), esp.get(payload_at..payload_end))
        else {
            return &[];
        };
        let len = payload.len().min(LOOK_LEN);
        out[..len].copy_from_slice(&payload[..len]);
        let in_place = &mut *out;
        match &self.0 {
            Expanded::Null => {}
            Expanded::Gcm128(salted) => count(&salted.key, salted.salt, iv, in_place),
            Expanded::Gcm256(salted) => count(&salted.key, salted.salt, iv, in_place),
            Expanded::ChaCha(salted) => chacha(salted, iv, in_place),
            Expanded::Cbc128(key) => unchain(&**key, iv, in_place),
            Expanded::Cbc256(key) => unchain(&**key, iv, in_place),
        }
        &out[..len]
    }
}

fn nonce(salt: [u8; 4], iv: &[u8]) -> [u8; 12] {
    let mut nonce = [0; 12];
    nonce[..4].copy_from_slice(&salt);
    nonce[4..].copy_from_slice(iv);
    nonce
}

/// Counter mode as in GCM: the payload begins with counter 2 (SP 800-38D section 7.1).
fn count<C>(cipher: &C, salt: [u8; 4], iv: &[u8], text: &mut [u8; LOOK_LEN])
where
    C: BlockCipherEncrypt + BlockSizeUser<BlockSize = U16>,
{
    let mut blocks = [Array::<u8, U16>::default(); LOOK_LEN / BLOCK_LEN];
    for (block, counter) in blocks.iter_mut().zip(2_u32..) {
        block[..12].copy_from_slice(&nonce(salt, iv));
        block[12..].copy_from_slice(&counter.to_be_bytes());
    }
    cipher.encrypt_blocks(&mut blocks);
    for (byte, pad) in text.iter_mut().zip(blocks.iter().flatten()) {
        *byte ^= pad;
    }
}

/// The payload begins with block 1 (RFC 8439 section 2.8).
fn chacha(salted: &Salted<Array<u8, U32>>, iv: &[u8], text: &mut [u8; LOOK_LEN]) {
    let mut stream = ChaCha20::new(&salted.key, &Array(nonce(salted.salt, iv)));
    stream.seek(LOOK_LEN);
    stream.apply_keystream(text);
}

/// CBC: each block decrypted, and the ciphertext before it taken off (SP 800-38A section 6.2).
fn unchain<C>(cipher: &C, iv: &[u8], text: &mut [u8; LOOK_LEN])
where
    C: BlockCipherDecrypt + BlockSizeUser<BlockSize = U16>,
{
    let mut before = [0; LOOK_LEN];
    before[..BLOCK_LEN].copy_from_slice(iv);
    before[BLOCK_LEN..].copy_from_slice(&text[..LOOK_LEN - BLOCK_LEN]);
    let (blocks, _) = Array::slice_as_chunks_mut(text);
    cipher.decrypt_blocks(blocks);
    for (byte, before) in text.iter_mut().zip(before) {
        *byte ^= before;
    }
}
