//! The rows of `show sas` and `show crypto`, read from the handles of what is installed. No key comes near.

use std::sync::Arc;

use ipnet::IpNet;
use penstock_dataplane::esp::cipher::Backend;
use penstock_dataplane::esp::feed::SaHandle;
use penstock_dataplane::esp::sa::{SaCounters, Spi};

use super::super::associations::{Inbound, Numbers, Outbound};
use super::super::state::State;
use super::super::workers::RunningWorker;
use crate::api::{Crypto, CryptoBackend, Page, SaCore, SaDirection, SaFilter, SaNumbering, SaRow, Sender};
use crate::config::CryptoBackend as Configured;
use crate::static_sas::{Selectors, TunnelName, WARNING};

enum Association<'a> {
    Inbound(u32, &'a Inbound),
    Outbound(&'a Outbound),
}

pub(super) fn sas(state: &State, filter: &SaFilter) -> Page<SaRow> {
    let tunnels = state.associations.tunnels().filter(|(name, _)| filter.selects(&name.0, &name.1));
    let all = tunnels.flat_map(|(name, there)| {
        let inbound = there.inbound.iter().map(|(spi, sa)| Association::Inbound(*spi, sa));
        let outbound = there.outbound.iter().map(Association::Outbound);
        inbound.chain(outbound).map(move |sa| (name, sa))
    });
    let workers = &state.dataplane.workers;
    Page::take(all, filter.limit, |(name, sa)| match sa {
        Association::Inbound(spi, sa) => inbound(name, spi, sa, workers),
        Association::Outbound(sa) => outbound(name, sa, workers),
    })
}

fn inbound(name: &TunnelName, spi: u32, sa: &Inbound, workers: &[RunningWorker]) -> SaRow {
    let row = counted(name, SaDirection::Inbound, spi, &sa.handle, &sa.selectors, workers);
    SaRow {
        cipher: sa.suite.to_string(),
        backend: sa.backend.to_string(),
        esn: sa.esn,
        replay_window: (sa.replay_window > 0).then_some(sa.replay_window),
        ..row
    }
}

fn outbound(name: &TunnelName, sa: &Outbound, workers: &[RunningWorker]) -> SaRow {
    let row = counted(name, SaDirection::Outbound, sa.spi, &sa.handle, &sa.selectors, workers);
    let (numbering, pinned) = match sa.numbers {
        Numbers::PerCore => (SaNumbering::PerCore, None),
        Numbers::Shared => (SaNumbering::Shared, None),
        Numbers::Pinned(worker) => (SaNumbering::Pinned, Some(worker)),
    };
    let core = pinned.and_then(|worker| workers.get(usize::from(worker)));
    SaRow {
        cipher: sa.suite.to_string(),
        backend: sa.backend.to_string(),
        esn: sa.esn,
        numbering: Some(numbering),
        pinned_core: core.map(|worker| u32::from(worker.core)),
        // The shared counter runs on when the numbers are used up.
        sequence: row.sequence.min(sa.hard_limit),
        sequence_left: Some(sa.hard_limit.saturating_sub(row.sequence)),
        soft_limit: Some(sa.soft_limit),
        ..row
    }
}

/// What both directions have.
fn counted(
    name: &TunnelName,
    direction: SaDirection,
    spi: u32,
    handle: &SaHandle,
    selectors: &Selectors,
    workers: &[RunningWorker],
) -> SaRow {
    let per_core = workers.iter().zip(handle.counters()).map(|(worker, counters)| SaCore {
        core: u32::from(worker.core),
        packets: counters.packets.get(),
        bytes: counters.bytes.get(),
        drops: counters.refused.get(),
    });
    let words = |prefixes: &[IpNet]| prefixes.iter().map(ToString::to_string).collect();
    SaRow {
        tenant: name.0.to_string(),
        tunnel: name.1.to_string(),
        direction,
        spi: Spi(spi).to_string(),
        cipher: String::new(),
        backend: String::new(),
        esn: false,
        replay_window: None,
        numbering: None,
        pinned_core: None,
        sequence: handle.newest_sequence(),
        sequence_left: None,
        soft_limit: None,
        local: words(&selectors.local),
        remote: words(&selectors.remote),
        packets: handle.total(|counters| &counters.packets),
        bytes: handle.total(|counters| &counters.bytes),
        drops: handle.total(|counters| &counters.refused),
        last_used_s: last_used(handle),
        per_core: per_core.filter(|core| core.packets + core.drops > 0).collect(),
    }
}

/// Seconds since the last packet.
fn last_used(handle: &SaHandle) -> Option<u64> {
    let used = handle.counters().filter(|counters: &&SaCounters| counters.packets.get() > 0);
    let newest = used.map(|counters| counters.last_used.get()).max()?;
    Some(dpdk::cycles::rdtsc().saturating_sub(newest) / dpdk::cycles::tsc_hz().max(1))
}

pub(super) fn crypto(state: &State) -> Crypto {
    let configured = match state.compiler.config().crypto.backend {
        Configured::Auto => "auto",
        Configured::IpsecMb => Backend::IpsecMb.name(),
        Configured::Vaes => Backend::Vaes.name(),
        Configured::RustCrypto => Backend::RustCrypto.name(),
    };
    let used = state.associations.backends();
    let backends = Backend::available().into_iter().map(|known| CryptoBackend {
        name: known.backend.to_string(),
        suites: used.suites_of(known.backend).map(|suite| suite.to_string()).collect(),
        available: known.state.is_ok(),
        detail: known.state.unwrap_or_else(|why| why),
    });
    let senders = state.dataplane.workers.iter().map(|worker| {
        let stats = Arc::as_ref(&worker.stats);
        let number = stats.sender_id.get().checked_sub(1);
        let sender_id = number.and_then(|number| u32::try_from(number).ok());
        let ivs_left = sender_id.map(|_| stats.ivs_left.get());
        Sender { core: u32::from(worker.core), sender_id, ivs_left }
    });
    Crypto {
        configured: configured.to_owned(),
        backends: backends.collect(),
        senders: senders.collect(),
        no_lease: state.no_lease.clone(),
        no_renewal: state.no_renewal.clone(),
        static_sas: state.static_sas.len() as u64,
        warning: (!state.static_sas.is_empty()).then(|| WARNING.to_owned()),
    }
}
