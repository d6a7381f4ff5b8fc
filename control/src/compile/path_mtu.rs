//! The path MTU of tunnels: what the link takes, what routers have said, what was probed.
//!
//! What a router says counts for [`PATH_MTU_AGE`]; what was probed until the next result. The smallest counts. Each
//! new result of probing takes the place of what routers have said before: it was seen, and not only told.

use std::collections::BTreeSet;
use std::time::Instant;

use penstock_dataplane::ids::TunnelId;
use penstock_dataplane::tables::tunnel::{MIN_PATH_MTU_V4, MIN_PATH_MTU_V6};

use super::PATH_MTU_AGE;
use super::tunnels::{TunnelEntry, Tunnels};
use crate::health::Sizes;

/// What any path over IPv4 should take: BASE_PLPMTU (RFC 8899 section 5.1.2).
const BASE_V4: u16 = 1200;

/// Blocks that ciphers pad to are smaller, bytes.
const MAX_GRAIN: u16 = 64;

/// A path that takes less than the link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PathMtu {
    /// Largest outer packet, bytes.
    pub outer: u16,
    /// Who says so.
    pub source: PathMtuSource,
}

/// Who found out what a path takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PathMtuSource {
    /// A router told it in an ICMP error.
    Icmp {
        /// When that is forgotten.
        expires: Instant,
    },
    /// We probed it.
    Probed {
        /// When that was found.
        since: Instant,
    },
}

/// What is known of the way of a tunnel's outer packets; all in bytes of outer packets.
#[derive(Debug, Clone, Copy)]
pub(super) struct Path {
    /// What our link takes.
    pub(super) link: u16,
    told: Option<(u16, Instant)>,
    probed: Option<(u16, Instant)>,
}

impl Path {
    pub(super) fn of_link(link: u16) -> Self {
        Self { link, told: None, probed: None }
    }

    /// Largest outer packet.
    pub(super) fn mtu(&self) -> u16 {
        self.smaller().map_or(self.link, |path| path.outer.min(self.link))
    }

    /// What is known beside the link.
    pub(super) fn smaller(&self) -> Option<PathMtu> {
        let told =
            self.told.map(|(outer, expires)| PathMtu { outer, source: PathMtuSource::Icmp { expires } });
        let probed =
            self.probed.map(|(outer, since)| PathMtu { outer, source: PathMtuSource::Probed { since } });
        probed.into_iter().chain(told).min_by_key(|path| path.outer)
    }

    /// It is another path.
    pub(super) fn forget(&mut self, ageing: &mut BTreeSet<(Instant, TunnelId)>, id: TunnelId) {
        self.probed = None;
        self.forget_told(ageing, id);
    }

    fn forget_told(&mut self, ageing: &mut BTreeSet<(Instant, TunnelId)>, id: TunnelId) {
        if let Some((_, expires)) = self.told.take() {
            ageing.remove(&(expires, id));
        }
    }
}

impl TunnelEntry {
    /// A path's size that a router says, as far as that is believed.
    fn believed(&self, mtu: u32) -> u16 {
        u16::try_from(mtu).unwrap_or(u16::MAX).max(self.least_path())
    }

    /// Outer packets never get smaller.
    fn least_path(&self) -> u16 {
        if self.place.local.is_ipv6() { MIN_PATH_MTU_V6 } else { MIN_PATH_MTU_V4 }
    }

    /// The sizes of inner packets that are worth a probe; `None`: there is nothing to find.
    fn sizes(&self) -> Option<Sizes> {
        let (remote, _) = self.remote().zip(self.written)?;
        let base_path = if self.place.local.is_ipv6() { MIN_PATH_MTU_V6 } else { BASE_V4 };
        let (floor, base, most) =
            (self.fits(self.least_path()), self.fits(base_path), self.inner_mtu(self.path.link));
        // What is padded to blocks grows in steps.
        let larger = (1..=MAX_GRAIN).map(|more| self.fits(base_path + more)).find(|fits| *fits > base)?;
        (floor < most).then_some(Sizes { floor, base, most, grain: larger - base, remote })
    }

    /// The smallest path that such an inner packet fits.
    fn outer_of(&self, inner: u16) -> Option<u16> {
        (inner..=self.path.link).find(|outer| self.fits(*outer) >= inner)
    }
}

impl Tunnels {
    /// A router cannot forward outer packets larger than this. False: nothing new.
    pub(super) fn learn_path_mtu(&mut self, id: TunnelId, mtu: u32, now: Instant) -> bool {
        let Some(entry) = self.entries.get_mut(&id) else { return false };
        let outer = entry.believed(mtu);
        let expires = now + PATH_MTU_AGE;
        if entry.path.probed.is_some_and(|(probed, _)| probed <= outer) {
            return false;
        }
        if let Some((old, until)) = entry.path.told.filter(|(_, until)| *until > now) {
            // A larger value while a smaller one lives is another path, or a late message.
            if outer > old {
                return false;
            }
            self.ageing.remove(&(until, id));
        }
        entry.path.told = Some((outer, expires));
        self.ageing.insert((expires, id));
        self.dirty.insert(id);
        true
    }

    /// Forgets what routers said too long ago.
    pub(super) fn age_path_mtus(&mut self, now: Instant) -> bool {
        let mut changed = false;
        while let Some((expires, id)) = self.ageing.first().copied()
            && expires <= now
        {
            self.ageing.remove(&(expires, id));
            if let Some(entry) = self.entries.get_mut(&id) {
                entry.path.told = None;
                self.dirty.insert(id);
                changed = true;
            }
        }
        changed
    }

    pub(super) fn next_ageing(&self) -> Option<Instant> {
        self.ageing.first().map(|(expires, _)| *expires)
    }

    /// Probes have shown the largest inner packet that passes; `None`: all that the link takes. False: nothing new.
    pub(super) fn set_probed(&mut self, id: TunnelId, inner: Option<u16>, now: Instant) -> bool {
        let Some(entry) = self.entries.get_mut(&id) else { return false };
        let outer = inner.and_then(|inner| entry.outer_of(inner));
        let is_known = entry.path.probed.map(|(outer, _)| outer) == outer;
        if is_known && entry.path.told.is_none() {
            return false;
        }
        entry.path.forget_told(&mut self.ageing, id);
        if !is_known {
            entry.path.probed = outer.map(|outer| (outer, now));
        }
        self.dirty.insert(id);
        true
    }

    /// Forgets what was probed of the tunnels that `keep` refuses.
    pub(super) fn keep_probed(&mut self, keep: impl Fn(TunnelId) -> bool) {
        for (id, entry) in &mut self.entries {
            if entry.path.probed.is_some() && !keep(*id) {
                entry.path.probed = None;
                self.dirty.insert(*id);
            }
        }
    }

    pub(super) fn sizes(&self, id: TunnelId) -> Option<Sizes> {
        self.entries.get(&id)?.sizes()
    }

    /// The largest inner packet on a path of which a router says that it takes `mtu`.
    pub(super) fn inner_of(&self, id: TunnelId, mtu: u32) -> Option<u16> {
        let entry = self.entries.get(&id)?;
        Some(entry.fits(entry.believed(mtu)))
    }
}
