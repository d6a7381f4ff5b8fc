//! Who has applied what, and when a negotiation need not wait any longer.
//!
//! What a node has applied is a revision of the store; it only grows while the node lives, and starts anew with it. A wait
//! is for all nodes that live when it begins: it is over when each of them has the revision, or lives no longer, or the
//! time is up. Nodes that are late are asked.
//!
//! This knows no clock, socket or store: times and what nodes say are handed in, and what is to be done is collected.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::time::{Duration, Instant};

use penstock_fleet::names::Name;
use penstock_fleet::peer::Incarnation;

use super::lateness::Lateness;

/// A late node is asked so long after it became late; a datagram that was lost is worth little time, a node that is slow
/// many datagrams.
const ASKS: [Duration; 4] = [
    Duration::from_millis(20),
    Duration::from_millis(60),
    Duration::from_millis(180),
    Duration::from_millis(400),
];
/// And again after each such time.
const ASK_AGAIN: Duration = Duration::from_millis(400);
/// Waits at a time. Beyond these the oldest ends as if its time was up.
const MAX_WAITS: usize = 16_384;
/// A node is named in the log so often at most.
const NAMED_AGAIN: Duration = Duration::from_secs(60);

/// How a wait ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// How long it took.
    pub took: Duration,
    /// Nodes that live and do not have the revision: the time was up.
    pub late: Vec<Name>,
}

/// A node that did not have a revision in time; a line of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Late {
    /// It.
    pub node: Name,
    /// The revision that it did not have.
    pub revision: u64,
    /// The one that it has, as far as it was heard.
    pub applied: u64,
    /// Waits that it was late for since it was last named.
    pub times: u64,
}

/// Numbers since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Waits that are over.
    pub barriers: u64,
    /// Those of them whose time was up.
    pub timeouts: u64,
    /// What nodes said that do not live, or not so any more.
    pub strangers: u64,
}

/// A node that lives, as its record says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Live {
    /// Its name.
    pub name: Name,
    /// Which life.
    pub incarnation: Incarnation,
    /// What it has applied, if its record says so.
    pub applied: u64,
}

/// What is known of a node.
#[derive(Debug)]
pub struct Node {
    incarnation: Incarnation,
    applied: u64,
    /// Waits that it holds, by revision; the highest is asked for.
    held: BTreeSet<(u64, u64)>,
    asking: Option<Asking>,
    named: Option<Instant>,
    unnamed: u64,
    /// From the beginning of each wait until it had the revision.
    pub lateness: Lateness,
    /// Waits that it was late for.
    pub timeouts: u64,
}

#[derive(Debug)]
struct Asking {
    since: Instant,
    step: usize,
    due: Instant,
}

#[derive(Debug)]
struct Wait<T> {
    revision: u64,
    began: Instant,
    holders: HashSet<Name>,
    token: T,
}

/// All waits. `T` is whatever a wait is known by to whoever waits.
#[derive(Debug)]
pub struct Barrier<T> {
    limit: Duration,
    nodes: BTreeMap<Name, Node>,
    /// In the order of their beginnings, and so of their ends.
    waits: BTreeMap<u64, Wait<T>>,
    next_wait: u64,
    over: Vec<(T, Outcome)>,
    late: Vec<Late>,
    counters: Counters,
}

impl Node {
    /// What it has applied, as far as it was heard.
    pub fn applied(&self) -> u64 {
        self.applied
    }

    fn new(live: &Live, lateness: Lateness, timeouts: u64) -> Self {
        let Live { incarnation, applied, .. } = *live;
        let held = BTreeSet::new();
        Self { incarnation, applied, held, asking: None, named: None, unnamed: 0, lateness, timeouts }
    }

    /// It holds a wait from now on.
    fn hold(&mut self, now: Instant, revision: u64, wait: u64) {
        self.held.insert((revision, wait));
        self.asking.get_or_insert_with(|| Asking::begun(now));
    }

