//! The negotiated security associations (RFC 4301 section 4.4.2): what charon installed, what the workers have of it, and
//! when each begins and ends.
//!
//! charon's plugin brings SAs one call at a time, an inbound and an outbound one for each `CHILD_SA`. All inbound ones are
//! received. A tunnel sends under one outbound SA, its *current* one; others wait, or were replaced and are not deleted
//! yet. Which one is current, by whichever happens first:
//!
//! 1. charon says so, by the outbound policy that names the SPI;
//! 2. the peer sends under the inbound SA of the same pair, and so has the outbound one too;
//! 3. the current one is gone, and this is the best that is left. A tunnel sends as long as charon has anything that it
//!    can send under.
//!
//! A deleted inbound SA is received for [`GRACE`] more. SAs of a charon that died, *orphans*, go on to the end of their
//! life, or until a new charon has something that the tunnel sends under.
//!
//! Nothing here waits, reads a clock, logs, or knows a worker or a key: time, workers and keys are handed in. What is to
//! be told is collected: events for charon, notices for the log, changes for the journal, tunnels whose outside changes.

mod calls;
mod choice;
mod elsewhere;
mod life;
mod refill;
mod sa;
mod sync;
#[cfg(test)]
pub(crate) mod tests;
mod workers;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::time::Duration;

use penstock_dataplane::esp::sa::Spi;
use penstock_dataplane::ids::{EndpointId, TunnelId};

pub use elsewhere::Told;
pub use life::{Limit, Moment};
pub use refill::{Progress, Saved};
pub use sa::{Direction, NewSa, Sa, Serial, State};
pub use workers::{Full, Kinds, Usage, Workers};

use super::protocol::{ErrorCode, Event, Instance, Refused, SaId};
use sa::Stage;

/// How long an inbound SA is received after charon has deleted it, for packets under way.
pub const GRACE: Duration = Duration::from_secs(30);
/// How long an SA that was stopped stays, so that what is dropped has that reason.
pub const STOPPED_STAYS: Duration = Duration::from_secs(300);

/// A tunnel that SAs may be negotiated for: where it stands in the tables. Its SAs are good for this place only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Home {
    /// Its number.
    pub tunnel: TunnelId,
    /// Differs for each tunnel that has had the number.
    pub incarnation: u32,
    /// Our endpoint.
    pub endpoint: EndpointId,
    /// The endpoint's address.
    pub local: IpAddr,
}

/// What the operator should know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notice {
    /// A tunnel sends under another SA.
    Switched {
        /// The tunnel.
        reqid: u32,
        /// The SPI that it sends under; `None`: it does not send any more.
        to: Option<Spi>,
    },
    /// An SA has come to its end without having been replaced.
    Ended {
        /// The tunnel.
        reqid: u32,
        /// The SA.
        id: SaId,
        /// Which way.
        direction: Direction,
        /// What it had no more of.
        limit: Limit,
        /// Its charon is gone, so nobody could replace it.
        orphan: bool,
        /// The tunnel has another one that goes on.
        another: bool,
        /// charon had been asked to replace it before.
        asked: bool,
    },
    /// Another charon is there; so many SAs of the one before go on.
    Orphans(usize),
    /// A reload took a tunnel away, or moved it, with so many SAs.
    Uprooted {
        /// The tunnel.
        reqid: u32,
        /// How many.
        sas: usize,
    },
    /// charon has an SA no more, and had not said so.
    Forgotten {
        /// The tunnel.
        reqid: u32,
        /// The SA.
        id: SaId,
    },
}

/// What became of an SA, for the journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Something that [`Sad::saved`] says is different.
    Changed,
    /// It is gone.
    Gone,
}

struct Tunnel {
    home: Home,
    /// In the order in which they came.
    inbound: Vec<Serial>,
    outbound: Vec<Serial>,
    /// What it sends under.
    current: Option<Serial>,
}

