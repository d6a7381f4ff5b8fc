//! A tunnel as a worker sees it: the outer header prebuilt, everything else precomputed.
//!
//! [`TunnelSpec`] is what control knows; [`Tunnel`] is what a packet needs, three cache lines of
//! which the first two serve the common path. GRE is whole here (RFC 2784, 2890, 7676); of an ESP tunnel
//! (RFC 4303, 3948) the keys, SPIs and numbers come from the worker's security associations.

use std::net::IpAddr;

use super::hop::Hop;
use crate::ids::{FilterId, VrfId};
use crate::wire::gre::{CHECKSUM_PRESENT, KEY_PRESENT};
use crate::wire::ipv4::DONT_FRAGMENT;
use crate::wire::udp::UdpHeader;
use crate::wire::{checksum, ethernet, protocol};

/// Bytes of the right-aligned outer header block: IPv6 and a GRE header with checksum and key are 52; IPv6, UDP, an
/// ESP header and eight bytes of IV are 64.
pub const OUTER_LEN: usize = 64;
/// Bytes at the end of an ESP tunnel's block: SPI, sequence number, and the first eight of the IV, all zero.
pub(crate) const ESP_BLOCK: usize = 16;
/// Default outer TTL.
pub const DEFAULT_TTL: u8 = 64;
/// Smallest MTU that a path MTU notice may bring an IPv4 path to (RFC 791: every host takes 576).
pub const MIN_PATH_MTU_V4: u16 = 576;
/// Smallest MTU of an IPv6 path (RFC 8200 section 5).
pub const MIN_PATH_MTU_V6: u16 = 1280;

/// Where the outer TTL or hop limit comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ttl {
    /// Always this.
    Fixed(u8),
    /// The inner packet's, after its decrement.
    Inherit,
}

/// Where the outer DSCP comes from (RFC 2983).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dscp {
    /// Pipe model: always this, 0 to 63; the inner DSCP crosses unchanged.
    Fixed(u8),
    /// The inner packet's on encapsulation; the inner DSCP crosses unchanged.
    Inherit,
    /// Uniform model: the inner packet's on encapsulation, and the outer one back to the inner packet
    /// on decapsulation.
    Uniform,
}

/// The outer IPv4 DF bit, and with it what happens to packets that do not fit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum DontFragment {
    /// DF=1, an atomic datagram (RFC 6864). Too big: inner DF=0 is fragmented before
    /// encapsulation, inner DF=1 answered with ICMP.
    #[default]
    Set,
    /// The inner packet's DF; an inner IPv6 packet counts as DF=1. Too big: as for `Set`.
    Copy,
    /// DF=0. Too big: the outer packet is fragmented.
    Clear,
}

/// The MSS clamp of a tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mss {
    /// What the tunnel's MTU leaves after 40 (IPv4) or 60 (IPv6) bytes of headers.
    Auto,
    /// Never touch it.
    Off,
    /// This value for both families, bytes.
    Fixed(u16),
}

/// Ports of ESP in UDP (RFC 3948), both ends; ours is 4500.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UdpPorts {
    /// Our port.
    pub local: u16,
    /// The port that the customer's router, or the NAT in front of it, is reached at.
    pub remote: u16,
}

/// What is around the inner packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encapsulation {
    /// GRE.
    Gre {
        /// RFC 2890 key, sent and required.
        key: Option<u32>,
        /// Send GRE checksums. Received ones are always verified.
        checksum: bool,
    },
    /// ESP in tunnel mode.
    Esp {
        /// Inside UDP.
        udp: Option<UdpPorts>,
    },
}

