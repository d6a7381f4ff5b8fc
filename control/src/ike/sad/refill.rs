//! What the journal keeps of an SA, and how all of it comes back after a restart of control.
//!
//! What went through an SA changes all the time, and is written when it must be: numbers of an outbound SA are allowed
//! for well ahead, like a reservation, and it goes on after them. So none is given out twice, whenever control dies.

use std::collections::BTreeMap;
use std::num::NonZeroU64;
use std::time::Duration;

use super::life::Moment;
use super::sa::{Direction, Sa, Serial, Stage};
use super::workers::{Kinds, Usage, Workers};
use super::{Sad, choice};
use crate::ike::protocol::{Instance, Lifetimes, SaId};

/// Seconds' worth of packets that an outbound SA leaves out: a journal that is late, and traffic that grows.
const SECONDS_LEFT_OUT: u64 = 8;
/// A restart forgets at most one of so many parts of a limit in bytes or packets.
const LIMIT_PARTS: u64 = 100;
/// Looks, one a second, of which a restart that nobody asked for forgets at most what went through between them.
const LOOKS_FORGOTTEN: u64 = 60;

/// An SA without its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Saved {
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
    /// The other direction.
    pub pair: Option<Serial>,
    /// Outbound: when charon chose it, counted; 0: never.
    pub chosen: u64,
    /// Outbound: the tunnel sends under it.
    pub current: bool,
    /// Outbound: the tunnel sent under it before, or charon has chosen another while it waited.
    pub was_replaced: bool,
    /// Inbound: deleted, and received until then.
    pub retiring_until: Option<Duration>,
    /// What went through it.
    pub progress: Progress,
}

/// What went through an SA.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Inner bytes.
    pub bytes: u64,
    /// Packets.
    pub packets: u64,
    /// Inbound: the newest sequence number received. Outbound: the first that will not have been given out before this is
    /// written again.
    pub sequence: u64,
}

impl Saved {
    /// Where the SA will be at most, if it goes on from here, before the journal hears of it again.
    pub fn ahead(&self) -> Progress {
        let sequence = match self.direction {
            Direction::Inbound => self.progress.sequence,
            Direction::Outbound => beyond(self.progress.sequence, 0),
        };
        Progress { sequence, ..self.progress }
    }
}

impl Progress {
    /// Of an SA that nothing has gone through yet.
    pub(super) fn none(direction: Direction) -> Self {
        let sequence = match direction {
            Direction::Inbound => 0,
            Direction::Outbound => beyond(0, 0),
        };
        Self { sequence, ..Self::default() }
    }
}

/// The first number that an outbound SA will not have given out before the journal hears of it again.
pub(super) fn beyond(newest: u64, packets_of_last_second: u64) -> u64 {
    let margin = packets_of_last_second.saturating_mul(SECONDS_LEFT_OUT).max(choice::NUMBERS_LEFT_OUT);
    newest.saturating_add(margin)
}

impl<K: Kinds> Sa<K> {
    /// Whether there is anything to look at its counters for: its numbers, or a limit.
    pub(super) fn is_counted(&self, has_window: bool) -> bool {
        let Lifetimes { bytes, packets, .. } = self.lifetimes;
        let is_limited = [bytes.soft, bytes.hard, packets.soft, packets.hard].iter().any(Option::is_some);
        self.direction == Direction::Outbound || has_window || is_limited
    }

    /// Whether this look is the one in a minute after which the journal knows what charon would be told. Each SA has its
    /// own, so that they are not all written in the same second.
    pub(super) fn has_its_turn(&self, look: u64) -> bool {
        self.serial.0 % LOOKS_FORGOTTEN == look % LOOKS_FORGOTTEN
    }

    /// Once a second: what the journal has to know. Mostly that is nothing: the numbers of an outbound SA were allowed for
    /// long before, those of an inbound one matter only with a window, and bytes and packets only if there is a limit, or
    /// when the SA `has_its_turn`.
    pub(super) fn advance(&mut self, used: Usage, has_window: bool, has_its_turn: bool) -> Option<Progress> {
        let last_second = used.packets.saturating_sub(self.packets_before);
        self.packets_before = used.packets;
        let (sequence, is_needed) = match self.direction {
            Direction::Inbound => (used.newest, has_window && used.newest != self.progress.sequence),
            Direction::Outbound => {
                let sequence = beyond(used.newest, last_second);
                let half = (sequence - used.newest) / 2;
                (sequence, used.newest.saturating_add(half) >= self.progress.sequence)
            }
        };
        let is_late =
            has_its_turn && (used.bytes, used.packets) != (self.progress.bytes, self.progress.packets);
        (is_needed || is_late || self.has_used_much(used)).then(|| {
            self.progress = Progress { bytes: used.bytes, packets: used.packets, sequence };
            self.progress
        })
    }

    /// Whether a limit in bytes or packets has come nearer by a part of it, since the journal heard of it.
    fn has_used_much(&self, used: Usage) -> bool {
        let much = |limit: Option<NonZeroU64>, used: u64, known: u64| {
            limit.is_some_and(|limit| used.saturating_sub(known) > limit.get() / LIMIT_PARTS)
        };
        much(self.lifetimes.bytes.hard, used.bytes, self.progress.bytes)
            || much(self.lifetimes.packets.hard, used.packets, self.progress.packets)
    }
}

