//! Tunnels that negotiate: joins charon's calls, the state machine of their SAs, and the workers.
//!
//! [`Negotiated`] is part of the state behind the one lock; each of its methods is a moment's work and leaves nothing
//! half done: when it returns, the workers' feed, the tunnels' outsides, the journal and the log have what the state
//! machine decided. [`Service`](service::Service) is what charon's plugin talks to; it does the waiting.

mod demand;
mod on_feed;
mod service;
mod tell;

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;

use penstock_dataplane::esp::feed::SaFeed;
use penstock_dataplane::esp::sa::Spi;
use penstock_dataplane::ids::TunnelId;
use penstock_dataplane::tables::UdpPorts;

use super::associations::unique;
use super::backends::Backends;
use crate::compile::{Compiler, EspForm, Peer};
use crate::ike::protocol::{
    AddSa, Event, GetSpi, Installed as Listed, Instance, PolicySpec, Refused, SaId, UpdateSa,
};
use crate::ike::sad::{Change, Direction, Home, Moment, NewSa, Sa, Sad, Serial, State, Usage};
use crate::static_sas::TunnelName;
use on_feed::OnFeed;
pub(super) use on_feed::{Numbered, Real, idle};
pub(super) use service::{Host, Service};

/// What control works on for negotiated SAs.
pub(super) struct Gear<'g> {
    /// To the workers.
    pub(super) feed: &'g mut SaFeed,
    /// What encrypts.
    pub(super) backends: &'g Backends,
    /// The tables.
    pub(super) compiler: &'g mut Compiler,
}

/// A tunnel of the configuration that negotiates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct IkeTunnel {
    pub(super) name: TunnelName,
    /// Packets that our window spans.
    replay_window: u32,
    /// Packets that the peer's window spans.
    peer_replay_window: u32,
    /// Whether sequence numbers of 64 bits were offered.
    esn: bool,
}

/// All of it.
#[derive(Default)]
pub(super) struct Negotiated {
    sad: Sad<Real>,
    /// By reqid.
    tunnels: BTreeMap<u32, IkeTunnel>,
    reqids: BTreeMap<TunnelName, u32>,
    by_number: HashMap<TunnelId, u32>,
}

impl Negotiated {
    /// Takes the tunnels of a new configuration. SAs of those that are gone, or stand elsewhere now, go at once.
    pub(super) fn set_tunnels(&mut self, gear: &mut Gear<'_>) {
        let mut homes = BTreeMap::new();
        self.tunnels.clear();
        self.by_number.clear();
        for tunnel in gear.compiler.tunnels() {
            let Some(ike) = tunnel.config.ike() else { continue };
            let name = (tunnel.tenant.clone(), tunnel.name.clone());
            let reqid = self.reqid(&name);
            let home = Home {
                tunnel: tunnel.id,
                incarnation: tunnel.incarnation as u32,
                endpoint: tunnel.endpoint,
                local: tunnel.local,
            };
            homes.insert(reqid, home);
            self.by_number.insert(tunnel.id, reqid);
            let settings = IkeTunnel {
                name,
                replay_window: ike.replay_window,
                peer_replay_window: ike.peer_replay_window,
                esn: ike.esn,
            };
            self.tunnels.insert(reqid, settings);
        }
        self.sad.set_tunnels(&homes, &mut OnFeed(gear.feed));
        self.settle(gear);
    }

    /// The number by which charon names a tunnel.
    fn reqid(&mut self, name: &TunnelName) -> u32 {
        let next = self.reqids.values().max().map_or(1, |last| last + 1);
        *self.reqids.entry(name.clone()).or_insert(next)
    }

    /// Every few milliseconds.
    pub(super) fn turn(&mut self, gear: &mut Gear<'_>, now: Moment) -> bool {
        self.sad.turn(&mut OnFeed(gear.feed), now);
        self.settle(gear)
    }

    /// Once a second.
    pub(super) fn check(&mut self, gear: &mut Gear<'_>, now: Moment) -> bool {
        let workers = &mut OnFeed(gear.feed);
        self.sad.check(workers, now);
        for (_serial, _progress) in self.sad.take_progress(workers) {}
        self.settle(gear)
    }

    /// A peer sends from another address or port. True when the tables must be made again.
    pub(super) fn peer_moved(&mut self, tunnel: TunnelId, spi: u32, peer: Peer, gear: &mut Gear<'_>) -> bool {
        if !gear.compiler.learn_peer(tunnel, peer) {
            return false;
        }
        let reqid = self.by_number.get(&tunnel);
        let mut sas = reqid.into_iter().flat_map(|reqid| self.sad.of_tunnel(*reqid));
        let showed = sas.find(|sa| sa.direction == Direction::Inbound && sa.id.spi == Spi(spi));
        if let Some(sa) = showed.filter(|sa| !self.sad.is_orphan(sa)) {
            let remote = SocketAddr::new(peer.address, peer.port);
            self.tell(Event::Mapping { id: sa.id, remote });
        }
        true
    }

    /// The sequence numbers of an outbound SA run out. False: it is not one of ours.
    pub(super) fn numbers_run_out(&mut self, tunnel: TunnelId, spi: u32, gear: &mut Gear<'_>) -> bool {
        let ours = self.by_number.contains_key(&tunnel);
        if ours {
            self.sad.numbers_run_out(tunnel, Spi(spi));
            self.settle(gear);
        }
        ours
    }

    /// What charon asks for: an SPI.
    fn get_spi(&mut self, charon: Instance, wanted: &GetSpi, now: Moment) -> Result<Spi, Refused> {
        let draw = || Spi(0x1000);
        self.sad.get_spi(charon, wanted, draw, now)
    }

