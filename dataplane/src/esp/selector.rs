//! Traffic selectors (RFC 4301 4.4.1.1): which inner packets a security association may carry.
//!
//! Both ends hold the packets to them: what comes out of the tunnel is checked after decryption, and what does not
//! match is not put in. An association without restrictions costs nothing here.

use std::net::IpAddr;
use std::ops::RangeInclusive;

use crate::wire::ipv4::Ipv4Header;
use crate::wire::ipv6::{self, Ipv6Header};
use crate::wire::protocol;

/// Addresses, protocol and ports of one side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrafficSelector {
    /// First address.
    pub first: IpAddr,
    /// Last address, of the same family.
    pub last: IpAddr,
    /// IP protocol; `None` is any.
    pub protocol: Option<u8>,
    /// Ports of TCP and UDP; type and code of ICMP as the high and low byte (RFC 7296 3.13.1). The full range also
    /// takes packets that show none.
    pub ports: RangeInclusive<u16>,
}

impl TrafficSelector {
    /// Every packet between these addresses.
    pub fn addresses(first: IpAddr, last: IpAddr) -> Self {
        Self { first, last, protocol: None, ports: 0..=u16::MAX }
    }

    fn is_everything(&self, v6: bool) -> bool {
        let (first, last) = bounds(self);
        let all = if v6 { u128::MAX } else { u128::from(u32::MAX) };
        self.first.is_ipv6() == v6
            && (first, last) == (0, all)
            && self.protocol.is_none()
            && self.ports == (0..=u16::MAX)
    }

    fn matches(&self, side: &Side, protocol: u8) -> bool {
        let (first, last) = bounds(self);
        self.first.is_ipv6() == side.v6
            && (first..=last).contains(&side.address)
            && self.protocol.is_none_or(|wanted| wanted == protocol)
            && side.port.map_or(self.ports == (0..=u16::MAX), |port| self.ports.contains(&port))
    }
}

fn bounds(selector: &TrafficSelector) -> (u128, u128) {
    let number = |ip: IpAddr| match ip {
        IpAddr::V4(ip) => u128::from(u32::from(ip)),
        IpAddr::V6(ip) => u128::from(ip),
    };
    (number(selector.first), number(selector.last))
}

/// One end of a packet.
struct Side {
    v6: bool,
    address: u128,
    port: Option<u16>,
}

/// The selectors of an association: a packet's own side must match one of `local`, the other one of `remote`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selectors {
    local: Vec<TrafficSelector>,
    remote: Vec<TrafficSelector>,
    any_v4: bool,
    any_v6: bool,
}

impl Selectors {
    /// Most selectors of a side, so that a packet's way is bounded.
    pub const MAX: usize = 64;

    /// `local` are the addresses on our side, `remote` those behind the customer's router. `None` with more than
    /// [`Selectors::MAX`] on a side.
    pub fn new(local: Vec<TrafficSelector>, remote: Vec<TrafficSelector>) -> Option<Self> {
        if local.len() > Self::MAX || remote.len() > Self::MAX {
            return None;
        }
        let any = |v6: bool| {
            [&local, &remote].iter().all(|side| side.iter().any(|selector| selector.is_everything(v6)))
        };
        let (any_v4, any_v6) = (any(false), any(true));
        Some(Self { local, remote, any_v4, any_v6 })
    }

    /// Every packet of both families.
    pub fn any() -> Self {
        Self { local: Vec::new(), remote: Vec::new(), any_v4: true, any_v6: true }
    }

    /// Our side. Nothing, with [`Selectors::any`].
    pub fn local(&self) -> &[TrafficSelector] {
        &self.local
    }

    /// The customer's side. Nothing, with [`Selectors::any`].
    pub fn remote(&self) -> &[TrafficSelector] {
        &self.remote
    }

    /// Whether every packet of a family passes.
    #[inline(always)]
    pub(crate) fn is_any(&self, v6: bool) -> bool {
        if v6 { self.any_v6 } else { self.any_v4 }
    }

    /// Whether a packet from us to the customer's side may pass.
    #[inline(always)]
    pub(crate) fn admit_outbound(&self, l3: &[u8], v6: bool) -> bool {
        self.is_any(v6) || self.admit(l3, v6, &self.local, &self.remote)
    }

    /// Whether a packet from the customer's side to us may pass.
    #[inline(always)]
    pub(crate) fn admit_inbound(&self, l3: &[u8], v6: bool) -> bool {
        self.is_any(v6) || self.admit(l3, v6, &self.remote, &self.local)
    }