impl<K: Kinds> Sad<K> {
    /// What the journal has to know of an SA, beside its key. `None`: nothing, it is gone or was stopped.
    pub fn saved(&self, serial: Serial) -> Option<Saved> {
        let sa = self.sas.get(&serial)?;
        let retiring_until = match sa.stage {
            Stage::Live => None,
            Stage::Retiring { until } => Some(until),
            Stage::Stopped { .. } => return None,
        };
        Some(Saved {
            serial,
            direction: sa.direction,
            id: sa.id,
            reqid: sa.reqid,
            encap: sa.encap,
            charon: sa.charon,
            born: sa.born,
            lifetimes: sa.lifetimes,
            pair: sa.pair,
            chosen: sa.chosen,
            current: self.is_current(sa.reqid, serial),
            was_replaced: sa.was_replaced,
            retiring_until,
            progress: sa.progress,
        })
    }

    /// Before a stop that was asked for: all that the journal does not know exactly.
    pub fn take_all_progress(&mut self, workers: &impl Workers<K>) -> Vec<(Serial, Progress)> {
        let of = |(serial, sa): (&Serial, &Sa<K>)| {
            let used = sa.usage(workers);
            // The workers run on for a moment.
            let sequence = match sa.direction {
                Direction::Inbound => used.newest,
                Direction::Outbound => beyond(used.newest, used.packets.saturating_sub(sa.packets_before)),
            };
            (*serial, Progress { bytes: used.bytes, packets: used.packets, sequence })
        };
        self.sas.iter().map(of).collect()
    }

    /// Puts everything back on the workers, at the start. Before that the journal has to be told [`Saved::ahead`]. Returns what is not wanted any more: the tunnel is gone, its
    /// life is over, or there is no room.
    pub fn refill(
        &mut self,
        saved: Vec<(Saved, K::Key)>,
        workers: &mut impl Workers<K>,
        now: Moment,
    ) -> Vec<Serial> {
        let mut unwanted = Vec::new();
        let mut current = BTreeMap::new();
        let mut saved = saved;
        saved.sort_unstable_by_key(|(saved, _)| saved.serial);
        for (saved, key) in saved {
            let (serial, reqid) = (saved.serial, saved.reqid);
            self.next_serial = self.next_serial.max(serial.0 + 1);
            let was_current = saved.current.then_some((saved.chosen, serial));
            if self.put_back(saved, key, workers, now).is_none() {
                unwanted.push(serial);
            } else if let Some(was_current) = was_current {
                let known = current.entry(reqid).or_insert(was_current);
                *known = was_current.max(*known);
            }
        }
        let sending: Vec<u32> = self
            .tunnels
            .iter()
            .filter(|(_, tunnel)| !tunnel.outbound.is_empty())
            .map(|(reqid, _)| *reqid)
            .collect();
        for reqid in sending {
            match current.get(&reqid) {
                Some((_, serial)) => self.send_under(*serial, workers, now),
                None => self.send_under_the_best(reqid, workers, now),
            }
            self.arm_again(reqid);
        }
        unwanted
    }

    fn put_back(
        &mut self,
        saved: Saved,
        key: K::Key,
        workers: &mut impl Workers<K>,
        now: Moment,
    ) -> Option<()> {
        let home = self.tunnels.get(&saved.reqid)?.home;
        let Progress { bytes, packets, sequence } = saved.progress;
        let newest = match saved.direction {
            Direction::Inbound => sequence,
            Direction::Outbound => sequence.saturating_sub(1),
        };
        let is_over = saved.retiring_until.is_some_and(|until| until <= now.uptime);
        let mut sa = Sa::<K> {
            serial: saved.serial,
            direction: saved.direction,
            id: saved.id,
            reqid: saved.reqid,
            encap: saved.encap,
            charon: saved.charon,
            born: saved.born,
            lifetimes: saved.lifetimes,
            key,
            handle: None,
            pair: saved.pair,
            stage: saved.retiring_until.map_or(Stage::Live, |until| Stage::Retiring { until }),
            deadline: None,
            elsewhere: Default::default(),
            earlier: Usage { bytes, packets, newest, exhausted: false, idle: None },
            progress: saved.ahead(),
            packets_before: packets,
            first: newest.saturating_add(1),
            was_replaced: saved.was_replaced,
            chosen: saved.chosen,
            told: false,
        };
        if is_over || sa.local().ip() != home.local || sa.is_over(now) {
            return None;
        }
        if sa.direction == Direction::Inbound {
            sa.handle = Some(workers.receive(&home, &sa.id, &sa.key, newest).ok()?);
        }
        self.choices = self.choices.max(sa.chosen);
        // The newest SA is of the charon that was there last.
        self.charon = Some(sa.charon);
        let (serial, reqid) = (sa.serial, sa.reqid);
        self.place(sa);
        self.reshaped.insert(reqid);
        self.watch(serial, now);
        Some(())
    }

    /// A rekey that was under way goes on.
    fn arm_again(&mut self, reqid: u32) {
        let current = self.current(reqid).map(|sa| sa.serial);
        let waits = |sa: &&Sa<K>| {
            sa.direction == Direction::Outbound
                && sa.stage == Stage::Live
                && sa.chosen == 0
                && !sa.was_replaced
                && Some(sa.serial) > current
                && sa.pair.is_some_and(|pair| self.sas.contains_key(&pair))
        };
        let waiting: Vec<Serial> = self.of_tunnel(reqid).filter(waits).map(|sa| sa.serial).collect();
        self.armed.extend(waiting);
    }
}
