//! ESP packets byte by byte, written independently of the data path that they judge: by the plain reading of RFC 4303
//! and of each algorithm's RFC, one key expansion a packet, on the RustCrypto crates.

use aes::cipher::consts::{U12, U16};
use aes::cipher::{Array, BlockCipherEncrypt, BlockSizeUser, KeyInit};
use aes::{Aes128, Aes256};
use aes_gcm::aead::AeadInOut;
use aes_gcm::{Aes128Gcm, Aes256Gcm};
use anyhow::{Result, anyhow};
use chacha20poly1305::ChaCha20Poly1305;
use hmac::{Hmac, Mac};
use penstock_dataplane::esp::suite::{Encryption, Integrity, Suite};
use sha1::Sha1;
use sha2::{Sha256, Sha384, Sha512};

use crate::routes::Random;

/// Bytes of SPI and sequence number.
pub const HEADER_LEN: usize = 8;
/// Next header: an IPv4 packet, so tunnel mode.
pub const IPV4: u8 = 4;

/// One direction of a tunnel.
pub struct Association {
    pub suite: Suite,
    pub spi: u32,
    /// The cipher's key, and behind it the salt of an AEAD.
    pub encryption: Vec<u8>,
    /// The HMAC's key.
    pub integrity: Vec<u8>,
}

impl Association {
    /// That of a tunnel: the same in every run. SPIs are far apart, and so are different keys.
    pub fn of_tunnel(suite: Suite, tunnel: usize) -> Self {
        let mut random = Random(tunnel as u64 + 0x5eed);
        let mut bytes = |len: usize| (0..len).map(|_| random.next() as u8).collect::<Vec<u8>>();
        let encryption = bytes(suite.encryption_key_len() + suite.salt_len());
        let integrity = bytes(suite.integrity_key_len());
        // An odd factor: no two of 2^30 tunnels share a value.
        let spi = 0x4000_0000 | (tunnel as u32).wrapping_mul(0x1e37_79b9) & 0x3fff_ffff;
        Self { suite, spi, encryption, integrity }
    }

    /// The packet from SPI to ICV, with this IV and the least padding.
    pub fn seal(&self, sequence: u32, iv: &[u8], next_header: u8, inner: &[u8]) -> Result<Vec<u8>> {
        let header = [self.spi.to_be_bytes(), sequence.to_be_bytes()].concat();
        // RFC 4303 2.4: bytes 1, 2, 3 and so on.
        let block = if iv_len(self.suite) == 16 { 16 } else { 4 };
        let pad_len = (block - (inner.len() + 2) % block) % block;
        let mut text = inner.to_vec();
        text.extend(1..=pad_len as u8);
        text.extend([pad_len as u8, next_header]);
        let icv = match self.suite.encryption() {
            Encryption::AesGcm128 => Some(self.aead::<Aes128Gcm>(&header, iv, &mut text)?),
            Encryption::AesGcm256 => Some(self.aead::<Aes256Gcm>(&header, iv, &mut text)?),
            Encryption::ChaCha20Poly1305 => Some(self.aead::<ChaCha20Poly1305>(&header, iv, &mut text)?),
            Encryption::AesCbc128 => self.chain::<Aes128>(iv, &mut text)?,
            Encryption::AesCbc256 => self.chain::<Aes256>(iv, &mut text)?,
            Encryption::Null => None,
        };
        let packet = [&header, iv, &text].concat();
        let icv = match icv {
            Some(icv) => icv,
            None => self.mac(&packet)?,
        };
        Ok([packet, icv].concat())
    }

    /// RFC 4106 and RFC 7634: the nonce is salt and IV; SPI and sequence number are authenticated too.
    fn aead<C>(&self, header: &[u8], iv: &[u8], text: &mut [u8]) -> Result<Vec<u8>>
    where
        C: KeyInit + AeadInOut<NonceSize = U12, TagSize = U16>,
    {
        let (key, salt) = self.encryption.split_at(self.encryption.len() - 4);
        let cipher = C::new_from_slice(key).map_err(|_| anyhow!("a key of the wrong length"))?;
        let nonce = [salt, iv].concat();
        let nonce = nonce.first_chunk::<12>().ok_or_else(|| anyhow!("an IV of the wrong length"))?;
        let icv = cipher.encrypt_inout_detached(&Array(*nonce), header, text.into());
        Ok(icv.map_err(|_| anyhow!("a packet too long for its cipher"))?.to_vec())
    }

    /// RFC 3602: each block is mixed with the one before it, and then encrypted. There is no ICV yet.
    fn chain<C>(&self, iv: &[u8], text: &mut [u8]) -> Result<Option<Vec<u8>>>
    where
        C: KeyInit + BlockCipherEncrypt + BlockSizeUser<BlockSize = U16>,
    {
        let key = C::new_from_slice(&self.encryption).map_err(|_| anyhow!("a key of the wrong length"))?;
        let mut before = iv.to_vec();
        for block in text.chunks_mut(16) {
            let mut mixed = Array::<u8, U16>::default();
            for (i, byte) in mixed.iter_mut().enumerate() {
                *byte = block[i] ^ before[i];
            }
            key.encrypt_block(&mut mixed);
            block.copy_from_slice(&mixed);
            before = mixed.to_vec();
        }
        Ok(None)
    }

