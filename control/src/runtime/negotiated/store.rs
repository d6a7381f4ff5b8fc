//! What of negotiated SAs outlives a restart of control: the journal in the run directory, and the reqids.
//!
//! Keys are in the journal's files and, expanded, with the workers; nowhere else. What is written has been done before
//! the answer to charon goes out. When it cannot be written, the SA works all the same, and the log says what a restart
//! would cost.

use std::collections::HashMap;
use std::path::Path;

use penstock_dataplane::esp::sa::Spi;

use crate::ike::boot_time::BootTime;
use crate::ike::journal::{Entry, Journal, Progress as Written, Record, State};
use crate::ike::protocol::AddSa;
use crate::ike::reqids::Reqids;
use crate::ike::run_directory::RunDirectoryError;
use crate::ike::sad::{Direction, Moment, Progress, Saved, Serial};
use crate::static_sas::TunnelName;

/// Directory of the journal in the run directory.
const JOURNAL: &str = "sas";

/// The journal, open.
pub(super) struct Store {
    journal: Journal,
    entries: HashMap<Serial, Entry>,
    pub(super) reqids: Reqids,
    /// Names the journal: another one when it was lost.
    pub(super) id: u64,
}

/// An SA that the journal had.
pub(super) struct Kept {
    pub(super) saved: Saved,
    /// As charon gave it, with its keys.
    pub(super) sa: AddSa,
}

impl Store {
    /// Opens what is in a run directory, and reads it.
    ///
    /// # Errors
    /// When the directory cannot be used.
    pub(super) fn open(run: &Path, now: Moment) -> Result<(Self, Vec<Kept>), RunDirectoryError> {
        let (journal, found) = Journal::open(&run.join(JOURNAL))?;
        let in_use = found.records.iter().map(|(_, record)| (&record.tunnel, record.sa.reqid));
        let reqids = Reqids::open(run, in_use)?;
        let mut store = Self { journal, entries: HashMap::new(), reqids, id: found.id };
        let mut kept = Vec::new();
        let serials: HashMap<_, _> = (0..)
            .zip(&found.records)
            .map(|(serial, (_, record))| {
                let sa = &record.sa;
                ((record.tunnel.clone(), sa.flags.inbound, sa.id.spi), Serial(serial))
            })
            .collect();
        for (serial, (entry, record)) in (0..).zip(found.records) {
            let serial = Serial(serial);
            store.entries.insert(serial, entry);
            // A tunnel's reqid may be another one than when the file of them was lost.
            let is_named = store.reqids.reqid(&record.tunnel) == Some(record.sa.reqid);
            let other = record
                .paired
                .and_then(|spi| serials.get(&(record.tunnel.clone(), !record.sa.flags.inbound, spi)));
            if is_named {
                let saved = saved(serial, &record, other.copied(), now);
                kept.push(Kept { saved, sa: record.sa });
            } else {
                store.remove(serial);
            }
        }
        if found.unreadable + found.outdated > 0 {
            let (unreadable, outdated) = (found.unreadable, found.outdated);
            tracing::warn!(unreadable, outdated, "some SAs in {} were not restored", run.display());
        }
        Ok((store, kept))
    }

    /// An SA has come.
    pub(super) fn add(&mut self, tunnel: &TunnelName, saved: &Saved, paired: Option<Spi>, sa: AddSa) {
        let record = Record {
            tunnel: tunnel.clone(),
            charon: saved.charon,
            installed: BootTime(saved.born.uptime),
            state: state(saved),
            paired,
            progress: written(saved.progress),
            sa,
        };
        match self.journal.add(&record) {
            Ok(entry) => {
                self.entries.insert(saved.serial, entry);
            }
            Err(error) => tracing::error!(
                id = %saved.id, %error,
                "an SA cannot be written down: if penstock is restarted before its next rekey, its tunnel is down until the \
                 peer negotiates again"
            ),
        }
    }

    /// Something about an SA is different.
    pub(super) fn change(&self, saved: &Saved, paired: Option<Spi>) {
        let Some(entry) = self.entries.get(&saved.serial) else { return };
        let changed = self.journal.update(entry, |record| {
            record.state = state(saved);
            record.paired = paired;
            record.progress = written(saved.progress);
            record.sa.id = saved.id;
            record.sa.flags.encap = saved.encap;
        });
        if let Err(error) = changed {
            tracing::error!(id = %saved.id, %error, "a change of an SA cannot be written down");
        }
    }

    /// An SA as charon gave it, with its keys. `None`: it is not in the journal.
    pub(super) fn keys(&self, serial: Serial) -> Option<AddSa> {
        let entry = self.entries.get(&serial)?;
        match self.journal.record(entry) {
            Ok(record) => Some(record.sa),
            Err(error) => {
                tracing::error!(%error, "an SA cannot be read again, so other nodes do not hear of it");
                None
            }
        }
    }

    /// How far an SA has come.
    pub(super) fn progress(&self, serial: Serial, progress: Progress) {
        let Some(entry) = self.entries.get(&serial) else { return };
        if let Err(error) = self.journal.set_progress(entry, &written(progress)) {
            tracing::error!(%error, "how far an SA has come cannot be written down");
        }
    }

    /// An SA is gone.
    pub(super) fn remove(&mut self, serial: Serial) {
        let Some(entry) = self.entries.remove(&serial) else { return };
        if let Err(error) = self.journal.remove(entry) {
            tracing::error!(%error, "the keys of an SA that is gone cannot be wiped: remove the file");
        }
    }
}

/// What the state machine has to know.
fn saved(serial: Serial, record: &Record, pair: Option<Serial>, now: Moment) -> Saved {
    let direction = if record.sa.flags.inbound { Direction::Inbound } else { Direction::Outbound };
    let age = now.uptime.saturating_sub(record.installed.0);
    let (is_current, until) = match record.state {
        State::Pending => (false, None),
        State::Current => (true, None),
        State::Retiring { until } => (false, Some(until.0)),
    };
    let is_outbound = direction == Direction::Outbound;
    Saved {
        serial,
        direction,
        id: record.sa.id,
        reqid: record.sa.reqid,
        encap: record.sa.flags.encap,
        charon: record.charon,
        // The other clock may have been set meanwhile; this one tells the age.
        born: Moment { uptime: record.installed.0, date: now.date.checked_sub(age).unwrap_or(now.date) },
        lifetimes: record.sa.lifetimes,
        pair,
        chosen: u64::from(is_outbound && is_current),
        current: is_outbound && is_current,
        was_replaced: is_outbound && until.is_some(),
        retiring_until: until.filter(|_| !is_outbound),
        progress: Progress {
            bytes: record.progress.bytes,
            packets: record.progress.packets,
            sequence: record.progress.sequence,
        },
    }
}

fn state(saved: &Saved) -> State {
    match (saved.direction, saved.retiring_until) {
        (_, Some(until)) => State::Retiring { until: BootTime(until) },
        (Direction::Outbound, None) if saved.was_replaced => {
            // Until charon deletes it; it lives no longer than its key.
            State::Retiring { until: BootTime(saved.born.uptime).after(crate::leases::MAX_KEY_LIFE) }
        }
        (Direction::Outbound, None) if !saved.current => State::Pending,
        _ => State::Current,
    }
}

fn written(progress: Progress) -> Written {
    let Progress { bytes, packets, sequence } = progress;
    Written { sequence, bytes, packets }
}
