//! A security association, as control describes it and as one worker holds it.
//!
//! The expanded key and the replay window are shared by all workers. Counters, and the numbering where each core
//! numbers its own packets, belong to one worker; control reads them at any time. RFC 4301 4.4.2, RFC 4303.

use std::mem::offset_of;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use super::cipher::Cipher;
use super::replay::ReplayWindow;
use super::selector::Selectors;
use crate::drop_reason::DropReason;
use crate::ids::{EndpointId, TunnelId};
use crate::stats::Counter;

/// Security parameters index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Spi(pub u32);

impl Spi {
    /// RFC 4303 2.1: 0 is for local use, 1 to 255 are reserved.
    pub const FIRST: Self = Self(256);
}

impl std::fmt::Display for Spi {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "0x{:08x}", self.0)
    }
}

/// One association on one worker; a cache line.
#[derive(Debug, Default)]
#[repr(align(64))]
pub struct SaCounters {
    /// Packets sealed, or opened and found good.
    pub packets: Counter,
    /// Their inner bytes.
    pub bytes: Counter,
    /// When the last one came by, in cycles of the driver's clock; of those that were opened any authentic one, though it
    /// was refused for what was inside.
    pub last_used: Counter,
    /// The last number given out, or the largest received.
    pub sequence: Counter,
    /// Packets refused: not authentic, seen before, outside the selectors, beyond the last number.
    pub refused: Counter,
}

impl SaCounters {
    #[inline(always)]
    pub(crate) fn count(&self, packets: u64, bytes: u64, now: u64) {
        self.packets.add(packets);
        self.bytes.add(bytes);
        self.last_used.set(now);
    }
}

/// What is received under an SPI.
#[derive(Clone)]
pub struct InboundSpec {
    /// Chosen by us.
    pub spi: Spi,
    /// The endpoint that it is valid at.
    pub endpoint: EndpointId,
    /// The tunnel that the packets come out of.
    pub tunnel: TunnelId,
    /// That tunnel's [`crate::tables::TunnelSpec::incarnation`].
    pub incarnation: u32,
    /// Suite and key.
    pub cipher: Arc<Cipher>,
    /// Extended sequence numbers (RFC 4303 2.2.1); they need a replay window, which tells the high half.
    pub esn: bool,
    /// The window, shared by all workers; `None` accepts replays.
    pub replay: Option<Arc<ReplayWindow>>,
    /// What may come out.
    pub selectors: Arc<Selectors>,
}

/// Who numbers the packets of an outbound association.
#[derive(Clone)]
pub enum Numbering {
    /// The peer does not check for replays: each core numbers its own packets from 1.
    PerCore,
    /// The peer checks, with a window that several cores' bursts fit into: they share one counter, and take what a
    /// burst needs with one addition.
    Shared(Arc<AtomicU64>),
    /// The peer checks with a small window: one core sends all packets.
    Pinned {
        /// The number of that worker.
        worker: u16,
    },
}

/// What a tunnel sends under.
#[derive(Clone)]
pub struct OutboundSpec {
    /// Chosen by the peer.
    pub spi: Spi,
    /// The tunnel whose packets it seals.
    pub tunnel: TunnelId,
    /// That tunnel's [`crate::tables::TunnelSpec::incarnation`].
    pub incarnation: u32,
    /// Suite and key.
    pub cipher: Arc<Cipher>,
    /// Extended sequence numbers.
    pub esn: bool,
    /// Who numbers the packets.
    pub numbering: Numbering,
    /// The first number to give out: 1, or what follows those that may have been sent before. A shared counter that is
    /// further goes on from where it is.
    pub first: u64,
    /// What may be put in.
    pub selectors: Arc<Selectors>,
    /// Where the packets go, to recognise what a router on the way quotes of them.
    pub remote: IpAddr,
    /// At this number control is told ([`crate::pipeline::Event::SequenceSoftLimit`]), so that a rekey comes in time.
    pub soft_limit: u64,
    /// The last number that may be used: at most 2^32 - 1 without ESN (RFC 4303 3.3.3).
    pub hard_limit: u64,
}

/// The lengths that a suite prescribes, at hand.
#[derive(Clone, Copy)]
pub(crate) struct Lengths {
    pub iv: u8,
    pub icv: u8,
    /// Payload, padding and two bytes of trailer are a multiple of this less one; a power of two.
    pub block_mask: u8,
}

impl Lengths {
    fn of(cipher: &Cipher) -> Self {
        let suite = cipher.suite();
        Self {
            iv: suite.iv_len() as u8,
            icv: suite.icv_len() as u8,
            block_mask: (suite.block_len() - 1) as u8,
        }
    }
}

