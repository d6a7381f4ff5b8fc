//! This node in its fleet: joins the store, the other nodes, the workers and the configuration.
//!
//! Five tasks on the control thread, each of one thing: [`membership`] keeps this node's record alive, [`watch`] takes what
//! the store says, [`applied`] tells owners when the workers have it, [`writer`] writes what this node has for the others,
//! and [`senders`] takes sender IDs. All else is a moment's work under the one lock.

mod account;
mod applied;
mod health;
mod membership;
mod objects;
mod rescue;
mod senders;
mod show;
mod start;
mod volumes;
mod watch;
mod writer;

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use penstock_fleet::names::{Name, NodeNumber};
use penstock_fleet::peer::{Incarnation, PeerKeys, StoreTag};
use penstock_fleet::seal::Keyring;
use penstock_fleet::store::{LeaseId, QUIET};
use tokio::sync::Notify;

pub(super) use senders::FleetSenders;
pub(super) use start::{Tasks, start};

use super::clock;
use super::negotiated::sharing::Told;
use super::state::State;
use crate::config::FleetConfig;
use crate::fleet::nodes::acknowledgements::Acknowledgements;
use crate::fleet::nodes::lateness::Lateness;
use crate::fleet::nodes::members::{Members, Us};
use crate::fleet::objects::Objects;
use crate::fleet::psks::Psks;
use crate::ike::sad::Moment;

/// A node whose workers lack what came from the store for so long does not serve.
const TOO_FAR_BEHIND: Duration = Duration::from_secs(10);
/// A node that lacks for so long what others wait for it to have does not serve. Routers receive under an old SA for
/// seconds.
const TOO_DEAF: Duration = Duration::from_secs(2);
/// How long until the store's tenants, which could not be applied, are taken again.
const TRY_AGAIN: Duration = Duration::from_secs(30);
/// A store that says nothing for so long was away.
const SILENCE: Duration = QUIET.saturating_add(Duration::from_millis(500));
/// How often a change is looked for in the store while an answer to charon waits.
const STEP: Duration = Duration::from_micros(500);

/// What the control thread knows of the fleet.
pub(super) struct FleetState {
    config: FleetConfig,
    us: Us,
    version: String,
    started: u64,
    keyring: Arc<Keyring>,
    members: Members,
    acknowledgements: Acknowledgements,
    pub(super) objects: Objects,
    /// Pre-shared keys of the store.
    psks: Psks,
    /// How often tenants or keys of the store have changed, and how many of these changes are on the workers.
    objects_changed: u64,
    objects_taken: u64,
    store: Health,
    /// When the store's watch was last heard of.
    heard: Option<Instant>,
    /// That of the node's record, while it is in the store.
    lease: Option<LeaseId>,
    /// What the workers do not have yet, in the order of revisions.
    applying: VecDeque<Applying>,
    /// All workers have everything up to this revision.
    applied: u64,
    /// From a change of an SA here until all nodes had it, the store included.
    propagation: Lateness,
    /// Other nodes have had more than this one, since then.
    lags_since: Option<Instant>,
    /// Why the store's tenants cannot be applied on this node.
    unfit: Option<String>,
    /// The record of sender IDs may be sealed with another key than the first.
    seals_senders: bool,
    /// When that is tried again: what was in the way, such as charon's restart, may be over.
    try_again: Option<Instant>,
    /// Path MTUs that other nodes should know.
    path_mtus: Vec<PathMtu>,
    signals: Arc<Signals>,
}

/// Who is to be woken.
#[derive(Default)]
struct Signals {
    /// There is something to write.
    write: Arc<Notify>,
    /// Workers have something to take.
    apply: Notify,
    /// Tenants of the store have changed.
    objects: Notify,
    /// The node's record says something else.
    record: Notify,
}

/// Changes of a revision on their way to the workers.
struct Applying {
    revision: u64,
    /// The change that the workers take last.
    generation: u64,
    /// Numbers of the nodes that want to hear of it.
    owners: BTreeSet<u16>,
    since: Instant,
}

struct PathMtu {
    tenant: Name,
    tunnel: Name,
    mtu: u32,
}

/// How the store is reached.
#[derive(Default)]
struct Health {
    id: Option<String>,
    connected: bool,
    problem: Option<String>,
    away_since: Option<Instant>,
    revision: u64,
    listings: u64,
    last_listing: Option<String>,
    refused: u64,
    last_refused: Option<String>,
}

