//! `ports` and `routes`: devices, addresses, VLANs, static routes of the underlay.

use std::collections::BTreeMap;

use crate::config::Name;
use crate::config::problem::Location;
use crate::config::reader::Reader;
use crate::config::schema::*;
use crate::config::tree::{Kind, Node, shorten};
use crate::config::value;

/// Largest layer 3 packet of a port: what NICs call 9600-byte jumbo frames, bytes.
pub(in crate::config) const MAX_MTU: u16 = 9600;
/// Every IPv4 link carries 576 in one piece or as fragments (RFC 791 asks for 68; nothing sane is below 576).
const MIN_MTU: u16 = 576;

pub(super) fn port(r: &mut Reader, node: &Node) -> Option<PortConfig> {
    let mut f = r.fields(node)?;
    let device = f.required(r, "device", "\"0000:3b:00.0\"", device);
    let mtu = f.or(r, "mtu", 1500, value::number(MIN_MTU..=MAX_MTU));
    let mac = f.optional(r, "mac", value::mac);
    let addresses = f.or(r, "addresses", vec![], |r, node| r.list(node, value::interface_address));
    let tenant = f.optional(r, "tenant", value::name);
    let vlans = f.or(r, "vlans", BTreeMap::new(), |r, node| r.entries(node, vlan_id, vlan));
    let rx_descriptors = f.or(r, "rx_descriptors", 1024, value::number(64..=32_768u16));
    let tx_descriptors = f.or(r, "tx_descriptors", 1024, value::number(64..=32_768u16));
    f.finish(r);
    Some(PortConfig { device: device?, mtu, mac, addresses, tenant, vlans, rx_descriptors, tx_descriptors })
}

fn vlan_id(r: &mut Reader, text: &str, at: Location) -> Option<u16> {
    match text.parse() {
        Ok(vid @ 1..=4094) => Some(vid),
        _ => {
            let message = format!("\"{}\" is not a VLAN id", shorten(text));
            r.problem(at, message, "write a number from 1 to 4094");
            None
        }
    }
}

fn vlan(r: &mut Reader, node: &Node) -> Option<VlanConfig> {
    let mut f = r.fields(node)?;
    let addresses = f.or(r, "addresses", vec![], |r, node| r.list(node, value::interface_address));
    let tenant = f.optional(r, "tenant", value::name);
    let mtu = f.optional(r, "mtu", value::number(MIN_MTU..=MAX_MTU));
    f.finish(r);
    Some(VlanConfig { addresses, tenant, mtu })
}

/// A PCI address (the domain may be left out) or the string of a virtual device.
fn device(r: &mut Reader, node: &Node) -> Option<Device> {
    const FIX: &str = "write a PCI address such as \"0000:3b:00.0\" (dpdk-devbind.py -s lists them) or a virtual \
                       device such as \"net_af_packet0,iface=veth0\"";
    let text = value::text(r, node)?;
    let (name, arguments) = text.split_once(',').map_or((text.as_str(), None), |(n, a)| (n, Some(a)));
    let clean =
        text.len() <= 1024 && text.bytes().all(|b| b.is_ascii_graphic() && !matches!(b, b'"' | b'\'' | b'`'));
    if clean && let Some(address) = pci_address(name) {
        return Some(Device::Pci(match arguments {
            Some(arguments) => format!("{address},{arguments}"),
            None => address,
        }));
    }
    let virtual_name = ["net_", "eth_"].iter().any(|prefix| {
        name.strip_prefix(prefix).is_some_and(|rest| {
            rest.starts_with(|c: char| c.is_ascii_lowercase())
                && rest.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
        })
    });
    // RTE_DEV_NAME_MAX_LEN is 64, with the end.
    if !clean || !virtual_name || name.len() > 63 {
        return r.unfit(node, "a device", FIX);
    }
    if !name.ends_with(|c: char| c.is_ascii_digit()) {
        let fix = format!("add a number that no other port has, such as {name}0");
        r.problem(node.at, format!("the virtual device \"{name}\" has no number"), fix);
        return None;
    }
    Some(Device::Virtual(text))
}

/// `3b:00.0` or `0000:3b:00.0`, with the domain added and in lower case.
fn pci_address(text: &str) -> Option<String> {
    let (rest, function) = text.rsplit_once('.')?;
    let mut parts = rest.rsplit(':');
    let (slot, bus, domain) = (parts.next()?, parts.next()?, parts.next().unwrap_or("0000"));
    let hex = |text: &str, digits: std::ops::RangeInclusive<usize>| {
        digits.contains(&text.len()) && text.bytes().all(|b| b.is_ascii_hexdigit())
    };
    let fits = parts.next().is_none()
        && hex(domain, 4..=8)
        && hex(bus, 2..=2)
        && hex(slot, 2..=2)
        && u8::from_str_radix(slot, 16).is_ok_and(|slot| slot < 32)
        && matches!(function.as_bytes(), [b'0'..=b'7']);
    fits.then(|| format!("{domain}:{bus}:{slot}.{function}").to_ascii_lowercase())
}

pub(super) fn underlay_route(r: &mut Reader, node: &Node) -> Option<UnderlayRoute> {
    const WORDS: &[(&str, UnderlayVia)] =
        &[("blackhole", UnderlayVia::Blackhole), ("unreachable", UnderlayVia::Unreachable)];
    let mut f = r.fields(node)?;
    let prefix = f.required(r, "prefix", "0.0.0.0/0", value::prefix);
    let via = f.required(r, "via", "192.0.2.254", |r, node| {
        let text = value::text(r, node)?;
        match WORDS.iter().find(|(word, _)| *word == text) {
            Some((_, via)) => Some(*via),
            None => value::host(r, node).map(UnderlayVia::Router),
        }
    });
    let interface = f.optional(r, "interface", interface_name);
    let weight = f.or(r, "weight", 1, value::number(1..=256u16));
    f.finish(r);
    Some(UnderlayRoute { prefix: prefix?, via: via?, interface, weight })
}

fn interface_name(r: &mut Reader, node: &Node) -> Option<InterfaceName> {
    let parsed = match &node.kind {
        Kind::Scalar(text) => match text.split_once('.') {
            None => Name::new(text).map(|port| InterfaceName { port, vlan: None }),
            Some((port, vlan)) => match (Name::new(port), vlan.parse()) {
                (Some(port), Ok(vlan)) => Some(InterfaceName { port, vlan: Some(vlan) }),
                _ => None,
            },
        },
        _ => None,
    };
    match parsed {
        Some(name) => Some(name),
        None => {
            r.unfit(node, "an interface", "write a port such as edge0, or a VLAN of one such as edge0.100")
        }
    }
}
