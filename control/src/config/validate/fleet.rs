//! `fleet`: what the nodes need of each other, and what cannot be where many nodes send and receive under one security
//! association.

use super::Check;
use crate::config::Name;
use crate::config::duration::Period;
use crate::config::schema::{FleetStore, StoreUrl, TunnelIke};
use crate::config::tree::Kind;

/// Longest life of a key in a fleet. Sender IDs come round after 36 h there, and none may come twice under one key.
const MAX_KEY_LIFE: Period = Period::from_secs(24 * 3600);
/// Age at which a key is rekeyed that ends, 10 % later, within [`MAX_KEY_LIFE`]; in whole hours.
const MAX_REKEY: Period = Period::from_secs(21 * 3600);
const _: () = assert!(MAX_REKEY.seconds / 10 * 11 <= MAX_KEY_LIFE.seconds);

impl Check<'_> {
    /// The section itself. Needs the addresses of ports.
    pub(super) fn fleet(&mut self, complete: bool) {
        let Some(fleet) = &self.config.fleet else { return };
        if self.is_unwritten("node.number") {
            let fix = "add \"number: N\" to node, from 0 to 1023, another one on each node of the fleet";
            self.error("node", "has no number: a fleet's nodes are told apart by it", fix);
        }
        if self.is_unwritten("node.name") {
            let name = &self.config.node.name;
            let message = format!("has no name: it is {name}, and no two nodes of a fleet may have the same");
            self.warn("node", message, "add \"name: NAME\" to node");
        }
        self.fleet_address(complete);
        if let FleetStore::Etcd { etcd } = &fleet.store
            && etcd.endpoints.iter().any(|url| !url.is_tls() && !url.stays_here())
        {
            let message = "http: everybody on the way can read the tenants and change them";
            self.warn(
                "fleet.store.etcd.endpoints",
                message,
                "write https, and ca, certificate and private_key",
            );
        }
        if let FleetStore::Etcd { etcd } = &fleet.store {
            self.same_url_twice(&etcd.endpoints);
        }
    }

    fn is_unwritten(&self, path: &str) -> bool {
        self.node(path).is_none_or(|node| matches!(node.kind, Kind::Empty))
    }

    /// The address is of this node alone, and packets to it arrive in the underlay's table.
    fn fleet_address(&mut self, complete: bool) {
        const PATH: &str = "fleet.address";
        let Some(fleet) = &self.config.fleet else { return };
        let (config, address) = (self.config, fleet.address);
        if let Some((name, _)) = config.endpoints.iter().find(|(_, endpoint)| **endpoint == address) {
            let message = format!("{address} is the endpoint {name}, which all nodes have");
            self.error(PATH, message, "write an address of one of this node's ports");
            return;
        }
        let here = config.ports.values().flat_map(|port| {
            let own = port.addresses.iter().map(|net| (net, &port.tenant));
            own.chain(
                port.vlans.values().flat_map(|vlan| vlan.addresses.iter().map(|net| (net, &vlan.tenant))),
            )
        });
        match here.into_iter().find(|(net, _)| net.addr() == address).map(|(_, tenant)| tenant) {
            Some(Some(tenant)) => {
                let message = format!("{address} is on a link of tenant {tenant}");
                let fix =
                    "nodes reach one another through the underlay: write an address of another port or VLAN";
                self.error(PATH, message, fix);
            }
            Some(None) => {}
            // Of ports that could not be read, nothing is known.
            None if complete => {
                let message = format!("{address} is no address of a port or VLAN");
                self.error(PATH, message, "write one of our own addresses, without its prefix length");
            }
            None => {}
        }
    }

    fn same_url_twice(&mut self, urls: &[StoreUrl]) {
        for (i, url) in urls.iter().enumerate() {
            if urls.iter().take(i).any(|other| other == url) {
                let path = self.item("fleet.store.etcd.endpoints", i);
                self.warn(&path, format!("{url} is named twice"), "remove one of them");
            }
        }
    }

    /// A tunnel whose security associations all nodes use at once; `path` is that of its `ike`.
    pub(super) fn shared_by_nodes(&mut self, ike: &TunnelIke, path: &str) {
        if ike.peer_replay_window > 0 {
            let message = format!(
                "{}: the router's replay window needs a single sender, and all nodes of the fleet send under one \
                 security association, their numbers in no order",
                ike.peer_replay_window
            );
            let fix = "turn replay protection off on the router (strongSwan: replay_window = 0 of its child; Cisco: set \
                       security-association replay disable; Junos: no-anti-replay), and remove this or write 0";
            self.error(&format!("{path}.peer_replay_window"), message, fix);
        }
        if ike.replay_window > 0 {
            let message = format!(
                "{}: packets of one security association come to all nodes of the fleet, and a window knows only those \
                 of one node",
                ike.replay_window
            );
            self.error(&format!("{path}.replay_window"), message, "remove it, or write 0");
        }
        if ike.esn {
            let message = "needs replay windows (RFC 4303 section 2.2.1), and there are none in a fleet";
            self.error(&format!("{path}.esn"), message, "remove it, or write esn: false");
        }
        let end = u64::from(ike.esp_rekey.seconds) * 11 / 10;
        if end > MAX_KEY_LIFE.seconds.into() {
            let message = format!(
                "{} and 10 % more, when the key ends, is longer than {MAX_KEY_LIFE}: in a fleet sender IDs come round \
                 after 36 h, and must not do so under one key",
                ike.esp_rekey
            );
            self.error(&format!("{path}.esp_rekey"), message, format!("write at most {MAX_REKEY}"));
        }
    }

    /// An IPsec tunnel that does not negotiate.
    pub(super) fn never_up_in_a_fleet(&mut self, tenant: &Name, tunnel: &Name) {
        let path = format!("tenants.{tenant}.tunnels.{tunnel}");
        let message = "has no ike: its security associations could only come from a file, and a fleet takes none from \
                       there; the tunnel stays down";
        self.warn(&path, message, "add ike");
    }
}
