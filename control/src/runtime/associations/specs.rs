//! From an association of the file to what the workers are given: keys expanded, windows and counters made, and who
//! numbers the packets decided.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use ipnet::IpNet;
use penstock_dataplane::esp::cipher::{Backend, Cipher};
use penstock_dataplane::esp::feed::SaFeed;
use penstock_dataplane::esp::replay::ReplayWindow;
use penstock_dataplane::esp::sa::{InboundSpec, Numbering, OutboundSpec, Spi};
use penstock_dataplane::esp::selector::{self, TrafficSelector};

use super::{Inbound, InstallError, Numbers, Outbound, Place};
use crate::static_sas::{InboundSa, OutboundSa, Selectors};

/// The peer's window from which on the bursts of several cores fit into it, packets.
const SHARED_FROM: u32 = 1024;

/// Has the workers receive under an association.
pub(super) fn inbound(
    sa: &InboundSa,
    selectors: &Selectors,
    place: Place,
    backend: Backend,
    feed: &mut SaFeed,
) -> Result<Inbound, InstallError> {
    let replay = match sa.replay_window {
        0 => None,
        window => Some(Arc::new(ReplayWindow::new(window, sa.esn)?)),
    };
    let spec = InboundSpec {
        spi: Spi(sa.spi),
        endpoint: place.endpoint,
        tunnel: place.tunnel,
        incarnation: place.incarnation,
        cipher: Arc::new(Cipher::new(sa.suite, &sa.keys()?, backend)?),
        esn: sa.esn,
        replay,
        selectors: Arc::new(runtime_selectors(selectors)),
    };
    Ok(Inbound {
        suite: sa.suite,
        backend: spec.cipher.backend(),
        replay_window: sa.replay_window,
        esn: sa.esn,
        selectors: selectors.clone(),
        handle: feed.add_inbound(&spec)?,
        place,
    })
}

/// Has a tunnel send under an association.
pub(super) fn outbound(
    sa: &OutboundSa,
    selectors: &Selectors,
    place: Place,
    backend: Backend,
    feed: &mut SaFeed,
) -> Result<Outbound, InstallError> {
    let numbers = match sa.peer_replay_window {
        0 => Numbers::PerCore,
        SHARED_FROM.. => Numbers::Shared,
        // Tunnels take turns, so that no worker has them all.
        _ => Numbers::Pinned((place.tunnel.index() % feed.workers()) as u16),
    };
    // RFC 4303 section 3.3.3: the number does not come back to zero.
    let last = if sa.esn { u64::MAX - 1 } else { u64::from(u32::MAX) };
    let hard_limit = sa.hard_packets.unwrap_or(last);
    let spec = OutboundSpec {
        spi: Spi(sa.spi),
        tunnel: place.tunnel,
        incarnation: place.incarnation,
        cipher: Arc::new(Cipher::new(sa.suite, &sa.keys()?, backend)?),
        esn: sa.esn,
        numbering: match numbers {
            Numbers::PerCore => Numbering::PerCore,
            Numbers::Shared => Numbering::Shared(Arc::new(AtomicU64::new(0))),
            Numbers::Pinned(worker) => Numbering::Pinned { worker },
        },
        first: 1,
        selectors: Arc::new(runtime_selectors(selectors)),
        remote: place.remote,
        soft_limit: sa.soft_packets.unwrap_or(hard_limit - hard_limit / 4),
        hard_limit,
    };
    Ok(Outbound {
        spi: sa.spi,
        suite: sa.suite,
        backend: spec.cipher.backend(),
        numbers,
        esn: sa.esn,
        soft_limit: spec.soft_limit,
        hard_limit,
        selectors: selectors.clone(),
        handle: feed.set_outbound(&spec),
        place,
    })
}

fn runtime_selectors(selectors: &Selectors) -> selector::Selectors {
    let side = |prefixes: &[IpNet]| {
        prefixes.iter().map(|net| TrafficSelector::addresses(net.network(), net.broadcast())).collect()
    };
    let made = selector::Selectors::new(side(&selectors.local), side(&selectors.remote));
    // The file was checked for their number.
    made.unwrap_or_else(selector::Selectors::any)
}
