//! Health probes: an ICMP echo (RFC 792, 4443) whose data says which probe it is, and shows that we made it.
//!
//! | bytes | what |
//! |---|---|
//! | 4 | `PSHP` |
//! | 1 | version, 1 |
//! | 1 | 0 |
//! | 2 | number of the node that sent it |
//! | 4 | number of the tunnel, there |
//! | 2 | number of zeros that follow the hash: they make a probe as large as a path MTU that is looked for |
//! | 2 | 0 |
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

use super::checksum::Checksum;
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
/// ICMP header and data, without zeros.
const MESSAGE_LEN: usize = IcmpHeader::LEN + Data::LEN;
/// Longest probe without zeros, from its IP header on: over IPv6.
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
    padding: U16,
    zeros: [u8; 2],
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
    /// Writes the smallest inner packet between `ours` and the `target`, which are of one family, and returns its length.
    /// A request goes from us to the target; a reply says that it comes from there. `None` when the families differ.
    pub fn write(
        self,
        out: &mut [u8; MAX_LEN],
        style: Style,
        ours: IpAddr,
        target: IpAddr,
        key: &Token,
    ) -> Option<usize> {
        let len = MESSAGE_LEN + if ours.is_ipv4() { Ipv4Header::LEN } else { Ipv6Header::LEN };
        self.fill(out.get_mut(..len)?, style, ours, target, key)?;
        Some(len)
    }

    /// As [`Probe::write`], and the packet is all of `out`: zeros make it as large. `None` also when `out` is too short,
    /// or longer than a packet can be.
    pub fn fill(self, out: &mut [u8], style: Style, ours: IpAddr, target: IpAddr, key: &Token) -> Option<()> {
        let (src, dst) = match style {
            Style::Request => (ours, target),
            Style::Reply => (target, ours),
        };
        let len = u16::try_from(out.len()).ok()?;
        match (src, dst) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => {
                let (header, message) = out.split_at_mut_checked(Ipv4Header::LEN)?;
                let kind = match style {
                    Style::Request => icmp::V4_ECHO_REQUEST,
                    Style::Reply => icmp::V4_ECHO_REPLY,
                };
                self.fill_message(message, kind, Checksum::new(), key)?;
                let mut ip = Ipv4Header {
                    version_ihl: 0x45,
                    tos: 0,
                    total_len: U16::new(len),
                    id: U16::ZERO,
                    flags_fragment: U16::new(super::ipv4::DONT_FRAGMENT),
                    ttl: TTL,
                    protocol: protocol::ICMP,
                    checksum: U16::ZERO,
                    src: U32::new(src.into()),
                    dst: U32::new(dst.into()),
                };
                ip.fill_checksum();
                header.copy_from_slice(ip.as_bytes());
            }
            (IpAddr::V6(src), IpAddr::V6(dst)) => {
                let (header, message) = out.split_at_mut_checked(Ipv6Header::LEN)?;
                let kind = match style {
                    Style::Request => icmp::V6_ECHO_REQUEST,
                    Style::Reply => icmp::V6_ECHO_REPLY,
                };
                let (src, dst) = (u128::from(src), u128::from(dst));
                let payload_len = message.len() as u16;
                let pseudo = Checksum::pseudo_v6(src, dst, protocol::ICMPV6, u32::from(payload_len));
                self.fill_message(message, kind, pseudo, key)?;
                let ip = Ipv6Header {
                    vtc_flow: U32::new(0x6000_0000),
                    payload_len: U16::new(payload_len),
                    next_header: protocol::ICMPV6,
                    hop_limit: TTL,
                    src: U128::new(src),
                    dst: U128::new(dst),
                };
                header.copy_from_slice(ip.as_bytes());
            }
            _ => return None,
        }
        Some(())
    }

    /// ICMP header, data and zeros; `sum` is what the checksum covers beside them.
    fn fill_message(self, message: &mut [u8], kind: u8, mut sum: Checksum, key: &Token) -> Option<()> {
        let padding = u16::try_from(message.len().checked_sub(MESSAGE_LEN)?).ok()?;
        // Wherever it goes, a probe of one tunnel takes one way: routers hash this field.
        let echo = U32::new((self.tunnel & 0xffff) << 16 | (self.serial as u32 & 0xffff));
        let header = IcmpHeader { kind, code: 0, checksum: U16::ZERO, rest: echo };
        message.fill(0);
        message[..IcmpHeader::LEN].copy_from_slice(header.as_bytes());
        message[IcmpHeader::LEN..MESSAGE_LEN].copy_from_slice(self.data(padding, key).as_bytes());
        // Zeros add nothing.
        sum.add_bytes(&message[..MESSAGE_LEN]);
        message[2..4].copy_from_slice(&sum.finish().to_be_bytes());
        Some(())
    }

    /// The probe that an IP packet, whose header was checked, answers; `None` when it is anything else, or was not made
    /// with one of these keys, or is of another size than the probe. Its zeros need not all be in `l3`: what is that large
    /// may lie in several buffers.
    pub fn answered(l3: &[u8], v6: bool, keys: &Tokens) -> Option<Self> {
        let (kind, at, message_len) = if v6 {
            let header = Ipv6Header::view(l3)?;
            let is_icmp = header.next_header == protocol::ICMPV6;
            let len = is_icmp.then_some(usize::from(header.payload_len.get()))?;
            (icmp::V6_ECHO_REPLY, Ipv6Header::LEN, len)
        } else {
            let header = Ipv4Header::view(l3)?;
            let is_icmp = header.protocol == protocol::ICMP && !header.is_fragment();
            let at = is_icmp.then_some(header.header_len())?;
            (icmp::V4_ECHO_REPLY, at, usize::from(header.total_len.get()).checked_sub(at)?)
        };
        let (header, data) = IcmpHeader::ref_from_prefix(l3.get(at..)?).ok()?;
        if header.kind != kind || header.code != 0 {
            return None;
        }
        let (data, _) = Data::ref_from_prefix(data).ok()?;
        if message_len != MESSAGE_LEN + usize::from(data.padding.get()) {
            return None;
        }
        Self::of(data, keys)
    }

    fn of(data: &Data, keys: &Tokens) -> Option<Self> {
        if data.magic != MAGIC || data.version != VERSION {
            return None;
        }
        let is_ours = |key: &Token| bool::from(tag(data.covered(), key).ct_eq(&data.tag));
        if !is_ours(&keys.current) && !keys.other.as_ref().is_some_and(is_ours) {
            return None;
        }
        Some(Self { node: data.node.get(), tunnel: data.tunnel.get(), serial: data.serial.get() })
    }

    fn data(self, padding: u16, key: &Token) -> Data {
        let mut data = Data {
            magic: MAGIC,
            version: VERSION,
            zero: 0,
            node: U16::new(self.node),
            tunnel: U32::new(self.tunnel),
            padding: U16::new(padding),
            zeros: [0; 2],
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
    use crate::wire::checksum::checksum;
    use crate::wire::ipv6;
    use proptest::prelude::*;

    fn keys() -> Tokens {
        Tokens { current: Token::new([7; 16]), other: None }
    }

    fn ends(v6: bool) -> (IpAddr, IpAddr) {
        let (ours, target) = if v6 { ("2001:db8::1", "2001:db8::2") } else { ("10.0.0.0", "10.0.0.1") };
        (ours.parse().unwrap(), target.parse().unwrap())
    }

    /// Source and destination of a probe over IPv6.
    fn ip6(ours: IpAddr, target: IpAddr, style: Style) -> (u128, u128) {
        let number = |ip| match ip {
            IpAddr::V6(ip) => u128::from(ip),
            IpAddr::V4(_) => 0,
        };
        match style {
            Style::Request => (number(ours), number(target)),
            Style::Reply => (number(target), number(ours)),
        }
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
        fn a_probe_is_as_large_as_asked_and_so_is_its_answer(
            len in 0..9300usize, v6: bool, reply: bool, other in 0..9300u16,
        ) {
            let probe = Probe { node: 1, tunnel: 2, serial: 3 };
            let style = if reply { Style::Reply } else { Style::Request };
            let (ours, target) = ends(v6);
            let mut out = vec![0xff; len];
            let filled = probe.fill(&mut out, style, ours, target, &keys().current);
            prop_assert_eq!(filled.is_some(), len >= if v6 { 88 } else { 68 });
            if filled.is_none() {
                return Ok(());
            }
            if v6 {
                prop_assert_eq!(Ipv6Header::parse(&out).unwrap().packet_len(), len);
                let mut sum = Checksum::pseudo_v6(ip6(ours, target, style).0, ip6(ours, target, style).1, 58, len as u32 - 40);
                sum.add_bytes(&out[40..]);
                prop_assert_eq!(sum.sum(), 0xffff);
            } else {
                prop_assert_eq!(usize::from(Ipv4Header::parse(&out).unwrap().total_len.get()), len);
                prop_assert_eq!(checksum(&out[20..]), 0);
            }
            answer(&mut out, v6);
            prop_assert_eq!(Probe::answered(&out, v6, &keys()), Some(probe));
            // The first of several buffers.
            prop_assert_eq!(Probe::answered(&out[..len.min(128)], v6, &keys()), Some(probe));
            // An answer that was cut or grew is none.
            let at = if v6 { 4 } else { 2 };
            let right = u16::from_be_bytes([out[at], out[at + 1]]);
            out[at..at + 2].copy_from_slice(&other.to_be_bytes());
            prop_assert_eq!(Probe::answered(&out, v6, &keys()), (other == right).then_some(probe));
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
