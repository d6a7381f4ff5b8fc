//! Which probe is due, which was lost, which is tried again: the probes of all tunnels.
//!
//! Work is bounded by what is due. A probe that could not be handed to the data plane is no sample: it waits, and those
//! behind it too, until the next turn. If control was held up, it does not make up for what it missed.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::time::{Duration, Instant};

use penstock_dataplane::ids::TunnelId;
use penstock_dataplane::wire::probe::Style;

use super::ends::Ends;
use super::judge::{Judge, Reason, State};
use super::rules::{RETRIES, TIMEOUT};
use crate::config::HealthDirection;

/// First probes of new tunnels are spread over so long at most.
const SPREAD: Duration = Duration::from_secs(1);

/// An answer to a lost probe is counted as one that came too late for so long.
const LATE: Duration = Duration::from_secs(2);

/// How a tunnel is probed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Between two probes.
    pub interval: Duration,
    /// What the far end has to do.
    pub style: Style,
    /// The way of the answers.
    pub direction: HealthDirection,
    /// The addresses.
    pub ends: Ends,
}

impl Settings {
    /// The tunnel that answers to probes of `tunnel` come out of; `None`: they come plain.
    pub(super) fn answers_via(&self, tunnel: TunnelId) -> Option<TunnelId> {
        match self.direction {
            HealthDirection::Bidirectional => Some(tunnel),
            HealthDirection::Unidirectional => None,
        }
    }
}

/// A tunnel that is to be probed.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    /// Its number.
    pub tunnel: TunnelId,
    /// Tells it from others that had its number.
    pub incarnation: u64,
    /// How.
    pub settings: Settings,
}

/// A probe to send now.
#[derive(Clone, Copy, Debug)]
pub struct Order {
    /// Into which tunnel.
    pub tunnel: TunnelId,
    /// Tells it from others that had its number.
    pub incarnation: u64,
    /// Names the probe.
    pub serial: u64,
    /// Whose turn it is to send it: counts through the workers.
    pub turn: u64,
    /// Bytes of the inner packet; `None`: as few as can be.
    pub size: Option<u16>,
    /// How.
    pub settings: Settings,
}

/// What became of an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// The data plane has it.
    Yes,
    /// There is no room now: again, later.
    Full,
}

/// An answer, as a worker saw it.
#[derive(Clone, Copy, Debug)]
pub struct Answer {
    /// The tunnel that was probed.
    pub tunnel: TunnelId,
    /// Which probe.
    pub serial: u64,
    /// The tunnel it came out of; `None`: it came plain.
    pub via: Option<TunnelId>,
    /// When.
    pub at: Instant,
}

/// A tunnel's state has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// Which.
    pub tunnel: TunnelId,
    /// From.
    pub from: State,
    /// To.
    pub to: State,
    /// Why.
    pub reason: Reason,
}

/// What is known of a tunnel, for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status {
    /// Its state.
    pub state: State,
    /// Since when.
    pub since: Instant,
    /// Why.
    pub reason: Reason,
    /// The addresses of its probes.
    pub ends: Ends,
    /// Probes of the last five minutes that ended.
    pub ended: u64,
    /// Those of them that were lost.
    pub lost: u64,
    /// Probes sent, since the tunnel is probed.
    pub sent: u64,
    /// Answered in time.
    pub answered: u64,
    /// Answered by another way than asked for, or too late.
    pub astray: u64,
    /// How long the last answer took.
    pub round_trip: Option<Duration>,
}

struct Watch {
    incarnation: u64,
    settings: Settings,
    judge: Judge,
    due: Instant,
    sent: u64,
    answered: u64,
    astray: u64,
    round_trip: Option<Duration>,
}

/// A probe under way, or lost a short time ago.
struct Pending {
    tunnel: TunnelId,
    sent: Instant,
    is_retry: bool,
    is_lost: bool,
}