impl FleetState {
    fn new(config: FleetConfig, us: Us, version: String, keyring: Keyring, peers: Acknowledgements) -> Self {
        Self {
            config,
            us: us.clone(),
            version,
            started: unix_millis(),
            keyring: Arc::new(keyring),
            members: Members::new(us),
            acknowledgements: peers,
            objects: Objects::default(),
            psks: Psks::default(),
            objects_changed: 0,
            objects_taken: 0,
            store: Health::default(),
            heard: None,
            lease: None,
            applying: VecDeque::new(),
            applied: 0,
            propagation: Lateness::default(),
            lags_since: None,
            unfit: None,
            seals_senders: false,
            try_again: None,
            path_mtus: Vec::new(),
            signals: Arc::default(),
        }
    }

    /// The lease of the node's record, which nobody keeps from now on.
    fn take_lease(&mut self) -> Option<LeaseId> {
        self.lease.take()
    }

    /// Wakes whoever writes.
    pub(super) fn writes(&self) -> Arc<Notify> {
        Arc::clone(&self.signals.write)
    }

    /// The store was read as a whole, and the workers have that.
    fn has_all(&self) -> bool {
        self.store.listings > 0 && self.applied > 0
    }

    /// Why this node should not be sent traffic, as far as the fleet is concerned.
    pub(super) fn not_ready(&self) -> Vec<String> {
        let mut reasons = Vec::new();
        if self.lease.is_none() && self.store.connected && !self.members.is_in_doubt() {
            reasons.push("its record is not in the fleet's store yet".to_owned());
        }
        if !self.has_all() {
            let why = self.store.problem.as_deref().unwrap_or("it is being read");
            reasons.push(format!("what the fleet's store has is not here yet: {why}"));
        }
        let behind = self.applying.front().map(|applying| applying.since.elapsed());
        if let Some(behind) = behind.filter(|behind| *behind > TOO_FAR_BEHIND) {
            reasons.push(format!(
                "the workers have not taken what came from the store {} s ago: see penstock show cores",
                behind.as_secs()
            ));
        }
        if let Some(lags) = self.lags_since.map(|since| since.elapsed()).filter(|lags| *lags > TOO_DEAF) {
            reasons.push(format!(
                "other nodes have had revision {} of the store for {} s, and this one has {}: see why it does not reach the store",
                self.acknowledgements.peers().awaited(),
                lags.as_secs(),
                self.applied
            ));
        }
        if let Some(millis) = self.members.our_clock_is_off() {
            reasons.push(format!(
                "this node's clock is {} those of most nodes, and associations end by the clock: set it (timedatectl, NTP)",
                ahead(millis)
            ));
        }
        reasons.extend(self.unfit.clone());
        let refused = self.objects.refused();
        reasons.extend(refused.map(|(name, why)| format!("tenant {name} of the store {why}")));
        reasons
    }

    /// Whether it is this node that deletes records of what is over.
    fn deletes_what_is_over(&self) -> bool {
        let us = self.us.number;
        self.store.connected
            && self.members.our_clock_is_off().is_none()
            && self.members.live().all(|other| other.record.number > us)
    }

    /// The store is about to tell something. After a silence it may first tell what it did to leases that nobody could keep.
    fn hears_store(&mut self, now: Instant) {
        if self.heard.replace(now).is_some_and(|heard| now.duration_since(heard) > SILENCE) {
            self.store_returned(now);
        }
    }

    /// For as long as a lease lasts nobody is gone: as long a node may take that dies meanwhile, too.
    fn store_returned(&mut self, now: Instant) {
        self.members.store_returned(now + Duration::from(self.config.liveness));
    }

    /// Once a second: the store's tenants are taken again, if they could not be.
    fn retry_objects(&mut self, now: Instant) {
        if self.try_again.take_if(|at| *at <= now).is_some() {
            self.signals.objects.notify_one();
        }
    }

    /// Once a second: whether others have what this node lacks.
    fn note_lag(&mut self) {
        if self.acknowledgements.peers().awaited() > self.applied {
            self.lags_since.get_or_insert_with(Instant::now);
        } else {
            self.lags_since = None;
        }
    }

    /// A path takes smaller packets: for the other nodes.
    pub(super) fn tell_path_mtu(&mut self, tenant: &Name, tunnel: &Name, mtu: u32) {
        self.path_mtus.push(PathMtu { tenant: tenant.clone(), tunnel: tunnel.clone(), mtu });
        self.signals.write.notify_one();
    }

    /// Whether this node is ready may have changed: its record says so to the others.
    pub(super) fn tell_readiness(&self) {
        self.signals.record.notify_one();
    }

