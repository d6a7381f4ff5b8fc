//! AES-GCM (NIST SP 800-38D; RFC 4106 in ESP), one packet a call.
//!
//! The library keeps the round keys in the first 240 bytes of a key and the powers of the hash key behind
//! them. Its 512-bit code writes 48 powers up to byte 1008, highest first, and reads as many of the last ones
//! as the packet has blocks; its other code writes 8 powers right behind the round keys.

use super::compare::same16;
use super::error::KeyError;
use super::fetch;
use super::library::{Library, has_wide_gcm};
use super::manager::Manager;
use super::place;
use dpdk_sys::ipsec_mb as sys;
use std::mem::{MaybeUninit, align_of, size_of};
use zeroize::Zeroize;

/// The library's function for one packet of one key size.
pub(super) type GcmFunction = unsafe extern "C" fn(
    *const sys::gcm_key_data,
    *mut sys::gcm_context_data,
    *mut u8,
    *const u8,
    u64,
    *const u8,
    *const u8,
    u64,
    *mut u8,
    u64,
);

/// Bytes of the library's key structure that it writes; the rest is padding.
const SCHEDULE_LEN: usize = 1008;

/// Longest text of one call: 2^39 - 256 bits (SP 800-38D, 5.2.1.1). The library refuses more silently.
const TEXT_MAX: usize = (1 << 36) - 32;

/// An expanded AES-GCM key of 128 or 256 bits: immutable, shared by all threads, wiped when dropped.
///
/// It is 1024 bytes large. Which of them a packet touches depends on the processor; see [`GcmKey::fetch`].
#[repr(C, align(64))]
pub struct GcmKey {
    schedule: [u8; SCHEDULE_LEN],
    /// In the line of the first hash keys, which every packet needs.
    size: KeySize,
}

/// Index into the tables of functions.
#[derive(Clone, Copy)]
#[repr(u8)]
enum KeySize {
    Aes128,
    Aes256,
}

const _: () = assert!(size_of::<GcmKey>() == size_of::<sys::gcm_key_data>());
const _: () = assert!(align_of::<GcmKey>() == align_of::<sys::gcm_key_data>());
const _: () = assert!(
    std::mem::offset_of!(sys::gcm_key_data, ghash_keys) + size_of::<sys::gcm_key_data__bindgen_ty_1>()
        == SCHEDULE_LEN
);

impl GcmKey {
    /// Expands a key of 16 or 32 bytes. Takes some thousand cycles: not for the data path.
    ///
    /// # Errors
    /// When the key has another length.
    pub fn new(library: &Library, key: &[u8]) -> Result<Box<Self>, KeyError> {
        place::boxed(|place| Self::write(place, library, key))
    }

    /// As [`GcmKey::new`], in memory of the caller's.
    ///
    /// # Errors
    /// When the key has another length.
    pub fn write<'p>(
        place: &'p mut MaybeUninit<Self>,
        library: &Library,
        key: &[u8],
    ) -> Result<&'p mut Self, KeyError> {
        let table = library.table();
        let (expand, size) = match key.len() {
            16 => (table.gcm128_pre, KeySize::Aes128),
            32 => (table.gcm256_pre, KeySize::Aes256),
            _ => (None, KeySize::Aes128),
        };
        let expand = expand.ok_or(KeyError { found: key.len(), wanted: "16 or 32" })?;
        let expanded = place.write(Self { schedule: [0; SCHEDULE_LEN], size });
        let schedule: *mut sys::gcm_key_data = expanded.schedule.as_mut_ptr().cast();
        // SAFETY: `key` has the bytes that the function reads; it writes at most the SCHEDULE_LEN bytes of the
        // structure's fields, and they are aligned as it wants, both asserted above.
        unsafe { expand(key.as_ptr().cast(), schedule) };
        Ok(expanded)
    }

    /// Asks the processor for the lines that a packet of up to 256 bytes needs. Waits for nothing.
    #[inline(always)]
    pub fn fetch(&self) {
        if has_wide_gcm() {
            // Round keys, and the 17 hash keys of 256 bytes and their last block.
            fetch::lines::<0, 4, _>(self);
            fetch::lines::<11, 16, _>(self);
        } else {
            // Round keys and all 8 hash keys, and the key's size at its end.
            fetch::lines::<0, 6, _>(self);
            fetch::lines::<15, 16, _>(self);
        }
    }

    fn raw(&self) -> *const sys::gcm_key_data {
        std::ptr::from_ref(self).cast()
    }
}

impl Drop for GcmKey {
    fn drop(&mut self) {
        self.schedule.zeroize();
    }
}

impl Manager {
    /// Encrypts `data` in place and writes its tag. `aad` is authenticated only: 8 bytes in ESP, 12 with
    /// extended sequence numbers (RFC 4106, 5).
    ///
    /// The caller answers for `iv`: never the same one twice under one key.
    #[inline(always)]
    pub fn gcm_seal(&self, key: &GcmKey, iv: &[u8; 12], aad: &[u8], data: &mut [u8], tag: &mut [u8; 16]) {
        call(self.gcm.seal[key.size as usize], key, iv, aad, data, tag);
    }

    /// Decrypts `data` in place, and says whether it and `aad` are what the tag's maker sealed.
    ///
    /// Where it says no, `data` holds what nobody sent: drop it unread.
    #[inline(always)]
    #[must_use = "data that are not authentic must not be used"]
    pub fn gcm_open(&self, key: &GcmKey, iv: &[u8; 12], aad: &[u8], data: &mut [u8], tag: &[u8; 16]) -> bool {
        // Never equal to what came, should the library not answer.
        let mut computed = (!u128::from_ne_bytes(*tag)).to_ne_bytes();
        call(self.gcm.open[key.size as usize], key, iv, aad, data, &mut computed);
        same16(&computed, tag)
    }
}

#[inline(always)]
fn call(function: GcmFunction, key: &GcmKey, iv: &[u8; 12], aad: &[u8], data: &mut [u8], tag: &mut [u8; 16]) {
    debug_assert!(data.len() <= TEXT_MAX, "{} bytes are too many for AES-GCM", data.len());
    // On the stack, where the line is warm; the library writes before it reads.
    let mut context = MaybeUninit::<sys::gcm_context_data>::uninit();
    let text = data.as_mut_ptr();
    // SAFETY: every pointer comes from a reference of the length passed beside it or, for the key, IV and tag,
    // that the function fixes (1008, 12, 16); input and output may be the same; nothing is kept.
    unsafe {
        function(
            key.raw(),
            context.as_mut_ptr(),
            text,
            text,
            data.len() as u64,
            iv.as_ptr(),
            aad.as_ptr(),
            aad.len() as u64,
            tag.as_mut_ptr(),
            tag.len() as u64,
        );
    }
}
