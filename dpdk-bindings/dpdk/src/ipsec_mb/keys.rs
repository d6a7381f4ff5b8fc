//! Keys of the suites that go by batch: AES-CBC (RFC 3602), HMAC (RFC 2404, 4868), ChaCha20-Poly1305
//! (RFC 7634).
//!
//! All are expanded off the data path, where they stay, so that no move leaves a copy behind, and wiped when
//! dropped.

use super::error::KeyError;
use super::fetch;
use super::library::Library;
use super::place;
use dpdk_sys::ipsec_mb as sys;
use std::mem::MaybeUninit;
use zeroize::Zeroize;

/// Round keys of AES-256: 14 rounds and the first.
const ROUND_KEYS_LEN: usize = 16 * 15;

/// An expanded AES-CBC key of 128 or 256 bits, for both directions.
#[repr(C, align(64))]
pub struct CbcKey {
    seal: [u8; ROUND_KEYS_LEN],
    len: u64,
    padding: u64,
    open: [u8; ROUND_KEYS_LEN],
}

impl CbcKey {
    /// Expands a key of 16 or 32 bytes.
    ///
    /// # Errors
    /// When the key has another length.
    pub fn new(library: &Library, key: &[u8]) -> Result<Box<Self>, KeyError> {
        place::boxed(|place| Self::write(place, library, key))
    }

    /// As [`CbcKey::new`], in memory of the caller's.
    ///
    /// # Errors
    /// When the key has another length.
    pub fn write<'p>(
        place: &'p mut MaybeUninit<Self>,
        library: &Library,
        key: &[u8],
    ) -> Result<&'p mut Self, KeyError> {
        let wrong = KeyError { found: key.len(), wanted: "16 or 32" };
        let expand = match key.len() {
            16 => library.table().keyexp_128,
            32 => library.table().keyexp_256,
            _ => None,
        };
        let expand = expand.ok_or(wrong)?;
        let expanded = place.write(Self {
            seal: [0; ROUND_KEYS_LEN],
            len: key.len() as u64,
            padding: 0,
            open: [0; ROUND_KEYS_LEN],
        });
        let (seal, open) = (expanded.seal.as_mut_ptr(), expanded.open.as_mut_ptr());
        // SAFETY: reads the key's bytes, writes 11 or 15 round keys of 16 bytes to each place; both are
        // aligned to 16: 0 and 256 bytes into a structure aligned to 64.
        unsafe { expand(key.as_ptr().cast(), seal.cast(), open.cast()) };
        Ok(expanded)
    }

    /// Asks the processor for the key's lines. Waits for nothing.
    #[inline(always)]
    pub fn fetch(&self) {
        fetch::lines::<0, 8, _>(self);
    }

    /// Bytes of the key, 16 or 32.
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// Round keys to encrypt with.
    pub(super) fn seal(&self) -> *const u8 {
        self.seal.as_ptr()
    }

    /// Round keys to decrypt with.
    pub(super) fn open(&self) -> *const u8 {
        self.open.as_ptr()
    }
}

impl Drop for CbcKey {
    fn drop(&mut self) {
        self.seal.zeroize();
        self.open.zeroize();
    }
}

/// A hash function under HMAC, with the truncation that ESP uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hash {
    /// HMAC-SHA1-96 (RFC 2404).
    Sha1,
    /// HMAC-SHA256-128 (RFC 4868).
    Sha256,
    /// HMAC-SHA384-192 (RFC 4868).
    Sha384,
    /// HMAC-SHA512-256 (RFC 4868).
    Sha512,
}

impl Hash {
    /// Bytes of the integrity check value.
    #[must_use]
    pub const fn icv_len(self) -> usize {
        match self {
            Self::Sha1 => 12,
            Self::Sha256 => 16,
            Self::Sha384 => 24,
            Self::Sha512 => 32,
        }
    }

    /// Bytes of the function's inner state; SHA-384 is SHA-512 with another start.
    const fn state_len(self) -> usize {
        match self {
            Self::Sha1 => 20,
            Self::Sha256 => 32,
            Self::Sha384 | Self::Sha512 => 64,
        }
    }

    /// Bytes hashed at a time.
    const fn block_len(self) -> usize {
        match self {
            Self::Sha1 | Self::Sha256 => 64,
            Self::Sha384 | Self::Sha512 => 128,
        }
    }

    pub(super) const fn algorithm(self) -> sys::IMB_HASH_ALG {
        match self {
            Self::Sha1 => sys::IMB_AUTH_HMAC_SHA_1,
            Self::Sha256 => sys::IMB_AUTH_HMAC_SHA_256,
            Self::Sha384 => sys::IMB_AUTH_HMAC_SHA_384,
            Self::Sha512 => sys::IMB_AUTH_HMAC_SHA_512,
        }
    }
}

