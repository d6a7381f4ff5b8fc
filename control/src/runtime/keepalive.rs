//! Our own GRE keepalives (Cisco's form): a packet in the tunnel whose inner packet the peer sends back.
//!
//! They leave by the kernel, which routes and resolves like for any of its packets; the workers count
//! the answers. What they say is shown and logged, and routes follow it where the tunnel has no health probes.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrStorage, sendto, socket,
};
use penstock_dataplane::wire::gre::{self, Gre};
use penstock_dataplane::wire::{ethernet, keepalive, protocol};

use crate::config::{self, Name};
use crate::kernel::KernelError;
use crate::kernel::netns::Netns;

/// Longest keepalive: two IPv6 headers and two GRE headers.
const MAX_LEN: usize = 128;
const DEFAULT_TTL: u8 = 64;

/// What a tunnel's keepalives say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// None has come back yet, and retries are left.
    Waiting,
    /// They come back.
    Up,
    /// `retries` in a row did not come back.
    Down,
}

/// One tunnel's keepalives.
#[derive(Clone, Copy, Debug)]
pub(super) struct Watch {
    pub(super) verdict: Verdict,
    pub(super) sent: u64,
    pub(super) last_answer: Option<Instant>,
    seen: u64,
    missed: u8,
    due: Instant,
}

/// A tunnel that wants keepalives now.
pub(super) struct Wanted<'a> {
    pub(super) tenant: &'a Name,
    pub(super) tunnel: &'a Name,
    pub(super) settings: config::Keepalive,
    pub(super) local: IpAddr,
    pub(super) remote: IpAddr,
    pub(super) key: Option<u32>,
    pub(super) checksum: bool,
    /// Answers that have come so far.
    pub(super) answers: u64,
}

/// All keepalives.
pub(super) struct Keepalives {
    v4: OwnedFd,
    v6: OwnedFd,
    watches: HashMap<(Name, Name), Watch>,
}

impl Keepalives {
    /// With sockets inside the namespace of the twins.
    pub(super) fn new(netns: &Netns) -> Result<Self, KernelError> {
        let open = |family| {
            let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
            // IPPROTO_RAW: we write the IP header (raw(7), ipv6(7)).
            socket(family, SockType::Raw, flags, SockProtocol::Raw).map_err(io::Error::from)
        };
        let open = || Ok((open(AddressFamily::Inet)?, open(AddressFamily::Inet6)?));
        let opened: io::Result<_> = netns.run(open)?;
        let (v4, v6) = opened
            .map_err(|source| KernelError::Netlink { action: "open a raw socket for keepalives", source })?;
        Ok(Self { v4, v6, watches: HashMap::new() })
    }

    /// The watch of a tunnel.
    pub(super) fn watch(&self, tenant: &Name, tunnel: &Name) -> Option<&Watch> {
        self.watches.get(&(tenant.clone(), tunnel.clone()))
    }

    /// The tunnels that have a watch: tenant and name.
    pub(super) fn tunnels(&self) -> impl Iterator<Item = &(Name, Name)> {
        self.watches.keys()
    }

    /// Sends what is due, and judges what came since.
    pub(super) fn turn<'a>(&mut self, now: Instant, tunnels: impl Iterator<Item = Wanted<'a>>) {
        let mut watches = HashMap::new();
        for wanted in tunnels {
            let key = (wanted.tenant.clone(), wanted.tunnel.clone());
            let mut watch = self.watches.remove(&key).unwrap_or(Watch {
                verdict: Verdict::Waiting,
                sent: 0,
                last_answer: None,
                seen: wanted.answers,
                missed: 0,
                due: now,
            });
            if wanted.answers != watch.seen {
                watch.seen = wanted.answers;
                watch.missed = 0;
                watch.last_answer = Some(now);
                watch.set(Verdict::Up, &wanted);
            }
            if now >= watch.due {
                if watch.sent > 0 && watch.last_answer.is_none_or(|at| at + watch_interval(&wanted) <= now) {
                    watch.missed = watch.missed.saturating_add(1);
                }
                if watch.missed >= wanted.settings.retries {
                    watch.set(Verdict::Down, &wanted);
                }
                watch.due = now + watch_interval(&wanted);
                watch.sent += 1;
                self.send(&wanted);
            }
            watches.insert(key, watch);
        }
        self.watches = watches;
    }

    /// A packet that the kernel has no route for is lost like any other: the answer does not come.
    fn send(&self, wanted: &Wanted<'_>) {
        let mut packet = [0; MAX_LEN];
        let Some(len) = write(&mut packet, wanted) else { return };
        let socket = if wanted.remote.is_ipv4() { &self.v4 } else { &self.v6 };
        let to = SockaddrStorage::from(SocketAddr::new(wanted.remote, 0));
        let bytes = packet.get(..len).unwrap_or_default();
        if let Err(error) = sendto(socket.as_raw_fd(), bytes, &to, MsgFlags::empty()) {
            tracing::debug!(tunnel = %wanted.tunnel, %error, "a keepalive was not sent");
        }
    }
}