    /// An SA with its keys. Returned: the change that brings an inbound one onto the workers.
    fn add(
        &mut self,
        charon: Instance,
        sa: &AddSa,
        gear: &mut Gear<'_>,
        now: Moment,
    ) -> Result<Option<u64>, Refused> {
        let key = demand::agreed(sa, self.tunnels.get(&sa.reqid), gear.backends)?;
        let new = NewSa { id: sa.id, reqid: sa.reqid, encap: sa.flags.encap, lifetimes: sa.lifetimes, key };
        let workers = &mut OnFeed(gear.feed);
        let added = match sa.flags.inbound {
            true => self.sad.add_inbound(charon, new, workers, now),
            false => self.sad.add_outbound(charon, new, workers, now),
        };
        let outcome = added.map(|serial| {
            self.warn_of_other_selectors(serial);
            sa.flags.inbound.then(|| gear.feed.generation())
        });
        self.settle(gear);
        outcome
    }

    fn delete(
        &mut self,
        charon: Instance,
        id: &SaId,
        gear: &mut Gear<'_>,
        now: Moment,
    ) -> Result<(), Refused> {
        let outcome = self.sad.delete(charon, id, &mut OnFeed(gear.feed), now);
        self.settle(gear);
        outcome
    }

    fn update(&mut self, charon: Instance, change: &UpdateSa, gear: &mut Gear<'_>) -> Result<(), Refused> {
        let outcome = self.sad.update(charon, change);
        self.settle(gear);
        outcome
    }

    fn query(&self, charon: Instance, id: &SaId, gear: &mut Gear<'_>) -> Result<Usage, Refused> {
        self.sad.query(charon, id, &OnFeed(gear.feed))
    }

    fn choose(
        &mut self,
        charon: Instance,
        policy: &PolicySpec,
        gear: &mut Gear<'_>,
        now: Moment,
    ) -> Result<(), Refused> {
        let Some(spi) = demand::chosen(policy) else { return Ok(()) };
        let outcome = self.sad.choose(charon, policy.reqid, spi, &mut OnFeed(gear.feed), now);
        self.settle(gear);
        outcome
    }

    fn flush(&mut self, charon: Instance, gear: &mut Gear<'_>, now: Moment) -> Result<(), Refused> {
        let outcome = self.sad.flush(charon, &mut OnFeed(gear.feed), now);
        self.settle(gear);
        outcome
    }

    fn hello(&mut self, charon: Instance, gear: &mut Gear<'_>) {
        self.sad.hello(charon);
        self.settle(gear);
    }

    fn sync(
        &mut self,
        charon: Instance,
        installed: &[Listed],
        gear: &mut Gear<'_>,
        now: Moment,
    ) -> Result<Vec<SaId>, Refused> {
        let outcome = self.sad.sync(charon, installed, &mut OnFeed(gear.feed), now);
        self.settle(gear);
        outcome
    }

    /// The SAs of a tunnel.
    pub(super) fn sas(&self, name: &TunnelName) -> impl Iterator<Item = (&Sa<Real>, State)> {
        let reqid = self.reqids.get(name).copied();
        let sas = reqid.into_iter().flat_map(|reqid| self.sad.of_tunnel(reqid));
        sas.map(|sa| (sa, self.sad.state(sa)))
    }

    /// Why a tunnel has nothing to send under.
    pub(super) fn why_down(&self, name: &TunnelName) -> Option<&'static str> {
        let current = self.reqids.get(name).and_then(|reqid| self.sad.current(*reqid));
        match current.map(|sa| self.sad.state(sa)) {
            None => Some("the peer has not negotiated, see show ike"),
            Some(State::Stopped) => {
                Some("its security association is over and was not replaced, see show ike")
            }
            Some(_) => None,
        }
    }

    /// Tunnels by name.
    pub(super) fn tunnels(&self) -> impl Iterator<Item = &TunnelName> {
        self.tunnels.values().map(|tunnel| &tunnel.name)
    }

    /// Brings everything in line with what the state machine has decided. True when the tables must be made again.
    fn settle(&mut self, gear: &mut Gear<'_>) -> bool {
        for notice in self.sad.take_notices() {
            self.log(&notice);
        }
        for (serial, change) in self.sad.take_changes() {
            self.write_down(serial, change);
        }
        for event in self.sad.take_events() {
            self.tell(event);
        }
        let mut changed = false;
        for reqid in self.sad.take_reshaped() {
            if let Some(tunnel) = self.tunnels.get(&reqid) {
                let (tenant, name) = &tunnel.name;
                changed |= gear.compiler.set_esp(tenant, name, &self.form(reqid));
            }
        }
        changed
    }

    fn write_down(&mut self, _serial: Serial, _change: Change) {}

    fn tell(&self, _event: Event) {}

    /// What a tunnel's SAs mean for its outside. Packets that are sent go where those of the current SA go.
    fn form(&self, reqid: u32) -> EspForm {
        let suites = unique(self.sad.of_tunnel(reqid).map(|sa| sa.key.suite()));
        let newest = || self.sad.of_tunnel(reqid).max_by_key(|sa| sa.serial);
        let Some(sa) = self.sad.current(reqid).or_else(newest) else { return EspForm::default() };
        let peer = sa.peer();
        let udp = sa.encap.then_some(UdpPorts { local: NAT_T, remote: peer.port() });
        EspForm { suites, udp, remote: Some(peer.ip()) }
    }
}

/// The port of ESP in UDP (RFC 3948 section 2.1).
const NAT_T: u16 = 4500;
