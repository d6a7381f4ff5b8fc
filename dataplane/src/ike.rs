//! IKE on its way to the kernel: what is IKE, and how much of it may pass.
//!
//! Whoever wants to negotiate may send IKE, and anybody may pretend to be somebody else. So IKE has budgets of its own:
//! one of all workers together, since one daemon answers, and one for each source. The former is divided by what a
//! sender has shown: half is for the remote ends of tunnels, a quarter for negotiations that are under way, a quarter for
//! first messages. A flood with invented sources uses up the last; customers' rekeys and dead peer detection, and those
//! whom the daemon has sent a cookie (RFC 7296 2.6), go on.
//!
//! What another node of the fleet hands over has passed that node's budgets; it takes from this node's as well, but never
//! more than half of a share: whoever floods all other nodes leaves half of every share to those who come by here.
//!
//! Decides nothing about content: what IKE says is the daemon's business. RFC 7296 3.1, RFC 3948 2.2.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crossbeam::utils::CachePadded;

use crate::drop_reason::DropReason;
use crate::ids::EndpointId;
use crate::tables::Snapshot;
use crate::terminate::is_from_remote;
use crate::wire::ipv4::Ipv4Header;
use crate::wire::ipv6::{self, Ipv6Header};
use crate::wire::protocol;
use crate::wire::udp::{IKE_PORT, NAT_T_PORT, NON_ESP_MARKER, UdpHeader};

/// Buckets that sources share, for each standing. Sources of one flood meet in few of them only by chance: their places
/// depend on a secret of this process.
const SOURCES: usize = 4096;
/// Of a second: what may come at once of a share of the total.
const TOTAL_BURST: u32 = 10;
/// Of a second: what may come at once from a source.
const SOURCE_BURST: u32 = 5;
/// Of a share: what may come by way of other nodes.
const RESCUED_PART: u32 = 2;
/// Where an IKE header has the SPIs, and the type of the first payload (RFC 7296 3.1).
const INITIATOR_SPI: std::ops::Range<usize> = 0..8;
const RESPONDER_SPI: std::ops::Range<usize> = 8..16;
const NEXT_PAYLOAD: usize = 16;
const VERSION: usize = 17;
const FLAGS: usize = 19;
/// Version 2, in the upper half of its byte.
const MAJOR_VERSION: u8 = 2;
/// The sender is who began (RFC 7296 3.1).
const INITIATOR: u8 = 0x08;
/// Notify: the first payload of a request that brings a cookie back (RFC 7296 2.6).
const NOTIFY: u8 = 41;

/// IKE messages a second. At most a tenth of a second's, a fifth of one source's, come at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IkeLimits {
    /// From all sources, to all workers.
    pub rate: u32,
    /// From one source: an IPv4 address, or an IPv6 /64.
    pub source_rate: u32,
}

impl Default for IkeLimits {
    fn default() -> Self {
        Self { rate: 10_000, source_rate: 500 }
    }
}

/// What a sender has shown of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// The packet comes from the remote end of a tunnel.
    Known = 0,
    /// It names a negotiation of ours, or brings a cookie back.
    Engaged = 1,
    /// A first message, or what claims to be IKE.
    New = 2,
}

/// Parts of the total rate, by standing.
const SHARES: [u32; 3] = [2, 4, 4];

/// The IKE message in a UDP datagram, cut short where the datagram is; `None` when it is not IKE.
#[inline]
pub(crate) fn in_udp(l4: &[u8]) -> Option<&[u8]> {
    let (header, payload) = (UdpHeader::view(l4)?, l4.get(UdpHeader::LEN..)?);
    match header.dst_port.get() {
        IKE_PORT => Some(payload),
        NAT_T_PORT => payload.strip_prefix(&NON_ESP_MARKER),
        _ => None,
    }
}

/// The IKE message in a packet that is no fragment, or in a first one.
#[inline(never)]
pub(crate) fn message(l3: &[u8], v6: bool) -> Option<&[u8]> {
    let (protocol, at) = if v6 {
        let transport = ipv6::transport(l3).filter(|transport| !transport.is_later_fragment())?;
        (transport.protocol, transport.offset)
    } else {
        let header = Ipv4Header::view(l3).filter(|header| !header.is_later_fragment())?;
        (header.protocol, header.header_len())
    };
    if protocol == protocol::UDP { in_udp(l3.get(at..)?) } else { None }
}