/// All probes.
pub struct Prober {
    watches: HashMap<TunnelId, Watch>,
    due: BTreeSet<(Instant, TunnelId)>,
    /// Retries to send.
    retries: VecDeque<TunnelId>,
    pending: HashMap<u64, Pending>,
    /// When probes are lost, in the order they were sent in, which is the same.
    deadlines: VecDeque<(Instant, u64)>,
    /// When lost ones are forgotten, in that order, too.
    late: VecDeque<(Instant, u64)>,
    /// Tunnels whose probes have ended since they were judged last.
    touched: BTreeSet<TunnelId>,
    next_serial: u64,
}

impl Prober {
    /// Nothing is probed. `first_serial` is a random number, so that no life of the node repeats another one's.
    pub fn new(first_serial: u64) -> Self {
        Self {
            watches: HashMap::new(),
            due: BTreeSet::new(),
            retries: VecDeque::new(),
            pending: HashMap::new(),
            deadlines: VecDeque::new(),
            late: VecDeque::new(),
            touched: BTreeSet::new(),
            next_serial: first_serial,
        }
    }

    /// Probes these tunnels from now on, and no other. Those that are probed as before keep their state.
    pub fn set(&mut self, now: Instant, wanted: impl IntoIterator<Item = Wanted>) {
        let mut before = std::mem::take(&mut self.watches);
        for Wanted { tunnel, incarnation, settings } in wanted {
            let same = before
                .remove(&tunnel)
                .filter(|watch| watch.incarnation == incarnation && watch.settings == settings);
            let watch = same.unwrap_or_else(|| {
                let nanos = settings.interval.min(SPREAD).as_nanos() as u64;
                // Numbers follow each other; a multiplicative hash scatters them (Knuth, TAOCP 3, 6.4).
                let scattered = u64::from(tunnel.0).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 11;
                Watch {
                    incarnation,
                    settings,
                    judge: Judge::new(now),
                    due: now + Duration::from_nanos(scattered % nanos.max(1)),
                    sent: 0,
                    answered: 0,
                    astray: 0,
                    round_trip: None,
                }
            });
            self.watches.insert(tunnel, watch);
        }
        self.due = self.watches.iter().map(|(tunnel, watch)| (watch.due, *tunnel)).collect();
        // Of a tunnel that is probed anew every probe has a later serial number than those under way.
        let kept = |tunnel: &TunnelId| self.watches.get(tunnel).is_some_and(|watch| watch.sent > 0);
        self.pending.retain(|_, pending| kept(&pending.tunnel));
        self.retries.retain(kept);
        self.touched.retain(kept);
    }

    /// Whether any tunnel is probed.
    pub fn is_idle(&self) -> bool {
        self.watches.is_empty()
    }

    /// A worker saw an answer.
    pub fn answer(&mut self, now: Instant, answer: &Answer) {
        // What was answered already, was lost long ago, or is not of this life.
        let Some(pending) = self.pending.get(&answer.serial) else { return };
        let (tunnel, is_lost) = (pending.tunnel, pending.is_lost);
        let round_trip = answer.at.saturating_duration_since(pending.sent);
        let Some(watch) = self.watches.get_mut(&tunnel).filter(|_| tunnel == answer.tunnel) else { return };
        if answer.via != watch.settings.answers_via(tunnel) || round_trip > TIMEOUT || is_lost {
            // It counts as lost when its time is over.
            watch.astray += 1;
            if is_lost {
                self.pending.remove(&answer.serial);
            }
            return;
        }
        self.pending.remove(&answer.serial);
        watch.answered += 1;
        watch.round_trip = Some(round_trip);
        watch.judge.sample(now, true);
        self.touched.insert(tunnel);
    }

    /// Ends what was not answered in time, sends what is due, and judges. Answers that workers have seen are to be told
    /// before. Returns what has changed.
    pub fn turn(&mut self, now: Instant, mut send: impl FnMut(&Order) -> Sent) -> Vec<Change> {
        self.end_lost(now);
        if self.send_retries(now, &mut send) == Sent::Yes {
            self.send_due(now, &mut send);
        }
        let mut changes = Vec::new();
        for tunnel in std::mem::take(&mut self.touched) {
            let Some(watch) = self.watches.get_mut(&tunnel) else { continue };
            let from = watch.judge.state();
            if watch.judge.judge(now) {
                let (to, reason) = (watch.judge.state(), watch.judge.reason());
                changes.push(Change { tunnel, from, to, reason });
            }
        }
        changes
    }

