//! `fleet`: the store, and where the nodes reach one another.

use std::path::PathBuf;

use hyper::Uri;

use crate::config::duration::{Period, Wait};
use crate::config::reader::{Fields, Reader};
use crate::config::schema::*;
use crate::config::tree::{Kind, Node};
use crate::config::value;

/// Ports that charon has on every address in the twins' namespace (RFC 7296 section 2.23).
const IKE_PORTS: [u16; 2] = [500, 4500];
/// Most members of a store, or proxies.
const MAX_ENDPOINTS: usize = 16;

pub(super) fn fleet(r: &mut Reader, node: &Node) -> Option<FleetConfig> {
    let mut f = r.fields(node)?;
    let name = f.required(r, "name", "NAME (the same on all nodes)", value::name);
    let store = f.or(r, "store", FleetStore::Embedded, store);
    let key_file = f.required(r, "key_file", "/etc/penstock/fleet.key", |r, node| file(r, node, "fleet.key"));
    let address = f.required(r, "address", "192.0.2.1 (of one of our ports)", value::host);
    let port = f.or(r, "port", 4790, port);
    let barrier = f.or(r, "barrier", Wait::from_millis(1000), barrier);
    let liveness = f.or(r, "liveness", Period::from_secs(5), |r, node| {
        value::period(r, node, Period::from_secs(2), Period::from_secs(60), "5s")
    });
    f.finish(r);
    Some(FleetConfig { name: name?, store, key_file: key_file?, address: address?, port, barrier, liveness })
}

/// The port of packets; the next one is ours, too.
fn port(r: &mut Reader, node: &Node) -> Option<u16> {
    let port = value::number(1024..=65_534u16)(r, node)?;
    if IKE_PORTS.contains(&port) || IKE_PORTS.contains(&control_port(port)) {
        let message = format!("{port} and {} are ours then, and one of them is that of IKE", port + 1);
        r.problem(node.at, message, "write another port, such as 4790");
        return None;
    }
    Some(port)
}

/// Routers send a request again after half a second or more, and most give up on a rekey after many seconds.
fn barrier(r: &mut Reader, node: &Node) -> Option<Wait> {
    let (least, most) = (Wait::from_millis(50), Wait::from_millis(3000));
    let text = value::text(r, node)?;
    let fix = format!("write a time from {least} to {most} with its unit (ms or s), such as 1s");
    match Wait::parse(&text) {
        Some(wait) if (least..=most).contains(&wait) => Some(wait),
        Some(wait) => {
            r.problem(node.at, format!("{wait} is out of range"), fix);
            None
        }
        None => r.unfit(node, "a span of time", &fix),
    }
}

fn file(r: &mut Reader, node: &Node, example: &str) -> Option<PathBuf> {
    super::path(r, node, &format!("write the whole path of the file, such as /etc/penstock/{example}"))
}

fn store(r: &mut Reader, node: &Node) -> Option<FleetStore> {
    const FIX: &str = "write embedded (a fleet of one node), or etcd with its endpoints below";
    match &node.kind {
        Kind::Scalar(text) if **text == *"embedded" => Some(FleetStore::Embedded),
        Kind::Map(_) => {
            let mut f = r.fields(node)?;
            let etcd = f.required(r, "etcd", "{endpoints: [\"https://192.0.2.11:2379\"]}", etcd);
            f.finish(r);
            Some(FleetStore::Etcd { etcd: etcd? })
        }
        _ => r.unfit(node, "embedded or a map with etcd", FIX),
    }
}

fn etcd(r: &mut Reader, node: &Node) -> Option<EtcdConfig> {
    let mut f = r.fields(node)?;
    let endpoints = f.required(r, "endpoints", "[\"https://192.0.2.11:2379\"]", endpoints);
    let before = r.problems.count();
    let ca = f.optional(r, "ca", |r, node| file(r, node, "etcd-ca.pem"));
    let identity = together(r, &mut f, node, "certificate", "private_key", |r, node| {
        file(r, node, "etcd.pem and etcd.key")
    });
    let identity = identity.map(|(certificate, private_key)| EtcdIdentity { certificate, private_key });
    let user = f.optional(r, "user", user);
    let password_file = f.optional(r, "password_file", |r, node| file(r, node, "etcd.password"));
    f.finish(r);
    let user = match (user, password_file) {
        (Some(user), Some(password_file)) => Some(EtcdUser { user, password_file }),
        (None, None) => None,
        // One that could not be read was complained about.
        _ if r.problems.count() != before => None,
        (user, _) => {
            let missing = if user.is_some() { "password_file" } else { "user" };
            r.problem(node.at, format!("has no {missing}"), "write user and password_file, or neither");
            None
        }
    };
    let config = EtcdConfig { endpoints: endpoints?, ca, identity, user };
    if r.problems.count() == before {
        tls(r, node, &config);
    }
    Some(config)
}