    /// The waits that it holds no longer, as it has this revision.
    fn reach(&mut self, now: Instant, applied: u64) -> Vec<u64> {
        if applied <= self.applied {
            return Vec::new();
        }
        self.applied = applied;
        let left = match applied.checked_add(1) {
            Some(next) => self.held.split_off(&(next, 0)),
            None => BTreeSet::new(),
        };
        let reached = std::mem::replace(&mut self.held, left);
        if !reached.is_empty() {
            // It gets on: what it has not yet is not late yet.
            self.asking = (!self.held.is_empty()).then(|| Asking::begun(now));
        }
        reached.into_iter().map(|(_, wait)| wait).collect()
    }
}

impl Asking {
    fn begun(now: Instant) -> Self {
        Self { since: now, step: 0, due: now + ASKS[0] }
    }

    fn asked(&mut self, now: Instant) {
        self.step += 1;
        let next = ASKS.get(self.step).map_or(now + ASK_AGAIN, |after| self.since + *after);
        // Whoever comes late does not ask twice at once.
        self.due = next.max(now + ASKS[0]);
    }
}

impl<T> Barrier<T> {
    /// No nodes. `limit` is the longest that anything waits.
    pub fn new(limit: Duration) -> Self {
        Self {
            limit,
            nodes: BTreeMap::new(),
            waits: BTreeMap::new(),
            next_wait: 0,
            over: Vec::new(),
            late: Vec::new(),
            counters: Counters::default(),
        }
    }

    /// The nodes that live now, without us.
    pub fn set_live(&mut self, now: Instant, live: impl IntoIterator<Item = Live>) {
        let mut before = std::mem::take(&mut self.nodes);
        for one in live {
            let node = match before.remove(&one.name) {
                Some(node) if node.incarnation == one.incarnation => node,
                Some(mut old) => {
                    let held = std::mem::take(&mut old.held);
                    self.release(now, &one.name, held.into_iter().map(|(_, wait)| wait), None);
                    Node::new(&one, old.lateness, old.timeouts)
                }
                None => Node::new(&one, Lateness::default(), 0),
            };
            self.nodes.insert(one.name.clone(), node);
            self.reached(now, &one.name, one.applied);
        }
        for (name, node) in before {
            self.release(now, &name, node.held.into_iter().map(|(_, wait)| wait), None);
        }
    }

    /// A node says what it has applied.
    pub fn applied(&mut self, now: Instant, name: &Name, incarnation: Incarnation, revision: u64) {
        match self.nodes.get(name) {
            Some(node) if node.incarnation == incarnation => self.reached(now, name, revision),
            _ => self.counters.strangers += 1,
        }
    }

    /// All revisions begin anew: the store is another one. All waits are over, as if their time was up.
    pub fn forget(&mut self, now: Instant) {
        while let Some((&wait, _)) = self.waits.first_key_value() {
            self.time_is_up(now, wait);
        }
        self.nodes.values_mut().for_each(|node| node.applied = 0);
    }

    /// Begins to wait until all nodes have this revision.
    pub fn wait(&mut self, now: Instant, revision: u64, token: T) {
        let (id, limit) = (self.next_wait, MAX_WAITS);
        self.next_wait += 1;
        let mut holders = HashSet::new();
        for (name, node) in self.nodes.iter_mut().filter(|(_, node)| node.applied < revision) {
            node.hold(now, revision, id);
            holders.insert(name.clone());
        }
        // A node that was there before it was asked for took no time.
        self.nodes
            .values_mut()
            .filter(|node| node.applied >= revision)
            .for_each(|node| node.lateness.add(Duration::ZERO));
        self.waits.insert(id, Wait { revision, began: now, holders, token });
        self.end_if_reached(now, id);
        if self.waits.len() > limit
            && let Some((&oldest, _)) = self.waits.first_key_value()
        {
            self.time_is_up(now, oldest);
        }
    }

