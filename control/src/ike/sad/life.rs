//! How long an SA lives: seconds, bytes, packets, sequence numbers, and how old any key may be.
//!
//! At the soft limit charon is asked for a rekey, at the hard one the SA is stopped. Where an end comes whose time is
//! known (life, grace) there is a deadline; bytes, packets and numbers are looked at once a second, and every few
//! milliseconds where a limit is so near that it may be reached before that: else the hard one could pass before a rekey
//! was asked for.

use std::fmt;
use std::num::NonZeroU64;
use std::time::{Duration, SystemTime};

use super::refill::Progress;
use super::sa::{Direction, Sa, Serial, Stage};
use super::workers::{Kinds, Usage, Workers};
use super::{Notice, STOPPED_STAYS, Sad};
use penstock_dataplane::esp::sa::Spi;
use penstock_dataplane::ids::TunnelId;

use crate::ike::protocol::{Event, Lifetimes};
use crate::leases::MAX_KEY_LIFE;

/// Where charon gives no life, or one that is longer than a key's: a rekey is asked for so long before the end.
const BEFORE_MAX_KEY_LIFE: Duration = Duration::from_secs(24 * 3600);

/// How soon what was due is looked at again.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// More inner bytes than go through an SA between two looks at all of them: two seconds of 400 Gbit/s.
const BYTES_BETWEEN_LOOKS: u64 = 100_000_000_000;
/// More packets than that: two seconds of the shortest at 400 Gbit/s.
const PACKETS_BETWEEN_LOOKS: u64 = 1_200_000_000;

/// A moment, by two clocks. Whoever compares ages gets it handed in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// Since the machine started, suspended or not. The same for all processes of one start.
    pub uptime: Duration,
    /// By the clock that sender IDs are made by. It may be set.
    pub date: SystemTime,
}

impl Moment {
    /// How long ago that was, by the clock that says more.
    pub fn since(self, earlier: Self) -> Duration {
        let by_date = self.date.duration_since(earlier.date).unwrap_or_default();
        self.uptime.saturating_sub(earlier.uptime).max(by_date)
    }
}

/// What an SA has an end of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// Seconds.
    Time,
    /// Bytes.
    Bytes,
    /// Packets.
    Packets,
    /// Sequence numbers.
    Numbers,
    /// No key may be older.
    KeyAge,
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Time => "its life in seconds is over",
            Self::Bytes => "its life in bytes is over",
            Self::Packets => "its life in packets is over",
            Self::Numbers => "it has no sequence number left",
            Self::KeyAge => "its key has been in use for as long as is safe",
        })
    }
}

impl<K: Kinds> Sa<K> {
    /// The end of its life in time.
    fn hard_time(&self) -> Duration {
        self.lifetimes.seconds.hard.map_or(MAX_KEY_LIFE, seconds).min(MAX_KEY_LIFE)
    }

    /// When a rekey is asked for.
    fn soft_time(&self) -> Option<Duration> {
        let soft = self.lifetimes.seconds.soft.map(seconds);
        let ends_late = self.hard_time() == MAX_KEY_LIFE;
        let latest = ends_late.then(|| MAX_KEY_LIFE - BEFORE_MAX_KEY_LIFE);
        soft.into_iter().chain(latest).min()
    }

    /// What it has come to the end of.
    fn over(&self, used: Usage, now: Moment) -> Option<Limit> {
        let used = self.elsewhere.and(used);
        if now.since(self.born) >= MAX_KEY_LIFE {
            Some(Limit::KeyAge)
        } else if now.uptime.saturating_sub(self.born.uptime) >= self.hard_time() {
            Some(Limit::Time)
        } else if is_reached(self.lifetimes.bytes.hard, used.bytes) {
            Some(Limit::Bytes)
        } else if is_reached(self.lifetimes.packets.hard, used.packets) {
            Some(Limit::Packets)
        } else {
            used.exhausted.then_some(Limit::Numbers)
        }
    }