/// Two files of which none makes sense alone.
fn together(
    r: &mut Reader,
    f: &mut Fields<'_>,
    node: &Node,
    first: &'static str,
    second: &'static str,
    mut read: impl FnMut(&mut Reader, &Node) -> Option<PathBuf>,
) -> Option<(PathBuf, PathBuf)> {
    let before = r.problems.count();
    match (f.optional(r, first, &mut read), f.optional(r, second, &mut read)) {
        (Some(one), Some(other)) => Some((one, other)),
        (None, None) => None,
        _ if r.problems.count() != before => None,
        (one, _) => {
            let missing = if one.is_some() { second } else { first };
            let fix = format!("write {first} and {second}, or neither");
            r.problem(node.at, format!("has no {missing}"), fix);
            None
        }
    }
}

fn user(r: &mut Reader, node: &Node) -> Option<String> {
    let name = value::text(r, node)?;
    if (1..=255).contains(&name.len()) && !name.contains(char::is_control) {
        return Some(name);
    }
    r.unfit(node, "a user of etcd", "write its name, as etcdctl user list shows it")
}

fn endpoints(r: &mut Reader, node: &Node) -> Option<Vec<StoreUrl>> {
    if matches!(&node.kind, Kind::List(items) if items.is_empty()) {
        return r.unfit(node, "a list of URLs", "name the members of etcd, or write store: embedded");
    }
    let before = r.problems.count();
    let list = r.list(node, url)?;
    if list.len() > MAX_ENDPOINTS {
        let message = format!("there are {}, the limit is {MAX_ENDPOINTS}", list.len());
        r.problem(node.at, message, "name some of the members: one is enough to reach them all");
    }
    if list.iter().any(StoreUrl::is_tls) && !list.iter().all(StoreUrl::is_tls) {
        r.problem(node.at, "are both https and http", "write https for all of them");
    }
    (r.problems.count() == before).then_some(list)
}

fn url(r: &mut Reader, node: &Node) -> Option<StoreUrl> {
    const FIX: &str = "write https://HOST:PORT, such as \"https://192.0.2.11:2379\"";
    let text = value::text(r, node)?;
    if text.contains('@') {
        // It may be a password: nothing of it is repeated.
        let fix = "write user and password_file beside endpoints, and https://HOST:PORT here";
        r.problem(node.at, "there is a user name in this URL", fix);
        return None;
    }
    let Ok(uri) = text.parse::<Uri>() else { return r.unfit(node, "a URL", FIX) };
    let (Some(scheme @ ("http" | "https")), Some(host)) = (uri.scheme_str(), uri.host()) else {
        return r.unfit(node, "a URL with http or https", FIX);
    };
    let Some(port) = uri.port_u16().filter(|port| *port > 0) else {
        return r.unfit(node, "a URL with a port", FIX);
    };
    if !matches!(uri.path(), "" | "/") || uri.query().is_some() {
        return r.unfit(node, "a URL without a path", FIX);
    }
    if host.is_empty() || host.contains(['%', '"', '\\']) {
        return r.unfit(node, "a URL with a host", FIX);
    }
    Some(StoreUrl { tls: scheme == "https", host: host.to_ascii_lowercase(), port })
}

/// Files of TLS are for `https`, which needs to know whose certificates are good.
fn tls(r: &mut Reader, node: &Node, etcd: &EtcdConfig) {
    let encrypted = etcd.endpoints.iter().all(StoreUrl::is_tls);
    match (encrypted, &etcd.ca) {
        (true, None) => {
            let fix = "add \"ca: /etc/penstock/etcd-ca.pem\", the certificate of the authority that signed those of etcd";
            r.problem(node.at, "has no ca: https could be with anybody", fix);
        }
        (false, ca) if ca.is_some() || etcd.identity.is_some() => {
            let fix = "write https in endpoints, or remove ca, certificate and private_key";
            r.problem(node.at, "has files of TLS, and endpoints are http", fix);
        }
        _ => {}
    }
}
