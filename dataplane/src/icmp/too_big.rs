//! "Your packet is too big": what a router on the way says about one of our outer packets.
//!
//! The message is believed as far as bytes can show: checksums are right, and the quoted packet is GRE or ESP.
//! Whether it names a tunnel of ours (addresses, key, SPI), how far the MTU may fall and when it ages is for
//! the caller, who alone knows the tunnels.

use crate::wire::checksum::{self, Checksum};
use crate::wire::gre::{self, GreHeader};
use crate::wire::icmp::{self, IcmpHeader};
use crate::wire::ipv4::Ipv4Header;
use crate::wire::ipv6::{self, Ipv6Header};
use crate::wire::udp::{NAT_T_PORT, UdpHeader};
use crate::wire::{U32, protocol};
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use zerocopy::FromBytes;

/// RFC 1191 7.1: the MTUs that are worth trying below a packet's length, for routers that do not say theirs.
const PLATEAUS: [u16; 11] = [32000, 17914, 8166, 4352, 2002, 1492, 1006, 508, 296, super::v4::MIN_MTU, 0];

/// What the quoted packet carried, as far as the router quoted it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quoted {
    /// GRE.
    Gre {
        /// Flags and version.
        flags: u16,
        /// EtherType of the payload.
        protocol: u16,
        /// The key, when there is one within the quote.
        key: Option<u32>,
    },
    /// ESP.
    Esp {
        /// Security parameters index.
        spi: u32,
    },
}

/// A believable report about a packet that we may have sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooBig {
    /// The router that reports.
    pub reporter: IpAddr,
    /// Source of the quoted packet: an endpoint of ours.
    pub outer_src: IpAddr,
    /// Destination of the quoted packet: a tunnel's far end.
    pub outer_dst: IpAddr,
    /// Protocol of the quoted packet: 47, 50, or 17 for ESP in UDP.
    pub protocol: u8,
    /// The start of the quoted packet's payload.
    pub quoted: Quoted,
    /// The largest outer packet that the router can forward; at least 68 for IPv4 and 1280 for IPv6.
    pub mtu: u32,
}

impl TooBig {
    /// Reads the IP packet `l3`, which is whole and in one piece; `None` for anything but a valid report.
    pub fn parse(l3: &[u8]) -> Option<Self> {
        match l3.first()? >> 4 {
            4 => parse_v4(l3),
            6 => parse_v6(l3),
            _ => None,
        }
    }

    /// The quoted GRE key.
    pub fn gre_key(&self) -> Option<u32> {
        match self.quoted {
            Quoted::Gre { key, .. } => key,
            Quoted::Esp { .. } => None,
        }
    }

    /// The quoted ESP SPI.
    pub fn esp_spi(&self) -> Option<u32> {
        match self.quoted {
            Quoted::Gre { .. } => None,
            Quoted::Esp { spi } => Some(spi),
        }
    }
}

fn parse_v4(l3: &[u8]) -> Option<TooBig> {
    let header = Ipv4Header::parse(l3).ok()?;
    let message = l3.get(header.header_len()..usize::from(header.total_len.get()))?;
    if header.protocol != protocol::ICMP || header.is_fragment() || checksum::sum(message) != 0xffff {
        return None;
    }
    let (icmp_header, quote) = IcmpHeader::ref_from_prefix(message).ok()?;
    if (icmp_header.kind, icmp_header.code) != (icmp::V4_UNREACHABLE, icmp::V4_FRAGMENTATION_NEEDED) {
        return None;
    }
    // The quoted header is not parsed like a packet: it is cut, and routers may have changed its checksum.
    let original = Ipv4Header::view(quote)?;
    if original.version_ihl >> 4 != 4
        || original.header_len() < Ipv4Header::LEN
        || original.fragment_offset() != 0
    {
        return None;
    }
    let quoted = read_quoted(original.protocol, quote.get(original.header_len()..)?)?;
    let mtu = match icmp_header.rest.get() as u16 {
        // Routers older than RFC 1191 leave the field zero.
        0 => plateau_below(original.total_len.get()),
        mtu => mtu,
    };
    (mtu >= super::v4::MIN_MTU).then_some(TooBig {
        reporter: Ipv4Addr::from_bits(header.src.get()).into(),
        outer_src: Ipv4Addr::from_bits(original.src.get()).into(),
        outer_dst: Ipv4Addr::from_bits(original.dst.get()).into(),
        protocol: original.protocol,
        quoted,
        mtu: u32::from(mtu),
    })
}

