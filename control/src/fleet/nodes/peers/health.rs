//! What nodes tell each other of tunnels' health: answers that came to another node than the one that probed, and what
//! each finds sick. Bounded both ways: what finds no room is counted and lost, as on any way.

use penstock_fleet::names::Name;
use penstock_fleet::peer::{HealthNews, Incarnation};

use super::{Peers, State};

/// Datagrams that wait to be sent, or to be taken: what a hundred thousand tunnels bring within a turn of control.
pub(super) const WAITING: usize = 8192;

/// What a node said of tunnels' health.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeardHealth {
    /// Which node.
    pub node: Name,
    /// Which life of it.
    pub incarnation: Incarnation,
    /// What.
    pub news: HealthNews,
}

impl Peers {
    /// Tells one node, if it lives.
    pub fn say_health(&self, to: &Name, news: HealthNews) {
        let mut state = self.shared.lock();
        if state.peers.contains_key(to) {
            state.queue_health(to.clone(), news);
            drop(state);
            self.shared.to_say.notify_one();
        }
    }

    /// Tells all nodes that live.
    pub fn say_health_to_all(&self, news: &HealthNews) {
        let mut state = self.shared.lock();
        let names: Vec<Name> = state.peers.keys().cloned().collect();
        names.into_iter().for_each(|name| state.queue_health(name, news.clone()));
        drop(state);
        self.shared.to_say.notify_one();
    }

    /// What nodes said since the last call, in the order it came.
    pub fn take_health(&self) -> Vec<HeardHealth> {
        std::mem::take(&mut self.shared.lock().heard_health)
    }
}

impl State {
    fn queue_health(&mut self, to: Name, news: HealthNews) {
        if self.say_health.len() < WAITING {
            self.say_health.push((to, news));
        } else {
            self.counters.health_lost += 1;
        }
    }
}
