//! The anti-replay window of an inbound SA (RFC 4303 section 3.4.3), shared by cores without a lock.
//!
//! A ring of words, each 32 flags and the number of the block of sequence numbers that they are for (after
//! RFC 6479, which clears words instead). Whoever moves the window forward touches no other word than his
//! own: an old word is known by its block number and replaced when its place is needed. One word more than
//! the window needs stands between its ends, so that a place is only taken over when what it held has left
//! the window.
//!
//! [`check`](ReplayWindow::check) before authentication decides nothing, it saves work;
//! [`mark`](ReplayWindow::mark) after it decides. Of cores with the same number exactly one wins: the compare
//! and swap of one word is the decision, a flag that stands is only lost to a newer block, and a newer block
//! is never replaced by an older one. So no ordering between words matters, and all of it is relaxed.

#[cfg(all(loom, test))]
use loom::sync::atomic::{AtomicU64, Ordering::Relaxed};
#[cfg(not(all(loom, test)))]
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Sequence numbers in a block: flags of a word.
const BLOCK: u64 = 32;
/// Words in a cache line.
const LINE: usize = 8;

/// Why a sequence number is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReplayError {
    /// It was received before.
    #[error("the sequence number was received before")]
    Duplicate,
    /// It is older than the window reaches, or zero, which no sender sends.
    #[error("the sequence number is older than the replay window")]
    TooOld,
}

/// There is no such window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a replay window of {0} is not a power of two from 64 to 65536")]
pub struct ReplayWindowError(pub u32);

/// Words that share a cache line with nothing else.
#[repr(align(64))]
struct Line([AtomicU64; LINE]);

/// The window of one SA. In one cache line is what every packet reads, and in others the flags.
#[repr(align(64))]
pub struct ReplayWindow {
    /// The highest number marked.
    newest: AtomicU64,
    /// Sequence numbers in the window: the newest one and those below it.
    size: u64,
    /// Whether the high half of a number is inferred; else it is zero.
    esn: bool,
    /// A power of two of words; a block's word is at its number modulo the ring's length.
    ring: Box<[Line]>,
}

impl ReplayWindow {
    /// A window of `size` sequence numbers, with extended sequence numbers or without.
    ///
    /// # Errors
    /// When the size is not a power of two from 64 to 65536.
    pub fn new(size: u32, esn: bool) -> Result<Self, ReplayWindowError> {
        Self::resume(size, esn, 0)
    }

    /// A window that goes on where another one was: `newest` and all before it count as received.
    ///
    /// # Errors
    /// When the size is not a power of two from 64 to 65536.
    pub fn resume(size: u32, esn: bool, newest: u64) -> Result<Self, ReplayWindowError> {
        if !size.is_power_of_two() || !(64..=65536).contains(&size) {
            return Err(ReplayWindowError(size));
        }
        let blocks = size as usize / BLOCK as usize;
        let mut window = Self::with_words(u64::from(size), esn, (blocks + 1).next_power_of_two());
        window.fill(newest);
        Ok(window)
    }

    /// Marks everything up to a number. Words outside the window too: what they hold must be older than all that comes.
    fn fill(&mut self, newest: u64) {
        let last = newest / BLOCK;
        let words = (self.ring.len() * LINE) as u64;
        for number in last.saturating_sub(words - 1)..=last {
            let first = number * BLOCK;
            let seen = if number == last { u64::MAX >> (63 - (32 + newest % BLOCK)) } else { u64::MAX };
            let word = seen & FLAGS | u64::from(block(first));
            *self.place(first) = AtomicU64::new(word);
        }
        self.newest = AtomicU64::new(newest);
    }

    /// A power of two of words, which must be more than the window has.
    fn with_words(size: u64, esn: bool, words: usize) -> Self {
        let lines = words.div_ceil(LINE);
        let ring = (0..lines).map(|_| Line(std::array::from_fn(|_| AtomicU64::new(0)))).collect();
        Self { newest: AtomicU64::new(0), size, esn, ring }
    }

    /// The whole number of a packet whose header has `low`, when it is neither a duplicate nor too old so
    /// far. With ESN the high half is the one that puts it nearest above the window's lower end (RFC 4303
    /// appendix A2.2).
    ///
    /// # Errors
    /// When the packet can be dropped without a look at the rest.
    #[inline]
    pub fn check(&self, low: u32) -> Result<u64, ReplayError> {
        let newest = self.newest.load(Relaxed);
        let sequence = if self.esn { infer(low, newest, self.size)? } else { u64::from(low) };
        if sequence > newest {
            return Ok(sequence);
        }
        self.reaches(sequence, newest)?;
        let word = self.word(sequence).load(Relaxed);
        if word as u32 == block(sequence) {
            if word & flag(sequence) != 0 { Err(ReplayError::Duplicate) } else { Ok(sequence) }
        } else if is_newer(word, sequence) {
            Err(ReplayError::TooOld)
        } else {
            Ok(sequence)
        }
    }

    /// Records an authentic packet.
    ///
    /// # Errors
    /// When the window has moved past it since the check, or another core was first: it must be dropped.
    #[inline]
    pub fn mark(&self, sequence: u64) -> Result<(), ReplayError> {
        let newest = self.newest.load(Relaxed);
        self.reaches(sequence, newest)?;
        let before = self.set(sequence, flag(sequence))?;
        if sequence > newest {
            self.newest.fetch_max(sequence, Relaxed);
        }
        if before & flag(sequence) != 0 { Err(ReplayError::Duplicate) } else { Ok(()) }
    }

