//! Random negotiations on several nodes, with a log that each reads when it likes, nodes that die and come back, reloads,
//! and a store that is put back to what it was; against what must be true at any time.
//!
//! The model knows what peers have: pairs that were negotiated and not deleted.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use penstock_dataplane::ids::TunnelId;
use proptest::prelude::*;

use super::super::*;
use super::lab::{Lab, Node, Store, site, tunnel};
use crate::fleet::record::{Date, SaRecord, State};
use crate::ike::sad::tests::fake::{HOUR, SECOND};
use crate::ike::sad::{Direction, STOPPED_STAYS};

/// What may happen. Numbers choose among what is there at that time.
#[derive(Clone, Debug)]
enum Step {
    /// A pair is negotiated at a node. The first that it has for a tunnel comes with its policy.
    Negotiate { node: usize, reqid: u32 },
    /// Its owner's charon says that a pair is to be used.
    Choose { pair: usize },
    /// The peer and its owner's charon delete a pair.
    Delete { pair: usize },
    /// Its owner's charon deletes the outbound half first.
    DeleteOutbound { pair: usize },
    /// The peer sends under a pair, and the packet comes to a node.
    Receive { pair: usize, node: usize },
    /// Something is routed into a tunnel.
    Send { node: usize, reqid: u32, packets: u64 },
    /// A node tells the store so many things.
    Publish { node: usize, most: usize },
    /// A node reads so much of the log.
    Apply { node: usize, most: usize },
    /// A node has lost its place in the log, and looks at everything.
    Look { node: usize },
    /// All is told and read.
    Sync,
    /// A node dies with all that it has, and comes back.
    Reboot { node: usize },
    /// Control of a node dies, and comes back with its journal.
    Restart { node: usize },
    /// A reload takes a tunnel from a node, or brings it back.
    Reload { node: usize, reqid: u32, there: bool },
    /// The store is copied.
    Backup,
    /// The copy is put back, and counts on from there, or from far ahead.
    Restore { bump: bool },
    /// Time.
    Wait { seconds: u32 },
}

fn step() -> impl Strategy<Value = Step> {
    let (node, reqid) = (|| 0..3usize, || 1..=2u32);
    let most = || prop_oneof![3 => Just(usize::MAX), 1 => 1..4usize];
    prop_oneof![
        6 => (node(), reqid()).prop_map(|(node, reqid)| Step::Negotiate { node, reqid }),
        5 => any::<usize>().prop_map(|pair| Step::Choose { pair }),
        3 => any::<usize>().prop_map(|pair| Step::Delete { pair }),
        1 => any::<usize>().prop_map(|pair| Step::DeleteOutbound { pair }),
        5 => (any::<usize>(), node()).prop_map(|(pair, node)| Step::Receive { pair, node }),
        3 => (node(), reqid(), 1..100_000u64)
            .prop_map(|(node, reqid, packets)| Step::Send { node, reqid, packets }),
        5 => (node(), most()).prop_map(|(node, most)| Step::Publish { node, most }),
        5 => (node(), most()).prop_map(|(node, most)| Step::Apply { node, most }),
        1 => node().prop_map(|node| Step::Look { node }),
        4 => Just(Step::Sync),
        1 => node().prop_map(|node| Step::Reboot { node }),
        1 => node().prop_map(|node| Step::Restart { node }),
        1 => (node(), reqid(), any::<bool>())
            .prop_map(|(node, reqid, there)| Step::Reload { node, reqid, there }),
        1 => Just(Step::Backup),
        1 => any::<bool>().prop_map(|bump| Step::Restore { bump }),
        4 => prop_oneof![4 => 1..20u32, 2 => 20..600u32, 1 => 600..4000u32]
            .prop_map(|seconds| Step::Wait { seconds }),
    ]
}

/// A pair that a peer has.
#[derive(Clone, Debug)]
struct Pair {
    reqid: u32,
    node: usize,
    /// The life of charon that has it.
    charon: u64,
    inbound: u32,
    outbound: Option<u32>,
    born: Duration,
}

struct Model {
    lab: Lab,
    pairs: Vec<Pair>,
    spis: u32,
    backup: Store,
    /// SPIs of inbound SAs that a node has seen the record of, in this life of it.
    seen: Vec<BTreeSet<u32>>,
    /// All pairs that ever were, by the SPI of the outbound SA.
    outbound: BTreeMap<u32, Pair>,
    /// SPIs of outbound SAs that their owner's charon has deleted.
    deleted: BTreeSet<u32>,
}