/// Everything that makes a tunnel.
#[derive(Clone, Debug)]
pub struct TunnelSpec {
    /// Our anycast endpoint.
    pub local: IpAddr,
    /// The customer's router; same family as `local`.
    pub remote: IpAddr,
    /// What is around the inner packets.
    pub encapsulation: Encapsulation,
    /// Tells this tunnel from others that had or will have its number: a security association serves only the
    /// tunnel that it was made for.
    pub incarnation: u32,
    /// Outer TTL.
    pub ttl: Ttl,
    /// Outer DSCP.
    pub dscp: Dscp,
    /// Outer DF.
    pub df: DontFragment,
    /// Largest inner packet, bytes.
    pub mtu: u16,
    /// MSS clamp.
    pub mss: Mss,
    /// The tenant's table: what comes out of the tunnel is looked up here.
    pub vrf: VrfId,
    /// Sources that may come out of the tunnel; `None` accepts all.
    pub filter: Option<FilterId>,
    /// Where outer packets go: an adjacency, a group of adjacencies, or no route.
    pub underlay: Hop,
    /// Largest outer packet on the underlay link, bytes.
    pub underlay_mtu: u16,
    /// Source of ICMPv4 errors about packets from or to this tunnel; 0 when there is none.
    pub address_v4: u32,
    /// Source of ICMPv6 errors; 0 when there is none.
    pub address_v6: u128,
}

/// A tunnel cannot be built from its specification.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TunnelError {
    /// The endpoints' families differ.
    #[error("the endpoint and the remote address must both be IPv4 or both IPv6")]
    MixedFamilies,
    /// DSCP is six bits.
    #[error("DSCP {0} is out of range: write 0 to 63 or inherit")]
    Dscp(u8),
}

/// A mask that takes all of the inner packet's field.
const INHERIT: u8 = 0xff;
/// A mask that takes the ECN of a TOS.
const ECN_MASK: u8 = 0x03;
/// With so many slots, tunnels are fetched before they are worked with: below, the caches hold them anyway.
pub(crate) const FETCH_FROM: usize = 512;
/// An MSS limit that never clamps.
pub(crate) const MSS_OFF: u16 = u16::MAX;

/// The per-packet form of a tunnel.
#[derive(Clone, Debug)]
#[repr(C, align(64))]
pub struct Tunnel {
    /// Outer IP and GRE header, right-aligned, variable fields zero.
    pub(crate) outer: [u8; OUTER_LEN],
    // Second cache line: what every packet reads.
    pub(crate) outer_len: u8,
    pub(crate) outer_v6: bool,
    pub(crate) live: bool,
    pub(crate) send_checksum: bool,
    /// GRE, live, over IPv4, without checksums: what the shortest way into a tunnel can do.
    pub(crate) plain: bool,
    /// ESP instead of GRE.
    pub(crate) esp: bool,
    /// ESP, live, over IPv4, without UDP.
    pub(crate) plain_esp: bool,
    /// ESP in UDP.
    pub(crate) udp: bool,
    pub(crate) df: DontFragment,
    /// The outer TTL is the inner one within the mask, and this.
    ttl: u8,
    ttl_mask: u8,
    /// The outer TOS is the inner one within the mask, and this.
    tos: u8,
    tos_mask: u8,
    /// Bits in which the TOS of inner and outer may not differ silently on decapsulation: ECN, and in
    /// the uniform model DSCP.
    pub(crate) decap_tos_mask: u8,
    /// The outer flags are the inner ones within the mask, and these.
    flags: u16,
    flags_mask: u16,
    /// Ones' complement sum of the outer IPv4 header with its variable fields zero.
    pub(crate) outer_sum: u32,
    pub(crate) mtu: u16,
    pub(crate) underlay_mtu: u16,
    /// What an inner packet of `mtu` bytes becomes.
    pub(crate) outer_mtu: u16,
    pub(crate) mss_v4: u16,
    pub(crate) mss_v6: u16,
    pub(crate) vrf: u16,
    pub(crate) underlay: Hop,
    filter: u32,
    pub(crate) remote_v4: u32,
    pub(crate) local_v4: u32,
    pub(crate) address_v4: u32,
    pub(crate) incarnation: u32,
    // Third cache line: IPv6 and errors.
    pub(crate) remote_v6: u128,
    pub(crate) local_v6: u128,
    pub(crate) address_v6: u128,
}

