//! The API's rows, read from the state.

mod cores;
mod sas;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use futures_util::future::BoxFuture;
use penstock_dataplane::drop_reason::DropReason;
use penstock_dataplane::ids::TunnelId;
use tokio::sync::{mpsc, oneshot};

use super::keepalive::Verdict;
use super::state::State;
use crate::api::{
    ApiError, ApplyReport, ApplyRequest, CharonState, CoreCount, CoreRow, Crypto, DeleteRequest, DropRow,
    ErrorCode, Fleet, FleetHealth, Gateway, Health, HealthState, HopKind, HopRow, Ike, IkeFilter, Keepalive,
    KeepaliveState, LastReload, Link, NeighborFilter, NeighborRow, NeighborState, Page, PathMtu,
    PathMtuSource, PathProbes, PortCounters, PortRow, Readiness, ReloadReport, ReloadRequest, RouteFilter,
    RouteRow, RouteSource, RunningConfig, SaFilter, SaRow, Status, TenantObject, Traffic, TunnelFilter,
    TunnelRow, TunnelState, UpCount,
};
use crate::compile::{self, PATH_MTU_AGE, RouteView, TunnelView, WayKind, WayView};
use crate::config::{Mac, Remote};
use crate::health;
use crate::ike::IkeView;
use crate::kernel::state::NeighbourState;

/// What somebody asks of the control thread, one thing at a time.
pub(super) enum Call {
    Reload(ReloadRequest, Answer<ReloadReport>),
    Apply(ApplyRequest, Answer<ApplyReport>),
    Delete(DeleteRequest, Answer<ApplyReport>),
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

    fn reload(&self, request: ReloadRequest) -> BoxFuture<'_, Result<ReloadReport, ApiError>> {
        Box::pin(self.call(|answer| Call::Reload(request, answer)))
    }
}

const INTERNET: &str = "internet";

fn up_count(up: usize, total: usize) -> UpCount {
    UpCount { up: up as u64, total: total as u64 }
}

/// A tunnel's state, and in words why it is not up.
fn judge(state: &State, tunnel: &TunnelView<'_>) -> (TunnelState, Option<String>) {
    let by_tables = judge_by_tables(state, tunnel);
    // What is seen to be missing says more than probes that are lost for it.
    if by_tables.0 != TunnelState::Down
        && let Some(status) = state.health.prober.status(Instant::now(), tunnel.id)
        && status.state == health::State::Down
    {
        return (TunnelState::Down, Some(status.reason.to_string()));
    }
    by_tables
}

fn judge_by_tables(state: &State, tunnel: &TunnelView<'_>) -> (TunnelState, Option<String>) {
    let watch = state.keepalives.watch(tunnel.tenant, tunnel.name);
    let usable = |kind| tunnel.underlay.iter().any(|way| way.kind == kind);
    if watch.is_some_and(|watch| watch.verdict == Verdict::Down) {
        (TunnelState::Down, Some("keepalives do not come back".to_owned()))
    } else if let Some(reason) = no_association(state, tunnel) {
        (TunnelState::Down, Some(reason.to_owned()))
    } else if usable(WayKind::Adjacency) {
        (TunnelState::Up, None)
    } else if usable(WayKind::Unresolved) || usable(WayKind::Link) {
        (TunnelState::Unresolved, Some("the next hop has not answered ARP or ND yet".to_owned()))
    } else {
        (
            TunnelState::Down,
            Some(match tunnel.remote {
                Some(remote) => format!("no route to {remote}"),
                None => "nobody has negotiated yet".to_owned(),
            }),
        )
    }
}