/// All negotiated SAs.
pub struct Sad<K: Kinds> {
    /// The charon that is there, or was last.
    charon: Option<Instance>,
    tunnels: BTreeMap<u32, Tunnel>,
    sas: HashMap<Serial, Sa<K>>,
    by_spi: BTreeSet<(Spi, Serial)>,
    /// When to look at an SA next.
    deadlines: BTreeSet<(Duration, Serial)>,
    /// Those that may come to a limit in bytes or packets before all are looked at again.
    near: BTreeSet<Serial>,
    /// Outbound SAs that the peer's first packet makes current.
    armed: BTreeSet<Serial>,
    next_serial: u64,
    /// Counts what charon chose.
    choices: u64,
    /// Counts the seconds in which all were looked at.
    looks: u64,
    events: Vec<(Instance, Event)>,
    notices: Vec<Notice>,
    changes: BTreeMap<Serial, Change>,
    reshaped: BTreeSet<u32>,
}

impl<K: Kinds> Default for Sad<K> {
    fn default() -> Self {
        Self {
            charon: None,
            tunnels: BTreeMap::new(),
            sas: HashMap::new(),
            by_spi: BTreeSet::new(),
            deadlines: BTreeSet::new(),
            near: BTreeSet::new(),
            armed: BTreeSet::new(),
            next_serial: 0,
            choices: 0,
            looks: 0,
            events: Vec::new(),
            notices: Vec::new(),
            changes: BTreeMap::new(),
            reshaped: BTreeSet::new(),
        }
    }
}

impl<K: Kinds> Sad<K> {
    /// Takes the tunnels that SAs may be negotiated for, by reqid. SAs of a tunnel that is gone, or stands elsewhere now,
    /// are taken off at once; charon is told that they ended.
    pub fn set_tunnels(&mut self, homes: &BTreeMap<u32, Home>, workers: &mut impl Workers<K>) {
        let uprooted: Vec<u32> = self
            .tunnels
            .iter()
            .filter(|(reqid, tunnel)| homes.get(reqid) != Some(&tunnel.home))
            .map(|(reqid, _)| *reqid)
            .collect();
        for reqid in uprooted {
            self.uproot(reqid, workers);
        }
        for (reqid, home) in homes {
            self.tunnels.entry(*reqid).or_insert_with(|| Tunnel {
                home: *home,
                inbound: Vec::new(),
                outbound: Vec::new(),
                current: None,
            });
        }
    }

    fn uproot(&mut self, reqid: u32, workers: &mut impl Workers<K>) {
        let Some(mut tunnel) = self.tunnels.remove(&reqid) else { return };
        if tunnel.current.take().is_some() {
            workers.stop_sending(&tunnel.home);
        }
        let serials: Vec<Serial> = tunnel.inbound.into_iter().chain(tunnel.outbound).collect();
        if !serials.is_empty() {
            self.notices.push(Notice::Uprooted { reqid, sas: serials.len() });
        }
        for serial in serials {
            let Some(sa) = self.strike(serial) else { continue };
            // One of a pair is enough for charon.
            if sa.direction == Direction::Inbound {
                if let Some(handle) = &sa.handle {
                    workers.forget(handle);
                }
                if sa.stage == Stage::Live && !self.is_orphan(&sa) {
                    self.events.push((sa.charon, Event::Expire { id: sa.id, hard: true }));
                }
            }
        }
    }

    /// All SAs, in no order.
    pub fn sas(&self) -> impl Iterator<Item = &Sa<K>> {
        self.sas.values()
    }

    /// One of them.
    pub fn get(&self, serial: Serial) -> Option<&Sa<K>> {
        self.sas.get(&serial)
    }

    /// The SAs of a tunnel, inbound ones first, in the order in which they came.
    pub fn of_tunnel(&self, reqid: u32) -> impl Iterator<Item = &Sa<K>> {
        let tunnel = self.tunnels.get(&reqid).into_iter();
        let serials = tunnel.flat_map(|tunnel| tunnel.inbound.iter().chain(&tunnel.outbound));
        serials.filter_map(|serial| self.sas.get(serial))
    }

    /// What a tunnel sends under.
    pub fn current(&self, reqid: u32) -> Option<&Sa<K>> {
        self.sas.get(&self.tunnels.get(&reqid)?.current?)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.sas.len()
    }