    /// Why the tenants of the store cannot be applied; `None`: they are.
    pub(super) fn set_unfit(&mut self, why: Option<String>) {
        self.unfit = why;
        self.try_again = self.unfit.is_some().then(|| Instant::now() + TRY_AGAIN);
        self.signals.record.notify_one();
    }

    /// The keys of the file, as they are now. Whether another one seals.
    fn set_keys(&mut self, keyring: Keyring) -> bool {
        let seals_anew = self.keyring.ids().next() != keyring.ids().next();
        match PeerKeys::of(&keyring) {
            Ok(keys) => self.acknowledgements.peers().set_keys(keys),
            Err(error) => tracing::error!(%error, "other nodes are spoken to with the old keys"),
        }
        self.keyring = Arc::new(keyring);
        self.seals_senders |= seals_anew;
        self.signals.write.notify_one();
        seals_anew
    }

    fn set_store(&mut self, name: &str) {
        if self.store.id.as_deref() != Some(name) {
            self.store.id = Some(name.to_owned());
            self.acknowledgements.set_store(StoreTag::of(name));
        }
    }

    fn refuse(&mut self, key: &str, why: &str) {
        self.store.refused += 1;
        self.store.last_refused = Some(format!("{key}: {why}"));
        tracing::error!(key, "a record of the store is refused: {why}");
    }
}

impl State {
    /// Once a second.
    pub(super) fn check_fleet(&mut self) {
        let Some(fleet) = &mut self.fleet else { return };
        fleet.note_lag();
        // They ask themselves the same.
        fleet.acknowledgements.peers().remind_gone(fleet.applied);
        fleet.retry_objects(Instant::now());
        if fleet.members.turn(Instant::now()) {
            self.members_changed();
        }
        self.check_over();
        self.exchange_volumes();
    }

    /// Reads the file of the fleet's keys again. What this node has written is sealed anew when another key seals.
    ///
    /// The answer is whether that is so.
    ///
    /// # Errors
    /// When it cannot be read. The keys stay as they are then.
    pub(super) fn reload_fleet_keys(&mut self) -> Result<bool, String> {
        let Some(fleet) = &mut self.fleet else { return Ok(false) };
        let keyring = crate::fleet::key_file::read(&fleet.config.key_file)
            .map_err(|error| format!("fleet.key_file: {error}"))?;
        let seals_anew = fleet.set_keys(keyring);
        if seals_anew {
            tracing::info!(
                "another key of the fleet seals: what this node has in the store is written again"
            );
            self.negotiated.write_again();
        }
        self.set_rescue();
        Ok(seals_anew)
    }
}

/// Waits until all nodes have a change, for as long as the barrier allows.
pub(super) async fn everywhere(state: &std::sync::Mutex<State>, told: Told) {
    let lock = || state.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let Some((limit, acknowledgements)) = ({
        let state = lock();
        let fleet = state.fleet.as_ref().filter(|fleet| fleet.store.connected);
        fleet.map(|fleet| (Duration::from(fleet.config.barrier), fleet.acknowledgements.clone()))
    }) else {
        return;
    };
    let began = Instant::now();
    let revision = loop {
        let written =
            lock().negotiated.sharing().and_then(|sharing| sharing.outbox.written(&told.key, told.ticket));
        if let Some(revision) = written {
            break revision;
        }
        if began.elapsed() > limit {
            tracing::warn!(
                key = told.key,
                "an SA is not in the fleet's store after {} ms: other nodes hand its packets on to this one until it is",
                limit.as_millis()
            );
            return;
        }
        tokio::time::sleep(STEP).await;
    };
    let wait = acknowledgements.wait(revision);
    // Its own limit begins with the wait.
    let _ = tokio::time::timeout(limit.saturating_sub(began.elapsed()), wait).await;
    if let Some(fleet) = &mut lock().fleet {
        fleet.propagation.add(began.elapsed());
    }
}

/// A difference of clocks in milliseconds, in words that go before whose clock it is compared with.
fn ahead(millis: i64) -> String {
    let seconds = millis.unsigned_abs() as f64 / 1000.0;
    format!("{seconds:.1} s {}", if millis > 0 { "ahead of" } else { "behind" })
}

fn unix_millis() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

fn now() -> Moment {
    clock::moment()
}

fn us(config: &crate::config::GatewayConfig, incarnation: u64) -> Us {
    let number = NodeNumber(config.node.number);
    Us { name: config.node.name.clone(), number, incarnation: Incarnation(incarnation) }
}
