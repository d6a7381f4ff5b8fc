//! What `Sad` keeps of its SAs: as the workers have them, or would have them.
//!
//! An outbound one may be off the workers while `Sad` believes it sent under. Its counters go on where they were, and its
//! numbers after those that were given out.

use std::marker::PhantomData;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use penstock_dataplane::esp::sa::Spi;
use penstock_dataplane::ids::TunnelId;

use crate::fleet::LEFT_OUT;
use crate::ike::protocol::SaId;
use crate::ike::sad::{Home, Kinds, Usage, Workers};

/// Makes what `Sad` works with of what the workers work with.
pub struct Arbitrated<K>(PhantomData<K>);

impl<K: Kinds> Kinds for Arbitrated<K> {
    type Key = K::Key;
    type Handle = Held<K::Handle>;
}

/// What `Sad` has of an SA. Cheap to clone.
pub struct Held<H>(Kept<H>);

enum Kept<H> {
    Inbound {
        /// Our address and the SPI.
        place: (IpAddr, Spi),
        handle: Arc<H>,
    },
    Outbound(Arc<Mutex<Slot<H>>>),
}

/// An outbound SA of this node.
struct Slot<H> {
    tunnel: TunnelId,
    /// What the workers have, or had last.
    handle: Option<Arc<H>>,
    /// What went through it under handles before that.
    earlier: Usage,
    /// The first number to give.
    first: u64,
    /// Its life is over.
    is_stopped: bool,
}

impl<H> Clone for Held<H> {
    fn clone(&self) -> Self {
        Self(match &self.0 {
            Kept::Inbound { place, handle } => Kept::Inbound { place: *place, handle: Arc::clone(handle) },
            Kept::Outbound(slot) => Kept::Outbound(Arc::clone(slot)),
        })
    }
}

impl<H> Held<H> {
    pub(super) fn inbound(place: (IpAddr, Spi), handle: H) -> Self {
        Self(Kept::Inbound { place, handle: Arc::new(handle) })
    }

    /// Our address and the SPI of an inbound one.
    pub(super) fn place(&self) -> Option<(IpAddr, Spi)> {
        match &self.0 {
            Kept::Inbound { place, .. } => Some(*place),
            Kept::Outbound(_) => None,
        }
    }

    /// Not on the workers yet.
    pub(super) fn outbound(tunnel: TunnelId, first: u64) -> Self {
        let earlier = Usage::default();
        Self(Kept::Outbound(Arc::new(Mutex::new(Slot {
            tunnel,
            handle: None,
            earlier,
            first,
            is_stopped: false,
        }))))
    }

    /// What the workers have of it, or had last. `None`: it never was on them.
    pub fn installed(&self) -> Option<Arc<H>> {
        match &self.0 {
            Kept::Inbound { handle, .. } => Some(Arc::clone(handle)),
            Kept::Outbound(slot) => lock(slot).handle.clone(),
        }
    }

    pub(super) fn is_stopped(&self) -> bool {
        matches!(&self.0, Kept::Outbound(slot) if lock(slot).is_stopped)
    }

    /// Its life is over, whether it is on the workers or not. Returned is the tunnel of an outbound one.
    pub(super) fn stop<K: Kinds<Handle = H>>(&self, workers: &mut impl Workers<K>) -> Option<TunnelId> {
        if let Some(handle) = self.installed() {
            workers.stop(&handle);
        }
        let Kept::Outbound(slot) = &self.0 else { return None };
        let mut slot = lock(slot);
        slot.is_stopped = true;
        Some(slot.tunnel)
    }

    /// What went through it.
    pub(in crate::fleet) fn usage<K: Kinds<Handle = H>>(&self, workers: &impl Workers<K>) -> Usage {
        match &self.0 {
            Kept::Inbound { handle, .. } => workers.usage(handle),
            Kept::Outbound(slot) => {
                let slot = lock(slot);
                slot.handle.as_ref().map_or(slot.earlier, |handle| slot.earlier.and(workers.usage(handle)))
            }
        }
    }

    /// Has its tunnel send under it, after all numbers that it may have given out before.
    pub(super) fn send<K: Kinds<Handle = H>>(
        &self,
        home: &Home,
        id: &SaId,
        key: &K::Key,
        workers: &mut impl Workers<K>,
    ) {
        let Kept::Outbound(slot) = &self.0 else { return };
        let mut slot = lock(slot);
        if let Some(handle) = slot.handle.take() {
            slot.earlier = slot.earlier.and(workers.usage(&handle));
            slot.first = slot.earlier.newest.saturating_add(LEFT_OUT).max(slot.first);
        }
        let handle = workers.send(home, id, key, slot.first);
        if slot.is_stopped {
            workers.stop(&handle);
        }
        slot.handle = Some(Arc::new(handle));
    }
}

/// All is under one lock of the runtime already; this one is never waited for.
fn lock<H>(slot: &Mutex<Slot<H>>) -> MutexGuard<'_, Slot<H>> {
    slot.lock().unwrap_or_else(PoisonError::into_inner)
}
