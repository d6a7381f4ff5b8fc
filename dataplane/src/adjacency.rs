//! The last step of a packet: the prebuilt layer 2 header, and out of the port. A neighbour that is
//! not resolved yet is reached through the kernel twin, within the punt budget.

use crate::burst::Next;
use crate::drop_reason::DropReason;
use crate::frame::{Buffer, Driver};
use crate::ids::{InterfaceId, PortId};
use crate::pipeline::Pipeline;
use crate::tables::adjacency::REWRITE_LEN;
use crate::tables::{Adjacency, AdjacencyState, Snapshot};
use crate::wire::ethernet::{ETHERTYPE_IPV4, ETHERTYPE_IPV6};

impl<D: Driver> Pipeline<D> {
    /// Empties the egress lane into the ports' frames.
    #[inline(always)]
    pub(crate) fn send(&mut self, tables: &Snapshot) {
        let lane = self.lanes.take(Next::Egress);
        for i in lane.iter() {
            let slot = self.meta[i].slot as usize;
            let Some(packet) = self.slot(i) else { continue };
            let Some(adjacency) = tables.adjacencies.get(slot) else {
                self.kill(i, DropReason::NoRoute);
                continue;
            };
            if adjacency.state != AdjacencyState::Resolved {
                self.send_by_kernel(i, adjacency, tables);
                continue;
            }
            // The version nibble tells 4 from 6 after any encapsulation.
            let v6 = packet.data().first().is_some_and(|byte| byte >> 4 == 6);
            let mut block = adjacency.rewrite;
            let ethertype = if v6 { ETHERTYPE_IPV6 } else { ETHERTYPE_IPV4 };
            [block[REWRITE_LEN - 2], block[REWRITE_LEN - 1]] = ethertype.to_be_bytes();
            if packet.push_block(&block, usize::from(adjacency.rewrite_len)) {
                self.transmit(i, PortId(adjacency.port));
            } else {
                self.kill(i, DropReason::NoHeadroom);
            }
        }
    }

    #[inline(never)]
    fn send_by_kernel(&mut self, i: usize, adjacency: &Adjacency, tables: &Snapshot) {
        if adjacency.state == AdjacencyState::Empty {
            return self.kill(i, DropReason::NoRoute);
        }
        if !self.cx.punt_budget.take() {
            return self.kill(i, DropReason::NeighborUnresolved);
        }
        self.meta[i].interface = adjacency.interface;
        self.punt_packet(i, InterfaceId(adjacency.interface), tables);
    }
}
