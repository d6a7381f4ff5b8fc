//! Many packets at once: the library works on the lanes of its vectors in parallel.
//!
//! A batch is submitted whole and flushed whole, so that every buffer the library was told of is idle again
//! when the call returns. The library checks no parameters: the types here do.

use super::compare::same;
use super::job::{Direction, HEADER_LEN, Job, Keys, Layout};
use super::keys::{ChaChaKey, HmacKey};
use super::manager::Manager;
use dpdk_sys::ipsec_mb as sys;
use std::ptr;

/// Jobs in flight at most. The library holds more (`IMB_MAX_JOBS`), so a slot is never reused before its job
/// was looked at.
const BATCH: usize = 64;

const _: () = assert!(BATCH < sys::IMB_MAX_JOBS as usize);

/// What one job needs besides its packet; of no use between batches.
#[derive(Clone)]
#[repr(C, align(64))]
pub(super) struct Scratch {
    /// What the check value should be, to compare with the received one. The longest is SHA-512's.
    computed: [u8; 64],
    /// SPI and sequence number, extended (RFC 7634, 2.1).
    aad: [u8; 12],
    /// Salt and IV.
    nonce: [u8; 12],
    /// The received check value's first bytes, while the upper sequence number lies there.
    displaced: [u8; 4],
    /// The library's slot for it.
    slot: *mut sys::IMB_JOB,
}

impl Scratch {
    pub(super) fn batch() -> Box<[Self]> {
        let one = Self {
            computed: [0; 64],
            aad: [0; 12],
            nonce: [0; 12],
            displaced: [0; 4],
            slot: ptr::null_mut(),
        };
        vec![one; BATCH].into()
    }
}

