//! The task that has to do with charon: it starts it (or not), reaches it, keeps what it holds in line with what is
//! wanted, listens to it, and answers for it.
//!
//! Everything here may fail and is tried again: 1, 2, 4 ... 30 seconds. Meanwhile the workers go on with what was
//! negotiated.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval, sleep_until, timeout};

use super::charon::{self, Charon};
use super::events::{EVENTS, Watcher};
use super::loader::{Fingerprint, Loader};
use super::show::{self, Listed};
use super::vici::{Client, Events, Message, Section, ViciError};
use super::wanted::Wanted;
use crate::api::{self, CharonState, IkeFilter};

/// What waits for the task.
const ORDERS: usize = 16;
/// How long a reload waits for charon.
const PATIENCE: Duration = Duration::from_secs(30);
/// After this time a charon that ends is not said to end again and again.
const STEADY: Duration = Duration::from_secs(60);
/// Longest wait between two tries.
const MAX_WAIT: Duration = Duration::from_secs(30);
/// What charon has refused is offered to it again.
const REFUSED_AGAIN: Duration = Duration::from_secs(60);

/// How charon is reached.
#[derive(Debug)]
pub struct Settings {
    /// Its vici socket.
    pub vici: PathBuf,
    /// Where its plugin finds us; only shown.
    pub plugin_socket: PathBuf,
    /// The directory of what outlives a restart of ours.
    pub run: PathBuf,
    /// A charon of ours; `None`: the operator runs it.
    pub managed: Option<charon::Settings>,
}

/// The task's handle.
#[derive(Debug)]
pub struct Ike {
    view: IkeView,
    task: JoinHandle<()>,
}

/// What may be asked of the task from any thread.
#[derive(Clone, Debug)]
pub struct IkeView {
    orders: mpsc::Sender<Order>,
    shared: Arc<Mutex<Shared>>,
}

#[derive(Debug)]
enum Order {
    Apply(Arc<Wanted>, oneshot::Sender<Vec<String>>),
    Show(IkeFilter, oneshot::Sender<api::Ike>),
    Stop(oneshot::Sender<()>),
}

/// What is known without asking.
#[derive(Debug, Default)]
struct Shared {
    charon: api::Charon,
    negotiated: u64,
    tunnels: u64,
    /// Tunnels that are not up and whose negotiation has failed.
    failing: Vec<String>,
}

impl Ike {
    /// Starts the task, on the runtime that this is called on.
    ///
    /// # Errors
    /// When the run directory cannot be used.
    pub fn start(settings: Settings, wanted: Wanted) -> Result<Self, charon::CharonError> {
        let charon = settings.managed.map(Charon::new).transpose()?;
        let shared = Arc::new(Mutex::new(Shared::default()));
        let (orders, receiver) = mpsc::channel(ORDERS);
        let fingerprints = settings.run.join("loaded");
        let mut daemon = Daemon {
            vici: settings.vici,
            plugin_socket: settings.plugin_socket,
            loader: Loader::new(recall(&fingerprints)),
            fingerprints,
            charon,
            wanted: Arc::new(wanted),
            watcher: Watcher::default(),
            session: None,
            since: None,
            refused: BTreeMap::new(),
            up: BTreeSet::new(),
            changed: false,
            restarts: 0,
            retry: Retry::default(),
            shared: Arc::clone(&shared),
        };
        daemon.tell(CharonState::Starting, None);
        let task = tokio::spawn(daemon.run(receiver));
        Ok(Self { view: IkeView { orders, shared }, task })
    }

    /// What other threads use.
    pub fn view(&self) -> IkeView {
        self.view.clone()
    }

    /// Makes charon hold what is wanted now. The answer names what did not work, by tunnel, with the fix.
    pub async fn apply(&self, wanted: Wanted) -> Vec<String> {
        let (answer, answered) = oneshot::channel();
        let late =
            || vec!["charon is not done with the changes yet; penstock show ike tells how it is".to_owned()];
        if self.view.orders.send(Order::Apply(Arc::new(wanted), answer)).await.is_err() {
            return late();
        }
        timeout(PATIENCE, answered).await.ok().and_then(Result::ok).unwrap_or_else(late)
    }