    /// Ends the waits whose time is up.
    pub fn turn(&mut self, now: Instant) {
        while let Some((&id, wait)) = self.waits.first_key_value()
            && now >= wait.began + self.limit
        {
            self.time_is_up(now, id);
        }
    }

    /// Whom to ask now, and for which revision.
    pub fn asks(&mut self, now: Instant) -> Vec<(Name, u64)> {
        let mut asks = Vec::new();
        for (name, node) in &mut self.nodes {
            let (Some(asking), Some((revision, _))) = (&mut node.asking, node.held.last()) else { continue };
            if now >= asking.due {
                asking.asked(now);
                asks.push((name.clone(), *revision));
            }
        }
        asks
    }

    /// When there is something to do, if nobody says anything before.
    pub fn next(&self) -> Option<Instant> {
        let ask = self.nodes.values().filter_map(|node| Some(node.asking.as_ref()?.due)).min();
        let end = self.waits.first_key_value().map(|(_, wait)| wait.began + self.limit);
        ask.into_iter().chain(end).min()
    }

    /// The waits that are over.
    pub fn take_over(&mut self) -> Vec<(T, Outcome)> {
        std::mem::take(&mut self.over)
    }

    /// Nodes to be named in the log.
    pub fn take_late(&mut self) -> Vec<Late> {
        std::mem::take(&mut self.late)
    }

    /// Numbers since the start.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// The nodes, and what is known of each.
    pub fn nodes(&self) -> impl Iterator<Item = (&Name, &Node)> {
        self.nodes.iter()
    }

    /// Waits that are not over.
    pub fn waiting(&self) -> usize {
        self.waits.len()
    }

    fn reached(&mut self, now: Instant, name: &Name, revision: u64) {
        let Some(node) = self.nodes.get_mut(name) else { return };
        let waits = node.reach(now, revision);
        let mut lateness = std::mem::take(&mut node.lateness);
        self.release(now, name, waits, Some(&mut lateness));
        if let Some(node) = self.nodes.get_mut(name) {
            node.lateness = lateness;
        }
    }

    /// These waits are not held by this node any more.
    fn release(
        &mut self,
        now: Instant,
        name: &Name,
        waits: impl IntoIterator<Item = u64>,
        mut lateness: Option<&mut Lateness>,
    ) {
        for id in waits {
            let Some(wait) = self.waits.get_mut(&id) else { continue };
            wait.holders.remove(name);
            if let Some(lateness) = &mut lateness {
                lateness.add(now.saturating_duration_since(wait.began));
            }
            self.end_if_reached(now, id);
        }
    }

    fn end_if_reached(&mut self, now: Instant, id: u64) {
        if self.waits.get(&id).is_none_or(|wait| !wait.holders.is_empty()) {
            return;
        }
        if let Some(wait) = self.waits.remove(&id) {
            self.counters.barriers += 1;
            let took = now.saturating_duration_since(wait.began);
            self.over.push((wait.token, Outcome { took, late: Vec::new() }));
        }
    }

    fn time_is_up(&mut self, now: Instant, id: u64) {
        let Some(wait) = self.waits.remove(&id) else { return };
        let took = now.saturating_duration_since(wait.began);
        let mut late: Vec<Name> = wait.holders.into_iter().collect();
        late.sort();
        for name in &late {
            let Some(node) = self.nodes.get_mut(name) else { continue };
            node.held.remove(&(wait.revision, id));
            if node.held.is_empty() {
                node.asking = None;
            }
            node.timeouts += 1;
            node.unnamed += 1;
            node.lateness.add(took);
            if node.named.is_none_or(|at| now.saturating_duration_since(at) >= NAMED_AGAIN) {
                node.named = Some(now);
                let times = std::mem::take(&mut node.unnamed);
                let (node, revision, applied) = (name.clone(), wait.revision, node.applied);
                self.late.push(Late { node, revision, applied, times });
            }
        }
        self.counters.barriers += 1;
        self.counters.timeouts += u64::from(!late.is_empty());
        self.over.push((wait.token, Outcome { took, late }));
    }
}
