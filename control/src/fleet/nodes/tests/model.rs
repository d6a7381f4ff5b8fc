//! Random histories against the plain definition of a wait.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::barrier::live;
use super::*;
use crate::fleet::nodes::barrier::Barrier;

const NODES: [&str; 3] = ["a", "b", "c"];
const LIMIT: u64 = 100;

#[derive(Clone, Copy, Debug)]
enum Step {
    Wait(u64),
    Applied { node: usize, former_life: bool, revision: u64 },
    Gone(usize),
    Started(usize),
    Later(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (1u64..20).prop_map(Step::Wait),
        6 => (0..3usize, prop::bool::weighted(0.2), 1u64..20)
            .prop_map(|(node, former_life, revision)| Step::Applied { node, former_life, revision }),
        1 => (0..3usize).prop_map(Step::Gone),
        1 => (0..3usize).prop_map(Step::Started),
        3 => (1u64..60).prop_map(Step::Later),
    ]
}

/// A wait remembers which lives it was for.
struct Wait {
    revision: u64,
    began: u64,
    lives: Vec<(usize, u64)>,
}

#[derive(Default)]
struct Model {
    /// Incarnation and revision of those that live.
    nodes: BTreeMap<usize, (u64, u64)>,
    waits: BTreeMap<u64, Wait>,
}

impl Model {
    /// Which waits are over at this time, and whether because the time was up.
    fn over(&mut self, now: u64) -> Vec<(u64, bool)> {
        let nodes = &self.nodes;
        let holds = |wait: &Wait, (node, life): (usize, u64)| {
            nodes.get(&node).is_some_and(|(now, applied)| *now == life && *applied < wait.revision)
        };
        let over: Vec<(u64, bool)> = (self.waits.iter())
            .filter_map(|(id, wait)| {
                let is_held = wait.lives.iter().any(|life| holds(wait, *life));
                let is_late = now >= wait.began + LIMIT;
                (!is_held || is_late).then_some((*id, is_held))
            })
            .collect();
        over.iter().for_each(|(id, _)| drop(self.waits.remove(id)));
        over
    }
}

proptest! {
    #[test]
    fn a_wait_is_what_it_is_said_to_be(steps in prop::collection::vec(step(), 0..120)) {
        let start = Instant::now();
        let mut barrier = Barrier::new(Duration::from_millis(LIMIT));
        let mut model = Model::default();
        let (mut now, mut next_wait, mut lives) = (0, 0, 10);
        for step in steps {
            let at = |now| start + Duration::from_millis(now);
            match step {
                Step::Wait(revision) => {
                    let lives = model.nodes.iter().map(|(node, (life, _))| (*node, *life)).collect();
                    model.waits.insert(next_wait, Wait { revision, began: now, lives });
                    barrier.wait(at(now), revision, next_wait);
                    next_wait += 1;
                }
                Step::Applied { node, former_life, revision } => {
                    let life = match model.nodes.get_mut(&node) {
                        Some((life, applied)) if !former_life => {
                            *applied = revision.max(*applied);
                            *life
                        }
                        _ => 1,
                    };
                    barrier.applied(at(now), &name(NODES[node]), Incarnation(life), revision);
                }
                Step::Gone(node) => drop(model.nodes.remove(&node)),
                Step::Started(node) => {
                    lives += 1;
                    model.nodes.insert(node, (lives, 0));
                }
                Step::Later(millis) => now += millis,
            }
            if matches!(step, Step::Gone(_) | Step::Started(_)) {
                let live = model.nodes.iter().map(|(node, (life, _))| live(NODES[*node], *life, 0));
                barrier.set_live(at(now), live.collect::<Vec<_>>());
            }
            barrier.turn(at(now));
            let mut over: Vec<(u64, bool)> =
                barrier.take_over().into_iter().map(|(id, outcome)| (id, !outcome.late.is_empty())).collect();
            over.sort();
            prop_assert_eq!(over, model.over(now));
            prop_assert_eq!(barrier.waiting(), model.waits.len());
            prop_assert_eq!(barrier.next().is_some(), !model.waits.is_empty(), "it sleeps only when nobody waits");
            let asked: Vec<Name> = barrier.asks(at(now)).into_iter().map(|(node, _)| node).collect();
            for node in asked {
                let index = NODES.iter().position(|one| name(one) == node).unwrap();
                prop_assert!(model.nodes.contains_key(&index), "only who lives is asked");
            }
        }
    }
}
