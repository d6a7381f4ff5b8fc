//! A store with its log, and nodes that read it when the test says.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::time::{Duration, SystemTime};

use penstock_dataplane::esp::sa::Spi;
use penstock_dataplane::ids::TunnelId;
use penstock_fleet::names::NodeNumber;

use super::super::*;
use crate::config::Name;
use crate::fleet::record::{Owner, SaName, SaRecord, State};
use crate::ike::protocol::tests::{add_sa, secret};
use crate::ike::protocol::{AddSa, Event, Instance, Lifetimes, SaFlags, SaId};
use crate::ike::sad::tests::fake::{Fake, HOUR, Made, an_hour, home, id};
use crate::ike::sad::{Direction, Moment, NewSa, Sad, Saved, Serial};
use crate::leases::MAX_KEY_LIFE;
use crate::static_sas::TunnelName;

pub(super) fn tunnel(number: u32) -> TunnelName {
    (Name::new("acme").unwrap(), Name::new(&format!("dc{number}")).unwrap())
}

pub(super) fn start() -> Moment {
    Moment { uptime: HOUR, date: SystemTime::UNIX_EPOCH + MAX_KEY_LIFE * 100 }
}

/// Something that happened in the store: a record, or that there is none any more.
pub(super) type Written = (u64, SaName, Option<Vec<u8>>);

/// The store.
#[derive(Clone, Default)]
pub(super) struct Store {
    pub(super) revision: u64,
    pub(super) contents: BTreeMap<SaName, (u64, Vec<u8>)>,
    pub(super) log: Vec<Written>,
    /// How often it was restored.
    pub(super) restored: u64,
}

impl Store {
    fn write(&mut self, name: &SaName, record: Option<Vec<u8>>) {
        if record.is_none() && !self.contents.contains_key(name) {
            return;
        }
        self.revision += 1;
        match &record {
            Some(record) => self.contents.insert(name.clone(), (self.revision, record.clone())),
            None => self.contents.remove(name),
        };
        self.log.push((self.revision, name.clone(), record));
    }
}

/// What charon gave, as the journal keeps it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Given {
    pub(super) reqid: u32,
    pub(super) direction: Direction,
    pub(super) id: SaId,
    pub(super) key: u64,
    pub(super) lifetimes: Lifetimes,
}

impl Given {
    fn add_sa(&self) -> AddSa {
        let inbound = self.direction == Direction::Inbound;
        AddSa {
            id: self.id,
            flags: SaFlags { inbound, encap: true, ..SaFlags::default() },
            reqid: self.reqid,
            key: secret(&self.key.to_be_bytes()),
            lifetimes: self.lifetimes,
            ..add_sa()
        }
    }
}

pub(super) fn expand(sa: &AddSa) -> Result<u64, Infallible> {
    Ok(u64::from_be_bytes(sa.key.bytes().try_into().unwrap()))
}

/// One node.
pub(super) struct Node {
    pub(super) me: Owner,
    /// Differs for each of its starts.
    pub(super) life: u64,
    pub(super) charon: Instance,
    /// Of what it negotiates.
    pub(super) lifetimes: Lifetimes,
    pub(super) sad: Sad<Arbitrated<Made>>,
    pub(super) fleet: Fleet<Made>,
    pub(super) fake: Fake,
    pub(super) sites: BTreeMap<TunnelName, Site>,
    pub(super) given: BTreeMap<Serial, Given>,
    /// What it knows to be in the store of its own.
    pub(super) published: BTreeMap<SaName, Outline>,
    /// How much of the log it has read, of which store.
    pub(super) read: usize,
    pub(super) restored: u64,
    pub(super) journal: BTreeMap<Serial, (Saved, Given)>,
}

pub(super) fn site(number: u32) -> Site {
    Site { reqid: number, home: home(number) }
}

