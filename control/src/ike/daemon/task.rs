//! What the task does, one thing at a time.
//!
//! Everything here may fail and is tried again: 1, 2, 4 ... 30 seconds. Meanwhile the workers go on with what was
//! negotiated.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval, sleep_until, timeout};

use super::{Order, Settings, Shared, lock};
use super::{answers, loaded};
use crate::api::CharonState;
use crate::ike::charon::{Charon, CharonError};
use crate::ike::events::{EVENTS, Watcher};
use crate::ike::loader::Loader;
use crate::ike::vici::{Client, Events, Message, Section, ViciError};
use crate::ike::wanted::Wanted;

/// After this time a charon that ends is not said to end again and again.
const STEADY: Duration = Duration::from_secs(60);
/// Longest wait between two tries.
const MAX_WAIT: Duration = Duration::from_secs(30);
/// charon is asked something after this time, so that one that hangs does not go unnoticed where nothing is negotiated.
const ASKED_AGAIN: Duration = Duration::from_secs(30);
/// What charon has refused is offered to it again.
const REFUSED_AGAIN: Duration = Duration::from_secs(60);

/// When the next try is due.
#[derive(Debug)]
pub(super) struct Retry {
    at: Instant,
    wait: Duration,
}

impl Default for Retry {
    fn default() -> Self {
        Self { at: Instant::now(), wait: Duration::from_secs(1) }
    }
}

impl Retry {
    fn failed(&mut self) {
        self.at = Instant::now() + self.wait;
        self.wait = (self.wait * 2).min(MAX_WAIT);
    }
}

/// charon, reached.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) client: Client,
    pub(super) events: Events,
    pub(super) version: String,
    /// When it was last asked whether it is there.
    asked: Instant,
}

pub(super) struct Daemon {
    pub(super) vici: PathBuf,
    pub(super) plugin_socket: PathBuf,
    pub(super) fingerprints: PathBuf,
    pub(super) charon: Option<Charon>,
    pub(super) wanted: Arc<Wanted>,
    pub(super) loader: Loader,
    pub(super) watcher: Watcher,
    pub(super) session: Option<Session>,
    pub(super) since: Option<Instant>,
    pub(super) refused: BTreeMap<String, String>,
    /// Tunnels with security associations.
    pub(super) up: BTreeSet<String>,
    /// Whether one came or went since they were last looked at.
    pub(super) changed: bool,
    pub(super) restarts: u64,
    pub(super) retry: Retry,
    pub(super) shared: Arc<Mutex<Shared>>,
}

impl Daemon {
    /// Nothing is started or reached yet.
    ///
    /// # Errors
    /// When the run directory cannot be used.
    pub fn new(settings: Settings, wanted: Wanted, shared: Arc<Mutex<Shared>>) -> Result<Self, CharonError> {
        let fingerprints = settings.run.join("loaded");
        let mut daemon = Self {
            vici: settings.vici,
            plugin_socket: settings.plugin_socket,
            loader: Loader::new(loaded::recall(&fingerprints)),
            fingerprints,
            charon: settings.managed.map(Charon::new).transpose()?,
            wanted: Arc::new(wanted),
            watcher: Watcher::default(),
            session: None,
            since: None,
            refused: BTreeMap::new(),
            up: BTreeSet::new(),
            changed: false,
            restarts: 0,
            retry: Retry::default(),
            shared,
        };
        daemon.tell(CharonState::Starting, None);
        Ok(daemon)
    }

