//! A watch on etcd: a listing, then its changes; over broken connections, restarts and restored backups.
//!
//! A session is one watch stream on one connection. The first thing in it is to see that the store still has what was
//! told last; then the stream goes on from there. Etcd answers requests for progress out of turn before 3.4.25 and 3.5.8
//! (etcd-io/etcd#15220), so what such an answer says of revisions is not believed, only that there is one.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use etcd_client::{GetOptions, WatchOptions, WatchResponse, WatchStream};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::super::entry::{Entry, Listing, Revision};
use super::super::error::StoreError;
use super::super::feed::{Event, Feed, QUIET, Unsent, Why};
use super::super::meta::StoreId;
use super::connections::{Connected, MOST_MESSAGE_BYTES};
use super::failure::Failure;
use super::{ATTEMPT, Etcd, end_of, kv, revision, signed, unsigned};

/// How long etcd may take to say that it is still there.
const ANSWER: Duration = Duration::from_secs(2);
const LEAST_PAUSE: Duration = Duration::from_millis(100);
const MOST_PAUSE: Duration = Duration::from_secs(3);

/// Feeds a watch until nobody reads it.
pub(super) async fn run(etcd: Etcd, prefix: String, from: Option<Revision>, feed: Feed) {
    let told = from.map(|revision| Told { revision, store: None, mark: None });
    let mut watching = Watching { etcd, prefix, told, why: Why::Start, away: false, feed: feed.clone() };
    tokio::select! {
        () = feed.gone() => {}
        () = watching.run() => {}
    }
}

struct Watching {
    etcd: Etcd,
    prefix: String,
    /// `None`: the next session begins with a listing.
    told: Option<Told>,
    /// Why it will.
    why: Why,
    /// Whether it was told that the store is away.
    away: bool,
    feed: Feed,
}

/// What the reader knows.
struct Told {
    revision: Revision,
    store: Option<StoreId>,
    mark: Option<Mark>,
}

/// A key, when it was put, and what it was then. In a store that was restored and has since got to the same revision it was
/// something else.
struct Mark {
    key: String,
    modified: Revision,
    value_hash: u64,
}

impl Mark {
    fn newest(entries: &[Entry]) -> Option<Self> {
        let entry = entries.iter().max_by_key(|entry| entry.modified)?;
        Some(Self { key: entry.key.clone(), modified: entry.modified, value_hash: hash(&entry.value) })
    }
}

