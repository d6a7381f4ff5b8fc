//! One SA of another node.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::Rank;
use super::volume::Reported;
use crate::fleet::record::{Date, Fingerprint, Owner, SaName, State};
use crate::ike::protocol::{Lifetimes, SaId};
use crate::ike::sad::{Direction, Home, Kinds, Usage, Workers};

/// Where in its life it is, on this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// It goes on.
    Live,
    /// Inbound: received for what is on its way.
    Retiring {
        /// The end of that, by uptime.
        until: Duration,
    },
    /// At its hard end: it carries nothing, and stays for a while so that what is dropped has that reason.
    Ended {
        /// When it is forgotten, by uptime.
        until: Duration,
    },
}

/// An SA of another node.
pub struct ForeignSa<K: Kinds> {
    /// Its record.
    pub name: SaName,
    /// Who negotiated it.
    pub owner: Owner,
    /// Its name for charon, with the addresses that its owner knows.
    pub id: SaId,
    /// In UDP.
    pub encap: bool,
    /// Where in its life it is, says its owner.
    pub state: State,
    /// Where in its life it is here.
    pub stage: Stage,
    /// When it was installed by its owner.
    pub born: Date,
    /// From here on it carries nothing.
    pub hard_end: Date,
    /// What it works with.
    pub key: K::Key,
    /// What the workers have, or of an outbound one had last.
    pub handle: Option<K::Handle>,
    /// The store has it. Not so what was deleted, or what a restored store does not know.
    pub is_recorded: bool,
    /// The SA of the other direction.
    pub(super) paired: Option<SaName>,
    pub(super) fingerprint: Fingerprint,
    /// Tells it from others of its name.
    pub(super) arrival: u64,
    /// Where the workers have it, or would have it. `None`: its tunnel is not here, or stands elsewhere.
    pub(super) home: Option<Home>,
    /// At which its record was written.
    pub(super) revision: u64,
    /// Outbound: at which its owner chose it.
    pub(super) chosen: Option<u64>,
    /// Outbound: the peer has shown it here, when this was the newest revision.
    pub(super) shown: Option<u64>,
    /// The store was restored, counts from anew, and does not know it: where it began to count.
    pub(super) lost_at: Option<u64>,
    /// Outbound: what went through it under handles before this one.
    pub(super) earlier: Usage,
    /// Limits of its life.
    pub(super) lifetimes: Lifetimes,
    /// Outbound: its sequence numbers run out here.
    pub(super) runs_out: bool,
    /// What its owner knows of what went through it here.
    pub(super) reported: Reported,
    /// Outbound: the first number to give.
    pub(super) first: u64,
}

impl<K: Kinds> ForeignSa<K> {
    /// Which way its packets go.
    pub fn direction(&self) -> Direction {
        self.name.direction
    }

    /// What went through it on this node.
    pub fn usage(&self, workers: &impl Workers<K>) -> Usage {
        self.handle.as_ref().map_or(self.earlier, |handle| self.earlier.and(workers.usage(handle)))
    }

    /// The peer's side of its outer packets.
    pub fn peer(&self) -> SocketAddr {
        match self.direction() {
            Direction::Inbound => self.id.src,
            Direction::Outbound => self.id.dst,
        }
    }

    /// Our side of its outer packets.
    pub(super) fn local(&self) -> IpAddr {
        match self.direction() {
            Direction::Inbound => self.id.dst.ip(),
            Direction::Outbound => self.id.src.ip(),
        }
    }

    /// How good it is to send under. `None`: nobody may.
    pub fn rank(&self) -> Option<Rank> {
        if self.direction() == Direction::Inbound || self.stage != Stage::Live || self.home.is_none() {
            return None;
        }
        let rank = match (self.state, self.shown) {
            (State::Current, _) => match self.chosen {
                Some(revision) => Rank::Chosen { revision, shown: false },
                None => Rank::Default(self.revision),
            },
            (State::Pending, Some(revision)) => Rank::Chosen { revision, shown: true },
            (State::Pending | State::Retiring { .. } | State::Ended, _) => return None,
        };
        // What the restored store has instead is older than this.
        Some(self.lost_at.map_or(rank, |revision| Rank::Chosen { revision, shown: true }))
    }
}
