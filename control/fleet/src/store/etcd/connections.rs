//! Which member is talked to: one, until it fails; then the next.
//!
//! A connection is used only after a linearizable read on it: then the member has a leader, and what it says is not older
//! than what any member said before.

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use etcd_client::{Client, ConnectOptions};
use tokio::sync::watch;
use tokio::time::timeout;

use super::super::error::{OpenError, StoreError};
use super::super::meta;
use super::super::settings::EtcdSettings;
use super::credentials::Credentials;
use super::failure::Failure;
use super::{ATTEMPT, identify};

/// Longest answer that is read: a page of the longest values, and etcd's own limit of a watch's answers is below.
pub(super) const MOST_MESSAGE_BYTES: usize = 128 << 20;
/// Pings on a connection with a watch on it. Etcd hangs up on who pings more often than every 5 s
/// (`--grpc-keepalive-min-time`), or without a stream.
const PING_EVERY: Duration = Duration::from_secs(6);
const PING_TIMEOUT: Duration = Duration::from_secs(2);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

pub(super) struct Connections {
    settings: EtcdSettings,
    meta_key: Vec<u8>,
    state: Mutex<State>,
    /// Held by who connects.
    connecting: tokio::sync::Mutex<()>,
    /// The number of the newest connection that failed.
    failed: watch::Sender<u64>,
}

#[derive(Default)]
struct State {
    /// The endpoint to try next.
    endpoint: usize,
    connected: Option<Connected>,
    /// Connections so far.
    count: u64,
}

/// A connection.
#[derive(Clone)]
pub(super) struct Connected {
    pub(super) client: Client,
    pub(super) endpoint: String,
    number: u64,
}

impl fmt::Debug for Connections {
    // The client has the password in it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connections").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl Connections {
    pub(super) async fn new(settings: EtcdSettings, prefix: String) -> Result<Self, OpenError> {
        // Only to see that they can be read.
        let failed = |e: tokio::task::JoinError| OpenError::Store(StoreError::Away(e.to_string()));
        let files = settings.clone();
        tokio::task::spawn_blocking(move || Credentials::read(&files)).await.map_err(failed)??;
        let meta_key = [prefix.as_bytes(), meta::KEY.as_bytes()].concat();
        Ok(Self {
            settings,
            meta_key,
            state: Mutex::default(),
            connecting: tokio::sync::Mutex::default(),
            failed: watch::Sender::new(0),
        })
    }

    /// The connection that there is, or a new one to the next member that works.
    pub(super) async fn get(&self) -> Result<Connected, Failure> {
        if let Some(connected) = self.current() {
            return Ok(connected);
        }
        // Whoever comes while one connects gets what that one gets.
        let _connecting = self.connecting.lock().await;
        if let Some(connected) = self.current() {
            return Ok(connected);
        }
        let mut reasons = Vec::new();
        for _ in &self.settings.endpoints {
            let endpoint = self.endpoint();
            match self.connect(&endpoint).await {
                Ok(client) => return Ok(self.state().connected(client, endpoint)),
                Err(Failure::Unsent(reason) | Failure::Lost(reason)) => {
                    self.state().endpoint += 1;
                    reasons.push(format!("{endpoint}: {reason}"));
                }
                Err(answer) => return Err(answer),
            }
        }
        Err(Failure::Unsent(reasons.join("; ")))
    }

    /// Not this one again: the next call gets another.
    pub(super) fn forget(&self, connected: &Connected) {
        let mut state = self.state();
        if state.connected.as_ref().is_some_and(|current| current.number == connected.number) {
            state.connected = None;
            state.endpoint += 1;
            self.failed.send_replace(connected.number);
        }
    }

    /// Waits until somebody found that this connection does not work.
    pub(super) async fn failed(&self, connected: &Connected) {
        let mut failed = self.failed.subscribe();
        // The sender is ours, so this ends only when it is so.
        let _ = failed.wait_for(|number| *number >= connected.number).await;
    }

    fn current(&self) -> Option<Connected> {
        self.state().connected.clone()
    }

    /// To try next.
    fn endpoint(&self) -> String {
        let endpoints = &self.settings.endpoints;
        endpoints[self.state().endpoint % endpoints.len()].clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // No panic leaves it half changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn connect(&self, endpoint: &str) -> Result<Client, Failure> {
        let settings = self.settings.clone();
        let read = tokio::task::spawn_blocking(move || Credentials::read(&settings)).await;
        let read = read.map_err(|e| Failure::Unsent(e.to_string()))?;
        let credentials = read.map_err(|e| Failure::Answer(StoreError::Credentials(e.to_string())))?;
        let connect = async {
            let client = Client::connect([endpoint], Some(options(credentials, endpoint))).await?;
            identify(client.clone(), self.meta_key.clone()).await?;
            Ok(client)
        };
        let connected = timeout(ATTEMPT, connect).await;
        connected.unwrap_or_else(|_| Err(Failure::Unsent("no answer in time".into())))
    }
}

impl State {
    fn connected(&mut self, client: Client, endpoint: String) -> Connected {
        self.count += 1;
        let connected = Connected { client, endpoint, number: self.count };
        self.connected = Some(connected.clone());
        connected
    }
}

fn options(credentials: Credentials, endpoint: &str) -> ConnectOptions {
    let mut options = ConnectOptions::new()
        .with_connect_timeout(CONNECT_TIMEOUT)
        .with_keep_alive(PING_EVERY, PING_TIMEOUT)
        .with_keep_alive_while_idle(false)
        .with_require_leader(true)
        .with_auto_token_refresh(true);
    if let Some(tls) = credentials.tls {
        options = options.with_tls(tls.domain_name(host(endpoint)));
    }
    if let Some((name, password)) = credentials.user {
        options = options.with_user(name, password.as_str());
    }
    options
}

/// Whose certificate it must be: the URL's host, of an IPv6 address without its brackets.
fn host(endpoint: &str) -> &str {
    let authority = endpoint.split_once("://").map_or(endpoint, |(_, rest)| rest);
    let host = authority.rsplit_once(':').map_or(authority, |(host, _)| host);
    host.trim_start_matches('[').trim_end_matches(']')
}

#[cfg(test)]
mod tests {
    use super::host;

    #[test]
    fn hosts_are_as_certificates_have_them() {
        assert_eq!(host("https://192.0.2.1:2379"), "192.0.2.1");
        assert_eq!(host("https://[2001:db8::1]:2379"), "2001:db8::1");
        assert_eq!(host("https://etcd.example:2379"), "etcd.example");
    }
}