/// An inbound association on a worker. What every packet needs is in the first three lines.
#[repr(C, align(64))]
pub(crate) struct Inbound {
    pub replay: Option<Arc<ReplayWindow>>,
    pub selectors: Arc<Selectors>,
    /// The largest number that any worker received, as of the end of its burst; kept up only where it is asked for: without
    /// a window, and behind a NAT.
    pub newest: Arc<AtomicU64>,
    pub tunnel: u32,
    pub incarnation: u32,
    pub spi: u32,
    /// [`Lengths::block_mask`] of what comes, or [`Inbound::STOPPED`].
    body_mask: AtomicU32,
    pub endpoint: u16,
    pub esn: bool,
    pub lengths: Lengths,
    pub cipher: Cipher,
    pub counters: SaCounters,
}

impl Inbound {
    /// A mask that no body fits: to stop an association costs a packet of another no look.
    const STOPPED: u32 = u32::MAX;

    pub fn new(spec: &InboundSpec, newest: Arc<AtomicU64>) -> Self {
        Self {
            cipher: Cipher::clone(&spec.cipher),
            counters: SaCounters::default(),
            replay: spec.replay.clone(),
            newest,
            selectors: Arc::clone(&spec.selectors),
            tunnel: spec.tunnel.0,
            incarnation: spec.incarnation,
            spi: spec.spi.0,
            body_mask: AtomicU32::new(u32::from(Lengths::of(&spec.cipher).block_mask)),
            endpoint: spec.endpoint.0,
            esn: spec.esn,
            lengths: Lengths::of(&spec.cipher),
        }
    }

    /// Whether so many bytes between IV and ICV can be what the peer has encrypted.
    ///
    /// # Errors
    /// When they cannot, or the association was stopped.
    #[inline(always)]
    pub fn fits(&self, body_len: usize, len: usize) -> Result<(), DropReason> {
        let mask = self.body_mask.load(Ordering::Relaxed);
        // Too short wraps to something too long.
        if body_len > len || body_len < 2 || body_len & mask as usize != 0 {
            return Err(unfit(mask));
        }
        Ok(())
    }

    /// Has all further packets refused, by any thread.
    pub fn stop(&self) {
        self.body_mask.store(Self::STOPPED, Ordering::Relaxed);
    }

    /// What the table finds it by.
    pub fn key(&self) -> u64 {
        inbound_key(self.endpoint, self.spi)
    }
}

#[cold]
fn unfit(mask: u32) -> DropReason {
    if mask == Inbound::STOPPED { DropReason::EspLifetime } else { DropReason::EspTruncated }
}

/// Endpoint and SPI in one word.
#[inline(always)]
pub(crate) fn inbound_key(endpoint: u16, spi: u32) -> u64 {
    u64::from(endpoint) << 32 | u64::from(spi)
}

/// An outbound association on a worker. What every packet needs is in the first three lines.
#[repr(C, align(64))]
pub(crate) struct Outbound {
    /// The last number given out of those that this worker has taken.
    last: Counter,
    /// From this number on there is something to do: the soft limit, what follows the hard one, or
    /// [`Outbound::STOPPED`].
    attention: AtomicU64,
    /// Packets of this burst that need a number from the shared counter.
    pending: Counter,
    shared: Option<Arc<AtomicU64>>,
    pub tunnel: u32,
    pub incarnation: u32,
    pub spi: u32,
    /// The worker that sends all packets, or [`Outbound::ANY_WORKER`].
    pub pinned: u16,
    pub esn: bool,
    /// An AEAD, without ESN, and every IPv4 packet may go in.
    pub plain: bool,
    pub lengths: Lengths,
    pub cipher: Cipher,
    pub counters: SaCounters,
    pub selectors: Arc<Selectors>,
    pub remote: IpAddr,
    hard_limit: u64,
}

/// Cache lines at the start of an association that every packet needs.
pub(crate) const HOT_LINES: usize = 3;

const _: () = assert!(offset_of!(Inbound, counters) < HOT_LINES * 64);
const _: () = assert!(offset_of!(Outbound, counters) < HOT_LINES * 64);

impl Outbound {
    pub const ANY_WORKER: u16 = u16::MAX;
    /// Every number needs attention, and gets none.
    const STOPPED: u64 = 0;
    /// The largest number without ESN.
    const LAST_SHORT: u64 = u32::MAX as u64;
    /// The largest number with ESN: what workers take beyond it in one burst each must not bring the counter to 0.
    const LAST_LONG: u64 = u64::MAX - Self::LAST_SHORT;

