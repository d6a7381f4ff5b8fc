//! The API's rows, read from the state.

mod cores;
mod routes;
mod sas;
mod tunnels;
mod watch;

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use penstock_dataplane::drop_reason::DropReason;
use penstock_dataplane::watch::Session;
use tokio::sync::{mpsc, oneshot};

use routes::{neighbor_state, route_row};
pub(super) use tunnels::tunnel_problem;
use tunnels::{judge, tunnel_row};

use super::state::State;
use super::why;
use crate::api::{
    Account, AccountChange, ApiError, ApplyReport, ApplyRequest, CaptureRequest, CharonState, CoreCount,
    CoreRow, Crypto, DeleteRequest, DropRow, ErrorCode, Fleet, Gateway, Ike, IkeFilter, LastReload, Link,
    NeighborFilter, NeighborRow, Page, PortCounters, PortRow, Readiness, ReloadReport, ReloadRequest,
    RouteFilter, RouteRow, RunningConfig, SaFilter, SaRow, Status, StopRequest, TenantObject, TraceRequest,
    TunnelFilter, TunnelRow, TunnelState, UpCount, Watching, WhyAnswer, WhyRequest,
};
use crate::config::Mac;
use crate::ike::IkeView;

/// How long an answer waits for what was written to come back from the store, onto the workers.
const TAKE_LIMIT: Duration = Duration::from_secs(5);
/// How often that is looked at.
const TAKE_STEP: Duration = Duration::from_millis(2);

/// What somebody asks of the control thread, one thing at a time.
pub(super) enum Call {
    Reload(ReloadRequest, Answer<ReloadReport>),
    Apply(ApplyRequest, Answer<ApplyReport>),
    Delete(DeleteRequest, Answer<ApplyReport>),
    /// Begin to watch packets; the flag says when to end.
    Watch(Arc<Session>, Answer<Arc<AtomicBool>>),
    /// Nobody watches this any more.
    Unwatch(u64),
    Account(AccountChange, Answer<Option<u64>>),
}

/// Whoever asked may have gone away.
pub(super) type Answer<T> = oneshot::Sender<Result<T, ApiError>>;

/// The running gateway for the API.
pub(super) struct View {
    pub(super) state: Arc<Mutex<State>>,
    pub(super) calls: mpsc::Sender<Call>,
    pub(super) version: String,
}

impl View {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks the control thread.
    async fn call<T>(&self, call: impl FnOnce(Answer<T>) -> Call) -> Result<T, ApiError> {
        let stopping = || ApiError::new(ErrorCode::ReloadFailed, "the gateway is stopping");
        let (answer, answered) = oneshot::channel();
        self.calls.send(call(answer)).await.map_err(|_| stopping())?;
        answered.await.map_err(|_| stopping())?
    }
}

impl Gateway for View {
    fn status(&self) -> Status {
        let state = self.state();
        let config = state.compiler.config();
        let workers = &state.dataplane.workers;
        let ports = workers.iter().flat_map(|worker| worker.stats.ports.iter());
        let (rx, tx) = ports.fold((0, 0), |(rx, tx), p| (rx + p.rx_packets.get(), tx + p.tx_packets.get()));
        let generation = state.dataplane.publisher.generation();
        let current = state.dataplane.publisher.applied().filter(|applied| *applied == generation).count();
        let up = state.compiler.tunnels().filter(|tunnel| judge(&state, tunnel).0 == TunnelState::Up).count();
        let tunnels: usize = config.tenants.values().map(|tenant| tenant.tunnels.len()).sum();
        let routes: usize = config.tenants.values().map(|tenant| tenant.routes.len()).sum();
        Status {
            node: config.node.name.to_string(),
            version: self.version.clone(),
            dpdk: state.dataplane.dpdk_version.clone(),
            pid: std::process::id(),
            uptime_s: state.started.elapsed().as_secs(),
            config_source: state.source.name.clone(),
            netns: config.node.netns.to_string(),
            generation,
            workers: up_count(current, workers.len()),
            ports: up_count(state.links.iter().flatten().filter(|link| link.up).count(), state.links.len()),
            tunnels: up_count(up, tunnels),
            tenants: config.tenants.len() as u64,
            routes: (state.compiler.kernel_state().routes.len() + routes) as u64,
            neighbors: state.compiler.kernel_state().neighbours.len() as u64,
            rx_packets: rx,
            tx_packets: tx,
            dropped: workers.iter().map(|worker| worker.stats.drops_total()).sum(),
            twin_punted: state.pump.punted,
            twin_injected: state.pump.injected,
            twin_lost: state.pump.lost(),
            static_sas: state.static_sas.len() as u64,
            stopped_sas: state.associations.stopped() as u64,
            no_lease: state.no_lease.clone(),
            no_renewal: state.no_renewal.clone(),
            ike: state.ike.as_ref().map(IkeView::status).filter(|ike| ike.tunnels.total > 0),
            last_reload: state.last_reload.as_ref().map(|last| LastReload {
                age_s: last.at.elapsed().as_secs(),
                changes: last.changes,
                error: last.error.clone(),
            }),
            attention: Vec::new(),
        }
    }

