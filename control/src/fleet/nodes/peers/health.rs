//! What nodes tell each other of tunnels' health: answers that came to another node than the one that probed, and what
//! each finds sick. Bounded both ways: what finds no room is counted and lost, as on any way.

use std::net::SocketAddr;

use penstock_fleet::names::Name;
use penstock_fleet::peer::{HealthDatagram, Said};
use tokio::net::UdpSocket;

use super::{Peers, Shared, State};

/// Datagrams that wait to be sent, or to be taken: what a hundred thousand tunnels bring within a turn of control.
const WAITING: usize = 8192;

/// What a node said of tunnels' health.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeardHealth {
    /// Which node.
    pub node: Name,
    /// What.
    pub said: Said,
}

impl Peers {
    /// Tells one node, if it lives.
    pub fn say_health(&self, to: &Name, said: Said) {
        let mut state = self.shared.lock();
        if state.peers.contains_key(to) {
            state.queue_health(to.clone(), said);
            drop(state);
            self.shared.to_say.notify_one();
        }
    }

    /// Tells all nodes that live.
    pub fn say_health_to_all(&self, said: &Said) {
        let mut state = self.shared.lock();
        let names: Vec<Name> = state.peers.keys().cloned().collect();
        names.into_iter().for_each(|name| state.queue_health(name, said.clone()));
        drop(state);
        self.shared.to_say.notify_one();
    }

    /// What nodes said since the last call, in the order it came.
    pub fn take_health(&self) -> Vec<HeardHealth> {
        std::mem::take(&mut self.shared.lock().heard_health)
    }
}

impl State {
    fn queue_health(&mut self, to: Name, said: Said) {
        if self.say_health.len() < WAITING {
            self.say_health.push((to, said));
        } else {
            self.counters.health_lost += 1;
        }
    }
}

/// Sends what waits.
pub(super) fn say(socket: &UdpSocket, shared: &Shared, state: &mut State) {
    let State { keys, store, peers, say_health, counters, .. } = state;
    for (name, said) in std::mem::take(say_health) {
        let Some(peer) = peers.get(&name) else { continue };
        let (node, incarnation, store) = (shared.node.clone(), shared.incarnation, *store);
        let datagram = HealthDatagram { node, incarnation, store, said }.seal(keys);
        match socket.try_send_to(&datagram, SocketAddr::new(peer.address, shared.local.port())) {
            Ok(_) => counters.health_told += 1,
            Err(_) => counters.unsent += 1,
        }
    }
}

/// Takes a datagram that says it is about health, from an address of a node.
pub(super) fn hear(state: &mut State, bytes: &[u8], source: SocketAddr) {
    let State { keys, store, peers, heard_health, counters, .. } = state;
    let datagram = match HealthDatagram::open(bytes, keys) {
        Ok(datagram) => datagram,
        Err(refused) => {
            *counters.of(refused) += 1;
            return;
        }
    };
    let HealthDatagram { node, incarnation, said, .. } = datagram;
    if peers.get(&node).is_none_or(|peer| peer.address != source.ip() || peer.incarnation != incarnation) {
        counters.other_node += 1;
    } else if datagram.store != *store {
        counters.other_store += 1;
    } else if heard_health.len() < WAITING {
        counters.health_heard += 1;
        heard_health.push(HeardHealth { node, said });
    } else {
        counters.health_lost += 1;
    }
}