impl Node {
    /// `journal` is new, and so is charon.
    pub(super) fn new(number: u16, journal: u64) -> Self {
        let mut node = Self {
            me: Owner { number, journal },
            life: journal,
            charon: Instance(journal),
            lifetimes: an_hour(),
            sad: Sad::default(),
            fleet: Fleet::new(number),
            fake: Fake::new(),
            sites: (1..=2).map(|number| (tunnel(number), site(number))).collect(),
            given: BTreeMap::new(),
            published: BTreeMap::new(),
            read: 0,
            restored: 0,
            journal: BTreeMap::new(),
        };
        node.fleet.set_journal(journal);
        node.set_tunnels();
        node.sad.hello(node.charon);
        node
    }

    pub(super) fn set_tunnels(&mut self) {
        self.fleet.set_tunnels(&self.sites, &mut self.fake);
        let homes = self.sites.values().map(|site| (site.reqid, site.home)).collect();
        self.sad.set_tunnels(&homes, &mut self.fleet.workers(&mut self.fake));
        self.settle();
    }

    /// As the runtime does after each call.
    pub(super) fn settle(&mut self) {
        self.fleet.settle(&self.sad, &mut self.fake);
        let there: BTreeSet<Serial> = self.sad.sas().map(|sa| sa.serial).collect();
        self.given.retain(|serial, _| there.contains(serial));
        self.journal = self
            .given
            .iter()
            .filter_map(|(serial, given)| Some((*serial, (self.sad.saved(*serial)?, *given))))
            .collect();
    }

    /// An SA of charon.
    pub(super) fn add(&mut self, direction: Direction, reqid: u32, spi: u32, now: Moment) -> Serial {
        let id = id(direction, reqid, spi);
        let key = u64::from(self.me.number) << 48
            | u64::from(spi) << 1
            | u64::from(direction == Direction::Inbound);
        let lifetimes = self.lifetimes;
        let new = NewSa { id, reqid, encap: true, lifetimes, key };
        let workers = &mut self.fleet.workers(&mut self.fake);
        let serial = match direction {
            Direction::Inbound => self.sad.add_inbound(self.charon, new, workers, now),
            Direction::Outbound => self.sad.add_outbound(self.charon, new, workers, now),
        };
        let serial = serial.unwrap();
        self.given.insert(serial, Given { reqid, direction, id, key, lifetimes });
        self.settle();
        serial
    }

    /// A pair.
    pub(super) fn pair(&mut self, reqid: u32, spi_in: u32, spi_out: u32, now: Moment) {
        self.add(Direction::Inbound, reqid, spi_in, now);
        self.add(Direction::Outbound, reqid, spi_out, now);
    }

    pub(super) fn choose(&mut self, reqid: u32, spi: u32, now: Moment) {
        let workers = &mut self.fleet.workers(&mut self.fake);
        self.sad.choose(self.charon, reqid, Spi(spi), workers, now).unwrap();
        self.settle();
    }

    /// False: there is no such SA.
    pub(super) fn delete(&mut self, direction: Direction, reqid: u32, spi: u32, now: Moment) -> bool {
        let workers = &mut self.fleet.workers(&mut self.fake);
        let deleted = self.sad.delete(self.charon, &id(direction, reqid, spi), workers, now);
        self.settle();
        deleted.is_ok()
    }

    /// Every 20 ms, and every second.
    pub(super) fn turn(&mut self, now: Moment) {
        self.sad.turn(&mut self.fleet.workers(&mut self.fake), now);
        self.sad.check(&mut self.fleet.workers(&mut self.fake), now, |_| false);
        self.fleet.turn(&mut self.fake, now);
        self.settle();
    }

    /// SPIs of inbound SAs that charon gives up, because their life is over.
    pub(super) fn take_expired(&mut self) -> BTreeSet<u32> {
        let ended = |event: &Event| match event {
            Event::Expire { id, hard: true } => Some(id.spi.0),
            _ => None,
        };
        self.sad.take_events().iter().filter_map(|(_, event)| ended(event)).collect()
    }