const _: () = assert!(size_of::<Tunnel>() == 192);

impl Default for Tunnel {
    /// A free slot: packets that still find it are dropped as `tunnel_gone`.
    fn default() -> Self {
        Self {
            outer: [0; OUTER_LEN],
            outer_len: 0,
            outer_v6: false,
            live: false,
            send_checksum: false,
            plain: false,
            esp: false,
            plain_esp: false,
            udp: false,
            df: DontFragment::Set,
            ttl: DEFAULT_TTL,
            ttl_mask: 0,
            tos: 0,
            tos_mask: INHERIT,
            decap_tos_mask: ECN_MASK,
            flags: DONT_FRAGMENT,
            flags_mask: 0,
            outer_sum: 0,
            mtu: 0,
            underlay_mtu: 0,
            outer_mtu: 0,
            mss_v4: MSS_OFF,
            mss_v6: MSS_OFF,
            vrf: 0,
            underlay: Hop::NO_ROUTE,
            filter: u32::MAX,
            remote_v4: 0,
            local_v4: 0,
            address_v4: 0,
            incarnation: 0,
            remote_v6: 0,
            local_v6: 0,
            address_v6: 0,
        }
    }
}

impl Tunnel {
    /// Precomputes the outer header.
    ///
    /// # Errors
    /// When the addresses are of two families or the DSCP does not fit.
    pub fn new(spec: &TunnelSpec) -> Result<Self, TunnelError> {
        let (tos, tos_mask) = match spec.dscp {
            Dscp::Inherit | Dscp::Uniform => (0, INHERIT),
            Dscp::Fixed(value) if value < 64 => (value << 2, ECN_MASK),
            Dscp::Fixed(value) => return Err(TunnelError::Dscp(value)),
        };
        let (ttl, ttl_mask) = match spec.ttl {
            Ttl::Inherit => (0, INHERIT),
            Ttl::Fixed(value) => (value.max(1), 0),
        };
        let (flags, flags_mask) = match spec.df {
            DontFragment::Set => (DONT_FRAGMENT, 0),
            DontFragment::Copy => (0, DONT_FRAGMENT),
            DontFragment::Clear => (0, 0),
        };
        let mut tunnel = Self {
            live: true,
            df: spec.df,
            ttl,
            ttl_mask,
            tos,
            tos_mask,
            decap_tos_mask: if spec.dscp == Dscp::Uniform { INHERIT } else { ECN_MASK },
            flags,
            flags_mask,
            mtu: spec.mtu,
            underlay_mtu: spec.underlay_mtu,
            mss_v4: mss_limit(spec.mss, spec.mtu, 40),
            mss_v6: mss_limit(spec.mss, spec.mtu, 60),
            vrf: spec.vrf.0,
            underlay: spec.underlay,
            filter: spec.filter.map_or(u32::MAX, |f| f.0),
            address_v4: spec.address_v4,
            address_v6: spec.address_v6,
            incarnation: spec.incarnation,
            ..Self::default()
        };
        let header_len = match spec.encapsulation {
            Encapsulation::Gre { key, checksum } => tunnel.set_gre(key, checksum),
            Encapsulation::Esp { udp } => tunnel.set_esp(udp),
        };
        let protocol = match spec.encapsulation {
            Encapsulation::Gre { .. } => protocol::GRE,
            Encapsulation::Esp { udp: Some(_) } => protocol::UDP,
            Encapsulation::Esp { udp: None } => protocol::ESP,
        };
        match (spec.local, spec.remote) {
            (IpAddr::V4(local), IpAddr::V4(remote)) => {
                let start = OUTER_LEN - header_len - 20;
                let ip = &mut tunnel.outer[start..start + 20];
                ip[0] = 0x45;
                ip[9] = protocol;
                ip[12..16].copy_from_slice(&local.octets());
                ip[16..20].copy_from_slice(&remote.octets());
                tunnel.outer_sum = u32::from(checksum::sum(ip));
                tunnel.outer_len = (20 + header_len) as u8;
                tunnel.plain = !tunnel.esp && !tunnel.send_checksum;
                tunnel.plain_esp = tunnel.esp && !tunnel.udp;
                tunnel.local_v4 = local.into();
                tunnel.remote_v4 = remote.into();
            }
            (IpAddr::V6(local), IpAddr::V6(remote)) => {
                let start = OUTER_LEN - header_len - 40;
                let ip = &mut tunnel.outer[start..start + 40];
                ip[0] = 0x60;
                ip[6] = protocol;
                ip[8..24].copy_from_slice(&local.octets());
                ip[24..40].copy_from_slice(&remote.octets());
                tunnel.outer_len = (40 + header_len) as u8;
                tunnel.outer_v6 = true;
                tunnel.local_v6 = local.into();
                tunnel.remote_v6 = remote.into();
            }
            _ => return Err(TunnelError::MixedFamilies),
        }
        tunnel.outer_mtu =
            if tunnel.esp { spec.underlay_mtu } else { spec.mtu.saturating_add(u16::from(tunnel.outer_len)) };
        Ok(tunnel)
    }

