//! Which tunnel's path MTU is probed now, and what became of the probes.
//!
//! Two probes go out together, one of the size in question and a small one. They are no samples of the tunnel's health:
//! what is too large says nothing of it.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::time::{Duration, Instant};

use penstock_dataplane::ids::TunnelId;

use super::path_mtu::{Event, Outcome, PathSearch, Sizes};
use super::prober::{Answer, Order, Sent, Settings};
use super::rules::{PATH_PAIRS_A_TURN, PATH_PAUSE, TIMEOUT};

/// A tunnel whose path MTU is to be probed.
#[derive(Clone, Copy, Debug)]
pub struct PathWanted {
    /// Its number.
    pub tunnel: TunnelId,
    /// Tells it from others that had its number.
    pub incarnation: u64,
    /// How: as for its health.
    pub settings: Settings,
    /// How often a larger size than the one found is looked for.
    pub raise: Duration,
}

/// News of a tunnel's path MTU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PathChange {
    /// Which.
    pub tunnel: TunnelId,
    /// Largest inner packet that is known to pass, bytes; `None`: none is known yet.
    pub found: Option<u16>,
    /// All that the link takes passes.
    pub is_whole: bool,
    /// What has happened.
    pub event: Event,
}

/// What is known of a tunnel's path MTU, for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PathStatus {
    /// Largest inner packet that is known to pass, bytes.
    pub found: Option<u16>,
    /// Whether a search goes on.
    pub is_searching: bool,
    /// Probes sent, small ones not counted.
    pub sent: u64,
    /// Those of them that were lost while a small one was answered.
    pub lost: u64,
    /// How often what passed before was lost.
    pub black_holes: u64,
}

/// Two probes under way.
struct Pair {
    /// Of the larger one; the small one has the next.
    serial: u64,
    size: u16,
    sent: Instant,
    is_small_answered: bool,
}

struct Watch {
    incarnation: u64,
    settings: Settings,
    raise: Duration,
    search: Option<PathSearch>,
    /// Probes under way; else it waits for its turn.
    pair: Option<Pair>,
    due: Instant,
    /// What the last search has found.
    told: Option<u16>,
    sent: u64,
    lost: u64,
    black_holes: u64,
}

/// All searches.
pub struct PathProber {
    watches: HashMap<TunnelId, Watch>,
    /// Those that have none under way.
    due: BTreeSet<(Instant, TunnelId)>,
    /// When probes are lost, in the order they were sent in, which is the same.
    deadlines: VecDeque<(Instant, TunnelId, u64)>,
    next_serial: u64,
    pairs: u64,
    /// What has ended since the last turn.
    changes: Vec<PathChange>,
}

impl PathProber {
    /// Nothing is probed. `first_serial` is a random number, so that no life of the node repeats another one's.
    pub fn new(first_serial: u64) -> Self {
        Self {
            watches: HashMap::new(),
            due: BTreeSet::new(),
            deadlines: VecDeque::new(),
            next_serial: first_serial,
            pairs: 0,
            changes: Vec::new(),
        }
    }

    /// Probes these tunnels' paths from now on, and no other. Those that are probed as before keep what is known.
    pub fn set(&mut self, now: Instant, wanted: impl IntoIterator<Item = PathWanted>) {
        let mut before = std::mem::take(&mut self.watches);
        for PathWanted { tunnel, incarnation, settings, raise } in wanted {
            let same = before.remove(&tunnel).filter(|watch| {
                watch.incarnation == incarnation && watch.settings == settings && watch.raise == raise
            });
            let watch = same.unwrap_or(Watch {
                incarnation,
                settings,
                raise,
                search: None,
                pair: None,
                due: now,
                told: None,
                sent: 0,
                lost: 0,
                black_holes: 0,
            });
            self.watches.insert(tunnel, watch);
        }
        let waiting = self.watches.iter().filter(|(_, watch)| watch.pair.is_none());
        self.due = waiting.map(|(tunnel, watch)| (watch.due, *tunnel)).collect();
    }

    /// Whether a tunnel's path MTU is probed.
    pub fn is_probed(&self, tunnel: TunnelId) -> bool {
        self.watches.contains_key(&tunnel)
    }

    /// A worker saw an answer. False: it is not to a probe that is under way here.
    pub fn answer(&mut self, now: Instant, answer: &Answer) -> bool {
        let tunnel = answer.tunnel;
        let Some(watch) = self.watches.get_mut(&tunnel) else { return false };
        let Some(pair) = &mut watch.pair else { return false };
        let is_large = answer.serial == pair.serial;
        if !is_large && answer.serial != pair.serial.wrapping_add(1) {
            return false;
        }
        let is_late = answer.at.saturating_duration_since(pair.sent) > TIMEOUT;
        if is_late || answer.via != watch.settings.answers_via(tunnel) {
            return true;
        }
        if is_large {
            self.end(now, tunnel, Outcome::Passed);
        } else {
            pair.is_small_answered = true;
        }
        true
    }

    /// A router says that packets of this tunnel may have so many bytes inside.
    pub fn hint(&mut self, now: Instant, tunnel: TunnelId, inner: u16) {
        let Some(watch) = self.watches.get_mut(&tunnel) else { return };
        let Some(search) = &mut watch.search else { return };
        let before = search.found();
        search.hint(now, inner);
        let after = search.due();
        if watch.pair.is_none() {
            self.due.remove(&(watch.due, tunnel));
            watch.due = after;
            self.due.insert((after, tunnel));
        }
        self.changes.extend(watch.news(tunnel, before, Event::Nothing));
    }

