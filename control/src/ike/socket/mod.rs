//! The socket that charon's plugin speaks with us on.
//!
//! A connection has one request and one answer, so that nothing has to be found again after a cut: whatever byte it
//! happens at, a request is done whole or not at all. Only the connection that begins with HELLO stays: it is charon's
//! presence, and takes our events ([`Events`]).
//!
//! Bounds: the length of a frame by its type, the time for a whole request to come and for an answer to go, the number
//! of connections; those beyond it wait. Who is neither root nor our own user is sent away.

mod connection;
mod events;
mod kernel;
mod presence;
mod receive;

#[cfg(test)]
mod tests;

use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::UnixListener;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

pub use events::Events;
pub use kernel::Kernel;

use super::protocol::Instance;
use crate::local_socket::{LocalSocket, is_trusted};
use connection::Served;
use presence::Presence;

/// Bounds of the server.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// For a whole request to come, and for an answer or an event to be taken. What the plugin waits for too.
    pub patience: Duration,
    /// Connections with a request under way.
    pub connections: usize,
    /// Whether a user may speak with us.
    pub is_trusted: fn(u32) -> bool,
}

impl Default for Limits {
    /// charon's threads are 16, and each has one request under way at most.
    fn default() -> Self {
        Self { patience: Duration::from_secs(3), connections: 64, is_trusted }
    }
}

/// How long nobody is let in after the system had no more descriptors.
const NO_DESCRIPTORS: Duration = Duration::from_millis(100);

/// Serves charon on `socket` until `shutdown` resolves and the requests under way are answered. `us` names this run of
/// control.
///
/// # Errors
/// When the socket cannot be registered with the runtime.
pub async fn serve<K: Kernel>(
    mut socket: LocalSocket,
    us: Instance,
    kernel: Arc<K>,
    events: Events,
    limits: Limits,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()> {
    let listener = socket.listen()?;
    let served = Arc::new(Served { us, kernel, events, limits, presence: Presence::default() });
    let places = Arc::new(Semaphore::new(limits.connections));
    let mut connections = JoinSet::new();
    let mut shutdown = pin!(shutdown);
    loop {
        tokio::select! {
            () = &mut shutdown => break,
            () = accept(&listener, &served, &places, &mut connections) => {}
        }
    }
    served.presence.close();
    while connections.join_next().await.is_some() {}
    Ok(())
}

/// Lets one connection in, as soon as there is a place for it, and forgets those that have ended.
async fn accept<K: Kernel>(
    listener: &UnixListener,
    served: &Arc<Served<K>>,
    places: &Arc<Semaphore>,
    connections: &mut JoinSet<()>,
) {
    let Ok(place) = Arc::clone(places).acquire_owned().await else { return };
    match listener.accept().await {
        Ok((stream, _)) => {
            connections.spawn(Arc::clone(served).connection(stream, place));
        }
        Err(error) => {
            tracing::warn!(%error, "charon's plugin cannot connect");
            tokio::time::sleep(NO_DESCRIPTORS).await;
        }
    }
    while connections.try_join_next().is_some() {}
}
