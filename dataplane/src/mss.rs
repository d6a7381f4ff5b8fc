//! TCP maximum segment size, lowered to what the tunnel carries.
//!
//! Only the MSS option of a SYN or SYN-ACK is changed, only downward, and the TCP checksum is mended from the
//! difference (RFC 1624), so a packet that was wrong stays wrong. Never added: an option that is not there
//! (RFC 9293 3.7.1 then means 536). Never touched: fragments other than the first, and packets whose options
//! cannot be read up to the MSS. What follows the MSS in the list is not looked at, as receivers take the
//! value before they trip over what is behind it.
//!
//! Per packet the pipeline asks only `may_be_syn_*`, a few instructions; the rest is out of line but written
//! for a flood of SYNs: the place where every known stack puts the option is tried first.

use crate::wire::checksum::update16;
use crate::wire::ipv4::{Ipv4Header, OFFSET_MASK};
use crate::wire::ipv6::{self, Ipv6Header};
use crate::wire::protocol;
use crate::wire::tcp::{self, TcpHeader};
use zerocopy::FromBytes;

/// What clamping did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clamp {
    /// Not a TCP SYN or SYN-ACK, or a later fragment.
    NotSyn,
    /// The option was above the limit and is now at it.
    Clamped,
    /// The option was at or below the limit.
    Unchanged,
    /// A SYN without the option.
    NoOption,
    /// The options end too early or lie about their lengths; nothing was changed.
    Malformed,
}

/// Where the first TCP option's value is when the option is an MSS.
const FIRST_OPTION: usize = TcpHeader::LEN;
/// Kind and length of an MSS option.
const MSS_KIND_LEN: [u8; 2] = [tcp::OPTION_MSS, 4];

/// `false` when the IPv4 packet is surely not a SYN; `true` when `clamp_v4` must look.
#[inline(always)]
pub fn may_be_syn_v4(l3: &[u8]) -> bool {
    let Some(start) = l3.first_chunk::<{ Ipv4Header::LEN + TcpHeader::LEN }>() else { return false };
    // Byte 13 of the TCP header are the flags; with IP options they are elsewhere, and rare enough to ask.
    start[9] == protocol::TCP && (start[0] != 0x45 || start[Ipv4Header::LEN + 13] & tcp::SYN != 0)
}

/// `false` when the IPv6 packet is surely not a SYN; `true` when `clamp_v6` must look.
#[inline(always)]
pub fn may_be_syn_v6(l3: &[u8]) -> bool {
    let Some(start) = l3.first_chunk::<{ Ipv6Header::LEN + TcpHeader::LEN }>() else { return false };
    match start[6] {
        protocol::TCP => start[Ipv6Header::LEN + 13] & tcp::SYN != 0,
        next => matches!(
            next,
            protocol::HOP_BY_HOP
                | protocol::ROUTING
                | protocol::FRAGMENT
                | protocol::AH
                | protocol::DESTINATION_OPTIONS
                | protocol::MOBILITY
                | protocol::HIP
                | protocol::SHIM6
        ),
    }
}

/// Lowers the MSS of an IPv4 SYN to `limit`.
///
/// `l3` starts with a header that `Ipv4Header::parse` accepted; of a chained packet it may be the first
/// segment only.
#[inline(never)]
pub fn clamp_v4(l3: &mut [u8], limit: u16) -> Clamp {
    let Some(header) = Ipv4Header::view(l3) else { return Clamp::NotSyn };
    if header.protocol != protocol::TCP || header.flags_fragment.get() & OFFSET_MASK != 0 {
        return Clamp::NotSyn;
    }
    let start = header.header_len();
    let end = usize::from(header.total_len.get()).min(l3.len());
    l3.get_mut(start..end).map_or(Clamp::Malformed, |l4| clamp_tcp(l4, limit))
}

/// Lowers the MSS of an IPv6 SYN to `limit`, behind extension headers too.
///
/// `l3` starts with a header that `Ipv6Header::parse` accepted; of a chained packet it may be the first
/// segment only.
#[inline(never)]
pub fn clamp_v6(l3: &mut [u8], limit: u16) -> Clamp {
    let Some(header) = Ipv6Header::view(l3) else { return Clamp::NotSyn };
    let end = header.packet_len().min(l3.len());
    let Some(transport) = ipv6::transport(l3) else { return Clamp::NotSyn };
    if transport.protocol != protocol::TCP || transport.is_later_fragment() {
        return Clamp::NotSyn;
    }
    l3.get_mut(transport.offset..end).map_or(Clamp::Malformed, |l4| clamp_tcp(l4, limit))
}

/// Lowers the MSS in the TCP segment `l4`, which ends where the packet ends.
#[inline(always)]
fn clamp_tcp(l4: &mut [u8], limit: u16) -> Clamp {
    let len = l4.len();
    let Ok((header, options)) = TcpHeader::mut_from_prefix(l4) else { return Clamp::Malformed };
    if !header.is_syn() {
        return Clamp::NotSyn;
    }
    let header_len = header.header_len();
    if header_len < TcpHeader::LEN || header_len > len {
        return Clamp::Malformed;
    }
    // The usual case: MSS is the first option.
    if header_len > FIRST_OPTION
        && let Some([kind, option_len, high, low]) = options.first_chunk_mut::<4>()
        && [*kind, *option_len] == MSS_KIND_LEN
    {
        let mss = u16::from_be_bytes([*high, *low]);
        if mss <= limit {
            return Clamp::Unchanged;
        }
        [*high, *low] = limit.to_be_bytes();
        header.checksum.set(update16(header.checksum.get(), mss, limit));
        return Clamp::Clamped;
    }
    let Some(options) = options.get_mut(..header_len - TcpHeader::LEN) else { return Clamp::Malformed };
    clamp_in_list(header, options, limit)
}

/// Looks for the option anywhere in the list, at an odd offset too.
#[inline(never)]
fn clamp_in_list(header: &mut TcpHeader, options: &mut [u8], limit: u16) -> Clamp {
    let mut at = 0;
    // Bounded: every turn moves on by at least one of at most 40 bytes.
    while let Some(&kind) = options.get(at) {
        match kind {
            tcp::OPTION_END => return Clamp::NoOption,
            tcp::OPTION_NOP => {
                at += 1;
                continue;
            }
            _ => {}
        }
        let Some(&option_len) = options.get(at + 1) else { return Clamp::Malformed };
        let option_len = usize::from(option_len);
        let Some(option) = options.get_mut(at..at + option_len) else { return Clamp::Malformed };
        if option_len < 2 {
            return Clamp::Malformed;
        }
        if kind == tcp::OPTION_MSS {
            let [_, _, value @ ..] = option else { return Clamp::Malformed };
            let Ok(value) = <&mut [u8; 2]>::try_from(value) else { return Clamp::Malformed };
            return lower(header, value, at % 2 != 0, limit);
        }
        at += option_len;
    }
    Clamp::NoOption
}

fn lower(header: &mut TcpHeader, value: &mut [u8; 2], odd: bool, limit: u16) -> Clamp {
    let mss = u16::from_be_bytes(*value);
    if mss <= limit {
        return Clamp::Unchanged;
    }
    *value = limit.to_be_bytes();
    // At an odd offset the two bytes belong to two words; ones-complement sums allow to swap both sides.
    let (old, new) = if odd { (mss.swap_bytes(), limit.swap_bytes()) } else { (mss, limit) };
    header.checksum.set(update16(header.checksum.get(), old, new));
    Clamp::Clamped
}

#[cfg(test)]
mod tests;
