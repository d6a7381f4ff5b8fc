//! charon's calls, behind the lock.

use penstock_dataplane::esp::sa::Spi;

use super::on_feed::OnFeed;
use super::sharing::Told;
use super::{Gear, Negotiated, demand};
use crate::ike::boot_time::BootTime;
use crate::ike::protocol::{
    AddSa, ErrorCode, GetSpi, Installed, Instance, PolicySpec, Refused, SaId, UpdateSa,
};
use crate::ike::sad::{Moment, NewSa, Serial, Usage};

/// What an answer to charon waits for.
pub(super) struct Coming {
    /// Of an inbound SA, the change that brings it onto the workers.
    pub(super) of_workers: Option<u64>,
    /// In a fleet, the change that the other nodes have to have.
    pub(super) told: Option<Told>,
}

impl Negotiated {
    pub(super) fn hello(&mut self, charon: Instance, plugin: String, gear: &mut Gear<'_>) {
        self.plugin = Some(plugin);
        self.sad.hello(charon);
        self.settle(gear);
    }

    pub(super) fn sync(
        &mut self,
        charon: Instance,
        installed: &[Installed],
        gear: &mut Gear<'_>,
        now: Moment,
    ) -> Result<Vec<SaId>, Refused> {
        let outcome = self.sad.sync(charon, installed, &mut self.fleet.workers(&mut OnFeed(gear.feed)), now);
        self.settle(gear);
        outcome
    }

    pub(super) fn get_spi(&mut self, charon: Instance, wanted: &GetSpi, now: Moment) -> Result<Spi, Refused> {
        self.sad.may_negotiate(charon, wanted.dst.ip())?;
        let Some(opened) = &mut self.opened else {
            return Err(Refused::new(ErrorCode::NotReady, "penstock is starting"));
        };
        Ok(opened.spis.allocate(BootTime(now.uptime), |spi| {
            self.sad.is_taken(spi) || self.fleet.foreign().is_taken(spi)
        })?)
    }

    /// Of an inbound SA, what is to be waited for.
    pub(super) fn add(
        &mut self,
        charon: Instance,
        sa: AddSa,
        gear: &mut Gear<'_>,
        now: Moment,
    ) -> Result<Coming, Refused> {
        let key = demand::agreed(&sa, self.tunnels.get(&sa.reqid), gear.backends)?;
        let new = NewSa { id: sa.id, reqid: sa.reqid, encap: sa.flags.encap, lifetimes: sa.lifetimes, key };
        let workers = &mut OnFeed(gear.feed);
        let workers = &mut self.fleet.workers(workers);
        let added = if sa.flags.inbound {
            self.sad.add_inbound(charon, new, workers, now)
        } else {
            self.sad.add_outbound(charon, new, workers, now)
        };
        let of_workers = sa.flags.inbound.then(|| gear.feed.generation());
        if let Ok(serial) = &added {
            self.warn_of_other_selectors(*serial);
            self.write_new(*serial, sa);
        }
        self.settle(gear);
        added.map(|serial| Coming { of_workers, told: self.told(serial).filter(|_| of_workers.is_some()) })
    }

    /// With its keys, which are in the journal from here on and nowhere else but expanded.
    fn write_new(&mut self, serial: Serial, sa: AddSa) {
        let Some(opened) = &mut self.opened else { return };
        opened.spis.settle(sa.id.spi);
        let tunnel = self.tunnels.get(&sa.reqid).map(|tunnel| &tunnel.name);
        if let (Some(tunnel), Some(saved)) = (tunnel, self.sad.saved(serial)) {
            let paired = saved.pair.and_then(|pair| self.sad.get(pair)).map(|sa| sa.id.spi);
            opened.store.add(tunnel, &saved, paired, sa);
        }
        if let Some(sharing) = &mut self.sharing {
            sharing.doubt([serial]);
        }
    }

    /// An SA, or an SPI whose SA does not come.
    pub(super) fn delete(
        &mut self,
        charon: Instance,
        id: &SaId,
        gear: &mut Gear<'_>,
        now: Moment,
    ) -> Result<(), Refused> {
        let outcome = self.sad.delete(charon, id, &mut self.fleet.workers(&mut OnFeed(gear.feed)), now);
        self.settle(gear);
        let was_promised = self.opened.as_mut().is_some_and(|opened| opened.spis.settle(id.spi));
        if was_promised { Ok(()) } else { outcome }
    }

    pub(super) fn update(
        &mut self,
        charon: Instance,
        change: &UpdateSa,
        gear: &mut Gear<'_>,
    ) -> Result<(), Refused> {
        let outcome = self.sad.update(charon, change);
        self.settle(gear);
        outcome
    }

    pub(super) fn query(
        &mut self,
        charon: Instance,
        id: &SaId,
        gear: &mut Gear<'_>,
    ) -> Result<Usage, Refused> {
        self.sad.query(charon, id, &self.fleet.workers(&mut OnFeed(gear.feed)))
    }

    pub(super) fn choose(
        &mut self,
        charon: Instance,
        policy: &PolicySpec,
        gear: &mut Gear<'_>,
        now: Moment,
    ) -> Result<Option<Told>, Refused> {
        let Some(spi) = demand::chosen(policy) else { return Ok(None) };
        let outcome =
            self.sad.choose(charon, policy.reqid, spi, &mut self.fleet.workers(&mut OnFeed(gear.feed)), now);
        self.settle(gear);
        outcome.map(|()| self.sad.current(policy.reqid).and_then(|sa| self.told(sa.serial)))
    }

    pub(super) fn flush(
        &mut self,
        charon: Instance,
        gear: &mut Gear<'_>,
        now: Moment,
    ) -> Result<(), Refused> {
        let outcome = self.sad.flush(charon, &mut self.fleet.workers(&mut OnFeed(gear.feed)), now);
        self.settle(gear);
        outcome
    }
}
