//! The running gateway: data plane, kernel twin, tables, API, and the one loop that joins them.
//!
//! Everything that changes tables happens on the control thread, one thing at a time: what the kernel
//! says, what workers learn, what the operator asks. Workers go on whatever happens here.

mod associations;
mod backends;
mod charon;
mod clock;
mod error;
mod exporter;
mod fleet;
mod health;
mod install;
mod keepalive;
mod link;
mod listen;
mod negotiate;
mod negotiated;
mod reload;
mod senders;
mod service_manager;
mod signals;
mod state;
mod view;
mod watching;
mod why;
mod workers;

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};
use tokio::time::{MissedTickBehavior, interval};

pub use error::RuntimeError;
pub(crate) use workers::buffers_of_node;

use crate::api::{self, Api, Gateway};
use crate::config::{self, Problem, TunnelConfig, ValidConfig};
use crate::ike::Ike;
use crate::ike::connections::Credentials;
use crate::kernel::Kernel;
use crate::kernel::pump::{self, Pump};
use crate::local_socket::LocalSocket;
use crate::metrics::Listening;
use crate::static_sas::{self, StaticSas};
use clock::Now;
use exporter::Exporter;
use health::HealthProbes;
use keepalive::{Keepalives, Wanted};
use link::WorkersLink;
use listen::Tls;
use negotiate::Served;
use senders::Senders;
use service_manager::ServiceManager;
use signals::{Signals, hang_up};
use state::{Files, State};
use view::{Call, View};
use workers::DataPlane;

/// How often workers' notices are taken, their retired tables freed, and health probes sent.
const NOTICES: Duration = Duration::from_millis(20);
/// How often links, workers and keepalives are looked at.
const CHECKS: Duration = Duration::from_secs(1);
/// Calls that wait.
const CALLS: usize = 4;

/// What a gateway is started with.
#[derive(Clone, Copy, Debug)]
pub struct Options<'a> {
    /// The configuration file.
    pub config: &'a Path,
    /// A file of security associations, for tests and benchmarks.
    pub static_sas: Option<&'a Path>,
    /// What the API shows.
    pub version: &'a str,
}

/// Runs the gateway of a configuration file until it is told to stop (SIGTERM, SIGINT) and has drained. SIGHUP reloads
/// the files.
///
/// Steps: the files; the socket, which makes sure that we are alone; data plane; kernel twin; the loop.
///
/// # Errors
/// When it cannot start, or a worker ends by itself.
pub fn run(options: &Options<'_>) -> Result<(), RuntimeError> {
    let file = options.config;
    let invalid = |file: &Path, problems| RuntimeError::Config { file: file.to_owned(), problems };
    let config = config::load(file).map_err(|problems| invalid(file, problems))?;
    for warning in config.warnings() {
        tracing::warn!("{warning}");
    }
    let sas = match options.static_sas {
        Some(sas) => read_sas(sas, &config).map_err(|problems| invalid(sas, problems))?,
        None => StaticSas::default(),
    };
    let yaml = std::fs::read_to_string(file)
        .map_err(|source| RuntimeError::System { action: "read the configuration again", source })?;
    let credentials = charon::read_credentials(&config).map_err(|problems| invalid(file, problems))?;
    let tls = api::remote::tls::read(&config).map_err(|problems| invalid(file, problems))?;
    let socket = api::bind(&config.node.socket)?;
    let metrics = config.metrics.listen.map(Listening::bind).transpose()?;
    let (dataplane, link) = DataPlane::start(&config)?;
    // Only now: workers and DPDK's own threads choose their cores themselves.
    if let Err(error) = pump::pin(usize::from(config.cores.control)) {
        tracing::warn!(%error, core = config.cores.control, "control is not pinned to its core; it runs anywhere");
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|source| RuntimeError::System { action: "start the control runtime", source })?;
    let files = Files { config: file.to_owned(), static_sas: options.static_sas.map(Path::to_owned) };
    runtime.block_on(control(
        files,
        config,
        yaml,
        sas,
        credentials,
        tls,
        socket,
        metrics,
        dataplane,
        link,
        options.version,
    ))
}

