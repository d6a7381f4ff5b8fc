//! Health probes: an ICMP echo (RFC 792, 4443) whose data says which probe it is, and shows that we made it.
//!
//! | bytes | what |
//! |---|---|
//! | 4 | `PSHP` |
//! | 1 | version, 1 |
//! | 1 | 0 |
//! | 2 | number of the node that sent it |
//! | 4 | number of the tunnel, there |
//! | 4 | 0 |
//! | 8 | serial number, never twice in a life of the node |
//! | 16 | SipHash-2-4 with 128 bits over all before it |
//!
//! Numbers are big-endian. The hash is keyed, so nobody can make an answer to a probe that he has not seen. Both kinds of
//! probe come back as an echo reply: a request is answered with one, and a reply is sent home as it is.

use std::net::IpAddr;

use siphasher::sip128::{Hasher128, SipHasher24};
use std::hash::Hasher;
use subtle::ConstantTimeEq;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::checksum::{Checksum, checksum};
use super::icmp::{self, IcmpHeader};
use super::ipv4::Ipv4Header;
use super::ipv6::Ipv6Header;
use super::{U16, U32, U64, U128, protocol};
use crate::tables::fleet::{Token, Tokens};

const MAGIC: [u8; 4] = *b"PSHP";
const VERSION: u8 = 1;
/// What the hash covers.
const COVERED: usize = 24;
/// Bytes of the hash.
const TAG_LEN: usize = 16;
/// ICMP header and data.
const MESSAGE_LEN: usize = IcmpHeader::LEN + Data::LEN;
/// Longest probe, from its IP header on: over IPv6.
pub const MAX_LEN: usize = Ipv6Header::LEN + MESSAGE_LEN;
/// TTL and hop limit; one is taken off on the way into the tunnel.
const TTL: u8 = 65;

#[derive(Clone, Copy, FromBytes, IntoBytes, Unaligned, KnownLayout, Immutable)]
#[repr(C)]
struct Data {
    magic: [u8; 4],
    version: u8,
    zero: u8,
    node: U16,
    tunnel: U32,
    zeros: [u8; 4],
    serial: U64,
    tag: [u8; TAG_LEN],
}

impl Data {
    const LEN: usize = size_of::<Self>();
}

const _: () = assert!(Data::LEN == COVERED + TAG_LEN);

/// Which probe it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Probe {
    /// The node that sent it.
    pub node: u16,
    /// The tunnel, as that node numbers it.
    pub tunnel: u32,
    /// Never twice in a life of that node.
    pub serial: u64,
}

/// What the far end has to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Style {
    /// An echo request: answer it.
    Request,
    /// An echo reply: send it home, as any packet.
    Reply,
}

