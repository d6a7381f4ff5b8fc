//! Health probes joined with what runs: orders to the workers, their answers, and what a tunnel's state costs its routes.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use penstock_dataplane::ids::TunnelId;
use penstock_dataplane::probe::ProbeAnswer;
use penstock_dataplane::tables::fleet::{Token, Tokens};
use penstock_dataplane::wire::probe::{MAX_LEN, Probe, Style};
use penstock_fleet::peer::{HealthNews, TunnelTag};

use super::error::RuntimeError;
use super::keepalive::Verdict;
use super::state::State;
use super::workers::RunningWorker;
use crate::config::{HealthType, Name};
use crate::health::{
    self, Answer, Change, ChangesLog, FleetHealth, Order, PathChange, PathEvent, PathProber, PathWanted,
    Prober, Sent, Settings, State as Health, Wanted, rules,
};

/// A tunnel that is probed.
struct Probed {
    tenant: Name,
    name: Name,
    tag: TunnelTag,
}

/// All that is probed.
pub(super) struct HealthProbes {
    pub(super) prober: Prober,
    /// Searches for path MTUs.
    pub(super) paths: PathProber,
    /// What the other nodes find.
    pub(super) fleet: FleetHealth,
    /// What shows that an answer is genuine.
    keys: Tokens,
    node: u16,
    tunnels: HashMap<TunnelId, Probed>,
    log: ChangesLog,
}

impl HealthProbes {
    /// Nothing is probed yet.
    ///
    /// # Errors
    /// When the system has no random numbers.
    pub(super) fn new(node: u16) -> Result<Self, RuntimeError> {
        let mut key = [0; 16];
        let no_random = |error: getrandom::Error| RuntimeError::System {
            action: "make a key for health probes",
            source: std::io::Error::other(error),
        };
        getrandom::fill(&mut key).map_err(no_random)?;
        let first_serial = || getrandom::u64().map_err(no_random);
        Ok(Self {
            prober: Prober::new(first_serial()?),
            paths: PathProber::new(first_serial()?),
            fleet: FleetHealth::default(),
            keys: Tokens { current: Token::new(key), other: None },
            node,
            tunnels: HashMap::new(),
            log: ChangesLog::default(),
        })
    }

    /// What a tunnel that is probed is called on every node.
    pub(super) fn tag(&self, tunnel: TunnelId) -> Option<TunnelTag> {
        self.tunnels.get(&tunnel).map(|probed| probed.tag)
    }

    /// A worker of this node, or of another one, saw the answer to a probe of ours.
    pub(super) fn answer(&mut self, now: Instant, answer: &Answer) {
        if !self.paths.answer(now, answer) {
            self.prober.answer(now, answer);
        }
    }

    /// What to tell the other nodes, if it is time.
    pub(super) fn report(&mut self, now: Instant) -> Option<HealthNews> {
        let Self { prober, fleet, tunnels, .. } = self;
        let states = prober.states().filter_map(|(tunnel, state)| Some((tunnels.get(&tunnel)?.tag, state)));
        fleet.report(now, states)
    }
}

impl State {
    /// Takes from the configuration which tunnels are probed, and what the health of each costs. Those that are probed as
    /// before keep their state. The caller publishes.
    pub(super) fn probe_tunnels(&mut self) {
        let (mut wanted, mut paths, mut tunnels) = (Vec::new(), Vec::new(), HashMap::new());
        for tunnel in self.compiler.tunnels() {
            let Some(health) = &tunnel.config.health else { continue };
            // Validation has made sure that there are ends.
            let Ok(ends) = health::ends(tunnel.config, health, tunnel.local) else { continue };
            let style = match health.kind {
                HealthType::Request => Style::Request,
                HealthType::Reply => Style::Reply,
            };
            let settings =
                Settings { interval: rules::interval(health.rate), style, direction: health.direction, ends };
            let (id, incarnation) = (tunnel.id, tunnel.incarnation);
            wanted.push(Wanted { tunnel: id, incarnation, settings });
            if health.path_mtu {
                let raise = health.path_mtu_raise.into();
                paths.push(PathWanted { tunnel: id, incarnation, settings, raise });
            }
            let (tenant, name) = (tunnel.tenant.clone(), tunnel.name.clone());
            let tag = TunnelTag::of(&tenant, &name);
            tunnels.insert(tunnel.id, Probed { tenant, name, tag });
        }
        let now = Instant::now();
        self.health.prober.set(now, wanted);
        self.health.paths.set(now, paths);
        let paths = &self.health.paths;
        self.compiler.keep_probed_mtus(|tunnel| paths.is_probed(tunnel));
        self.health.tunnels = tunnels;
        self.give_probe_keys();
        let tenants = self.compiler.config().tenants.iter();
        let all: Vec<(Name, Name)> = tenants
            .flat_map(|(tenant, config)| config.tunnels.keys().map(|name| (tenant.clone(), name.clone())))
            .collect();
        for (tenant, tunnel) in all {
            let penalty = self.tunnel_health(&tenant, &tunnel).map_or(0, Health::penalty);
            self.compiler.set_penalty(&tenant, &tunnel, penalty);
        }
    }

