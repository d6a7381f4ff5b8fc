//! What a tunnel sends under.

use super::life::Moment;
use super::sa::{Direction, Sa, Serial, Stage};
use super::workers::{Kinds, Workers};
use super::{Notice, Sad, refill};

/// Numbers that are left out when an SA is sent under again: the workers may have given some that nobody has heard of.
pub(super) const NUMBERS_LEFT_OUT: u64 = 1 << 24;

impl<K: Kinds> Sad<K> {
    pub(super) fn is_current(&self, reqid: u32, serial: Serial) -> bool {
        self.tunnels.get(&reqid).is_some_and(|tunnel| tunnel.current == Some(serial))
    }

    /// Whether a tunnel sends under something that is not stopped.
    pub(super) fn sends(&self, reqid: u32) -> bool {
        self.current(reqid).is_some_and(|sa| sa.stage == Stage::Live)
    }

    /// The peer's first packet under an inbound SA makes the outbound one of the pair current.
    pub(super) fn switch_to_what_peers_use(&mut self, workers: &mut impl Workers<K>, now: Moment) {
        let shown = |serial: &&Serial| {
            let pair = self.sas.get(serial).and_then(|sa| self.sas.get(&sa.pair?));
            pair.is_some_and(|inbound| inbound.usage(workers).packets > 0)
        };
        for serial in self.armed.iter().filter(shown).copied().collect::<Vec<_>>() {
            let Some(reqid) = self.sas.get(&serial).map(|sa| sa.reqid) else { continue };
            self.disarm(reqid, serial.0 + 1);
            self.send_under(serial, workers, now);
        }
    }

    /// The outbound SAs of a tunnel that came before wait for charon, no more for the peer. Returned are those that did.
    pub(super) fn disarm(&mut self, reqid: u32, before: u64) -> Vec<Serial> {
        let Some(tunnel) = self.tunnels.get(&reqid) else { return Vec::new() };
        let older = tunnel.outbound.iter().filter(|serial| serial.0 < before);
        older.filter(|serial| self.armed.remove(serial)).copied().collect()
    }

    /// The tunnel sends under this SA. Orphans have had their time if it is not one of them.
    pub(super) fn send_under(&mut self, serial: Serial, workers: &mut impl Workers<K>, now: Moment) {
        let Some(reqid) = self.sas.get(&serial).map(|sa| sa.reqid) else { return };
        let Some(tunnel) = self.tunnels.get_mut(&reqid) else { return };
        if tunnel.current == Some(serial) {
            return;
        }
        let (home, before) = (tunnel.home, tunnel.current.replace(serial));
        if let Some(sa) = self.sas.get_mut(&serial) {
            if let Some(handle) = sa.handle.take() {
                let usage = workers.usage(&handle);
                sa.earlier = sa.earlier.and(usage);
                sa.first = sa.earlier.newest.saturating_add(NUMBERS_LEFT_OUT);
                // That may be beyond what the journal allows for.
                sa.progress.sequence = sa.progress.sequence.max(refill::beyond(sa.first, 0));
            }
            sa.handle = Some(workers.send(&home, &sa.id, &sa.key, sa.first));
            sa.was_replaced = false;
            self.notices.push(Notice::Switched { reqid, to: Some(sa.id.spi) });
        }
        self.changed(serial);
        if let Some(before) = before.filter(|before| self.sas.contains_key(before)) {
            if let Some(sa) = self.sas.get_mut(&before) {
                sa.was_replaced = true;
            }
            self.changed(before);
        }
        self.reshaped.insert(reqid);
        if self.sas.get(&serial).is_some_and(|sa| !self.is_orphan(sa)) {
            let orphans = self.of_tunnel(reqid).filter(|sa| self.is_orphan(sa)).map(|sa| sa.serial);
            for orphan in orphans.collect::<Vec<_>>() {
                self.retire(orphan, workers, now);
            }
        }
    }

    /// The tunnel sends under the best SA that is left; under nothing if there is none. One that was stopped stays, so
    /// that packets are dropped for that reason.
    pub(super) fn send_under_the_best(&mut self, reqid: u32, workers: &mut impl Workers<K>, now: Moment) {
        let worth = |sa: &&Sa<K>| (!self.is_orphan(sa), !sa.was_replaced, sa.chosen, sa.serial);
        let live = |sa: &&Sa<K>| sa.direction == Direction::Outbound && sa.stage == Stage::Live;
        let best = self.of_tunnel(reqid).filter(live).max_by_key(worth).map(|sa| sa.serial);
        if let Some(best) = best {
            self.send_under(best, workers, now);
            return;
        }
        let Some(tunnel) = self.tunnels.get_mut(&reqid) else { return };
        if tunnel.current.is_some_and(|current| self.sas.contains_key(&current)) {
            return;
        }
        if tunnel.current.take().is_some() {
            workers.stop_sending(&tunnel.home);
            self.notices.push(Notice::Switched { reqid, to: None });
        }
    }
}
