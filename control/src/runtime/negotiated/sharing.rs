//! What this node tells the other nodes of its SAs, and how long charon's answers wait for them.
//!
//! After each call the records of what changed are compared with what was written of them last; those that say something
//! else go to the outbox. Keys come from the journal for that moment.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use tokio::sync::Notify;

use super::Negotiated;
use crate::fleet::Outline;
use crate::fleet::outbox::{Change, Flight, Outbox, Ticket};
use crate::fleet::record::{Owner, SaName};
use crate::ike::sad::Serial;
use crate::runtime::clock;

/// This node among the others.
pub(in crate::runtime) struct Sharing {
    number: u16,
    /// What waits to be written.
    pub(in crate::runtime) outbox: Outbox,
    /// What the store has, or will have, of each SA of this node.
    written: HashMap<Serial, Written>,
    /// The same, by key.
    serials: HashMap<String, Serial>,
    /// Records to look at, beside those of SAs that `Sad` says have changed.
    doubtful: BTreeSet<Serial>,
    /// Wakes whoever writes.
    wake: Arc<Notify>,
}

struct Written {
    name: SaName,
    outline: Outline,
    ticket: Ticket,
}

/// A change that other nodes have to have before charon is answered.
#[derive(Clone, Debug)]
pub(in crate::runtime) struct Told {
    pub(in crate::runtime) key: String,
    pub(in crate::runtime) ticket: Ticket,
}

impl Sharing {
    fn new(number: u16, wake: Arc<Notify>) -> Self {
        Self {
            number,
            outbox: Outbox::default(),
            written: HashMap::new(),
            serials: HashMap::new(),
            doubtful: BTreeSet::new(),
            wake,
        }
    }

    /// Number of this node.
    pub(super) fn number(&self) -> u16 {
        self.number
    }

    /// Records of these SAs have to be looked at, or are over.
    pub(super) fn doubt(&mut self, serials: impl IntoIterator<Item = Serial>) {
        self.doubtful.extend(serials);
    }

    /// The store has this version of a record; 0: none.
    pub(super) fn seen(&mut self, name: &SaName, version: u64) {
        if name.owner.0 == self.number {
            self.outbox.seen(&name.to_string(), version);
        }
    }

    /// The store was read as a whole: what is known of it is what [`Sharing::found`] says next.
    pub(super) fn start_over(&mut self, all: impl Iterator<Item = Serial>) {
        self.written.clear();
        self.serials.clear();
        self.outbox.start_over();
        self.doubtful.extend(all);
    }

    /// The store has this of an SA of this node. `serial`: `None` if there is no such SA any more.
    pub(super) fn found(
        &mut self,
        name: SaName,
        outline: Outline,
        version: u64,
        revision: u64,
        serial: Option<Serial>,
    ) {
        let key = name.to_string();
        let ticket = self.outbox.found_written(key.clone(), version, revision);
        match serial {
            Some(serial) => {
                self.serials.insert(key, serial);
                self.written.insert(serial, Written { name, outline, ticket });
            }
            None => {
                self.outbox.change(key, Change::Delete);
            }
        }
    }

    /// Records that the store has now.
    pub(super) fn landed(&mut self, flights: Vec<Flight>, revision: u64) {
        let keys: Vec<String> = flights.iter().map(|flight| flight.key.clone()).collect();
        self.outbox.landed(flights, revision);
        keys.iter().filter(|key| !self.serials.contains_key(*key)).for_each(|key| self.outbox.forget(key));
    }

    /// The change of an SA's record that is the newest.
    fn told(&self, serial: Serial) -> Option<Told> {
        let written = self.written.get(&serial)?;
        Some(Told { key: written.name.to_string(), ticket: written.ticket })
    }
}

impl Negotiated {
    /// Begins to tell other nodes: of all that there is, as soon as the store was read.
    pub(in crate::runtime) fn share(&mut self, wake: Arc<Notify>) {
        self.sharing = Some(Sharing::new(self.number, wake));
    }

    /// Records that wait to be written.
    pub(in crate::runtime) fn unwritten(&self) -> usize {
        self.sharing.as_ref().map_or(0, |sharing| sharing.outbox.waiting())
    }

    /// What is shared, if there is a fleet.
    pub(in crate::runtime) fn sharing(&mut self) -> Option<&mut Sharing> {
        self.sharing.as_mut()
    }

    /// All of it is to be written again, with another key.
    pub(in crate::runtime) fn write_again(&mut self) {
        let Some(sharing) = &mut self.sharing else { return };
        sharing.doubtful.extend(sharing.written.drain().map(|(serial, _)| serial));
        self.tell_others();
    }

    /// Puts into the outbox what says something else than what the store has.
    pub(super) fn tell_others(&mut self) {
        let Self { sad, fleet, sharing: Some(sharing), opened: Some(opened), tunnels, .. } = self else {
            return;
        };
        let now = clock::moment();
        for serial in std::mem::take(&mut sharing.doubtful) {
            let outline = fleet.outline(serial, sad, now);
            let named = sad.get(serial).and_then(|sa| tunnels.get(&sa.reqid));
            let (Some(outline), Some(tunnel)) = (outline, named) else {
                if let Some(written) = sharing.written.remove(&serial) {
                    let key = written.name.to_string();
                    sharing.serials.remove(&key);
                    sharing.outbox.change(key, Change::Delete);
                }
                continue;
            };
            if sharing.written.get(&serial).is_some_and(|written| outline.says_the_same(&written.outline)) {
                continue;
            }
            let Some(sa) = opened.store.keys(serial) else { continue };
            let owner = Owner { number: sharing.number, journal: opened.store.id };
            let record = outline.record(owner, tunnel.name.clone(), sa);
            match record.encode() {
                Ok(bytes) => {
                    let name = record.name();
                    let key = name.to_string();
                    let ticket = sharing.outbox.change(key.clone(), Change::Put(bytes));
                    sharing.serials.insert(key, serial);
                    sharing.written.insert(serial, Written { name, outline, ticket });
                }
                Err(error) => tracing::error!(id = %outline.id, %error, "an SA stays on this node"),
            }
        }
        if sharing.outbox.waiting() > 0 {
            sharing.wake.notify_one();
        }
    }

    /// What other nodes have to have of an SA.
    pub(super) fn told(&self, serial: Serial) -> Option<Told> {
        self.sharing.as_ref()?.told(serial)
    }
}
