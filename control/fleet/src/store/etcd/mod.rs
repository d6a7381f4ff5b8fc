//! The etcd engine. One member is talked to at a time, the next one when it fails; the members agree among themselves,
//! so that each answers for all.
//!
//! - Each request has a time limit, and is repeated at another member if repeating does no harm.
//! - Reads are linearizable: what another node was told is written, is read.
//! - Nothing is cached.

mod connections;
mod credentials;
mod failure;
mod watch;

use std::sync::Arc;
use std::time::Duration;

use etcd_client::{Client, Compare, CompareOp, GetOptions, KeyValue, PutOptions, ResponseHeader, TxnOp};
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tracing::warn;

use super::entry::{Entry, LeaseId, Listing, Revision};
use super::error::{CommitError, OpenError, StoreError};
use super::feed::{self, Watch};
use super::meta::{self, Meta, StoreId};
use super::settings::EtcdSettings;
use super::txn::{Condition, Txn, Write};
use connections::{Connected, Connections, MOST_MESSAGE_BYTES};
use failure::Failure;

/// How long one member may take for one request: two elections of etcd's leader with its default settings.
const ATTEMPT: Duration = Duration::from_secs(2);
/// How long a call may take over all members and repetitions.
const PATIENCE: Duration = Duration::from_secs(6);
/// Between repetitions.
const PAUSE: Duration = Duration::from_millis(100);
/// Entries of the first answer to a listing, and of one whose larger size failed. Each is at most `MOST_VALUE_BYTES` long.
const PAGE: i64 = 100;
/// What the answers after it should come to, bytes. Etcd 3.4 looks at all that is left for each, however few it answers with:
/// a thousand answers of a hundred entries take it twenty seconds.
const PAGE_BYTES: usize = 4 << 20;
/// Most entries of an answer, however small they are.
const MOST_PAGE: i64 = 16_384;
/// How often a listing begins anew, if the store is compacted under it.
const LISTINGS: usize = 3;

/// A fleet's part of etcd.
#[derive(Clone, Debug)]
pub(super) struct Etcd(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// Of all keys, with a slash at its end.
    prefix: String,
    connections: Connections,
}

impl Etcd {
    /// Reads the files; does not connect.
    pub(super) async fn open(fleet: &str, settings: EtcdSettings) -> Result<Self, OpenError> {
        let prefix = format!("/penstock/{fleet}/");
        let connections = Connections::new(settings, prefix.clone()).await?;
        Ok(Self(Arc::new(Inner { prefix, connections })))
    }

    pub(super) async fn id(&self) -> Result<StoreId, StoreError> {
        loop {
            let found = self.call(true, |client| identify(client, self.key(meta::KEY))).await;
            if let Some((id, _)) = found.map_err(|e| self.error(e))? {
                return Ok(id);
            }
            match self.commit(&Meta::make()?).await {
                // Somebody else may be first; whoever it was, read it.
                Ok(_) | Err(CommitError::Conflict | CommitError::Unknown(_)) => {}
                Err(CommitError::Store(e)) => return Err(e),
                Err(e) => return Err(StoreError::Nonsense(e.to_string())),
            }
        }
    }

    pub(super) async fn get(&self, key: &str) -> Result<Option<Entry>, StoreError> {
        let found = self.call(true, |client| {
            let key = self.key(key);
            async move { Ok(kv(&client).get(key, None).await?.take_kvs()) }
        });
        let found = found.await.map_err(|e| self.error(e))?;
        Ok(found.into_iter().find_map(|kv| self.entry(kv)))
    }

    pub(super) async fn list(&self, prefix: &str) -> Result<Listing, StoreError> {
        for _ in 0..LISTINGS {
            match self.list_once(prefix).await {
                Err(Failure::Compacted | Failure::Future) => {}
                listed => return listed.map_err(|e| self.error(e)),
            }
        }
        Err(StoreError::Away("it is compacted faster than it can be listed".into()))
    }

    /// Page by page, all of the first one's revision.
    async fn list_once(&self, prefix: &str) -> Result<Listing, Failure> {
        let end = end_of(&self.key(prefix));
        let mut start = self.key(prefix);
        let mut listing = Listing::default();
        let mut limit = PAGE;
        loop {
            let options = GetOptions::new()
                .with_range(end.clone())
                .with_limit(limit)
                .with_revision(signed(listing.revision.0));
            let page = self.call(true, |client| {
                let (start, options) = (start.clone(), options.clone());
                async move { Ok(kv(&client).get(start, Some(options)).await?) }
            });
            let mut page = match page.await {
                // Larger entries than those before: together they may be more than an answer holds.
                Err(Failure::Lost(_) | Failure::Answer(_)) if limit > PAGE => {
                    limit = PAGE;
                    continue;
                }
                page => page?,
            };
            if listing.revision == Revision(0) {
                listing.revision = revision(page.header())?;
            }
            let kvs = page.take_kvs();
            limit = next_limit(&kvs);
            let last = kvs.last().map(|kv| kv.key().to_owned());
            listing.entries.extend(kvs.into_iter().filter_map(|kv| self.entry(kv)));
            match last {
                Some(last) if page.more() => {
                    start = last;
                    start.push(0);
                }
                _ => return Ok(listing),
            }
        }
    }

