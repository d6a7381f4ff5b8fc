//! ChaCha20-Poly1305 (RFC 7634): the library has it as a job, but does one packet at a time.

use super::compare::same16;
use super::job::{Direction, HEADER_LEN, Layout};
use super::keys::ChaChaKey;
use super::manager::Manager;
use dpdk_sys::ipsec_mb as sys;

/// Header and IV.
const FRONT_LEN: usize = 16;

impl Manager {
    /// Seals or opens one packet in place; `layout` is its own.
    pub(super) fn run_chacha(
        &mut self,
        key: &ChaChaKey,
        direction: Direction,
        esp: &mut [u8],
        sequence_high: Option<u32>,
        layout: Layout,
    ) -> bool {
        let Some(front) = esp.first_chunk::<FRONT_LEN>() else { return false };
        let nonce = nonce(key, front);
        let (aad, aad_len) = aad(front, sequence_high);
        let Some((_, received)) = esp.split_last_chunk::<16>() else { return false };
        let received = *received;
        // Never equal to what came, should the library not answer.
        let mut computed = (!u128::from_ne_bytes(received)).to_ne_bytes();
        let packet = esp.as_mut_ptr();
        let (raw, calls) = (self.instance.raw(), self.calls);
        // SAFETY: the manager is initialised and holds no job, so the next slot is free, and nobody else refers
        // to it.
        let next = unsafe { (calls.next)(raw) };
        // SAFETY: as above.
        let slot = unsafe { &mut *next };
        slot.cipher_mode = sys::IMB_CIPHER_CHACHA20_POLY1305;
        slot.hash_alg = sys::IMB_AUTH_CHACHA20_POLY1305;
        (slot.cipher_direction, slot.chain_order) = match direction {
            Direction::Seal => (sys::IMB_DIR_ENCRYPT, sys::IMB_ORDER_CIPHER_HASH),
            Direction::Open => (sys::IMB_DIR_DECRYPT, sys::IMB_ORDER_HASH_CIPHER),
        };
        slot.enc_keys = key.key().cast();
        slot.dec_keys = key.key().cast();
        slot.key_len_in_bytes = 32;
        slot.iv = nonce.as_ptr();
        slot.iv_len_in_bytes = nonce.len() as u64;
        slot.__bindgen_anon_1.src = packet;
        slot.__bindgen_anon_2.dst = packet.wrapping_add(layout.text);
        slot.__bindgen_anon_3.cipher_start_src_offset_in_bytes = layout.text as u64;
        slot.__bindgen_anon_4.msg_len_to_cipher_in_bytes = layout.text_len as u64;
        slot.hash_start_src_offset_in_bytes = layout.text as u64;
        slot.__bindgen_anon_5.msg_len_to_hash_in_bytes = layout.text_len as u64;
        slot.u.CHACHA20_POLY1305.aad = aad.as_ptr().cast();
        slot.u.CHACHA20_POLY1305.aad_len_in_bytes = aad_len;
        slot.auth_tag_output = computed.as_mut_ptr();
        slot.auth_tag_output_len_in_bytes = computed.len() as u64;
        // SAFETY: the slot describes the packet, its key and what lies on this stack; all of it lives until the
        // flush below has left no job behind.
        unsafe {
            (calls.submit)(raw);
            while !(calls.flush)(raw).is_null() {}
        }
        match direction {
            Direction::Seal => {
                // SAFETY: as above, and the library is done with it.
                let is_complete = unsafe { (*next).status } == sys::IMB_STATUS_COMPLETED;
                if let (true, Some(icv)) = (is_complete, esp.last_chunk_mut()) {
                    *icv = computed;
                }
                is_complete
            }
            Direction::Open => same16(&computed, &received),
        }
    }
}

/// RFC 7634, 2: salt and IV.
#[inline]
fn nonce(key: &ChaChaKey, front: &[u8; FRONT_LEN]) -> [u8; 12] {
    let mut nonce = [0; 12];
    nonce[..4].copy_from_slice(&key.salt());
    nonce[4..].copy_from_slice(&front[HEADER_LEN..]);
    nonce
}

/// RFC 7634, 2.1: SPI and sequence number, extended or not; and its length.
#[inline]
fn aad(front: &[u8; FRONT_LEN], sequence_high: Option<u32>) -> ([u8; 12], u64) {
    let mut aad = [0; 12];
    aad[..HEADER_LEN].copy_from_slice(&front[..HEADER_LEN]);
    let Some(high) = sequence_high else { return (aad, 8) };
    aad.copy_within(4..HEADER_LEN, HEADER_LEN);
    aad[4..HEADER_LEN].copy_from_slice(&high.to_be_bytes());
    (aad, 12)
}
