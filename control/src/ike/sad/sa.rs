//! One negotiated security association.

use std::fmt;
use std::time::Duration;

pub use penstock_fleet::names::Direction;

use super::elsewhere::Elsewhere;
use super::life::Moment;
use super::refill::Progress;
use super::workers::{Kinds, Usage, Workers};
use crate::ike::protocol::{Instance, Lifetimes, SaId};

/// Names an SA for as long as the journal lives; later ones have larger numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Serial(pub u64);

impl fmt::Display for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What an SA is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It carries what there is to carry.
    Current,
    /// Outbound: it waits until charon or the peer says that it is in use.
    Pending,
    /// Deleted, and received for a little longer; or outbound, replaced, and not deleted yet.
    Retiring,
    /// A limit of its life was reached: what comes is dropped.
    Stopped,
    /// Its charon is gone; it goes on to the end of its life.
    Orphan,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    Live,
    Retiring { until: Duration },
    Stopped { until: Duration },
}

/// An SA as charon brings it.
pub struct NewSa<K: Kinds> {
    /// Its name.
    pub id: SaId,
    /// The tunnel.
    pub reqid: u32,
    /// In UDP.
    pub encap: bool,
    /// Limits of its life.
    pub lifetimes: Lifetimes,
    /// What it works with.
    pub key: K::Key,
}

/// An SA.
pub struct Sa<K: Kinds> {
    /// Names it.
    pub serial: Serial,
    /// Which way.
    pub direction: Direction,
    /// Its name for charon.
    pub id: SaId,
    /// The tunnel.
    pub reqid: u32,
    /// In UDP.
    pub encap: bool,
    /// Who negotiated it.
    pub charon: Instance,
    /// When it was installed.
    pub born: Moment,
    /// Limits of its life.
    pub lifetimes: Lifetimes,
    /// What it works with.
    pub key: K::Key,
    /// What the workers have: always of an inbound one, of an outbound one since it was first sent under.
    pub handle: Option<K::Handle>,
    /// The other direction.
    pub(super) pair: Option<Serial>,
    pub(super) stage: Stage,
    /// When it is looked at next.
    pub(super) deadline: Option<Duration>,
    /// What went through it under handles before this one.
    pub(super) earlier: Usage,
    /// What other nodes of a fleet say went through it there.
    pub(super) elsewhere: Elsewhere,
    /// What the journal knows of it.
    pub(super) progress: Progress,
    /// Packets at the last look.
    pub(super) packets_before: u64,
    /// Outbound: the first number to give.
    pub(super) first: u64,
    /// Outbound: the tunnel has sent under it and does not any more, or charon has chosen another while it waited.
    pub(super) was_replaced: bool,
    /// Outbound: when charon chose it, counted; 0: never.
    pub(super) chosen: u64,
    /// charon knows that it is time to rekey.
    pub(super) told: bool,
}

impl<K: Kinds> Sa<K> {
    pub(super) fn new(
        serial: Serial,
        charon: Instance,
        direction: Direction,
        new: NewSa<K>,
        born: Moment,
    ) -> Self {
        Self {
            serial,
            direction,
            id: new.id,
            reqid: new.reqid,
            encap: new.encap,
            charon,
            born,
            lifetimes: new.lifetimes,
            key: new.key,
            handle: None,
            pair: None,
            stage: Stage::Live,
            deadline: None,
            earlier: Usage::default(),
            elsewhere: Elsewhere::default(),
            progress: Progress::none(direction),
            packets_before: 0,
            first: 1,
            was_replaced: false,
            chosen: 0,
            told: false,
        }
    }

    /// What went through it.
    pub fn usage(&self, workers: &impl Workers<K>) -> Usage {
        self.handle.as_ref().map_or(self.earlier, |handle| self.earlier.and(workers.usage(handle)))
    }

    /// What went through it before it was put on the workers as it is now.
    pub fn before(&self) -> Usage {
        self.earlier
    }

    /// The peer's side of its outer packets.
    pub fn peer(&self) -> std::net::SocketAddr {
        match self.direction {
            Direction::Inbound => self.id.src,
            Direction::Outbound => self.id.dst,
        }
    }

    /// Our side of its outer packets.
    pub(super) fn local(&self) -> std::net::SocketAddr {
        match self.direction {
            Direction::Inbound => self.id.dst,
            Direction::Outbound => self.id.src,
        }
    }
}
