//! What of this node's security associations the store does not have yet: of each record the newest form, until it is
//! written.
//!
//! Knows no store and no key: whoever writes takes what waits, and says what became of it. A record that changes again
//! while it is written waits again. Each change has a ticket, by which one asks whether the store has it.

use std::collections::BTreeMap;

use zeroize::Zeroizing;

/// One change, of all that were ever asked for; later ones are greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(u64);

/// What becomes of a record.
#[derive(Clone, PartialEq, Eq)]
pub enum Change {
    /// It has this content, with the keys: to be sealed.
    Put(Zeroizing<Vec<u8>>),
    /// It goes.
    Delete,
}

impl std::fmt::Debug for Change {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Put(_) => "Put(..)",
            Self::Delete => "Delete",
        })
    }
}

/// A change that is being written.
#[derive(Debug)]
pub struct Flight {
    /// The record.
    pub key: String,
    /// What becomes of it.
    pub change: Change,
    /// The version that the store must have of it; 0: none.
    pub from: u64,
    /// Which change it is.
    pub ticket: Ticket,
}

#[derive(Default)]
struct Slot {
    /// What the store has of it; 0: nothing.
    version: u64,
    waits: Option<(Ticket, Change)>,
    is_flying: bool,
    /// The last change that the store has, and since when.
    written: Option<(Ticket, u64)>,
}

/// All records of this node.
#[derive(Default)]
pub struct Outbox {
    slots: BTreeMap<String, Slot>,
    tickets: u64,
    waiting: usize,
}

impl Outbox {
    /// A record has another content, or is gone.
    pub fn change(&mut self, key: String, change: Change) -> Ticket {
        self.tickets += 1;
        let ticket = Ticket(self.tickets);
        let slot = self.slots.entry(key).or_default();
        if slot.waits.replace((ticket, change)).is_none() {
            self.waiting += 1;
        }
        ticket
    }

    /// The store has this version of a record; 0: none.
    pub fn seen(&mut self, key: &str, version: u64) {
        if let Some(slot) = self.slots.get_mut(key).filter(|slot| !slot.is_flying) {
            slot.version = version;
        }
    }

    /// The store was read as a whole; records that it has are told next.
    pub fn start_over(&mut self) {
        for slot in self.slots.values_mut().filter(|slot| !slot.is_flying) {
            slot.version = 0;
        }
    }

    /// The store has this version of a record, since this revision.
    pub fn found_written(&mut self, key: String, version: u64, revision: u64) -> Ticket {
        self.tickets += 1;
        let ticket = Ticket(self.tickets);
        let slot = self.slots.entry(key).or_default();
        if !slot.is_flying {
            slot.version = version;
        }
        slot.written = Some((ticket, revision));
        ticket
    }

    /// The store was asked for a record that is being written, and has this version; 0: none.
    pub fn found(&mut self, key: &str, version: u64) {
        if let Some(slot) = self.slots.get_mut(key) {
            slot.version = version;
        }
    }

    /// Takes what waits, of at most so many bytes of content (but one at least) and so many records. Nothing of a record
    /// that is being written already.
    pub fn take(&mut self, most: usize, most_bytes: usize) -> Vec<Flight> {
        let mut flights = Vec::new();
        let mut bytes = 0;
        for (key, slot) in &mut self.slots {
            if flights.len() >= most {
                break;
            }
            let Some((ticket, change)) = slot.waits.take_if(|_| !slot.is_flying) else { continue };
            let size = if let Change::Put(content) = &change { content.len() } else { 0 };
            if !flights.is_empty() && bytes + size > most_bytes {
                slot.waits = Some((ticket, change));
                break;
            }
            bytes += size;
            slot.is_flying = true;
            flights.push(Flight { key: key.clone(), change, from: slot.version, ticket });
        }
        self.waiting -= flights.len();
        flights
    }

    /// The store has them, since this revision.
    pub fn landed(&mut self, flights: Vec<Flight>, revision: u64) {
        for flight in flights {
            let Some(slot) = self.slots.get_mut(&flight.key) else { continue };
            slot.is_flying = false;
            slot.written = Some((flight.ticket, revision));
            slot.version = if flight.change == Change::Delete { 0 } else { flight.from + 1 };
        }
    }

    /// The store may not have them. They wait again, unless something newer does.
    pub fn lost(&mut self, flights: Vec<Flight>) {
        for flight in flights {
            let Some(slot) = self.slots.get_mut(&flight.key) else { continue };
            slot.is_flying = false;
            if slot.waits.is_none() {
                slot.waits = Some((flight.ticket, flight.change));
                self.waiting += 1;
            }
        }
    }

    /// Since which revision the store has this change of a record, or a later one.
    pub fn written(&self, key: &str, ticket: Ticket) -> Option<u64> {
        let (newest, revision) = self.slots.get(key)?.written?;
        (newest >= ticket).then_some(revision)
    }

    /// Records that wait.
    pub fn waiting(&self) -> usize {
        self.waiting
    }

