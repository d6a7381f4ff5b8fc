//! Reads the whole configuration out of the tree, with the defaults of keys that are not written.
//!
//! Here a value is right or wrong in itself. Whether values fit each other is `validate`'s question.

mod fleet;
mod ike;
mod ports;
mod tenants;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use super::Name;
use super::duration::Period;
use super::reader::Reader;
use super::schema::*;
use super::tree::{Kind, Node};
use super::value;
use crate::ike::spi::MAX_NODE_NUMBER;

pub(super) use ports::MAX_MTU;

/// The whole file. `None` only with a problem noted. What could not be read is left out, so that the rest can be
/// checked all the same.
pub(super) fn gateway(reader: &mut Reader, root: &Node) -> Option<GatewayConfig> {
    let mut fields = reader.fields(root)?;
    let r = reader;
    let node = fields.optional(r, "node", node_config).or_else(|| node_config(r, &missing(root)));
    let memory = fields.optional(r, "memory", memory).or_else(|| memory(r, &missing(root)));
    let cores = fields.required(r, "cores", "{control: 0, workers: [1]}", cores);
    let crypto = fields.optional(r, "crypto", crypto).or_else(|| crypto(r, &missing(root)));
    let ports = fields.required(r, "ports", "{edge0: {device: \"0000:3b:00.0\"}}", |r, node| {
        r.entries(node, value::key_name, ports::port)
    });
    let routes = fields.or(r, "routes", vec![], |r, node| r.list(node, ports::underlay_route));
    let endpoints =
        fields.or(r, "endpoints", BTreeMap::new(), |r, node| r.entries(node, value::key_name, value::host));
    let icmp = fields.optional(r, "icmp", icmp).or_else(|| icmp(r, &missing(root)));
    let metrics = fields.optional(r, "metrics", metrics).or_else(|| metrics(r, &missing(root)));
    let ike = fields.optional(r, "ike", ike::ike).or_else(|| ike::ike(r, &missing(root)));
    // Also where it cannot be read: one mistake is not to look like many.
    let mut in_fleet = false;
    let fleet = fields.optional(r, "fleet", |r, node| {
        in_fleet = true;
        fleet::fleet(r, node)
    });
    let tenants = fields.or(r, "tenants", BTreeMap::new(), |r, node| {
        r.entries(node, value::key_name, |r, node| tenants::tenant(r, node, in_fleet))
    });
    fields.finish(r);
    Some(GatewayConfig {
        node: node?,
        memory: memory?,
        cores: cores.unwrap_or(CoresConfig {
            control: 0,
            workers: vec![],
            queues: QueuePlacement::Auto,
            spread: Spread::Auto,
            idle: IdlePlacement::All(IdlePolicy::Poll),
        }),
        crypto: crypto?,
        ports: ports.unwrap_or_default(),
        routes,
        endpoints,
        icmp: icmp?,
        metrics: metrics?,
        ike: ike?,
        fleet,
        tenants,
    })
}

/// A map that was not written: all its defaults.
fn missing(parent: &Node) -> Node {
    Node { at: parent.at, kind: Kind::Empty }
}

fn named(text: &str) -> impl FnOnce() -> Option<Name> + '_ {
    move || Name::new(text)
}

/// Whoever waits longer has forgotten that the node is to stop.
const LONGEST_DRAIN: Period = Period::from_secs(3600);

fn node_config(r: &mut Reader, node: &Node) -> Option<NodeConfig> {
    let mut f = r.fields(node)?;
    let name = f.optional(r, "name", value::name).or_else(named("penstock"));
    let number = f.or(r, "number", 0, value::number(0..=MAX_NODE_NUMBER));
    let netns = f.optional(r, "netns", value::name).or_else(named("penstock"));
    let socket = f.or(r, "socket", "/run/penstock/api.sock".into(), |r, node| {
        socket(r, node, "write a path such as /run/penstock/api.sock")
    });
    let state = f.or(r, "state", "/var/lib/penstock".into(), |r, node| {
        path(r, node, "write a directory of our own, such as /var/lib/penstock")
    });
    let drain = f.or(r, "drain", Auto::Auto, |r, node| match &node.kind {
        Kind::Scalar(text) if **text == *"auto" => Some(Auto::Auto),
        _ => value::period(r, node, Period::from_secs(0), LONGEST_DRAIN, "10s").map(Auto::Fixed),
    });
    f.finish(r);
    Some(NodeConfig { name: name?, number, netns: netns?, socket, state, drain })
}

/// The path of a unix socket: sockaddr_un has 108 bytes, one of them for the end.
fn socket(r: &mut Reader, node: &Node, fix: &str) -> Option<PathBuf> {
    let path = value::text(r, node)?;
    if path.starts_with('/') && path.len() < 108 && !path.contains(char::is_control) {
        return Some(path.into());
    }
    r.unfit(node, "an absolute path of at most 107 bytes", fix)
}

/// The path of a file or directory.
fn path(r: &mut Reader, node: &Node, fix: &str) -> Option<PathBuf> {
    let path = value::text(r, node)?;
    if path.starts_with('/') && !path.contains(char::is_control) {
        return Some(path.into());
    }
    r.unfit(node, "an absolute path", fix)
}

fn memory(r: &mut Reader, node: &Node) -> Option<MemoryConfig> {
    const AUTO: &[(&str, Auto<u32>)] = &[("auto", Auto::Auto)];
    let mut f = r.fields(node)?;
    let hugepages = f.or(r, "hugepages", true, value::boolean);
    let size_mib = f.or(r, "size_mib", 2048, value::number(64..=1_048_576u32));
    let mbufs = f.or(
        r,
        "mbufs",
        Auto::Auto,
        value::word_or(AUTO, |r, n| value::number(1024..=67_108_864u32)(r, n).map(Auto::Fixed)),
    );
    let mbuf_size = f.or(r, "mbuf_size", 2048, value::number(1024..=16_384u16));
    f.finish(r);
    Some(MemoryConfig { hugepages, size_mib, mbufs, mbuf_size })
}

