//! Where SAs stand on the workers, and how they get there.

use std::collections::BTreeMap;
use std::net::IpAddr;

use penstock_dataplane::esp::sa::Spi;

use super::{Foreign, ForeignSa, Notice, Stage};
use crate::fleet::LEFT_OUT;
use crate::fleet::record::SaName;
use crate::ike::sad::{Direction, Full, Home, Kinds, Workers};
use crate::static_sas::TunnelName;

impl<K: Kinds> Foreign<K> {
    /// Takes the tunnels of the configuration that negotiate. SAs that have lost their place go off the workers; they, and
    /// those that have waited for their tunnel, come back where it stands now.
    pub fn set_tunnels(&mut self, homes: &BTreeMap<TunnelName, Home>, workers: &mut impl Workers<K>) {
        let changed: Vec<TunnelName> = self
            .tunnels
            .iter()
            .filter(|(name, tunnel)| homes.get(*name) != tunnel.home.as_ref())
            .map(|(name, _)| name.clone())
            .chain(homes.keys().filter(|name| !self.tunnels.contains_key(*name)).cloned())
            .collect();
        // All leave before anything comes: numbers may go from one to another.
        for name in &changed {
            self.move_tunnel(name);
            for sa in self.names_of(name) {
                self.uproot(&sa, workers);
            }
            if let Some(home) = self.tunnels.get_mut(name).and_then(|tunnel| tunnel.home.take()) {
                self.by_number.remove(&home.tunnel);
            }
        }
        for name in &changed {
            match homes.get(name) {
                Some(home) => {
                    self.tunnels.entry(name.clone()).or_default().home = Some(*home);
                    self.by_number.insert(home.tunnel, name.clone());
                }
                None => {
                    self.tunnels.retain(|other, tunnel| other != name || !tunnel.sas.is_empty());
                }
            }
            for sa in self.names_of(name) {
                self.settle_home(&sa, workers);
            }
            self.move_tunnel(name);
        }
    }

    /// Where the tunnel of a record stands.
    fn home_of(&self, name: &SaName) -> Option<Home> {
        self.tunnels.get(&name.tunnel)?.home
    }

    fn names_of(&self, tunnel: &TunnelName) -> Vec<SaName> {
        self.tunnels.get(tunnel).map(|tunnel| tunnel.sas.iter().cloned().collect()).unwrap_or_default()
    }

    /// Puts an SA where its tunnel stands, if it is not there. An inbound one is received from then on.
    pub(super) fn settle_home(&mut self, name: &SaName, workers: &mut impl Workers<K>) {
        let home = self.home_of(name);
        let Some(sa) = self.sas.get_mut(name) else { return };
        let Some(home) = home.filter(|_| !matches!(sa.stage, Stage::Ended { .. })) else { return };
        if sa.local() == home.local {
            sa.home = Some(home);
        }
        if name.direction == Direction::Outbound || sa.handle.is_some() {
            return;
        }
        match self.receive(name, &home, workers) {
            Ok(()) => {
                self.lacking.remove(name);
            }
            Err(notice) => {
                if self.lacking.insert(name.clone()) {
                    self.notices.push(notice);
                }
            }
        }
    }

    fn receive(&mut self, name: &SaName, home: &Home, workers: &mut impl Workers<K>) -> Result<(), Notice> {
        let stands_there = |other: &ForeignSa<K>| {
            other.direction() == Direction::Inbound
                && other.handle.is_some()
                && other.home.is_some_and(|other| other.local == home.local)
        };
        let is_occupied = self.occupied.contains(&(home.local, Spi(name.spi)));
        if is_occupied || self.with_spi(Spi(name.spi)).any(stands_there) {
            return Err(Notice::Twice(name.clone()));
        }
        let Some(sa) = self.sas.get_mut(name) else { return Ok(()) };
        if sa.local() != home.local {
            return Err(Notice::Elsewhere { name: name.clone(), there: sa.local(), here: home.local });
        }
        // Without a window, as all that is shared: each node sees only its own share of the numbers.
        let handle = workers.receive(home, &sa.id, &sa.key, 0);
        sa.handle = Some(handle.map_err(|Full| Notice::NoRoom(name.clone()))?);
        Ok(())
    }

    /// This node's own SA comes where another's is, which waits until it is gone.
    pub(in crate::fleet) fn make_way(&mut self, (local, spi): (IpAddr, Spi), workers: &mut impl Workers<K>) {
        let stands_there = |sa: &&ForeignSa<K>| {
            sa.direction() == Direction::Inbound && sa.handle.is_some() && sa.local() == local
        };
        let Some(name) = self.with_spi(spi).find(stands_there).map(|sa| sa.name.clone()) else { return };
        self.uproot(&name, workers);
        self.lacking.insert(name.clone());
        self.notices.push(Notice::Twice(name));
    }

    /// This node's own SA is there.
    pub(in crate::fleet) fn occupy(&mut self, place: (IpAddr, Spi)) {
        self.occupied.insert(place);
    }

    /// It is gone.
    pub(in crate::fleet) fn vacate(&mut self, place: (IpAddr, Spi)) {
        self.occupied.remove(&place);
    }

    /// Takes an SA from its place. What is sent under is the arbiter's to take off.
    pub(super) fn uproot(&mut self, name: &SaName, workers: &mut impl Workers<K>) {
        let Some(sa) = self.sas.get_mut(name) else { return };
        self.lacking.remove(name);
        sa.home = None;
        if name.direction == Direction::Inbound
            && let Some(handle) = sa.handle.take()
        {
            workers.forget(&handle);
        }
    }

    /// Has its tunnel send under an SA.
    pub(in crate::fleet) fn send(&mut self, name: &SaName, home: &Home, workers: &mut impl Workers<K>) {
        let Some(sa) = self.sas.get_mut(name) else { return };
        if let Some(handle) = sa.handle.take() {
            sa.earlier = sa.earlier.and(workers.usage(&handle));
            sa.first = sa.earlier.newest.saturating_add(LEFT_OUT);
        }
        sa.handle = Some(workers.send(home, &sa.id, &sa.key, sa.first));
    }

    /// Tells an SA from others of its name.
    pub(in crate::fleet) fn arrival(&self, name: &SaName) -> Option<u64> {
        self.sas.get(name).map(|sa| sa.arrival)
    }
}
