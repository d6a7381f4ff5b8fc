//! Puts security associations on the workers and takes them off again, without losing a packet.
//!
//! The order of a change: what is new is received first, on all workers; then the tunnels send under it; then what is
//! old is received for a while longer, for packets under way. An association that stays is not touched: its numbers and
//! its window go on. What was sent under for too long is taken off, and not put on again. Keys are only passed through
//! here.

mod lives;
pub(super) mod specs;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use penstock_dataplane::esp::cipher::CipherError;
use penstock_dataplane::esp::feed::{FeedFull, SaFeed, SaHandle};
use penstock_dataplane::esp::key::KeyError;
use penstock_dataplane::esp::replay::ReplayWindowError;
use penstock_dataplane::esp::suite::Suite;
use penstock_dataplane::ids::{EndpointId, TunnelId};

use super::backends::Backends;
use super::clock::Now;
use crate::compile::{Compiler, EspForm, TunnelView};
use crate::static_sas::{InboundSa, OutboundSa, Selectors, StaticSas, TunnelName, TunnelSas};
use lives::Lives;
use specs::{Agreed, Ends, Sending};

/// How long packets that were sealed before a switch may be under way.
const GRACE: Duration = Duration::from_secs(2);

/// An association that could not be put on the workers.
#[derive(Debug, thiserror::Error)]
pub(super) enum InstallError {
    #[error(transparent)]
    Key(#[from] KeyError),
    #[error(transparent)]
    Cipher(#[from] CipherError),
    #[error(transparent)]
    Window(#[from] ReplayWindowError),
    #[error(transparent)]
    Full(#[from] FeedFull),
}

/// Where a tunnel stands in the tables. Its associations are good for this place only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    tunnel: TunnelId,
    incarnation: u32,
    endpoint: EndpointId,
    remote: IpAddr,
}

impl Place {
    fn ends(self) -> Ends {
        let Self { tunnel, incarnation, endpoint, remote } = self;
        Ends { tunnel, incarnation, endpoint, remote }
    }
}

pub(super) type Places = BTreeMap<TunnelName, Place>;

/// The places of all IPsec tunnels that do not negotiate.
pub(super) fn places(compiler: &Compiler) -> Places {
    let by_hand = |tunnel: &TunnelView<'_>| tunnel.config.is_ipsec() && tunnel.config.ike().is_none();
    compiler
        .tunnels()
        .filter(by_hand)
        .filter_map(|tunnel| {
            let place = Place {
                tunnel: tunnel.id,
                incarnation: tunnel.incarnation as u32,
                endpoint: tunnel.endpoint,
                // It may be anywhere only where SAs are negotiated.
                remote: tunnel.config.remote.address()?,
            };
            Some(((tunnel.tenant.clone(), tunnel.name.clone()), place))
        })
        .collect()
}

/// An inbound association on the workers.
pub(super) struct Inbound {
    pub(super) agreed: Agreed,
    pub(super) handle: SaHandle,
    place: Place,
}

/// Who numbers the packets of an outbound association.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Numbers {
    PerCore,
    Shared,
    Pinned(u16),
}

/// An outbound association on the workers.
pub(super) struct Outbound {
    pub(super) spi: u32,
    pub(super) agreed: Agreed,
    pub(super) sending: Sending,
    place: Place,
}

/// The associations of a tunnel on the workers.
#[derive(Default)]
pub(super) struct OfTunnel {
    pub(super) inbound: BTreeMap<u32, Inbound>,
    pub(super) outbound: Option<Outbound>,
}

struct Retiring {
    until: Instant,
    endpoint: EndpointId,
    spi: u32,
    handle: SaHandle,
}

/// All associations on the workers.
pub(super) struct Associations {
    backends: Backends,
    tunnels: BTreeMap<TunnelName, OfTunnel>,
    retiring: Vec<Retiring>,
    lives: Lives,
}

impl Associations {
    pub(super) fn new(backends: Backends) -> Self {
        Self { backends, tunnels: BTreeMap::new(), retiring: Vec::new(), lives: Lives::default() }
    }

    /// What encrypts.
    pub(super) fn backends(&self) -> &Backends {
        &self.backends
    }

    /// Of all tunnels.
    pub(super) fn tunnels(&self) -> impl Iterator<Item = (&TunnelName, &OfTunnel)> {
        self.tunnels.iter()
    }

    /// Of one tunnel.
    pub(super) fn tunnel(&self, name: &TunnelName) -> Option<&OfTunnel> {
        self.tunnels.get(name)
    }

    /// Tells the tunnels what is wanted and what is there still, so that packets fit either.
    pub(super) fn shape(&self, wanted: &StaticSas, compiler: &mut Compiler) -> bool {
        let names: Vec<TunnelName> = places(compiler).into_keys().collect();
        let mut changed = false;
        for name in &names {
            let (sas, there) = (wanted.tunnel(&name.0, &name.1), self.tunnels.get(name));
            let wanted_suites = sas.into_iter().flat_map(TunnelSas::suites);
            let suites = there.into_iter().flat_map(OfTunnel::suites).chain(wanted_suites);
            let form = EspForm { suites: unique(suites), udp: sas.and_then(|sas| sas.udp), remote: None };
            changed |= compiler.set_esp(&name.0, &name.1, &form);
        }
        changed
    }

    /// First step: takes off what stands where something new has to go, and what has lost its tunnel.
    pub(super) fn make_room(&mut self, wanted: &StaticSas, places: &Places, feed: &mut SaFeed) {
        let mut coming = BTreeSet::new();
        for (name, sas) in wanted.tunnels() {
            let Some(place) = places.get(name) else { continue };
            let there = self.tunnels.get(name);
            let stays = |spi: &u32| {
                there.and_then(|there| there.inbound.get(spi)).is_some_and(|sa| sa.place == *place)
            };
            let new = sas.inbound.iter().map(|sa| sa.spi).filter(|spi| !stays(spi));
            coming.extend(new.map(|spi| (place.endpoint, spi)));
        }
        for (name, there) in &mut self.tunnels {
            let place = places.get(name);
            there.inbound.retain(|spi, sa| {
                let goes = place != Some(&sa.place) || coming.contains(&(sa.place.endpoint, *spi));
                if goes {
                    feed.remove_inbound(&sa.handle);
                }
                !goes
            });
            if let Some(sa) = there.outbound.take_if(|sa| place != Some(&sa.place)) {
                feed.clear_outbound(sa.place.tunnel);
            }
        }
        self.retiring.retain(|old| {
            let goes = coming.contains(&(old.endpoint, old.spi));
            if goes {
                feed.remove_inbound(&old.handle);
            }
            !goes
        });
    }

    /// Second step: the workers receive what is new.
    pub(super) fn receive(
        &mut self,
        wanted: &StaticSas,
        places: &Places,
        feed: &mut SaFeed,
    ) -> Vec<(TunnelName, InstallError)> {
        let mut errors = Vec::new();
        for (name, sas) in wanted.tunnels() {
            let Some(place) = places.get(name) else { continue };
            let there = self.tunnels.entry(name.clone()).or_default();
            for sa in &sas.inbound {
                if there.inbound.contains_key(&sa.spi) {
                    continue;
                }
                match inbound(sa, &sas.selectors, *place, &self.backends, feed) {
                    Ok(installed) => {
                        there.inbound.insert(sa.spi, installed);
                    }
                    Err(error) => errors.push((name.clone(), error)),
                }
            }
        }
        errors
    }

    /// Third step: the tunnels send under what is new.
    pub(super) fn send(
        &mut self,
        wanted: &StaticSas,
        places: &Places,
        feed: &mut SaFeed,
        now: Now,
    ) -> Vec<(TunnelName, InstallError)> {
        let mut errors = Vec::new();
        for (name, there) in &mut self.tunnels {
            let sas = wanted.tunnel(&name.0, &name.1);
            let sa = sas.and_then(|sas| Some((sas.outbound.as_ref()?, &sas.selectors)));
            let (Some((sa, selectors)), Some(place)) = (sa, places.get(name)) else {
                if let Some(old) = there.outbound.take() {
                    feed.clear_outbound(old.place.tunnel);
                }
                continue;
            };
            let is_there = there.outbound.as_ref().is_some_and(|there| there.spi == sa.spi);
            if is_there || self.lives.was_ended(name, sa.spi) {
                continue;
            }
            match outbound(sa, selectors, *place, &self.backends, feed) {
                Ok(installed) => {
                    there.outbound = Some(installed);
                    self.lives.begin(name, sa.spi, wanted.written(), now);
                }
                Err(error) => errors.push((name.clone(), error)),
            }
        }
        self.lives.retain(|name, spi| {
            let wanted = wanted.tunnel(&name.0, &name.1).and_then(|sas| sas.outbound.as_ref());
            let there = self.tunnels.get(name).and_then(|there| there.outbound.as_ref());
            wanted.is_some_and(|sa| sa.spi == spi) || there.is_some_and(|sa| sa.spi == spi)
        });
        errors
    }

    /// Last step: what is old goes after a while.
    pub(super) fn retire(&mut self, wanted: &StaticSas, now: Instant) {
        for (name, there) in &mut self.tunnels {
            let sas = wanted.tunnel(&name.0, &name.1);
            let stays = |spi: &u32| sas.is_some_and(|sas| sas.inbound.iter().any(|sa| sa.spi == *spi));
            let gone: Vec<u32> = there.inbound.keys().copied().filter(|spi| !stays(spi)).collect();
            for spi in gone {
                let Some(sa) = there.inbound.remove(&spi) else { continue };
                let endpoint = sa.place.endpoint;
                self.retiring.push(Retiring { until: now + GRACE, endpoint, spi, handle: sa.handle });
            }
        }
        self.tunnels.retain(|_, there| !there.inbound.is_empty() || there.outbound.is_some());
    }

    /// Stops tunnels that have sent under one key for as long as anybody may (RFC 6054 needs sender IDs that do not come
    /// back meanwhile). Returns them, with the SPI. To be called now and then.
    pub(super) fn stop_old_keys(&mut self, feed: &mut SaFeed, now: Now) -> Vec<(TunnelName, u32)> {
        let mut stopped = Vec::new();
        for (name, spi) in self.lives.end(now) {
            if let Some(sa) = self.tunnels.get_mut(name).and_then(|there| there.outbound.take()) {
                feed.clear_outbound(sa.place.tunnel);
            }
            stopped.push((name.clone(), spi));
        }
        stopped
    }

    /// Whether a tunnel was stopped because its key is too old.
    pub(super) fn is_stopped(&self, name: &TunnelName) -> bool {
        self.lives.is_over(name)
    }

    /// How many tunnels were.
    pub(super) fn stopped(&self) -> usize {
        self.lives.over()
    }

    /// Takes off what has had its time, and frees what workers gave back. To be called now and then.
    pub(super) fn turn(&mut self, feed: &mut SaFeed, now: Instant) {
        self.retiring.retain(|old| {
            let goes = old.until <= now;
            if goes {
                feed.remove_inbound(&old.handle);
            }
            !goes
        });
        feed.turn();
    }
}

impl OfTunnel {
    fn suites(&self) -> impl Iterator<Item = Suite> {
        let inbound = self.inbound.values().map(|sa| sa.agreed.suite());
        inbound.chain(self.outbound.iter().map(|sa| sa.agreed.suite()))
    }
}

/// Has the workers receive under an association of the file.
fn inbound(
    sa: &InboundSa,
    selectors: &Selectors,
    place: Place,
    backends: &Backends,
    feed: &mut SaFeed,
) -> Result<Inbound, InstallError> {
    let selectors = specs::selectors(selectors);
    let agreed = Agreed::new(&sa.keys()?, backends.of(sa.suite), sa.replay_window, sa.esn, selectors)?;
    let handle = specs::receive(sa.spi, &agreed, place.ends(), 0, feed)?;
    Ok(Inbound { agreed, handle, place })
}

/// Has a tunnel send under an association of the file.
fn outbound(
    sa: &OutboundSa,
    selectors: &Selectors,
    place: Place,
    backends: &Backends,
    feed: &mut SaFeed,
) -> Result<Outbound, InstallError> {
    let selectors = specs::selectors(selectors);
    let mut agreed =
        Agreed::new(&sa.keys()?, backends.of(sa.suite), sa.peer_replay_window, sa.esn, selectors)?;
    agreed.packets = (sa.soft_packets, sa.hard_packets);
    let sending = specs::send(sa.spi, &agreed, place.ends(), 1, feed);
    Ok(Outbound { spi: sa.spi, agreed, sending, place })
}

/// Each suite once, in a stable order.
pub(super) fn unique(suites: impl Iterator<Item = Suite>) -> Vec<Suite> {
    let mut unique = Vec::new();
    for suite in suites {
        if !unique.contains(&suite) {
            unique.push(suite);
        }
    }
    unique.sort_by_key(|suite| suite.name());
    unique
}