    fn ports(&self) -> Vec<PortRow> {
        let state = self.state();
        let config = state.compiler.config();
        let ports = state.dataplane.ports.iter().zip(config.ports.values()).zip(&state.links);
        ports
            .map(|((port, settings), link)| {
                let counters = port.port.stats().unwrap_or_default();
                PortRow {
                    name: port.name.to_string(),
                    device: settings.device.as_str().to_owned(),
                    driver: port.info.driver.clone(),
                    mac: Mac(port.mac).to_string(),
                    numa: port.info.socket,
                    mtu: settings.mtu,
                    tenant: settings.tenant.as_ref().map(ToString::to_string),
                    twin: port.name.to_string(),
                    addresses: settings.addresses.iter().map(ToString::to_string).collect(),
                    link: Link {
                        up: link.is_some_and(|link| link.up),
                        speed_mbps: link.and_then(|link| link.speed_mbps),
                    },
                    rx_queues: port.rx_queues,
                    tx_queues: port.tx_queues,
                    counters: PortCounters {
                        rx_packets: counters.rx_packets,
                        rx_bytes: counters.rx_bytes,
                        rx_missed: counters.rx_missed,
                        rx_errors: counters.rx_errors,
                        rx_no_buffer: counters.rx_no_buffer,
                        tx_packets: counters.tx_packets,
                        tx_bytes: counters.tx_bytes,
                        tx_errors: counters.tx_errors,
                    },
                }
            })
            .collect()
    }

    fn cores(&self) -> Vec<CoreRow> {
        cores::cores(&self.state())
    }

    fn tunnels(&self, filter: &TunnelFilter) -> Page<TunnelRow> {
        let state = self.state();
        let matching = state
            .compiler
            .tunnels()
            .filter(|tunnel| filter.selects(tunnel.tenant.as_str(), tunnel.name.as_str()))
            .filter(|tunnel| filter.selects_state(judge(&state, tunnel).0));
        let mut sorted: Vec<_> = matching.collect();
        sorted.sort_by(|a, b| (a.tenant, a.name).cmp(&(b.tenant, b.name)));
        Page::take(sorted.into_iter(), filter.limit, |tunnel| tunnel_row(&state, &tunnel))
    }

    fn sas(&self, filter: &SaFilter) -> Page<SaRow> {
        sas::sas(&self.state(), filter)
    }

    fn ready(&self) -> Readiness {
        self.state().readiness()
    }

    fn fleet(&self) -> Fleet {
        let state = self.state();
        state.ask_fleet();
        state.show_fleet()
    }

    fn fleet_as_known(&self) -> Fleet {
        self.state().show_fleet()
    }

    fn tenants(&self) -> Vec<TenantObject> {
        self.state().tenants_of_store()
    }