    #[inline(never)]
    fn admit(&self, l3: &[u8], v6: bool, from: &[TrafficSelector], to: &[TrafficSelector]) -> bool {
        let Some((protocol, source, target)) = sides(l3, v6) else { return false };
        from.iter().any(|selector| selector.matches(&source, protocol))
            && to.iter().any(|selector| selector.matches(&target, protocol))
    }
}

fn sides(l3: &[u8], v6: bool) -> Option<(u8, Side, Side)> {
    let (protocol, l4, source, target) = if v6 {
        let header = Ipv6Header::view(l3)?;
        let transport = ipv6::transport(l3)?;
        let l4 = if transport.fragment.is_some() { &[] } else { l3.get(transport.offset..)? };
        (transport.protocol, l4, header.src.get(), header.dst.get())
    } else {
        let header = Ipv4Header::view(l3)?;
        // A fragment is judged without ports, all pieces of a datagram alike.
        let l4 = if header.is_fragment() { &[] } else { l3.get(header.header_len()..)? };
        (header.protocol, l4, header.src.get().into(), header.dst.get().into())
    };
    let (from, to) = ports(l4, protocol);
    Some((protocol, Side { v6, address: source, port: from }, Side { v6, address: target, port: to }))
}

fn ports(l4: &[u8], protocol: u8) -> (Option<u16>, Option<u16>) {
    match (protocol, l4) {
        (protocol::TCP | protocol::UDP, [a, b, c, d, ..]) => {
            (Some(u16::from_be_bytes([*a, *b])), Some(u16::from_be_bytes([*c, *d])))
        }
        (protocol::ICMP | protocol::ICMPV6, [kind, code, ..]) => {
            let both = Some(u16::from_be_bytes([*kind, *code]));
            (both, both)
        }
        _ => (None, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn udp(src: [u8; 4], dst: [u8; 4], ports: (u16, u16), fragment: u16) -> Vec<u8> {
        let mut packet = vec![0x45, 0, 0, 28, 0, 0];
        packet.extend(fragment.to_be_bytes());
        packet.extend([64, 17, 0, 0]);
        packet.extend(src);
        packet.extend(dst);
        packet.extend(ports.0.to_be_bytes());
        packet.extend(ports.1.to_be_bytes());
        packet.extend([0, 8, 0, 0]);
        packet
    }

    fn net(first: &str, last: &str) -> TrafficSelector {
        TrafficSelector::addresses(first.parse().unwrap(), last.parse().unwrap())
    }

    #[test]
    fn each_direction_is_held_to_its_own_side() {
        let selectors =
            Selectors::new(vec![net("10.0.0.0", "10.0.0.255")], vec![net("10.9.0.0", "10.9.0.9")]).unwrap();
        let out = udp([10, 0, 0, 7], [10, 9, 0, 9], (1, 2), 0);
        let back = udp([10, 9, 0, 9], [10, 0, 0, 7], (2, 1), 0);
        assert!(selectors.admit_outbound(&out, false) && selectors.admit_inbound(&back, false));
        assert!(!selectors.admit_outbound(&back, false) && !selectors.admit_inbound(&out, false));
        assert!(!selectors.admit_outbound(&udp([10, 0, 0, 7], [10, 9, 0, 10], (1, 2), 0), false));
        assert!(!selectors.admit_outbound(&out[..19], false), "a header that is not there matches nothing");
        assert!(!selectors.admit_outbound(&[0x60; 60], true));
    }

    #[test]
    fn ports_and_protocols_are_looked_at_only_where_they_are_asked_for() {
        let dns = TrafficSelector { protocol: Some(17), ports: 53..=53, ..net("0.0.0.0", "255.255.255.255") };
        let selectors = Selectors::new(vec![net("0.0.0.0", "255.255.255.255")], vec![dns]).unwrap();
        let packet = |ports, fragment| udp([1, 1, 1, 1], [2, 2, 2, 2], ports, fragment);
        assert!(selectors.admit_outbound(&packet((9, 53), 0), false));
        assert!(!selectors.admit_outbound(&packet((53, 9), 0), false));
        assert!(!selectors.admit_outbound(&packet((9, 53), 0x2000), false), "a fragment shows no ports");
        let everything = net("0.0.0.0", "255.255.255.255");
        let all = Selectors::new(vec![everything.clone()], vec![everything]).unwrap();
        assert!(all.is_any(false) && !all.is_any(true) && all.admit_inbound(&packet((9, 9), 7), false));
        assert!(Selectors::any().is_any(true));
        assert_eq!(Selectors::new(vec![net("::", "::"); 65], Vec::new()), None);
    }
}
