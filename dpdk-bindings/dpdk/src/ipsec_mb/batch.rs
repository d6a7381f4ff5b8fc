//! Many packets at once: the library works on the lanes of its vectors in parallel.
//!
//! Packets of one suite and direction form a group, whose ciphers the library does in one call and whose hashes
//! in another. It gives no job back unfinished, so every buffer it was told of is idle again when the call
//! returns. A received packet is decrypted only once its check value is found right.
//!
//! The library checks no parameters: the types here do.

use super::compare::same;
use super::job::{Direction, HEADER_LEN, Job, Keys, Layout};
use super::keys::{CbcKey, Hash, HmacKey};
use super::manager::Manager;
use dpdk_sys::ipsec_mb as sys;
use std::mem::MaybeUninit;

/// Packets worked on together at most.
pub(super) const BATCH: usize = 64;

/// What one job needs besides its packet; of no use between batches.
#[derive(Clone)]
#[repr(C, align(64))]
pub(super) struct Scratch {
    /// What the check value should be, to compare with the received one. The longest is SHA-512's.
    computed: [u8; 64],
    /// The received check value's first bytes, while the upper sequence number lies there.
    displaced: Option<[u8; 4]>,
}

impl Scratch {
    pub(super) fn batch() -> Box<[Self]> {
        vec![Self { computed: [0; 64], displaced: None }; BATCH].into()
    }
}

/// The library's own description of jobs, blank.
pub(super) fn slots() -> Box<[sys::IMB_JOB]> {
    // SAFETY: numbers, raw pointers and optional functions: all zeros is a valid one.
    let blank: sys::IMB_JOB = unsafe { MaybeUninit::zeroed().assume_init() };
    vec![blank; BATCH].into()
}

/// What the jobs of one call have in common.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Group {
    direction: Direction,
    /// Bytes of the AES-CBC key, 0 without encryption.
    cipher: u8,
    hash: Hash,
}

