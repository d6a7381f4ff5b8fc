//! IPv4 tunnels by their identity: open addressing in one array, so that a look-up touches one cache line.
//!
//! Architecture invariant: an array is never full, so every search ends at the identity or at a free entry.

use std::sync::Arc;

use crate::ids::EndpointId;

/// Who a received packet is from and for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Identity4 {
    /// Remote address in the upper half, GRE key below.
    addresses: u64,
    /// Endpoint, and marks for an entry in use and for a key.
    marks: u32,
}

const USED: u32 = 1 << 16;
const WITH_KEY: u32 = 1 << 17;

impl Identity4 {
    #[inline(always)]
    pub fn new(endpoint: EndpointId, remote: u32, key: Option<u32>) -> Self {
        let with_key = if key.is_some() { WITH_KEY } else { 0 };
        Self {
            addresses: u64::from(remote) << 32 | u64::from(key.unwrap_or(0)),
            marks: u32::from(endpoint.0) | USED | with_key,
        }
    }

    /// A folded multiply spreads every input bit over the hash.
    #[inline(always)]
    pub fn hash(self) -> u64 {
        let mixed = self.addresses ^ 0x9e37_79b9_7f4a_7c15;
        let product = u128::from(mixed) * u128::from(u64::from(self.marks) ^ 0xd1b5_4a32_d192_ed03);
        product as u64 ^ (product >> 64) as u64
    }
}

/// 16 bytes and aligned: never in two cache lines.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C, align(16))]
struct Entry {
    addresses: u64,
    marks: u32,
    value: u32,
}

/// A map from identity to tunnel.
#[derive(Clone, Debug, Default)]
pub(super) struct Flat {
    /// A power of two of entries, or none.
    entries: Arc<[Entry]>,
    used: usize,
}

/// Entries of the smallest array.
const SMALLEST: usize = 4;

impl Flat {
    /// The tunnel of an identity whose hash is `hash`.
    #[inline(always)]
    pub fn find(&self, identity: Identity4, hash: u64) -> Option<u32> {
        let mask = self.entries.len().wrapping_sub(1);
        let mut at = hash as usize;
        for _ in 0..self.entries.len() {
            let entry = self.entries.get(at & mask)?;
            if entry.addresses == identity.addresses && entry.marks == identity.marks {
                return Some(entry.value);
            }
            if entry.marks == 0 {
                return None;
            }
            at = at.wrapping_add(1);
        }
        None
    }

    /// Has the processor load the entry where a search begins, without waiting for it.
    #[inline(always)]
    pub fn fetch(&self, hash: u64) {
        let mask = self.entries.len().wrapping_sub(1);
        std::hint::black_box(self.entries.get(hash as usize & mask).map(|entry| entry.marks));
    }

    /// Adds or replaces; true when it was not there before.
    pub fn insert(&mut self, identity: Identity4, value: u32) -> bool {
        // Three quarters full at most.
        if (self.used + 1) * 4 > self.entries.len() * 3 {
            self.rebuild((self.entries.len() * 2).max(SMALLEST), |_| true);
        }
        let new = Entry { addresses: identity.addresses, marks: identity.marks, value };
        let is_new = place(Arc::make_mut(&mut self.entries), new);
        self.used += usize::from(is_new);
        is_new
    }

    /// False when it was not there.
    pub fn remove(&mut self, identity: Identity4) -> bool {
        let found = self.find(identity, identity.hash()).is_some();
        if found {
            self.used -= 1;
            self.rebuild(self.entries.len(), |other| other != identity);
        }
        found
    }

    pub fn len(&self) -> usize {
        self.used
    }

    fn rebuild(&mut self, len: usize, keep: impl Fn(Identity4) -> bool) {
        let mut entries = vec![Entry::default(); len];
        for entry in self.entries.iter().filter(|entry| entry.marks != 0) {
            if keep(Identity4 { addresses: entry.addresses, marks: entry.marks }) {
                place(&mut entries, *entry);
            }
        }
        self.entries = entries.into();
    }
}

/// Writes an entry where a search for it ends; true when that was a free place.
fn place(entries: &mut [Entry], new: Entry) -> bool {
    let mask = entries.len().wrapping_sub(1);
    let hash = Identity4 { addresses: new.addresses, marks: new.marks }.hash() as usize;
    for step in 0..entries.len() {
        let Some(entry) = entries.get_mut(hash.wrapping_add(step) & mask) else { break };
        let is_free = entry.marks == 0;
        if is_free || (entry.addresses, entry.marks) == (new.addresses, new.marks) {
            *entry = new;
            return is_free;
        }
    }
    false
}
