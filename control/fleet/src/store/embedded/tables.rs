//! What is in the file, and how a transaction changes it.

use std::time::Duration;

use redb::{Database, Durability, ReadableDatabase, ReadableTable, Table, TableDefinition, WriteTransaction};

use super::super::entry::{Entry, LeaseId, Listing, Revision};
use super::super::feed::Event;
use super::super::txn::{Condition, Txn, Write};

/// Version, created, modified, lease (zero: none), value.
type Record<'a> = (u64, u64, u64, i64, &'a [u8]);

const ENTRIES: TableDefinition<'_, &str, Record<'_>> = TableDefinition::new("entries-1");
/// TTL, milliseconds.
const LEASES: TableDefinition<'_, i64, u64> = TableDefinition::new("leases-1");
/// The keys on each lease.
const LEASED: TableDefinition<'_, (i64, &str), ()> = TableDefinition::new("leased-1");
/// The one number: the revision.
const REVISION: TableDefinition<'_, (), u64> = TableDefinition::new("revision-1");

/// What one transaction did.
#[derive(Debug, Default)]
pub(super) struct Change {
    pub(super) revision: Revision,
    puts: Vec<Entry>,
    deletes: Vec<String>,
}

impl Change {
    /// What a watch of the prefix sees of it, if anything.
    pub(super) fn below(&self, prefix: &str) -> Option<Event> {
        let puts: Vec<_> = self.puts.iter().filter(|e| e.key.starts_with(prefix)).cloned().collect();
        let deletes: Vec<_> = self.deletes.iter().filter(|key| key.starts_with(prefix)).cloned().collect();
        let anything = !(puts.is_empty() && deletes.is_empty());
        anything.then_some(Event::Changed { revision: self.revision, puts, deletes })
    }
}

/// What became of a transaction.
#[derive(Debug)]
pub(super) enum Written {
    /// It is on the disk. No change: it wrote nothing, or deleted what was not there.
    Done(Revision, Option<Change>),
    Conflict,
    LeaseEnded(LeaseId),
}

/// The database.
#[derive(Debug)]
pub(super) struct Tables(pub(super) Database);

impl Tables {
    /// Fills a new database.
    pub(super) fn make(database: &Database) -> Result<(), redb::Error> {
        let write = begin(database)?;
        write.open_table(ENTRIES)?;
        write.open_table(LEASES)?;
        write.open_table(LEASED)?;
        write.open_table(REVISION)?.insert((), 1)?;
        Ok(write.commit()?)
    }

    /// Checks that it is one of ours, and reads the leases.
    pub(super) fn open(database: Database) -> Result<(Self, Vec<(LeaseId, Duration)>), redb::Error> {
        let tables = Self(database);
        let mut leases = Vec::new();
        for lease in tables.0.begin_read()?.open_table(LEASES)?.iter()? {
            let (id, ttl) = lease?;
            leases.push((LeaseId(id.value()), Duration::from_millis(ttl.value())));
        }
        Ok((tables, leases))
    }

    pub(super) fn get(&self, key: &str) -> Result<Option<Entry>, redb::Error> {
        let table = self.0.begin_read()?.open_table(ENTRIES)?;
        Ok(table.get(key)?.map(|record| entry(key, record.value())))
    }

    pub(super) fn list(&self, prefix: &str) -> Result<Listing, redb::Error> {
        let read = self.0.begin_read()?;
        let revision = revision(&read.open_table(REVISION)?)?;
        let mut entries = Vec::new();
        for found in read.open_table(ENTRIES)?.range(prefix..)? {
            let (key, record) = found?;
            if !key.value().starts_with(prefix) {
                break;
            }
            entries.push(entry(key.value(), record.value()));
        }
        Ok(Listing { revision, entries })
    }

    pub(super) fn commit(&self, txn: &Txn, lives: impl Fn(LeaseId) -> bool) -> Result<Written, redb::Error> {
        let write = begin(&self.0)?;
        let (before, change) = {
            let mut writing = Writing::begin(&write)?;
            for condition in &txn.conditions {
                if !writing.holds(condition)? {
                    return Ok(Written::Conflict);
                }
            }
            for change in &txn.writes {
                match change {
                    Write::Put { lease: Some(lease), .. } if !lives(*lease) => {
                        return Ok(Written::LeaseEnded(*lease));
                    }
                    Write::Put { key, value, lease } => writing.put(key, value, *lease)?,
                    Write::Delete(key) => writing.delete(key)?,
                }
            }
            (writing.before, writing.end()?)
        };
        let Some(change) = change else { return Ok(Written::Done(before, None)) };
        write.commit()?;
        Ok(Written::Done(change.revision, Some(change)))
    }