    pub(super) async fn commit(&self, txn: &Txn) -> Result<Revision, CommitError> {
        let conditions: Vec<_> = txn.conditions.iter().map(|condition| self.compare(condition)).collect();
        let writes: Vec<_> = txn.writes.iter().map(|write| self.operation(write)).collect();
        let request = etcd_client::Txn::new().when(conditions).and_then(writes);
        let done = self.call(false, |client| {
            let request = request.clone();
            async move { Ok(kv(&client).txn(request).await?) }
        });
        match done.await {
            Ok(done) if done.succeeded() => revision(done.header()).map_err(|e| self.error(e).into()),
            Ok(_) => Err(CommitError::Conflict),
            Err(Failure::Lost(reason)) => Err(CommitError::Unknown(reason)),
            Err(Failure::LeaseEnded) => {
                // Etcd does not say which; there is seldom more than one.
                let lease = txn.writes.iter().find_map(|write| match write {
                    Write::Put { lease, .. } => *lease,
                    Write::Delete(_) => None,
                });
                Err(StoreError::LeaseEnded(lease.unwrap_or(LeaseId(0))).into())
            }
            Err(e) => Err(self.error(e).into()),
        }
    }

    pub(super) async fn grant(&self, ttl: Duration) -> Result<LeaseId, StoreError> {
        let seconds = ttl.as_secs() + u64::from(ttl.subsec_nanos() > 0);
        // One whose answer is lost ends by itself.
        let granted = self.call(true, |client| async move {
            Ok(client.lease_client().grant(signed(seconds.max(1)), None).await?)
        });
        Ok(LeaseId(granted.await.map_err(|e| self.error(e))?.id()))
    }

    pub(super) async fn keep_alive(&self, lease: LeaseId) -> Result<(), StoreError> {
        let kept = self.call(true, |client| async move {
            client.lease_client().keep_alive(lease.0).await?;
            Ok(())
        });
        kept.await.map_err(|e| match e {
            Failure::LeaseEnded => StoreError::LeaseEnded(lease),
            e => self.error(e),
        })
    }

    pub(super) async fn revoke(&self, lease: LeaseId) -> Result<(), StoreError> {
        let revoked = self.call(true, |client| async move {
            client.lease_client().revoke(lease.0).await?;
            Ok(())
        });
        match revoked.await {
            Ok(()) | Err(Failure::LeaseEnded) => Ok(()),
            Err(e) => Err(self.error(e)),
        }
    }

    pub(super) fn watch(&self, prefix: &str, from: Option<Revision>) -> Watch {
        let (feed, watch) = feed::new();
        tokio::spawn(watch::run(self.clone(), prefix.to_owned(), from, feed));
        watch
    }

    /// Does a request, at one member after another. `again`: also where it may have been done already.
    async fn call<T, F: Future<Output = Result<T, Failure>>>(
        &self,
        again: bool,
        mut request: impl FnMut(Client) -> F,
    ) -> Result<T, Failure> {
        let deadline = Instant::now() + PATIENCE;
        let mut reason = String::from("no member answers");
        loop {
            let connected = timeout_at(deadline, self.0.connections.get()).await;
            let failure = match connected.unwrap_or_else(|_| Err(Failure::Unsent(reason.clone()))) {
                Err(failure) => failure,
                Ok(connected) => match self.attempt(&connected, &mut request).await {
                    Ok(done) => return Ok(done),
                    Err(failure) => failure,
                },
            };
            let may_repeat = match &failure {
                Failure::Unsent(why) => {
                    reason.clone_from(why);
                    true
                }
                Failure::Lost(why) => {
                    reason.clone_from(why);
                    again
                }
                _ => false,
            };
            if !may_repeat || Instant::now() + PAUSE >= deadline {
                return Err(failure);
            }
            sleep(PAUSE).await;
        }
    }

