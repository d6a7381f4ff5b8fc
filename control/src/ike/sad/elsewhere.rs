//! What other nodes of a fleet say went through SAs of this one: it counts towards their limits in bytes and packets.
//!
//! Each life of a node counts for itself, from where it began, and says so again and again; the largest number of each is
//! what there was.

use std::collections::BTreeMap;

use penstock_dataplane::esp::sa::Spi;

use super::workers::{Kinds, Usage};
use super::{Direction, Sad};

/// What went through one SA elsewhere.
#[derive(Debug, Default)]
pub(super) struct Elsewhere {
    /// Bytes and packets, by what tells lives of nodes apart.
    by_life: BTreeMap<u64, (u64, u64)>,
    bytes: u64,
    packets: u64,
}

impl Elsewhere {
    fn note(&mut self, life: u64, bytes: u64, packets: u64) {
        let known = self.by_life.entry(life).or_default();
        let newest = (known.0.max(bytes), known.1.max(packets));
        self.bytes = self.bytes.saturating_add(newest.0 - known.0);
        self.packets = self.packets.saturating_add(newest.1 - known.1);
        *known = newest;
    }

    /// What went through the SA on all nodes.
    pub(super) fn and(&self, here: Usage) -> Usage {
        Usage {
            bytes: here.bytes.saturating_add(self.bytes),
            packets: here.packets.saturating_add(self.packets),
            ..here
        }
    }
}

/// What a life of another node says of an SA.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Told {
    /// Tells lives of nodes apart.
    pub life: u64,
    /// SPI of the inbound SA of the pair.
    pub spi: Spi,
    /// Which one of the pair.
    pub direction: Direction,
    /// Its sequence numbers run out there.
    pub runs_out: bool,
    /// Inner bytes, since that life has it.
    pub bytes: u64,
    /// Packets, since that life has it.
    pub packets: u64,
}

impl<K: Kinds> Sad<K> {
    /// Another node has said what went through an SA. One that is not here is none of ours any more.
    pub fn used_elsewhere(&mut self, told: Told) {
        let inbound = self.with_spi(told.spi).find(|sa| sa.direction == Direction::Inbound);
        let serial = match told.direction {
            Direction::Inbound => inbound.map(|sa| sa.serial),
            Direction::Outbound => inbound.and_then(|sa| sa.pair),
        };
        let Some(sa) = serial.and_then(|serial| self.sas.get_mut(&serial)) else { return };
        sa.elsewhere.note(told.life, told.bytes, told.packets);
        let serial = sa.serial;
        if told.runs_out {
            self.ask_for_rekey(serial);
        }
    }
}
