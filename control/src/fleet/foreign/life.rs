//! What happens by itself: ends of lives, ends of grace, and peers that show a new SA.

use penstock_dataplane::esp::sa::Spi;
use penstock_dataplane::ids::TunnelId;

use super::{Foreign, Own, Rank, Stage};
use crate::fleet::record::{Date, SaName};
use crate::fleet::{LEFT_OUT, MAX_SHARED_KEY_LIFE};
use crate::ike::sad::{Direction, Kinds, Moment, STOPPED_STAYS, Workers};

impl<K: Kinds> Foreign<K> {
    /// Every few milliseconds. `own` is the rank of what this node has itself for a tunnel. Costs nothing where nothing is
    /// due and no rekey is under way.
    pub fn turn(
        &mut self,
        own: impl Fn(TunnelId) -> Option<Own>,
        workers: &mut impl Workers<K>,
        now: Moment,
    ) {
        let date = Date::from(now.date);
        self.end_what_is_over(workers, now);
        while let Some((_, name)) = self.removals.first().filter(|(at, _)| *at <= now.uptime).cloned() {
            self.remove(&name, workers);
        }
        while let Some((at, key)) = self.spent_until.first().copied().filter(|(at, _)| *at <= date) {
            self.spent_until.remove(&(at, key));
            self.spent.remove(&key);
        }
        self.show_what_peers_use(own, workers);
        if !self.lacking.is_empty() && self.try_again <= now.uptime {
            self.try_again = now.uptime + std::time::Duration::from_secs(1);
            for name in self.lacking.clone() {
                self.settle_home(&name, workers);
            }
        }
    }

    /// Stops what is at its hard end.
    pub(super) fn end_what_is_over(&mut self, workers: &mut impl Workers<K>, now: Moment) {
        let date = Date::from(now.date);
        while let Some((at, name)) = self.hard_ends.first().filter(|(at, _)| *at <= date).cloned() {
            self.hard_ends.remove(&(at, name.clone()));
            let Some(sa) = self.sas.get(&name) else { continue };
            if sa.is_recorded {
                self.over.insert(name.clone(), sa.revision);
            }
            if !matches!(sa.stage, Stage::Ended { .. }) {
                self.enter(&name, Stage::Ended { until: now.uptime + STOPPED_STAYS }, workers);
            }
        }
    }

    /// The peer's first packet under a pending pair that is newer than all choices. What was there before the newest
    /// choice is decided over.
    fn show_what_peers_use(&mut self, own: impl Fn(TunnelId) -> Option<Own>, workers: &impl Workers<K>) {
        let shown: Vec<SaName> =
            self.pending.iter().filter(|name| self.is_shown(name, workers)).cloned().collect();
        for name in shown {
            let Some(sa) = self.sas.get(&name) else { continue };
            let Some(home) = sa.home else { continue };
            let best = self.best(home.tunnel, own(home.tunnel)).map(|(rank, _)| rank);
            if best < Some(Rank::Chosen { revision: sa.revision, shown: false }) {
                if let Some(sa) = self.sas.get_mut(&name) {
                    sa.shown = Some(self.applied);
                }
                self.move_tunnel(&name.tunnel);
            }
        }
    }

    fn is_shown(&self, name: &SaName, workers: &impl Workers<K>) -> bool {
        let Some(sa) = self.sas.get(name).filter(|sa| sa.shown.is_none() && sa.stage == Stage::Live) else {
            return false;
        };
        let inbound = sa.paired.as_ref().and_then(|inbound| self.sas.get(inbound));
        inbound.is_some_and(|inbound| inbound.usage(workers).packets > 0)
    }

    /// Puts an SA into a stage, with what that means for the workers.
    pub(super) fn enter(&mut self, name: &SaName, stage: Stage, workers: &mut impl Workers<K>) {
        let Some(sa) = self.sas.get_mut(name) else { return };
        let before = std::mem::replace(&mut sa.stage, stage);
        if before == stage {
            return;
        }
        if let Stage::Retiring { until } | Stage::Ended { until } = before {
            self.removals.remove(&(until, name.clone()));
        }
        if let Stage::Retiring { until } | Stage::Ended { until } = stage {
            self.removals.insert((until, name.clone()));
        }
        match (before, stage) {
            (Stage::Live | Stage::Retiring { .. }, Stage::Ended { .. }) => {
                if let Some(handle) = &sa.handle {
                    workers.stop(handle);
                }
            }
            // What was stopped does not go on: it is put on the workers again.
            (Stage::Ended { .. }, Stage::Live | Stage::Retiring { .. }) => {
                self.arrivals += 1;
                sa.arrival = self.arrivals;
                self.uproot(name, workers);
            }
            _ => {}
        }
        self.move_tunnel(&name.tunnel);
    }

    /// Takes an SA off the workers and forgets it.
    pub(super) fn remove(&mut self, name: &SaName, workers: &mut impl Workers<K>) {
        self.uproot(name, workers);
        self.move_tunnel(&name.tunnel);
        let Some(sa) = self.sas.remove(name) else { return };
        if name.direction == Direction::Outbound && sa.handle.is_some() {
            let first = sa.usage(workers).newest.saturating_add(LEFT_OUT);
            self.spent.insert(sa.fingerprint, first);
            self.spent_until.insert((sa.born.after(MAX_SHARED_KEY_LIFE), sa.fingerprint));
        }
        if let Some(names) = self.by_spi.get_mut(&Spi(name.spi)) {
            names.remove(name);
            if names.is_empty() {
                self.by_spi.remove(&Spi(name.spi));
            }
        }
        self.hard_ends.remove(&(sa.hard_end, name.clone()));
        if let Stage::Retiring { until } | Stage::Ended { until } = sa.stage {
            self.removals.remove(&(until, name.clone()));
        }
        self.pending.remove(name);
        self.lacking.remove(name);
        self.limited.remove(name);
        if let Some(tunnel) = self.tunnels.get_mut(&name.tunnel) {
            tunnel.sas.remove(name);
            if tunnel.sas.is_empty() && tunnel.home.is_none() {
                self.tunnels.remove(&name.tunnel);
            }
        }
    }
}