/// Reads security associations. From then on nobody gets at our memory: no core dump, no debugger of our user.
fn read_sas(file: &Path, config: &ValidConfig) -> Result<StaticSas, Vec<Problem>> {
    hide_memory();
    let sas = static_sas::load(file, config)?;
    tracing::warn!(file = %file.display(), associations = sas.len(), "{}", static_sas::WARNING);
    for warning in sas.warnings() {
        tracing::warn!("{warning}");
    }
    Ok(sas)
}

/// Nobody gets at our memory from now on: no core dump, no debugger of our user.
fn hide_memory() {
    if let Err(error) = nix::sys::prctl::set_dumpable(false) {
        tracing::warn!(%error, "keys may end up in a core dump");
    }
}

#[expect(clippy::too_many_arguments, reason = "called once, with all that was made at start")]
async fn control(
    files: Files,
    config: ValidConfig,
    yaml: String,
    sas: StaticSas,
    credentials: Credentials,
    tls: Option<Tls>,
    socket: LocalSocket,
    metrics: Option<Listening>,
    dataplane: DataPlane,
    link: WorkersLink,
    version: &str,
) -> Result<(), RuntimeError> {
    let core = usize::from(config.cores.control);
    let (kernel, mut updates) = Kernel::start(config.node.netns.as_str(), false)?;
    let keepalives = Keepalives::new(kernel.netns())?;
    let pump = Pump::start(Box::new(link), Some(core))
        .map_err(|source| RuntimeError::System { action: "start the twins' pump", source })?;
    let file = files.config.display().to_string();
    let health = HealthProbes::new(config.node.number)?;
    let mut state = State::new(config, yaml, files, sas, dataplane, keepalives, health);
    // Associations of before are there when the first tables are.
    state.open_negotiated()?;
    let workers = state.dataplane.workers.len();
    let senders = Senders::new(state.compiler.config().node.state.clone(), workers);
    let (to_call, mut calls) = mpsc::channel(CALLS);
    let state = Arc::new(Mutex::new(state));
    let view: Arc<dyn Gateway> =
        Arc::new(View { state: Arc::clone(&state), calls: to_call.clone(), version: version.to_owned() });
    let api = Api::new(Arc::clone(&view));
    let mut gateway = Running {
        state,
        exporter: Exporter::new(view),
        kernel,
        pump,
        senders,
        charon: None,
        ike: None,
        fleet: None,
        remote: None,
        api,
        service_manager: ServiceManager::new(workers),
        unreachable_ports: Vec::new(),
    };
    // The pump needs the interfaces as soon as there are twins.
    gateway.shape_tunnels();
    gateway.publish();
    gateway.apply_kernel_plan().await;
    gateway.join_fleet(version).await?;
    gateway.begin_senders().await;
    for problem in gateway.install().await {
        tracing::error!("{problem}");
    }
    gateway.serve_charon()?;
    for problem in gateway.negotiate(&credentials).await {
        tracing::error!("{problem}");
    }
    drop(credentials);
    gateway.check_links();

    let listen = gateway.lock().compiler.config().metrics.listen;
    gateway.exporter.adopt(listen, metrics);
    let (stop, stopped) = oneshot::channel::<()>();
    let server = tokio::spawn(api::serve(socket, gateway.api.clone(), async {
        let _ = stopped.await;
    }));
    let config = gateway.lock().compiler.config().clone();
    gateway.listen(&config, tls).await.map_err(|reason| RuntimeError::Api { reason })?;
    let mut signals =
        Signals::new().map_err(|source| RuntimeError::System { action: "listen for signals", source })?;
    let mut notices = every(NOTICES);
    let mut checks = every(CHECKS);
    tracing::info!(version, file, "the gateway runs");

    let state = Arc::clone(&gateway.state);
    let mut fatal_conflict = gateway.fleet.as_mut().and_then(fleet::Tasks::take_fatal);
    let mut stop_at = None;
    let result = loop {
        tokio::select! {
            Some(update) = updates.recv() => {
                gateway.lock().compiler.kernel(update);
                gateway.publish();
            }
            Some(call) = calls.recv() => {
                gateway.answer(call).await;
            }
            () = fleet::Tasks::objects_changed(&state) => gateway.take_objects().await,
            conflict = fatal(&mut fatal_conflict) => break Err(RuntimeError::Fleet { reason: conflict }),
            _ = notices.tick() => gateway.take_notices(),
            _ = checks.tick() => {
                if let Err(error) = gateway.check() {
                    break Err(error);
                }
            }
            _ = signals.reload.recv() => hang_up(&to_call),
            () = signals.stop.told() => match stop_at {
                None => stop_at = Some(gateway.withdraw()),
                // Whoever says it twice does not want to wait.
                Some(_) => break Ok(()),
            },
            () = until(stop_at) => break Ok(()),
        }
    };
    tracing::info!("the gateway stops");
    let _ = stop.send(());
    gateway.remote = None;
    drop(calls);
    // Requests under way get a moment to end.
    let _ = tokio::time::timeout(Duration::from_secs(2), server).await;
    gateway.close().await;
    result
}

