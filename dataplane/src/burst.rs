//! A burst at work: slots that hold the packets, what is known of each, and lanes that say what
//! comes next.
//!
//! A packet stays in its slot until it is sent, punted or dropped; only its bit moves from lane to
//! lane. A slot is in at most one lane, and a lane is worked off in the order of arrival.

use crate::frame::BURST;
use crate::ids::{InterfaceId, TunnelId, VrfId};
use crate::tables::tunnel::MSS_OFF;

/// What the stages know of a packet beside its bytes. A copy is one load and one store of 32 bytes.
#[derive(Clone, Copy, Debug)]
#[repr(align(32))]
pub(crate) struct Meta {
    /// Slot of the hop that the lane's kind names.
    pub slot: u32,
    /// The tunnel it came out of, or [`NO_TUNNEL`].
    tunnel_in: u32,
    /// Destination of an IPv4 packet.
    pub dst_v4: u32,
    /// The tunnel that its outer header names, or the association; while it is sealed, the tunnel that it goes into; in
    /// the rescue lane, the node that it belongs to.
    pub found: u32,
    /// The table it is looked up in.
    pub vrf: u16,
    /// Where the frame came in.
    pub interface: u16,
    /// MSS limit of the tunnels crossed so far.
    pub mss: u16,
    /// For the too-big lane: the MTU that it exceeds.
    pub limit: u16,
    /// Bytes of layer 2 header removed by classify, still in the headroom.
    pub l2_len: u8,
    /// An IPv6 packet: what its first header is now.
    pub v6: bool,
    /// For the too-big lane: the hop is a tunnel.
    pub into_tunnel: bool,
    /// Where the ESP header is.
    pub esp_at: u8,
    /// Another worker received it.
    pub handed: bool,
    /// Sealed, and something is left to do: a UDP checksum, or to be cut.
    pub unfinished: bool,
    /// Another node handed it to this one.
    pub rescued: bool,
    /// Control's health probe: goes into its tunnel whole, whatever size is known to pass.
    pub probe: bool,
}

const _: () = assert!(size_of::<Meta>() == 32);

const NO_TUNNEL: u32 = u32::MAX;

impl Meta {
    pub const EMPTY: Self = Self::new(InterfaceId(0), VrfId(0));

    /// A packet from outside any tunnel.
    #[inline(always)]
    pub const fn new(interface: InterfaceId, vrf: VrfId) -> Self {
        Self {
            slot: 0,
            tunnel_in: NO_TUNNEL,
            dst_v4: 0,
            found: 0,
            vrf: vrf.0,
            interface: interface.0,
            mss: MSS_OFF,
            limit: 0,
            l2_len: 0,
            v6: false,
            into_tunnel: false,
            esp_at: 0,
            handed: false,
            unfinished: false,
            rescued: false,
            probe: false,
        }
    }

    #[inline(always)]
    pub fn tunnel_in(&self) -> Option<TunnelId> {
        (self.tunnel_in != NO_TUNNEL).then_some(TunnelId(self.tunnel_in))
    }

    #[inline(always)]
    pub fn set_tunnel_in(&mut self, id: TunnelId) {
        self.tunnel_in = id.0;
    }
}

/// What comes next. The first eight are the kinds of [`crate::tables::HopKind`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Next {
    NoRoute = 0,
    Forward = 1,
    Encap = 2,
    Endpoint = 3,
    Local = 4,
    Blackhole = 5,
    Unreachable = 6,
    TunnelAddress = 7,
    /// Look up an IPv4 destination.
    RouteV4 = 8,
    /// Look up an IPv6 destination.
    RouteV6 = 9,
    /// A frame as it came in, for the kernel.
    Punt = 10,
    Reassemble = 11,
    /// Rewrite layer 2 and send.
    Egress = 12,
    /// Larger than the next hop's MTU.
    TooBig = 13,
    /// TTL or hop limit is used up.
    Expired = 14,
    /// An encapsulated packet that is cut before it leaves.
    FragmentOuter = 15,
    /// Out of an ESP tunnel: the association is found.
    Open = 16,
    /// Into an ESP tunnel.
    Seal = 17,
    /// IKE to an endpoint, for the kernel.
    Ike = 18,
    /// ESP or IKE that belongs to another node of the fleet.
    Rescue = 19,
    /// The answer to a health probe, which control has been told of.
    ProbeAnswer = 20,
}

/// Slots that share what comes next: one bit each. Taking it apart gives them in the order they came in.
#[derive(Clone, Copy)]
pub(crate) struct Lane(u64);

const _: () = assert!(BURST <= u64::BITS as usize);

impl Lane {
    pub const EMPTY: Self = Self(0);

    #[inline(always)]
    pub fn push(&mut self, slot: usize) {
        self.0 |= 1 << (slot % BURST);
    }

    /// Only this slot.
    #[inline(always)]
    pub const fn one(slot: usize) -> Self {
        Self(1 << (slot % BURST))
    }

    #[inline(always)]
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The slot that comes first.
    #[inline(always)]
    pub fn first(self) -> Option<usize> {
        let mut rest = self;
        rest.next()
    }

    /// What is in both.
    #[inline(always)]
    pub fn within(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// The lane's places in an array, all at once.
    #[inline(always)]
    pub fn of<T>(self, slots: &mut [T; BURST]) -> impl Iterator<Item = (usize, &mut T)> {
        slots.iter_mut().enumerate().filter(move |(i, _)| self.0 >> i & 1 != 0)
    }

    /// What is in this lane and not in the other.
    #[inline(always)]
    pub fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }
}

impl Iterator for Lane {
    type Item = usize;

    #[inline(always)]
    fn next(&mut self) -> Option<usize> {
        if self.0 == 0 {
            return None;
        }
        let slot = self.0.trailing_zeros() as usize;
        self.0 &= self.0 - 1;
        Some(slot % BURST)
    }
}

/// All lanes of a burst.
pub(crate) struct Lanes([Lane; LANES]);

const LANES: usize = 32;

impl Lanes {
    pub const fn new() -> Self {
        Self([Lane::EMPTY; LANES])
    }

    #[inline(always)]
    pub fn push(&mut self, next: Next, slot: usize) {
        self.push_number(next as usize, slot);
    }

    /// Adds to the lane of a hop's kind.
    #[inline(always)]
    pub fn push_number(&mut self, lane: usize, slot: usize) {
        self.0[lane % LANES].push(slot);
    }

    #[inline(always)]
    pub fn add(&mut self, next: Next, lane: Lane) {
        self.0[next as usize].0 |= lane.0;
    }

    #[inline(always)]
    pub fn is_empty(&self, next: Next) -> bool {
        self.0[next as usize].is_empty()
    }

    /// What is in a lane.
    #[inline(always)]
    pub fn get(&self, next: Next) -> Lane {
        self.0[next as usize]
    }

    /// Empties a lane and returns what was in it.
    #[inline(always)]
    pub fn take(&mut self, next: Next) -> Lane {
        std::mem::replace(&mut self.0[next as usize], Lane::EMPTY)
    }
}