impl Manager {
    /// Seals and opens a batch in place. Suites, keys, lengths and directions may be mixed, but packets of one
    /// suite and direction side by side fill the vectors best. [`Job::is_done`] then says how each one went.
    pub fn run(&mut self, jobs: &mut [Job<'_>]) {
        let (raw, calls) = (self.instance.raw(), self.calls);
        for batch in jobs.chunks_mut(BATCH) {
            for (job, scratch) in batch.iter_mut().zip(&mut self.scratch) {
                job.done = false;
                scratch.slot = ptr::null_mut();
                if let Some(layout) = job.layout() {
                    // SAFETY: the manager is initialised. It holds fewer jobs than it has slots, so the next one
                    // is free, and nobody else refers to it.
                    let slot = unsafe { &mut *(calls.next)(raw) };
                    fill(slot, job, scratch, layout);
                    scratch.slot = slot;
                    // SAFETY: the slot describes buffers that live, unmoved and untouched by anybody else, until
                    // the flush below: the packet and keys that `job` borrows, and `scratch`.
                    unsafe { (calls.submit)(raw) };
                }
            }
            // SAFETY: the manager is initialised. Each call gives back at least one job until there is none.
            while !unsafe { (calls.flush)(raw) }.is_null() {}
            for (job, scratch) in batch.iter_mut().zip(&mut self.scratch) {
                finish(job, scratch);
            }
        }
    }
}

/// Describes one packet to the library.
#[inline]
fn fill(slot: &mut sys::IMB_JOB, job: &mut Job<'_>, scratch: &mut Scratch, layout: Layout) {
    let is_seal = job.direction == Direction::Seal;
    match job.keys {
        Keys::Cbc(cbc, hmac) => {
            slot.cipher_mode = sys::IMB_CIPHER_CBC;
            slot.enc_keys = cbc.seal().cast();
            slot.dec_keys = cbc.open().cast();
            slot.key_len_in_bytes = cbc.len();
            slot.iv_len_in_bytes = 16;
            fill_hmac(slot, hmac, job, scratch, layout);
        }
        Keys::Null(hmac) => {
            slot.cipher_mode = sys::IMB_CIPHER_NULL;
            fill_hmac(slot, hmac, job, scratch, layout);
        }
        Keys::ChaCha(key) => fill_chacha(slot, key, job, scratch, layout),
    }
    (slot.cipher_direction, slot.chain_order) = if is_seal {
        (sys::IMB_DIR_ENCRYPT, sys::IMB_ORDER_CIPHER_HASH)
    } else {
        (sys::IMB_DIR_DECRYPT, sys::IMB_ORDER_HASH_CIPHER)
    };
    slot.auth_tag_output_len_in_bytes = layout.icv_len as u64;
    slot.__bindgen_anon_3.cipher_start_src_offset_in_bytes = layout.text as u64;
    slot.__bindgen_anon_4.msg_len_to_cipher_in_bytes = layout.text_len as u64;
    // Last, so that no reference to the packet follows the pointers that the library keeps.
    let packet = job.esp.as_mut_ptr();
    slot.iv = match job.keys {
        Keys::Cbc(..) => packet.wrapping_add(HEADER_LEN),
        Keys::Null(_) => ptr::null(),
        Keys::ChaCha(_) => scratch.nonce.as_ptr(),
    };
    slot.__bindgen_anon_1.src = packet;
    slot.__bindgen_anon_2.dst = packet.wrapping_add(layout.text);
    slot.auth_tag_output =
        if is_seal { packet.wrapping_add(layout.icv) } else { scratch.computed.as_mut_ptr() };
}

/// HMAC covers the packet up to its check value, and the upper sequence number where there is one (RFC 4303,
/// 2.2.1): that number is not sent, and lies where the check value will be, or was, while it is hashed.
#[inline]
fn fill_hmac(
    slot: &mut sys::IMB_JOB,
    hmac: &HmacKey,
    job: &mut Job<'_>,
    scratch: &mut Scratch,
    layout: Layout,
) {
    let mut covered = layout.icv;
    if let (Some(high), Some(place)) =
        (job.sequence_high, job.esp.get_mut(layout.icv..).and_then(<[u8]>::first_chunk_mut::<4>))
    {
        scratch.displaced = *place;
        *place = high.to_be_bytes();
        covered += place.len();
    }
    slot.hash_alg = hmac.hash().algorithm();
    slot.hash_start_src_offset_in_bytes = 0;
    slot.__bindgen_anon_5.msg_len_to_hash_in_bytes = covered as u64;
    slot.u.HMAC._hashed_auth_key_xor_ipad = hmac.inner();
    slot.u.HMAC._hashed_auth_key_xor_opad = hmac.outer();
}

/// RFC 7634, 2: the nonce is salt and IV, the header is authenticated beside the text.
#[inline]
fn fill_chacha(
    slot: &mut sys::IMB_JOB,
    key: &ChaChaKey,
    job: &Job<'_>,
    scratch: &mut Scratch,
    layout: Layout,
) {
    let Some((header, _)) = job.esp.split_first_chunk::<16>() else { return };
    scratch.nonce[..4].copy_from_slice(&key.salt());
    scratch.nonce[4..].copy_from_slice(&header[HEADER_LEN..]);
    let aad_len = match job.sequence_high {
        Some(high) => {
            scratch.aad[..4].copy_from_slice(&header[..4]);
            scratch.aad[4..8].copy_from_slice(&high.to_be_bytes());
            scratch.aad[8..].copy_from_slice(&header[4..HEADER_LEN]);
            12
        }
        None => {
            scratch.aad[..8].copy_from_slice(&header[..HEADER_LEN]);
            8
        }
    };
    slot.cipher_mode = sys::IMB_CIPHER_CHACHA20_POLY1305;
    slot.hash_alg = sys::IMB_AUTH_CHACHA20_POLY1305;
    slot.enc_keys = key.key().cast();
    slot.dec_keys = key.key().cast();
    slot.key_len_in_bytes = 32;
    slot.iv_len_in_bytes = 12;
    slot.hash_start_src_offset_in_bytes = layout.text as u64;
    slot.__bindgen_anon_5.msg_len_to_hash_in_bytes = layout.text_len as u64;
    slot.u.CHACHA20_POLY1305.aad = scratch.aad.as_ptr().cast();
    slot.u.CHACHA20_POLY1305.aad_len_in_bytes = aad_len;
}

/// Looks at what became of one packet.
#[inline]
fn finish(job: &mut Job<'_>, scratch: &mut Scratch) {
    // SAFETY: null, or a slot of the manager that no job of this batch reuses and that the library, flushed, no
    // longer writes.
    let Some(slot) = (unsafe { scratch.slot.as_ref() }) else { return };
    let is_complete = slot.status == sys::IMB_STATUS_COMPLETED;
    let Some(layout) = job.layout() else { return };
    let icv = &mut job.esp[layout.icv..];
    job.done = match job.direction {
        Direction::Seal => is_complete,
        Direction::Open => {
            if let (Some(_), Some(place)) = (job.sequence_high, icv.first_chunk_mut::<4>())
                && !matches!(job.keys, Keys::ChaCha(_))
            {
                *place = scratch.displaced;
            }
            is_complete && same(&scratch.computed[..layout.icv_len], icv)
        }
    };
}
