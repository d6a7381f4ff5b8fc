//! The last step of a packet: the prebuilt layer 2 header, and out of the port. A neighbour that is
//! not resolved yet is reached through the kernel twin, within the punt budget.

use crate::burst::Next;
use crate::drop_reason::DropReason;
use crate::frame::{Buffer, Driver};
use crate::ids::{InterfaceId, PortId};
use crate::pipeline::Pipeline;
use crate::tables::{Adjacency, AdjacencyState, Snapshot};
use crate::wire::ethernet::ETHERTYPE_IPV6;

impl<D: Driver> Pipeline<D> {
    /// Empties the egress lane into the ports' frames.
    #[inline(always)]
    pub(crate) fn send(&mut self, tables: &Snapshot) {
        let lane = self.lanes.take(Next::Egress);
        for i in lane {
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
            if !packet.push_block(&adjacency.rewrite, usize::from(adjacency.rewrite_len)) {
                self.kill(i, DropReason::NoHeadroom);
                continue;
            }
            if v6 {
                set_ethertype_v6(packet, adjacency);
            }
            self.transmit(i, PortId(adjacency.port));
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

/// The rewrite says IPv4; here the last two bytes of the header say IPv6.
#[inline(always)]
fn set_ethertype_v6<B: Buffer>(frame: &mut B, adjacency: &Adjacency) {
    let end = usize::from(adjacency.rewrite_len);
    if let Some(ethertype) = frame.data_mut().get_mut(end.wrapping_sub(2)..end) {
        ethertype.copy_from_slice(&ETHERTYPE_IPV6.to_be_bytes());
    }
}
