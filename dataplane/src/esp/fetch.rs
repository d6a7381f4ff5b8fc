//! Where there are many associations, a burst's packets need memory that no cache holds. It is asked for here, for all
//! packets at once and one link of the chain after the other: to wait for one after the other takes so much longer.
//! Keys are fetched by the engine, a few packets ahead of its work.

use super::sa::HOT_LINES;
use crate::burst::Lane;
use crate::frame::Driver;
use crate::ids::TunnelId;
use crate::pipeline::Pipeline;
use crate::prefetch;
use crate::tables::Snapshot;

impl<D: Driver> Pipeline<D> {
    /// For packets whose inbound associations are found.
    #[inline(always)]
    pub(super) fn fetch_inbound(&self, lane: Lane, tables: &Snapshot) {
        if self.esp.table.is_large() {
            self.fetch_chain_inbound(lane, tables);
        }
    }

    #[inline(never)]
    fn fetch_chain_inbound(&self, lane: Lane, tables: &Snapshot) {
        for i in lane {
            if let Some(sa) = self.esp.table.inbound(self.meta[i].found) {
                prefetch::lines::<HOT_LINES, _>(sa);
            }
        }
        for i in lane {
            if let Some(sa) = self.esp.table.inbound(self.meta[i].found) {
                self.fetch_tunnel(TunnelId(sa.tunnel), tables);
            }
        }
    }

    /// For packets that go into tunnels.
    #[inline(always)]
    pub(super) fn fetch_outbound(&self, lane: Lane, tables: &Snapshot) {
        if self.esp.table.is_large() {
            self.fetch_chain_outbound(lane, tables);
        }
    }

    #[inline(never)]
    fn fetch_chain_outbound(&self, lane: Lane, tables: &Snapshot) {
        for i in lane {
            let id = TunnelId(self.meta[i].slot);
            if let Some(sa) = self.esp.table.outbound(id) {
                prefetch::lines::<HOT_LINES, _>(sa);
            }
            self.fetch_tunnel(id, tables);
        }
    }

    #[inline(always)]
    fn fetch_tunnel(&self, id: TunnelId, tables: &Snapshot) {
        if let Some(tunnel) = tables.tunnels.get(id.index()) {
            prefetch::lines::<2, _>(tunnel);
        }
        if let Some(counters) = self.cx.stats.tunnel(id) {
            prefetch::lines::<1, _>(counters);
        }
    }
}
