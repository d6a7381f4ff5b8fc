//! The outer IP header, the same for every kind of tunnel: what it takes from the inner packet (DSCP, ECN, TTL, DF),
//! the prebuilt block in one copy, and the fields that vary.

use crate::burst::Meta;
use crate::drop_reason::DropReason;
use crate::flow;
use crate::frame::Buffer;
use crate::tables::tunnel::{MIN_PATH_MTU_V6, OUTER_LEN};
use crate::tables::{DontFragment, Tunnel};
use crate::wire::checksum;
use crate::wire::ipv4::{DONT_FRAGMENT, Ipv4Header};
use crate::wire::ipv6::Ipv6Header;

/// What an outer header takes from the inner one.
#[derive(Clone, Copy)]
pub(crate) struct Fields {
    pub tos: u8,
    pub ttl: u8,
    pub flags: u16,
}

impl Fields {
    /// Of an inner packet whose TTL was decremented.
    #[inline(always)]
    pub fn of(l3: &[u8], v6: bool, tunnel: &Tunnel) -> Self {
        let (tos, ttl, flags) = if v6 {
            // An inner IPv6 packet counts as DF=1.
            Ipv6Header::view(l3).map_or((0, 0, 0), |h| (h.traffic_class(), h.hop_limit, DONT_FRAGMENT))
        } else {
            Ipv4Header::view(l3).map_or((0, 0, 0), |h| (h.tos, h.ttl, h.flags_fragment.get()))
        };
        Self { tos: tunnel.outer_tos(tos), ttl: tunnel.outer_ttl(ttl), flags: tunnel.outer_flags(flags) }
    }

    /// The identification of an outer IPv4 packet: an atomic datagram's means nothing, any other's tells datagrams apart
    /// (RFC 6864 4.2).
    #[inline(always)]
    pub fn ip_id(&self, next: &mut u16) -> u16 {
        if self.flags != 0 {
            return 0;
        }
        let ip_id = *next;
        *next = ip_id.wrapping_add(1);
        ip_id
    }

    /// The checksum of an outer IPv4 header of `tunnel`.
    #[inline(always)]
    pub fn checksum(&self, tunnel: &Tunnel, total_len: u16, ip_id: u16) -> u16 {
        // These fields are zero in the template that `outer_sum` covers.
        let sum = tunnel.outer_sum
            + u32::from(self.tos)
            + u32::from(total_len)
            + u32::from(ip_id)
            + u32::from(self.flags)
            + (u32::from(self.ttl) << 8);
        !checksum::fold_u32(sum)
    }

    /// The outer packet will be cut.
    #[inline(always)]
    pub fn allow_fragments(&mut self) {
        self.flags = 0;
    }
}

/// Whether a packet beyond the tunnel's MTU is encapsulated whole and the outer packet cut: the
/// tunnel says so, or it is IPv6 of a size that no router may refuse (RFC 8200 section 5). `outer_len` is the length
/// of the outer packet.
#[inline(never)]
pub(crate) fn is_cut_outside(meta: &Meta, tunnel: &Tunnel, inner_len: usize, outer_len: usize) -> bool {
    let minimal = meta.v6 && inner_len <= usize::from(MIN_PATH_MTU_V6);
    (tunnel.df == DontFragment::Clear || minimal) && outer_len <= usize::from(u16::MAX)
}

/// Puts the last `len` bytes of `block`, the tunnel's, in front of the packet, whose end is final, and fills in the
/// IPv4 header.
#[inline(always)]
pub(crate) fn push_v4<B: Buffer>(
    packet: &mut B,
    block: &[u8; OUTER_LEN],
    len: usize,
    tunnel: &Tunnel,
    fields: Fields,
    next_ip_id: &mut u16,
) -> Result<(), DropReason> {
    if !packet.push_block(block, len) {
        return Err(DropReason::NoHeadroom);
    }
    let total_len = packet.total_len() as u16;
    let ip_id = fields.ip_id(next_ip_id);
    let header = Ipv4Header::view_mut(packet.data_mut()).ok_or(DropReason::NoHeadroom)?;
    header.tos = fields.tos;
    header.total_len.set(total_len);
    header.id.set(ip_id);
    header.flags_fragment.set(fields.flags);
    header.ttl = fields.ttl;
    header.checksum.set(fields.checksum(tunnel, total_len, ip_id));
    Ok(())
}

/// RFC 6438: the flow label carries the inner flow, for equal-cost paths on the way. `l3` is the inner packet.
#[inline]
pub(crate) fn flow_label(l3: &[u8], v6: bool) -> u32 {
    let hash = if v6 { flow::hash_v6(l3) } else { flow::hash_v4(l3) };
    hash & 0xf_ffff
}

/// As `push_v4`, over IPv6.
#[inline(never)]
pub(crate) fn push_v6<B: Buffer>(
    packet: &mut B,
    block: &[u8; OUTER_LEN],
    len: usize,
    fields: Fields,
    label: u32,
) -> Result<(), DropReason> {
    if !packet.push_block(block, len) {
        return Err(DropReason::NoHeadroom);
    }
    let payload_len = packet.total_len().wrapping_sub(Ipv6Header::LEN) as u16;
    let header = Ipv6Header::view_mut(packet.data_mut()).ok_or(DropReason::NoHeadroom)?;
    header.payload_len.set(payload_len);
    header.vtc_flow.set(0x6000_0000 | u32::from(fields.tos) << 20 | label);
    header.hop_limit = fields.ttl;
    Ok(())
}
