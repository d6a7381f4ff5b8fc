//! Joins the pump of the twins with the workers' queues.

use std::sync::{Arc, Mutex, PoisonError};

use dpdk::{Mbuf, Mempool};
use penstock_dataplane::ids::InterfaceId;
use penstock_dataplane::punt::{Injector, PuntReceiver};
use penstock_dataplane::tables::Interfaces;

use crate::kernel::pump::{FrameLink, Full};

/// Frames taken from the workers in one round of the pump.
const PUNT_BATCH: usize = 256;

/// The interfaces of the running tables, for the pump.
#[derive(Clone, Default)]
pub(super) struct SharedInterfaces(Arc<Mutex<Arc<Interfaces>>>);

impl SharedInterfaces {
    /// Replaces them.
    pub(super) fn set(&self, interfaces: Arc<Interfaces>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = interfaces;
    }

    fn get(&self) -> Arc<Interfaces> {
        Arc::clone(&self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// All workers, as the pump sees them.
pub(super) struct WorkersLink {
    pub(super) punts: PuntReceiver<Mbuf>,
    pub(super) injectors: Vec<Injector<Mbuf, Mempool>>,
    pub(super) interfaces: SharedInterfaces,
}

impl FrameLink for WorkersLink {
    fn poll_punts(&mut self, take: &mut dyn FnMut(InterfaceId, &[u8])) -> usize {
        self.punts.drain(PUNT_BATCH, take)
    }

    fn inject(&mut self, interface: InterfaceId, frame: &[u8]) -> Result<(), Full> {
        let interfaces = self.interfaces.get();
        let port = interfaces.get(interface).ok_or(Full)?.port;
        // One worker for each interface keeps the kernel's frames in order.
        let worker = interface.index() % self.injectors.len().max(1);
        let injector = self.injectors.get_mut(worker).ok_or(Full)?;
        injector.inject(port, frame).map_err(|_| Full)
    }
}