/// DPDK's own limit (RTE_MAX_LCORE of common builds) is lower; cores are numbers of the operating system.
const MAX_CORE: u16 = 1023;

fn cores(r: &mut Reader, node: &Node) -> Option<CoresConfig> {
    let mut f = r.fields(node)?;
    let control = f.or(r, "control", 0, value::number(0..=MAX_CORE));
    let workers = f.required(r, "workers", "[1, 2]", |r, node| Some(r.list(node, core_range)?.concat()));
    let queues = f.or(r, "queues", QueuePlacement::Auto, |r, node| match &node.kind {
        Kind::Scalar(text) if **text == *"auto" => Some(QueuePlacement::Auto),
        Kind::Scalar(_) => {
            r.unfit(node, "auto or a map of cores", "write auto, or {2: [edge0/0], 3: [edge0/1]}")
        }
        _ => {
            let lists = r.entries(node, core_key, |r, node| r.list(node, port_queue))?;
            Some(QueuePlacement::ByHand(lists))
        }
    });
    let spread =
        f.or(r, "spread", Spread::Auto, value::word(&[("auto", Spread::Auto), ("off", Spread::Off)]));
    let idle = f.or(r, "idle", IdlePlacement::All(IdlePolicy::Poll), |r, node| match &node.kind {
        Kind::Scalar(_) => idle_policy(r, node).map(IdlePlacement::All),
        _ => r.entries(node, core_key, idle_policy).map(IdlePlacement::ByCore),
    });
    f.finish(r);
    Some(CoresConfig { control, workers: workers?, queues, spread, idle })
}

fn idle_policy(r: &mut Reader, node: &Node) -> Option<IdlePolicy> {
    const POLICIES: &[(&str, IdlePolicy)] =
        &[("poll", IdlePolicy::Poll), ("pause", IdlePolicy::Pause), ("sleep", IdlePolicy::Sleep)];
    value::word(POLICIES)(r, node)
}

fn crypto(r: &mut Reader, node: &Node) -> Option<CryptoConfig> {
    const BACKENDS: &[(&str, CryptoBackend)] = &[
        ("auto", CryptoBackend::Auto),
        ("ipsec-mb", CryptoBackend::IpsecMb),
        ("vaes", CryptoBackend::Vaes),
        ("rustcrypto", CryptoBackend::RustCrypto),
    ];
    let mut f = r.fields(node)?;
    let backend = f.or(r, "backend", CryptoBackend::Auto, value::word(BACKENDS));
    f.finish(r);
    Some(CryptoConfig { backend })
}

/// `3`, or `2-4`, or `2-4,8`.
fn core_range(r: &mut Reader, node: &Node) -> Option<Vec<u16>> {
    const FIX: &str = "write core numbers from 0 to 1023, such as [2, 3] or \"2-4,8\"";
    let Kind::Scalar(text) = &node.kind else { return r.unfit(node, "a core or range of cores", FIX) };
    let mut cores = Vec::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        match (first.trim().parse::<u16>(), last.trim().parse::<u16>()) {
            (Ok(first), Ok(last)) if first <= last && last <= MAX_CORE => cores.extend(first..=last),
            _ => return r.unfit(node, "a core or range of cores", FIX),
        }
        if cores.len() > usize::from(MAX_CORE) + 1 {
            return r.unfit(node, "a list of different cores", FIX);
        }
    }
    Some(cores)
}

fn core_key(r: &mut Reader, text: &str, at: super::Location) -> Option<u16> {
    match text.parse() {
        Ok(core) if core <= MAX_CORE => Some(core),
        _ => {
            let message = format!("\"{}\" is not a core", super::tree::shorten(text));
            r.problem(at, message, "write the number of a worker core, from 0 to 1023");
            None
        }
    }
}

fn port_queue(r: &mut Reader, node: &Node) -> Option<PortQueue> {
    let parsed = match &node.kind {
        Kind::Scalar(text) => text.split_once('/').and_then(|(port, queue)| {
            Some(PortQueue { port: Name::new(port)?, queue: queue.parse().ok().filter(|q| *q < 1024)? })
        }),
        _ => None,
    };
    match parsed {
        Some(queue) => Some(queue),
        None => r.unfit(node, "a receive queue", "write port/queue, such as edge0/0"),
    }
}

fn metrics(r: &mut Reader, node: &Node) -> Option<MetricsConfig> {
    let mut f = r.fields(node)?;
    let listen = f.optional(r, "listen", listen);
    f.finish(r);
    Some(MetricsConfig { listen })
}

/// An address of this host and a TCP port.
fn listen(r: &mut Reader, node: &Node) -> Option<SocketAddr> {
    let text = value::text(r, node)?;
    match text.parse::<SocketAddr>() {
        Ok(address) if address.port() != 0 => Some(address),
        _ => r.unfit(
            node,
            "an address with a port",
            "write an address of this host and a port, such as 127.0.0.1:9477 or \"[::1]:9477\"",
        ),
    }
}

fn icmp(r: &mut Reader, node: &Node) -> Option<IcmpConfig> {
    let mut f = r.fields(node)?;
    let rate = f.or(r, "rate", 1000, value::number(0..=10_000_000u32));
    let burst = f.or(r, "burst", 100, value::number(1..=1_000_000u32));
    f.finish(r);
    Some(IcmpConfig { rate, burst })
}