    /// Ends a charon of ours, and the task. Workers have to run: peers are told.
    pub async fn stop(self) {
        let (answer, answered) = oneshot::channel();
        if self.view.orders.send(Order::Stop(answer)).await.is_ok() {
            let _ = timeout(PATIENCE, answered).await;
        }
        self.task.abort();
    }
}

impl IkeView {
    /// The page `show ike`. Blocks; not for the control thread.
    pub fn show(&self, filter: &IkeFilter) -> api::Ike {
        let (answer, answered) = oneshot::channel();
        let asked = self.orders.blocking_send(Order::Show(filter.clone(), answer));
        asked.ok().and_then(|()| answered.blocking_recv().ok()).unwrap_or_default()
    }

    /// What `show status` says.
    pub fn status(&self) -> api::IkeStatus {
        let shared = self.shared();
        api::IkeStatus {
            state: shared.charon.state,
            problem: shared.charon.problem.clone(),
            tunnels: api::UpCount { up: shared.negotiated, total: shared.tunnels },
            refused: shared.charon.refused.clone(),
            failing: shared.failing.clone(),
        }
    }

    fn shared(&self) -> MutexGuard<'_, Shared> {
        lock(&self.shared)
    }
}

fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// When the next try is due.
#[derive(Debug)]
struct Retry {
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
struct Session {
    client: Client,
    events: Events,
    version: String,
}

struct Daemon {
    vici: PathBuf,
    plugin_socket: PathBuf,
    fingerprints: PathBuf,
    charon: Option<Charon>,
    wanted: Arc<Wanted>,
    loader: Loader,
    watcher: Watcher,
    session: Option<Session>,
    since: Option<Instant>,
    refused: BTreeMap<String, String>,
    /// Tunnels with security associations.
    up: BTreeSet<String>,
    /// Whether one came or went since they were last looked at.
    changed: bool,
    restarts: u64,
    retry: Retry,
    shared: Arc<Mutex<Shared>>,
}

impl Daemon {
    async fn run(mut self, mut orders: mpsc::Receiver<Order>) {
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
        if self.session.is_none() && !self.is_needed() {
            self.tell(CharonState::Idle, None);
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

    async fn connect(vici: &std::path::Path) -> Result<Session, ViciError> {
        let mut client = Client::connect(vici).await?;
        let version = client.request("version", &Message::new()).await?;
        let version = version.value("version").unwrap_or("?").to_owned();
        let events = Events::subscribe(vici, &EVENTS).await?;
        Ok(Session { client, events, version })
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
    fn lost(&mut self, why: &str) {
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
        for line in self.watcher.take(Instant::now(), &name, &message, &self.wanted) {
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
                tracing::error!("{}", refusal(what, why));
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
            remember(&self.fingerprints, &self.loader.fingerprints());
        }
        self.refused = report.refused;
        self.tell(CharonState::Running, None);
        self.tell_tunnels();
    }

    fn refusals(&self) -> Vec<String> {
        self.refused.iter().map(|(what, why)| refusal(what, why)).collect()
    }

    /// What charon lists, by tunnel.
    async fn list(&mut self, message: &Message) -> Listed {
        let mut listed = Listed::new();
        let Some(session) = &mut self.session else { return listed };
        let take = |section: Section| {
            for (name, sa) in section.sections() {
                listed.entry(name.to_owned()).or_default().push(sa.clone());
            }
        };
        if let Err(error) = session.client.stream("list-sas", "list-sa", message, take).await {
            self.lost(&error.to_string());
            return Listed::new();
        }
        self.up = listed
            .iter()
            .filter(|(name, _)| self.wanted.connections.contains_key(*name))
            .filter(|(_, sas)| sas.iter().any(show::has_children))
            .map(|(name, _)| name.clone())
            .collect();
        self.tell_tunnels();
        listed
    }

    async fn show(&mut self, filter: &IkeFilter) -> api::Ike {
        let listed = self.list(&Message::new()).await;
        let (mut ike_sas, mut half_open) = (None, None);
        if let Some(session) = &mut self.session
            && let Ok(stats) = session.client.request("stats", &Message::new()).await
        {
            let count = |name| stats.section("ikesas").and_then(|sas| sas.number(name));
            (ike_sas, half_open) = (count("total"), count("half-open"));
        }
        let now = Instant::now();
        let matching = self
            .wanted
            .connections
            .iter()
            .filter(|(_, tunnel)| filter.selects(&tunnel.tenant, &tunnel.tunnel));
        let page = api::Page::take(matching, filter.limit, |(name, tunnel)| {
            show::row(name, tunnel, &listed, self.refused.get(name), self.watcher.failure(name), now)
        });
        let uptime = match &self.charon {
            Some(charon) => charon.uptime(),
            None => self.since.map(|since| since.elapsed()),
        };
        let known = lock(&self.shared).charon.clone();
        let charon =
            api::Charon { uptime_s: uptime.map(|uptime| uptime.as_secs()), ike_sas, half_open, ..known };
        api::Ike { charon: Some(charon), total: page.total, rows: page.rows }
    }

    /// Notes how charon is.
    fn tell(&mut self, state: CharonState, problem: Option<String>) {
        let refused = self.refusals();
        let mut shared = lock(&self.shared);
        let before = &mut shared.charon;
        *before = api::Charon {
            managed: self.charon.is_some(),
            state,
            problem: problem.filter(|_| state != CharonState::Running),
            pid: self.charon.as_ref().and_then(Charon::pid),
            version: self.session.as_ref().map(|session| session.version.clone()),
            plugin: None,
            uptime_s: None,
            restarts: self.restarts,
            ike_sas: None,
            half_open: None,
            vici_socket: self.vici.display().to_string(),
            plugin_socket: self.plugin_socket.display().to_string(),
            log: self.charon.as_ref().map(|charon| charon.log().display().to_string()),
            refused,
        };
    }

    /// Notes how the tunnels are.
    fn tell_tunnels(&mut self) {
        let failing = self.watcher.failures().keys().filter(|tunnel| !self.up.contains(*tunnel));
        let failing: Vec<String> = failing.cloned().collect();
        let mut shared = lock(&self.shared);
        shared.negotiated = self.up.len() as u64;
        shared.tunnels = self.wanted.connections.len() as u64;
        shared.failing = failing;
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

fn refusal(what: &str, why: &str) -> String {
    // A file's name begins with a slash, a tunnel's does not.
    if what.starts_with('/') { format!("{what}: {why}") } else { format!("tunnel {what}: {why}") }
}

/// `NAME HEX`, one a line.
fn recall(file: &std::path::Path) -> BTreeMap<String, Fingerprint> {
    let text = fs::read_to_string(file).unwrap_or_default();
    let line = |line: &str| {
        let (name, hex) = line.split_once(' ')?;
        let mut bytes = Fingerprint::default();
        if hex.len() != 2 * bytes.len() || !hex.is_ascii() {
            return None;
        }
        for (n, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&hex[2 * n..2 * n + 2], 16).ok()?;
        }
        Some((name.to_owned(), bytes))
    };
    text.lines().filter_map(line).collect()
}

fn remember(file: &std::path::Path, fingerprints: &BTreeMap<String, Fingerprint>) {
    let mut text = String::new();
    for (name, bytes) in fingerprints {
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        text.push_str(&format!("{name} {hex}\n"));
    }
    if let Err(error) = charon::write(file, &text) {
        tracing::warn!(%error, file = %file.display(), "after a restart, tunnels whose peer was changed meanwhile stay up");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_loaded_is_remembered() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("loaded");
        assert!(recall(&file).is_empty());
        let known = BTreeMap::from([("acme/dc1".to_owned(), [0xa5; 32]), ("acme/dc2".to_owned(), [7; 32])]);
        remember(&file, &known);
        assert_eq!(recall(&file), known);
        fs::write(&file, "acme/dc1 zz\nnonsense\n").unwrap();
        assert!(recall(&file).is_empty());
    }
}
