//! Which nodes live: what the records `nodes/*` of the store come to.
//!
//! A record is on its node's lease, so a node lives as long as its record is there. What is no record is named, counted
//! and otherwise ignored: a node whose record somebody broke counts as what it was before.
//!
//! A store that was away forgets nodes that live: their leases ended because they could not be kept. So for a while after
//! it has come back a node whose record goes is *missing*, and counts as living until that time is over.
//!
//! This knows no store and no clock: records and times are handed in. It never decides what to do about a node.

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::net::IpAddr;
use std::time::Instant;

use penstock_fleet::names::{KeyName, Name, NodeNumber};
use penstock_fleet::peer::Incarnation;

use super::conflict::Conflict;
use super::node_record::{BadRecord, NodeRecord};
use crate::leases::fleet::CLOCKS_DIFFER as CLOCKS_DIFFER_BY;

/// Most nodes besides us: SPIs tell 1024 apart.
const MAX_NODES: usize = 1023;
/// Clocks that differ by more, milliseconds: there are no sender IDs while two do.
const CLOCKS_DIFFER: u64 = CLOCKS_DIFFER_BY.as_millis() as u64;
/// So many of a node's last records are compared with our clock.
const CLOCKS: usize = 4;
/// Notices that wait to be taken; more are only counted.
const MAX_NOTICES: usize = 1024;
/// Broken records that are remembered, so that each is named once.
const MAX_BAD: usize = 1024;

/// Who we are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Us {
    /// Our name.
    pub name: Name,
    /// Our number.
    pub number: NodeNumber,
    /// Which life of ours.
    pub incarnation: Incarnation,
}

/// Another node that lives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// What it said last.
    pub record: NodeRecord,
    /// Its clock minus ours when its last records came, milliseconds. On their way they only grow older, so the largest
    /// is nearest to the truth.
    clocks: Vec<i64>,
}

impl Member {
    /// By how much its clock is ahead of ours, milliseconds, less what its record took to get here; `None`: no record
    /// came since we watch.
    pub fn clock_difference(&self) -> Option<i64> {
        self.clocks.iter().max().copied()
    }

    /// The same, if it cannot be one record that was on its way for long.
    fn sure_clock_difference(&self) -> Option<i64> {
        self.clock_difference().filter(|difference| *difference > 0 || self.clocks.len() > 1)
    }
}

/// What happened to a node; a line of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// It lives.
    Came(Name, NodeNumber, IpAddr),
    /// Its record is gone: it ended, or the store has not heard of it for so long.
    Went(Name),
    /// It lives anew.
    Restarted(Name),
    /// It has another number.
    Renumbered(Name, NodeNumber, NodeNumber),
    /// It has the number of another one, which lives, too.
    SameNumber(Name, Name, NodeNumber),
    /// Something under this name is not what it should be.
    Broken(String, String),
}

impl Notice {
    /// It needs the operator.
    pub fn is_warning(&self) -> bool {
        matches!(self, Self::Went(_) | Self::SameNumber(..) | Self::Broken(..))
    }
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Came(node, number, address) => {
                write!(f, "node {node}, number {number}, came; it is at {address}")
            }
            Self::Went(node) => write!(f, "node {node} went"),
            Self::Restarted(node) => write!(f, "node {node} started anew"),
            Self::Renumbered(node, old, new) => {
                write!(f, "node {node} has the number {new} now, it had {old}")
            }
            Self::SameNumber(node, other, number) => write!(
                f,
                "nodes {node} and {other} both have the number {number}: stop one of them, and give it another \
                 node.number"
            ),
            Self::Broken(key, why) => {
                write!(
                    f,
                    "the store's record {key} is ignored: {why}; restart that node, or remove the record"
                )
            }
        }
    }
}

/// All nodes of the fleet that live.
#[derive(Debug)]
pub struct Members {
    us: Us,
    /// Without us.
    nodes: BTreeMap<Name, Member>,
    /// Until then a node whose record goes counts as living: the store was away.
    doubt_until: Option<Instant>,
    /// Nodes whose records went since the store is back.
    missing: HashSet<Name>,
    /// A record under our own name that is another's.
    double: Option<NodeRecord>,
    /// The store had a record of ours.
    registered: bool,
    broken: HashSet<String>,
    bad_records: u64,
    notices: Vec<Notice>,
}