    /// Nothing of a record waits or is being written, and the store does not have it: forgets it.
    pub fn forget(&mut self, key: &str) {
        let is_over = |slot: &Slot| slot.version == 0 && !slot.is_flying && slot.waits.is_none();
        if self.slots.get(key).is_some_and(is_over) {
            self.slots.remove(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    fn put(byte: u8) -> Change {
        Change::Put(Zeroizing::new(vec![byte; 10]))
    }

    #[test]
    fn the_newest_form_is_written_once() {
        let mut outbox = Outbox::default();
        let old = outbox.change("a".into(), put(1));
        let new = outbox.change("a".into(), put(2));
        assert_eq!(outbox.waiting(), 1);
        let flights = outbox.take(10, 100);
        assert_eq!((flights.len(), flights[0].from, &flights[0].change), (1, 0, &put(2)));
        assert_eq!(outbox.written("a", old), None);
        outbox.landed(flights, 7);
        assert_eq!((outbox.written("a", old), outbox.written("a", new)), (Some(7), Some(7)));
        assert_eq!(outbox.waiting(), 0);
    }

    #[test]
    fn what_changes_on_the_way_waits_for_its_turn() {
        let mut outbox = Outbox::default();
        outbox.change("a".into(), put(1));
        let first = outbox.take(10, 100);
        let later = outbox.change("a".into(), Change::Delete);
        assert!(outbox.take(10, 100).is_empty(), "one at a time");
        outbox.landed(first, 7);
        assert_eq!(outbox.written("a", later), None);
        let second = outbox.take(10, 100);
        assert_eq!((second[0].from, &second[0].change), (1, &Change::Delete));
        outbox.forget("a");
        outbox.landed(second, 8);
        assert_eq!(outbox.written("a", later), Some(8));
        outbox.forget("a");
        assert!(outbox.slots.is_empty());
    }

    #[test]
    fn what_was_lost_waits_again_but_not_over_something_newer() {
        let mut outbox = Outbox::default();
        outbox.change("a".into(), put(1));
        outbox.change("b".into(), put(1));
        let flights = outbox.take(10, 100);
        outbox.change("a".into(), put(2));
        outbox.lost(flights);
        let again = outbox.take(10, 100);
        let changes: Vec<_> = again.iter().map(|flight| &flight.change).collect();
        assert_eq!(changes, [&put(2), &put(1)]);
    }

    #[test]
    fn a_version_that_somebody_else_made_is_written_over() {
        let mut outbox = Outbox::default();
        outbox.change("a".into(), put(1));
        let flights = outbox.take(10, 100);
        outbox.seen("a", 9);
        outbox.lost(flights);
        outbox.seen("a", 5);
        assert_eq!(outbox.take(10, 100)[0].from, 5);
    }

    #[test]
    fn batches_are_bounded() {
        let mut outbox = Outbox::default();
        for key in ["a", "b", "c", "d"] {
            outbox.change(key.into(), put(0));
        }
        assert_eq!(outbox.take(3, 25).len(), 2);
        assert_eq!(outbox.take(1, 0).len(), 1);
        assert_eq!(outbox.waiting(), 1);
    }

    proptest! {
        /// A store that loses some and takes the rest ends up with what was asked for last.
        #[test]
        fn the_store_ends_up_with_what_was_wanted(steps in prop::collection::vec((0..4u8, 0..3u8, any::<bool>()), 0..60)) {
            let (mut outbox, mut store, mut wanted) = (Outbox::default(), HashMap::new(), HashMap::new());
            let mut flying: Vec<Flight> = Vec::new();
            let mut settle = |outbox: &mut Outbox, flights: Vec<Flight>, holds: bool| {
                if !holds {
                    return outbox.lost(flights);
                }
                for flight in &flights {
                    let (version, _) = store.get(&flight.key).cloned().unwrap_or((0, None));
                    assert_eq!(version, flight.from);
                    match &flight.change {
                        Change::Put(content) => store.insert(flight.key.clone(), (version + 1, Some(content.clone()))),
                        Change::Delete => store.insert(flight.key.clone(), (0, None)),
                    };
                }
                outbox.landed(flights, 1);
            };
            for (key, what, holds) in steps {
                let key = key.to_string();
                match what {
                    0 => {
                        outbox.change(key.clone(), put(holds.into()));
                        wanted.insert(key, Some(vec![u8::from(holds); 10]));
                    }
                    1 => {
                        outbox.change(key.clone(), Change::Delete);
                        wanted.insert(key, None);
                    }
                    _ => {
                        let flights = std::mem::take(&mut flying);
                        settle(&mut outbox, flights, holds);
                        flying = outbox.take(2, 100);
                    }
                }
            }
            settle(&mut outbox, flying, true);
            loop {
                let flights = outbox.take(2, 100);
                if flights.is_empty() {
                    break;
                }
                settle(&mut outbox, flights, true);
            }
            prop_assert_eq!(outbox.waiting(), 0);
            for (key, content) in wanted {
                prop_assert_eq!(store[&key].1.as_ref().map(|content| content.to_vec()), content);
            }
        }
    }
}
