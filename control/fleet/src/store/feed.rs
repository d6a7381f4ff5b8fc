//! A watch, between the engine that feeds it and the one who reads it: a bounded queue of events.
//!
//! Who reads too slowly is not waited for longer than [`PATIENCE`]: the engine stops listening, and when there is room
//! again the reader gets a listing in place of all that it missed.

use std::time::Duration;

use tokio::sync::mpsc;

use super::entry::{Entry, Revision};
use super::error::StoreError;
use super::meta::StoreId;

/// Events that wait for the reader.
const QUEUE: usize = 64;
/// How long the queue may be full.
const PATIENCE: Duration = Duration::from_secs(5);
/// After so long without an event there is [`Event::Progress`].
pub const QUIET: Duration = Duration::from_secs(3);

/// What a watch tells.
#[derive(Debug)]
pub enum Event {
    /// Forget what there was: this is all there is.
    Reset {
        /// What made it necessary.
        why: Why,
        /// Which store it is.
        store: StoreId,
        /// As of this revision.
        revision: Revision,
        /// In the order of their keys.
        entries: Vec<Entry>,
    },
    /// What one transaction, or the end of one lease, changed.
    Changed {
        /// Which one it was.
        revision: Revision,
        /// Created or replaced.
        puts: Vec<Entry>,
        /// Keys that are gone.
        deletes: Vec<String>,
    },
    /// Nothing happened lately, and the watch works: all changes up to this revision have been told, maybe of later ones
    /// too.
    Progress(Revision),
    /// The store is away. The watch goes on by itself, from where it was, when it is back.
    Away {
        /// Why.
        error: StoreError,
    },
    /// The store is back. What was missed follows.
    Back,
}

/// Why a watch starts over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Why {
    /// It is the beginning.
    Start,
    /// The store no longer has all changes since the last one told.
    Compacted,
    /// The store has lost changes that were told: it was restored from a backup.
    WentBack,
    /// It is another store than before.
    OtherStore,
    /// The reader was too slow.
    Slow,
}

/// A watch of keys with a common prefix. Ends when dropped.
#[derive(Debug)]
pub struct Watch {
    events: mpsc::Receiver<Event>,
}

impl Watch {
    /// The next event. Loses none if the future is dropped. `None`: the runtime with the store's tasks shuts down.
    pub async fn next(&mut self) -> Option<Event> {
        self.events.recv().await
    }
}

/// The engine's end.
#[derive(Clone, Debug)]
pub(super) struct Feed(mpsc::Sender<Event>);

/// Why an event was not queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unsent {
    /// The queue is full for too long.
    Slow,
    /// Nobody reads any more.
    Gone,
}

/// Both ends.
pub(super) fn new() -> (Feed, Watch) {
    let (sender, events) = mpsc::channel(QUEUE);
    (Feed(sender), Watch { events })
}

impl Feed {
    /// Queues an event, unless there is no room for long.
    pub(super) async fn send(&self, event: Event) -> Result<(), Unsent> {
        self.0.send_timeout(event, PATIENCE).await.map_err(|e| match e {
            mpsc::error::SendTimeoutError::Timeout(_) => Unsent::Slow,
            mpsc::error::SendTimeoutError::Closed(_) => Unsent::Gone,
        })
    }

    /// Waits until there is room, however long that takes.
    pub(super) async fn room(&self) -> Result<(), Unsent> {
        self.0.reserve().await.map(drop).map_err(|_| Unsent::Gone)
    }

    /// Waits until nobody reads any more.
    pub(super) async fn gone(&self) {
        self.0.closed().await;
    }
}