    fn wants_rekey(&self, used: Usage, now: Moment) -> bool {
        let age = now.uptime.saturating_sub(self.born.uptime);
        let used = self.elsewhere.and(used);
        self.soft_time().is_some_and(|soft| age >= soft)
            || is_reached(self.lifetimes.bytes.soft, used.bytes)
            || is_reached(self.lifetimes.packets.soft, used.packets)
    }

    /// Whether a limit in bytes or packets may be reached before all SAs are looked at again.
    pub(super) fn is_near_a_limit(&self, used: Usage) -> bool {
        let Lifetimes { bytes, packets, .. } = self.lifetimes;
        let used = self.elsewhere.and(used);
        [(bytes, used.bytes, BYTES_BETWEEN_LOOKS), (packets, used.packets, PACKETS_BETWEEN_LOOKS)]
            .into_iter()
            .any(|(limit, used, most)| {
                let next = if self.told { limit.hard } else { limit.soft.or(limit.hard) };
                self.stage == Stage::Live && is_reached(next, used.saturating_add(most))
            })
    }

    /// Whether its life is over, as far as is known without the workers.
    pub(super) fn is_over(&self, now: Moment) -> bool {
        self.over(self.earlier, now).is_some()
    }

    /// When to look at it next, whatever goes through it.
    fn next_deadline(&self) -> Duration {
        let hard = self.born.uptime + self.hard_time();
        match self.stage {
            Stage::Retiring { until } => until.min(hard),
            Stage::Stopped { until } => until,
            Stage::Live => match self.soft_time().filter(|_| !self.told) {
                Some(soft) => hard.min(self.born.uptime + soft),
                None => hard,
            },
        }
    }

    /// What is left of its life in seconds until a rekey and until the end.
    pub fn time_left(&self, now: Moment) -> (Option<Duration>, Duration) {
        let age = now.uptime.saturating_sub(self.born.uptime);
        let soft = self.soft_time().map(|soft| soft.saturating_sub(age));
        (soft, self.hard_time().saturating_sub(age))
    }
}

fn is_reached(limit: Option<NonZeroU64>, used: u64) -> bool {
    limit.is_some_and(|limit| used >= limit.get())
}

fn seconds(limit: NonZeroU64) -> Duration {
    Duration::from_secs(limit.get())
}

impl<K: Kinds> Sad<K> {
    /// Every few milliseconds: deadlines, limits that are near, and peers that have shown a new SA. Costs nothing where
    /// there are none.
    pub fn turn(&mut self, workers: &mut impl Workers<K>, now: Moment) {
        self.switch_to_what_peers_use(workers, now);
        let due = self.deadlines.range(..=(now.uptime, Serial(u64::MAX)));
        for (_, serial) in due.copied().collect::<Vec<_>>() {
            let used = self.sas.get(&serial).map(|sa| sa.usage(workers)).unwrap_or_default();
            self.judge(serial, used, workers, now);
            self.watch(serial, now);
        }
        for serial in self.near.iter().copied().collect::<Vec<_>>() {
            let Some(used) = self.sas.get(&serial).map(|sa| sa.usage(workers)) else { continue };
            self.judge(serial, used, workers, now);
        }
    }

    /// Once a second, for all SAs: what is used up. Returned is what the journal has to know; `has_window` is whether
    /// numbers that are received under a key are looked at.
    pub fn check(
        &mut self,
        workers: &mut impl Workers<K>,
        now: Moment,
        has_window: impl Fn(&K::Key) -> bool,
    ) -> Vec<(Serial, Progress)> {
        self.looks += 1;
        let mut moved = Vec::new();
        let mut serials: Vec<Serial> = self.sas.keys().copied().collect();
        serials.sort_unstable();
        for serial in serials {
            let Some(sa) = self.sas.get_mut(&serial) else { continue };
            let (has_window, has_its_turn) = (has_window(&sa.key), sa.has_its_turn(self.looks));
            let mut used = Usage::default();
            // The counters of many workers are far apart in memory.
            if has_its_turn || sa.is_counted(has_window) {
                used = sa.usage(workers);
                let progress = sa.advance(used, has_window, has_its_turn);
                moved.extend(progress.map(|progress| (serial, progress)));
            }
            self.judge(serial, used, workers, now);
            if self.sas.get(&serial).is_some_and(|sa| sa.is_near_a_limit(used)) {
                self.near.insert(serial);
            } else {
                self.near.remove(&serial);
            }
        }
        moved
    }

