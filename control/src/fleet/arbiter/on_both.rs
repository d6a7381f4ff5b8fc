//! The workers as `Sad` sees them.

use super::{Arbiter, Arbitrated, Held, Wish};
use crate::fleet::foreign::Foreign;
use crate::ike::protocol::SaId;
use crate::ike::sad::{Full, Home, Kinds, Usage, Workers};

/// The workers, and who decides what is sent under. Inbound SAs go through; what is to be sent under is written down.
pub struct OnBoth<'a, K: Kinds, W> {
    pub(in crate::fleet) arbiter: &'a mut Arbiter<K>,
    pub(in crate::fleet) foreign: &'a mut Foreign<K>,
    pub(in crate::fleet) workers: &'a mut W,
}

impl<K: Kinds, W: Workers<K>> Workers<Arbitrated<K>> for OnBoth<'_, K, W>
where
    K::Key: Clone,
{
    fn receive(
        &mut self,
        home: &Home,
        id: &SaId,
        key: &K::Key,
        newest: u64,
    ) -> Result<Held<K::Handle>, Full> {
        let place = (home.local, id.spi);
        // SPIs name the node that gave them out, so there is another's only if nodes have one number.
        self.foreign.make_way(place, self.workers);
        let handle = self.workers.receive(home, id, key, newest)?;
        self.foreign.occupy(place);
        Ok(Held::inbound(place, handle))
    }

    fn forget(&mut self, held: &Held<K::Handle>) {
        if let Some(handle) = held.installed() {
            self.workers.forget(&handle);
        }
        if let Some(place) = held.place() {
            self.foreign.vacate(place);
        }
    }

    fn send(&mut self, home: &Home, id: &SaId, key: &K::Key, first: u64) -> Held<K::Handle> {
        let held = Held::outbound(home.tunnel, first);
        self.arbiter.wish(Wish { home: *home, id: *id, key: key.clone(), held: held.clone(), number: 0 });
        held
    }

    fn stop_sending(&mut self, home: &Home) {
        self.arbiter.wish_nothing(home);
    }

    fn stop(&mut self, held: &Held<K::Handle>) {
        if let Some(tunnel) = held.stop(self.workers) {
            self.arbiter.changed.insert(tunnel);
        }
    }

    fn usage(&self, held: &Held<K::Handle>) -> Usage {
        held.usage(self.workers)
    }
}

impl<K: Kinds> Arbiter<K> {
    fn wish(&mut self, wish: Wish<K>) {
        self.wishes += 1;
        let tunnel = wish.home.tunnel;
        self.changed.insert(tunnel);
        let known = self.tunnels.entry(tunnel).or_insert(super::Tunnel { wish: None, on_workers: None });
        known.wish = Some(Wish { number: self.wishes, ..wish });
    }

    fn wish_nothing(&mut self, home: &Home) {
        self.changed.insert(home.tunnel);
        if let Some(known) = self.tunnels.get_mut(&home.tunnel) {
            known.wish.take_if(|wish| wish.home == *home);
        }
    }
}