impl Model {
    fn new() -> Self {
        Self {
            lab: Lab::new(3),
            pairs: Vec::new(),
            spis: 0x1000,
            backup: Store::default(),
            seen: vec![BTreeSet::new(); 3],
            outbound: BTreeMap::new(),
            deleted: BTreeSet::new(),
        }
    }

    fn now(&self) -> Duration {
        self.lab.now.uptime
    }

    fn pick(&self, which: usize) -> Option<usize> {
        (!self.pairs.is_empty()).then(|| which % self.pairs.len())
    }

    /// The node that has a pair, if it is the same charon still, and has the tunnel.
    fn owner(&mut self, pair: &Pair) -> Option<&mut Node> {
        let node = &mut self.lab.nodes[pair.node];
        let is_there = node.charon.0 == pair.charon && node.sites.contains_key(&tunnel(pair.reqid));
        is_there.then_some(node)
    }

    fn run(&mut self, step: &Step) {
        let now = self.lab.now;
        match *step {
            Step::Negotiate { node, reqid } => self.negotiate(node, reqid),
            Step::Choose { pair } => {
                let Some(pair) = self.pick(pair).map(|pair| self.pairs[pair].clone()) else { return };
                let Some(spi) = pair.outbound else { return };
                let is_alive = now.uptime < pair.born + HOUR;
                let Some(node) = self.owner(&pair).filter(|_| is_alive) else { return };
                node.choose(pair.reqid, spi, now);
            }
            Step::Delete { pair } => {
                let Some(pair) = self.pick(pair) else { return };
                self.delete(pair);
            }
            Step::DeleteOutbound { pair } => {
                let Some(pair) = self.pick(pair) else { return };
                let copy = self.pairs[pair].clone();
                let Some(spi) = copy.outbound else { return };
                if let Some(node) = self.owner(&copy) {
                    node.delete(Direction::Outbound, copy.reqid, spi, now);
                    self.pairs[pair].outbound = None;
                    self.deleted.insert(spi);
                }
            }
            Step::Receive { pair, node } => {
                let Some(pair) = self.pick(pair).map(|pair| self.pairs[pair].clone()) else { return };
                let arrived = self.lab.receive(node, pair.reqid, pair.inbound);
                assert!(arrived || !self.must_receive(node, &pair), "{pair:?} is not received at {node}");
                self.lab.nodes[node].turn(now);
            }
            Step::Send { node, reqid, packets } => {
                self.lab.nodes[node].fake.send_packets(TunnelId(reqid), packets);
            }
            Step::Publish { node, most } => {
                let Lab { store, nodes, .. } = &mut self.lab;
                // A store that was restored is looked at first: its log does not go on.
                if nodes[node].restored == store.restored {
                    nodes[node].publish(store, most, now);
                }
            }
            Step::Apply { node, most } => {
                let Lab { store, nodes, .. } = &mut self.lab;
                nodes[node].apply(store, most, now);
            }
            Step::Look { node } => {
                let Lab { store, nodes, .. } = &mut self.lab;
                nodes[node].look(store, now);
            }
            Step::Sync => self.sync(),
            Step::Reboot { node } => {
                self.lab.reboot(node);
                self.seen[node].clear();
                self.forget_what_was_not_told(node);
            }
            Step::Restart { node } => {
                let Lab { store, nodes, .. } = &mut self.lab;
                nodes[node].restart(store, now);
                self.seen[node].clear();
            }
            Step::Reload { node, reqid, there } => self.reload(node, reqid, there),
            Step::Backup => self.backup = self.lab.store.clone(),
            Step::Restore { bump } => {
                let restored = self.lab.store.restored + 1;
                let ahead = if bump { self.lab.store.revision + 1000 } else { self.backup.revision };
                self.lab.store = Store { restored, revision: ahead, ..self.backup.clone() };
            }
            Step::Wait { seconds } => {
                for _ in 0..seconds.min(40) {
                    self.second(SECOND);
                }
                self.second(SECOND * seconds.saturating_sub(40));
            }
        }
        self.check();
    }