    /// All nodes of a fleet make probes with the same keys, so that each knows the answers to another one's. True when the
    /// tables must be made again.
    pub(super) fn set_probe_keys(&mut self, keys: Tokens) -> bool {
        self.health.keys = keys;
        self.give_probe_keys()
    }

    fn give_probe_keys(&mut self) -> bool {
        let keys = (!self.health.prober.is_idle()).then(|| self.health.keys.clone());
        self.compiler.set_probe_keys(keys)
    }

    /// The state that a tunnel's routes follow: what its probes say, else its keepalives; `None`: it has neither.
    pub(super) fn tunnel_health(&self, tenant: &Name, tunnel: &Name) -> Option<Health> {
        let config = self.compiler.config().tenants.get(tenant)?.tunnels.get(tunnel)?;
        if config.health.is_some() {
            return self.health.prober.state(self.compiler.tunnel_id(tenant, tunnel)?);
        }
        config.gre()?.keepalive?;
        Some(match self.keepalives.watch(tenant, tunnel)?.verdict {
            Verdict::Waiting => Health::Unknown,
            Verdict::Up => Health::Healthy,
            Verdict::Down => Health::Down,
        })
    }

    /// Takes answers, sends what is due, and lets routes follow. True when the tables must be made again.
    pub(super) fn turn_health(&mut self) -> bool {
        if self.health.prober.is_idle() {
            return false;
        }
        let (now, cycles) = (Instant::now(), dpdk::cycles::rdtsc());
        let cycles_per_second = dpdk::cycles::tsc_hz().max(1);
        for seen in self.waiting_answers() {
            if seen.probe.node != self.health.node {
                self.hand_answer_on(&seen);
                continue;
            }
            let age_ns =
                u128::from(cycles.saturating_sub(seen.at)) * 1_000_000_000 / u128::from(cycles_per_second);
            let age = Duration::from_nanos(u64::try_from(age_ns).unwrap_or(u64::MAX));
            let answer = Answer {
                tunnel: TunnelId(seen.probe.tunnel),
                serial: seen.probe.serial,
                via: seen.via,
                at: now.checked_sub(age).unwrap_or(now),
            };
            self.health.answer(now, &answer);
        }
        self.exchange_health(now);
        let HealthProbes { prober, keys, node, log, .. } = &mut self.health;
        if let Some(untold) = log.turn(now) {
            tracing::warn!(
                changes = untold,
                "the health of more tunnels has changed: see penstock show tunnels"
            );
        }
        let (workers, key) = (&mut self.dataplane.workers, &keys.current);
        let changes = prober.turn(now, |order| send(workers, *node, key, order));
        let mut is_changed = false;
        for change in changes {
            is_changed |= self.follow(&change);
        }
        self.turn_path_mtus(now) || is_changed
    }

    /// Probes path MTUs, and lets tunnels' sizes follow. True when the tables must be made again.
    fn turn_path_mtus(&mut self, now: Instant) -> bool {
        let HealthProbes { prober, paths, keys, node, .. } = &mut self.health;
        let is_up = |tunnel| matches!(prober.state(tunnel), Some(Health::Healthy | Health::Degraded));
        let (compiler, workers, key) = (&self.compiler, &mut self.dataplane.workers, &keys.current);
        let changes = paths.turn(
            now,
            is_up,
            |tunnel| compiler.path_sizes(tunnel),
            |order| send(workers, *node, key, order),
        );
        let mut is_changed = false;
        for change in changes {
            is_changed |= self.follow_path(now, &change);
        }
        is_changed
    }