impl Probe {
    /// Writes the whole inner packet between `ours` and the `target`, which are of one family, and returns its length.
    /// A request goes from us to the target; a reply says that it comes from there. `None` when `out` is shorter than
    /// [`MAX_LEN`] or the families differ.
    pub fn write(
        self,
        out: &mut [u8; MAX_LEN],
        style: Style,
        ours: IpAddr,
        target: IpAddr,
        key: &Token,
    ) -> Option<usize> {
        let (src, dst) = match style {
            Style::Request => (ours, target),
            Style::Reply => (target, ours),
        };
        // Wherever it goes, a probe of one tunnel takes one way: routers hash this field.
        let echo = U32::new((self.tunnel & 0xffff) << 16 | (self.serial as u32 & 0xffff));
        let header = |kind| IcmpHeader { kind, code: 0, checksum: U16::ZERO, rest: echo };
        let message = |kind| -> [u8; MESSAGE_LEN] {
            let mut bytes = [0; MESSAGE_LEN];
            bytes[..IcmpHeader::LEN].copy_from_slice(header(kind).as_bytes());
            bytes[IcmpHeader::LEN..].copy_from_slice(self.data(key).as_bytes());
            bytes
        };
        match (src, dst) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => {
                let mut message = message(match style {
                    Style::Request => icmp::V4_ECHO_REQUEST,
                    Style::Reply => icmp::V4_ECHO_REPLY,
                });
                let sum = checksum(&message);
                message[2..4].copy_from_slice(&sum.to_be_bytes());
                let len = Ipv4Header::LEN + MESSAGE_LEN;
                let mut ip = Ipv4Header {
                    version_ihl: 0x45,
                    tos: 0,
                    total_len: U16::new(len as u16),
                    id: U16::ZERO,
                    flags_fragment: U16::new(super::ipv4::DONT_FRAGMENT),
                    ttl: TTL,
                    protocol: protocol::ICMP,
                    checksum: U16::ZERO,
                    src: U32::new(src.into()),
                    dst: U32::new(dst.into()),
                };
                ip.fill_checksum();
                out[..Ipv4Header::LEN].copy_from_slice(ip.as_bytes());
                out[Ipv4Header::LEN..len].copy_from_slice(&message);
                Some(len)
            }
            (IpAddr::V6(src), IpAddr::V6(dst)) => {
                let mut message = message(match style {
                    Style::Request => icmp::V6_ECHO_REQUEST,
                    Style::Reply => icmp::V6_ECHO_REPLY,
                });
                let (src, dst) = (u128::from(src), u128::from(dst));
                let mut sum = Checksum::pseudo_v6(src, dst, protocol::ICMPV6, MESSAGE_LEN as u32);
                sum.add_bytes(&message);
                message[2..4].copy_from_slice(&sum.finish().to_be_bytes());
                let ip = Ipv6Header {
                    vtc_flow: U32::new(0x6000_0000),
                    payload_len: U16::new(MESSAGE_LEN as u16),
                    next_header: protocol::ICMPV6,
                    hop_limit: TTL,
                    src: U128::new(src),
                    dst: U128::new(dst),
                };
                out[..Ipv6Header::LEN].copy_from_slice(ip.as_bytes());
                out[Ipv6Header::LEN..].copy_from_slice(&message);
                Some(MAX_LEN)
            }
            _ => None,
        }
    }

    /// The probe that an IP packet, whose header was checked, answers; `None` when it is anything else, or was not made
    /// with one of these keys.
    pub fn answered(l3: &[u8], v6: bool, keys: &Tokens) -> Option<Self> {
        let (kind, message) = if v6 {
            let header = Ipv6Header::view(l3)?;
            let is_icmp = header.next_header == protocol::ICMPV6;
            (icmp::V6_ECHO_REPLY, l3.get(Ipv6Header::LEN..).filter(|_| is_icmp)?)
        } else {
            let header = Ipv4Header::view(l3)?;
            let is_icmp = header.protocol == protocol::ICMP && !header.is_fragment();
            (icmp::V4_ECHO_REPLY, l3.get(header.header_len()..).filter(|_| is_icmp)?)
        };
        let (header, data) = IcmpHeader::ref_from_prefix(message).ok()?;
        if header.kind != kind || header.code != 0 {
            return None;
        }
        Self::of(data, keys)
    }

    fn of(data: &[u8], keys: &Tokens) -> Option<Self> {
        let data = Data::ref_from_bytes(data).ok()?;
        if data.magic != MAGIC || data.version != VERSION {
            return None;
        }
        let is_ours = |key: &Token| bool::from(tag(data.covered(), key).ct_eq(&data.tag));
        if !is_ours(&keys.current) && !keys.other.as_ref().is_some_and(is_ours) {
            return None;
        }
        Some(Self { node: data.node.get(), tunnel: data.tunnel.get(), serial: data.serial.get() })
    }

    fn data(self, key: &Token) -> Data {
        let mut data = Data {
            magic: MAGIC,
            version: VERSION,
            zero: 0,
            node: U16::new(self.node),
            tunnel: U32::new(self.tunnel),
            zeros: [0; 4],
            serial: U64::new(self.serial),
            tag: [0; TAG_LEN],
        };
        data.tag = tag(data.covered(), key);
        data
    }
}

impl Data {
    fn covered(&self) -> &[u8] {
        self.as_bytes().get(..COVERED).unwrap_or_default()
    }
}