fn parse_v6(l3: &[u8]) -> Option<TooBig> {
    let header = Ipv6Header::parse(l3).ok()?;
    let transport = ipv6::transport(l3)?;
    if transport.protocol != protocol::ICMPV6 || transport.fragment.is_some() {
        return None;
    }
    let message = l3.get(transport.offset..header.packet_len())?;
    let message_len = u32::try_from(message.len()).ok()?;
    let mut sum = Checksum::pseudo_v6(header.src.get(), header.dst.get(), protocol::ICMPV6, message_len);
    sum.add_bytes(message);
    if sum.sum() != 0xffff {
        return None;
    }
    let (icmp_header, quote) = IcmpHeader::ref_from_prefix(message).ok()?;
    let mtu = icmp_header.rest.get();
    // RFC 8201 4: a report of less than the least IPv6 MTU is discarded.
    if icmp_header.kind != icmp::V6_PACKET_TOO_BIG || mtu < super::v6::MIN_MTU {
        return None;
    }
    let original = Ipv6Header::view(quote)?;
    if original.vtc_flow.get() >> 28 != 6 {
        return None;
    }
    let inside = ipv6::transport(quote)?;
    if inside.is_later_fragment() {
        return None;
    }
    Some(TooBig {
        reporter: Ipv6Addr::from_bits(header.src.get()).into(),
        outer_src: Ipv6Addr::from_bits(original.src.get()).into(),
        outer_dst: Ipv6Addr::from_bits(original.dst.get()).into(),
        protocol: inside.protocol,
        quoted: read_quoted(inside.protocol, quote.get(inside.offset..)?)?,
        mtu,
    })
}

/// Reads the start of a GRE, ESP or UDP payload, of which eight bytes are sure to be quoted (RFC 792).
fn read_quoted(protocol: u8, payload: &[u8]) -> Option<Quoted> {
    let first_eight = payload.first_chunk::<8>()?;
    match protocol {
        protocol::GRE => {
            let (base, options) = GreHeader::ref_from_prefix(payload).ok()?;
            let flags = base.flags_version.get();
            let skip = if flags & gre::CHECKSUM_PRESENT != 0 { 4 } else { 0 };
            let key = match options.get(skip..).map(U32::ref_from_prefix) {
                Some(Ok((key, _))) if flags & gre::KEY_PRESENT != 0 => Some(key.get()),
                _ => None,
            };
            Some(Quoted::Gre { flags, protocol: base.protocol.get(), key })
        }
        protocol::ESP => {
            let (spi, _) = U32::ref_from_prefix(first_eight).ok()?;
            Some(Quoted::Esp { spi: spi.get() })
        }
        protocol::UDP => {
            // ESP in UDP, where the router quotes more than it must.
            let (udp, esp) = UdpHeader::ref_from_prefix(payload).ok()?;
            let (spi, _) = U32::ref_from_prefix(esp).ok()?;
            let is_esp = udp.src_port.get() == NAT_T_PORT && spi.get() != 0;
            is_esp.then_some(Quoted::Esp { spi: spi.get() })
        }
        _ => None,
    }
}

/// The largest plateau below `total_len`.
fn plateau_below(total_len: u16) -> u16 {
    PLATEAUS.into_iter().find(|plateau| *plateau < total_len).unwrap_or(0)
}
