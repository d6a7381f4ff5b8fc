//! ICMPv4 errors (RFC 792, RFC 1812 4.3, RFC 1191).

use super::{TOS, TTL};
use crate::wire::icmp::{self, IcmpHeader};
use crate::wire::ipv4::{DONT_FRAGMENT, Ipv4Header};
use crate::wire::{U16, U32, checksum, protocol};
use zerocopy::FromBytes;

/// The longest error (RFC 1812 4.3.2.3): as much of the original as fits.
pub const MAX_LEN: usize = 576;
/// Every IPv4 link carries this much (RFC 791 3.2); no smaller MTU is ever announced.
pub const MIN_MTU: u16 = 68;

const HEADERS: usize = Ipv4Header::LEN + IcmpHeader::LEN;

/// What is told to the source of a packet that goes nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// 11/0: the TTL ran out here.
    TimeExceeded,
    /// 3/0: no route.
    NetUnreachable,
    /// 3/1: the last hop does not answer.
    HostUnreachable,
    /// 3/4: DF is set and the next link carries only `mtu`.
    FragmentationNeeded {
        /// MTU of the next link.
        mtu: u16,
    },
    /// 3/13: a filter refuses it (RFC 1812 5.2.7.1).
    Prohibited,
}

impl Error {
    fn header(self) -> IcmpHeader {
        let (kind, code, rest) = match self {
            Self::TimeExceeded => (icmp::V4_TIME_EXCEEDED, 0, 0),
            Self::NetUnreachable => (icmp::V4_UNREACHABLE, 0, 0),
            Self::HostUnreachable => (icmp::V4_UNREACHABLE, 1, 0),
            Self::FragmentationNeeded { mtu } => {
                (icmp::V4_UNREACHABLE, icmp::V4_FRAGMENTATION_NEEDED, u32::from(mtu.max(MIN_MTU)))
            }
            Self::Prohibited => (icmp::V4_UNREACHABLE, 13, 0),
        };
        IcmpHeader { kind, code, checksum: U16::ZERO, rest: U32::new(rest) }
    }
}

/// Writes the error about `offending` from our address `reporter` to the start of `out` and returns its
/// length; `None` when no error may be sent or `out` is too short for the original's header and eight bytes.
///
/// `offending` is a packet that `Ipv4Header::parse` accepted (or its first segment), as it was received;
/// `to_group` says that its frame was a link-layer multicast or broadcast.
pub fn write(out: &mut [u8], error: Error, reporter: u32, offending: &[u8], to_group: bool) -> Option<usize> {
    let original = Ipv4Header::view(offending)?;
    if to_group || !may_report(original, offending) {
        return None;
    }
    let room = out.len().min(MAX_LEN).checked_sub(HEADERS)?;
    let original_len = usize::from(original.total_len.get()).min(offending.len());
    let quoted = offending.get(..original_len.min(room))?;
    if quoted.len() < original_len.min(original.header_len() + 8) {
        return None;
    }
    let len = HEADERS + quoted.len();
    let (header, message) = Ipv4Header::mut_from_prefix(out.get_mut(..len)?).ok()?;
    *header = Ipv4Header {
        version_ihl: 0x45,
        tos: TOS,
        total_len: U16::new(u16::try_from(len).ok()?),
        // An atomic datagram needs no identification (RFC 6864 4.1).
        id: U16::ZERO,
        flags_fragment: U16::new(DONT_FRAGMENT),
        ttl: TTL,
        protocol: protocol::ICMP,
        checksum: U16::ZERO,
        src: U32::new(reporter),
        dst: original.src,
    };
    header.fill_checksum();
    let (icmp_header, quote) = IcmpHeader::mut_from_prefix(message).ok()?;
    *icmp_header = error.header();
    quote.copy_from_slice(quoted);
    let sum = checksum::checksum(message);
    IcmpHeader::mut_from_prefix(message).ok()?.0.checksum.set(sum);
    Some(len)
}

/// RFC 1122 3.2.2 and RFC 1812 4.3.2.7: the packets about which no error is sent.
fn may_report(original: &Ipv4Header, offending: &[u8]) -> bool {
    original.fragment_offset() == 0
        && names_one_host(original.src.get())
        && !is_group(original.dst.get())
        && !is_icmp_error(original, offending)
}

fn is_icmp_error(original: &Ipv4Header, offending: &[u8]) -> bool {
    original.protocol == protocol::ICMP
        // A type that cannot be read counts as an error: silence is the safe side.
        && offending.get(original.header_len()).is_none_or(|kind| icmp::v4_is_error(*kind))
}

/// Not 0/8, 127/8, multicast, class E or broadcast. A subnet's directed broadcast cannot be told from here.
fn names_one_host(address: u32) -> bool {
    !matches!(address >> 24, 0 | 127 | 224..)
}

/// Multicast or the limited broadcast.
fn is_group(address: u32) -> bool {
    address >> 28 == 0xe || address == u32::MAX
}
