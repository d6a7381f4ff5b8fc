//! Random calls of a charon, with all that goes wrong between it and control, against what must be true at any time.
//!
//! The model has its own, much simpler view: what charon has, and what it had a moment ago.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use proptest::prelude::*;

use super::super::*;
use super::fake::{HOUR, Lab, SECOND, an_hour, home, id};
use crate::ike::protocol::{Installed, Lifetimes};
use crate::leases::MAX_KEY_LIFE;

/// What may happen. Numbers choose among what is there at that time.
#[derive(Clone, Debug)]
enum Step {
    /// `CHILD_SA`: an SPI, an inbound and an outbound SA; the first of an `IKE_SA` comes with its policy.
    Child { reqid: u32, life: bool },
    /// The SPI and the inbound SA only: the exchange fails after that.
    Half { reqid: u32 },
    /// The policy of one of the outbound SAs.
    Choose { which: usize },
    /// The outbound SA of a child goes, as when the peer has deleted it.
    DeleteOutbound { which: usize, lost: bool },
    /// All of a child goes.
    Delete { which: usize, lost: bool },
    /// The peer sends under the inbound SA of a child.
    Receive { which: usize },
    /// Something is routed into a tunnel.
    Send { reqid: u32, packets: u64 },
    /// charon dies, and another one comes.
    Crash,
    /// The connection of a charon is cut, and comes back.
    Reconnect,
    /// Control dies, and comes back.
    Restart,
    /// A reload takes a tunnel away, brings it back, or moves it.
    Reload { reqid: u32, there: bool, place: u32 },
    /// Time.
    Wait { seconds: u32 },
}

fn step() -> impl Strategy<Value = Step> {
    let reqid = || 1..=2u32;
    prop_oneof![
        6 => (reqid(), any::<bool>()).prop_map(|(reqid, life)| Step::Child { reqid, life }),
        1 => reqid().prop_map(|reqid| Step::Half { reqid }),
        5 => any::<usize>().prop_map(|which| Step::Choose { which }),
        3 => (any::<usize>(), prop::bool::weighted(0.1))
            .prop_map(|(which, lost)| Step::DeleteOutbound { which, lost }),
        3 => (any::<usize>(), prop::bool::weighted(0.1)).prop_map(|(which, lost)| Step::Delete { which, lost }),
        4 => any::<usize>().prop_map(|which| Step::Receive { which }),
        4 => (reqid(), 1..100_000u64).prop_map(|(reqid, packets)| Step::Send { reqid, packets }),
        1 => Just(Step::Crash),
        1 => Just(Step::Reconnect),
        1 => Just(Step::Restart),
        1 => (reqid(), any::<bool>(), 0..3u32)
            .prop_map(|(reqid, there, place)| Step::Reload { reqid, there, place }),
        6 => prop_oneof![4 => 1..20u32, 2 => 20..600u32, 1 => 600..4000u32]
            .prop_map(|seconds| Step::Wait { seconds }),
    ]
}

/// A `CHILD_SA` as charon sees it.
#[derive(Clone, Debug)]
struct Child {
    reqid: u32,
    inbound: SaId,
    outbound: Option<SaId>,
    /// charon wants it sent under.
    chosen: bool,
    born: Duration,
    life: Duration,
}

struct Model {
    lab: Lab,
    charon: Instance,
    children: Vec<Child>,
    /// Outbound SAs that charon had, and until when they may be sent under still.
    had: Vec<(u32, SaId, Duration)>,
    /// What a journal has on the disk.
    journal: BTreeMap<Serial, (Saved, u64)>,
    /// Packets that the workers have given numbers to, which the journal does not know of.
    spi_out: u32,
}

impl Model {
    fn new() -> Self {
        let lab = Lab::new();
        let charon = super::fake::CHARON;
        let (children, had, journal) = (Vec::new(), Vec::new(), BTreeMap::new());
        Self { lab, charon, children, had, journal, spi_out: 0x20_0000 }
    }

    fn now(&self) -> Duration {
        self.lab.now.uptime
    }

    /// What a call leaves behind is written before it is answered: what has changed, and no more.
    fn write_journal(&mut self) {
        for (serial, progress) in std::mem::take(&mut self.lab.moved) {
            if let Some((saved, _)) = self.journal.get_mut(&serial) {
                saved.progress = progress;
            }
        }
        for (serial, change) in self.lab.sad.take_changes() {
            match (change, self.lab.sad.saved(serial)) {
                (Change::Changed, Some(saved)) => {
                    if let Some((known, _)) = self.journal.get_mut(&serial) {
                        *known = saved;
                    }
                }
                (Change::Changed, None) | (Change::Gone, _) => {
                    self.journal.remove(&serial);
                }
            }
        }
    }

    fn add(&mut self, direction: Direction, reqid: u32, spi: u32, life: bool) -> bool {
        let lifetimes = if life { an_hour() } else { Lifetimes::default() };
        let added = self.lab.add(self.charon, direction, reqid, spi, lifetimes);
        if let Ok(serial) = added {
            let key = self.lab.sad.get(serial).unwrap().key;
            self.journal.insert(serial, (self.lab.sad.saved(serial).unwrap(), key));
        }
        self.write_journal();
        added.is_ok()
    }

