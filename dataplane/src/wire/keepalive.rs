//! GRE keepalives as Cisco, Juniper and MikroTik routers send them.
//!
//! There is no protocol: the sender puts a packet into the tunnel that is addressed back to itself. Its inner
//! packet goes from the receiver to the sender, is GRE again, and has protocol type 0. A receiver that only
//! decapsulates and forwards has thereby answered. The sender knows its answer by the protocol type.
//!
//! So to answer one is to forward the inner packet on the underlay (`is_request`), and to send one is to
//! encapsulate `write_v4` or `write_v6` like any inner packet; `Gre::protocol` 0 on arrival (`is_answer`) is
//! the answer.

use super::gre::Gre;
use super::ipv4::Ipv4Header;
use super::ipv6::Ipv6Header;
use super::{U16, U32, U128, protocol};
use zerocopy::FromBytes;

/// Protocol type in the GRE header of a keepalive's inner packet.
pub const PROTOCOL_TYPE: u16 = 0;

/// The GRE header ends a keepalive that we sent: its protocol type is 0.
#[inline(always)]
pub fn is_answer(gre: &Gre) -> bool {
    gre.protocol == PROTOCOL_TYPE
}

/// The inner IPv4 packet, just decapsulated from the tunnel between `local` (us) and `remote`, asks to be
/// sent back. `inner` was checked by `Ipv4Header::parse`.
pub fn is_request_v4(inner: &[u8], local: u32, remote: u32) -> bool {
    let Some(header) = Ipv4Header::view(inner) else { return false };
    header.protocol == protocol::GRE
        && header.dst.get() == remote
        && header.src.get() == local
        && !header.is_fragment()
        && inner.get(header.header_len()..).is_some_and(holds_type_0)
}

/// As `is_request_v4`, for an IPv6 inner packet that was checked by `Ipv6Header::parse`.
pub fn is_request_v6(inner: &[u8], local: u128, remote: u128) -> bool {
    let Some(header) = Ipv6Header::view(inner) else { return false };
    header.next_header == protocol::GRE
        && header.dst.get() == remote
        && header.src.get() == local
        && inner.get(Ipv6Header::LEN..).is_some_and(holds_type_0)
}

fn holds_type_0(gre: &[u8]) -> bool {
    Gre::parse(gre).is_ok_and(|gre| gre.protocol == PROTOCOL_TYPE)
}

/// Writes the inner packet of a keepalive of ours, from `remote` to `local`, and returns its length; `None`
/// when `out` is too short. A tunnel's key is repeated in it: routers check it on the way back.
pub fn write_v4(out: &mut [u8], local: u32, remote: u32, key: Option<u32>) -> Option<usize> {
    let (header, rest) = Ipv4Header::mut_from_prefix(out).ok()?;
    let gre_len = inner_gre(key).write(rest)?;
    let len = Ipv4Header::LEN + gre_len;
    *header = Ipv4Header {
        version_ihl: 0x45,
        // Network control (RFC 4594 3.1): a keepalive that congestion drops would take the tunnel down.
        tos: 0xc0,
        total_len: U16::new(u16::try_from(len).ok()?),
        id: U16::ZERO,
        flags_fragment: U16::ZERO,
        ttl: 255,
        protocol: protocol::GRE,
        checksum: U16::ZERO,
        src: U32::new(remote),
        dst: U32::new(local),
    };
    header.fill_checksum();
    Some(len)
}

/// As `write_v4`, for a tunnel over IPv6.
pub fn write_v6(out: &mut [u8], local: u128, remote: u128, key: Option<u32>) -> Option<usize> {
    let (header, rest) = Ipv6Header::mut_from_prefix(out).ok()?;
    let gre_len = inner_gre(key).write(rest)?;
    *header = Ipv6Header {
        vtc_flow: U32::new(0x6c00_0000),
        payload_len: U16::new(u16::try_from(gre_len).ok()?),
        next_header: protocol::GRE,
        hop_limit: 255,
        src: U128::new(remote),
        dst: U128::new(local),
    };
    Some(Ipv6Header::LEN + gre_len)
}

fn inner_gre(key: Option<u32>) -> Gre {
    let header_len = Gre::len_with(false, key.is_some(), false);
    Gre { header_len, checksum: false, key, sequence: None, protocol: PROTOCOL_TYPE }
}
