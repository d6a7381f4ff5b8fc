//! What charon asks for, one call at a time. Each call either does all of it, or refuses and changes nothing.

use std::net::SocketAddr;

use penstock_dataplane::esp::sa::Spi;

use super::life::Moment;
use super::sa::{Direction, NewSa, Sa, Serial, Stage};
use super::workers::{Full, Kinds, Usage, Workers};
use super::{GRACE, Sad};
use crate::ike::protocol::{ErrorCode, Instance, Refused, SaId, UpdateSa};

/// Inbound SAs that make room at once where there is none.
const MAKE_ROOM: usize = 64;

impl<K: Kinds> Sad<K> {
    /// Has the workers receive under an SA.
    ///
    /// # Errors
    /// When there is no such tunnel, the SPI is in use, or there is no room.
    pub fn add_inbound(
        &mut self,
        charon: Instance,
        new: NewSa<K>,
        workers: &mut impl Workers<K>,
        now: Moment,
    ) -> Result<Serial, Refused> {
        self.admit(charon)?;
        let home = self.home(&new, new.id.dst)?;
        let taken = |sa: &Sa<K>| sa.direction == Direction::Inbound && sa.id.dst.ip() == new.id.dst.ip();
        if self.with_spi(new.id.spi).any(taken) {
            let reason = format!("SPI {} is in use at {} already", new.id.spi, new.id.dst.ip());
            return Err(Refused::new(ErrorCode::Refused, reason));
        }
        let handle = match workers.receive(&home, &new.id, &new.key, 0) {
            Ok(handle) => handle,
            Err(Full) => {
                self.make_room(workers, now);
                let reason = "there is no room for another inbound SA on the workers";
                return Err(Refused::new(ErrorCode::NoRoom, reason));
            }
        };
        let serial = self.insert(charon, Direction::Inbound, new, now);
        if let Some(sa) = self.sas.get_mut(&serial) {
            sa.handle = Some(handle);
        }
        Ok(serial)
    }

    /// Takes an SA that a tunnel may send under. It does at once if it sends under none.
    ///
    /// # Errors
    /// When there is no such tunnel, or it has this SA.
    pub fn add_outbound(
        &mut self,
        charon: Instance,
        new: NewSa<K>,
        workers: &mut impl Workers<K>,
        now: Moment,
    ) -> Result<Serial, Refused> {
        self.admit(charon)?;
        self.home(&new, new.id.src)?;
        let same = |sa: &&Sa<K>| {
            sa.direction == Direction::Outbound && sa.reqid == new.reqid && sa.id.dst.ip() == new.id.dst.ip()
        };
        let before = self.with_spi(new.id.spi).find(same).map(|sa| {
            let is_in_use = !self.is_orphan(sa) && sa.stage == Stage::Live;
            (sa.serial, is_in_use)
        });
        match before {
            Some((_, true)) => {
                let reason = format!("the tunnel has {} already", new.id);
                return Err(Refused::new(ErrorCode::Refused, reason));
            }
            Some((serial, false)) => self.remove(serial, workers, now),
            None => {}
        }
        let (reqid, pair) = (new.reqid, self.unpaired(charon, &new));
        let serial = self.insert(charon, Direction::Outbound, new, now);
        if let Some(sa) = self.sas.get_mut(&serial) {
            sa.pair = pair;
        }
        if let Some(inbound) = pair.and_then(|pair| self.sas.get_mut(&pair)) {
            inbound.pair = Some(serial);
            let inbound = inbound.serial;
            self.changed(inbound);
        }
        if pair.is_some() {
            self.armed.insert(serial);
        }
        if !self.sends(reqid) {
            self.send_under_the_best(reqid, workers, now);
        }
        // It is written whole, as it is now.
        self.changes.remove(&serial);
        Ok(serial)
    }

