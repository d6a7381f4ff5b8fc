//! The shortest way into an ESP tunnel: what nearly every packet is, IPv4 that fits, in ESP in IPv4, under an AEAD,
//! without UDP, ESN or selectors. Every place is known beforehand.
//!
//! Decides nothing that [`super::seal`] does not: a packet that is not plain in some way is left as it was, and takes
//! the general way.

use super::sa::Outbound;
use super::trailer;
use crate::frame::Buffer;
use crate::mss;
use crate::outer::Fields;
use crate::tables::Tunnel;
use crate::tables::tunnel::ESP_BLOCK;
use crate::wire::ipv4::Ipv4Header;
use crate::wire::protocol;

/// Bytes of the outer IPv4 header, and where the ESP header is.
const ESP_AT: usize = Ipv4Header::LEN;
/// Outer IPv4 header, ESP header and IV.
const FRONT: usize = ESP_AT + ESP_BLOCK;
/// Alignment of payload and trailer, less one.
const BLOCK_MASK: u8 = 3;

/// Whether the inner packet is plain: IPv4 without a SYN, with a hop left.
#[inline(always)]
pub(super) fn is_plain(l3: &[u8]) -> bool {
    Ipv4Header::view(l3).is_some_and(|header| header.ttl > 1) && !mss::may_be_syn_v4(l3)
}

/// Makes a plain packet ready to be sealed: TTL, trailer, outer header, ESP header. Returns it from its ESP header on;
/// `None` when the buffer has no room.
#[inline(always)]
pub(super) fn enclose<'p, B: Buffer>(
    packet: &'p mut B,
    len: usize,
    tunnel: &Tunnel,
    sa: &Outbound,
    sequence: u64,
    next_ip_id: &mut u16,
) -> Option<&'p mut [u8]> {
    let l3 = packet.data_mut();
    Ipv4Header::view_mut(l3)?.decrement_ttl();
    let fields = Fields::of(l3, false, tunnel);
    let ip_id = fields.ip_id(next_ip_id);
    let pad_len = trailer::pad_len(len, BLOCK_MASK);
    let whole = packet.enclose(&tunnel.outer, FRONT, pad_len + 2 + usize::from(sa.lengths.icv))?;
    let total_len = whole.len() as u16;
    trailer::write(whole.get_mut(FRONT + len..)?, pad_len, protocol::IPV4);
    let front = whole.first_chunk_mut::<{ ESP_AT + 8 }>()?;
    let first = 0x45 << 56
        | u64::from(fields.tos) << 48
        | u64::from(total_len) << 32
        | u64::from(ip_id) << 16
        | u64::from(fields.flags);
    let checksum = fields.checksum(tunnel, total_len, ip_id);
    let second = u32::from(fields.ttl) << 24 | u32::from(protocol::ESP) << 16 | u32::from(checksum);
    front[..8].copy_from_slice(&first.to_be_bytes());
    front[8..12].copy_from_slice(&second.to_be_bytes());
    let esp = u64::from(sa.spi) << 32 | sequence & 0xffff_ffff;
    front[ESP_AT..].copy_from_slice(&esp.to_be_bytes());
    whole.get_mut(ESP_AT..)
}