    fn child(&mut self, reqid: u32, life: bool, whole: bool) {
        let Ok(spi) = self.lab.spi(self.charon) else {
            assert!(self.lab.homes.is_empty(), "an SPI was refused");
            return;
        };
        let added = self.add(Direction::Inbound, reqid, spi.0, life);
        assert_eq!(added, self.lab.homes.contains_key(&reqid), "exactly the tunnels that are there");
        let inbound = id(Direction::Inbound, reqid, spi.0);
        if !added {
            return;
        }
        let mut outbound = None;
        if whole {
            self.spi_out += 1;
            assert!(self.add(Direction::Outbound, reqid, self.spi_out, life));
            outbound = Some(id(Direction::Outbound, reqid, self.spi_out));
        }
        let life = if life { HOUR } else { MAX_KEY_LIFE };
        let born = self.now();
        self.children.push(Child { reqid, inbound, outbound, chosen: false, born, life });
    }

    fn pick(&self, which: usize) -> Option<usize> {
        (!self.children.is_empty()).then(|| which % self.children.len())
    }

    fn delete(&mut self, id: SaId, lost: bool) {
        if !lost {
            // The SA may have gone before, by a reload.
            let _ = self.lab.sad.delete(self.charon, &id, &mut self.lab.fake, self.lab.now);
            self.write_journal();
        }
    }

    fn lose_outbound(&mut self, child: usize, lost: bool) {
        let until = if lost { Duration::MAX } else { self.now() };
        if let Some(id) = self.children[child].outbound.take() {
            self.had.push((self.children[child].reqid, id, until));
            self.delete(id, lost);
        }
    }

    fn hello(&mut self, restarted: bool) {
        self.lab.sad.hello(self.charon);
        let both = |child: &Child| {
            let outbound = child.outbound.map(|id| Installed { inbound: false, id });
            [Some(Installed { inbound: true, id: child.inbound }), outbound]
        };
        let list: Vec<_> = self.children.iter().flat_map(both).flatten().collect();
        let unknown = self.lab.sync(self.charon, &list);
        // Nothing that charon has is missing, but for what has come to its end.
        let now = self.now();
        for id in unknown {
            let child = self.children.iter().find(|child| child.inbound == id || child.outbound == Some(id));
            let child = child.unwrap();
            assert!(restarted && now >= child.born + child.life, "{child:?} was lost");
        }
        self.write_journal();
    }

    fn run(&mut self, step: &Step) {
        match *step {
            Step::Child { reqid, life } => {
                let is_first = !self.children.iter().any(|child| child.reqid == reqid);
                self.child(reqid, life, true);
                let last = self.children.len().wrapping_sub(1);
                if is_first && self.children.get(last).is_some_and(|child| child.reqid == reqid) {
                    self.run(&Step::Choose { which: last });
                }
            }
            Step::Half { reqid } => self.child(reqid, true, false),
            Step::Choose { which } => {
                let Some(child) = self.pick(which) else { return };
                let Child { reqid, outbound: Some(id), .. } = self.children[child] else { return };
                let chosen =
                    self.lab.sad.choose(self.charon, reqid, id.spi, &mut self.lab.fake, self.lab.now);
                self.write_journal();
                if chosen.is_ok() {
                    self.children[child].chosen = true;
                    assert_eq!(self.lab.sends(reqid), Some(id.spi.0), "charon chose it");
                }
            }
            Step::DeleteOutbound { which, lost } => {
                if let Some(child) = self.pick(which) {
                    self.lose_outbound(child, lost);
                }
            }
            Step::Delete { which, lost } => {
                let Some(child) = self.pick(which) else { return };
                self.lose_outbound(child, lost);
                let inbound = self.children.swap_remove(child).inbound;
                self.delete(inbound, lost);
            }
            Step::Receive { which } => {
                let Some(child) = self.pick(which) else { return };
                let child = &self.children[child];
                let arrived = self.lab.fake.receive_packets(&child.inbound, 1);
                assert!(arrived || self.now() >= child.born + child.life, "{child:?} is not received");
                self.lab.turn();
                self.write_journal();
            }
            Step::Send { reqid, packets } => {
                if let Some(home) = self.lab.homes.get(&reqid) {
                    self.lab.fake.send_packets(home.tunnel, packets);
                }
            }
            Step::Crash => {
                self.charon = Instance(self.charon.0 + 1);
                for child in std::mem::take(&mut self.children) {
                    self.had.extend(child.outbound.map(|id| (child.reqid, id, Duration::MAX)));
                }
                self.hello(false);
            }
            Step::Reconnect => self.hello(false),
            Step::Restart => {
                let read = |(saved, key): &(Saved, u64)| {
                    // The journal knows which one is sent under, not what charon chose before.
                    (Saved { chosen: u64::from(saved.current), ..saved.clone() }, *key)
                };
                let found: Vec<_> = self.journal.values().map(read).collect();
                for (saved, _) in self.journal.values_mut() {
                    saved.progress = saved.ahead();
                }
                for unwanted in self.lab.restart_with(found) {
                    self.journal.remove(&unwanted);
                }
                self.write_journal();
                self.check();
                self.hello(true);
            }
            Step::Reload { reqid, there, place } => {
                // As in the tables, a number is given to another tunnel only when it is free.
                let new = there.then(|| home(reqid + 10 * place));
                if self.lab.homes.get(&reqid) == new.as_ref() {
                    return;
                }
                self.lab.homes.remove(&reqid);
                self.lab.homes.extend(new.map(|home| (reqid, home)));
                self.lab.set_tunnels();
                // charon is told, and gives them up.
                let expired: BTreeSet<_> =
                    self.lab.sad.take_events().iter().map(|(_, event)| event.id().spi).collect();
                let gone = |child: &Child| child.reqid == reqid;
                for child in self.children.iter().filter(|child| gone(child)) {
                    assert!(expired.contains(&child.inbound.spi) || self.now() >= child.born + child.life);
                }
                self.children.retain(|child| !gone(child));
                self.had.retain(|(of, ..)| *of != reqid);
                self.write_journal();
            }
            Step::Wait { seconds } => {
                for _ in 0..seconds.min(60) {
                    self.second(SECOND);
                }
                self.second(SECOND * seconds.saturating_sub(60));
            }
        }
        self.check();
    }