/// An HMAC key (RFC 2104): what the hash function knows after the inner and the outer pad.
#[repr(C, align(64))]
pub struct HmacKey {
    hash: Hash,
    /// Both states, one right behind the other: with SHA-1 they share a cache line with `hash`.
    states: [u8; 128],
}

impl HmacKey {
    /// Hashes the pads of a key that is no longer than the function's block, as RFC 4868 has it.
    ///
    /// # Errors
    /// When the key is empty or longer.
    pub fn new(library: &Library, hash: Hash, key: &[u8]) -> Result<Box<Self>, KeyError> {
        place::boxed(|place| Self::write(place, library, hash, key))
    }

    /// As [`HmacKey::new`], in memory of the caller's.
    ///
    /// # Errors
    /// When the key is empty or longer.
    pub fn write<'p>(
        place: &'p mut MaybeUninit<Self>,
        library: &Library,
        hash: Hash,
        key: &[u8],
    ) -> Result<&'p mut Self, KeyError> {
        let wrong = KeyError { found: key.len(), wanted: "1 to the hash function's block" };
        if key.is_empty() || key.len() > hash.block_len() {
            return Err(wrong);
        }
        let table = library.table();
        let one_block = match hash {
            Hash::Sha1 => table.sha1_one_block,
            Hash::Sha256 => table.sha256_one_block,
            Hash::Sha384 => table.sha384_one_block,
            Hash::Sha512 => table.sha512_one_block,
        };
        let one_block = one_block.ok_or(wrong)?;
        let made = place.write(Self { hash, states: [0; 128] });
        for (pad, state) in [0x36, 0x5c].into_iter().zip(made.states.chunks_exact_mut(hash.state_len())) {
            let mut block = [pad; 128];
            block.iter_mut().zip(key).for_each(|(byte, key)| *byte ^= key);
            // SAFETY: reads a block of 64 or 128 bytes, writes the state's 20, 32 or 64.
            unsafe { one_block(block.as_ptr().cast(), state.as_mut_ptr().cast()) };
            block.zeroize();
        }
        Ok(made)
    }

    /// The hash function.
    #[must_use]
    pub fn hash(&self) -> Hash {
        self.hash
    }

    /// Asks the processor for the key's lines. Waits for nothing.
    #[inline(always)]
    pub fn fetch(&self) {
        fetch::lines::<0, 3, _>(self);
    }

    /// State after the inner pad.
    pub(super) fn inner(&self) -> *const u8 {
        self.states.as_ptr()
    }

    /// State after the outer pad.
    pub(super) fn outer(&self) -> *const u8 {
        self.states[self.hash.state_len()..].as_ptr()
    }
}

impl Drop for HmacKey {
    fn drop(&mut self) {
        self.states.zeroize();
    }
}

/// A ChaCha20-Poly1305 key and its salt (RFC 7634, 2), in one cache line.
#[repr(C, align(64))]
pub struct ChaChaKey {
    key: [u8; 32],
    salt: [u8; 4],
}

impl ChaChaKey {
    /// Takes 32 bytes of key, and its salt.
    ///
    /// # Errors
    /// When the key has another length.
    pub fn new(key: &[u8], salt: [u8; 4]) -> Result<Box<Self>, KeyError> {
        place::boxed(|place| Self::write(place, key, salt))
    }

    /// As [`ChaChaKey::new`], in memory of the caller's.
    ///
    /// # Errors
    /// When the key has another length.
    pub fn write<'p>(
        place: &'p mut MaybeUninit<Self>,
        key: &[u8],
        salt: [u8; 4],
    ) -> Result<&'p mut Self, KeyError> {
        if key.len() != 32 {
            return Err(KeyError { found: key.len(), wanted: "32" });
        }
        let made = place.write(Self { key: [0; 32], salt });
        made.key.copy_from_slice(key);
        Ok(made)
    }

    /// Asks the processor for the key's line. Waits for nothing.
    #[inline(always)]
    pub fn fetch(&self) {
        fetch::lines::<0, 1, _>(self);
    }

    pub(super) fn key(&self) -> *const u8 {
        self.key.as_ptr()
    }

    pub(super) fn salt(&self) -> [u8; 4] {
        self.salt
    }
}

impl Drop for ChaChaKey {
    fn drop(&mut self) {
        self.key.zeroize();
        self.salt.zeroize();
    }
}