    fn negotiate(&mut self, node: usize, reqid: u32) {
        let now = self.lab.now;
        if !self.lab.nodes[node].sites.contains_key(&tunnel(reqid)) {
            return;
        }
        self.spis += 1;
        let (inbound, outbound) = (self.spis, self.spis + 0x10_0000);
        let charon = self.lab.nodes[node].charon.0;
        let is_first =
            !self.pairs.iter().any(|pair| (pair.node, pair.charon, pair.reqid) == (node, charon, reqid));
        self.lab.nodes[node].pair(reqid, inbound, outbound, now);
        let pair = Pair { reqid, node, charon, inbound, outbound: Some(outbound), born: now.uptime };
        self.outbound.insert(outbound, pair.clone());
        self.pairs.push(pair);
        if is_first {
            self.lab.nodes[node].choose(reqid, outbound, now);
            assert_eq!(self.lab.nodes[node].sends(reqid), Some(outbound), "it was chosen here just now");
        }
    }

    fn delete(&mut self, pair: usize) {
        let (now, pair) = (self.lab.now, self.pairs.swap_remove(pair));
        if let Some(node) = self.owner(&pair) {
            if let Some(spi) = pair.outbound {
                node.delete(Direction::Outbound, pair.reqid, spi, now);
            }
            node.delete(Direction::Inbound, pair.reqid, pair.inbound, now);
            self.deleted.extend(pair.outbound);
        }
    }

    /// Nobody can know what a node has deleted and not told before its journal was lost.
    fn forget_what_was_not_told(&mut self, node: usize) {
        let in_store: BTreeSet<u32> = self.lab.store.contents.keys().map(|name| name.spi).collect();
        let Self { deleted, outbound, .. } = self;
        deleted.retain(|spi| outbound[spi].node != node || !in_store.contains(spi));
    }

    fn reload(&mut self, node: usize, reqid: u32, there: bool) {
        let known = &mut self.lab.nodes[node];
        let name = tunnel(reqid);
        if known.sites.contains_key(&name) == there {
            return;
        }
        if there {
            known.sites.insert(name, site(reqid));
        } else {
            known.sites.remove(&name);
        }
        known.set_tunnels();
        // charon gives up what was there.
        known.take_expired();
        let charon = known.charon.0;
        self.pairs.retain(|pair| there || (pair.node, pair.charon, pair.reqid) != (node, charon, reqid));
    }

    fn second(&mut self, time: Duration) {
        self.lab.wait(time);
        for node in 0..self.lab.nodes.len() {
            let expired = self.lab.nodes[node].take_expired();
            let ended = |pair: &Pair| {
                expired.contains(&pair.inbound) || pair.outbound.is_some_and(|spi| expired.contains(&spi))
            };
            while let Some(pair) = self.pairs.iter().position(ended) {
                self.delete(pair);
            }
        }
        let now = self.now();
        self.pairs.retain(|pair| now < pair.born + HOUR);
    }

    fn sync(&mut self) {
        self.lab.sync();
        for reqid in 1..=2 {
            self.agree(reqid);
            // What is deleted all know of, if the store did not forget it.
            let sends = self.lab.sends(reqid).into_iter().flatten();
            let deleted = sends.filter(|spi| self.deleted.contains(spi)).count();
            assert!(
                deleted == 0 || self.lab.store.restored > 0,
                "tunnel {reqid} is sent under what is deleted"
            );
        }
        // What the store has of a node's journal, the journal has.
        for (name, (_, bytes)) in &self.lab.store.contents {
            let node = &self.lab.nodes[usize::from(name.owner.0)];
            let is_there = node.given.values().any(|given| node.name(given) == *name);
            let owner = SaRecord::decode(bytes).unwrap().owner;
            assert!(owner != node.me || is_there, "{name} was deleted, and stays in the store");
        }
    }

    /// All know the same, so all send under the same. But for what a node has seen a peer do, or has of a store that is
    /// no more.
    fn agree(&self, reqid: u32) {
        let mut all = BTreeSet::new();
        for node in self.lab.nodes.iter().filter(|node| node.sites.contains_key(&tunnel(reqid))) {
            let name = tunnel(reqid);
            let mut foreign = node.fleet.foreign().of_tunnel(&name);
            let is_forgotten = |sa: &ForeignSa<_>| sa.direction() == Direction::Outbound && !sa.is_recorded;
            let is_shown = |sa: &ForeignSa<_>| sa.state == State::Pending && sa.rank().is_some();
            if foreign.any(|sa| is_forgotten(sa) || is_shown(sa)) {
                continue;
            }
            all.insert(node.sends(reqid));
        }
        assert!(all.len() <= 1, "tunnel {reqid} is sent under {all:x?}");
    }

