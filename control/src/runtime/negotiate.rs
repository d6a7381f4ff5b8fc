//! When tunnels of the configuration negotiate: goes on where the run before this one ended, and serves charon's plugin.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::error::RuntimeError;
use super::negotiated::sharing::Told;
use super::negotiated::{Gear, Host, Negotiated, Service};
use super::state::State;
use super::{Running, clock, fleet};
use crate::config::TunnelConfig;
use crate::ike::protocol::Instance;
use crate::ike::socket::{self, Limits};
use crate::local_socket;

/// The socket of charon's plugin, while it is served.
pub(super) struct Served {
    stop: oneshot::Sender<()>,
    ended: JoinHandle<()>,
}

impl State {
    /// There is a tunnel that negotiates.
    fn negotiates(&self) -> bool {
        let mut tenants = self.compiler.config().tenants.values();
        tenants.any(|tenant| tenant.tunnels.values().any(|tunnel: &TunnelConfig| tunnel.ike().is_some()))
    }

    /// Puts negotiated associations back on the workers, if there are such tunnels and that was not done yet.
    ///
    /// # Errors
    /// When the run directory cannot be used.
    pub(super) fn open_negotiated(&mut self) -> Result<(), RuntimeError> {
        if self.negotiated.is_open() || !self.negotiates() {
            return Ok(());
        }
        // From now on there are keys in memory: no core dump, no debugger of our user.
        super::hide_memory();
        let run = self.compiler.config().ike.run.clone();
        let (negotiated, mut gear) = self.negotiating();
        Ok(negotiated.open(&run, &mut gear, clock::moment())?)
    }

    /// Once a second: what negotiated associations have used up.
    pub(super) fn check_negotiated(&mut self) {
        let (negotiated, mut gear) = self.negotiating();
        negotiated.check(&mut gear, clock::moment());
        self.publish_negotiated();
    }

    fn publish_negotiated(&mut self) {
        if self.negotiated.take_unpublished() {
            self.publish();
        }
    }
}

impl Host for Mutex<State> {
    async fn everywhere(&self, told: Option<Told>) {
        if let Some(told) = told {
            fleet::everywhere(self, told).await;
        }
    }

    fn with<R>(&self, work: impl FnOnce(&mut Negotiated, &mut Gear<'_>) -> R) -> R {
        let mut state = self.lock().unwrap_or_else(PoisonError::into_inner);
        let (negotiated, mut gear) = state.negotiating();
        let outcome = work(negotiated, &mut gear);
        // In one go with what the workers are told of the association.
        state.publish_negotiated();
        outcome
    }
}

impl Running {
    /// Serves charon's plugin, if there are tunnels that negotiate and it is not served yet.
    ///
    /// # Errors
    /// When the socket cannot be taken.
    pub(super) fn serve_charon(&mut self) -> Result<(), RuntimeError> {
        let (events, path) = {
            let state = self.lock();
            let Some(events) = state.negotiated.events().filter(|_| self.charon.is_none()) else {
                return Ok(());
            };
            (events, state.compiler.config().ike.plugin_socket.clone())
        };
        let socket = local_socket::bind(&path, "ike.plugin_socket")?;
        let (stop, stopped) = oneshot::channel::<()>();
        let service = Arc::new(Service(Arc::clone(&self.state)));
        // Another one than that of the run before, whether there is chance to be had or not.
        let by_time = || clock::moment().uptime.as_nanos() as u64;
        let us = Instance(getrandom::u64().unwrap_or_else(|_| by_time()));
        let ended = tokio::spawn(async move {
            let shutdown = async {
                let _ = stopped.await;
            };
            if let Err(error) = socket::serve(socket, us, service, events, Limits::default(), shutdown).await
            {
                tracing::error!(%error, "the socket of charon's plugin is not served");
            }
        });
        tracing::info!(socket = %path.display(), "tunnels negotiate by charon's plugin");
        self.charon = Some(Served { stop, ended });
        Ok(())
    }
}

impl Served {
    /// Answers what is under way, and lets nobody in any more.
    pub(super) async fn end(self) {
        let _ = self.stop.send(());
        // Its own bounds hold; a panic was said.
        let _ = self.ended.await;
    }
}
