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

#[cfg(test)]
mod tests {
    use super::*;

    const LOCAL: u32 = 0xcb00_7101;
    const REMOTE: u32 = 0xc000_024d;

    #[test]
    fn ours_comes_back_as_an_answer_and_theirs_is_a_request() {
        for (key, expected) in [(None, 24), (Some(7), 28)] {
            let mut out = [0; 64];
            let len = write_v4(&mut out, LOCAL, REMOTE, key).expect("room");
            assert_eq!(len, expected);
            let packet = &out[..len];
            let header = Ipv4Header::parse(packet).expect("valid");
            assert_eq!((header.src.get(), header.dst.get()), (REMOTE, LOCAL));
            let gre = Gre::parse(&packet[20..]).expect("valid");
            assert_eq!(gre.key, key);
            assert!(is_answer(&gre));
            // The peer that receives it sees its own endpoint as the source.
            assert!(is_request_v4(packet, REMOTE, LOCAL));
            assert!(!is_request_v4(packet, LOCAL, REMOTE));
            assert!(write_v4(&mut out[..len - 1], LOCAL, REMOTE, key).is_none());
        }
    }

    #[test]
    fn over_ipv6() {
        let (local, remote) = (0x2001_0db8_u128 << 96 | 1, 0x2001_0db8_u128 << 96 | 2);
        let mut out = [0; 64];
        let len = write_v6(&mut out, local, remote, Some(7)).expect("room");
        assert_eq!(len, 48);
        let packet = &out[..len];
        let header = Ipv6Header::parse(packet).expect("valid");
        assert_eq!((header.src.get(), header.dst.get()), (remote, local));
        assert!(is_request_v6(packet, remote, local));
        assert!(!is_request_v6(packet, local, remote));
        assert!(write_v6(&mut out[..len - 1], local, remote, Some(7)).is_none());
    }

    #[test]
    fn other_packets_to_the_far_end_are_no_requests() {
        let mut out = [0; 64];
        let len = write_v4(&mut out, REMOTE, LOCAL, None).expect("room");
        assert!(is_request_v4(&out[..len], LOCAL, REMOTE));
        let mut nested = out;
        nested[22..24].copy_from_slice(&0x0800u16.to_be_bytes());
        assert!(!is_request_v4(&nested[..len], LOCAL, REMOTE), "GRE in GRE is a loop");
        let mut udp = out;
        udp[9] = protocol::UDP;
        assert!(!is_request_v4(&udp[..len], LOCAL, REMOTE));
        let mut fragment = out;
        fragment[7] = 1;
        assert!(!is_request_v4(&fragment[..len], LOCAL, REMOTE));
        assert!(!is_request_v4(&out[..22], LOCAL, REMOTE));
        assert!(!is_request_v4(&[], LOCAL, REMOTE));
    }
}