impl Watch {
    fn set(&mut self, verdict: Verdict, wanted: &Wanted<'_>) {
        if self.verdict == verdict {
            return;
        }
        self.verdict = verdict;
        let (tenant, tunnel) = (wanted.tenant, wanted.tunnel);
        match verdict {
            Verdict::Down => tracing::warn!(%tenant, %tunnel, "keepalives do not come back"),
            _ => tracing::info!(%tenant, %tunnel, "keepalives come back"),
        }
    }
}

fn watch_interval(wanted: &Wanted<'_>) -> Duration {
    Duration::from_secs(u64::from(wanted.settings.interval_s))
}

/// The whole outer packet. The kernel fills the IPv4 checksum.
fn write(out: &mut [u8], wanted: &Wanted<'_>) -> Option<usize> {
    let (ip_len, protocol_type) = match wanted.remote {
        IpAddr::V4(_) => (20, ethernet::ETHERTYPE_IPV4),
        IpAddr::V6(_) => (40, ethernet::ETHERTYPE_IPV6),
    };
    let header = Gre {
        header_len: 0,
        checksum: wanted.checksum,
        key: wanted.key,
        sequence: None,
        protocol: protocol_type,
    };
    let gre_len = header.write(out.get_mut(ip_len..)?)?;
    let inner = out.get_mut(ip_len + gre_len..)?;
    let inner_len = match (wanted.local, wanted.remote) {
        (IpAddr::V4(local), IpAddr::V4(remote)) => {
            keepalive::write_v4(inner, local.into(), remote.into(), wanted.key)?
        }
        (IpAddr::V6(local), IpAddr::V6(remote)) => {
            keepalive::write_v6(inner, local.into(), remote.into(), wanted.key)?
        }
        _ => return None,
    };
    let len = ip_len + gre_len + inner_len;
    if wanted.checksum {
        let sum = gre::checksum_of([out.get(ip_len..len)?]);
        out.get_mut(ip_len + 4..ip_len + 6)?.copy_from_slice(&sum.to_be_bytes());
    }
    let ip = out.get_mut(..ip_len)?;
    match (wanted.local, wanted.remote) {
        (IpAddr::V4(local), IpAddr::V4(remote)) => {
            let mut fields = [0u8; 20];
            fields[0] = 0x45;
            fields[2..4].copy_from_slice(&(len as u16).to_be_bytes());
            fields[8] = DEFAULT_TTL;
            fields[9] = protocol::GRE;
            fields[12..16].copy_from_slice(&local.octets());
            fields[16..20].copy_from_slice(&remote.octets());
            ip.copy_from_slice(&fields);
        }
        (IpAddr::V6(local), IpAddr::V6(remote)) => {
            let mut fields = [0u8; 40];
            fields[0] = 0x60;
            fields[4..6].copy_from_slice(&((len - ip_len) as u16).to_be_bytes());
            fields[6] = protocol::GRE;
            fields[7] = DEFAULT_TTL;
            fields[8..24].copy_from_slice(&local.octets());
            fields[24..40].copy_from_slice(&remote.octets());
            ip.copy_from_slice(&fields);
        }
        _ => return None,
    }
    Some(len)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_keepalive_is_a_request_that_the_peer_sends_back() {
        let (tenant, tunnel) = (Name::new("acme").unwrap(), Name::new("dc1").unwrap());
        for (local, remote) in [("203.0.113.1", "192.0.2.77"), ("2001:db8::1", "2001:db8::2")] {
            let wanted = Wanted {
                tenant: &tenant,
                tunnel: &tunnel,
                settings: config::Keepalive { interval_s: 10, retries: 3 },
                local: local.parse().unwrap(),
                remote: remote.parse().unwrap(),
                key: Some(7),
                checksum: true,
                answers: 0,
            };
            let mut packet = [0; MAX_LEN];
            let len = write(&mut packet, &wanted).unwrap();
            let ip_len = if wanted.local.is_ipv4() { 20 } else { 40 };
            let gre = Gre::parse(&packet[ip_len..len]).unwrap();
            assert_eq!(gre.key, Some(7));
            assert!(gre::checksum_is_valid([&packet[ip_len..len]]));
            let inner = &packet[ip_len + gre.header_len..len];
            // Seen from the peer: local and remote swapped.
            let asks = match (wanted.local, wanted.remote) {
                (IpAddr::V4(us), IpAddr::V4(peer)) => keepalive::is_request_v4(inner, peer.into(), us.into()),
                (IpAddr::V6(us), IpAddr::V6(peer)) => keepalive::is_request_v6(inner, peer.into(), us.into()),
                _ => false,
            };
            assert!(asks);
        }
    }
}