    /// charon wants a tunnel to send under this SPI.
    ///
    /// # Errors
    /// When the tunnel has no such SA.
    pub fn choose(
        &mut self,
        charon: Instance,
        reqid: u32,
        spi: Spi,
        workers: &mut impl Workers<K>,
        now: Moment,
    ) -> Result<(), Refused> {
        self.admit(charon)?;
        let named = |sa: &&Sa<K>| {
            sa.direction == Direction::Outbound
                && sa.id.spi == spi
                && sa.charon == charon
                && sa.stage == Stage::Live
        };
        let Some(serial) = self.of_tunnel(reqid).find(named).map(|sa| sa.serial) else {
            let reason = format!("reqid {reqid} has no outbound SA with SPI {spi}");
            return Err(Refused::new(ErrorCode::NotFound, reason));
        };
        self.choices += 1;
        if let Some(sa) = self.sas.get_mut(&serial) {
            sa.chosen = self.choices;
        }
        // What was there before is decided over. A peer that goes on under one of them does not change that.
        for passed_over in self.disarm(reqid, self.next_serial) {
            if let Some(sa) = self.sas.get_mut(&passed_over).filter(|sa| sa.serial != serial) {
                sa.was_replaced = true;
                self.changed(passed_over);
            }
        }
        self.send_under(serial, workers, now);
        Ok(())
    }

    /// Other addresses for an SA.
    ///
    /// # Errors
    /// When there is no such SA, or our own address changes.
    pub fn update(&mut self, charon: Instance, change: &UpdateSa) -> Result<(), Refused> {
        self.admit(charon)?;
        let serial = self.find(charon, &change.id)?;
        let Some(sa) = self.sas.get_mut(&serial) else { return Err(unknown(&change.id)) };
        let (ours, before) = match sa.direction {
            Direction::Inbound => (change.dst.ip(), sa.id.dst.ip()),
            Direction::Outbound => (change.src.ip(), sa.id.src.ip()),
        };
        if ours != before {
            let reason = format!("an SA does not move from our endpoint {before} to {ours}");
            return Err(Refused::new(ErrorCode::Refused, reason));
        }
        (sa.id.src, sa.id.dst, sa.encap) = (change.src, change.dst, change.new_encap);
        let reqid = sa.reqid;
        self.reshaped.insert(reqid);
        self.changed(serial);
        Ok(())
    }

    /// An SA goes: an inbound one after [`GRACE`].
    ///
    /// # Errors
    /// When there is no such SA.
    pub fn delete(
        &mut self,
        charon: Instance,
        id: &SaId,
        workers: &mut impl Workers<K>,
        now: Moment,
    ) -> Result<(), Refused> {
        self.admit(charon)?;
        let serial = self.find(charon, id)?;
        self.retire(serial, workers, now);
        Ok(())
    }

    /// What went through an SA.
    ///
    /// # Errors
    /// When there is no such SA.
    pub fn query(&self, charon: Instance, id: &SaId, workers: &impl Workers<K>) -> Result<Usage, Refused> {
        let serial = self.find(charon, id)?;
        let sa = self.sas.get(&serial).ok_or_else(|| unknown(id))?;
        Ok(sa.usage(workers))
    }

    /// All SAs of this charon go, as if each was deleted.
    ///
    /// # Errors
    /// When another charon is there.
    pub fn flush(
        &mut self,
        charon: Instance,
        workers: &mut impl Workers<K>,
        now: Moment,
    ) -> Result<(), Refused> {
        self.admit(charon)?;
        let mut all: Vec<Serial> =
            self.sas.values().filter(|sa| sa.charon == charon).map(|sa| sa.serial).collect();
        all.sort_unstable();
        for serial in all {
            self.retire(serial, workers, now);
        }
        Ok(())
    }

    /// What charon does not want any more.
    pub(super) fn retire(&mut self, serial: Serial, workers: &mut impl Workers<K>, now: Moment) {
        let Some(sa) = self.sas.get_mut(&serial) else { return };
        match (sa.direction, sa.stage) {
            (Direction::Inbound, Stage::Live) => {
                sa.stage = Stage::Retiring { until: now.uptime + GRACE };
                self.changed(serial);
                self.watch(serial, now);
            }
            (Direction::Inbound, Stage::Retiring { .. }) => {}
            (Direction::Inbound, Stage::Stopped { .. }) | (Direction::Outbound, _) => {
                self.remove(serial, workers, now);
            }
        }
    }

    /// Takes an SA off the workers and forgets it.
    pub(super) fn remove(&mut self, serial: Serial, workers: &mut impl Workers<K>, now: Moment) {
        let Some(sa) = self.strike(serial) else { return };
        match sa.direction {
            Direction::Inbound => {
                if let Some(handle) = &sa.handle {
                    workers.forget(handle);
                }
            }
            Direction::Outbound if self.is_current(sa.reqid, serial) => {
                self.send_under_the_best(sa.reqid, workers, now);
            }
            Direction::Outbound => {}
        }
    }

