//! Which run of charon is there: the one that said hello last.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use crate::ike::protocol::Instance;

#[derive(Debug, Default)]
pub(super) struct Presence(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    closed: bool,
    /// Counts connections that said hello.
    hellos: u64,
    present: Option<Present>,
}

#[derive(Debug)]
struct Present {
    charon: Instance,
    hello: u64,
    /// Dropped to end the connection.
    _stay: oneshot::Sender<()>,
}

/// The right of one connection to speak for charon.
#[derive(Debug)]
pub(super) struct Ticket {
    hello: u64,
    /// Resolves when another connection has taken over, or we stop.
    pub(super) over: oneshot::Receiver<()>,
    /// The run that was there before, if it was another one.
    pub(super) replaced: Option<Instance>,
}

impl Presence {
    /// A run of charon says hello; whoever did before is over. `None`: we stop.
    pub(super) fn enter(&self, charon: Instance) -> Option<Ticket> {
        let mut state = self.lock();
        if state.closed {
            return None;
        }
        state.hellos += 1;
        let hello = state.hellos;
        let (stay, over) = oneshot::channel();
        let before = state.present.replace(Present { charon, hello, _stay: stay });
        let replaced = before.map(|before| before.charon).filter(|before| *before != charon);
        Some(Ticket { hello, over, replaced })
    }

    /// The connection ends. Whether charon is gone with it, so whether nobody has taken over.
    pub(super) fn leave(&self, ticket: &Ticket) -> bool {
        let mut state = self.lock();
        let is_last = state.present.as_ref().is_some_and(|present| present.hello == ticket.hello);
        if is_last {
            state.present = None;
        }
        is_last
    }

    /// Nobody may enter any more, and whoever is there leaves.
    pub(super) fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        state.present = None;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
