//! `tenants`: public prefixes, tunnels, inner routes.

use std::collections::BTreeMap;

use super::ike;
use crate::config::duration::Period;
use crate::config::reader::{Fields, Reader};
use crate::config::schema::*;
use crate::config::tree::{Kind, Node};
use crate::config::value;

/// A tenant; what some keys are when not written depends on whether it is served by a fleet.
pub(super) fn tenant(r: &mut Reader, node: &Node, in_fleet: bool) -> Option<TenantConfig> {
    let mut f = r.fields(node)?;
    let prefixes = f.or(r, "prefixes", vec![], |r, node| r.list(node, value::prefix));
    let tunnels = f.or(r, "tunnels", BTreeMap::new(), |r, node| {
        r.entries(
            node,
            |r, key, at| {
                if matches!(key, "internet" | "blackhole" | "unreachable") {
                    r.problem(
                        at,
                        format!("\"{key}\" means something else in routes"),
                        "give the tunnel another name",
                    );
                    return None;
                }
                value::key_name(r, key, at)
            },
            |r, node| tunnel(r, node, in_fleet),
        )
    });
    let routes = f.or(r, "routes", vec![], |r, node| r.list(node, route));
    f.finish(r);
    Some(TenantConfig { prefixes, tunnels, routes })
}

fn tunnel(r: &mut Reader, node: &Node, in_fleet: bool) -> Option<TunnelConfig> {
    const AUTO: &[(&str, Auto<u16>)] = &[("auto", Auto::Auto)];
    const MSS: &[(&str, Mss)] = &[("auto", Mss::Auto), ("off", Mss::Off)];
    const TTL: &[(&str, Ttl)] = &[("inherit", Ttl::Inherit)];
    const DSCP: &[(&str, Dscp)] = &[("inherit", Dscp::Inherit), ("uniform", Dscp::Uniform)];
    let mut f = r.fields(node)?;
    let kind = kind(r, &mut f, in_fleet);
    let endpoint = f.required(r, "endpoint", "NAME (one of endpoints)", value::name);
    let remote = f.required(r, "remote", "192.0.2.77 (the customer's router)", remote);
    let address = f.or(r, "address", vec![], |r, node| r.list(node, value::interface_address));
    let mtu = f.or(
        r,
        "mtu",
        Auto::Auto,
        value::word_or(AUTO, |r, n| value::number(576..=super::MAX_MTU)(r, n).map(Auto::Fixed)),
    );
    let mss = f.or(
        r,
        "mss",
        Mss::Auto,
        value::word_or(MSS, |r, n| value::number(536..=9_560u16)(r, n).map(Mss::Bytes)),
    );
    let ttl = f.or(
        r,
        "ttl",
        Ttl::Fixed(64),
        value::word_or(TTL, |r, n| value::number(1..=255u8)(r, n).map(Ttl::Fixed)),
    );
    let dscp = f.or(
        r,
        "dscp",
        Dscp::Inherit,
        value::word_or(DSCP, |r, n| value::number(0..=63u8)(r, n).map(Dscp::Fixed)),
    );
    let df =
        f.or(r, "df", Df::Set, value::word(&[("set", Df::Set), ("copy", Df::Copy), ("clear", Df::Clear)]));
    let source_filter = f.or(r, "source_filter", SourceFilter::Tenant, source_filter);
    let health = f.optional(r, "health", |r, node| health(r, node, !address.is_empty())).flatten();
    f.finish(r);
    Some(TunnelConfig {
        kind,
        endpoint: endpoint?,
        remote: remote?,
        address,
        mtu,
        mss,
        ttl,
        dscp,
        df,
        source_filter,
        health,
    })
}

/// `type` and the keys that depend on it.
fn kind(r: &mut Reader, f: &mut Fields<'_>, in_fleet: bool) -> TunnelKind {
    #[derive(Clone, Copy, PartialEq)]
    enum Word {
        Gre,
        Ipsec,
    }
    const KINDS: &[(&str, Word)] = &[("gre", Word::Gre), ("ipsec", Word::Ipsec)];
    if f.or(r, "type", Word::Gre, value::word(KINDS)) == Word::Ipsec {
        for key in ["key", "checksum", "keepalive"] {
            f.optional(r, key, |r, node| {
                r.problem(node.at, "is for GRE, this tunnel is ipsec", "remove it, or write type: gre");
                None::<()>
            });
        }
        let ike = f.optional(r, "ike", |r, node| ike::tunnel(r, node, in_fleet));
        return TunnelKind::Ipsec(IpsecConfig { ike: ike.map(Box::new) });
    }
    f.optional(r, "ike", |r, node| {
        r.problem(node.at, "is for IPsec, this tunnel is gre", "remove it, or write type: ipsec");
        None::<()>
    });
    TunnelKind::Gre(GreConfig {
        key: f.optional(r, "key", value::number(0..=u32::MAX)),
        checksum: f.or(r, "checksum", false, value::boolean),
        keepalive: f.optional(r, "keepalive", keepalive),
    })
}