    fn insert(&mut self, charon: Instance, direction: Direction, new: NewSa<K>, now: Moment) -> Serial {
        let serial = Serial(self.next_serial);
        self.next_serial += 1;
        let reqid = new.reqid;
        self.place(Sa::new(serial, charon, direction, new, now));
        self.reshaped.insert(reqid);
        self.watch(serial, now);
        serial
    }

    /// Puts an SA where it is found.
    pub(super) fn place(&mut self, sa: Sa<K>) {
        let serial = sa.serial;
        if let Some(tunnel) = self.tunnels.get_mut(&sa.reqid) {
            match sa.direction {
                Direction::Inbound => tunnel.inbound.push(serial),
                Direction::Outbound => tunnel.outbound.push(serial),
            }
        }
        self.by_spi.insert((sa.id.spi, serial));
        if sa.is_near_a_limit(sa.earlier) {
            self.near.insert(serial);
        }
        self.sas.insert(serial, sa);
    }

    /// The tunnel that an SA is for, which must end at the address that the SA has for us.
    fn home(&self, new: &NewSa<K>, ours: SocketAddr) -> Result<super::Home, Refused> {
        let Some(tunnel) = self.tunnels.get(&new.reqid) else {
            let reason = format!("no tunnel of the configuration has reqid {}", new.reqid);
            return Err(Refused::new(ErrorCode::Refused, reason));
        };
        if tunnel.home.local != ours.ip() {
            let reason = format!("the tunnel ends at {}, not at {}", tunnel.home.local, ours.ip());
            return Err(Refused::new(ErrorCode::Refused, reason));
        }
        if new.id.spi < Spi::FIRST {
            let reason = format!("SPI {} is reserved (RFC 4303 section 2.1)", new.id.spi);
            return Err(Refused::new(ErrorCode::Refused, reason));
        }
        Ok(tunnel.home)
    }

    /// The inbound SA that belongs to a new outbound one: the newest without another, with the same ends.
    fn unpaired(&self, charon: Instance, new: &NewSa<K>) -> Option<Serial> {
        let fits = |sa: &&Sa<K>| {
            sa.direction == Direction::Inbound
                && sa.pair.is_none()
                && sa.charon == charon
                && sa.stage == Stage::Live
                && (sa.id.src, sa.id.dst) == (new.id.dst, new.id.src)
        };
        self.of_tunnel(new.reqid).filter(fits).last().map(|sa| sa.serial)
    }

    pub(super) fn with_spi(&self, spi: Spi) -> impl Iterator<Item = &Sa<K>> {
        let named = self.by_spi.range((spi, Serial(0))..=(spi, Serial(u64::MAX)));
        named.filter_map(|(_, serial)| self.sas.get(serial))
    }

    /// The SA that charon means. Our side of it is as it says. An inbound one's peer may have moved without the one or the
    /// other having heard of it; SPIs of outbound ones are chosen by peers, and several may choose the same.
    pub(super) fn find(&self, charon: Instance, id: &SaId) -> Result<Serial, Refused> {
        let ours = |sa: &&Sa<K>| {
            let is_named = match sa.direction {
                Direction::Inbound => sa.local().ip() == id.dst.ip(),
                Direction::Outbound => sa.local().ip() == id.src.ip() && sa.peer().ip() == id.dst.ip(),
            };
            sa.charon == charon && is_named
        };
        let likeness = |sa: &&Sa<K>| {
            let peer = match sa.direction {
                Direction::Inbound => id.src,
                Direction::Outbound => id.dst,
            };
            (sa.peer() == peer, sa.peer().ip() == peer.ip(), sa.serial)
        };
        let found = self.with_spi(id.spi).filter(ours).max_by_key(likeness);
        found.map(|sa| sa.serial).ok_or_else(|| unknown(id))
    }

    /// Deleted SAs make room before their time, the oldest first.
    fn make_room(&mut self, workers: &mut impl Workers<K>, now: Moment) {
        let retiring = |sa: &&Sa<K>| matches!(sa.stage, Stage::Retiring { .. });
        let mut oldest: Vec<Serial> = self.sas.values().filter(retiring).map(|sa| sa.serial).collect();
        oldest.sort_unstable();
        for serial in oldest.into_iter().take(MAKE_ROOM) {
            self.remove(serial, workers, now);
        }
    }
}

fn unknown(id: &SaId) -> Refused {
    Refused::new(ErrorCode::NotFound, format!("there is no SA with {id}"))
}
