//! Negotiated SAs on the real workers.

use penstock_dataplane::esp::feed::{SaFeed, SaHandle};

use super::super::associations::specs::{self, Agreed, Ends};
use super::super::associations::{InstallError, Numbers};
use crate::ike::protocol::SaId;
use crate::ike::sad::{Direction, Full, Home, Kinds, Usage, Workers};

/// What the real workers have of an SA.
pub(crate) struct Installed {
    pub(crate) handle: SaHandle,
    /// Outbound: who numbers the packets, and where that ends.
    pub(crate) sending: Option<Numbered>,
}

/// The numbers of an outbound SA.
#[derive(Clone, Copy)]
pub(crate) struct Numbered {
    pub(crate) by: Numbers,
    pub(crate) soft_limit: u64,
    pub(crate) hard_limit: u64,
}

/// The real thing.
pub(crate) struct Real;

impl Kinds for Real {
    type Key = Agreed;
    type Handle = Installed;
}

/// The workers behind their feed.
pub(super) struct OnFeed<'f>(pub(super) &'f mut SaFeed);

impl Workers<Real> for OnFeed<'_> {
    fn receive(&mut self, home: &Home, id: &SaId, key: &Agreed, newest: u64) -> Result<Installed, Full> {
        match specs::receive(id.spi.0, key, ends(home, id, Direction::Inbound), newest, self.0) {
            Ok(handle) => Ok(Installed { handle, sending: None }),
            Err(InstallError::Full(_)) => Err(Full),
            Err(error) => {
                // Keys and windows were looked at when the SA came.
                tracing::error!(%id, %error, "an SA could not be installed, which is a bug");
                Err(Full)
            }
        }
    }

    fn forget(&mut self, installed: &Installed) {
        self.0.remove_inbound(&installed.handle);
    }

    fn send(&mut self, home: &Home, id: &SaId, key: &Agreed, first: u64) -> Installed {
        let sending = specs::send(id.spi.0, key, ends(home, id, Direction::Outbound), first, self.0);
        let specs::Sending { numbers: by, soft_limit, hard_limit, handle } = sending;
        Installed { handle, sending: Some(Numbered { by, soft_limit, hard_limit }) }
    }

    fn stop_sending(&mut self, home: &Home) {
        self.0.clear_outbound(home.tunnel);
    }

    fn stop(&mut self, installed: &Installed) {
        installed.handle.stop();
    }

    fn usage(&self, installed: &Installed) -> Usage {
        let handle = &installed.handle;
        let newest = handle.newest_sequence();
        Usage {
            bytes: handle.total(|counters| &counters.bytes),
            packets: handle.total(|counters| &counters.packets),
            newest,
            exhausted: installed.sending.is_some_and(|numbers| newest >= numbers.hard_limit),
            idle: idle(handle),
        }
    }
}

fn ends(home: &Home, id: &SaId, direction: Direction) -> Ends {
    let remote = match direction {
        Direction::Inbound => id.src.ip(),
        Direction::Outbound => id.dst.ip(),
    };
    Ends { tunnel: home.tunnel, incarnation: home.incarnation, endpoint: home.endpoint, remote }
}

/// Time since the last packet.
pub(crate) fn idle(handle: &SaHandle) -> Option<std::time::Duration> {
    let used = handle.counters().filter(|counters| counters.packets.get() > 0);
    let newest = used.map(|counters| counters.last_used.get()).max()?;
    let cycles = dpdk::cycles::rdtsc().saturating_sub(newest);
    Some(std::time::Duration::from_secs_f64(cycles as f64 / dpdk::cycles::tsc_hz().max(1) as f64))
}