    pub(super) fn grant(&self, lease: LeaseId, ttl: Duration) -> Result<(), redb::Error> {
        let write = begin(&self.0)?;
        let ttl = u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX);
        write.open_table(LEASES)?.insert(lease.0, ttl)?;
        Ok(write.commit()?)
    }

    /// Deletes the lease and the keys on it.
    pub(super) fn end(&self, lease: LeaseId) -> Result<Option<Change>, redb::Error> {
        let write = begin(&self.0)?;
        write.open_table(LEASES)?.remove(lease.0)?;
        let change = {
            let mut writing = Writing::begin(&write)?;
            for key in writing.keys_on(lease)? {
                writing.delete(&key)?;
            }
            writing.end()?
        };
        write.commit()?;
        Ok(change)
    }
}

/// A transaction under way.
struct Writing<'t> {
    entries: Table<'t, &'static str, Record<'static>>,
    leased: Table<'t, (i64, &'static str), ()>,
    revisions: Table<'t, (), u64>,
    before: Revision,
    change: Change,
}

impl<'t> Writing<'t> {
    fn begin(write: &'t WriteTransaction) -> Result<Self, redb::Error> {
        let revisions = write.open_table(REVISION)?;
        let before = revision(&revisions)?;
        let change = Change { revision: Revision(before.0 + 1), ..Change::default() };
        let (entries, leased) = (write.open_table(ENTRIES)?, write.open_table(LEASED)?);
        Ok(Self { entries, leased, revisions, before, change })
    }

    fn get(&self, key: &str) -> Result<Option<Entry>, redb::Error> {
        Ok(self.entries.get(key)?.map(|record| entry(key, record.value())))
    }

    fn holds(&self, condition: &Condition) -> Result<bool, redb::Error> {
        let found = self.get(condition.key())?;
        Ok(match (condition, found) {
            (Condition::Absent(_), found) => found.is_none(),
            (Condition::Version(_, version), Some(found)) => found.version == *version,
            (Condition::Modified(_, revision), Some(found)) => found.modified == *revision,
            (Condition::Version(..) | Condition::Modified(..), None) => false,
        })
    }

    fn put(&mut self, key: &str, value: &[u8], lease: Option<LeaseId>) -> Result<(), redb::Error> {
        let (version, created) = match self.get(key)? {
            Some(old) => {
                self.off_lease(&old)?;
                (old.version + 1, old.created)
            }
            None => (1, self.change.revision),
        };
        let modified = self.change.revision;
        if let Some(lease) = lease {
            self.leased.insert((lease.0, key), ())?;
        }
        let record = (version, created.0, modified.0, lease.map_or(0, |lease| lease.0), value);
        self.entries.insert(key, record)?;
        let (key, value) = (key.to_owned(), value.to_owned());
        self.change.puts.push(Entry { key, value, version, created, modified, lease });
        Ok(())
    }

    fn delete(&mut self, key: &str) -> Result<(), redb::Error> {
        if let Some(old) = self.get(key)? {
            self.off_lease(&old)?;
            self.entries.remove(key)?;
            self.change.deletes.push(old.key);
        }
        Ok(())
    }

    fn off_lease(&mut self, entry: &Entry) -> Result<(), redb::Error> {
        if let Some(lease) = entry.lease {
            self.leased.remove((lease.0, entry.key.as_str()))?;
        }
        Ok(())
    }

    fn keys_on(&self, lease: LeaseId) -> Result<Vec<String>, redb::Error> {
        let mut keys = Vec::new();
        for found in self.leased.range((lease.0, "")..)? {
            let (found, ()) = found.map(|(key, unit)| (key, unit.value()))?;
            let (of, key) = found.value();
            if of != lease.0 {
                break;
            }
            keys.push(key.to_owned());
        }
        Ok(keys)
    }

    /// Counts the revision, if anything changed.
    fn end(mut self) -> Result<Option<Change>, redb::Error> {
        if self.change.puts.is_empty() && self.change.deletes.is_empty() {
            return Ok(None);
        }
        self.revisions.insert((), self.change.revision.0)?;
        Ok(Some(self.change))
    }
}

fn begin(database: &Database) -> Result<WriteTransaction, redb::Error> {
    let mut write = database.begin_write()?;
    write.set_durability(Durability::Immediate)?;
    Ok(write)
}

fn revision(table: &impl ReadableTable<(), u64>) -> Result<Revision, redb::Error> {
    let found = table.get(())?.ok_or_else(|| redb::Error::Corrupted("it has no revision".into()))?;
    Ok(Revision(found.value()))
}

fn entry(key: &str, record: Record<'_>) -> Entry {
    let (version, created, modified, lease, value) = record;
    Entry {
        key: key.into(),
        value: value.into(),
        version,
        created: Revision(created),
        modified: Revision(modified),
        lease: (lease != 0).then_some(LeaseId(lease)),
    }
}