    pub(super) fn name(&self, given: &Given) -> SaName {
        let (tunnel, spi) = (tunnel(given.reqid), given.id.spi.0);
        SaName { owner: NodeNumber(self.me.number), tunnel, direction: given.direction, spi }
    }

    /// What has to be written for the store to know of this node's SAs. At most `most` records.
    pub(super) fn publish(&mut self, store: &mut Store, most: usize, now: Moment) -> usize {
        let mut writes = Vec::new();
        let mut there = BTreeSet::new();
        for (serial, given) in &self.given {
            let Some(outline) = self.fleet.outline(*serial, &self.sad, now) else { continue };
            let name = self.name(given);
            if self.published.get(&name).is_none_or(|written| !outline.says_the_same(written)) {
                let record = outline.record(self.me, name.tunnel.clone(), given.add_sa());
                writes.push((name.clone(), Some((outline, record.encode().unwrap().to_vec()))));
            }
            there.insert(name);
        }
        let gone = self.published.keys().filter(|name| !there.contains(name));
        writes.extend(gone.map(|name| (name.clone(), None)));
        let count = writes.len();
        for (name, write) in writes.into_iter().take(most) {
            match write {
                Some((outline, bytes)) => {
                    store.write(&name, Some(bytes));
                    self.published.insert(name, outline);
                }
                None => {
                    store.write(&name, None);
                    self.published.remove(&name);
                }
            }
        }
        count
    }

    /// Reads so much of the log.
    pub(super) fn apply(&mut self, store: &Store, most: usize, now: Moment) {
        if self.restored != store.restored {
            self.look(store, now);
        }
        for (revision, name, record) in store.log.iter().skip(self.read).take(most) {
            self.read += 1;
            match record {
                Some(bytes) => {
                    let record = SaRecord::decode(bytes).unwrap();
                    self.fleet.put(name, *revision, record, expand, &self.sad, &mut self.fake, now).unwrap();
                }
                None => self.fleet.deleted(name, *revision, &mut self.fake, now),
            }
            self.settle();
        }
    }

    /// Looks at the whole store.
    pub(super) fn look(&mut self, store: &Store, now: Moment) {
        let found = store.contents.iter().map(|(name, (revision, bytes))| Found {
            name: name.clone(),
            revision: *revision,
            record: Some(SaRecord::decode(bytes).unwrap()),
        });
        let is_restored = self.restored != store.restored;
        let (fleet, fake) = (&mut self.fleet, &mut self.fake);
        let outcome = fleet.reset(store.revision, found.collect(), is_restored, expand, &self.sad, fake, now);
        assert!(outcome.unusable.is_empty());
        self.published = outcome.own.into_iter().collect();
        (self.read, self.restored) = (store.log.len(), store.restored);
        self.settle();
    }

    /// Control dies, and comes back with its journal.
    pub(super) fn restart(&mut self, store: &Store, now: Moment) {
        let before = std::mem::replace(self, Self::new(self.me.number, self.me.journal));
        (self.charon, self.life) = (before.charon, before.life + (1 << 32));
        self.sites = before.sites;
        let mut fake = before.fake.restarted();
        // What is shared is numbered from the start by each start of a node.
        let own: BTreeSet<u64> = before.journal.values().map(|(_, given)| given.key).collect();
        fake.given.retain(|key, _| own.contains(key));
        self.fake = fake;
        self.set_tunnels();
        self.sad.hello(self.charon);
        let saved = before.journal.values().map(|(saved, given)| (saved.clone(), given.key)).collect();
        self.given = before.journal.iter().map(|(serial, (_, given))| (*serial, *given)).collect();
        self.sad.refill(saved, &mut self.fleet.workers(&mut self.fake), now);
        self.settle();
        self.restored = store.restored;
        self.look(store, now);
    }

    /// The SPI that a tunnel sends under.
    pub(super) fn sends(&self, number: u32) -> Option<u32> {
        let (id, sa) = self.fake.outbound.get(&TunnelId(number))?;
        (!sa.borrow().stopped).then_some(id.spi.0)
    }