    /// As many as there are now: workers may bring more meanwhile.
    fn waiting_answers(&mut self) -> Vec<ProbeAnswer> {
        let of_worker = |worker: &mut RunningWorker| {
            let waiting = worker.probes.waiting();
            std::iter::from_fn(|| worker.probes.answer()).take(waiting).collect::<Vec<_>>()
        };
        self.dataplane.workers.iter_mut().flat_map(of_worker).collect()
    }

    fn follow_path(&mut self, now: Instant, change: &PathChange) -> bool {
        let PathChange { tunnel: id, found, is_whole, event } = *change;
        let Some(found) = found else { return false };
        if let Some(Probed { tenant, name: tunnel, .. }) = self.health.tunnels.get(&id)
            && event != PathEvent::Nothing
            && self.health.log.admits()
        {
            match event {
                PathEvent::BlackHole => tracing::warn!(
                    %tenant, %tunnel, inner_mtu = found,
                    "packets that passed before are lost for their size: looking for the path MTU"
                ),
                _ => tracing::info!(%tenant, %tunnel, inner_mtu = found, "the path MTU was probed"),
            }
        }
        // What was found before does not pass any more, and what does is not known yet.
        event != PathEvent::BlackHole
            && self.compiler.set_probed_mtu(id, Some(found).filter(|_| !is_whole), now)
    }

    /// A router says what the path of a tunnel takes: that is tried at once.
    pub(super) fn hint_path_mtu(&mut self, tunnel: TunnelId, mtu: u32, now: Instant) {
        if let Some(inner) = self.compiler.inner_mtu(tunnel, mtu) {
            self.health.paths.hint(now, tunnel, inner);
        }
    }

    fn follow(&mut self, change: &Change) -> bool {
        let Some(Probed { tenant, name: tunnel, .. }) = self.health.tunnels.get(&change.tunnel) else {
            return false;
        };
        self.health.fleet.note_change();
        let (from, to, reason) = (change.from, change.to, change.reason);
        if self.health.log.admits() {
            match to {
                Health::Down | Health::Degraded => {
                    tracing::warn!(%tenant, %tunnel, %from, "the tunnel is {to}: {reason}");
                }
                Health::Healthy | Health::Unknown => {
                    tracing::info!(%tenant, %tunnel, %from, "the tunnel is {to}: {reason}");
                }
            }
        }
        self.compiler.set_penalty(tenant, tunnel, to.penalty())
    }

    /// Lets the routes of tunnels without probes follow their keepalives. True when the tables must be made again.
    pub(super) fn follow_keepalives(&mut self) -> bool {
        let watched: Vec<(Name, Name)> = self.keepalives.tunnels().cloned().collect();
        let mut is_changed = false;
        for (tenant, tunnel) in watched {
            let penalty = self.tunnel_health(&tenant, &tunnel).map_or(0, Health::penalty);
            is_changed |= self.compiler.set_penalty(&tenant, &tunnel, penalty);
        }
        is_changed
    }
}

fn send(workers: &mut [RunningWorker], node: u16, key: &Token, order: &Order) -> Sent {
    let probe = Probe { node, tunnel: order.tunnel.0, serial: order.serial };
    let (style, ends) = (order.settings.style, order.settings.ends);
    let turn = (order.turn % workers.len().max(1) as u64) as usize;
    let mut send = |packet: &[u8]| {
        let sent = workers
            .get_mut(turn)
            .map(|worker| worker.probes.send(order.tunnel, order.incarnation as u32, packet));
        if matches!(sent, Some(Ok(()))) { Sent::Yes } else { Sent::Full }
    };
    // Both ends are of one family, and no size is less than a probe's: validation has seen to that.
    match order.size {
        None => {
            let mut bytes = [0; MAX_LEN];
            let len = probe.write(&mut bytes, style, ends.ours, ends.target, key);
            len.and_then(|len| bytes.get(..len)).map_or(Sent::Yes, send)
        }
        Some(size) => {
            let mut bytes = vec![0; usize::from(size)];
            let filled = probe.fill(&mut bytes, style, ends.ours, ends.target, key);
            filled.map_or(Sent::Yes, |()| send(&bytes))
        }
    }
}
