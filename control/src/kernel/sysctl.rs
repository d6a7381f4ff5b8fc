//! The sysctls of the twin namespace: a router that forwards for the fast path while it learns a neighbour,
//! and that takes packets with its own source addresses back, because the fast path sends them up.
//!
//! /proc/sys/net shows the namespace of the *calling thread*, so these functions are to be called inside
//! [`Netns::run`](super::netns::Netns::run).

use std::fs;
use std::io;
use std::path::PathBuf;

use super::error::KernelError;

const ROOT: &str = "/proc/sys/net";

/// For the whole namespace. `default` is what interfaces made later start with, `all` is combined with each
/// one's own.
const NAMESPACE: &[(&str, &str)] = &[
    // Packets whose neighbour is not known yet come up through the twin; the kernel queues them, resolves and
    // forwards.
    ("ipv4/ip_forward", "1"),
    // An encapsulated packet of ours has an endpoint as its source and still comes in by a twin.
    ("ipv4/conf/all/accept_local", "1"),
    ("ipv4/conf/default/accept_local", "1"),
    // Anycast is asymmetric by nature.
    ("ipv4/conf/all/rp_filter", "0"),
    ("ipv4/conf/default/rp_filter", "0"),
    // A packet that comes up by a twin leaves by the same one: no reason to tell the sender.
    ("ipv4/conf/all/send_redirects", "0"),
    ("ipv4/conf/default/send_redirects", "0"),
    ("ipv4/conf/all/accept_redirects", "0"),
    ("ipv4/conf/default/accept_redirects", "0"),
    ("ipv4/conf/all/log_martians", "0"),
    ("ipv4/conf/default/log_martians", "0"),
    // Ask for neighbours with an address of the link, never with an anycast endpoint that sits on lo.
    ("ipv4/conf/all/arp_announce", "2"),
    ("ipv4/conf/default/arp_announce", "2"),
    // Taking an address off leaves the others of its network on.
    ("ipv4/conf/all/promote_secondaries", "1"),
    ("ipv4/conf/default/promote_secondaries", "1"),
    // A next hop behind a port without link is no next hop (the mirror leaves it out as well).
    ("ipv4/conf/all/ignore_routes_with_linkdown", "1"),
    ("ipv4/conf/default/ignore_routes_with_linkdown", "1"),
    // A route that uses a next-hop object still says which next hops it has.
    ("ipv4/nexthop_compat_mode", "1"),
];

const NAMESPACE_IPV6: &[(&str, &str)] = &[
    ("ipv6/conf/all/disable_ipv6", "0"),
    ("ipv6/conf/default/disable_ipv6", "0"),
    ("ipv6/conf/all/forwarding", "1"),
    ("ipv6/conf/default/forwarding", "1"),
    ("ipv6/conf/all/accept_ra", "0"),
    ("ipv6/conf/default/accept_ra", "0"),
    ("ipv6/conf/all/accept_redirects", "0"),
    ("ipv6/conf/default/accept_redirects", "0"),
    // The link-local address is needed at once; without this it is tentative for a second or two.
    ("ipv6/conf/all/accept_dad", "0"),
    ("ipv6/conf/default/accept_dad", "0"),
    ("ipv6/conf/all/ignore_routes_with_linkdown", "1"),
    ("ipv6/conf/default/ignore_routes_with_linkdown", "1"),
];

/// Settings that are absent from older kernels; the gateway works without them.
const OPTIONAL: &[&str] = &["ipv4/nexthop_compat_mode"];

/// Sets up the namespace of the calling thread.
pub fn configure_namespace() -> Result<(), KernelError> {
    let ipv6: &[(&str, &str)] = if has_ipv6() { NAMESPACE_IPV6 } else { &[] };
    NAMESPACE.iter().chain(ipv6).try_for_each(|&(name, value)| write(name, value))
}

/// The kernel has IPv6 and has it switched on at boot.
pub fn has_ipv6() -> bool {
    PathBuf::from(ROOT).join("ipv6/conf/all").exists()
}

fn write(name: &str, value: &'static str) -> Result<(), KernelError> {
    let path = PathBuf::from(ROOT).join(name);
    // Reading first keeps this quiet on a read-only /proc/sys that is already right.
    if fs::read_to_string(&path).is_ok_and(|now| now.trim() == value) {
        return Ok(());
    }
    match fs::write(&path, value) {
        Err(e) if e.kind() == io::ErrorKind::NotFound && OPTIONAL.contains(&name) => Ok(()),
        Err(source) => Err(KernelError::Sysctl { path, value, source }),
        Ok(()) => Ok(()),
    }
}
