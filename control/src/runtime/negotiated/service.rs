//! What charon's plugin talks to, in place of a kernel: takes the lock for a moment for each call, and waits for the
//! workers without it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use penstock_dataplane::esp::sa::Spi;

use super::{Gear, Negotiated};
use crate::ike::protocol::{
    AddSa, ErrorCode, GetSpi, Hello, Installed, Instance, PolicySpec, Refused, SaId, UpdateSa, Usage,
};
use crate::ike::sad::Moment;
use crate::ike::socket::Kernel;
use crate::runtime::clock;

/// How long workers may take to have a new SA. The plugin gives a call up after 3 s; it hears of this before.
const APPLIED: Duration = Duration::from_secs(2);
/// How often they are looked at meanwhile.
const STEP: Duration = Duration::from_micros(500);

/// Whoever has the state.
pub(crate) trait Host: Send + Sync + 'static {
    /// Works on it, and publishes the tables if they changed. No call lasts for longer than a moment.
    fn with<R>(&self, work: impl FnOnce(&mut Negotiated, &mut Gear<'_>) -> R) -> R;
}

/// charon's kernel.
pub(crate) struct Service<H>(pub(crate) Arc<H>);

impl<H: Host> Service<H> {
    fn call<R>(&self, work: impl FnOnce(&mut Negotiated, &mut Gear<'_>, Moment) -> R) -> R {
        self.0.with(|negotiated, gear| work(negotiated, gear, clock::moment()))
    }

    /// Waits until all workers receive under an SA. If they do not, it goes as if charon had deleted it.
    async fn applied(&self, charon: Instance, id: &SaId, generation: u64) -> Result<(), Refused> {
        let deadline = Instant::now() + APPLIED;
        loop {
            let is_applied = self.0.with(|_, gear| {
                gear.feed.turn();
                gear.feed.is_applied(generation)
            });
            if is_applied {
                return Ok(());
            }
            if Instant::now() > deadline {
                self.call(|negotiated, gear, now| negotiated.delete(charon, id, gear, now))?;
                let reason = "not all workers have taken the SA within 2 s; see `penstock show cores`";
                return Err(Refused::new(ErrorCode::Internal, reason));
            }
            tokio::time::sleep(STEP).await;
        }
    }
}

impl<H: Host> Kernel for Service<H> {
    async fn hello(&self, charon: Instance, versions: Hello) -> Result<(), Refused> {
        tracing::info!(charon = versions.charon, plugin = versions.plugin, "charon is there");
        self.call(|negotiated, gear, _| negotiated.hello(charon, versions.plugin, gear));
        Ok(())
    }

    async fn sync(&self, charon: Instance, installed: Vec<Installed>) -> Result<Vec<SaId>, Refused> {
        let unknown = self.call(|negotiated, gear, now| negotiated.sync(charon, &installed, gear, now))?;
        if !unknown.is_empty() {
            tracing::warn!(
                sas = unknown.len(),
                "charon believes in SAs that are not here; it gives them up, and peers negotiate again"
            );
        }
        Ok(unknown)
    }

    async fn gone(&self, _charon: Instance) {
        tracing::warn!(
            "charon is gone or has closed its connection: tunnels go on to the end of their SAs' lives"
        );
    }

    async fn get_spi(&self, charon: Instance, wanted: GetSpi) -> Result<Spi, Refused> {
        self.call(|negotiated, _, now| negotiated.get_spi(charon, &wanted, now))
    }

    async fn add_sa(&self, charon: Instance, sa: Box<AddSa>) -> Result<(), Refused> {
        let id = sa.id;
        let coming = self.call(|negotiated, gear, now| negotiated.add(charon, *sa, gear, now))?;
        match coming {
            Some(generation) => self.applied(charon, &id, generation).await,
            None => Ok(()),
        }
    }

    async fn update_sa(&self, charon: Instance, change: UpdateSa) -> Result<(), Refused> {
        self.call(|negotiated, gear, _| negotiated.update(charon, &change, gear))
    }

    async fn del_sa(&self, charon: Instance, id: SaId) -> Result<(), Refused> {
        self.call(|negotiated, gear, now| negotiated.delete(charon, &id, gear, now))
    }

    async fn query_sa(&self, charon: Instance, id: SaId) -> Result<Usage, Refused> {
        let usage = self.0.with(|negotiated, gear| negotiated.query(charon, &id, gear))?;
        let idle_s = usage.idle.map(|idle| idle.as_secs());
        Ok(Usage { bytes: usage.bytes, packets: usage.packets, idle_s })
    }

    async fn flush_sas(&self, charon: Instance) -> Result<(), Refused> {
        self.call(|negotiated, gear, now| negotiated.flush(charon, gear, now))
    }

    async fn add_policy(&self, charon: Instance, policy: PolicySpec) -> Result<(), Refused> {
        self.call(|negotiated, gear, now| negotiated.choose(charon, &policy, gear, now))
    }

    /// Packets go on under the SA until it is deleted: charon takes policies out and puts them back when a peer moves.
    async fn del_policy(&self, _charon: Instance, _policy: PolicySpec) -> Result<(), Refused> {
        Ok(())
    }

    async fn flush_policies(&self, _charon: Instance) -> Result<(), Refused> {
        Ok(())
    }
}
