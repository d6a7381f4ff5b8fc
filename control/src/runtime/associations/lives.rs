//! How old the keys are that tunnels send under, and when that is too old.
//!
//! A key's life begins when its file was written, or when it was first sent under, and does not begin again while the
//! file has it: not when the tunnel moves to another endpoint, and not when the file is written again. Only another SPI
//! is another key.

use std::collections::BTreeMap;
use std::time::{Instant, SystemTime};

use super::super::clock::Now;
use crate::leases::MAX_KEY_LIFE;
use crate::static_sas::TunnelName;

/// The life of the key that a tunnel sends under.
struct Life {
    spi: u32,
    /// When it was first sent under. The date may have been wrong then: at the start of a machine it often is.
    since: Instant,
    written: Option<SystemTime>,
    over: bool,
}

/// Of all tunnels that send.
#[derive(Default)]
pub(super) struct Lives(BTreeMap<TunnelName, Life>);

impl Life {
    fn is_over(&self, now: Now) -> bool {
        let by_date = self.written.and_then(|written| now.date.duration_since(written).ok());
        let installed = now.steady.saturating_duration_since(self.since);
        installed.max(by_date.unwrap_or_default()) >= MAX_KEY_LIFE
    }
}

impl Lives {
    /// A tunnel sends under a key, which begins to live unless it does already.
    pub(super) fn begin(&mut self, name: &TunnelName, spi: u32, written: Option<SystemTime>, now: Now) {
        let born = || Life { spi, since: now.steady, written, over: false };
        let life = self.0.entry(name.clone()).or_insert_with(born);
        if life.spi != spi {
            *life = born();
        }
    }

    /// Whether this key of a tunnel became too old.
    pub(super) fn was_ended(&self, name: &TunnelName, spi: u32) -> bool {
        self.0.get(name).is_some_and(|life| life.spi == spi && life.over)
    }

    /// Forgets the others.
    pub(super) fn retain(&mut self, keep: impl Fn(&TunnelName, u32) -> bool) {
        self.0.retain(|name, life| keep(name, life.spi));
    }

    /// The tunnels whose key has just become too old, and its SPI. Each is told once.
    pub(super) fn end(&mut self, now: Now) -> impl Iterator<Item = (&TunnelName, u32)> {
        self.0.iter_mut().filter_map(move |(name, life)| {
            let ends = !life.over && life.is_over(now);
            life.over |= ends;
            ends.then_some((name, life.spi))
        })
    }

    /// Whether a tunnel's key is too old.
    pub(super) fn is_over(&self, name: &TunnelName) -> bool {
        self.0.get(name).is_some_and(|life| life.over)
    }

    /// How many keys are too old.
    pub(super) fn over(&self) -> usize {
        self.0.values().filter(|life| life.over).count()
    }
}