    /// At one member, which is not asked again if it fails.
    async fn attempt<T, F: Future<Output = Result<T, Failure>>>(
        &self,
        connected: &Connected,
        request: &mut impl FnMut(Client) -> F,
    ) -> Result<T, Failure> {
        let done = timeout(ATTEMPT, request(connected.client.clone())).await;
        let done =
            done.unwrap_or_else(|_| Err(Failure::Lost(format!("{} does not answer", connected.endpoint))));
        if let Err(Failure::Unsent(_) | Failure::Lost(_)) = &done {
            self.0.connections.forget(connected);
        }
        done
    }

    fn key(&self, key: &str) -> Vec<u8> {
        [self.0.prefix.as_bytes(), key.as_bytes()].concat()
    }

    /// An entry, if it is one that we could have made.
    fn entry(&self, kv: KeyValue) -> Option<Entry> {
        let key = self.own_key(&kv)?;
        let (version, lease) = (unsigned(kv.version()), kv.lease());
        let (created, modified) = (unsigned(kv.create_revision()), unsigned(kv.mod_revision()));
        Some(Entry {
            key,
            version,
            created: Revision(created),
            modified: Revision(modified),
            lease: (lease != 0).then_some(LeaseId(lease)),
            value: kv.into_key_value().1,
        })
    }

    fn own_key(&self, kv: &KeyValue) -> Option<String> {
        let key = kv.key().strip_prefix(self.0.prefix.as_bytes());
        let key = key.and_then(|key| std::str::from_utf8(key).ok());
        if key.is_none() {
            warn!("etcd has a key that is not of Penstock's making: {}", kv.key().escape_ascii());
        }
        key.map(str::to_owned)
    }

    fn compare(&self, condition: &Condition) -> Compare {
        let key = self.key(condition.key());
        match condition {
            Condition::Absent(_) => Compare::version(key, CompareOp::Equal, 0),
            Condition::Version(_, version) => Compare::version(key, CompareOp::Equal, signed(*version)),
            Condition::Modified(_, Revision(at)) => Compare::mod_revision(key, CompareOp::Equal, signed(*at)),
        }
    }

    fn operation(&self, write: &Write) -> TxnOp {
        let key = self.key(write.key());
        match write {
            Write::Put { value, lease, .. } => {
                let options = lease.map(|lease| PutOptions::new().with_lease(lease.0));
                TxnOp::put(key, value.clone(), options)
            }
            Write::Delete(_) => TxnOp::delete(key, None),
        }
    }

    fn error(&self, failure: Failure) -> StoreError {
        failure.into_error(&self.0.prefix)
    }
}

/// Which store answers, and its revision. `None`: it is not a store of the fleet's yet.
async fn identify(client: Client, meta_key: Vec<u8>) -> Result<Option<(StoreId, Revision)>, Failure> {
    let mut found = kv(&client).get(meta_key, None).await?;
    let revision = revision(found.header())?;
    let cluster = found.header().map_or(0, ResponseHeader::cluster_id);
    let Some(meta) = found.take_kvs().pop() else { return Ok(None) };
    let meta = Meta::read(meta.value()).map_err(Failure::Answer)?;
    Ok(Some((meta.id(cluster), revision)))
}

fn kv(client: &Client) -> etcd_client::KvClient {
    client.kv_client().max_decoding_message_size(MOST_MESSAGE_BYTES)
}

fn revision(header: Option<&ResponseHeader>) -> Result<Revision, Failure> {
    let header = header.ok_or_else(|| Failure::Answer(StoreError::Nonsense("no header".into())))?;
    Ok(Revision(unsigned(header.revision())))
}

/// How many entries the next answer may have, if they are like those of the last one.
fn next_limit(last: &[KeyValue]) -> i64 {
    let bytes: usize = last.iter().map(|kv| kv.key().len() + kv.value().len()).sum();
    let fit = PAGE_BYTES.saturating_mul(last.len()) / bytes.max(1);
    i64::try_from(fit).unwrap_or(MOST_PAGE).clamp(PAGE, MOST_PAGE)
}

/// The first key behind all that begin with the prefix.
fn end_of(prefix: &[u8]) -> Vec<u8> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < u8::MAX {
            end.push(last + 1);
            return end;
        }
    }
    // All keys: etcd's own way to say it.
    vec![0]
}

/// Etcd counts with a sign, and never below zero.
fn signed(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

fn unsigned(n: i64) -> u64 {
    u64::try_from(n).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::end_of;

    #[test]
    fn ranges_end_behind_their_prefix() {
        assert_eq!(end_of(b"/penstock/a/"), b"/penstock/a0");
        assert_eq!(end_of(b"a\xff\xff"), b"b");
        assert_eq!(end_of(b"\xff"), b"\0");
    }
}