impl Members {
    /// Nobody but us.
    pub fn new(us: Us) -> Self {
        Self {
            us,
            nodes: BTreeMap::new(),
            doubt_until: None,
            missing: HashSet::new(),
            double: None,
            registered: false,
            broken: HashSet::new(),
            bad_records: 0,
            notices: Vec::new(),
        }
    }

    /// All records `nodes/*` there are, as the store lists them: keys without the fleet's prefix, and values. `clock` is
    /// ours, Unix time in milliseconds. Nodes that are not among them are gone.
    pub fn listed<'a>(&mut self, clock: u64, records: impl IntoIterator<Item = (&'a str, &'a [u8])>) {
        let mut there = HashSet::new();
        for (key, value) in records {
            // Also with a broken record: the key says that its node lives.
            if let Ok(KeyName::Node(name)) = key.parse() {
                there.insert(name);
            }
            self.record(clock, key, value, true);
        }
        let gone: Vec<Name> = self.nodes.keys().filter(|name| !there.contains(*name)).cloned().collect();
        for name in gone {
            self.vanished(&name);
        }
        if !there.contains(&self.us.name) {
            self.double = None;
        }
    }

    /// A record was written just now.
    pub fn put(&mut self, clock: u64, key: &str, value: &[u8]) {
        self.record(clock, key, value, false);
    }

    /// A record was removed, or its lease has ended.
    pub fn deleted(&mut self, key: &str) {
        self.broken.remove(key);
        let Ok(KeyName::Node(name)) = key.parse() else { return };
        if name == self.us.name {
            self.double = None;
        }
        self.vanished(&name);
    }

    /// The store answers again after it was away: until this time nodes may write their records again, and none is gone.
    pub fn store_returned(&mut self, until: Instant) {
        self.doubt_until = self.doubt_until.max(Some(until));
    }

    /// Whether the store is back so short a while that it may lack records of nodes that live, us included.
    pub fn is_in_doubt(&self) -> bool {
        self.doubt_until.is_some()
    }

    /// Nodes that are still missing when the time is over are gone. Whether there were any.
    pub fn turn(&mut self, now: Instant) -> bool {
        if self.doubt_until.is_none_or(|until| now < until) {
            return false;
        }
        self.doubt_until = None;
        let gone = std::mem::take(&mut self.missing);
        for name in &gone {
            self.gone(name);
        }
        !gone.is_empty()
    }

    /// The nodes that live, without us.
    pub fn live(&self) -> impl Iterator<Item = &Member> {
        self.nodes.values()
    }

    /// The node of this name, if it lives and is not us.
    pub fn named(&self, name: &Name) -> Option<&Member> {
        self.nodes.get(name)
    }

    /// The node of this number, if it lives and is not us. Of two the one that started last.
    pub fn numbered(&self, number: NodeNumber) -> Option<&Member> {
        let those = self.nodes.values().filter(|member| member.record.number == number);
        those.max_by_key(|member| member.record.started)
    }

    /// The clock that most nodes agree on, minus ours, milliseconds: the median of all that are known, ours included. Where
    /// there are two in the middle nobody can tell which is right, and it is the one nearer to ours.
    fn common_clock(&self) -> i64 {
        let mut known: Vec<i64> = self.nodes.values().filter_map(Member::sure_clock_difference).collect();
        known.push(0);
        known.sort_unstable();
        let middle = [known.len().saturating_sub(1) / 2, known.len() / 2];
        let middle = middle.into_iter().filter_map(|index| known.get(index).copied());
        middle.min_by_key(|difference| difference.unsigned_abs()).unwrap_or(0)
    }

    /// By how much our clock is ahead of what most nodes agree on, milliseconds, if that is too much.
    pub fn our_clock_is_off(&self) -> Option<i64> {
        is_off(0_i64.saturating_sub(self.common_clock()))
    }

    /// The same of each node that lives and is not us.
    pub fn clocks_that_are_off(&self) -> impl Iterator<Item = (&Name, i64)> {
        let common = self.common_clock();
        self.nodes.iter().filter_map(move |(name, member)| {
            Some((name, is_off(member.clock_difference()?.saturating_sub(common))?))
        })
    }

    /// Another process has our name or number now.
    pub fn conflict(&self) -> Option<Conflict> {
        if let Some(double) = &self.double {
            let NodeRecord { name, address, incarnation, .. } = double.clone();
            return Some(Conflict::Name { name, address, incarnation });
        }
        let other = &self.numbered(self.us.number)?.record;
        Some(Conflict::Number { number: other.number, other: other.name.clone(), address: other.address })
    }

    /// The same, when it can be no former life of ours: the store has had a record of this one. We have to end.
    pub fn fatal(&self) -> Option<Conflict> {
        self.registered.then(|| self.conflict()).flatten()
    }

    /// How many records were none, since the start.
    pub fn bad_records(&self) -> u64 {
        self.bad_records
    }

    /// What happened since it was last asked.
    pub fn take_notices(&mut self) -> Vec<Notice> {
        std::mem::take(&mut self.notices)
    }

    fn record(&mut self, clock: u64, key: &str, value: &[u8], is_old: bool) {
        match self.read(key, value) {
            Ok(record) => {
                self.broken.remove(key);
                self.take(clock, record, is_old);
            }
            Err(why) => {
                self.bad_records += 1;
                if self.broken.len() < MAX_BAD && self.broken.insert(key.to_owned()) {
                    let shown: String = key.chars().take(80).flat_map(char::escape_default).collect();
                    self.notice(Notice::Broken(shown, why.to_string()));
                }
            }
        }
    }

    fn read(&self, key: &str, value: &[u8]) -> Result<NodeRecord, BadRecord> {
        let Ok(KeyName::Node(name)) = key.parse() else { return Err(BadRecord::Value("its key")) };
        let record = NodeRecord::read(value)?;
        if record.name != name {
            return Err(BadRecord::OtherName);
        }
        let is_new = name != self.us.name && !self.nodes.contains_key(&name);
        if is_new && self.nodes.len() >= MAX_NODES { Err(BadRecord::TooMany) } else { Ok(record) }
    }

    fn take(&mut self, clock: u64, record: NodeRecord, is_old: bool) {
        if record.name == self.us.name {
            let is_us = record.incarnation == self.us.incarnation;
            self.registered |= is_us;
            self.double = Some(record).filter(|_| !is_us);
            return;
        }
        let name = record.name.clone();
        self.missing.remove(&name);
        let before = self.nodes.get(&name).map(|member| &member.record);
        let notice = match before {
            None => Some(Notice::Came(name.clone(), record.number, record.address)),
            Some(old) if old.number != record.number => {
                Some(Notice::Renumbered(name.clone(), old.number, record.number))
            }
            Some(old) if old.incarnation != record.incarnation => Some(Notice::Restarted(name.clone())),
            Some(_) => None,
        };
        let has_new_number = before.is_none_or(|old| old.number != record.number);
        let same = self.numbered(record.number).map(|other| other.record.name.clone());
        let same = same.filter(|other| has_new_number && *other != name);
        let number = record.number;
        self.compare(clock, record, is_old);
        notice.into_iter().for_each(|notice| self.notice(notice));
        if let Some(other) = same {
            self.notice(Notice::SameNumber(name, other, number));
        }
    }

    /// Keeps the record, and what it says of its node's clock.
    fn compare(&mut self, clock: u64, record: NodeRecord, is_old: bool) {
        let difference = i128::from(record.clock) - i128::from(clock);
        let difference =
            i64::try_from(difference).unwrap_or(if difference > 0 { i64::MAX } else { i64::MIN });
        let restarted = |member: &Member| member.record.incarnation != record.incarnation;
        let mut clocks = match self.nodes.remove(&record.name) {
            Some(member) if !restarted(&member) => member.clocks,
            _ => Vec::new(),
        };
        // When a listed record was written nobody knows; only that it was not in the future.
        if !is_old || difference > 0 {
            if clocks.len() >= CLOCKS {
                clocks.remove(0);
            }
            clocks.push(difference);
        }
        self.nodes.insert(record.name.clone(), Member { record, clocks });
    }

    fn vanished(&mut self, name: &Name) {
        if self.doubt_until.is_none() {
            self.gone(name);
        } else if self.nodes.contains_key(name) {
            self.missing.insert(name.clone());
        }
    }

    fn gone(&mut self, name: &Name) {
        if self.nodes.remove(name).is_some() {
            self.notice(Notice::Went(name.clone()));
        }
    }

    fn notice(&mut self, notice: Notice) {
        if self.notices.len() < MAX_NOTICES {
            self.notices.push(notice);
        }
    }
}

/// A difference of clocks, milliseconds, that is too large.
fn is_off(difference: i64) -> Option<i64> {
    Some(difference).filter(|difference| difference.unsigned_abs() > CLOCKS_DIFFER)
}
