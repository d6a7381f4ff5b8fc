//! Tunnels that negotiate: joins charon's calls, the state machine of their SAs, and the workers.
//!
//! [`Negotiated`] is part of the state behind the one lock; each of its methods is a moment's work and leaves nothing
//! half done: when it returns, the workers' feed, the tunnels' outsides, the journal and the log have what the state
//! machine decided. [`Service`] is what charon's plugin talks to; it does the waiting.

mod calls;
mod demand;
pub(super) mod foreign;
mod on_feed;
mod service;
pub(super) mod sharing;
mod store;
mod tell;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::SocketAddr;
use std::path::Path;

use penstock_dataplane::esp::feed::SaFeed;
use penstock_dataplane::esp::sa::Spi;
use penstock_dataplane::ids::TunnelId;
use penstock_dataplane::tables::UdpPorts;

use super::associations::unique;
use super::backends::Backends;
use crate::compile::{Compiler, EspForm, Peer};
use crate::fleet::{Arbitrated, Fleet, ForeignSa, Sender, Site};
use crate::ike::protocol::{Event, Instance};
use crate::ike::run_directory::RunDirectoryError;
use crate::ike::sad::{Change, Direction, Home, Moment, Sa, Sad, State};
use crate::ike::socket::Events;
use crate::ike::spi::Spis;
use crate::static_sas::TunnelName;
use on_feed::OnFeed;
pub(super) use on_feed::{Numbered, Real, idle};
pub(super) use service::{Host, Service};
use sharing::Sharing;
use store::{Kept, Store};

/// The port of ESP in UDP (RFC 3948 section 2.1).
const NAT_T: u16 = 4500;

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
struct IkeTunnel {
    name: TunnelName,
    /// In the tables.
    number: TunnelId,
    /// Packets that our window spans.
    replay_window: u32,
    /// Packets that the peer's window spans.
    peer_replay_window: u32,
    /// Whether sequence numbers of 64 bits were offered.
    esn: bool,
}

/// All of it. Nothing is negotiated before [`Negotiated::open`].
pub(super) struct Negotiated {
    /// Number of this node.
    number: u16,
    sad: Sad<Arbitrated<Real>>,
    /// SAs of other nodes, and what is sent under where there are several.
    fleet: Fleet<Real>,
    /// What other nodes are told.
    sharing: Option<Sharing>,
    opened: Option<Opened>,
    /// By reqid.
    tunnels: BTreeMap<u32, IkeTunnel>,
    by_number: HashMap<TunnelId, u32>,
    /// The version of the plugin that came last.
    plugin: Option<String>,
    /// The tables have to be made again.
    unpublished: bool,
}

/// What there is from the first tunnel that negotiates on.
struct Opened {
    store: Store,
    spis: Spis,
    events: Events,
}

impl Negotiated {
    /// Of the node of this number, which is in the SPIs that it gives out.
    pub(super) fn new(number: u16) -> Self {
        Self {
            number,
            sad: Sad::default(),
            fleet: Fleet::new(number),
            sharing: None,
            opened: None,
            tunnels: BTreeMap::new(),
            by_number: HashMap::new(),
            plugin: None,
            unpublished: false,
        }
    }

    /// Goes on where the run of control before this one has ended: what is in the run directory goes back to the
    /// workers.
    ///
    /// # Errors
    /// When the run directory cannot be used.
    pub(super) fn open(
        &mut self,
        run: &Path,
        gear: &mut Gear<'_>,
        now: Moment,
    ) -> Result<(), RunDirectoryError> {
        let (store, kept) = Store::open(run, now)?;
        self.fleet.set_journal(store.id);
        self.opened = Some(Opened { store, spis: Spis::new(self.number), events: Events::default() });
        let in_use: BTreeSet<u32> = kept.iter().map(|kept| kept.saved.reqid).collect();
        self.name_tunnels(gear, |reqid| in_use.contains(&reqid));
        self.refill(kept, gear, now);
        self.settle(gear);
        Ok(())
    }

    /// Whether there is anything to negotiate with.
    pub(super) fn is_open(&self) -> bool {
        self.opened.is_some()
    }

