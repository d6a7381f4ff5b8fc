//! What a route leads to, in 31 bits: 4 bits of kind, 27 bits of slot. The top bit is the table's own.
//!
//! The kind doubles as the number of the lane that the packet joins next, so that splitting a burst
//! by verdict costs no branch.

use crate::ids::{AdjacencyId, EndpointId, GroupId, TunnelId, VrfId};

/// The kinds of [`Hop`]. Kinds from 8 on are indirect: another look-up follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum HopKind {
    /// Nothing matched.
    NoRoute = 0,
    /// Out of a port with a plain layer 2 rewrite.
    Adjacency = 1,
    /// Into a tunnel.
    Tunnel = 2,
    /// One of our endpoints: GRE and ESP end here. Or, as [`Hop::FLEET`], where packets of a fleet's other nodes do.
    Endpoint = 3,
    /// An address of the kernel twin: punt.
    Local = 4,
    /// Silently discard.
    Blackhole = 5,
    /// Discard and tell the sender.
    Unreachable = 6,
    /// Our own address inside a tunnel: answers ping.
    TunnelAddress = 7,
    /// Pick a member by flow hash.
    Group = 8,
    /// Look up again in another table.
    Vrf = 9,
}

/// A route's result. The all-zero value is "no route", which is also what an empty table answers.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Hop(u32);

const SLOT_BITS: u32 = 27;
const SLOT_MASK: u32 = (1 << SLOT_BITS) - 1;

impl Hop {
    /// How many slots a kind can have.
    pub const SLOTS: u32 = 1 << SLOT_BITS;
    /// Nothing matched.
    pub const NO_ROUTE: Self = Self(0);
    /// Punt to the kernel.
    pub const LOCAL: Self = Self::new(HopKind::Local, 0);
    /// Silently discard.
    pub const BLACKHOLE: Self = Self::new(HopKind::Blackhole, 0);
    /// Our data address in a fleet.
    pub const FLEET: Self = Self::endpoint(EndpointId::FLEET);
    /// Discard and tell the sender.
    pub const UNREACHABLE: Self = Self::new(HopKind::Unreachable, 0);

    const fn new(kind: HopKind, slot: u32) -> Self {
        Self(((kind as u32) << SLOT_BITS) | (slot & SLOT_MASK))
    }

    /// Out of a port with this rewrite.
    pub const fn adjacency(id: AdjacencyId) -> Self {
        Self::new(HopKind::Adjacency, id.0)
    }
    /// Into this tunnel.
    pub const fn tunnel(id: TunnelId) -> Self {
        Self::new(HopKind::Tunnel, id.0)
    }
    /// Ends on this endpoint.
    pub const fn endpoint(id: EndpointId) -> Self {
        Self::new(HopKind::Endpoint, id.0 as u32)
    }
    /// Our address inside this tunnel.
    pub const fn tunnel_address(id: TunnelId) -> Self {
        Self::new(HopKind::TunnelAddress, id.0)
    }
    /// Any member of this group.
    pub const fn group(id: GroupId) -> Self {
        Self::new(HopKind::Group, id.0)
    }
    /// Look up again there.
    pub const fn vrf(id: VrfId) -> Self {
        Self::new(HopKind::Vrf, id.0 as u32)
    }

    /// The value as a table stores it.
    pub const fn bits(self) -> u32 {
        self.0
    }
    /// From what a table stored.
    #[inline(always)]
    pub const fn from_bits(bits: u32) -> Self {
        Self(bits)
    }

    /// The kind as a lane number, 0 to 15.
    #[inline(always)]
    pub const fn lane(self) -> usize {
        (self.0 >> SLOT_BITS) as usize
    }
    /// The slot within the kind's table.
    #[inline(always)]
    pub const fn slot(self) -> u32 {
        self.0 & SLOT_MASK
    }
    /// Whether another look-up must follow.
    #[inline(always)]
    pub const fn is_indirect(self) -> bool {
        self.0 >> (SLOT_BITS + 3) != 0
    }
    /// The kind, for people.
    pub const fn kind(self) -> HopKind {
        match self.0 >> SLOT_BITS {
            1 => HopKind::Adjacency,
            2 => HopKind::Tunnel,
            3 => HopKind::Endpoint,
            4 => HopKind::Local,
            5 => HopKind::Blackhole,
            6 => HopKind::Unreachable,
            7 => HopKind::TunnelAddress,
            8 => HopKind::Group,
            9 => HopKind::Vrf,
            _ => HopKind::NoRoute,
        }
    }
}

impl std::fmt::Debug for Hop {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}({})", self.kind(), self.slot())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kind_and_slot_survive_packing() {
        let hop = Hop::tunnel(TunnelId(99_999));
        assert_eq!((hop.kind(), hop.slot(), hop.lane()), (HopKind::Tunnel, 99_999, 2));
        assert!(!hop.is_indirect());
        assert!(Hop::group(GroupId(1)).is_indirect() && Hop::vrf(VrfId(65_535)).is_indirect());
        assert_eq!(Hop::from_bits(0), Hop::NO_ROUTE);
    }
}