/// Why an IPsec tunnel has nothing to send under.
fn no_association(state: &State, tunnel: &TunnelView<'_>) -> Option<&'static str> {
    if !tunnel.config.is_ipsec() {
        return None;
    }
    let name = (tunnel.tenant.clone(), tunnel.name.clone());
    let cannot_encrypt = || {
        let no_lease = state.dataplane.workers.iter().any(|worker| worker.stats.sender_id.get() == 0);
        no_lease.then_some("workers may not encrypt, see show crypto")
    };
    if tunnel.config.ike().is_some() {
        return state.negotiated.why_down(&name).or_else(cannot_encrypt);
    }
    let there = state.associations.tunnel(&name);
    if state.associations.is_stopped(&name) {
        Some("its outbound key is too old, see show status")
    } else if there.is_none() {
        Some("no security association")
    } else if there.is_some_and(|there| there.outbound.is_none()) {
        Some("no outbound security association")
    } else {
        cannot_encrypt()
    }
}

fn tunnel_row(state: &State, tunnel: &TunnelView<'_>) -> TunnelRow {
    let (tunnel_state, reason) = judge(state, tunnel);
    let totals = state.totals(tunnel.id);
    let underlay: Vec<_> = tunnel.underlay.iter().map(|way| way.via.clone()).collect();
    let watch = state.keepalives.watch(tunnel.tenant, tunnel.name);
    TunnelRow {
        tenant: tunnel.tenant.to_string(),
        name: tunnel.name.to_string(),
        kind: tunnel.config.kind.name().to_owned(),
        endpoint: tunnel.config.endpoint.to_string(),
        local: tunnel.local,
        remote: tunnel.config.remote.address(),
        key: tunnel.config.gre().and_then(|gre| gre.key),
        ciphers: tunnel.esp.suites.iter().map(ToString::to_string).collect(),
        udp_ports: tunnel.esp.udp.map(|udp| (udp.local, tunnel.peer.map_or(udp.remote, |peer| peer.port))),
        moved_to: tunnel.remote.filter(|remote| Remote::At(*remote) != tunnel.config.remote),
        state: tunnel_state,
        reason,
        underlay: (!underlay.is_empty()).then(|| underlay.join(", ")),
        mtu: tunnel.mtu,
        path_mtu: tunnel.path_mtu.map(path_mtu),
        mss_v4: tunnel.mss.0,
        mss_v6: tunnel.mss.1,
        encap: Traffic { packets: totals.encap_packets, bytes: totals.encap_bytes },
        decap: Traffic { packets: totals.decap_packets, bytes: totals.decap_bytes },
        drops: totals.dropped,
        clamped_syns: totals.clamped,
        keepalives_answered: totals.keepalives_answered,
        keepalive: watch.map(|watch| Keepalive {
            state: match watch.verdict {
                Verdict::Waiting => KeepaliveState::Waiting,
                Verdict::Up => KeepaliveState::Up,
                Verdict::Down => KeepaliveState::Down,
            },
            sent: watch.sent,
            received: totals.keepalives_received,
            last_received_s: watch.last_answer.map(|at| at.elapsed().as_secs()),
        }),
        health: health_of(state, tunnel.id),
    }
}

fn health_of(state: &State, tunnel: TunnelId) -> Option<Health> {
    let now = Instant::now();
    let status = state.health.prober.status(now, tunnel)?;
    let fleet = state.fleet.as_ref().and_then(|_| {
        let view = state.health.fleet.view(now, state.health.tag(tunnel)?, status.state);
        Some(FleetHealth {
            state: health_state(view.state),
            nodes: view.nodes as u64,
            degraded: view.degraded as u64,
            down: view.down as u64,
        })
    });
    Some(Health {
        state: health_state(status.state),
        since_s: status.since.elapsed().as_secs(),
        reason: status.reason.to_string(),
        penalty: status.state.penalty(),
        target: status.ends.target,
        source: status.ends.ours,
        ended_5m: status.ended,
        lost_5m: status.lost,
        sent: status.sent,
        answered: status.answered,
        astray: status.astray,
        round_trip_us: status.round_trip.map(|trip| u64::try_from(trip.as_micros()).unwrap_or(u64::MAX)),
        path_mtu: state.health.paths.status(tunnel).map(|status| PathProbes {
            largest: status.found,
            searching: status.is_searching,
            sent: status.sent,
            lost: status.lost,
            black_holes: status.black_holes,
        }),
        fleet,
    })
}

fn health_state(state: health::State) -> HealthState {
    match state {
        health::State::Unknown => HealthState::Unknown,
        health::State::Healthy => HealthState::Healthy,
        health::State::Degraded => HealthState::Degraded,
        health::State::Down => HealthState::Down,
    }
}

fn path_mtu(known: compile::PathMtu) -> PathMtu {
    let (source, age, expires) = match known.source {
        compile::PathMtuSource::Icmp { expires } => {
            let left = expires.saturating_duration_since(Instant::now());
            (PathMtuSource::Icmp, PATH_MTU_AGE.saturating_sub(left), Some(left))
        }
        compile::PathMtuSource::Probed { since } => (PathMtuSource::Probed, since.elapsed(), None),
    };
    let expires_s = expires.map(|left| left.as_secs());
    PathMtu { outer: known.outer, source, age_s: age.as_secs(), expires_s }
}

fn route_row(tenant: String, route: RouteView) -> RouteRow {
    RouteRow {
        tenant,
        prefix: route.prefix,
        source: match route.source {
            compile::RouteSource::Config => RouteSource::Config,
            compile::RouteSource::Kernel => RouteSource::Kernel,
            compile::RouteSource::Neighbour => RouteSource::Neighbor,
            compile::RouteSource::Local => RouteSource::Local,
            compile::RouteSource::Endpoint => RouteSource::Endpoint,
        },
        hops: route.ways.into_iter().map(hop_row).collect(),
    }
}

fn hop_row(way: WayView) -> HopRow {
    HopRow {
        kind: match way.kind {
            WayKind::Tunnel => HopKind::Tunnel,
            WayKind::Adjacency => HopKind::Adjacency,
            WayKind::Unresolved => HopKind::Unresolved,
            WayKind::Endpoint => HopKind::Endpoint,
            WayKind::Local => HopKind::Local,
            WayKind::Table => HopKind::Table,
            WayKind::Link => HopKind::Link,
            WayKind::Blackhole => HopKind::Blackhole,
            WayKind::Unreachable => HopKind::Unreachable,
            WayKind::NoRoute => HopKind::None,
        },
        via: way.via,
        priority: way.priority,
        penalty: way.penalty,
        weight: u32::from(way.weight),
        active: way.active,
        reason: (!way.active).then(|| match way.penalty {
            0 => "another way has a lower priority number".to_owned(),
            penalty => format!("the tunnel is not healthy: {penalty} is added to its priority"),
        }),
    }
}

fn neighbor_state(state: NeighbourState) -> NeighborState {
    match state {
        NeighbourState::Incomplete => NeighborState::Incomplete,
        NeighbourState::Reachable => NeighborState::Reachable,
        NeighbourState::Stale => NeighborState::Stale,
        NeighbourState::Delay => NeighborState::Delay,
        NeighbourState::Probe => NeighborState::Probe,
        NeighbourState::Failed => NeighborState::Failed,
        NeighbourState::Permanent => NeighborState::Permanent,
    }
}
