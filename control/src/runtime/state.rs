//! What the control thread changes and the API reads: one lock, held for moments, never by a worker.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::time::Instant;

use penstock_dataplane::esp::sa::Spi;
use penstock_dataplane::ids::TunnelId;
use penstock_dataplane::pipeline::Event;
use penstock_dataplane::stats::{Counter, TunnelCounters};

use super::associations::Associations;
use super::fleet::FleetState;
use super::health::HealthProbes;
use super::keepalive::Keepalives;
use super::negotiated::{Gear, Negotiated};
use super::watching::Watches;
use super::workers::DataPlane;
use crate::compile::{Compiler, Peer};
use crate::config::ValidConfig;
use crate::ike::IkeView;
use crate::kernel::pump::PumpStats;
use crate::kernel::resolve::NeighbourKey;
use crate::static_sas::StaticSas;

/// Totals of a tunnel over all workers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct TunnelTotals {
    pub(super) encap_packets: u64,
    pub(super) encap_bytes: u64,
    pub(super) decap_packets: u64,
    pub(super) decap_bytes: u64,
    pub(super) clamped: u64,
    pub(super) dropped: u64,
    pub(super) keepalives_answered: u64,
    pub(super) keepalives_received: u64,
}

/// Where a tunnel's counters stood when it got its number, which another tunnel may have had before.
#[derive(Clone, Copy, Debug, Default)]
struct Baseline {
    incarnation: u64,
    totals: TunnelTotals,
}

/// How the last reload went.
pub(super) struct LastReload {
    pub(super) at: Instant,
    pub(super) changes: u64,
    pub(super) error: Option<String>,
}

/// The configuration as it was given.
pub(super) struct Source {
    pub(super) name: String,
    pub(super) yaml: String,
    pub(super) since: Instant,
}

/// Where it all comes from; read again at a reload.
pub(super) struct Files {
    pub(super) config: PathBuf,
    pub(super) static_sas: Option<PathBuf>,
}

/// All of it.
pub(super) struct State {
    pub(super) compiler: Compiler,
    pub(super) dataplane: DataPlane,
    pub(super) keepalives: Keepalives,
    pub(super) health: HealthProbes,
    /// Whether each port's link is up.
    pub(super) links: Vec<Option<dpdk::Link>>,
    /// What the pump has moved, as of the last look.
    pub(super) pump: PumpStats,
    pub(super) files: Files,
    /// Security associations of the file, as they run.
    pub(super) static_sas: StaticSas,
    /// All associations on the workers.
    pub(super) associations: Associations,
    /// Tunnels that negotiate, and their associations.
    pub(super) negotiated: Negotiated,
    /// The fleet that this node is of.
    pub(super) fleet: Option<FleetState>,
    /// Who has to do with charon.
    pub(super) ike: Option<IkeView>,
    /// Neighbours to keep resolved, since the kernel's side was told last; `None`: the same.
    pub(super) wanted: Option<HashSet<NeighbourKey>>,
    /// Why workers may not encrypt.
    pub(super) no_lease: Option<String>,
    /// Why workers keep the leases that they have.
    pub(super) no_renewal: Option<String>,
    pub(super) source: Source,
    pub(super) last_reload: Option<LastReload>,
    /// Captures and traces.
    pub(super) watches: Watches,
    pub(super) started: Instant,
    /// When it stops, once it was told to.
    pub(super) stops_at: Option<Instant>,
    pub(super) started_cycles: u64,
    baselines: HashMap<TunnelId, Baseline>,
}

impl State {
    /// The state of a gateway that has just started.
    pub(super) fn new(
        config: ValidConfig,
        yaml: String,
        files: Files,
        static_sas: StaticSas,
        dataplane: DataPlane,
        keepalives: Keepalives,
        health: HealthProbes,
    ) -> Self {
        let macs = dataplane.ports.iter().map(|port| port.mac).collect();
        let links = dataplane.ports.iter().map(|_| None).collect();
        let source = Source { name: files.config.display().to_string(), yaml, since: Instant::now() };
        let associations = Associations::new(dataplane.backends.clone());
        let negotiated = Negotiated::new(config.node.number);
        let mut state = Self {
            compiler: Compiler::new(config, macs),
            dataplane,
            keepalives,
            health,
            links,
            pump: PumpStats::default(),
            files,
            static_sas,
            associations,
            negotiated,
            fleet: None,
            ike: None,
            wanted: None,
            no_lease: None,
            no_renewal: None,
            source,
            last_reload: None,
            watches: Watches::default(),
            started: Instant::now(),
            stops_at: None,
            started_cycles: dpdk::cycles::rdtsc(),
            baselines: HashMap::new(),
        };
        state.note_tunnels();
        state.probe_tunnels();
        state
    }

    /// Makes the tables and publishes them if they changed. Neighbours to keep resolved wait for whoever tells the kernel.
    pub(super) fn publish(&mut self) {
        let compiled = self.compiler.compile();
        for error in &compiled.errors {
            tracing::error!(%error, "part of the tables could not be made; the old part stays");
        }
        if compiled.changed {
            let tables = self.compiler.tables();
            self.dataplane.interfaces.set(std::sync::Arc::clone(&tables.interfaces));
            let generation = self.dataplane.publisher.publish(tables);
            self.compiler.published(generation);
        }
        self.settle();
        if let Some(wanted) = self.compiler.take_wanted() {
            self.wanted = Some(wanted);
        }
    }

