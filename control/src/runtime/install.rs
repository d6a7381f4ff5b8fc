//! Brings the wanted security associations onto the workers, step by step, and the leases that let them encrypt.

use std::time::Instant;

use penstock_dataplane::esp::iv::Lease;
use penstock_dataplane::esp::sa::Spi;

use super::Running;
use super::associations::{InstallError, places};
use super::clock::{self, Now};
use super::reload::{SETTLE, SETTLE_STEP};
use super::state::State;
use crate::config::TunnelConfig;
use crate::leases::MAX_KEY_LIFE;
use crate::static_sas::TunnelName;

impl State {
    /// The outside of IPsec tunnels follows their associations. To be compiled and published.
    pub(super) fn shape_tunnels(&mut self) -> bool {
        self.associations.shape(&self.static_sas, &mut self.compiler)
    }

    /// Takes off associations that have had their time. True when the tables must be made again.
    pub(super) fn turn_associations(&mut self) -> bool {
        self.associations.turn(&mut self.dataplane.feed, Instant::now());
        let (negotiated, mut gear) = self.negotiating();
        negotiated.turn(&mut gear, clock::moment());
        negotiated.take_unpublished()
    }

    /// Stops what has been sent under for too long.
    pub(super) fn stop_old_keys(&mut self, now: Now) {
        for ((tenant, tunnel), spi) in self.associations.stop_old_keys(&mut self.dataplane.feed, now) {
            tracing::error!(
                tunnel = format!("{tenant}/{tunnel}"),
                spi = %Spi(spi),
                "a key has been in use for {} days, the longest that is safe: the tunnel sends nothing until the file of \
                 --static-sas has a new outbound security association, with another spi, and is reloaded",
                MAX_KEY_LIFE.as_secs() / (24 * 3600)
            );
        }
    }

    /// There is something to encrypt, or may be soon.
    fn encrypts(&self) -> bool {
        let mut tenants = self.compiler.config().tenants.values();
        tenants.any(|tenant| tenant.tunnels.values().any(TunnelConfig::is_ipsec))
    }
}

impl Running {
    pub(super) fn shape_tunnels(&self) {
        self.lock().shape_tunnels();
    }

    /// Leases for all workers, if there is something to encrypt and they have none.
    pub(super) async fn begin_senders(&mut self) {
        if self.lock().encrypts() && !self.senders.has_begun() {
            if self.fleet.is_some() {
                // They may take minutes; nothing else waits for them.
                self.senders.ask_all();
                self.hand_out(Vec::new());
            } else {
                let came = self.senders.begin(Now::read()).await;
                self.hand_out(came);
            }
        }
    }

    /// Once a second: leases that came or are needed.
    pub(super) fn turn_senders(&mut self) {
        if !self.senders.has_begun() {
            return;
        }
        let ended = self.senders.take_ended(Now::read());
        if !ended.is_empty() {
            tracing::error!(
                workers = ended.len(),
                "sender IDs have come to their end: workers stop to encrypt until new ones come"
            );
            let mut state = self.lock();
            ended.into_iter().for_each(|worker| state.dataplane.feed.end_lease(worker));
        }
        let came = {
            let state = self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            let stats = state.dataplane.workers.iter().map(|worker| &*worker.stats);
            self.senders.turn(stats, Now::read())
        };
        self.hand_out(came);
    }

    fn hand_out(&self, leases: Vec<(usize, Lease)>) {
        let mut state = self.lock();
        for (worker, lease) in leases {
            state.dataplane.feed.lease(worker, lease);
        }
        state.no_lease = self.senders.no_lease().map(str::to_owned);
        state.no_renewal = self.senders.no_renewal().map(str::to_owned);
    }

    /// From the associations that there are to those that are wanted; says what did not work.
    ///
    /// Steps, each on all workers before the next: what is in the way goes; what is new is received; it is sent under;
    /// what is old goes after a while.
    pub(super) async fn install(&self) -> Vec<String> {
        let (sas, places) = {
            let mut state = self.lock();
            let state = &mut *state;
            let places = places(&state.compiler);
            state.associations.make_room(&state.static_sas, &places, &mut state.dataplane.feed);
            (state.static_sas.clone(), places)
        };
        let mut problems = Vec::new();
        problems.extend(self.associations_settled().await);
        let failed = {
            let mut state = self.lock();
            let state = &mut *state;
            state.associations.receive(&sas, &places, &mut state.dataplane.feed)
        };
        problems.extend(failed.into_iter().map(sentence));
        problems.extend(self.associations_settled().await);
        let failed = {
            let mut state = self.lock();
            let state = &mut *state;
            state.associations.send(&sas, &places, &mut state.dataplane.feed, Now::read())
        };
        problems.extend(failed.into_iter().map(sentence));
        problems.extend(self.associations_settled().await);
        let changed = {
            let mut state = self.lock();
            state.associations.retire(&sas, Instant::now());
            state.shape_tunnels()
        };
        if changed {
            self.publish();
        }
        problems
    }

    /// Waits until all workers have what was changed; says if they do not take it.
    async fn associations_settled(&self) -> Option<String> {
        let deadline = Instant::now() + SETTLE;
        loop {
            {
                let mut state = self.lock();
                state.dataplane.feed.turn();
                if state.dataplane.feed.is_applied(state.dataplane.feed.generation()) {
                    return None;
                }
            }
            if Instant::now() > deadline {
                return Some(
                    "not all workers have taken the security associations within 5 s; see `penstock show cores`".into(),
                );
            }
            tokio::time::sleep(SETTLE_STEP).await;
        }
    }
}

fn sentence((tunnel, error): (TunnelName, InstallError)) -> String {
    format!("tunnel {}/{}: {error}", tunnel.0, tunnel.1)
}
