//! Layer 3 interfaces: which table a received frame is looked up in, and who we are on that link.

use crate::ids::{InterfaceId, PortId, VrfId};

/// A port, or one VLAN of a port.
#[derive(Clone, Debug, Default)]
pub struct Interface {
    /// The port it belongs to.
    pub port: PortId,
    /// The VLAN, 1 to 4094; `None` for untagged frames.
    pub vlan: Option<u16>,
    /// Our MAC address on it.
    pub mac: [u8; 6],
    /// The table that its packets are looked up in.
    pub vrf: VrfId,
    /// Largest layer 3 packet, bytes.
    pub mtu: u16,
    /// Source of ICMPv4 errors sent about packets from here; 0 when it has no IPv4 address.
    pub address_v4: u32,
    /// Source of ICMPv6 errors; 0 when it has no IPv6 address.
    pub address_v6: u128,
}

#[derive(Clone, Debug, Default)]
struct PortInterfaces {
    untagged: Option<InterfaceId>,
    /// Sorted by VLAN.
    tagged: Vec<(u16, InterfaceId)>,
}

/// All interfaces, found by port and VLAN.
#[derive(Clone, Debug, Default)]
pub struct Interfaces {
    all: Vec<Interface>,
    ports: Vec<PortInterfaces>,
}

impl Interfaces {
    /// Adds an interface; its id is its position. A second one with the same port and VLAN replaces
    /// the first in look-ups.
    pub fn push(&mut self, interface: Interface) -> InterfaceId {
        let id = InterfaceId(self.all.len() as u16);
        let port = interface.port.index();
        if self.ports.len() <= port {
            self.ports.resize_with(port + 1, PortInterfaces::default);
        }
        if let Some(on_port) = self.ports.get_mut(port) {
            match interface.vlan {
                None => on_port.untagged = Some(id),
                Some(vid) => match on_port.tagged.binary_search_by_key(&vid, |t| t.0) {
                    Ok(at) => on_port.tagged[at].1 = id,
                    Err(at) => on_port.tagged.insert(at, (vid, id)),
                },
            }
        }
        self.all.push(interface);
        id
    }

    /// The interface with this id.
    #[inline]
    pub fn get(&self, id: InterfaceId) -> Option<&Interface> {
        self.all.get(id.index())
    }

    /// The interface of a port's untagged frames.
    #[inline]
    pub fn untagged(&self, port: PortId) -> Option<InterfaceId> {
        self.ports.get(port.index())?.untagged
    }

    /// The interface of a port's frames with this VLAN.
    pub fn tagged(&self, port: PortId, vid: u16) -> Option<InterfaceId> {
        let on_port = self.ports.get(port.index())?;
        let at = on_port.tagged.binary_search_by_key(&vid, |t| t.0).ok()?;
        on_port.tagged.get(at).map(|t| t.1)
    }

    /// All interfaces with their ids.
    pub fn iter(&self) -> impl Iterator<Item = (InterfaceId, &Interface)> {
        self.all.iter().enumerate().map(|(i, interface)| (InterfaceId(i as u16), interface))
    }
}