fn hash(value: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

/// Why a session ended.
enum End {
    Reader(Unsent),
    /// Begin with a listing.
    Over(Why),
    Failed(StoreError),
}

impl From<Unsent> for End {
    fn from(unsent: Unsent) -> Self {
        Self::Reader(unsent)
    }
}

impl Watching {
    async fn run(&mut self) {
        let mut pauses = pauses();
        let mut failures = 0_u32;
        loop {
            let mut since = None;
            let end = self.session(&mut since).await;
            // One that ends as soon as it begins is no success.
            if since.is_some_and(|since: Instant| since.elapsed() > QUIET) {
                (pauses, failures) = (self::pauses(), 0);
            }
            let end = match end {
                End::Failed(error) => {
                    failures += 1;
                    // Another member may be there at once.
                    if failures == 1 { None } else { self.tell_away(error).await.err() }
                }
                End::Over(why) => {
                    self.start_over(why);
                    None
                }
                End::Reader(unsent) => Some(unsent),
            };
            match end {
                Some(Unsent::Gone) => return,
                Some(Unsent::Slow) => {
                    self.start_over(Why::Slow);
                    if self.feed.room().await.is_err() {
                        return;
                    }
                }
                None if failures > 1 => sleep(pauses.next().unwrap_or(MOST_PAUSE)).await,
                None => {}
            }
        }
    }

    fn start_over(&mut self, why: Why) {
        (self.told, self.why) = (None, why);
    }

    async fn tell_away(&mut self, error: StoreError) -> Result<(), Unsent> {
        if !self.away {
            self.feed.send(Event::Away { error }).await?;
            self.away = true;
        }
        Ok(())
    }

    /// `since`: when the stream began.
    async fn session(&mut self, since: &mut Option<Instant>) -> End {
        let connected = match self.etcd.0.connections.get().await {
            Ok(connected) => connected,
            Err(failure) => return End::Failed(self.etcd.error(failure)),
        };
        let end = self.session_on(&connected, since).await;
        if matches!(end, End::Failed(_)) {
            self.etcd.0.connections.forget(&connected);
        }
        end
    }

    async fn session_on(&mut self, connected: &Connected, since: &mut Option<Instant>) -> End {
        // Makes `meta`, if it is not there.
        let store = match self.etcd.id().await {
            Ok(store) => store,
            Err(error) => return End::Failed(error),
        };
        if let Err(why) = within(self.compare(connected, &store)).await {
            match why {
                Changed::Other(why) => self.start_over(why),
                Changed::Unknown(failure) => return End::Failed(self.etcd.error(failure)),
            }
        }
        let listing = match &self.told {
            Some(_) => None,
            None => match self.etcd.list(&self.prefix).await {
                Ok(listing) => Some(listing),
                Err(error) => return End::Failed(error),
            },
        };
        let after = listing.as_ref().map(|listing| listing.revision);
        let after = after.or(self.told.as_ref().map(|told| told.revision)).unwrap_or_default();
        let stream = match within(self.stream(connected, after)).await {
            Ok(stream) => stream,
            Err(failure) => return self.failed(failure),
        };
        *since = Some(Instant::now());
        match self.follow(connected, stream, store, listing).await {
            Ok(never) => match never {},
            Err(end) => end,
        }
    }

    fn failed(&self, failure: Failure) -> End {
        match failure {
            Failure::Compacted => End::Over(Why::Compacted),
            Failure::Future => End::Over(Why::WentBack),
            failure => End::Failed(self.etcd.error(failure)),
        }
    }

    /// Whether the store is the one that told what was told.
    async fn compare(&self, connected: &Connected, store: &StoreId) -> Result<(), Changed> {
        let Some(told) = &self.told else { return Ok(()) };
        if let Some(before) = &told.store {
            if before.made != store.made {
                return Err(Changed::Other(Why::OtherStore));
            }
            // A cluster made of a backup.
            if before.cluster != store.cluster {
                return Err(Changed::Other(Why::WentBack));
            }
        }
        let mut kv = kv(&connected.client);
        let current = kv.get(self.etcd.key(super::meta::KEY), None).await.map_err(Failure::from)?;
        if revision(current.header())? < told.revision {
            return Err(Changed::Other(Why::WentBack));
        }
        let Some(mark) = &told.mark else { return Ok(()) };
        let then = GetOptions::new().with_revision(signed(mark.modified.0));
        let found = kv.get(self.etcd.key(&mark.key), Some(then)).await.map_err(Failure::from)?;
        let same = found.kvs().first().is_some_and(|kv| {
            unsigned(kv.mod_revision()) == mark.modified.0 && hash(kv.value()) == mark.value_hash
        });
        if same { Ok(()) } else { Err(Changed::Other(Why::WentBack)) }
    }

    async fn stream(&self, connected: &Connected, after: Revision) -> Result<WatchStream, Failure> {
        let key = self.etcd.key(&self.prefix);
        let options = WatchOptions::new()
            .with_range(end_of(&key))
            .with_start_revision(signed(after.0.saturating_add(1)))
            .with_progress_notify();
        let mut client = connected.client.watch_client().max_decoding_message_size(MOST_MESSAGE_BYTES);
        let mut stream = client.watch(key, Some(options)).await?;
        match stream.message().await? {
            Some(first) if first.created() && !first.canceled() => Ok(stream),
            Some(first) => Err(refusal(&first)),
            None => Err(Failure::Lost("etcd ended the watch".into())),
        }
    }

    async fn follow(
        &mut self,
        connected: &Connected,
        mut stream: WatchStream,
        store: StoreId,
        listing: Option<Listing>,
    ) -> Result<std::convert::Infallible, End> {
        if self.away {
            self.feed.send(Event::Back).await?;
            self.away = false;
        }
        let mut told = match (listing, self.told.take()) {
            (None, Some(told)) => Told { store: Some(store), ..told },
            (listing, _) => self.tell_listing(store, listing.unwrap_or_default()).await?,
        };
        let end = self.follow_stream(connected, &mut stream, &mut told).await;
        self.told = Some(told);
        end
    }

    async fn tell_listing(&self, store: StoreId, listing: Listing) -> Result<Told, Unsent> {
        let Listing { revision, entries } = listing;
        let told = Told { revision, store: Some(store.clone()), mark: Mark::newest(&entries) };
        self.feed.send(Event::Reset { why: self.why, store, revision, entries }).await?;
        Ok(told)
    }

    async fn follow_stream(
        &self,
        connected: &Connected,
        stream: &mut WatchStream,
        told: &mut Told,
    ) -> Result<std::convert::Infallible, End> {
        let lost = |reason: &str| End::Failed(StoreError::Away(format!("{}: {reason}", connected.endpoint)));
        let (mut wake, mut asked) = (Instant::now() + QUIET, false);
        loop {
            let message = tokio::select! {
                message = stream.message() => message.map_err(|e| self.failed(e.into()))?,
                () = self.etcd.0.connections.failed(connected) => return Err(lost("does not answer")),
                () = sleep_until(wake) => {
                    if asked {
                        return Err(lost("the watch does not answer"));
                    }
                    stream.request_progress().await.map_err(|e| self.failed(e.into()))?;
                    (wake, asked) = (Instant::now() + ANSWER, true);
                    continue;
                }
            };
            let Some(message) = message else { return Err(lost("ended the watch")) };
            if message.canceled() {
                return Err(self.failed(refusal(&message)));
            }
            self.tell(&message, told).await?;
            (wake, asked) = (Instant::now() + QUIET, false);
        }
    }

    async fn tell(&self, message: &WatchResponse, told: &mut Told) -> Result<(), Unsent> {
        if message.events().is_empty() {
            // With the watch's own number it is in turn with the changes.
            if let Some(header) = message.header()
                && message.watch_id() >= 0
            {
                told.revision = told.revision.max(Revision(unsigned(header.revision())));
            }
            return self.feed.send(Event::Progress(told.revision)).await;
        }
        let modified = |event: &etcd_client::Event| event.kv().map_or(0, |kv| kv.mod_revision());
        for changes in message.events().chunk_by(|a, b| modified(a) == modified(b)) {
            let at = Revision(changes.first().map_or(0, |event| unsigned(modified(event))));
            if at <= told.revision {
                continue;
            }
            let (mut puts, mut deletes) = (Vec::new(), Vec::new());
            for kv in changes.iter().filter_map(etcd_client::Event::kv) {
                // A deletion has a key and a revision, but no version.
                if kv.version() == 0 {
                    deletes.extend(self.etcd.own_key(kv));
                } else {
                    puts.extend(self.etcd.entry(kv.clone()));
                }
            }
            let mark = Mark::newest(&puts);
            if !(puts.is_empty() && deletes.is_empty()) {
                self.feed.send(Event::Changed { revision: at, puts, deletes }).await?;
            }
            told.revision = at;
            told.mark = mark.or(told.mark.take());
        }
        Ok(())
    }
}

/// What was found when the store was compared with what it told.
enum Changed {
    Other(Why),
    Unknown(Failure),
}

impl From<Failure> for Changed {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Compacted => Self::Other(Why::Compacted),
            Failure::Future => Self::Other(Why::WentBack),
            failure => Self::Unknown(failure),
        }
    }
}

/// Within the time that one request may take.
async fn within<T, E: From<Failure>>(work: impl Future<Output = Result<T, E>>) -> Result<T, E> {
    let done = timeout(ATTEMPT, work).await;
    done.unwrap_or_else(|_| Err(Failure::Lost("no answer in time".into()).into()))
}

fn refusal(message: &WatchResponse) -> Failure {
    let reason = message.cancel_reason();
    if message.compact_revision() > 0 || reason.contains("compacted") {
        Failure::Compacted
    } else if reason.contains("permission denied") {
        Failure::Forbidden(reason.into())
    } else {
        Failure::Lost(format!("etcd ended the watch: {reason}"))
    }
}

fn pauses() -> ExponentialBackoff {
    let pauses = ExponentialBuilder::new().with_min_delay(LEAST_PAUSE).with_max_delay(MOST_PAUSE);
    pauses.without_max_times().with_jitter().build()
}