    pub fn new(spec: &OutboundSpec) -> Self {
        let (shared, pinned) = match &spec.numbering {
            Numbering::PerCore => (None, Self::ANY_WORKER),
            Numbering::Shared(counter) => (Some(Arc::clone(counter)), Self::ANY_WORKER),
            Numbering::Pinned { worker } => (None, *worker),
        };
        let hard_limit = spec.hard_limit.min(if spec.esn { Self::LAST_LONG } else { Self::LAST_SHORT });
        // Numbers beyond the hard limit are not given out; nor may taking them bring a counter to 0.
        let before_first = spec.first.saturating_sub(1).min(hard_limit);
        if let Some(shared) = &shared {
            shared.fetch_max(before_first, Ordering::Relaxed);
        }
        let counters = SaCounters { sequence: Counter::new(before_first), ..SaCounters::default() };
        Self {
            cipher: Cipher::clone(&spec.cipher),
            counters,
            selectors: Arc::clone(&spec.selectors),
            shared,
            tunnel: spec.tunnel.0,
            incarnation: spec.incarnation,
            spi: spec.spi.0,
            remote: spec.remote,
            pinned,
            esn: spec.esn,
            plain: spec.cipher.suite().is_aead() && !spec.esn && spec.selectors.is_any(false),
            lengths: Lengths::of(&spec.cipher),
            pending: Counter::default(),
            last: Counter::new(before_first),
            attention: AtomicU64::new(spec.soft_limit.clamp(1, hard_limit + 1)),
            hard_limit,
        }
    }

    /// Whether this worker may seal packets.
    #[inline(always)]
    pub fn is_of(&self, worker: usize) -> bool {
        self.pinned == Self::ANY_WORKER || usize::from(self.pinned) == worker
    }

    /// Whether several cores share the counter of its numbers.
    pub fn shares_numbers(&self) -> bool {
        self.shared.is_some()
    }

    /// One packet of this burst will need a number.
    #[inline(always)]
    pub fn announce(&self) {
        self.pending.add(1);
    }

    /// Takes as many numbers from the counter that cores share as were announced.
    #[inline(always)]
    pub fn take_announced(&self) {
        if let Some(shared) = &self.shared {
            self.take_shared(shared);
        }
    }

    #[inline(never)]
    fn take_shared(&self, shared: &AtomicU64) {
        let pending = self.pending.get();
        self.pending.set(0);
        if pending != 0 {
            // Only uniqueness matters. At the hard limit nothing is taken any more.
            let is_over = shared.load(Ordering::Relaxed) >= self.hard_limit;
            let taken = if is_over { self.hard_limit } else { shared.fetch_add(pending, Ordering::Relaxed) };
            self.last.set(taken);
        }
    }

    /// The next number, never 0 and never one that was given out before. As many calls may follow as packets were
    /// announced and taken. `notify` is called when numbers begin to run out, until it says that it was heard.
    ///
    /// # Errors
    /// Beyond the hard limit, and once the association was stopped.
    #[inline(always)]
    pub fn next_sequence(&self, notify: impl FnOnce() -> bool) -> Result<u64, DropReason> {
        let next = self.last.get() + 1;
        if next >= self.attention.load(Ordering::Relaxed) {
            self.attend(next, notify)?;
        }
        self.last.set(next);
        Ok(next)
    }

    #[cold]
    fn attend(&self, next: u64, notify: impl FnOnce() -> bool) -> Result<(), DropReason> {
        let attention = self.attention.load(Ordering::Relaxed);
        if attention == Self::STOPPED {
            return Err(DropReason::EspLifetime);
        }
        if next > self.hard_limit {
            return Err(DropReason::EspSequence);
        }
        if attention <= self.hard_limit && notify() {
            // Not in place of a stop that came meanwhile.
            let rest = self.hard_limit + 1;
            let _ = self.attention.compare_exchange(attention, rest, Ordering::Relaxed, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Has all further packets refused, by any thread.
    pub fn stop(&self) {
        self.attention.store(Self::STOPPED, Ordering::Relaxed);
    }

    /// Counts packets that were sealed.
    pub fn count(&self, packets: u64, bytes: u64, now: u64) {
        self.counters.count(packets, bytes, now);
        self.counters.sequence.set(self.last.get());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::support::esp::Agreement;

    #[test]
    fn a_stop_at_the_soft_limit_is_not_lost() {
        let agreement = Agreement::default();
        let sa = Outbound::new(&OutboundSpec {
            numbering: Numbering::PerCore,
            soft_limit: 2,
            ..agreement.outbound()
        });
        assert_eq!(sa.next_sequence(|| true), Ok(1));
        // Control stops it while the worker writes down that the limit was told.
        let stop_meanwhile = || {
            sa.stop();
            true
        };
        assert_eq!(sa.next_sequence(stop_meanwhile), Ok(2));
        for _ in 0..3 {
            assert_eq!(sa.next_sequence(|| true), Err(DropReason::EspLifetime));
        }
    }
}