    /// Records a burst of authentic packets and says which are good, as if each was marked in this order.
    /// Numbers that follow each other in one block cost one atomic operation. What has no place in
    /// `accepted` is not recorded.
    #[inline]
    pub fn mark_all(&self, sequences: &[u64], accepted: &mut [bool]) {
        accepted.fill(false);
        let known = self.newest.load(Relaxed);
        let mut newest = known;
        let mut start = 0;
        for run in sequences.chunk_by(|a, b| a / BLOCK == b / BLOCK) {
            let Some(verdicts) = accepted.get_mut(start..start + run.len()) else { break };
            newest = self.mark_block(run, newest, verdicts);
            start += run.len();
        }
        if newest > known {
            self.newest.fetch_max(newest, Relaxed);
        }
    }

    /// How many numbers it reaches back.
    pub fn size(&self) -> u32 {
        self.size as u32
    }

    /// The highest number marked so far, 0 before the first.
    pub fn newest(&self) -> u64 {
        self.newest.load(Relaxed)
    }

    /// Whether a number is inside the window or ahead of it.
    #[inline(always)]
    fn reaches(&self, sequence: u64, newest: u64) -> Result<(), ReplayError> {
        let is_inside = sequence != 0 && newest.saturating_sub(sequence) < self.size;
        if is_inside { Ok(()) } else { Err(ReplayError::TooOld) }
    }

    /// Marks numbers of one block; returns the newest number known now.
    #[inline]
    fn mark_block(&self, run: &[u64], newest: u64, verdicts: &mut [bool]) -> u64 {
        let mut flags = 0;
        let mut highest = newest;
        // A window is longer than a block: no number of the run can push another one out.
        for (&sequence, verdict) in run.iter().zip(&mut *verdicts) {
            *verdict = self.reaches(sequence, newest).is_ok();
            if *verdict {
                flags |= flag(sequence);
                highest = highest.max(sequence);
            }
        }
        if flags == 0 {
            return newest;
        }
        let Ok(mut standing) = self.set(run[0], flags) else {
            verdicts.fill(false);
            return newest;
        };
        for (&sequence, verdict) in run.iter().zip(verdicts) {
            *verdict &= standing & flag(sequence) == 0;
            standing |= flag(sequence);
        }
        highest
    }

    /// Sets flags of the block of `sequence`, and returns those that stood there before.
    ///
    /// # Errors
    /// When the word has gone to a newer block.
    #[inline]
    fn set(&self, sequence: u64, flags: u64) -> Result<u64, ReplayError> {
        let place = self.word(sequence);
        let mut word = place.load(Relaxed);
        loop {
            if is_newer(word, sequence) {
                return Err(ReplayError::TooOld);
            }
            let standing = if word as u32 == block(sequence) { word & FLAGS } else { 0 };
            if standing & flags == flags {
                return Ok(standing);
            }
            let marked = standing | flags | u64::from(block(sequence));
            match place.compare_exchange_weak(word, marked, Relaxed, Relaxed) {
                Ok(_) => return Ok(standing),
                Err(found) => word = found,
            }
        }
    }

    /// Where the flags of a number's block are.
    #[inline(always)]
    fn word(&self, sequence: u64) -> &AtomicU64 {
        let place = (sequence / BLOCK) as usize;
        &self.ring[(place / LINE) & (self.ring.len() - 1)].0[place % LINE]
    }

    /// As `word`, before anybody shares the window.
    fn place(&mut self, sequence: u64) -> &mut AtomicU64 {
        let place = (sequence / BLOCK) as usize;
        let lines = self.ring.len();
        &mut self.ring[(place / LINE) & (lines - 1)].0[place % LINE]
    }
}

/// The flags of a word; its other half is the block.
const FLAGS: u64 = 0xffff_ffff_0000_0000;

/// The flag of a number in its word.
#[inline(always)]
fn flag(sequence: u64) -> u64 {
    1 << (32 + sequence % BLOCK)
}

/// The block of a number, as a word names it: 32 bits of it.
#[inline(always)]
fn block(sequence: u64) -> u32 {
    (sequence / BLOCK) as u32
}

/// Whether a word holds a newer block than that of the number. Blocks are compared as RFC 1982 compares
/// serial numbers. That errs only when a word was left alone for 2^36 sequence numbers, and then it
/// refuses.
#[inline(always)]
fn is_newer(word: u64, sequence: u64) -> bool {
    (word as u32).wrapping_sub(block(sequence)) as i32 > 0
}

/// The number with these low 32 bits that is nearest above the lower end of the window.
#[inline(always)]
fn infer(low: u32, newest: u64, size: u64) -> Result<u64, ReplayError> {
    let bottom = newest.saturating_sub(size - 1);
    let ahead = low.wrapping_sub(bottom as u32);
    bottom.checked_add(u64::from(ahead)).ok_or(ReplayError::TooOld)
}

#[cfg(all(loom, test))]
mod interleavings;
#[cfg(all(not(loom), test))]
mod tests;
#[cfg(all(not(loom), test))]
mod threads;