    fn refill(&mut self, kept: Vec<Kept>, gear: &mut Gear<'_>, now: Moment) {
        let Some(opened) = &mut self.opened else { return };
        let mut restored = Vec::new();
        for Kept { saved, sa } in kept {
            match demand::agreed(&sa, self.tunnels.get(&sa.reqid), gear.backends) {
                Ok(key) => {
                    let ahead = saved.ahead();
                    if ahead != saved.progress {
                        opened.store.progress(saved.serial, ahead);
                    }
                    restored.push((saved, key));
                }
                Err(refused) => {
                    tracing::warn!(id = %saved.id, "an SA is not restored: {refused}");
                    opened.store.remove(saved.serial);
                }
            }
        }
        let of = restored.len();
        let workers = &mut OnFeed(gear.feed);
        for serial in self.sad.refill(restored, &mut self.fleet.workers(workers), now) {
            opened.store.remove(serial);
        }
        if of > 0 {
            tracing::info!(sas = self.sad.len(), of, "SAs go on where they were before the restart");
        }
    }

    /// Takes the tunnels of a new configuration. SAs of those that are gone, or stand elsewhere now, go at once.
    pub(super) fn set_tunnels(&mut self, gear: &mut Gear<'_>) {
        let in_use: BTreeSet<u32> = self.sad.sas().map(|sa| sa.reqid).collect();
        self.name_tunnels(gear, |reqid| in_use.contains(&reqid));
        self.settle(gear);
    }

    fn name_tunnels(&mut self, gear: &mut Gear<'_>, is_in_use: impl Fn(u32) -> bool) {
        let Some(opened) = &mut self.opened else { return };
        let mut named = BTreeMap::new();
        for tunnel in gear.compiler.tunnels() {
            let Some(ike) = tunnel.config.ike() else { continue };
            let name = (tunnel.tenant.clone(), tunnel.name.clone());
            let home = Home {
                tunnel: tunnel.id,
                incarnation: tunnel.incarnation as u32,
                endpoint: tunnel.endpoint,
                local: tunnel.local,
            };
            let settings = IkeTunnel {
                name: name.clone(),
                number: tunnel.id,
                replay_window: ike.replay_window,
                peer_replay_window: ike.peer_replay_window,
                esn: ike.esn,
            };
            named.insert(name, (home, settings));
        }
        if let Err(error) = opened.store.reqids.settle(named.keys().cloned(), is_in_use) {
            tracing::error!(%error, "the numbers of tunnels cannot be written down; they hold until the next start");
        }
        let (mut homes, mut sites) = (BTreeMap::new(), BTreeMap::new());
        self.tunnels.clear();
        self.by_number.clear();
        for (name, (home, settings)) in named {
            let Some(reqid) = opened.store.reqids.reqid(&name) else { continue };
            self.by_number.insert(home.tunnel, reqid);
            homes.insert(reqid, home);
            sites.insert(settings.name.clone(), Site { reqid, home });
            self.tunnels.insert(reqid, settings);
        }
        let workers = &mut OnFeed(gear.feed);
        self.fleet.set_tunnels(&sites, workers);
        self.sad.set_tunnels(&homes, &mut self.fleet.workers(workers));
    }

    /// The number by which charon names a tunnel.
    pub(super) fn reqid(&self, name: &TunnelName) -> Option<u32> {
        self.opened.as_ref()?.store.reqids.reqid(name)
    }

    /// The version of the plugin in charon, as it said when it came.
    pub(super) fn plugin(&self) -> Option<&str> {
        self.plugin.as_deref()
    }

    /// The tunnel that charon names by this number.
    fn name(&self, reqid: u32) -> String {
        let named = self.opened.as_ref().and_then(|opened| opened.store.reqids.tunnel(reqid));
        named.map_or_else(|| format!("of reqid {reqid}"), |(tenant, tunnel)| format!("{tenant}/{tunnel}"))
    }

    /// Every few milliseconds.
    pub(super) fn turn(&mut self, gear: &mut Gear<'_>, now: Moment) {
        let workers = &mut OnFeed(gear.feed);
        self.sad.turn(&mut self.fleet.workers(workers), now);
        self.fleet.turn(workers, now);
        self.settle(gear);
    }

