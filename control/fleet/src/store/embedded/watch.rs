//! A watch of the embedded store: a listing, then each transaction as it is written.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::broadcast;
use tokio::time::{Instant, sleep, sleep_until};

use super::super::entry::{Listing, Revision};
use super::super::error::StoreError;
use super::super::feed::{Event, Feed, QUIET, Unsent, Why};
use super::Embedded;
use super::tables::Change;

/// Until what the disk refused is tried again.
const AGAIN: Duration = Duration::from_secs(1);

/// Feeds a watch until nobody reads it.
pub(super) async fn run(store: Embedded, prefix: String, from: Option<Revision>, feed: Feed) {
    tokio::select! {
        () = feed.gone() => {}
        _ = feed_on(&store, &prefix, from, &feed) => {}
    }
}

async fn feed_on(
    store: &Embedded,
    prefix: &str,
    mut from: Option<Revision>,
    feed: &Feed,
) -> Result<(), Unsent> {
    let mut why = Why::Start;
    loop {
        match follow(store, prefix, from.take(), why, feed).await {
            Err(Unsent::Slow) => feed.room().await?,
            ended => return ended,
        }
        why = Why::Slow;
    }
}

async fn follow(
    store: &Embedded,
    prefix: &str,
    from: Option<Revision>,
    mut why: Why,
    feed: &Feed,
) -> Result<(), Unsent> {
    // Before the listing, so that nothing is between them.
    let mut changes = store.0.changes.subscribe();
    let Listing { revision, entries } = listing(store, prefix, feed).await?;
    if let Some(from) = from {
        why = if from > revision { Why::WentBack } else { Why::Compacted };
    }
    if from != Some(revision) {
        let store = patient(feed, || store.id()).await?;
        feed.send(Event::Reset { why, store, revision, entries }).await?;
    }
    let mut seen = revision;
    let mut quiet = Instant::now() + QUIET;
    loop {
        let event = tokio::select! {
            change = changes.recv() => match take(change, &mut seen)? {
                Some(change) => change.below(prefix),
                None => None,
            },
            () = sleep_until(quiet) => Some(Event::Progress(seen)),
        };
        if let Some(event) = event {
            feed.send(event).await?;
            quiet = Instant::now() + QUIET;
        }
    }
}

/// A change that the listing does not have.
fn take(
    received: Result<Arc<Change>, broadcast::error::RecvError>,
    seen: &mut Revision,
) -> Result<Option<Arc<Change>>, Unsent> {
    match received {
        Ok(change) if change.revision <= *seen => Ok(None),
        Ok(change) => {
            *seen = change.revision;
            Ok(Some(change))
        }
        Err(broadcast::error::RecvError::Lagged(_)) => Err(Unsent::Slow),
        Err(broadcast::error::RecvError::Closed) => Err(Unsent::Gone),
    }
}

async fn listing(store: &Embedded, prefix: &str, feed: &Feed) -> Result<Listing, Unsent> {
    patient(feed, || store.list(prefix)).await
}

/// Until it works. Tells when it does not.
async fn patient<T, F: Future<Output = Result<T, StoreError>>>(
    feed: &Feed,
    mut work: impl FnMut() -> F,
) -> Result<T, Unsent> {
    let mut away = false;
    loop {
        match work().await {
            Ok(done) => {
                if away {
                    feed.send(Event::Back).await?;
                }
                return Ok(done);
            }
            Err(_) if away => {}
            Err(error) => {
                feed.send(Event::Away { error }).await?;
                away = true;
            }
        }
        sleep(AGAIN).await;
    }
}