    /// RFC 2404 and RFC 4868: over all of the packet, cut short.
    fn mac(&self, packet: &[u8]) -> Result<Vec<u8>> {
        fn of<M: Mac + KeyInit>(key: &[u8], packet: &[u8], len: usize) -> Result<Vec<u8>> {
            let mut mac =
                <M as KeyInit>::new_from_slice(key).map_err(|_| anyhow!("a key of the wrong length"))?;
            mac.update(packet);
            Ok(mac.finalize().into_bytes()[..len].to_vec())
        }
        match self.suite.integrity() {
            None => Err(anyhow!("{} has no HMAC", self.suite)),
            Some(Integrity::HmacSha1) => of::<Hmac<Sha1>>(&self.integrity, packet, 12),
            Some(Integrity::HmacSha256) => of::<Hmac<Sha256>>(&self.integrity, packet, 16),
            Some(Integrity::HmacSha384) => of::<Hmac<Sha384>>(&self.integrity, packet, 24),
            Some(Integrity::HmacSha512) => of::<Hmac<Sha512>>(&self.integrity, packet, 32),
        }
    }
}

/// Bytes of IV in a packet: RFC 4106 3.1, RFC 7634 2, RFC 3602 3, RFC 2410.
pub fn iv_len(suite: Suite) -> usize {
    match suite.encryption() {
        Encryption::AesGcm128 | Encryption::AesGcm256 | Encryption::ChaCha20Poly1305 => 8,
        Encryption::AesCbc128 | Encryption::AesCbc256 => 16,
        Encryption::Null => 0,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use penstock_dataplane::esp::cipher::{Backend, Cipher, Engine, OpenJob};
    use penstock_dataplane::esp::key::KeyMaterial;

    use super::*;

    fn bytes(hex: &str) -> Vec<u8> {
        (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
    }

    /// draft-mcgrew-gcm-test-01 section 4, the second and the third packet.
    #[test]
    fn gcm_packets_of_the_draft() {
        for (suite, key, salt, spi, sequence, iv, inner, sealed) in [
            (
                Suite::AES128_GCM,
                "feffe9928665731c6d6a8f9467308308",
                "cafebabe",
                0xa5f8,
                10,
                "facedbaddecaf888",
                "4500003e698f000080114dccc0a80102c0a801010a980035002a2343b2d00100\
                 0001000000000000037369700963796265726369747902646b0000010001",
                "deb22cd9b07c72c16e3a65beeb8df304a5a5897d33ae530f1ba76d5d114d2a5c\
                 3de81827c10e9a4f51330d0eec416642cfbb85a5b47e48a4ec3b9ba95d918bd1\
                 83b70d3aa8bc6ee4c309e9d85a41ad4a",
            ),
            (
                Suite::AES256_GCM,
                "abbccddef00112233445566778899aababbccddef00112233445566778899aab",
                "11223344",
                0x4a2c_bfe3,
                2,
                "0102030405060708",
                "4500003069a6400080062690c0a801029389155e0a9e008b2dc57ee000000000\
                 7002400020bf0000020405b401010402",
                "ff425c9b724599df7a3bcd510194e00d6a78107f1b0b1cbf06efae9d65a5d763\
                 748a637985771d347f0545659f14e99def842d8e\
                 b335f4eecfdbf831824b4c4915956c96",
            ),
        ] {
            let encryption = bytes(&format!("{key}{salt}"));
            let association = Association { suite, spi, encryption, integrity: Vec::new() };
            // What its trailers have.
            let next_header = 1;
            let packet = association.seal(sequence, &bytes(iv), next_header, &bytes(inner)).unwrap();
            let header = [spi.to_be_bytes(), u32::to_be_bytes(sequence)].concat();
            assert_eq!(packet, [header, bytes(iv), bytes(sealed)].concat());
        }
    }

    /// What both make of the same packet is the same, for every suite.
    #[test]
    fn the_data_path_can_read_it() {
        for suite in Suite::all() {
            let association = Association::of_tunnel(suite, 7);
            let keys = KeyMaterial::new(suite, &association.encryption, &association.integrity).unwrap();
            let cipher = Cipher::new(suite, &keys, Backend::best()).unwrap();
            let mut engine = Engine::new(Backend::best()).unwrap();
            for len in [20, 33, 34, 600] {
                let inner = vec![0x45; len];
                let mut packet = association.seal(9, &vec![3; iv_len(suite)], IPV4, &inner).unwrap();
                assert_eq!(packet[..8], [association.spi, 9].map(u32::to_be_bytes).concat());
                let mut jobs = [OpenJob::new(&cipher, &mut packet, None)];
                engine.open(&mut jobs);
                assert!(jobs[0].is_authentic(), "{suite} {len}");
                assert_eq!(packet[HEADER_LEN + iv_len(suite)..][..len], inner);
            }
        }
    }

    #[test]
    fn tunnels_share_neither_key_nor_spi() {
        let all: Vec<_> =
            (0..100_000).map(|tunnel| Association::of_tunnel(Suite::AES128_GCM, tunnel)).collect();
        let keys: HashSet<_> = all.iter().map(|association| &association.encryption).collect();
        let spis: HashSet<_> = all.iter().map(|association| association.spi).collect();
        assert_eq!((keys.len(), spis.len()), (all.len(), all.len()));
    }
}