    /// Once a second.
    pub(super) fn check(&mut self, gear: &mut Gear<'_>, now: Moment) {
        let workers = &mut OnFeed(gear.feed);
        let moved = self.sad.check(&mut self.fleet.workers(workers), now, |agreed| agreed.window > 0);
        if let Some(opened) = &self.opened {
            for (serial, progress) in moved {
                opened.store.progress(serial, progress);
            }
        }
        self.settle(gear);
    }

    /// Before a stop: what a start soon after has to know.
    pub(super) fn close(&mut self, gear: &mut Gear<'_>) {
        let Some(opened) = &self.opened else { return };
        for (serial, progress) in self.sad.take_all_progress(&self.fleet.workers(&mut OnFeed(gear.feed))) {
            opened.store.progress(serial, progress);
        }
    }

    /// A peer sends from another address or port. True when the tables must be made again.
    pub(super) fn peer_moved(&self, tunnel: TunnelId, spi: u32, peer: Peer, gear: &mut Gear<'_>) -> bool {
        if !gear.compiler.learn_peer(tunnel, peer) {
            return false;
        }
        let reqid = self.by_number.get(&tunnel);
        let mut sas = reqid.into_iter().flat_map(|reqid| self.sad.of_tunnel(*reqid));
        let showed = sas.find(|sa| sa.direction == Direction::Inbound && sa.id.spi == Spi(spi));
        // One that is going charon has deleted already.
        if let Some(sa) = showed.filter(|sa| self.sad.state(sa) == State::Current) {
            let remote = SocketAddr::new(peer.address, peer.port);
            self.tell(sa.charon, Event::Mapping { id: sa.id, remote });
        }
        true
    }

    /// The sequence numbers of an outbound SA run out. False: it is not one of ours.
    pub(super) fn numbers_run_out(&mut self, tunnel: TunnelId, spi: u32, gear: &mut Gear<'_>) -> bool {
        let is_ours = self.by_number.contains_key(&tunnel);
        if is_ours {
            if !self.fleet.numbers_run_out(tunnel, Spi(spi)) {
                self.sad.numbers_run_out(tunnel, Spi(spi));
            }
            self.settle(gear);
        }
        is_ours
    }

    /// The SAs of a tunnel.
    pub(super) fn sas(&self, name: &TunnelName) -> impl Iterator<Item = (&Sa<Arbitrated<Real>>, State)> {
        let sas = self.reqid(name).into_iter().flat_map(|reqid| self.sad.of_tunnel(reqid));
        sas.map(|sa| (sa, self.sad.state(sa)))
    }

    /// The SAs of other nodes for a tunnel, and whether it sends under each.
    pub(super) fn foreign_sas(&self, name: &TunnelName) -> impl Iterator<Item = (&ForeignSa<Real>, bool)> {
        let number = self.reqid(name).and_then(|reqid| self.tunnels.get(&reqid)).map(|tunnel| tunnel.number);
        let sender = number.and_then(|number| self.fleet.sender(number));
        let is_sender =
            move |sa: &ForeignSa<Real>| matches!(&sender, Some(Sender::Foreign(name)) if *name == sa.name);
        self.fleet.foreign().of_tunnel(name).map(move |sa| (sa, is_sender(sa)))
    }

