//! ICMPv6 errors (RFC 4443).

use super::{TOS, TTL};
use crate::wire::checksum::Checksum;
use crate::wire::icmp::{self, IcmpHeader};
use crate::wire::ipv6::{self, Ipv6Header};
use crate::wire::{U16, U32, U128, protocol};
use zerocopy::FromBytes;

/// The longest error (RFC 4443 2.4 (c)), and the least MTU of an IPv6 link (RFC 8200 5).
pub const MAX_LEN: usize = 1280;
/// No smaller MTU is ever announced: a receiver would discard it (RFC 8201 4).
pub const MIN_MTU: u32 = 1280;

const HEADERS: usize = Ipv6Header::LEN + IcmpHeader::LEN;

/// What is told to the source of a packet that goes nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// 3/0: the hop limit ran out here.
    TimeExceeded,
    /// 1/0: no route.
    NoRoute,
    /// 1/1: a filter refuses it.
    Prohibited,
    /// 1/3: the last hop does not answer.
    AddressUnreachable,
    /// 2/0: the next link carries only `mtu`.
    PacketTooBig {
        /// MTU of the next link.
        mtu: u32,
    },
}

impl Error {
    fn header(self) -> IcmpHeader {
        let (kind, code, rest) = match self {
            Self::TimeExceeded => (icmp::V6_TIME_EXCEEDED, 0, 0),
            Self::NoRoute => (icmp::V6_UNREACHABLE, 0, 0),
            Self::Prohibited => (icmp::V6_UNREACHABLE, 1, 0),
            Self::AddressUnreachable => (icmp::V6_UNREACHABLE, 3, 0),
            Self::PacketTooBig { mtu } => (icmp::V6_PACKET_TOO_BIG, 0, mtu.max(MIN_MTU)),
        };
        IcmpHeader { kind, code, checksum: U16::ZERO, rest: U32::new(rest) }
    }

    /// RFC 4443 2.4 (e.3): path MTU discovery works for multicast too.
    fn is_for_groups(self) -> bool {
        matches!(self, Self::PacketTooBig { .. })
    }
}

/// Writes the error about `offending` from our address `reporter` to the start of `out` and returns its
/// length; `None` when no error may be sent or `out` is too short for the original's header and eight bytes.
///
/// `offending` is a packet that `Ipv6Header::parse` accepted (or its first segment), as it was received;
/// `to_group` says that its frame was a link-layer multicast or broadcast.
pub fn write(
    out: &mut [u8],
    error: Error,
    reporter: u128,
    offending: &[u8],
    to_group: bool,
) -> Option<usize> {
    let original = Ipv6Header::view(offending)?;
    if !may_report(error, original, offending, to_group) {
        return None;
    }
    let room = out.len().min(MAX_LEN).checked_sub(HEADERS)?;
    let original_len = original.packet_len().min(offending.len());
    let quoted = offending.get(..original_len.min(room))?;
    if quoted.len() < original_len.min(Ipv6Header::LEN + 8) {
        return None;
    }
    let message_len = IcmpHeader::LEN + quoted.len();
    let len = Ipv6Header::LEN + message_len;
    let (header, message) = Ipv6Header::mut_from_prefix(out.get_mut(..len)?).ok()?;
    *header = Ipv6Header {
        vtc_flow: U32::new(0x6000_0000 | u32::from(TOS) << 20),
        payload_len: U16::new(u16::try_from(message_len).ok()?),
        next_header: protocol::ICMPV6,
        hop_limit: TTL,
        src: U128::new(reporter),
        dst: original.src,
    };
    let (icmp_header, quote) = IcmpHeader::mut_from_prefix(message).ok()?;
    *icmp_header = error.header();
    quote.copy_from_slice(quoted);
    let message_len = u32::try_from(message_len).ok()?;
    let mut sum = Checksum::pseudo_v6(reporter, original.src.get(), protocol::ICMPV6, message_len);
    sum.add_bytes(message);
    IcmpHeader::mut_from_prefix(message).ok()?.0.checksum.set(sum.finish());
    Some(len)
}

/// RFC 4443 2.4 (e): the packets about which no error is sent.
fn may_report(error: Error, original: &Ipv6Header, offending: &[u8], to_group: bool) -> bool {
    let group = to_group || is_multicast(original.dst.get());
    names_one_node(original.src.get())
        && (!group || error.is_for_groups())
        && !is_icmp_error_or_unknown(offending)
}

/// An ICMPv6 error or redirect, or a packet of which that cannot be told: a chain of headers that does not
/// end, or a later fragment of an ICMPv6 message.
fn is_icmp_error_or_unknown(offending: &[u8]) -> bool {
    let Some(transport) = ipv6::transport(offending) else { return true };
    transport.protocol == protocol::ICMPV6
        && (transport.is_later_fragment()
            || offending
                .get(transport.offset)
                .is_none_or(|kind| icmp::v6_is_error(*kind) || *kind == icmp::V6_REDIRECT))
}

/// Not unspecified, loopback or multicast. An anycast source cannot be told from here.
fn names_one_node(address: u128) -> bool {
    address > 1 && !is_multicast(address)
}

fn is_multicast(address: u128) -> bool {
    address >> 120 == 0xff
}