fn remote(r: &mut Reader, node: &Node) -> Option<Remote> {
    match &node.kind {
        Kind::Scalar(text) if **text == *"any" => Some(Remote::Any),
        _ => value::host(r, node).map(Remote::At),
    }
}

fn source_filter(r: &mut Reader, node: &Node) -> Option<SourceFilter> {
    match &node.kind {
        Kind::Scalar(text) if **text == *"tenant" => Some(SourceFilter::Tenant),
        Kind::Scalar(text) if **text == *"off" => Some(SourceFilter::Off),
        Kind::Scalar(text) if !text.contains('/') => r.unfit(
            node,
            "tenant, off or a list of prefixes",
            "write tenant, off or a list such as [10.1.0.0/16]",
        ),
        _ => r.list(node, value::prefix).map(SourceFilter::Prefixes),
    }
}

/// PMTU_RAISE_TIMER (RFC 8899 section 5.1.1).
const PATH_MTU_RAISE: Period = Period::from_secs(600);

fn path_mtu_raise(r: &mut Reader, node: &Node) -> Option<Period> {
    value::period(r, node, Period::from_secs(10), Period::from_secs(86_400), "10m")
}

/// `on`, `off`, or how. Answers come back through the tunnel where there is an address of ours for them.
fn health(r: &mut Reader, node: &Node, has_address: bool) -> Option<Option<HealthConfig>> {
    const RATES: &[(&str, HealthRate)] =
        &[("low", HealthRate::Low), ("mid", HealthRate::Mid), ("high", HealthRate::High)];
    const TYPES: &[(&str, HealthType)] = &[("request", HealthType::Request), ("reply", HealthType::Reply)];
    const DIRECTIONS: &[(&str, HealthDirection)] = &[
        ("bidirectional", HealthDirection::Bidirectional),
        ("unidirectional", HealthDirection::Unidirectional),
    ];
    let direction =
        if has_address { HealthDirection::Bidirectional } else { HealthDirection::Unidirectional };
    let usual = HealthConfig {
        rate: HealthRate::Mid,
        kind: HealthType::Request,
        direction,
        target: None,
        path_mtu: false,
        path_mtu_raise: PATH_MTU_RAISE,
    };
    match &node.kind {
        Kind::Scalar(text) if **text == *"off" => return Some(None),
        Kind::Scalar(text) if **text == *"on" => return Some(Some(usual)),
        Kind::Scalar(_) => {
            return r.unfit(node, "on, off or a map", "write on, off or a map such as {rate: low}");
        }
        _ => {}
    }
    let mut f = r.fields(node)?;
    let health = HealthConfig {
        rate: f.or(r, "rate", usual.rate, value::word(RATES)),
        kind: f.or(r, "type", usual.kind, value::word(TYPES)),
        direction: f.or(r, "direction", usual.direction, value::word(DIRECTIONS)),
        target: f.optional(r, "target", value::host),
        path_mtu: f.or(r, "path_mtu", usual.path_mtu, value::boolean),
        path_mtu_raise: f.or(r, "path_mtu_raise", usual.path_mtu_raise, path_mtu_raise),
    };
    f.finish(r);
    Some(Some(health))
}

fn keepalive(r: &mut Reader, node: &Node) -> Option<Keepalive> {
    let mut f = r.fields(node)?;
    let interval_s = f.or(r, "interval_s", 10, value::number(1..=32_767u16));
    let retries = f.or(r, "retries", 3, value::number(1..=255u8));
    f.finish(r);
    Some(Keepalive { interval_s, retries })
}

fn route(r: &mut Reader, node: &Node) -> Option<TenantRoute> {
    let mut f = r.fields(node)?;
    let prefix = f.required(r, "prefix", "198.51.100.0/24", value::prefix);
    let via = f.required(r, "via", "NAME (a tunnel, or internet)", via);
    let priority = f.or(r, "priority", 100, value::number(0..=u32::MAX));
    let weight = f.or(r, "weight", 1, value::number(1..=256u16));
    f.finish(r);
    Some(TenantRoute { prefix: prefix?, via: via?, priority, weight })
}

fn via(r: &mut Reader, node: &Node) -> Option<Via> {
    let text = value::text(r, node)?;
    match text.as_str() {
        "internet" => Some(Via::Internet),
        "blackhole" => Some(Via::Blackhole),
        "unreachable" => Some(Via::Unreachable),
        _ if text.parse::<std::net::IpAddr>().is_ok() => value::host(r, node).map(Via::Router),
        _ => value::name(r, node).map(Via::Tunnel),
    }
}
