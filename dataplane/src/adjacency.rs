//! The last step of a packet: the prebuilt layer 2 header, and out of the port. A neighbour that is
//! not resolved yet is reached through the kernel twin, within the punt budget.

use crate::burst::Next;
use crate::drop_reason::DropReason;
use crate::frame::{BURST, Buffer, Driver};
use crate::ids::{InterfaceId, PortId};
use crate::pipeline::Pipeline;
use crate::tables::{Adjacency, AdjacencyState, Snapshot};
use crate::wire::ethernet::ETHERTYPE_IPV6;

impl<D: Driver> Pipeline<D> {
    /// Empties the egress lane, which only pieces of a packet join.
    #[inline(always)]
    pub(crate) fn send(&mut self, tables: &Snapshot) {
        if !self.lanes.is_empty(Next::Egress) {
            self.each_taken(Next::Egress, |this, i, piece| {
                match tables.adjacencies.get(this.meta[i].slot as usize) {
                    Some(adjacency) => this.leave(i, piece, adjacency, tables),
                    None => this.kill_taken(i, piece, DropReason::NoRoute),
                }
            });
        }
    }

    /// Takes a packet, which was taken out of slot `i`, to its adjacency.
    #[inline(always)]
    pub(crate) fn leave(
        &mut self,
        i: usize,
        mut packet: D::Buffer,
        adjacency: &Adjacency,
        tables: &Snapshot,
    ) {
        if adjacency.state != AdjacencyState::Resolved {
            self.put(i, packet);
            return self.send_by_kernel(i, adjacency, tables);
        }
        if !packet.push_block(&adjacency.rewrite, usize::from(adjacency.rewrite_len)) {
            return self.kill_taken(i, packet, DropReason::NoHeadroom);
        }
        if self.meta[i % BURST].v6 {
            set_ethertype_v6(packet.data_mut(), adjacency);
        }
        self.transmit(i, packet, PortId(adjacency.port));
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
fn set_ethertype_v6(frame: &mut [u8], adjacency: &Adjacency) {
    let end = usize::from(adjacency.rewrite_len);
    if let Some(ethertype) = frame.get_mut(end.wrapping_sub(2)..end) {
        ethertype.copy_from_slice(&ETHERTYPE_IPV6.to_be_bytes());
    }
}