    fn end_lost(&mut self, now: Instant) {
        while let Some((deadline, serial)) = self.deadlines.front().copied()
            && deadline <= now
        {
            self.deadlines.pop_front();
            let Some(pending) = self.pending.get_mut(&serial) else { continue };
            pending.is_lost = true;
            self.late.push_back((now + LATE, serial));
            let (tunnel, is_retry) = (pending.tunnel, pending.is_retry);
            let Some(watch) = self.watches.get_mut(&tunnel) else { continue };
            watch.judge.sample(now, false);
            self.touched.insert(tunnel);
            if !is_retry {
                self.retries.extend((0..RETRIES).map(|_| tunnel));
            }
        }
        while let Some((forget, serial)) = self.late.front().copied()
            && forget <= now
        {
            self.late.pop_front();
            self.pending.remove(&serial);
        }
    }

    fn send_retries(&mut self, now: Instant, send: &mut impl FnMut(&Order) -> Sent) -> Sent {
        while let Some(tunnel) = self.retries.front().copied() {
            if self.send_one(now, tunnel, true, send) == Sent::Full {
                return Sent::Full;
            }
            self.retries.pop_front();
        }
        Sent::Yes
    }

    fn send_due(&mut self, now: Instant, send: &mut impl FnMut(&Order) -> Sent) {
        while let Some((due, tunnel)) = self.due.first().copied()
            && due <= now
        {
            if self.send_one(now, tunnel, false, send) == Sent::Full {
                return;
            }
            self.due.pop_first();
            let Some(watch) = self.watches.get_mut(&tunnel) else { continue };
            let next = due + watch.settings.interval;
            watch.due = if next > now { next } else { now + watch.settings.interval };
            self.due.insert((watch.due, tunnel));
        }
    }

    fn send_one(
        &mut self,
        now: Instant,
        tunnel: TunnelId,
        is_retry: bool,
        send: &mut impl FnMut(&Order) -> Sent,
    ) -> Sent {
        let Some(watch) = self.watches.get_mut(&tunnel) else { return Sent::Yes };
        let serial = self.next_serial;
        let (incarnation, settings) = (watch.incarnation, watch.settings);
        // Each in turn: a core that cannot send shows.
        let order = Order { tunnel, incarnation, serial, turn: serial, size: None, settings };
        if send(&order) == Sent::Full {
            return Sent::Full;
        }
        self.next_serial = self.next_serial.wrapping_add(1);
        watch.sent += 1;
        self.pending.insert(serial, Pending { tunnel, sent: now, is_retry, is_lost: false });
        self.deadlines.push_back((now + TIMEOUT, serial));
        Sent::Yes
    }

    /// The state of a tunnel; `None`: it is not probed.
    pub fn state(&self, tunnel: TunnelId) -> Option<State> {
        self.watches.get(&tunnel).map(|watch| watch.judge.state())
    }

    /// The states of all tunnels that are probed.
    pub fn states(&self) -> impl Iterator<Item = (TunnelId, State)> + '_ {
        self.watches.iter().map(|(tunnel, watch)| (*tunnel, watch.judge.state()))
    }

    /// All that is known of a tunnel; `None`: it is not probed.
    pub fn status(&self, now: Instant, tunnel: TunnelId) -> Option<Status> {
        let watch = self.watches.get(&tunnel)?;
        let (ended, lost) = watch.judge.losses(now);
        Some(Status {
            state: watch.judge.state(),
            since: watch.judge.since(),
            reason: watch.judge.reason(),
            ends: watch.settings.ends,
            ended,
            lost,
            sent: watch.sent,
            answered: watch.answered,
            astray: watch.astray,
            round_trip: watch.round_trip,
        })
    }

    /// Probes under way.
    #[cfg(test)]
    pub(super) fn under_way(&self) -> usize {
        self.pending.values().filter(|pending| !pending.is_lost).count()
    }
}