    /// What is worked on for tunnels that negotiate.
    pub(super) fn negotiating(&mut self) -> (&mut Negotiated, Gear<'_>) {
        let backends = &self.dataplane.backends;
        let gear = Gear { feed: &mut self.dataplane.feed, backends, compiler: &mut self.compiler };
        (&mut self.negotiated, gear)
    }

    /// Frees what the workers have retired, and the numbers that none of them knows any more.
    pub(super) fn settle(&mut self) {
        self.dataplane.publisher.reap();
        if let Some(oldest) = self.dataplane.publisher.applied().min() {
            self.compiler.settled(oldest);
        }
    }

    /// Takes what the workers have learned. True when the tables must be made again.
    pub(super) fn take_events(&mut self) -> bool {
        let now = Instant::now();
        let mut changed = false;
        while let Some(event) = self.dataplane.events.pop() {
            match event {
                Event::PathMtu { tunnel, mtu } => {
                    if self.compiler.learn_path_mtu(tunnel, mtu, now) {
                        tracing::info!(%tunnel, outer_mtu = mtu, "the path to a tunnel's remote takes smaller packets");
                        self.tell_path_mtu(tunnel, mtu);
                        changed = true;
                    }
                    self.hint_path_mtu(tunnel, mtu, now);
                }
                Event::PeerMoved { tunnel, spi, address, port } => {
                    let (negotiated, mut gear) = self.negotiating();
                    if negotiated.peer_moved(tunnel, spi, Peer { address, port }, &mut gear) {
                        let (name, spi) = (self.tunnel_name(tunnel), Spi(spi));
                        tracing::info!(tunnel = name, %spi, %address, port, "a tunnel's remote has moved");
                        changed = true;
                    }
                }
                Event::SequenceSoftLimit { tunnel, spi } => {
                    let (negotiated, mut gear) = self.negotiating();
                    if negotiated.numbers_run_out(tunnel, spi, &mut gear) {
                        continue;
                    }
                    let (name, spi) = (self.tunnel_name(tunnel), Spi(spi));
                    tracing::warn!(
                        tunnel = name, %spi,
                        "the sequence numbers of an association run out: give the tunnel a new one, or it stops"
                    );
                }
            }
        }
        self.compiler.age_path_mtus(now) || changed
    }

    /// Under anycast it is one node that hears of it.
    fn tell_path_mtu(&mut self, id: TunnelId, mtu: u32) {
        let named = self.compiler.tunnels().find(|tunnel| tunnel.id == id);
        if let (Some(tunnel), Some(fleet)) = (named, &mut self.fleet) {
            fleet.tell_path_mtu(tunnel.tenant, tunnel.name, mtu);
        }
    }

    fn tunnel_name(&self, id: TunnelId) -> String {
        let tunnel = self.compiler.tunnels().find(|tunnel| tunnel.id == id);
        tunnel.map_or_else(|| id.to_string(), |tunnel| format!("{}/{}", tunnel.tenant, tunnel.name))
    }

    /// Takes the counters' start values of tunnels that are new.
    pub(super) fn note_tunnels(&mut self) {
        let mut baselines = HashMap::new();
        for tunnel in self.compiler.tunnels() {
            let known = self.baselines.get(&tunnel.id).filter(|b| b.incarnation == tunnel.incarnation);
            let baseline = known.copied().unwrap_or_else(|| Baseline {
                incarnation: tunnel.incarnation,
                totals: self.raw_totals(tunnel.id),
            });
            baselines.insert(tunnel.id, baseline);
        }
        self.baselines = baselines;
    }

    /// The counters of a tunnel since it was configured.
    pub(super) fn totals(&self, id: TunnelId) -> TunnelTotals {
        let now = self.raw_totals(id);
        let base = self.baselines.get(&id).map(|baseline| baseline.totals).unwrap_or_default();
        TunnelTotals {
            encap_packets: now.encap_packets - base.encap_packets,
            encap_bytes: now.encap_bytes - base.encap_bytes,
            decap_packets: now.decap_packets - base.decap_packets,
            decap_bytes: now.decap_bytes - base.decap_bytes,
            clamped: now.clamped - base.clamped,
            dropped: now.dropped - base.dropped,
            keepalives_answered: now.keepalives_answered - base.keepalives_answered,
            keepalives_received: now.keepalives_received - base.keepalives_received,
        }
    }

    fn raw_totals(&self, id: TunnelId) -> TunnelTotals {
        let sum = |counter: fn(&TunnelCounters) -> &Counter| {
            let workers = self.dataplane.workers.iter();
            workers.filter_map(|worker| worker.stats.tunnel(id)).map(|c| counter(c).get()).sum()
        };
        TunnelTotals {
            encap_packets: sum(|c| &c.encap_packets),
            encap_bytes: sum(|c| &c.encap_bytes),
            decap_packets: sum(|c| &c.decap_packets),
            decap_bytes: sum(|c| &c.decap_bytes),
            clamped: sum(|c| &c.clamped),
            dropped: sum(|c| &c.dropped),
            keepalives_answered: sum(|c| &c.keepalives_answered),
            keepalives_received: sum(|c| &c.keepalives_received),
        }
    }
}