    /// Whether packets under an SPI are received.
    pub(super) fn receives(&self, spi: u32) -> bool {
        let local = home(1).local;
        self.fake.inbound.get(&(local, Spi(spi))).is_some_and(|sa| !sa.borrow().stopped)
    }

    /// What is wrong in its books.
    pub(super) fn check(&self) {
        assert!(self.fleet.foreign().is_clean(), "something is named that is not there");
        let own = self.sad.sas().filter(|sa| sa.direction == Direction::Inbound).count();
        let foreign = self.fleet.foreign().sas();
        let received = foreign.filter(|sa| sa.direction() == Direction::Inbound && sa.handle.is_some());
        assert_eq!(self.fake.inbound.len(), own + received.count(), "inbound SAs on the workers");
        for number in 1..=2 {
            let there = self.fake.outbound.contains_key(&TunnelId(number));
            assert_eq!(self.fleet.sender(TunnelId(number)).is_some(), there, "tunnel {number}");
        }
    }
}

/// Some nodes and their store.
pub(super) struct Lab {
    pub(super) store: Store,
    pub(super) nodes: Vec<Node>,
    pub(super) now: Moment,
    pub(super) journals: u64,
}

impl Lab {
    pub(super) fn new(nodes: u16) -> Self {
        let made = (0..nodes).map(|number| Node::new(number, u64::from(number) + 100)).collect();
        Self { store: Store::default(), nodes: made, now: start(), journals: 1000 }
    }

    /// All tell what they have, and read what is there.
    pub(super) fn sync(&mut self) {
        let Self { store, nodes, now, .. } = self;
        for _ in 0..20 {
            nodes.iter_mut().for_each(|node| node.apply(store, usize::MAX, *now));
            let told: usize = nodes.iter_mut().map(|node| node.publish(store, usize::MAX, *now)).sum();
            if told == 0 {
                return;
            }
        }
        panic!("nodes do not come to an end of telling");
    }

    /// What nodes tell one another every second of what went through whose SAs.
    fn exchange(&mut self) {
        let lives: BTreeMap<u16, u64> = self.nodes.iter().map(|node| (node.me.number, node.life)).collect();
        let mut told = Vec::new();
        for node in &mut self.nodes {
            let me = node.me.number;
            let owner = |number| lives.get(&number).copied().filter(|_| number != me);
            let others = Others { nodes: lives.len() as u64, life: node.life, owner };
            told.extend(node.fleet.tell_usage(&others, &mut node.fake, self.now));
            node.settle();
        }
        for (owner, told) in told {
            let owner = self.nodes.iter_mut().find(|node| node.me.number == owner).unwrap();
            told.into_iter().for_each(|told| owner.sad.used_elsewhere(told));
        }
    }

    pub(super) fn wait(&mut self, time: Duration) {
        self.exchange();
        self.now.uptime += time;
        self.now.date += time;
        let now = self.now;
        self.nodes.iter_mut().for_each(|node| node.turn(now));
    }

    pub(super) fn receive(&mut self, node: usize, reqid: u32, spi: u32) -> bool {
        self.nodes[node].fake.receive_packets(&id(Direction::Inbound, reqid, spi), 1)
    }

    /// A node dies with all that it knows. It comes back at once, or it never was away as far as the others see.
    pub(super) fn reboot(&mut self, node: usize) {
        self.journals += 1;
        self.nodes[node] = Node::new(self.nodes[node].me.number, self.journals);
        let Self { store, nodes, now, .. } = self;
        nodes[node].look(store, *now);
        nodes[node].restored = store.restored;
    }

    /// What all nodes send under.
    pub(super) fn sends(&self, number: u32) -> Vec<Option<u32>> {
        self.nodes.iter().map(|node| node.sends(number)).collect()
    }
}

/// The state that the store has of an SA.
pub(super) fn state(store: &Store, name: &SaName) -> Option<State> {
    let (_, bytes) = store.contents.get(name)?;
    Some(SaRecord::decode(bytes).unwrap().state)
}