    /// Why a tunnel has nothing to send under.
    pub(super) fn why_down(&self, name: &TunnelName) -> Option<&'static str> {
        let reqid = self.reqid(name);
        let number = reqid.and_then(|reqid| self.tunnels.get(&reqid)).map(|tunnel| tunnel.number);
        if matches!(number.and_then(|number| self.fleet.sender(number)), Some(Sender::Foreign(_))) {
            return None;
        }
        match reqid.and_then(|reqid| self.sad.current(reqid)).map(|sa| self.sad.state(sa)) {
            None => Some("the peer has not negotiated, see show ike"),
            Some(State::Stopped) => {
                Some("its security association is over and was not replaced, see show ike")
            }
            Some(_) => None,
        }
    }

    /// All tunnels that negotiate.
    pub(super) fn tunnels(&self) -> impl Iterator<Item = &TunnelName> {
        self.tunnels.values().map(|tunnel| &tunnel.name)
    }

    /// What events for charon go by.
    pub(super) fn events(&self) -> Option<Events> {
        self.opened.as_ref().map(|opened| opened.events.clone())
    }

    /// Whether the tables have to be made again. Told once.
    pub(super) fn take_unpublished(&mut self) -> bool {
        std::mem::take(&mut self.unpublished)
    }

    /// Brings everything in line with what the state machine has decided.
    fn settle(&mut self, gear: &mut Gear<'_>) {
        self.fleet.settle(&self.sad, &mut OnFeed(gear.feed));
        for notice in self.sad.take_notices() {
            self.log(&notice);
        }
        for notice in self.fleet.take_notices() {
            tell::log_foreign(&notice);
        }
        tell::log_senders(&self.fleet.take_switched());
        self.write_down();
        for (charon, event) in self.sad.take_events() {
            self.tell(charon, event);
        }
        let of_sad = self.sad.take_reshaped().into_iter();
        let mut reshaped: BTreeSet<u32> = of_sad.chain(self.fleet_reshaped()).collect();
        reshaped.retain(|reqid| self.tunnels.contains_key(reqid));
        for reqid in reshaped {
            if let Some(IkeTunnel { name: (tenant, name), .. }) = self.tunnels.get(&reqid) {
                self.unpublished |= gear.compiler.set_esp(tenant, name, &self.form(reqid));
            }
        }
    }

    fn fleet_reshaped(&mut self) -> Vec<u32> {
        let reshaped = self.fleet.take_reshaped();
        reshaped.iter().filter_map(|name| self.reqid(name)).collect()
    }

    fn write_down(&mut self) {
        let changes = self.sad.take_changes();
        if let Some(sharing) = &mut self.sharing {
            sharing.doubt(changes.keys().copied());
            sharing.doubt(self.fleet.take_chosen(&self.sad));
            // While the keys of what is over are still in the journal.
            self.tell_others();
        }
        let Some(opened) = &mut self.opened else { return };
        for (serial, change) in changes {
            match (change, self.sad.saved(serial)) {
                (Change::Changed, Some(saved)) => {
                    let paired = saved.pair.and_then(|pair| self.sad.get(pair)).map(|sa| sa.id.spi);
                    opened.store.change(&saved, paired);
                }
                // What is over does not come back.
                (Change::Changed, None) | (Change::Gone, _) => opened.store.remove(serial),
            }
        }
    }

    fn tell(&self, charon: Instance, event: Event) {
        if let Some(opened) = &self.opened {
            opened.events.send(charon, event);
        }
    }

    /// What a tunnel's SAs mean for its outside. What is sent goes where the packets of the SA go that it sends under.
    fn form(&self, reqid: u32) -> EspForm {
        let Some(tunnel) = self.tunnels.get(&reqid) else { return EspForm::default() };
        let foreign = || self.fleet.foreign().of_tunnel(&tunnel.name);
        let of_sad = self.sad.of_tunnel(reqid).map(|sa| sa.key.suite());
        let suites = unique(of_sad.chain(foreign().map(|sa| sa.key.suite())));
        let own = || {
            let newest = || self.sad.of_tunnel(reqid).max_by_key(|sa| sa.serial);
            self.sad.current(reqid).or_else(newest).map(|sa| (sa.peer(), sa.encap))
        };
        let sent_under = match self.fleet.sender(tunnel.number) {
            Some(Sender::Foreign(name)) => self.fleet.foreign().get(&name).map(|sa| (sa.peer(), sa.encap)),
            Some(Sender::Own) => own(),
            None => own().or_else(|| foreign().next().map(|sa| (sa.peer(), sa.encap))),
        };
        let Some((peer, encap)) = sent_under else { return EspForm::default() };
        let udp = encap.then_some(UdpPorts { local: NAT_T, remote: peer.port() });
        EspForm { suites, udp, remote: Some(peer.ip()) }
    }
}
