//! Lays intervals out as nodes, from low addresses to high.

use arrayvec::ArrayVec;

use super::intervals::Start;
use super::table::{LINK, MAP, MAX_WORDS, RANGE_ALIGN, STRIDE};
use super::{Address, FibError};

/// What a range node says from some address on.
#[derive(Clone, Copy)]
enum Run<A> {
    /// The same value for all keys of the run.
    Value(A, u32),
    /// A run of one key, whose addresses differ in what follows the key.
    Node(A),
}

impl<A: Address> Run<A> {
    fn first(&self) -> A {
        match *self {
            Self::Value(first, _) | Self::Node(first) => first,
        }
    }
}

type Runs<A> = ArrayVec<Run<A>, { MAX_RUNS }>;
/// The most runs of a range node: beyond, comparing all keys costs more than another step.
pub(super) const MAX_RUNS: usize = 64;

pub(super) struct Builder<'a, A> {
    starts: &'a [Start<A>],
    /// The interval that the address being worked on lies in.
    at: usize,
    words: Vec<u32>,
}

impl<'a, A: Address> Builder<'a, A> {
    pub(super) fn new(starts: &'a [Start<A>]) -> Self {
        Self { starts, at: 0, words: Vec::new() }
    }

    /// The table's words; those of the root come first.
    pub(super) fn build(mut self, root_bits: u8) -> Result<Vec<u32>, FibError> {
        self.words.resize(1 << root_bits, 0);
        for slot in 0..1usize << root_bits {
            let word = self.region(A::from_top(slot, root_bits), root_bits)?;
            if let Some(place) = self.words.get_mut(slot) {
                *place = word;
            }
        }
        Ok(self.words)
    }

    /// The word for the region of the first `len` bits of `first`: a value when one interval covers it, else a link.
    fn region(&mut self, first: A, len: u8) -> Result<u32, FibError> {
        while self.starts.get(self.at + 1).is_some_and(|next| next.addr <= first) {
            self.at += 1;
        }
        let last = first.last_of(len);
        if self.starts.get(self.at + 1).is_none_or(|next| next.addr > last) {
            return Ok(self.value());
        }
        // Below a root, IPv4 has at most two map nodes to go, which cost less than a range node.
        let may_have_ranges = A::KEY_BITS < A::BITS || len == 0;
        match may_have_ranges.then(|| self.runs(first, len, last)).flatten() {
            Some(runs) => self.range_node(&runs, len),
            None => self.map_node(first, len, last),
        }
    }

    /// The value of the present interval.
    fn value(&self) -> u32 {
        self.starts.get(self.at).map_or(0, |start| start.value)
    }

    /// Cuts a region into runs of keys, or says `None` when they are too many for one range node.
    fn runs(&self, first: A, len: u8, last: A) -> Option<Runs<A>> {
        let key_end = A::BITS.min(len + A::KEY_BITS);
        let mut runs = Runs::new();
        runs.push(Run::Value(first, self.value()));
        let mut at = self.at + 1;
        while let Some(start) = self.starts.get(at).filter(|start| start.addr <= last) {
            let (key_first, key_last) = (start.addr.first_of(key_end), start.addr.last_of(key_end));
            let inside = self.starts_up_to(at, key_last);
            if runs.last().is_some_and(|run| run.first() == key_first) {
                runs.pop();
            }
            if inside == 1 && start.addr == key_first {
                runs.try_push(Run::Value(key_first, start.value)).ok()?;
            } else {
                runs.try_push(Run::Node(key_first)).ok()?;
                let after = self.starts.get(at + inside - 1)?.value;
                if let Some(next) = key_last.next().filter(|_| key_last < last) {
                    runs.try_push(Run::Value(next, after)).ok()?;
                }
            }
            at += inside;
        }
        Some(runs)
    }

    /// How many intervals start from number `at` on up to `last`; at least the first of them does.
    fn starts_up_to(&self, at: usize, last: A) -> usize {
        let starts = self.starts.get(at..).unwrap_or(&[]);
        match starts.get(1) {
            Some(second) if second.addr <= last => starts.partition_point(|start| start.addr <= last),
            _ => 1,
        }
    }

    fn range_node(&mut self, runs: &Runs<A>, len: u8) -> Result<u32, FibError> {
        let mut words = ArrayVec::<u32, MAX_RUNS>::new();
        for run in runs {
            words.push(match *run {
                Run::Value(_, value) => value,
                Run::Node(first) => self.region(first, len + A::KEY_BITS)?,
            });
        }
        let chunks = runs.len().div_ceil(A::LANES);
        // Unused lanes: the highest key, which only the highest address reaches, and the last run's word.
        let padding = chunks * A::LANES - runs.len();
        let last_word = words.last().copied().unwrap_or(0);

        let node = self.words.len().next_multiple_of(RANGE_ALIGN);
        self.check_room(node)?;
        self.words.resize(node, 0);
        self.words.extend(runs.iter().flat_map(|run| run.first().key_words(len)));
        let highest = A::MIN.last_of(0).key_words(0);
        self.words.extend(core::iter::repeat_n(highest, padding).flatten());
        self.words.extend_from_slice(&words);
        self.words.extend(core::iter::repeat_n(last_word, padding));
        Ok(LINK + (node + chunks) as u32)
    }

    fn map_node(&mut self, first: A, len: u8, last: A) -> Result<u32, FibError> {
        let mut map = 0u64;
        let mut runs = ArrayVec::<u32, { 1 << STRIDE }>::new();
        let mut slot = 0;
        while slot < 1 << STRIDE {
            let word = self.region(first.slot(slot, len, STRIDE), A::BITS.min(len + STRIDE))?;
            if runs.last() != Some(&word) {
                map |= 1 << slot;
                runs.push(word);
            }
            slot = match self.starts.get(self.at + 1) {
                _ if word >= LINK => slot + 1,
                // A value is good up to the next interval, which starts in a later slot.
                Some(next) if next.addr <= last => next.addr.slot_number(len, STRIDE),
                _ => 1 << STRIDE,
            };
        }
        let node = self.words.len();
        self.check_room(node)?;
        self.words.extend([map as u32, (map >> 32) as u32]);
        self.words.extend_from_slice(&runs);
        Ok(MAP + node as u32)
    }

    /// Whether any node can be put there.
    fn check_room(&self, node: usize) -> Result<(), FibError> {
        const LARGEST_NODE: usize = 3 * MAX_RUNS + RANGE_ALIGN;
        if node + LARGEST_NODE > MAX_WORDS { Err(FibError::TooManyRoutes) } else { Ok(()) }
    }
}

// The length of a range node fits the low bits of its link.
const _: () = assert!(MAX_RUNS / u32::LANES < RANGE_ALIGN && MAX_RUNS / u128::LANES < RANGE_ALIGN);
