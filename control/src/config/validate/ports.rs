//! `ports`: names, devices, addresses, VLANs.

use std::collections::HashMap;

use ipnet::IpNet;

use super::{Check, MAX_PORTS};
use crate::config::Name;
use crate::config::schema::PortConfig;

/// Bytes of a network interface's name in Linux (IFNAMSIZ without the end).
const MAX_INTERFACE_NAME: usize = 15;
/// Interfaces of all ports; an interface id has 16 bits.
const MAX_INTERFACES: usize = 65_000;

/// An address with its owner, to compare with the others.
struct Link<'a> {
    net: IpNet,
    tenant: Option<&'a Name>,
    path: String,
}

impl Check<'_> {
    pub(super) fn ports(&mut self) {
        let config = self.config;
        if config.ports.len() > MAX_PORTS {
            let message = format!("there are {} ports, the limit is {MAX_PORTS}", config.ports.len());
            self.error("ports", message, "use fewer ports");
        }
        let interfaces: usize = config.ports.values().map(|p| 1 + p.vlans.len()).sum();
        if interfaces > MAX_INTERFACES {
            let message = format!("there are {interfaces} ports and VLANs, the limit is {MAX_INTERFACES}");
            self.error("ports", message, "use fewer VLANs");
        }
        let mut devices: HashMap<&str, &Name> = HashMap::new();
        let mut macs = HashMap::new();
        let mut links = Vec::new();
        for (name, port) in &config.ports {
            let path = format!("ports.{name}");
            self.port_name(&path, name, port);
            if let Some(other) = devices.insert(port.device.name(), name) {
                let message = format!("{} is also the device of {other}", port.device.name());
                self.error(&format!("{path}.device"), message, "a device is one port: name another device");
            }
            if let Some(mac) = port.mac
                && let Some(other) = macs.insert(mac, name)
            {
                let message = format!("{mac} is also the MAC of {other}");
                self.warn(&format!("{path}.mac"), message, "on one link, each port needs a MAC of its own");
            }
            if let Some(tenant) = &port.tenant {
                self.known_tenant(&format!("{path}.tenant"), tenant);
            }
            self.addresses(&path, &port.addresses, port.mtu, port.tenant.as_ref(), &mut links);
            for (vid, vlan) in &port.vlans {
                let path = format!("{path}.vlans.{vid}");
                if let Some(tenant) = &vlan.tenant {
                    self.known_tenant(&format!("{path}.tenant"), tenant);
                }
                let mtu = vlan.mtu.unwrap_or(port.mtu);
                if mtu > port.mtu {
                    let message = format!("{mtu} is more than the port's MTU, {}", port.mtu);
                    self.error(&format!("{path}.mtu"), message, "lower it, or raise the port's");
                }
                self.addresses(&path, &vlan.addresses, mtu, vlan.tenant.as_ref(), &mut links);
            }
        }
        self.shared_prefixes(links);
    }

    fn port_name(&mut self, path: &str, name: &Name, port: &PortConfig) {
        let longest_vlan = port.vlans.keys().last().map_or(0, |vid| 1 + vid.to_string().len());
        let room = MAX_INTERFACE_NAME - longest_vlan;
        if name.len() > room {
            let message = format!("the name has {} bytes, its twin's name has room for {room}", name.len());
            self.error(path, message, "use a shorter name");
        }
        if matches!(&**name, "lo" | "all" | "default") {
            self.error(
                path,
                format!("\"{name}\" is a name that the kernel uses itself"),
                "use a name such as edge0",
            );
        }
    }

    fn addresses<'a>(
        &mut self,
        path: &str,
        addresses: &[IpNet],
        mtu: u16,
        tenant: Option<&'a Name>,
        links: &mut Vec<Link<'a>>,
    ) {
        let list = format!("{path}.addresses");
        for (i, net) in addresses.iter().enumerate() {
            let path = self.item(&list, i);
            if mtu < 1280 && matches!(net, IpNet::V6(_)) {
                let message = format!("IPv6 needs an MTU of 1280, this link has {mtu}");
                self.error(&path, message, "raise the MTU or remove the address");
            }
            if let Some(other) = self.own.insert(net.addr(), path.clone()) {
                let line = self.line(&other).line;
                self.error(
                    &path,
                    format!("{} is also {other} (line {line})", net.addr()),
                    "remove one of them",
                );
            }
            links.push(Link { net: *net, tenant, path });
        }
    }

    /// The kernel has one routing table for all twins: a prefix on links of two tenants cannot work there.
    fn shared_prefixes(&mut self, mut links: Vec<Link<'_>>) {
        links.sort_by_key(|link| (link.net.trunc(), link.net.prefix_len()));
        let mut enclosing: Vec<&Link<'_>> = Vec::new();
        for link in &links {
            while enclosing.last().is_some_and(|outer| !outer.net.trunc().contains(&link.net.trunc())) {
                enclosing.pop();
            }
            if let Some(outer) = enclosing.iter().find(|outer| outer.tenant != link.tenant) {
                let message = format!("{} overlaps {} of {}", link.net, outer.net, outer.path);
                let fix = "links of different tenants need prefixes of their own";
                self.error(&link.path, message, fix);
            }
            enclosing.push(link);
        }
    }
}
