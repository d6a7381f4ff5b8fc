//! What an association works with, wherever it comes from, and from there to what the workers are given: windows and
//! counters made, and who numbers the packets decided.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use ipnet::IpNet;
use penstock_dataplane::esp::cipher::{Backend, Cipher};
use penstock_dataplane::esp::feed::{SaFeed, SaHandle};
use penstock_dataplane::esp::key::KeyMaterial;
use penstock_dataplane::esp::replay::ReplayWindow;
use penstock_dataplane::esp::sa::{InboundSpec, Numbering, OutboundSpec, Spi};
use penstock_dataplane::esp::selector::{Selectors, TrafficSelector};
use penstock_dataplane::esp::suite::Suite;
use penstock_dataplane::ids::{EndpointId, TunnelId};

use super::{InstallError, Numbers};
use crate::static_sas;

/// The peer's window from which on the bursts of several cores fit into it, packets.
const SHARED_FROM: u32 = 1024;

/// What both ends agreed on for one direction, with the key expanded. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Agreed {
    cipher: Arc<Cipher>,
    pub(crate) esn: bool,
    /// Packets that the receiver's window spans: ours or the peer's; 0: it checks nothing.
    pub(crate) window: u32,
    pub(crate) selectors: Arc<Selectors>,
    /// Outbound: the number at which a new association is asked for, and the last one.
    pub(crate) packets: (Option<u64>, Option<u64>),
}

impl Agreed {
    /// Expands the key for a backend. `window` is that of whoever receives.
    ///
    /// # Errors
    /// When the backend cannot work with the key.
    pub(crate) fn new(
        keys: &KeyMaterial,
        backend: Backend,
        window: u32,
        esn: bool,
        selectors: Selectors,
    ) -> Result<Self, InstallError> {
        let cipher = Arc::new(Cipher::new(keys.suite(), keys, backend)?);
        Ok(Self { cipher, esn, window, selectors: Arc::new(selectors), packets: (None, None) })
    }

    /// The algorithms.
    pub(crate) fn suite(&self) -> Suite {
        self.cipher.suite()
    }

    /// What encrypts.
    pub(crate) fn backend(&self) -> Backend {
        self.cipher.backend()
    }
}

/// Where the packets of an association come out, or go in.
#[derive(Clone, Copy)]
pub(crate) struct Ends {
    pub(crate) tunnel: TunnelId,
    pub(crate) incarnation: u32,
    pub(crate) endpoint: EndpointId,
    pub(crate) remote: IpAddr,
}

/// What a tunnel sends under.
pub(crate) struct Sending {
    pub(crate) numbers: Numbers,
    pub(crate) soft_limit: u64,
    pub(crate) hard_limit: u64,
    pub(crate) handle: SaHandle,
}

/// Has the workers receive under an association. Numbers up to `newest` count as received.
pub(crate) fn receive(
    spi: u32,
    agreed: &Agreed,
    ends: Ends,
    newest: u64,
    feed: &mut SaFeed,
) -> Result<SaHandle, InstallError> {
    let replay = match agreed.window {
        0 => None,
        window => Some(Arc::new(ReplayWindow::resume(window, agreed.esn, newest)?)),
    };
    let spec = InboundSpec {
        spi: Spi(spi),
        endpoint: ends.endpoint,
        tunnel: ends.tunnel,
        incarnation: ends.incarnation,
        cipher: Arc::clone(&agreed.cipher),
        esn: agreed.esn,
        replay,
        selectors: Arc::clone(&agreed.selectors),
    };
    Ok(feed.add_inbound(&spec)?)
}

/// Has a tunnel send under an association, beginning with the number `first` where a peer looks at numbers.
pub(crate) fn send(spi: u32, agreed: &Agreed, ends: Ends, first: u64, feed: &mut SaFeed) -> Sending {
    let numbers = match agreed.window {
        0 => Numbers::PerCore,
        SHARED_FROM.. => Numbers::Shared,
        // Tunnels take turns, so that no worker has them all.
        _ => Numbers::Pinned((ends.tunnel.index() % feed.workers()) as u16),
    };
    // RFC 4303 section 3.3.3: the number does not come back to zero.
    let last = if agreed.esn { u64::MAX - 1 } else { u64::from(u32::MAX) };
    let (soft, hard) = agreed.packets;
    let hard_limit = hard.unwrap_or(last);
    let spec = OutboundSpec {
        spi: Spi(spi),
        tunnel: ends.tunnel,
        incarnation: ends.incarnation,
        cipher: Arc::clone(&agreed.cipher),
        esn: agreed.esn,
        numbering: match numbers {
            Numbers::PerCore => Numbering::PerCore,
            Numbers::Shared => Numbering::Shared(Arc::new(AtomicU64::new(0))),
            Numbers::Pinned(worker) => Numbering::Pinned { worker },
        },
        first: if numbers == Numbers::PerCore { 1 } else { first },
        selectors: Arc::clone(&agreed.selectors),
        remote: ends.remote,
        soft_limit: soft.unwrap_or(hard_limit - hard_limit / 4),
        hard_limit,
    };
    Sending { numbers, soft_limit: spec.soft_limit, hard_limit, handle: feed.set_outbound(&spec) }
}

/// The selectors of the file.
pub(super) fn selectors(selectors: &static_sas::Selectors) -> Selectors {
    let side = |prefixes: &[IpNet]| {
        prefixes.iter().map(|net| TrafficSelector::addresses(net.network(), net.broadcast())).collect()
    };
    let made = Selectors::new(side(&selectors.local), side(&selectors.remote));
    // The file was checked for their number.
    made.unwrap_or_else(Selectors::any)
}