    /// Writes the GRE header to the end of the block; returns its length.
    fn set_gre(&mut self, key: Option<u32>, checksum: bool) -> usize {
        self.send_checksum = checksum;
        let len = gre_header_len(key.is_some(), checksum);
        let gre = &mut self.outer[OUTER_LEN - len..];
        let mut flags = 0u16;
        if checksum {
            flags |= CHECKSUM_PRESENT;
        }
        if let Some(key) = key {
            flags |= KEY_PRESENT;
            gre[len - 4..].copy_from_slice(&key.to_be_bytes());
        }
        gre[0..2].copy_from_slice(&flags.to_be_bytes());
        // The protocol type is filled for each packet; IPv4 is the common one.
        gre[2..4].copy_from_slice(&ethernet::ETHERTYPE_IPV4.to_be_bytes());
        len
    }

    /// Writes the UDP header, if any, and leaves room for the ESP header; returns the length of both.
    fn set_esp(&mut self, udp: Option<UdpPorts>) -> usize {
        self.esp = true;
        let Some(ports) = udp else { return ESP_BLOCK };
        self.udp = true;
        let len = UdpHeader::LEN + ESP_BLOCK;
        let header = &mut self.outer[OUTER_LEN - len..];
        header[0..2].copy_from_slice(&ports.local.to_be_bytes());
        header[2..4].copy_from_slice(&ports.remote.to_be_bytes());
        len
    }

    /// Has the processor load the lines that every packet needs, without waiting for them.
    #[inline(always)]
    pub(crate) fn fetch(&self) {
        std::hint::black_box((self.outer[OUTER_LEN - 1], self.plain));
    }

    /// Bytes of the outer headers: IP and GRE; or IP, UDP, ESP and eight bytes of IV.
    pub fn outer_len(&self) -> u16 {
        u16::from(self.outer_len)
    }

    /// Whether it is an ESP tunnel.
    pub fn is_esp(&self) -> bool {
        self.esp
    }

    /// Largest inner packet, bytes.
    pub fn mtu(&self) -> u16 {
        self.mtu
    }

    /// Where outer packets go.
    pub fn underlay(&self) -> Hop {
        self.underlay
    }

    /// Whether the slot holds a tunnel.
    pub fn is_live(&self) -> bool {
        self.live
    }

    /// MSS limits for inner IPv4 and IPv6, `None` when off.
    pub fn mss(&self) -> (Option<u16>, Option<u16>) {
        let limit = |mss| (mss != MSS_OFF).then_some(mss);
        (limit(self.mss_v4), limit(self.mss_v6))
    }