    fn second(&mut self, time: Duration) {
        self.lab.wait(time);
        // At a hard limit charon gives a child up, and deletes it.
        let expired = |event: &Event| matches!(event, Event::Expire { hard: true, .. });
        let events = self.lab.sad.take_events();
        for spi in
            events.iter().map(|(_, event)| event).filter(|event| expired(event)).map(|event| event.id().spi)
        {
            let ended = |child: &Child| {
                child.inbound.spi == spi || child.outbound.is_some_and(|outbound| outbound.spi == spi)
            };
            if let Some(child) = self.children.iter().position(ended) {
                self.lose_outbound(child, false);
                let inbound = self.children.swap_remove(child).inbound;
                self.delete(inbound, false);
            }
        }
        self.write_journal();
    }

    fn check(&mut self) {
        let now = self.now();
        self.had.retain(|(_, _, until)| *until >= now);
        for (reqid, home) in &self.lab.homes {
            let lives = |child: &&Child| child.reqid == *reqid && now < child.born + child.life;
            let has: Vec<SaId> =
                self.children.iter().filter(lives).filter_map(|child| child.outbound).collect();
            let sends = self.lab.fake.outbound.get(&home.tunnel);
            let live = sends.filter(|(_, sa)| !sa.borrow().stopped).map(|(id, _)| *id);
            // 1. It sends if there is anything to send under, and under nothing that nobody knows.
            assert!(has.is_empty() || live.is_some(), "the tunnel is down, charon has {has:?}");
            let had = |id: &SaId| self.had.iter().any(|(of, had, _)| of == reqid && had == id);
            assert!(live.is_none_or(|id| has.contains(&id) || had(&id)), "nobody knows {live:?}");
            // 2. The state machine and the workers agree.
            assert_eq!(sends.map(|(id, _)| id.spi), self.lab.sad.current(*reqid).map(|sa| sa.id.spi));
        }
        // 3. What charon has is received.
        for child in self.children.iter().filter(|child| now < child.born + child.life) {
            let sa = self.lab.fake.inbound.get(&(child.inbound.dst.ip(), child.inbound.spi));
            assert!(sa.is_some_and(|sa| !sa.borrow().stopped), "{child:?} is not received");
        }
        // 4. Nothing is older than any key may be.
        for sa in self.lab.sad.sas() {
            assert!(self.lab.now.since(sa.born) < MAX_KEY_LIFE);
        }
        // 5. Nothing is on the workers that is not known here.
        assert_eq!(
            self.lab.fake.inbound.len(),
            self.lab.sad.sas().filter(|sa| sa.direction == Direction::Inbound).count()
        );
        assert_eq!(
            self.lab.fake.outbound.len(),
            self.lab.homes.keys().filter(|reqid| self.lab.sad.current(**reqid).is_some()).count()
        );
    }

    /// Whatever happened: when all have had their time, nothing is left.
    fn end(&mut self) {
        self.lab.wait(MAX_KEY_LIFE);
        self.lab.wait(STOPPED_STAYS);
        assert!(self.lab.sad.is_empty(), "{:?}", self.lab.states(1));
        assert!(self.lab.fake.inbound.is_empty() && self.lab.fake.outbound.is_empty());
        assert!(self.lab.sad.is_clean(), "something was left behind");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_tunnels_send_and_receive_under_what_charon_has(
        steps in prop::collection::vec(step(), 1..60),
    ) {
        let mut model = Model::new();
        for step in &steps {
            model.run(step);
        }
        model.end();
    }
}
