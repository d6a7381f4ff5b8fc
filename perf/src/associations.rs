//! The security associations of a scenario, given to workers by a feed as control does it.

use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use anyhow::{Context, Result, anyhow};
use penstock_dataplane::esp::cipher::Cipher;
use penstock_dataplane::esp::feed::{SaFeed, SaHandle};
use penstock_dataplane::esp::iv::{Lease, LeaseStore, SenderId};
use penstock_dataplane::esp::key::KeyMaterial;
use penstock_dataplane::esp::replay::ReplayWindow;
use penstock_dataplane::esp::sa::{InboundSpec, Numbering, OutboundSpec, Spi};
use penstock_dataplane::esp::selector::Selectors;
use penstock_dataplane::ids::TunnelId;

use crate::esp::Association;
use crate::scenario::Scenario;
use crate::{tables, traffic};

/// With more inbound associations than this, a worker could not take fresh windows for all of them in one turn.
pub const MOST_WITH_WINDOWS: usize = 16;

/// The expanded keys of all tunnels, by number; none without ESP.
pub fn ciphers(scenario: &Scenario) -> Result<Vec<Arc<Cipher>>> {
    let suite = scenario.protection.suite;
    let used = if scenario.case.is_esp() { scenario.all_tunnels() } else { 0 };
    let cipher = |tunnel| {
        let association = Association::of_tunnel(suite, tunnel);
        let keys = KeyMaterial::new(suite, &association.encryption, &association.integrity)?;
        Ok(Arc::new(Cipher::new(suite, &keys, scenario.protection.backend)?))
    };
    (0..used).map(cipher).collect()
}

/// How many inbound associations a worker needs room for. When windows are renewed, the old ones make room late.
pub fn room(scenario: &Scenario) -> usize {
    scenario.inbound().len() * if scenario.checks_replays() { 2 } else { 1 }
}

/// A lease that nobody else in this process has. The keys here are known to everybody and protect nothing, so an ID need
/// not outlive the process.
pub fn lease() -> Result<Lease> {
    struct Process;

    impl LeaseStore for Process {
        type Error = Infallible;

        fn next_sender(&mut self) -> Result<SenderId, Infallible> {
            static NEXT: AtomicU32 = AtomicU32::new(0);
            let id = SenderId::new(NEXT.fetch_add(1, Ordering::Relaxed));
            // A run takes a handful of 2^24.
            Ok(id.unwrap_or_else(|| unreachable!()))
        }
    }

    Lease::take(&mut Process).map_err(|never| match never {})
}

/// Gives all workers of a feed their associations and a lease each. Returns what keeps the windows fresh, if there are
/// any.
pub fn install(mut feed: SaFeed, scenario: &Scenario, ciphers: &[Arc<Cipher>]) -> Result<Feeding> {
    let selectors = Arc::new(Selectors::any());
    for worker in 0..feed.workers() {
        feed.lease(worker, lease()?);
    }
    for tunnel in scenario.outbound() {
        let remote = IpAddr::V4(Ipv4Addr::from(traffic::remote(tunnel)));
        feed.set_outbound(&OutboundSpec {
            spi: Spi(Association::of_tunnel(scenario.protection.suite, tunnel).spi),
            tunnel: TunnelId(tunnel as u32),
            incarnation: tables::INCARNATION,
            cipher: cipher(ciphers, tunnel)?,
            esn: false,
            numbering: match scenario.protection.window {
                None => Numbering::PerCore,
                Some(_) => Numbering::Shared(Arc::new(AtomicU64::new(0))),
            },
            first: 1,
            selectors: Arc::clone(&selectors),
            remote,
            soft_limit: u64::MAX,
            hard_limit: u64::MAX,
        });
    }
    let mut installed = Vec::new();
    for tunnel in scenario.inbound() {
        let mut spec = InboundSpec {
            spi: Spi(Association::of_tunnel(scenario.protection.suite, tunnel).spi),
            endpoint: tables::ENDPOINT,
            tunnel: TunnelId(tunnel as u32),
            incarnation: tables::INCARNATION,
            cipher: cipher(ciphers, tunnel)?,
            esn: false,
            replay: None,
            selectors: Arc::clone(&selectors),
        };
        spec.replay = scenario.protection.window.map(window).transpose()?;
        let handle = feed.add_inbound(&spec)?;
        if scenario.checks_replays() {
            installed.push((spec, handle));
        }
    }
    Ok(Feeding { feed, installed, window: scenario.protection.window.unwrap_or_default() })
}

fn cipher(ciphers: &[Arc<Cipher>], tunnel: usize) -> Result<Arc<Cipher>> {
    ciphers.get(tunnel).cloned().ok_or_else(|| anyhow!("tunnel {tunnel} has no key"))
}

fn window(size: u32) -> Result<Arc<ReplayWindow>> {
    Ok(Arc::new(ReplayWindow::new(size, false).context("a replay window")?))
}

/// The feed of a crew of workers, and the associations whose windows must be renewed.
pub struct Feeding {
    feed: SaFeed,
    installed: Vec<(InboundSpec, SaHandle)>,
    window: u32,
}

impl Feeding {
    /// Hands on what is still to be handed on; true once all workers have everything.
    pub fn turn(&mut self) -> bool {
        self.feed.turn();
        self.feed.is_applied(self.feed.generation())
    }

    /// Puts every association in again, with a window that has seen nothing: the same numbers may then come in once
    /// more. Workers take that at the beginning of their next turn.
    pub fn renew_windows(&mut self) {
        for (spec, handle) in &mut self.installed {
            self.feed.remove_inbound(handle);
            // The size was good before, and there is twice the room. Otherwise packets die, and the counters tell.
            spec.replay = window(self.window).ok();
            if let Ok(fresh) = self.feed.add_inbound(spec) {
                *handle = fresh;
            }
        }
    }
}
