//! What is around a packet in an ESP tunnel of any kind: the trailer and room for the ICV behind it; room for the IV, the
//! ESP header, UDP and the outer IP header in front (RFC 4303 2, RFC 3948 2.1). The packet itself is not looked at.

use super::sa::Outbound;
use super::trailer;
use crate::drop_reason::DropReason;
use crate::frame::Buffer;
use crate::outer::{self, Fields};
use crate::tables::Tunnel;
use crate::tables::tunnel::{ESP_BLOCK, OUTER_LEN};
use crate::wire::checksum::Checksum;
use crate::wire::ipv6::Ipv6Header;
use crate::wire::protocol;
use crate::wire::udp::UdpHeader;

/// What the headers around a packet take from it.
pub(super) struct Header {
    pub fields: Fields,
    pub flow_label: u32,
    pub next_header: u8,
}

/// The length that a packet will have.
pub(super) fn sealed_len(inner_len: usize, tunnel: &Tunnel, sa: &Outbound) -> usize {
    let lengths = sa.lengths;
    let body = inner_len + trailer::pad_len(inner_len, lengths.block_mask) + 2;
    usize::from(tunnel.outer_len) - ESP_BLOCK + 8 + usize::from(lengths.iv) + body + usize::from(lengths.icv)
}

/// Adds the trailer, room for IV and ICV, and the outer headers. Returns where the ESP header is, all zero.
#[inline(always)]
pub(super) fn dress<B: Buffer>(
    packet: &mut B,
    inner_len: usize,
    header: &Header,
    tunnel: &Tunnel,
    sa: &Outbound,
    next_ip_id: &mut u16,
) -> Result<usize, DropReason> {
    // 1. Behind the packet.
    let pad_len = trailer::pad_len(inner_len, sa.lengths.block_mask);
    let has_room = packet.append(pad_len + 2 + usize::from(sa.lengths.icv))
        && packet
            .data_mut()
            .get_mut(inner_len..)
            .is_some_and(|tail| trailer::write(tail, pad_len, header.next_header));
    if !has_room {
        return Err(DropReason::NoTailroom);
    }
    // 2. In front of it. The tunnel's block ends in an ESP header and eight bytes of IV.
    let outer_len = usize::from(tunnel.outer_len);
    let esp_at = outer_len - ESP_BLOCK;
    match sa.lengths.iv {
        8 => push(packet, &tunnel.outer, outer_len, header, tunnel, next_ip_id)?,
        0 => {
            let mut block = [0; OUTER_LEN];
            block[8..].copy_from_slice(&tunnel.outer[..OUTER_LEN - 8]);
            push(packet, &block, outer_len - 8, header, tunnel, next_ip_id)?;
        }
        _ => {
            if !packet.push_block(&[0; 8], 8) {
                return Err(DropReason::NoHeadroom);
            }
            push(packet, &tunnel.outer, outer_len, header, tunnel, next_ip_id)?;
        }
    }
    if tunnel.udp {
        set_udp_len(packet, esp_at);
    }
    Ok(esp_at)
}

#[inline(always)]
fn push<B: Buffer>(
    packet: &mut B,
    block: &[u8; OUTER_LEN],
    len: usize,
    header: &Header,
    tunnel: &Tunnel,
    next_ip_id: &mut u16,
) -> Result<(), DropReason> {
    if tunnel.outer_v6 {
        outer::push_v6(packet, block, len, header.fields, header.flow_label)
    } else {
        outer::push_v4(packet, block, len, tunnel, header.fields, next_ip_id)
    }
}

/// RFC 3948 2.1.
#[inline(always)]
fn set_udp_len<B: Buffer>(packet: &mut B, esp_at: usize) {
    let udp_at = esp_at.wrapping_sub(UdpHeader::LEN);
    let len = packet.total_len().wrapping_sub(udp_at) as u16;
    if let Some(field) = packet.data_mut().get_mut(udp_at + 4..udp_at + 6) {
        field.copy_from_slice(&len.to_be_bytes());
    }
}

/// Over IPv4 the checksum is left out (RFC 3948 2.1); over IPv6 kernels insist on it (RFC 8200 8.1).
#[inline(never)]
pub(super) fn fill_udp_checksum(outer: &mut [u8]) {
    let Some(header) = Ipv6Header::view(outer).filter(|h| h.vtc_flow.get() >> 28 == 6) else { return };
    if header.next_header != protocol::UDP {
        return;
    }
    let (src, dst) = (header.src.get(), header.dst.get());
    let Some(datagram) = outer.get_mut(Ipv6Header::LEN..) else { return };
    let mut sum = Checksum::pseudo_v6(src, dst, protocol::UDP, datagram.len() as u32);
    sum.add_bytes(datagram);
    let value = match !sum.sum() {
        0 => 0xffff,
        value => value,
    };
    if let Some(field) = datagram.get_mut(6..8) {
        field.copy_from_slice(&value.to_be_bytes());
    }
}
