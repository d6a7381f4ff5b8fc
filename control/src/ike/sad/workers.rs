//! What the state machine asks of the workers. The real ones are behind the SA feed; tests have made-up ones.

use std::time::Duration;

use super::Home;
use crate::ike::protocol::SaId;

/// What the other side keeps for an SA.
pub trait Kinds: 'static {
    /// What an SA works with: an expanded key and all that was agreed on.
    type Key;
    /// What the workers have of it.
    type Handle;
}

/// There is no room for another inbound SA.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

/// What went through an SA.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Inner bytes.
    pub bytes: u64,
    /// Packets.
    pub packets: u64,
    /// The largest sequence number received, or given out.
    pub newest: u64,
    /// There is no sequence number left.
    pub exhausted: bool,
    /// Since the last packet; `None`: there was none.
    pub idle: Option<Duration>,
}

impl Usage {
    /// What went through an SA under this handle and a later one.
    pub(crate) fn and(self, later: Self) -> Self {
        Self {
            bytes: self.bytes + later.bytes,
            packets: self.packets + later.packets,
            newest: self.newest.max(later.newest),
            exhausted: later.exhausted,
            idle: match (self.idle, later.idle) {
                (Some(before), Some(now)) => Some(before.min(now)),
                (before, now) => now.or(before),
            },
        }
    }
}

/// All workers together.
pub trait Workers<K: Kinds> {
    /// Has them receive under an SA. Numbers up to `newest` count as received.
    ///
    /// # Errors
    /// When there is no room.
    fn receive(&mut self, home: &Home, id: &SaId, key: &K::Key, newest: u64) -> Result<K::Handle, Full>;

    /// Has them forget an inbound SA.
    fn forget(&mut self, handle: &K::Handle);

    /// Has a tunnel send under an SA, in place of the one before; its first packet has the number `first`.
    fn send(&mut self, home: &Home, id: &SaId, key: &K::Key, first: u64) -> K::Handle;

    /// Has a tunnel send nothing.
    fn stop_sending(&mut self, home: &Home);

    /// Has them drop what comes for an SA, because its life is over.
    fn stop(&mut self, handle: &K::Handle);

    /// What went through an SA.
    fn usage(&self, handle: &K::Handle) -> Usage;
}
