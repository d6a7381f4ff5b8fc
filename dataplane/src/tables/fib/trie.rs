//! The trie: a direct root, then nodes of six bits each.
//!
//! All of it is one array of 32-bit words. The first `2^root_bits` words are the root, indexed by the first bits of
//! the address. A word is either a value (the answer) or, from [`LINK`] on, the place of a node. A node is a 64-bit
//! map of the slots where the word changes, followed by one word per change:
//!
//! ```text
//! | map low | map high | word of the first run | word of the second run | ...
//! ```
//!
//! The word of a slot is found by counting the bits of the map up to that slot. Bit 0 is always set.
//! A lookup reads two adjacent places per node and stops after at most `BITS / 6 + 1` nodes.

use super::intervals::{Start, flatten};
use super::{Address, FibError, MAX_VALUE, Prefix};

/// Words from here on are places of nodes.
pub(super) const LINK: u32 = 0xf000_0000;
/// How many words a table can have.
pub(super) const MAX_WORDS: usize = (u32::MAX - LINK) as usize;
/// Bits that one node resolves.
const STRIDE: u8 = 6;

/// An immutable longest-prefix-match table.
#[derive(Clone, Debug)]
pub struct Fib<A> {
    words: Box<[u32]>,
    prefixes: usize,
    root_bits: u8,
    family: core::marker::PhantomData<A>,
}

impl<A: Address> Fib<A> {
    /// Builds the table. When a prefix is given twice, the later one wins.
    ///
    /// # Errors
    /// [`FibError::Value`] for a value above [`MAX_VALUE`], [`FibError::TooManyRoutes`] when a table of 1 GiB is
    /// not enough.
    pub fn build(routes: &[(Prefix<A>, u32)]) -> Result<Self, FibError> {
        if let Some(&(_, value)) = routes.iter().find(|(_, value)| *value > MAX_VALUE) {
            return Err(FibError::Value { value });
        }
        let (starts, prefixes) = flatten(routes);
        let root_bits = root_bits(starts.len());
        let mut builder = Builder { starts: &starts, at: 0, words: vec![0; 1 << root_bits] };
        builder.root(root_bits)?;
        Ok(Self { words: builder.words.into(), prefixes, root_bits, family: core::marker::PhantomData })
    }

    /// The value of the longest prefix that contains `addr`, or 0.
    #[inline]
    pub fn lookup(&self, addr: A) -> u32 {
        let mut word = self.word(addr.top(self.root_bits));
        let mut rest = addr.after(self.root_bits);
        for _ in 0..=A::BITS / STRIDE {
            if word < LINK {
                break;
            }
            let node = (word - LINK) as usize;
            let map = u64::from(self.word(node)) | u64::from(self.word(node + 1)) << 32;
            let upto = map << (63 - rest.top(STRIDE));
            word = self.word(node + 1 + upto.count_ones() as usize);
            rest = rest.after(STRIDE);
        }
        word
    }

    /// Looks up a burst: the answer of `addrs[i]` goes to `values[i]`.
    #[inline]
    pub fn lookup_burst<const N: usize>(&self, addrs: &[A; N], values: &mut [u32; N]) {
        for (addr, value) in addrs.iter().zip(values) {
            *value = self.lookup(*addr);
        }
    }

    /// How many different prefixes the table was built from.
    pub fn len(&self) -> usize {
        self.prefixes
    }

    /// Whether the table was built from no route at all.
    pub fn is_empty(&self) -> bool {
        self.prefixes == 0
    }

    /// Bytes of memory that the table takes, itself included.
    pub fn memory_bytes(&self) -> usize {
        size_of::<Self>() + size_of_val::<[u32]>(&self.words)
    }

    /// A word, or 0 outside of the table (which the builder never links to).
    #[inline(always)]
    fn word(&self, at: usize) -> u32 {
        self.words.get(at).copied().unwrap_or(0)
    }
}

impl<A: Address> Default for Fib<A> {
    fn default() -> Self {
        Self { words: Box::default(), prefixes: 0, root_bits: 0, family: core::marker::PhantomData }
    }
}

/// How many bits the root resolves at once.
fn root_bits(intervals: usize) -> u8 {
    match intervals {
        0..64 => 0,
        64..4096 => 12,
        _ => 18,
    }
}

/// Lays the intervals out as nodes, from low addresses to high.
struct Builder<'a, A> {
    starts: &'a [Start<A>],
    /// The interval that the address being worked on lies in.
    at: usize,
    words: Vec<u32>,
}

impl<A: Address> Builder<'_, A> {
    fn root(&mut self, root_bits: u8) -> Result<(), FibError> {
        for slot in 0..1usize << root_bits {
            let word = self.region(A::from_top(slot, root_bits), root_bits)?;
            if let Some(place) = self.words.get_mut(slot) {
                *place = word;
            }
        }
        Ok(())
    }

    /// The word for the region of the first `len` bits of `first`: a value when one interval covers it, else a node.
    fn region(&mut self, first: A, len: u8) -> Result<u32, FibError> {
        self.skip_to(first);
        if self.covers(first.last_of(len)) {
            return Ok(self.starts.get(self.at).map_or(0, |start| start.value));
        }
        let mut map = 0u64;
        let mut runs = arrayvec::ArrayVec::<u32, { 1 << STRIDE }>::new();
        for slot in 0..1usize << STRIDE {
            let Some(inner) = first.slot(slot, len, STRIDE) else { continue };
            let word = self.region(inner, A::BITS.min(len + STRIDE))?;
            if runs.last() != Some(&word) {
                map |= 1 << slot;
                runs.push(word);
            }
        }
        self.node(map, &runs)
    }

    /// Appends a node and returns the link to it.
    fn node(&mut self, map: u64, runs: &[u32]) -> Result<u32, FibError> {
        let node = self.words.len();
        if node + 2 + runs.len() > MAX_WORDS {
            return Err(FibError::TooManyRoutes);
        }
        self.words.extend([map as u32, (map >> 32) as u32]);
        self.words.extend_from_slice(runs);
        Ok(LINK + node as u32)
    }

    /// Moves on to the interval that `addr` lies in.
    fn skip_to(&mut self, addr: A) {
        while self.starts.get(self.at + 1).is_some_and(|next| next.addr <= addr) {
            self.at += 1;
        }
    }

    /// Whether the present interval reaches to `last`.
    fn covers(&self, last: A) -> bool {
        self.starts.get(self.at + 1).is_none_or(|next| next.addr > last)
    }
}
