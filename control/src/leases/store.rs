//! What the store remembers over restarts, in one record of an embedded database.
//!
//! redb's commits are atomic and synced before they return; here each one is in two phases and each open checks
//! the whole (small) file. A record that cannot be read is an error, never a new beginning.

use redb::{Builder, Database, Durability, ReadableDatabase, StorageBackend, TableDefinition};

use super::identity::{BootId, Identity};
use super::rule::Slot;

/// The one record: newest slot taken, the machine's run in which it was, the machine.
const RECORD: TableDefinition<'_, (), (u64, &str, &str)> = TableDefinition::new("sender-ids-1");
/// The file has a few pages.
const CACHE_BYTES: usize = 1 << 20;

/// What is remembered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Record {
    /// The newest slot taken; zero before the first.
    pub(super) newest: Slot,
    /// The machine's run in which it was taken; of the last one that took any.
    pub(super) boot: BootId,
    /// The machine.
    pub(super) machine: Identity,
}

/// The open store.
#[derive(Debug)]
pub(super) struct Store {
    database: Database,
    record: Record,
}

impl Store {
    /// Reads an existing store.
    ///
    /// # Errors
    /// When it is damaged or not a store.
    pub(super) fn open(backend: impl StorageBackend) -> Result<Self, redb::Error> {
        // An empty file would be taken for a new one.
        if backend.len()? == 0 {
            return Err(redb::Error::Corrupted("the file is empty".into()));
        }
        let database = database(backend)?;
        let record = {
            let table = database.begin_read()?.open_table(RECORD)?;
            let found = redb::ReadableTable::get(&table, ())?;
            let Some(found) = found else { return Err(redb::Error::Corrupted("it has no record".into())) };
            let (newest, boot, machine) = found.value();
            Record { newest: Slot(newest), boot: BootId(boot.into()), machine: Identity::from_text(machine) }
        };
        Ok(Self { database, record })
    }

    /// Makes a store of an empty file.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(super) fn create(backend: impl StorageBackend, record: Record) -> Result<Self, redb::Error> {
        let mut store = Self { database: database(backend)?, record: record.clone() };
        store.write(record)?;
        Ok(store)
    }

    /// The record that is on the disk.
    pub(super) fn record(&self) -> &Record {
        &self.record
    }

    /// Replaces the record. It is on the disk when this returns.
    ///
    /// # Errors
    /// When it may not be there.
    pub(super) fn write(&mut self, record: Record) -> Result<(), redb::Error> {
        let mut transaction = self.database.begin_write()?;
        transaction.set_durability(Durability::Immediate)?;
        transaction.set_two_phase_commit(true);
        let value = (record.newest.0, record.boot.0.as_str(), record.machine.as_text());
        transaction.open_table(RECORD)?.insert((), value)?;
        transaction.commit()?;
        self.record = record;
        Ok(())
    }
}

fn database(backend: impl StorageBackend) -> Result<Database, redb::Error> {
    Ok(Builder::new()
        .set_cache_size(CACHE_BYTES)
        .set_check_integrity_on_open(true)
        .create_with_backend(backend)?)
}