    /// The sequence numbers of a tunnel's outbound SA run out.
    pub fn numbers_run_out(&mut self, tunnel: TunnelId, spi: Spi) {
        let tunnel = self.tunnels.values().find(|known| known.home.tunnel == tunnel);
        let mut serials = tunnel.into_iter().flat_map(|tunnel| &tunnel.outbound);
        let named = |serial: &&Serial| self.sas.get(serial).is_some_and(|sa| sa.id.spi == spi);
        if let Some(serial) = serials.find(named).copied() {
            self.ask_for_rekey(serial);
        }
    }

    /// Has an SA looked at in time.
    pub(super) fn watch(&mut self, serial: Serial, now: Moment) {
        let Some(sa) = self.sas.get_mut(&serial) else { return };
        // What is due and cannot be done (an orphan asks nobody for a rekey) is looked at again, but not at once.
        let at = sa.next_deadline().max(now.uptime + LOOK_AGAIN);
        if let Some(before) = sa.deadline.replace(at) {
            self.deadlines.remove(&(before, serial));
        }
        self.deadlines.insert((at, serial));
    }

    fn judge(&mut self, serial: Serial, used: Usage, workers: &mut impl Workers<K>, now: Moment) {
        let Some(sa) = self.sas.get(&serial) else { return };
        let over = sa.over(used, now);
        match sa.stage {
            Stage::Stopped { until } => {
                if until <= now.uptime || over == Some(Limit::KeyAge) {
                    self.remove(serial, workers, now);
                }
            }
            Stage::Retiring { until } => {
                if until <= now.uptime || over.is_some() {
                    self.remove(serial, workers, now);
                }
            }
            Stage::Live => match over {
                Some(limit) => self.end(serial, limit, workers, now),
                None if !sa.told && sa.wants_rekey(used, now) => self.ask_for_rekey(serial),
                None => {}
            },
        }
    }

    pub(super) fn ask_for_rekey(&mut self, serial: Serial) {
        let is_orphan = self.sas.get(&serial).is_none_or(|sa| self.is_orphan(sa));
        let Some(sa) = self.sas.get_mut(&serial).filter(|_| !is_orphan) else { return };
        if sa.stage == Stage::Live && !sa.told {
            sa.told = true;
            self.events.push((sa.charon, Event::Expire { id: sa.id, hard: false }));
        }
    }

    /// Stops an SA whose life is over. A tunnel that sends under it goes on under another, if there is one.
    fn end(&mut self, serial: Serial, limit: Limit, workers: &mut impl Workers<K>, now: Moment) {
        let Some(sa) = self.sas.get_mut(&serial) else { return };
        sa.stage = Stage::Stopped { until: now.uptime + STOPPED_STAYS };
        let (reqid, id, direction, charon, asked) = (sa.reqid, sa.id, sa.direction, sa.charon, sa.told);
        let orphan = self.sas.get(&serial).is_none_or(|sa| self.is_orphan(sa));
        self.armed.remove(&serial);
        let another = self.of_tunnel(reqid).any(|sa| sa.direction == direction && sa.stage == Stage::Live);
        self.notices.push(Notice::Ended { reqid, id, direction, limit, orphan, another, asked });
        if !orphan {
            self.events.push((charon, Event::Expire { id, hard: true }));
        }
        if direction == Direction::Outbound && self.is_current(reqid, serial) {
            self.send_under_the_best(reqid, workers, now);
        }
        if limit == Limit::KeyAge {
            self.remove(serial, workers, now);
            return;
        }
        if let Some(handle) = self.sas.get(&serial).and_then(|sa| sa.handle.as_ref()) {
            workers.stop(handle);
        }
        self.changed(serial);
        self.watch(serial, now);
    }
}
