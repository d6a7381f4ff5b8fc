//! Overlapping prefixes become disjoint intervals.
//!
//! The result is a list of places where the value changes: each entry holds the first address of an interval, which
//! ends before the next entry's. It starts at address 0, covers the whole address space, and neighbours differ.

use super::{Address, Prefix};

/// The address from which on a value is valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Start<A> {
    pub addr: A,
    pub value: u32,
}

/// Sorts the routes, keeps the last of each prefix, and flattens them.
/// Returns the intervals and how many different prefixes there were.
pub(super) fn flatten<A: Address>(routes: &[(Prefix<A>, u32)]) -> (Vec<Start<A>>, usize) {
    let mut sorted = routes.to_vec();
    // Outer prefixes before the inner ones that start at the same address; stable, so that "last" keeps its meaning.
    sorted.sort_by_key(|&(prefix, _)| prefix);

    let mut flat = Intervals::new(routes.len());
    let mut open: Vec<(A, u32)> = Vec::new();
    let mut prefixes = 0;
    for (i, &(prefix, value)) in sorted.iter().enumerate() {
        if sorted.get(i + 1).is_some_and(|&(next, _)| next == prefix) {
            continue;
        }
        prefixes += 1;
        close_before(&mut open, &mut flat, Some(prefix.addr()));
        flat.start(prefix.addr(), value);
        open.push((prefix.last(), value));
    }
    close_before(&mut open, &mut flat, None);
    (flat.starts, prefixes)
}

/// Ends the open prefixes that end before `until` (all of them for `None`); what encloses each becomes valid again.
fn close_before<A: Address>(open: &mut Vec<(A, u32)>, flat: &mut Intervals<A>, until: Option<A>) {
    while let Some((last, _)) = open.pop_if(|(last, _)| until.is_none_or(|addr| *last < addr)) {
        let enclosing = open.last().map_or(0, |&(_, value)| value);
        if let Some(addr) = last.next() {
            flat.start(addr, enclosing);
        }
    }
}

struct Intervals<A> {
    starts: Vec<Start<A>>,
}

impl<A: Address> Intervals<A> {
    fn new(routes: usize) -> Self {
        let mut starts = Vec::with_capacity(2 * routes + 1);
        starts.push(Start { addr: A::MIN, value: 0 });
        Self { starts }
    }

    /// From `addr` on, `value` is valid. Addresses never go down from call to call.
    fn start(&mut self, addr: A, value: u32) {
        // A second start at one address takes the first one's place.
        self.starts.pop_if(|last| last.addr == addr);
        if self.starts.last().is_none_or(|last| last.value != value) {
            self.starts.push(Start { addr, value });
        }
    }
}