    /// There is none.
    pub fn is_empty(&self) -> bool {
        self.sas.is_empty()
    }

    /// What an SA is used for now.
    pub fn state(&self, sa: &Sa<K>) -> State {
        let current = self.tunnels.get(&sa.reqid).and_then(|tunnel| tunnel.current);
        match sa.stage {
            Stage::Retiring { .. } => State::Retiring,
            Stage::Stopped { .. } => State::Stopped,
            Stage::Live if self.is_orphan(sa) => State::Orphan,
            Stage::Live if sa.direction == Direction::Inbound || current == Some(sa.serial) => State::Current,
            Stage::Live if sa.was_replaced => State::Retiring,
            Stage::Live => State::Pending,
        }
    }

    /// Its charon is not there any more.
    pub fn is_orphan(&self, sa: &Sa<K>) -> bool {
        self.charon != Some(sa.charon)
    }

    /// What a charon has to be told, in this order.
    pub fn take_events(&mut self) -> Vec<(Instance, Event)> {
        std::mem::take(&mut self.events)
    }

    /// What the operator should know.
    pub fn take_notices(&mut self) -> Vec<Notice> {
        std::mem::take(&mut self.notices)
    }

    /// What the journal does not know yet. An SA that was added is not part of it until it changes.
    pub fn take_changes(&mut self) -> BTreeMap<Serial, Change> {
        std::mem::take(&mut self.changes)
    }

    /// Tunnels whose outside may have to change: the suites, the peer's address and port.
    pub fn take_reshaped(&mut self) -> BTreeSet<u32> {
        std::mem::take(&mut self.reshaped)
    }

    /// Whether an SA here has this SPI, or had it a moment ago.
    pub fn is_taken(&self, spi: Spi) -> bool {
        self.with_spi(spi).next().is_some()
    }

    /// Whether a charon may negotiate for one of our addresses.
    ///
    /// # Errors
    /// When another charon is there, or no tunnel that negotiates ends at the address.
    pub fn may_negotiate(&mut self, charon: Instance, ours: IpAddr) -> Result<(), Refused> {
        self.admit(charon)?;
        if self.tunnels.values().any(|tunnel| tunnel.home.local == ours) {
            return Ok(());
        }
        Err(Refused::new(ErrorCode::Refused, format!("no tunnel with `ike` ends at {ours}")))
    }

    /// Calls of a charon that has not said hello are not taken, unless there is no other.
    fn admit(&mut self, charon: Instance) -> Result<(), Refused> {
        if *self.charon.get_or_insert(charon) == charon {
            return Ok(());
        }
        Err(Refused::new(
            ErrorCode::NotReady,
            "another charon was here before, and this one has not said hello",
        ))
    }

    /// Takes an SA out of all that names it. The workers are the caller's.
    fn strike(&mut self, serial: Serial) -> Option<Sa<K>> {
        let sa = self.sas.remove(&serial)?;
        self.by_spi.remove(&(sa.id.spi, serial));
        self.armed.remove(&serial);
        self.near.remove(&serial);
        if let Some(at) = sa.deadline {
            self.deadlines.remove(&(at, serial));
        }
        if let Some(tunnel) = self.tunnels.get_mut(&sa.reqid) {
            tunnel.inbound.retain(|other| *other != serial);
            tunnel.outbound.retain(|other| *other != serial);
        }
        self.changes.insert(serial, Change::Gone);
        self.reshaped.insert(sa.reqid);
        Some(sa)
    }

    fn changed(&mut self, serial: Serial) {
        self.changes.entry(serial).or_insert(Change::Changed);
    }
}

#[cfg(test)]
impl<K: Kinds> Sad<K> {
    /// Nothing names an SA that is not there.
    fn is_clean(&self) -> bool {
        let Self { sas, by_spi, deadlines, near, armed, tunnels, .. } = self;
        let named =
            tunnels.values().map(|tunnel| tunnel.inbound.len() + tunnel.outbound.len()).sum::<usize>();
        armed.iter().chain(near).all(|serial| sas.contains_key(serial))
            && [by_spi.len(), deadlines.len(), named].iter().all(|count| *count == sas.len())
    }
}