impl Manager {
    /// Seals and opens a batch in place. Suites, keys, lengths and directions may be mixed, but many packets of
    /// one suite and direction fill the vectors best. [`Job::is_done`] then says how each one went.
    pub fn run(&mut self, jobs: &mut [Job<'_>]) {
        for batch in jobs.chunks_mut(BATCH) {
            // Where each job belongs; `None` once it is done, or where it never is.
            let mut groups = [None; BATCH];
            for (job, group) in batch.iter_mut().zip(&mut groups) {
                job.done = false;
                let direction = job.direction;
                *group = match (job.layout(), job.keys) {
                    (Some(_), Keys::Cbc(cbc, hmac)) => {
                        Some(Group { direction, cipher: cbc.len() as u8, hash: hmac.hash() })
                    }
                    (Some(_), Keys::Null(hmac)) => Some(Group { direction, cipher: 0, hash: hmac.hash() }),
                    (Some(layout), Keys::ChaCha(key)) => {
                        job.done = self.run_chacha(key, direction, job.esp, job.sequence_high, layout);
                        None
                    }
                    (None, _) => None,
                };
            }
            // Each round does the whole group of the first job that is left.
            for n in 0..batch.len() {
                if let Some(group) = groups[n] {
                    self.run_group(batch, &mut groups, group);
                }
            }
        }
    }

    fn run_group(&mut self, batch: &mut [Job<'_>], groups: &mut [Option<Group>; BATCH], group: Group) {
        let mut members = [0; BATCH];
        let mut count = 0;
        for (n, (job, scratch)) in batch.iter_mut().zip(&mut self.scratch).enumerate() {
            if groups[n] == Some(group)
                && let Some(layout) = job.layout()
            {
                groups[n] = None;
                fill(&mut self.slots[count], job, scratch, layout);
                members[count] = n;
                count += 1;
            }
        }
        let is_done = match group.direction {
            Direction::Seal => self.encrypt_or_decrypt(group, count) && self.hash(group, count),
            Direction::Open => {
                let is_hashed = self.hash(group, count);
                count = self.keep_authentic(&mut members, if is_hashed { count } else { 0 });
                self.encrypt_or_decrypt(group, count)
            }
        };
        for n in &members[..count] {
            batch[*n].done = is_done;
        }
    }

    /// The ciphers of the first `count` slots.
    fn encrypt_or_decrypt(&mut self, group: Group, count: usize) -> bool {
        let direction = match group.direction {
            Direction::Seal => sys::IMB_DIR_ENCRYPT,
            Direction::Open => sys::IMB_DIR_DECRYPT,
        };
        let (key_len, number) = (sys::IMB_KEY_SIZE_BYTES::from(group.cipher), count as u32);
        let slots = self.slots[..count].as_mut_ptr();
        group.cipher == 0 || count == 0 || {
            // SAFETY: the manager is initialised and holds no job; each slot was filled for this direction and key
            // length, and describes buffers that its job borrows.
            let done = unsafe {
                (self.calls.ciphers)(
                    self.instance.raw(),
                    slots,
                    number,
                    sys::IMB_CIPHER_CBC,
                    direction,
                    key_len,
                )
            };
            done == number
        }
    }

    /// The HMACs of the first `count` slots.
    fn hash(&mut self, group: Group, count: usize) -> bool {
        let (slots, number) = (self.slots[..count].as_mut_ptr(), count as u32);
        // SAFETY: the manager is initialised and holds no job; each slot was filled for this hash, and describes
        // buffers that its job borrows and the scratch beside it.
        unsafe { (self.calls.hashes)(self.instance.raw(), slots, number, group.hash.algorithm()) == number }
    }

    /// Compares the check values of the first `count` slots, and moves those that are right to the front.
    fn keep_authentic(&mut self, members: &mut [usize; BATCH], count: usize) -> usize {
        let mut kept = 0;
        for at in 0..count {
            let slot = self.slots[at];
            let scratch = &mut self.scratch[members[at]];
            // SAFETY: `fill` set text, its length and the check value's from a layout checked against the packet,
            // which ends with that value. Made from the same pointer that the library goes on to use.
            let icv = unsafe {
                let text = slot.__bindgen_anon_2.dst;
                let text_len = slot.__bindgen_anon_4.msg_len_to_cipher_in_bytes as usize;
                let icv_len = slot.auth_tag_output_len_in_bytes as usize;
                std::slice::from_raw_parts_mut(text.add(text_len), icv_len)
            };
            if let (Some(bytes), Some(place)) = (scratch.displaced, icv.first_chunk_mut()) {
                *place = bytes;
            }
            if same(&scratch.computed[..icv.len()], icv) {
                self.slots[kept] = slot;
                members[kept] = members[at];
                kept += 1;
            }
        }
        kept
    }
}

/// Describes one packet to the library.
#[inline]
fn fill(slot: &mut sys::IMB_JOB, job: &mut Job<'_>, scratch: &mut Scratch, layout: Layout) {
    match job.keys {
        Keys::Cbc(cbc, hmac) => {
            fill_cbc(slot, cbc);
            fill_hmac(slot, hmac, job, scratch, layout);
        }
        Keys::Null(hmac) => fill_hmac(slot, hmac, job, scratch, layout),
        Keys::ChaCha(_) => {}
    }
    // Last, so that no reference to the packet follows the pointers that the library uses.
    let packet = job.esp.as_mut_ptr();
    slot.__bindgen_anon_1.src = packet;
    slot.__bindgen_anon_2.dst = packet.wrapping_add(layout.text);
    slot.__bindgen_anon_3.cipher_start_src_offset_in_bytes = layout.text as u64;
    slot.__bindgen_anon_4.msg_len_to_cipher_in_bytes = layout.text_len as u64;
    slot.iv = packet.wrapping_add(HEADER_LEN);
    slot.auth_tag_output = match job.direction {
        Direction::Seal => packet.wrapping_add(layout.icv),
        Direction::Open => scratch.computed.as_mut_ptr(),
    };
    slot.auth_tag_output_len_in_bytes = layout.icv_len as u64;
}

#[inline]
fn fill_cbc(slot: &mut sys::IMB_JOB, cbc: &CbcKey) {
    slot.enc_keys = cbc.seal().cast();
    slot.dec_keys = cbc.open().cast();
    slot.key_len_in_bytes = cbc.len();
    slot.iv_len_in_bytes = 16;
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
    scratch.displaced = None;
    if let (Some(high), Some(place)) =
        (job.sequence_high, job.esp.get_mut(layout.icv..).and_then(<[u8]>::first_chunk_mut::<4>))
    {
        scratch.displaced = Some(*place);
        *place = high.to_be_bytes();
        covered += place.len();
    }
    slot.hash_start_src_offset_in_bytes = 0;
    slot.__bindgen_anon_5.msg_len_to_hash_in_bytes = covered as u64;
    slot.u.HMAC._hashed_auth_key_xor_ipad = hmac.inner();
    slot.u.HMAC._hashed_auth_key_xor_opad = hmac.outer();
}