fn tag(covered: &[u8], key: &Token) -> [u8; TAG_LEN] {
    let mut hasher = SipHasher24::new_with_key(&key.bytes());
    hasher.write(covered);
    hasher.finish128().as_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::ipv6;
    use proptest::prelude::*;

    fn keys() -> Tokens {
        Tokens { current: Token::new([7; 16]), other: None }
    }

    fn ends(v6: bool) -> (IpAddr, IpAddr) {
        let (ours, target) = if v6 { ("2001:db8::1", "2001:db8::2") } else { ("10.0.0.0", "10.0.0.1") };
        (ours.parse().unwrap(), target.parse().unwrap())
    }

    /// What a router makes of it that answers pings.
    fn answer(packet: &mut [u8], v6: bool) {
        let at = if v6 { Ipv6Header::LEN } else { Ipv4Header::LEN };
        packet[at] = if v6 { icmp::V6_ECHO_REPLY } else { icmp::V4_ECHO_REPLY };
    }

    proptest! {
        #[test]
        fn an_answer_says_which_probe_it_was_and_nobody_else_can_make_one(
            node: u16, tunnel: u32, serial: u64, v6: bool, reply: bool, at in 0..MAX_LEN, flip in 1..=255u8,
        ) {
            let probe = Probe { node, tunnel, serial };
            let style = if reply { Style::Reply } else { Style::Request };
            let (ours, target) = ends(v6);
            let mut out = [0; MAX_LEN];
            let len = probe.write(&mut out, style, ours, target, &keys().current).unwrap();
            let packet = &mut out[..len];
            prop_assert_eq!(Probe::answered(packet, v6, &keys()), reply.then_some(probe), "a request is no answer");
            answer(packet, v6);
            prop_assert_eq!(Probe::answered(packet, v6, &keys()), Some(probe));
            // While keys change.
            let both = Tokens { current: Token::new([8; 16]), other: Some(Token::new([7; 16])) };
            prop_assert_eq!(Probe::answered(packet, v6, &both), Some(probe));
            let others = Tokens { current: Token::new([8; 16]), other: Some(Token::new([9; 16])) };
            prop_assert_eq!(Probe::answered(packet, v6, &others), None);
            // Cut short, or changed anywhere in its data.
            for cut in 0..packet.len() {
                prop_assert_eq!(Probe::answered(&packet[..cut], v6, &keys()), None);
            }
            let data_at = len - Data::LEN;
            packet[data_at + at % Data::LEN] ^= flip;
            prop_assert_eq!(Probe::answered(packet, v6, &keys()), None);
        }

        #[test]
        fn any_bytes_are_no_answer_and_no_panic(bytes in proptest::collection::vec(any::<u8>(), 0..120), v6: bool) {
            prop_assert_eq!(Probe::answered(&bytes, v6, &keys()), None);
        }
    }

    #[test]
    fn it_lies_on_the_wire_as_agreed() {
        let probe = Probe { node: 0x0102, tunnel: 0x0304_0506, serial: 0x0708_090a_0b0c_0d0e };
        let (ours, target) = ends(false);
        let mut out = [0; MAX_LEN];
        let len = probe.write(&mut out, Style::Request, ours, target, &keys().current).unwrap();
        assert_eq!(len, 68);
        let header = Ipv4Header::parse(&out[..len]).unwrap();
        assert_eq!((header.ttl, header.protocol), (65, 1));
        assert_eq!(&out[12..20], &[10, 0, 0, 0, 10, 0, 0, 1]);
        assert_eq!(&out[20..22], &[8, 0]);
        assert_eq!(checksum(&out[20..len]), 0);
        assert_eq!(&out[24..28], &[5, 6, 0x0d, 0x0e]);
        assert_eq!(
            &out[28..52],
            b"PSHP\x01\0\x01\x02\x03\x04\x05\x06\0\0\0\0\x07\x08\x09\x0a\x0b\x0c\x0d\x0e"
        );
        let (ours, target) = ends(true);
        let len = probe.write(&mut out, Style::Reply, ours, target, &keys().current).unwrap();
        assert_eq!(len, 88);
        let transport = ipv6::transport(&out).unwrap();
        assert_eq!((transport.protocol, transport.offset), (protocol::ICMPV6, 40));
        assert_eq!(&out[8..24], &"2001:db8::2".parse::<std::net::Ipv6Addr>().unwrap().octets());
        assert_eq!(out[40], icmp::V6_ECHO_REPLY);
        let mut sum = Checksum::pseudo_v6(
            u128::from("2001:db8::2".parse::<std::net::Ipv6Addr>().unwrap()),
            u128::from("2001:db8::1".parse::<std::net::Ipv6Addr>().unwrap()),
            protocol::ICMPV6,
            48,
        );
        sum.add_bytes(&out[40..]);
        assert_eq!(sum.sum(), 0xffff);
        assert!(probe.write(&mut out, Style::Reply, ours, ends(false).0, &keys().current).is_none());
    }
}