    fn apply(&self, request: ApplyRequest) -> BoxFuture<'_, Result<ApplyReport, ApiError>> {
        Box::pin(self.call(|answer| Call::Apply(request, answer)))
    }

    fn delete(&self, request: DeleteRequest) -> BoxFuture<'_, Result<ApplyReport, ApiError>> {
        Box::pin(self.call(|answer| Call::Delete(request, answer)))
    }

    fn ike(&self, filter: &IkeFilter) -> Ike {
        let (view, plugin) = {
            let state = self.state();
            (state.ike.clone(), state.negotiated.plugin().map(ToOwned::to_owned))
        };
        // Without the lock: charon is asked.
        let mut ike = view.map(|ike| ike.show(filter)).unwrap_or_default();
        if let Some(charon) = ike.charon.as_mut().filter(|charon| charon.state == CharonState::Running) {
            charon.plugin = plugin;
        }
        ike
    }

    fn crypto(&self) -> Crypto {
        sas::crypto(&self.state())
    }

    fn routes(&self, filter: &RouteFilter) -> Page<RouteRow> {
        let state = self.state();
        let compiler = &state.compiler;
        let mut tables = Vec::new();
        if filter.selects_table(INTERNET) {
            tables.push((INTERNET.to_owned(), compiler.internet_routes()));
        }
        for name in compiler.config().tenants.keys().filter(|name| filter.selects_table(name.as_str())) {
            tables.push((name.to_string(), compiler.tenant_routes(name)));
        }
        let rows = tables.into_iter().flat_map(|(tenant, mut routes)| {
            routes.retain(|route| filter.selects_prefix(&route.prefix));
            routes.sort_by_key(|route| route.prefix);
            routes.into_iter().map(move |route| (tenant.clone(), route))
        });
        Page::take(rows, filter.limit, |(tenant, route)| route_row(tenant, route))
    }

    fn neighbors(&self, filter: &NeighborFilter) -> Page<NeighborRow> {
        let state = self.state();
        let kernel = state.compiler.kernel_state();
        let name = |index| kernel.links.get(&index).map(|link| link.name.clone()).unwrap_or_default();
        let named = kernel.neighbours.values().map(|neighbour| (name(neighbour.interface), neighbour));
        let mut rows: Vec<_> = named.filter(|(interface, _)| filter.selects(interface)).collect();
        rows.sort_by(|a, b| (&a.0, a.1.ip).cmp(&(&b.0, b.1.ip)));
        Page::take(rows.into_iter(), filter.limit, |(interface, neighbour)| NeighborRow {
            interface,
            ip: neighbour.ip,
            mac: neighbour.mac.map(|mac| Mac(mac).to_string()),
            state: neighbor_state(neighbour.state),
            used_by: u64::from(state.compiler.neighbour_uses((neighbour.interface, neighbour.ip))),
        })
    }

    fn drops(&self) -> Vec<DropRow> {
        let state = self.state();
        let of = |reason: &DropReason| {
            let per_core: Vec<_> = state
                .dataplane
                .workers
                .iter()
                .map(|worker| CoreCount {
                    core: u32::from(worker.core),
                    packets: worker.stats.drops(*reason),
                })
                .filter(|count| count.packets > 0)
                .collect();
            DropRow {
                reason: reason.name().to_owned(),
                packets: per_core.iter().map(|count| count.packets).sum(),
                per_core,
                help: reason.help().to_owned(),
            }
        };
        DropReason::ALL.iter().map(of).collect()
    }

    fn config(&self) -> RunningConfig {
        let state = self.state();
        RunningConfig {
            source: state.source.name.clone(),
            age_s: state.source.since.elapsed().as_secs(),
            yaml: state.source.yaml.clone(),
        }
    }

    fn capture(&self, request: CaptureRequest) -> BoxFuture<'_, Result<Watching, ApiError>> {
        Box::pin(self.begin_capture(request))
    }

    fn trace(&self, request: TraceRequest) -> BoxFuture<'_, Result<Watching, ApiError>> {
        Box::pin(self.begin_trace(request))
    }

    fn why(&self, request: &WhyRequest) -> Result<WhyAnswer, ApiError> {
        why::why(&self.state, request)
    }

    fn stop_watching(&self, request: StopRequest) -> bool {
        self.state().watches.stop(request.id)
    }

    fn account(&self, tenant: &str) -> Result<Account, ApiError> {
        self.state().account(tenant)
    }

    fn write_account(&self, change: AccountChange) -> BoxFuture<'_, Result<(), ApiError>> {
        Box::pin(async move {
            let revision = self.call(|answer| Call::Account(change, answer)).await?;
            let Some(revision) = revision else { return Ok(()) };
            let began = Instant::now();
            while !self.state().has_objects_of(revision) {
                if began.elapsed() > TAKE_LIMIT {
                    tracing::warn!(revision, "what was written is not on this node's workers yet");
                    break;
                }
                tokio::time::sleep(TAKE_STEP).await;
            }
            Ok(())
        })
    }

    fn reload(&self, request: ReloadRequest) -> BoxFuture<'_, Result<ReloadReport, ApiError>> {
        Box::pin(self.call(|answer| Call::Reload(request, answer)))
    }
}

const INTERNET: &str = "internet";

fn up_count(up: usize, total: usize) -> UpCount {
    UpCount { up: up as u64, total: total as u64 }
}
