//! `tenants.NAME.tunnels.NAME.ike`: what charon would refuse, or take for something else than was meant.
//!
//! charon knows a router by the pair of identities, ours and its own, and by nothing else: it chooses the pre-shared
//! key by them, and ends the IKE SA of one tunnel when another with the same pair comes up (RFC 7296 section 2.4,
//! INITIAL_CONTACT). So no two tunnels may have the same pair.

use std::collections::HashMap;
use std::path::Path;

use ipnet::IpNet;

use super::Check;
use crate::config::Name;
use crate::config::identity::Identity;
use crate::config::proposal::Proposals;
use crate::config::schema::{IkeAuth, NatT, Remote, Selectors, TunnelConfig, TunnelIke};

/// Most packets under a key without ESN: at 10 % more, where the key ends, their number still fits 32 bits.
const MAX_PACKETS_SHORT: u64 = 3_900_000_000;

/// Who we are to a router.
#[derive(Debug, PartialEq, Eq, Hash)]
enum LocalId<'a> {
    Named(String),
    /// The subject of this certificate.
    Subject(&'a Path),
}

/// Tunnels seen so far.
#[derive(Default)]
pub(super) struct Routers<'a> {
    pairs: HashMap<(LocalId<'a>, String), (&'a Name, &'a Name)>,
    /// Of the tunnels that are answered alike, the first: by endpoint and remote.
    answered: HashMap<(&'a Name, Remote), (NatT, String)>,
}

impl<'a> Check<'a> {
    /// One tunnel; `path` is its key.
    pub(super) fn ike(
        &mut self,
        (tenant, name): (&'a Name, &'a Name),
        tunnel: &'a TunnelConfig,
        ike: &'a TunnelIke,
        routers: &mut Routers<'a>,
    ) {
        let path = format!("tenants.{tenant}.tunnels.{name}.ike");
        self.identities((tenant, name), tunnel, ike, routers, &path);
        self.one_answer(tunnel, ike, routers, &path);
        self.windows(ike, &path);
        self.families(&ike.selectors, &path);
        for (key, proposals) in [("proposals", &ike.proposals), ("esp_proposals", &ike.esp_proposals)] {
            self.weaknesses(&format!("{path}.{key}"), proposals);
        }
    }

    fn identities(
        &mut self,
        name: (&'a Name, &'a Name),
        tunnel: &'a TunnelConfig,
        ike: &'a TunnelIke,
        routers: &mut Routers<'a>,
        path: &str,
    ) {
        let remote = match (&ike.remote_id, tunnel.remote) {
            (Some(id), _) => id.folded(),
            (None, Remote::At(address)) => Identity::Address(address).folded(),
            (None, Remote::Any) => {
                let fix = "add who the router says it is, such as remote_id: router.example.com";
                self.error(path, "has no remote_id, and remote is any: everybody could be meant", fix);
                return;
            }
        };
        let local = match (&ike.local_id, &ike.auth, self.config.endpoints.get(&tunnel.endpoint)) {
            (Some(id), _, _) => LocalId::Named(id.folded()),
            (None, IkeAuth::Certificates { certificate, .. }, _) => LocalId::Subject(certificate),
            (None, IkeAuth::Psk { .. } | IkeAuth::Stored { .. }, Some(endpoint)) => {
                LocalId::Named(Identity::Address(*endpoint).folded())
            }
            (None, IkeAuth::Psk { .. } | IkeAuth::Stored { .. }, None) => return,
        };
        if local == LocalId::Named(remote.clone()) {
            let fix = "write what the router is configured to say of itself";
            self.error(&format!("{path}.remote_id"), "is our own identity, too", fix);
            return;
        }
        if let Some((tenant, tunnel)) = routers.pairs.insert((local, remote), name) {
            let other = format!("tenants.{tenant}.tunnels.{tunnel}");
            let line = self.line(&other).line;
            let message = format!("has the same local_id and remote_id as {other} (line {line})");
            let fix = "charon tells routers apart by them: give one of the two another remote_id or local_id, here and on \
                       its router";
            self.error(path, message, fix);
        }
    }

    /// charon answers the first message before it knows more of its sender than the address.
    fn one_answer(
        &mut self,
        tunnel: &'a TunnelConfig,
        ike: &TunnelIke,
        routers: &mut Routers<'a>,
        path: &str,
    ) {
        let same = (&tunnel.endpoint, tunnel.remote);
        let first = routers.answered.entry(same).or_insert_with(|| (ike.nat_t, path.to_owned()));
        if first.0 != ike.nat_t {
            let remote =
                tunnel.remote.address().map_or_else(|| "any".to_owned(), |address| address.to_string());
            let message = format!("is not that of {}, whose remote is {remote}, too", first.1);
            let fix = format!(
                "a router is answered before it is known which of them it is: write the same for all of an endpoint's \
                 tunnels with remote: {remote}"
            );
            self.error(&format!("{path}.nat_t"), message, fix);
        }
    }

    fn windows(&mut self, ike: &TunnelIke, path: &str) {
        if self.config.fleet.is_some() {
            self.shared_by_nodes(ike, path);
        } else if ike.esn {
            for (key, window) in
                [("replay_window", ike.replay_window), ("peer_replay_window", ike.peer_replay_window)]
            {
                if window == 0 {
                    // RFC 4303 section 2.2.1.
                    let message =
                        format!("needs {key}: the high half of a number is inferred from the window");
                    self.error(
                        &format!("{path}.esn"),
                        message,
                        format!("write a {key}, such as 64, or esn: false"),
                    );
                }
            }
        }
        if let Some(packets) = ike.esp_rekey_packets.filter(|packets| *packets > MAX_PACKETS_SHORT)
            && !ike.esn
        {
            let message = format!("{packets} packets are more than sequence numbers of 32 bits can count");
            let fix = format!("write at most {MAX_PACKETS_SHORT}, or esn: true");
            self.error(&format!("{path}.esp_rekey_packets"), message, fix);
        }
    }

    fn families(&mut self, selectors: &Selectors, path: &str) {
        let v4 = |side: &[IpNet]| side.iter().any(|net| matches!(net, IpNet::V4(_)));
        let v6 = |side: &[IpNet]| side.iter().any(|net| matches!(net, IpNet::V6(_)));
        let (local, remote) = (&selectors.local, &selectors.remote);
        let path = format!("{path}.selectors");
        let only = |what: &str| format!("has {what} on one side only");
        match (v4(local) == v4(remote), v6(local) == v6(remote)) {
            (true, true) => {}
            (false, false) => {
                let fix = "write prefixes of the same family on both sides";
                self.error(&path, "has IPv4 on one side and IPv6 on the other: no packet could pass", fix);
            }
            (false, true) => {
                self.warn(&path, only("IPv4"), "add IPv4 prefixes to the other side, or remove it here")
            }
            (true, false) => {
                self.warn(&path, only("IPv6"), "add IPv6 prefixes to the other side, or remove it here")
            }
        }
    }

    fn weaknesses(&mut self, list: &str, proposals: &Proposals) {
        for (i, proposal) in proposals.iter().enumerate() {
            for (transform, weakness) in proposal.weaknesses() {
                let path = self.item(list, i);
                self.warn(
                    &path,
                    format!("{transform}: {weakness}"),
                    "remove it when the router can do better",
                );
            }
        }
    }

    /// Limits of IKE as a whole.
    pub(super) fn ike_limits(&mut self) {
        let ike = &self.config.ike;
        if ike.source_rate > ike.rate {
            let message =
                format!("{} is more than rate, {}: one source may use it up", ike.source_rate, ike.rate);
            self.warn("ike.source_rate", message, "write less than rate");
        }
    }
}