/// The SPI that our side gave the IKE SA which a message to us is about; `None` before there is one, and in what is not
/// IKEv2.
pub(crate) fn our_spi(message: &[u8]) -> Option<u64> {
    if message.get(VERSION)? >> 4 != MAJOR_VERSION {
        return None;
    }
    let is_from_initiator = message.get(FLAGS)? & INITIATOR != 0;
    let ours = message.get(if is_from_initiator { RESPONDER_SPI } else { INITIATOR_SPI })?;
    ours.first_chunk().map(|spi| u64::from_be_bytes(*spi)).filter(|spi| *spi != 0)
}

/// An IKE message on its way to the daemon.
pub(crate) struct Arrival<'a> {
    pub message: &'a [u8],
    /// The packet that it is in.
    pub l3: &'a [u8],
    pub v6: bool,
    /// The endpoint that it is for; `None` for another address of ours.
    pub to: Option<EndpointId>,
    /// Another node handed it over.
    pub rescued: bool,
}

impl Standing {
    /// Of an IKE message's sender.
    fn of(arrival: &Arrival<'_>, tables: &Snapshot) -> Self {
        let Arrival { message, l3, v6, to, .. } = *arrival;
        if to.is_some_and(|endpoint| is_from_remote(l3, v6, endpoint, tables)) {
            return Self::Known;
        }
        let has_responder = message.get(RESPONDER_SPI).is_some_and(|spi| spi != [0; 8]);
        if has_responder || message.get(NEXT_PAYLOAD) == Some(&NOTIFY) { Self::Engaged } else { Self::New }
    }
}

/// Up to when an allowance is used up, in cycles. A burst is how far that may lie ahead of now.
#[derive(Default)]
struct Allowance(AtomicU64);

impl Allowance {
    /// Reads only: at a flood's rate many workers do this at once.
    fn has_room(&self, rate: Rate, now: u64) -> bool {
        self.0.load(Ordering::Relaxed).saturating_sub(now) <= rate.ahead
    }

    /// Workers that come at the same moment may each take one beyond the burst; the rate makes up for it.
    fn take(&self, rate: Rate, now: u64) {
        self.0.fetch_max(now, Ordering::Relaxed);
        self.0.fetch_add(rate.cycles, Ordering::Relaxed);
    }
}

/// What all workers have let pass so far.
#[derive(Clone)]
pub struct IkeGate(Arc<Gate>);

struct Gate {
    secret: RandomState,
    totals: [CachePadded<Allowance>; SHARES.len()],
    rescued: [CachePadded<Allowance>; SHARES.len()],
    sources: [Box<[Allowance]>; SHARES.len()],
}

impl IkeGate {
    /// A gate through which nothing has come yet, for all workers of a process.
    pub fn new() -> Self {
        Self(Arc::new(Gate {
            secret: RandomState::new(),
            totals: Default::default(),
            rescued: Default::default(),
            sources: std::array::from_fn(|_| (0..SOURCES).map(|_| Allowance::default()).collect()),
        }))
    }
}

impl Default for IkeGate {
    fn default() -> Self {
        Self::new()
    }
}

/// A rate as an allowance keeps it.
#[derive(Clone, Copy)]
struct Rate {
    /// What one message costs.
    cycles: u64,
    /// How far an allowance may be used ahead of time, before a message.
    ahead: u64,
}

impl Rate {
    /// So many a second, the `burst`th part of them at once. None a second is one an hour.
    fn new(a_second: u32, burst: u32, hz: u64) -> Self {
        let cycles = if a_second == 0 { hz * 3600 } else { (hz / u64::from(a_second)).max(1) };
        Self { cycles, ahead: u64::from((a_second / burst).max(1) - 1) * cycles }
    }
}

/// A worker's way through the gate.
pub(crate) struct IkeBudget {
    gate: IkeGate,
    totals: [Rate; SHARES.len()],
    rescued: [Rate; SHARES.len()],
    source: Rate,
    hz: u64,
}

impl IkeBudget {
    pub fn new(gate: IkeGate, limits: IkeLimits, hz: u64) -> Self {
        let rate = |a_second, burst| Rate::new(a_second, burst, hz);
        Self {
            gate,
            totals: SHARES.map(|part| rate(limits.rate.div_ceil(part), TOTAL_BURST)),
            rescued: SHARES.map(|part| rate(limits.rate.div_ceil(part * RESCUED_PART), TOTAL_BURST)),
            source: rate(limits.source_rate, SOURCE_BURST),
            hz,
        }
    }