    /// Ends what was not answered in time, and sends what is due. Answers that workers have seen are to be told before.
    /// Tunnels that are not `is_up` wait; `sizes` are those to search among, `None` where there is no way. Returns what has
    /// changed.
    pub fn turn(
        &mut self,
        now: Instant,
        is_up: impl Fn(TunnelId) -> bool,
        sizes: impl Fn(TunnelId) -> Option<Sizes>,
        mut send: impl FnMut(&Order) -> Sent,
    ) -> Vec<PathChange> {
        while let Some((deadline, tunnel, serial)) = self.deadlines.front().copied()
            && deadline <= now
        {
            self.deadlines.pop_front();
            let pair = self.watches.get(&tunnel).and_then(|watch| watch.pair.as_ref());
            if let Some(pair) = pair.filter(|pair| pair.serial == serial) {
                let outcome = if pair.is_small_answered { Outcome::Lost } else { Outcome::Silence };
                self.end(now, tunnel, outcome);
            }
        }
        for _ in 0..PATH_PAIRS_A_TURN {
            let Some((due, tunnel)) = self.due.first().copied().filter(|(due, _)| *due <= now) else { break };
            let Some(watch) = self.watches.get_mut(&tunnel) else { break };
            let step = match sizes(tunnel).filter(|_| is_up(tunnel)) {
                None => Step::Wait(now + PATH_PAUSE),
                Some(sizes) => watch.send(now, tunnel, sizes, (self.next_serial, self.pairs), &mut send),
            };
            match step {
                Step::Full => break,
                Step::Sent => {
                    self.due.remove(&(due, tunnel));
                    self.deadlines.push_back((now + TIMEOUT, tunnel, self.next_serial));
                    self.next_serial = self.next_serial.wrapping_add(2);
                    self.pairs = self.pairs.wrapping_add(1);
                }
                Step::Wait(later) => {
                    self.due.remove(&(due, tunnel));
                    watch.due = later;
                    self.due.insert((later, tunnel));
                }
            }
        }
        std::mem::take(&mut self.changes)
    }

    fn end(&mut self, now: Instant, tunnel: TunnelId, outcome: Outcome) {
        let Some(watch) = self.watches.get_mut(&tunnel) else { return };
        let Some((pair, search)) = watch.pair.take().zip(watch.search.as_mut()) else { return };
        let before = search.found();
        let event = search.ended(now, pair.size, outcome);
        watch.lost += u64::from(outcome == Outcome::Lost);
        watch.black_holes += u64::from(event == Event::BlackHole);
        watch.due = search.due();
        self.due.insert((watch.due, tunnel));
        self.changes.extend(watch.news(tunnel, before, event));
    }

    /// All that is known of a tunnel; `None`: its path MTU is not probed.
    pub fn status(&self, tunnel: TunnelId) -> Option<PathStatus> {
        let watch = self.watches.get(&tunnel)?;
        Some(PathStatus {
            found: watch.search.and_then(|search| search.found()),
            is_searching: watch.search.is_none_or(|search| search.is_searching()),
            sent: watch.sent,
            lost: watch.lost,
            black_holes: watch.black_holes,
        })
    }
}

enum Step {
    Sent,
    Full,
    Wait(Instant),
}

impl Watch {
    /// Sends the next two probes, if they are due; `numbers` are the serial number and the turn. What is known of another
    /// path, or of other sizes, is forgotten.
    fn send(
        &mut self,
        now: Instant,
        tunnel: TunnelId,
        sizes: Sizes,
        (serial, turn): (u64, u64),
        send: &mut impl FnMut(&Order) -> Sent,
    ) -> Step {
        self.search = self.search.filter(|search| search.sizes() == sizes);
        let search = self.search.get_or_insert_with(|| PathSearch::new(now, sizes, self.raise));
        let Some(size) = search.next(now) else {
            let due = search.due();
            return Step::Wait(if due > now { due } else { now + PATH_PAUSE });
        };
        let (incarnation, settings) = (self.incarnation, self.settings);
        let order = Order { tunnel, incarnation, serial, turn, size: Some(size), settings };
        if send(&order) == Sent::Full {
            return Step::Full;
        }
        // Where there is no room for the small one, the pair says nothing unless the large one is answered.
        let _ = send(&Order { serial: serial.wrapping_add(1), size: None, ..order });
        self.sent += 1;
        self.pair = Some(Pair { serial, size, sent: now, is_small_answered: false });
        Step::Sent
    }

    /// What an event has changed. A search that ends where the one before did is none.
    fn news(&mut self, tunnel: TunnelId, before: Option<u16>, event: Event) -> Option<PathChange> {
        let search = self.search?;
        let found = search.found();
        let event = match event {
            Event::Found if self.told == found => Event::Nothing,
            event => event,
        };
        match event {
            Event::Found => self.told = found,
            Event::BlackHole => self.told = None,
            Event::Nothing => {}
        }
        let is_whole = found == Some(search.sizes().most);
        (found != before || event != Event::Nothing).then_some(PathChange { tunnel, found, is_whole, event })
    }
}
