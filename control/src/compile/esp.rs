//! What the outside of an IPsec tunnel takes from its security associations: sizes, UDP, where the peer is.
//!
//! The associations themselves go to the workers by another way; here is only what the tunnel's prebuilt header and its
//! MTU depend on. RFC 3948, RFC 4303.

use std::net::IpAddr;

use penstock_dataplane::esp::suite::Suite;
use penstock_dataplane::ids::TunnelId;
use penstock_dataplane::tables::{Encapsulation, UdpPorts};

use super::tunnels::Tunnels;
use crate::config::Name;

/// What a tunnel without security associations is taken to get: most do.
const USUAL_SUITE: Suite = Suite::AES128_GCM;

/// What the security associations of a tunnel mean for its outside.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EspForm {
    /// The suites in use, both directions.
    pub suites: Vec<Suite>,
    /// Inside UDP.
    pub udp: Option<UdpPorts>,
    /// Where the peer negotiated from; instead of the configuration's remote, which may be any.
    pub remote: Option<IpAddr>,
}

/// Where a peer was found to be, instead of where the configuration says (RFC 7296 section 2.23).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its address, or that of the NAT in front of it.
    pub address: IpAddr,
    /// Its UDP port.
    pub port: u16,
}

impl EspForm {
    /// Largest inner packet on a link of `link` bytes, whichever suite it is sealed with.
    pub(super) fn inner_mtu(&self, link: u16, outer_v6: bool) -> u16 {
        let udp = self.udp.is_some();
        let smallest = self.suites.iter().map(|suite| suite.inner_mtu(link, outer_v6, udp)).min();
        smallest.unwrap_or_else(|| USUAL_SUITE.inner_mtu(link, outer_v6, udp))
    }

    pub(super) fn encapsulation(&self, peer: Option<Peer>) -> Encapsulation {
        let moved =
            |ports: UdpPorts| UdpPorts { remote: peer.map_or(ports.remote, |peer| peer.port), ..ports };
        Encapsulation::Esp { udp: self.udp.map(moved) }
    }
}

impl Tunnels {
    /// Takes what a tunnel's security associations mean for its outside. True when that is news.
    pub(super) fn set_esp(&mut self, tenant: &Name, name: &Name, form: &EspForm) -> bool {
        let Some(id) = self.id(tenant, name) else { return false };
        let Some(entry) = self.entries.get_mut(&id).filter(|entry| entry.esp != *form) else { return false };
        let peer_stays = entry.esp.udp == form.udp && entry.esp.remote == form.remote;
        self.rehome(id, |entry| {
            entry.esp = form.clone();
            entry.peer = entry.peer.filter(|_| peer_stays);
        });
        self.dirty.insert(id);
        true
    }

    /// The peer of a tunnel in UDP sends from elsewhere. True when that is news.
    pub(super) fn learn_peer(&mut self, id: TunnelId, peer: Peer) -> bool {
        let Some(entry) = self.entries.get(&id) else { return false };
        let fits = entry.esp.udp.is_some() && peer.address.is_ipv4() == entry.place.local.is_ipv4();
        if !fits || entry.peer == Some(peer) {
            return false;
        }
        self.rehome(id, |entry| entry.peer = Some(peer));
        self.dirty.insert(id);
        true
    }
}