    pub fn set_limits(&mut self, limits: IkeLimits) {
        *self = Self::new(self.gate.clone(), limits, self.hz);
    }

    /// Lets an IKE message pass, to an endpoint or another address of ours. Returns what its sender is.
    ///
    /// # Errors
    /// When it may not.
    #[inline(never)]
    pub fn admit(&self, arrival: &Arrival<'_>, tables: &Snapshot, now: u64) -> Result<Standing, DropReason> {
        let standing = Standing::of(arrival, tables);
        let (gate, at) = (&*self.gate.0, standing as usize);
        let (total, rate) = (&gate.totals[at], self.totals[at]);
        let rescued = arrival.rescued.then(|| (&gate.rescued[at], self.rescued[at]));
        // First, as it is all that most packets of a flood cost.
        let is_spent = rescued.is_some_and(|(part, rate)| !part.has_room(rate, now));
        if is_spent || !total.has_room(rate, now) {
            return Err(DropReason::IkeRate);
        }
        let place = gate.secret.hash_one(source(arrival.l3, arrival.v6)) as usize % SOURCES;
        let from = &gate.sources[at][place];
        if !from.has_room(self.source, now) {
            return Err(DropReason::IkeSourceRate);
        }
        if let Some((part, rate)) = rescued {
            part.take(rate, now);
        }
        total.take(rate, now);
        from.take(self.source, now);
        Ok(standing)
    }
}

/// Who counts as one sender. Whoever has an IPv6 address has a /64.
fn source(l3: &[u8], v6: bool) -> u128 {
    if v6 {
        Ipv6Header::view(l3).map_or(0, |header| header.src.get() >> 64 << 64)
    } else {
        Ipv4Header::view(l3).map_or(0, |header| u128::from(header.src.get()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HZ: u64 = 1_000_000_000;

    #[test]
    fn an_allowance_is_the_burst_then_the_rate() {
        let rate = Rate::new(1000, 10, HZ);
        let allowance = Allowance::default();
        let mut now = 5 * HZ;
        let spend = |now| {
            let mut spent = 0;
            while allowance.has_room(rate, now) {
                allowance.take(rate, now);
                spent += 1;
            }
            spent
        };
        assert_eq!(spend(now), 100);
        now += HZ / 1000;
        assert_eq!(spend(now), 1);
        now += HZ / 20;
        assert_eq!(spend(now), 50);
        now += 1000 * HZ;
        assert_eq!(spend(now), 100, "no more than a burst is saved up");
    }

    #[test]
    fn a_rate_of_nothing_is_next_to_nothing() {
        let (rate, allowance) = (Rate::new(0, 10, HZ), Allowance::default());
        allowance.take(rate, HZ);
        assert!(!allowance.has_room(rate, 3000 * HZ));
        assert_eq!(Rate::new(u32::MAX, 10, 1000).cycles, 1, "faster than the clock");
    }

    #[test]
    fn the_shares_are_the_whole() {
        assert_eq!(SHARES.map(|part| 1.0 / f64::from(part)).iter().sum::<f64>(), 1.0);
    }

    #[test]
    fn sources_meet_only_by_chance() {
        // The places of 4096 neighbours: a hash that an attacker knew could put them into one.
        let (one, other) = (IkeGate::new(), IkeGate::new());
        let places = |gate: &IkeGate| -> Vec<usize> {
            (0..4096u128).map(|source| gate.0.secret.hash_one(source) as usize % SOURCES).collect()
        };
        let used: std::collections::HashSet<_> = places(&one).into_iter().collect();
        assert!(used.len() > 2300, "{}", used.len());
        assert_ne!(places(&one), places(&other));
    }

    #[test]
    fn what_is_ike() {
        let datagram = |port: u16, payload: &[u8]| {
            let header = [&[0x11, 0x94][..], &port.to_be_bytes(), &[0, 9, 0, 0]].concat();
            [&header, payload].concat()
        };
        assert_eq!(in_udp(&datagram(500, b"ike")), Some(&b"ike"[..]));
        assert_eq!(in_udp(&datagram(4500, b"\0\0\0\0ike")), Some(&b"ike"[..]));
        assert_eq!(in_udp(&datagram(4500, b"\0\0\0\x01esp")), None);
        assert_eq!(in_udp(&datagram(4500, b"\0\0\0")), None);
        assert_eq!(in_udp(&datagram(501, b"ike")), None);
        for short in 0..8 {
            assert_eq!(in_udp(&datagram(500, b"")[..short]), None);
        }
    }
}