/// Waits until this node must end, because another one has its name or number.
async fn fatal(conflict: &mut Option<oneshot::Receiver<String>>) -> String {
    match conflict {
        Some(told) => match told.await {
            Ok(conflict) => conflict,
            Err(_) => std::future::pending().await,
        },
        None => std::future::pending().await,
    }
}

/// Waits for a moment, if there is one.
async fn until(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment.into()).await,
        None => std::future::pending().await,
    }
}

fn every(period: Duration) -> tokio::time::Interval {
    let mut ticks = interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

/// What the control thread holds.
struct Running {
    state: Arc<Mutex<State>>,
    exporter: Exporter,
    kernel: Kernel,
    pump: Pump,
    senders: Senders,
    /// charon's plugin, while it is served.
    charon: Option<Served>,
    /// Who has to do with charon, while tunnels negotiate.
    ike: Option<Ike>,
    /// What the other nodes have to do with, in a fleet.
    fleet: Option<fleet::Tasks>,
    /// The API over TCP.
    remote: Option<api::remote::Remote>,
    /// What answers there, and on the unix socket.
    api: Api,
    service_manager: ServiceManager,
    /// Ports whose link could not be asked; said once.
    unreachable_ports: Vec<String>,
}

impl Running {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins to be a node of the fleet, if the configuration has one.
    ///
    /// # Errors
    /// When files of the configuration cannot be used.
    async fn join_fleet(&mut self, version: &str) -> Result<(), RuntimeError> {
        let config = self.lock().compiler.config().clone();
        self.fleet = fleet::start(&config, version, self.kernel.netns(), &self.state).await?;
        if let Some(fleet) = &self.fleet {
            hide_memory();
            self.senders.use_fleet(fleet.senders());
        }
        Ok(())
    }

    async fn answer(&mut self, call: Call) {
        // Whoever asked may have gone away.
        match call {
            Call::Reload(request, answer) if request.dry_run => {
                drop(answer.send(self.reload(request).await));
            }
            Call::Reload(request, answer) => {
                self.service_manager.reloading();
                let outcome = self.reload(request).await;
                self.service_manager.reloaded();
                drop(answer.send(outcome));
            }
            Call::Apply(request, answer) => drop(answer.send(self.apply_objects(request).await)),
            Call::Delete(request, answer) => drop(answer.send(self.delete_objects(request).await)),
            Call::Watch(session, answer) => drop(answer.send(self.lock().watch(session))),
            Call::Unwatch(id) => self.lock().unwatch(id),
            Call::Account(change, answer) => drop(answer.send(self.write_account(change).await)),
        }
    }

    /// Makes and publishes what changed.
    fn publish(&self) {
        let wanted = {
            let mut state = self.lock();
            state.publish();
            state.wanted.take()
        };
        if let Some(wanted) = wanted {
            self.kernel.set_wanted(wanted);
        }
    }

    /// Brings the kernel's side in line with the configuration.
    async fn apply_kernel_plan(&mut self) -> Vec<String> {
        let plan = self.lock().compiler.twin_plan();
        let applied = self.kernel.apply(&plan).await;
        self.pump.set_ports(applied.ports);
        let problems: Vec<_> = applied.problems.iter().map(ToString::to_string).collect();
        for problem in &problems {
            tracing::error!("kernel twin: {problem}");
        }
        problems
    }

    /// Says that this node is not to be sent traffic any more. Returns when it may stop.
    fn withdraw(&self) -> Instant {
        let mut state = self.lock();
        let drain = state.compiler.config().drain();
        let at = Instant::now() + Duration::from(drain);
        state.stops_at = Some(at);
        if let Some(fleet) = &state.fleet {
            fleet.tell_readiness();
        }
        if drain.seconds > 0 {
            tracing::info!(%drain, "told to stop: not ready any more, and forwarding until traffic has moved");
        }
        self.service_manager.stopping(drain.into());
        at
    }

    fn take_notices(&mut self) {
        let changed = {
            let mut state = self.lock();
            let changed = state.turn_associations();
            let changed = state.turn_health() || changed;
            state.take_events() || changed || state.wanted.is_some()
        };
        if changed {
            self.publish();
        } else {
            self.lock().settle();
        }
        let settled = self.lock().dataplane.publisher.is_settled();
        if settled {
            self.service_manager.ready();
        }
    }

    /// Once a second.
    fn check(&mut self) -> Result<(), RuntimeError> {
        self.check_links();
        self.send_keepalives();
        if self.lock().follow_keepalives() {
            self.publish();
        }
        self.turn_senders();
        self.lock().stop_old_keys(Now::read());
        self.lock().check_negotiated();
        self.lock().check_fleet();
        self.lock().pump = self.pump.stats();
        {
            let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            let turns = state.dataplane.workers.iter().map(|worker| (worker.core, worker.stats.loops.get()));
            self.service_manager.look(turns, Instant::now());
        }
        self.lock().dataplane.dead_worker().map_or(Ok(()), |core| Err(RuntimeError::WorkerGone(core)))
    }

    fn check_links(&mut self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let state = &mut *state;
        for (port, known) in state.dataplane.ports.iter().zip(&mut state.links) {
            let link = match port.port.link() {
                Ok(link) => link,
                Err(error) => {
                    let name = port.name.to_string();
                    if !self.unreachable_ports.contains(&name) {
                        tracing::warn!(port = %port.name, %error, "the link cannot be asked");
                        self.unreachable_ports.push(name);
                    }
                    continue;
                }
            };
            let was_up = known.replace(link).map(|link| link.up);
            if was_up == Some(link.up) {
                continue;
            }
            if link.up {
                tracing::info!(port = %port.name, speed_mbps = link.speed_mbps, "link is up");
            } else {
                tracing::error!(port = %port.name, "link is down: check the cable and the other end");
            }
            if let Err(error) = self.kernel.set_carrier(port.name.as_str(), link.up) {
                tracing::warn!(port = %port.name, %error, "the twin does not follow the link");
            }
        }
    }

    fn send_keepalives(&self) {
        let has_keepalive = |tunnel: &TunnelConfig| tunnel.gre().is_some_and(|gre| gre.keepalive.is_some());
        let mut state = self.lock();
        let state = &mut *state;
        let answers: Vec<_> = state
            .compiler
            .tunnels_with(has_keepalive)
            .map(|tunnel| state.totals(tunnel.id).keepalives_received)
            .collect();
        let tunnels = state.compiler.tunnels_with(has_keepalive).filter_map(|tunnel| {
            let gre = *tunnel.config.gre()?;
            Some((tunnel.config.remote.address()?, tunnel, gre, gre.keepalive?))
        });
        let wanted = tunnels.zip(answers).map(|((remote, tunnel, gre, settings), answers)| Wanted {
            tenant: tunnel.tenant,
            tunnel: tunnel.name,
            settings,
            local: tunnel.local,
            remote,
            key: gre.key,
            checksum: gre.checksum,
            answers,
        });
        state.keepalives.turn(Instant::now(), wanted);
    }

    /// The pump first, then the twins and their namespace; the workers end with the state.
    async fn close(mut self) {
        // While packets still flow: charon tells its peers.
        if let Some(ike) = self.ike.take() {
            ike.stop().await;
        }
        if let Some(charon) = self.charon.take() {
            charon.end().await;
        }
        if let Some(fleet) = self.fleet.take() {
            fleet.leave(&self.state).await;
        }
        {
            let mut state = self.lock();
            let (negotiated, mut gear) = state.negotiating();
            negotiated.close(&mut gear);
        }
        drop(self.pump);
        if let Err(error) = self.kernel.close() {
            tracing::warn!(%error, "the namespace of the twins was left behind");
        }
    }
}
