//! A prebuilt layer 2 rewrite towards one neighbour, or towards the kernel twin while the neighbour
//! is not resolved.

use crate::ids::{InterfaceId, PortId};
use crate::wire::ethernet::ETHERTYPE_IPV4;

/// Bytes of the right-aligned rewrite block: room for Ethernet and one VLAN tag.
pub const REWRITE_LEN: usize = 24;

/// Where a frame with this rewrite goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum AdjacencyState {
    /// The slot is free.
    #[default]
    Empty,
    /// Out of the port.
    Resolved,
    /// To the kernel twin, which resolves the neighbour and forwards meanwhile.
    Unresolved,
}

/// The layer 2 header and port for one neighbour. 32 bytes: two in a cache line.
#[derive(Clone, Debug, Default)]
#[repr(C, align(32))]
pub struct Adjacency {
    /// The frame header, right-aligned.
    pub(crate) rewrite: [u8; REWRITE_LEN],
    /// Bytes of the header in use: 14, or 18 with a VLAN tag; 0 towards the twin.
    pub(crate) rewrite_len: u8,
    pub(crate) state: AdjacencyState,
    pub(crate) port: u16,
    pub(crate) interface: u16,
    /// Largest layer 3 packet of the link, bytes.
    pub(crate) mtu: u16,
}

const _: () = assert!(size_of::<Adjacency>() == 32);

impl Adjacency {
    /// A resolved neighbour: `dst` is its MAC, `src` ours; `vlan` the VLAN of the interface.
    pub fn resolved(
        interface: InterfaceId,
        port: PortId,
        vlan: Option<u16>,
        dst: [u8; 6],
        src: [u8; 6],
        mtu: u16,
    ) -> Self {
        let mut rewrite = [0; REWRITE_LEN];
        let rewrite_len = if vlan.is_some() { 18 } else { 14 };
        let start = REWRITE_LEN - rewrite_len;
        rewrite[start..start + 6].copy_from_slice(&dst);
        rewrite[start + 6..start + 12].copy_from_slice(&src);
        if let Some(vid) = vlan {
            rewrite[start + 12..start + 14].copy_from_slice(&0x8100u16.to_be_bytes());
            rewrite[start + 14..start + 16].copy_from_slice(&vid.to_be_bytes());
        }
        // Most packets are IPv4; egress writes the other EtherType over it.
        rewrite[REWRITE_LEN - 2..].copy_from_slice(&ETHERTYPE_IPV4.to_be_bytes());
        Self {
            rewrite,
            rewrite_len: rewrite_len as u8,
            state: AdjacencyState::Resolved,
            port: port.0,
            interface: interface.0,
            mtu,
        }
    }

    /// A neighbour without a known MAC: packets go to the twin of `interface`.
    pub fn unresolved(interface: InterfaceId, port: PortId, mtu: u16) -> Self {
        Self {
            state: AdjacencyState::Unresolved,
            port: port.0,
            interface: interface.0,
            mtu,
            ..Self::default()
        }
    }

    /// Whether frames leave by the port.
    pub fn state(&self) -> AdjacencyState {
        self.state
    }

    /// The link's largest layer 3 packet, bytes.
    pub fn mtu(&self) -> u16 {
        self.mtu
    }
}