    /// Whether a node has seen the record of a pair that the peer may send under, or is the owner itself.
    fn must_receive(&self, node: usize, pair: &Pair) -> bool {
        let there = &self.lab.nodes[node];
        there.sites.contains_key(&tunnel(pair.reqid))
            && self.now() < pair.born + HOUR
            && (self.seen[node].contains(&pair.inbound) || there.charon.0 == pair.charon && node == pair.node)
    }

    fn check(&mut self) {
        let now = self.now();
        for (number, node) in self.lab.nodes.iter().enumerate() {
            node.check();
            let inbound = |sa: &&ForeignSa<_>| sa.direction() == Direction::Inbound;
            self.seen[number].extend(node.fleet.foreign().sas().filter(inbound).map(|sa| sa.name.spi));
        }
        for number in 0..self.lab.nodes.len() {
            let node = &self.lab.nodes[number];
            // 1. What a peer may send under is received.
            for pair in self.pairs.iter().filter(|pair| self.must_receive(number, pair)) {
                assert!(node.receives(pair.inbound), "{pair:?} is not received at {number}");
            }
            for reqid in 1..=2 {
                let sends = node.sends(reqid);
                // 2. It sends if it knows of anything that is in use, or has anything.
                let name = tunnel(reqid);
                let known = node.fleet.foreign().of_tunnel(&name);
                let mut usable =
                    known.filter(|sa| sa.direction() == Direction::Outbound && sa.state == State::Current);
                let is_there = node.sites.contains_key(&tunnel(reqid));
                let has_own = node.sad.current(reqid).is_some_and(|sa| now < sa.born.uptime + HOUR);
                let must_send =
                    is_there && (has_own || usable.any(|sa| sa.hard_end > Date::from(self.lab.now.date)));
                assert_eq!(
                    sends.is_some(),
                    must_send || sends.is_some_and(|spi| self.is_shown(number, spi)),
                    "tunnel {reqid} at {number}"
                );
                // 3. Nothing is sent under that nobody negotiated for it, or whose end has come.
                if let Some(spi) = sends {
                    let pair = &self.outbound[&spi];
                    assert_eq!(pair.reqid, reqid);
                    assert!(now < pair.born + HOUR, "{pair:?} is over");
                }
            }
            // 4. Nothing is received under whose end has come.
            for ((_, spi), sa) in &node.fake.inbound {
                let born = self.outbound[&(spi.0 + 0x10_0000)].born;
                assert!(sa.borrow().stopped || now < born + HOUR, "{spi} is over");
            }
        }
    }

    /// Whether a tunnel sends under an SA because the peer has shown it.
    fn is_shown(&self, node: usize, spi: u32) -> bool {
        let mut sas = self.lab.nodes[node].fleet.foreign().sas();
        sas.any(|sa| sa.name.spi == spi && matches!(sa.rank(), Some(Rank::Chosen { shown: true, .. })))
    }

    /// When all have had their time, nothing is left.
    fn end(&mut self) {
        self.lab.wait(HOUR);
        self.lab.wait(STOPPED_STAYS);
        self.lab.wait(STOPPED_STAYS);
        self.lab.sync();
        for node in &self.lab.nodes {
            node.check();
            assert!(node.sad.is_empty() && node.fleet.foreign().sas().next().is_none());
            assert!(node.fake.inbound.is_empty() && node.fake.outbound.is_empty());
        }
    }
}

/// How many histories are tried.
fn histories() -> u32 {
    std::env::var("PENSTOCK_HISTORIES").ok().and_then(|number| number.parse().ok()).unwrap_or(300)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: histories(), ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_nodes_receive_and_send_under_what_peers_have(
        steps in prop::collection::vec(step(), 1..80),
    ) {
        let mut model = Model::new();
        for step in &steps {
            model.run(step);
        }
        model.end();
    }
}
