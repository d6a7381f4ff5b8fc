//! ESP in tunnel mode (RFC 4303): out of the tunnel (`open`) and into it (`seal`).
//!
//! A worker owns its table of security associations and its right to make IVs; control changes both by a queue
//! ([`feed`]). Keys are shared and immutable. Any worker can open and seal for any tunnel.

pub mod cipher;
mod dress;
pub mod feed;
mod fetch;
pub mod iv;
pub mod key;
mod key_memory;
pub(crate) mod locate;
mod open;
mod plain;
pub mod replay;
pub mod sa;
mod seal;
pub mod selector;
pub mod suite;
mod table;
mod trailer;

use crate::frame::BURST;
use crate::stats::WorkerStats;
use cipher::{Backend, CipherError, Engine};
use feed::SaReceiver;
use iv::Sender;
pub(crate) use sa::Outbound;
pub(crate) use table::SaTable;

/// What a worker needs for ESP.
pub struct EspParts {
    /// Associations and leases from control.
    pub receiver: SaReceiver,
    /// Encrypts and decrypts.
    pub engine: Engine,
    /// Most inbound associations; those of the feed.
    pub associations: usize,
    /// Most tunnels.
    pub tunnels: usize,
}

impl EspParts {
    /// For a worker without ESP: nobody gives it associations.
    ///
    /// # Errors
    /// When the engine cannot be made.
    pub fn none() -> Result<Self, CipherError> {
        let receiver = SaReceiver::unconnected();
        Ok(Self { receiver, engine: Engine::new(Backend::RustCrypto)?, associations: 0, tunnels: 0 })
    }
}

/// A worker's side of ESP.
pub(crate) struct Esp {
    pub table: SaTable,
    pub engine: Engine,
    /// The right to encrypt; without it nothing is sealed.
    pub sender: Option<Sender>,
    receiver: SaReceiver,
    /// The sequence numbers of a burst that is being opened.
    numbers: [u64; BURST],
}

impl Esp {
    pub fn new(parts: EspParts) -> Self {
        Self {
            table: SaTable::new(parts.associations, parts.tunnels),
            engine: parts.engine,
            sender: None,
            receiver: parts.receiver,
            numbers: [0; BURST],
        }
    }

    /// Takes changes of control; between bursts.
    #[inline(always)]
    pub fn adopt(&mut self, stats: &WorkerStats) {
        if self.receiver.take(&mut self.table, &mut self.sender, stats) {
            self.tell(stats);
        }
    }

    /// Says how much of the lease is left.
    #[inline(never)]
    pub fn tell(&self, stats: &WorkerStats) {
        let (shown, left) = self
            .sender
            .as_ref()
            .map_or((0, 0), |sender| (u64::from(sender.id().get()) + 1, sender.remaining()));
        stats.sender_id.set(shown);
        stats.ivs_left.set(left);
    }
}