    /// Whether the customer's router is at this address.
    pub(crate) fn is_remote(&self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(ip) => !self.outer_v6 && self.remote_v4 == u32::from(ip),
            IpAddr::V6(ip) => self.outer_v6 && self.remote_v6 == u128::from(ip),
        }
    }

    /// Whether outer packets leave from this address.
    pub(crate) fn is_local(&self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(ip) => !self.outer_v6 && self.local_v4 == u32::from(ip),
            IpAddr::V6(ip) => self.outer_v6 && self.local_v6 == u128::from(ip),
        }
    }

    /// The UDP port of the customer's router, for ESP in UDP.
    pub(crate) fn udp_remote_port(&self) -> u16 {
        let at = OUTER_LEN - ESP_BLOCK - UdpHeader::LEN + 2;
        u16::from_be_bytes([self.outer[at], self.outer[at + 1]])
    }

    /// Largest piece of an outer packet that is cut: what the link takes, and what fits the tunnel's
    /// path; over IPv6 at least what every link takes.
    pub(crate) fn piece_len(&self) -> u16 {
        let floor = if self.outer_v6 { MIN_PATH_MTU_V6 } else { 0 };
        self.underlay_mtu.min(self.outer_mtu.max(floor))
    }

    #[inline(always)]
    pub(crate) fn filter(&self) -> Option<usize> {
        (self.filter != u32::MAX).then_some(self.filter as usize)
    }

    #[inline(always)]
    pub(crate) fn outer_ttl(&self, inner: u8) -> u8 {
        (inner & self.ttl_mask) | self.ttl
    }

    /// The outer TOS or traffic class: DSCP by the tunnel's model, ECN copied (RFC 6040 4.1).
    #[inline(always)]
    pub(crate) fn outer_tos(&self, inner: u8) -> u8 {
        (inner & self.tos_mask) | self.tos
    }

    /// The outer IPv4 flags, from the inner ones.
    #[inline(always)]
    pub(crate) fn outer_flags(&self, inner: u16) -> u16 {
        (inner & self.flags_mask) | self.flags
    }
}

/// Bytes of a GRE header with these fields, which is 4 to 12.
pub const fn gre_header_len(key: bool, checksum: bool) -> usize {
    4 + 4 * (key as usize) + 4 * (checksum as usize)
}

/// Bytes that GRE adds over an outer family: 24 to 52.
pub const fn gre_overhead(outer_v6: bool, key: bool, checksum: bool) -> u16 {
    (if outer_v6 { 40 } else { 20 }) + gre_header_len(key, checksum) as u16
}

fn mss_limit(mss: Mss, mtu: u16, headers: u16) -> u16 {
    match mss {
        Mss::Auto => mtu.saturating_sub(headers),
        Mss::Off => MSS_OFF,
        Mss::Fixed(value) => value,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The rows of docs/gre.md, "MTU and MSS", for an outer link of 1500 bytes.
    #[test]
    fn mtu_and_mss_follow_the_real_overhead() {
        for (v6, key, checksum, mtu, mss4, mss6) in [
            (false, false, false, 1476, 1436, 1416),
            (false, true, false, 1472, 1432, 1412),
            (false, false, true, 1472, 1432, 1412),
            (true, false, false, 1456, 1416, 1396),
        ] {
            let (local, remote) =
                if v6 { ("2001:db8::1", "2001:db8::2") } else { ("192.0.2.1", "192.0.2.2") };
            assert_eq!(1500 - gre_overhead(v6, key, checksum), mtu);
            let tunnel = Tunnel::new(&TunnelSpec {
                local: local.parse().unwrap(),
                remote: remote.parse().unwrap(),
                encapsulation: Encapsulation::Gre { key: key.then_some(7), checksum },
                incarnation: 0,
                ttl: Ttl::Fixed(64),
                dscp: Dscp::Inherit,
                df: DontFragment::Set,
                mtu,
                mss: Mss::Auto,
                vrf: VrfId(1),
                filter: None,
                underlay: Hop::NO_ROUTE,
                underlay_mtu: 1500,
                address_v4: 0,
                address_v6: 0,
            })
            .unwrap();
            assert_eq!(tunnel.outer_len(), 1500 - mtu);
            assert_eq!(tunnel.mss(), (Some(mss4), Some(mss6)));
        }
    }
}
