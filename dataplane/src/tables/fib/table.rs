//! The table and its lookup.
//!
//! All of it is one array of 32-bit words. The first `2^root_bits` words are the root, indexed by the first bits of
//! the address. A word with its top bit clear is a value: the answer. Other words link to a node, of which there
//! are two kinds:
//!
//! ```text
//! map node    | map low | map high | word of run 0 | word of run 1 | ...
//! range node  | key 0 | key 1 | ... | key m-1 | word 0 | word 1 | ... | word m-1
//! ```
//!
//! A **map node** resolves the next six bits. Bit `i` of its 64-bit map is set where slot `i` has another word than
//! slot `i - 1`; counting the bits up to a slot finds its run. Bit 0 is always set.
//!
//! A **range node** resolves a whole key. Word `i` is valid from key `i` on; key 0 is 0. All keys are compared at once,
//! which takes no branches. What fills the last lanes up repeats the last word.
//!
//! A small table is one range node, of which a small IPv4 table has no more than the keys and the words: nothing to
//! follow. A large IPv4 table has a root and map nodes only, so that most lookups end
//! after one node; an IPv6 table changes to range nodes as soon as few enough ranges are left.

use core::marker::PhantomData;

use super::build::{Builder, MAX_RUNS};
use super::intervals::flatten;
use super::{Address, FibError, MAX_VALUE, Prefix};

/// Set in a word that links to a node.
pub(super) const LINK: u32 = 1 << 31;
/// Set in a link to a map node; the bits below are its place. In a link to a range node they are its place, which is
/// a multiple of [`RANGE_ALIGN`], and in the low bits its length in units of [`Address::LANES`] keys.
pub(super) const MAP: u32 = LINK | 1 << 30;
/// Range nodes start at multiples of so many words.
pub(super) const RANGE_ALIGN: usize = 16;
/// How many words a table can have.
pub(super) const MAX_WORDS: usize = (u32::MAX - MAP) as usize;
/// Bits that a map node resolves.
pub(super) const STRIDE: u8 = 6;
/// No path is longer: each node resolves at least [`STRIDE`] bits.
const MAX_DEPTH: u8 = u128::BITS as u8 / STRIDE + 1;

/// An immutable longest-prefix-match table.
#[derive(Clone, Debug)]
pub struct Fib<A> {
    words: Box<[u32]>,
    prefixes: usize,
    root_bits: u8,
    /// All words are the keys and words of one range node, and all it leads to are values.
    flat: bool,
    family: PhantomData<A>,
}

impl<A: Address> Fib<A> {
    /// Builds the table. When a prefix is given twice, the later one wins.
    ///
    /// # Errors
    /// [`FibError::Value`] for a value above [`MAX_VALUE`], [`FibError::TooManyRoutes`] when a table of 4 GiB is
    /// not enough.
    pub fn build(routes: &[(Prefix<A>, u32)]) -> Result<Self, FibError> {
        if let Some(&(_, value)) = routes.iter().find(|(_, value)| *value > MAX_VALUE) {
            return Err(FibError::Value { value });
        }
        let (starts, prefixes) = flatten(routes);
        let root_bits = root_bits(starts.len());
        let words = Builder::new(&starts).build(root_bits)?;
        let (words, flat) = match only_node::<A>(&words, root_bits) {
            Some(node) => (node.into(), true),
            None => (words.into(), false),
        };
        Ok(Self { words, prefixes, root_bits, flat, family: PhantomData })
    }

    /// The value of the longest prefix that contains `addr`, or 0.
    #[inline(always)]
    pub fn lookup(&self, addr: A) -> u32 {
        if self.flat {
            let keys = self.words.len() / 2;
            let rank = addr.rank(self.words.get(..keys).unwrap_or(&[]));
            return word(&self.words, (keys + rank).wrapping_sub(1));
        }
        walk(&self.words, addr, self.root_bits)
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
}

impl<A: Address> Default for Fib<A> {
    fn default() -> Self {
        Self { words: Box::default(), prefixes: 0, root_bits: 0, flat: false, family: PhantomData }
    }
}

/// How many bits the root resolves at once. One range node does for a few routes; else the root leaves a multiple of
/// six bits to a /24, and large tables pay for a large root.
fn root_bits(intervals: usize) -> u8 {
    match intervals {
        n if n <= MAX_RUNS => 0,
        n if n <= 16_384 => 12,
        _ => 18,
    }
}

/// The lookup in a table of more than one node. Not inlined: the other one is short, and shall be.
#[inline(never)]
fn walk<A: Address>(words: &[u32], addr: A, root_bits: u8) -> u32 {
    let mut rest = addr.after(root_bits);
    let mut word = word(words, addr.top(root_bits));
    for _ in 0..MAX_DEPTH {
        (word, rest) = through_maps(words, word, rest);
        // A range node of whole addresses would be all there is to a table.
        if word < LINK || A::KEY_BITS == A::BITS {
            break;
        }
        (word, rest) = through_ranges(words, word, rest);
    }
    word
}

/// Through map nodes, as many as follow each other.
#[inline(always)]
fn through_maps<A: Address>(words: &[u32], word: u32, rest: A) -> (u32, A) {
    let (mut word, mut rest) = (word, rest);
    for _ in 0..A::BITS / STRIDE + 1 {
        if word < MAP {
            break;
        }
        (word, rest) = through_map(words, word, rest);
    }
    (word, rest)
}

/// One step through a map node: the next word, and the address without the bits that this took.
#[inline(always)]
fn through_map<A: Address>(words: &[u32], link: u32, rest: A) -> (u32, A) {
    let node = (link - MAP) as usize;
    let Some(&[low, high]) = words.get(node..node + 2) else { return (0, rest) };
    let map = u64::from(low) | u64::from(high) << 32;
    let up_to_slot = map << (63 - rest.top(STRIDE));
    (word(words, node + 1 + up_to_slot.count_ones() as usize), rest.after(STRIDE))
}

/// One step through a range node.
#[inline(always)]
fn through_ranges<A: Address>(words: &[u32], link: u32, rest: A) -> (u32, A) {
    let (node, chunks) = range_node(link);
    let values = node + chunks * A::LANES * A::KEY_WORDS;
    let rank = rest.rank(words.get(node..values).unwrap_or(&[]));
    (word(words, (values + rank).wrapping_sub(1)), rest.after_key())
}

/// Place and length of the range node that a link leads to.
#[inline(always)]
fn range_node(link: u32) -> (usize, usize) {
    let link = (link - LINK) as usize;
    (link & !(RANGE_ALIGN - 1), link & (RANGE_ALIGN - 1))
}

/// The range node that is all there is to a table, in a family whose range nodes resolve whole addresses.
fn only_node<A: Address>(words: &[u32], root_bits: u8) -> Option<&[u32]> {
    let root = *words.first().filter(|_| root_bits == 0 && A::KEY_BITS == A::BITS)?;
    let (node, chunks) = range_node(Some(root).filter(|root| (LINK..MAP).contains(root))?);
    words.get(node..node + 2 * chunks * A::LANES)
}

/// A word, or 0 outside of the table, which no link leads to. Only an empty table reads there.
#[inline(always)]
fn word(words: &[u32], at: usize) -> u32 {
    words.get(at).copied().unwrap_or(0)
}