    pub async fn run(mut self, mut orders: mpsc::Receiver<Order>) {
        let mut seconds = interval(Duration::from_secs(1));
        seconds.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut again = interval(REFUSED_AGAIN);
        again.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let reach = self.session.is_none() && self.is_needed();
            tokio::select! {
                order = orders.recv() => match order {
                    Some(Order::Apply(wanted, answer)) => {
                        self.wanted = wanted;
                        self.watcher.keep(&self.wanted);
                        let problems = self.apply().await;
                        // Whoever asked may have gone away.
                        let _ = answer.send(problems);
                    }
                    Some(Order::Show(filter, answer)) => {
                        let _ = answer.send(self.show(&filter).await);
                    }
                    Some(Order::Stop(answer)) => {
                        self.session = None;
                        if let Some(charon) = &mut self.charon {
                            charon.stop().await;
                        }
                        let _ = answer.send(());
                        return;
                    }
                    None => return,
                },
                event = next(&mut self.session) => self.hear(event).await,
                how = ended(&mut self.charon) => self.lost(&format!("charon has ended ({how})")),
                () = sleep_until(self.retry.at.into()), if reach => {
                    self.reach().await;
                }
                _ = seconds.tick() => self.turn().await,
                _ = again.tick(), if !self.refused.is_empty() => {
                    self.bring().await;
                }
            }
        }
    }

    /// An operator's charon is always listened to; ours runs when there is something to negotiate, or was.
    fn is_needed(&self) -> bool {
        let ours_is_idle = self.charon.as_ref().is_some_and(|charon| charon.pid().is_none());
        !(ours_is_idle && self.wanted.connections.is_empty())
    }

    /// Once a second.
    async fn turn(&mut self) {
        if let Some(charon) = &self.charon {
            charon.turn();
        }
        if let Some(line) = self.watcher.summary(Instant::now()) {
            tracing::warn!("{}", line.text);
        }
        if std::mem::take(&mut self.changed) {
            self.list(&Message::new().value("noblock", "yes")).await;
        }
        self.ask_whether_it_is_there().await;
        if self.session.is_none() && !self.is_needed() {
            self.tell(CharonState::Idle, None);
        }
    }

    async fn ask_whether_it_is_there(&mut self) {
        let Some(session) = self.session.as_mut().filter(|session| session.asked.elapsed() >= ASKED_AGAIN)
        else {
            return;
        };
        session.asked = Instant::now();
        if let Err(error) = session.client.request("version", &Message::new()).await {
            self.lost(&error.to_string());
        }
    }

    /// Starts it if it is ours, connects, loads. On failure the next try is set.
    async fn reach(&mut self) -> bool {
        let found = match &mut self.charon {
            Some(charon) => match charon.start().await {
                Ok(found) => found,
                Err(error) => {
                    self.failed(&format!("{error}; it is tried again in {} s", self.retry.wait.as_secs()));
                    return false;
                }
            },
            None => true,
        };
        if !found {
            // A new one holds nothing.
            self.loader = Loader::default();
        }
        match Self::connect(&self.vici).await {
            Ok(session) => {
                tracing::info!(version = session.version, "charon answers");
                self.session = Some(session);
                self.since = Some(Instant::now());
                self.watcher.restarted();
            }
            Err(error) => {
                self.stuck(&error).await;
                return false;
            }
        }
        self.tell(CharonState::Running, None);
        self.bring().await;
        self.changed = true;
        self.session.is_some()
    }

    async fn connect(vici: &Path) -> Result<Session, ViciError> {
        let mut client = Client::connect(vici).await?;
        let version = client.request("version", &Message::new()).await?;
        let version = version.value("version").unwrap_or("?").to_owned();
        let events = Events::subscribe(vici, &EVENTS).await?;
        Ok(Session { client, events, version, asked: Instant::now() })
    }

    /// It runs and does not answer. Ours is started anew then.
    async fn stuck(&mut self, error: &ViciError) {
        self.failed(&format!("{error}; it is tried again in {} s", self.retry.wait.as_secs()));
        if let Some(charon) = &mut self.charon {
            charon.kill().await;
            self.restarts += 1;
        }
    }

    fn failed(&mut self, why: &str) {
        tracing::error!("{why}");
        self.retry.failed();
        self.tell(CharonState::Failed, Some(why.to_owned()));
    }

    /// charon ended or the connection broke. What was negotiated goes on in the workers.
    pub(super) fn lost(&mut self, why: &str) {
        self.session = None;
        self.up.clear();
        let steady = self.since.take().is_some_and(|since| since.elapsed() > STEADY);
        if steady {
            self.retry = Retry::default();
        }
        if let Some(charon) = &self.charon
            && charon.pid().is_none()
        {
            self.restarts += 1;
            self.loader = Loader::default();
            tracing::error!(
                log = %charon.log().display(),
                "{why}; it is started again. Negotiated tunnels go on, new negotiations wait"
            );
        } else {
            tracing::error!(
                "{why}; it is reached for again. Negotiated tunnels go on, new negotiations wait"
            );
            // The operator's charon may be another one now.
            self.loader = Loader::new(self.loader.fingerprints());
        }
        self.retry.at = Instant::now() + if steady { Duration::ZERO } else { self.retry.wait };
        self.retry.wait = (self.retry.wait * 2).min(MAX_WAIT);
        self.tell(CharonState::Starting, Some(why.to_owned()));
    }

    async fn hear(&mut self, event: Result<(String, Section), ViciError>) {
        let (name, message) = match event {
            Ok(event) => event,
            Err(error) => {
                // When it has ended, that says more.
                if let Some(charon) = &mut self.charon
                    && let Ok(how) = timeout(Duration::from_millis(200), charon.ended()).await
                {
                    return self.lost(&format!("charon has ended ({how})"));
                }
                return self.lost(&error.to_string());
            }
        };
        if name == "log" {
            let (group, text) =
                (message.value("group").unwrap_or("?"), message.value("msg").unwrap_or_default());
            tracing::debug!(target: "charon", group, thread = message.value("thread"), "{text}");
        } else {
            self.changed = true;
        }
        let lines = self.watcher.take(Instant::now(), &name, &message, &self.wanted);
        lock(&self.shared).events = self.watcher.counts();
        for line in lines {
            if line.failed {
                tracing::warn!("{}", line.text);
                self.tell_tunnels();
            } else {
                tracing::info!("{}", line.text);
            }
        }
    }

    /// For a reload: the answer is what did not work.
    async fn apply(&mut self) -> Vec<String> {
        if self.session.is_some() {
            self.bring().await;
        } else {
            // Not waited for: it takes seconds, and loads all when it is there.
            self.retry.at = Instant::now();
        }
        self.tell_tunnels();
        let problem = lock(&self.shared).charon.problem.clone();
        let problem = problem.map(|why| format!("tunnels cannot be negotiated: {why}"));
        problem.into_iter().chain(self.refusals()).collect()
    }

    /// Loads and unloads what differs.
    async fn bring(&mut self) {
        let Some(session) = &mut self.session else { return };
        let report = match self.loader.bring(&mut session.client, &self.wanted).await {
            Ok(report) => report,
            Err(error) => return self.lost(&error.to_string()),
        };
        for (what, why) in &report.refused {
            if self.refused.get(what) != Some(why) {
                tracing::error!("{}", answers::refusal(what, why));
            }
        }
        for tunnel in &report.ended {
            tracing::info!("tunnel {tunnel}: it or its peer was changed, what was negotiated is ended");
        }
        if report.changes > 0 {
            tracing::info!(
                changes = report.changes,
                tunnels = self.wanted.connections.len(),
                "charon is up to date"
            );
            loaded::remember(&self.fingerprints, &self.loader.fingerprints());
        }
        self.refused = report.refused;
        self.tell(CharonState::Running, None);
        self.tell_tunnels();
    }
}

async fn next(session: &mut Option<Session>) -> Result<(String, Section), ViciError> {
    match session {
        Some(session) => session.events.next().await,
        None => std::future::pending().await,
    }
}

async fn ended(charon: &mut Option<Charon>) -> String {
    match charon {
        Some(charon) => charon.ended().await,
        None => std::future::pending().await,
    }
}
