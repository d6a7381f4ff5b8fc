//! `show fleet` and `ready`.

use std::collections::BTreeMap;
use std::time::{Duration, Instant, SystemTime};

use super::{FleetState, State};
use crate::api::{Durations, Fleet, FleetBarrier, FleetNode, FleetSas, FleetStore, Readiness};
use crate::config;
use crate::fleet::nodes::lateness::Lateness;
use crate::fleet::nodes::node_record::NodeRecord;

impl State {
    /// Why this node should not be sent traffic.
    pub(in crate::runtime) fn not_ready(&self) -> Vec<String> {
        let mut reasons = self.fleet.as_ref().map(FleetState::not_ready).unwrap_or_default();
        if let Some(at) = self.stops_at {
            let seconds = at.saturating_duration_since(Instant::now()).as_secs();
            reasons.push(format!("it was told to stop, and does so in {seconds} s"));
        }
        if let Some(why) = &self.no_lease {
            reasons.push(format!("workers may not encrypt: {why}"));
        }
        if !self.dataplane.publisher.is_settled() && self.dataplane.publisher.generation() == 0 {
            reasons.push("the workers have no tables yet".to_owned());
        }
        if self.links.iter().flatten().all(|link| !link.up) {
            reasons.push("no port has a link: see penstock show ports".to_owned());
        }
        reasons
    }

    pub(in crate::runtime) fn readiness(&self) -> Readiness {
        let reasons = self.not_ready();
        Readiness { ready: reasons.is_empty(), reasons }
    }

    pub(in crate::runtime) fn show_fleet(&self) -> Fleet {
        let Some(fleet) = &self.fleet else { return Fleet::default() };
        let mut by_owner: BTreeMap<u16, u64> = BTreeMap::new();
        let mut homeless = 0;
        for (owner, is_here) in self.negotiated.foreign_owners() {
            *by_owner.entry(owner).or_default() += 1;
            homeless += u64::from(!is_here);
        }
        let is_live = |number: &u16| fleet.members.live().any(|member| member.record.number.0 == *number);
        let orphaned = by_owner.iter().filter(|(number, _)| !is_live(number)).map(|(_, sas)| *sas).sum();
        let not_ready = self.not_ready();
        Fleet {
            name: Some(fleet.config.name.to_string()),
            node: fleet.us.name.to_string(),
            number: fleet.us.number.0,
            ready: not_ready.is_empty(),
            not_ready,
            store: self.show_store(fleet),
            nodes: self.show_nodes(fleet, &by_owner),
            sas: FleetSas {
                own: self.negotiated.own_count() as u64,
                foreign: by_owner.values().sum(),
                orphaned,
                homeless,
            },
            barrier: barrier(fleet),
            rescue: self.show_rescue(),
        }
    }

    /// Asks the other nodes what they have: they tell owners only. So the next who looks sees how it is now.
    pub(in crate::runtime) fn ask_fleet(&self) {
        let Some(fleet) = &self.fleet else { return };
        for member in fleet.members.live() {
            fleet.acknowledgements.peers().ask(&member.record.name, fleet.store.revision);
        }
    }

    fn show_store(&self, fleet: &FleetState) -> FleetStore {
        let store = &fleet.store;
        FleetStore {
            engine: match fleet.config.store {
                config::FleetStore::Embedded => "embedded",
                config::FleetStore::Etcd { .. } => "etcd",
            }
            .to_owned(),
            id: store.id.clone(),
            connected: store.connected,
            problem: store.problem.clone(),
            away_s: store.away_since.map(|since| since.elapsed().as_secs()),
            revision: store.revision,
            applied: fleet.applied,
            unwritten: self.negotiated.unwritten() as u64,
            listings: store.listings,
            last_listing: store.last_listing.clone(),
            refused: store.refused + fleet.members.bad_records(),
            last_refused: store.last_refused.clone(),
        }
    }

    fn show_nodes(&self, fleet: &FleetState, by_owner: &BTreeMap<u16, u64>) -> Vec<FleetNode> {
        let applied: BTreeMap<String, (u64, u64)> = fleet.acknowledgements.with_nodes(|nodes| {
            nodes.nodes().map(|(name, node)| (name.to_string(), (node.applied(), node.timeouts))).collect()
        });
        let clocks: BTreeMap<&str, i64> =
            fleet.members.clocks_that_are_off().map(|(name, millis)| (name.as_str(), millis)).collect();
        let others = fleet.members.live().map(|member| {
            let (applied, late) = applied.get(member.record.name.as_str()).copied().unwrap_or_default();
            FleetNode {
                clock_ms: member.clock_difference(),
                clock_off_ms: clocks.get(member.record.name.as_str()).copied(),
                applied: Some(applied.max(member.record.applied)),
                late,
                sas: by_owner.get(&member.record.number.0).copied().unwrap_or_default(),
                ..node(&member.record)
            }
        });
        let mut nodes: Vec<FleetNode> = others.collect();
        nodes.push(FleetNode {
            name: fleet.us.name.to_string(),
            number: fleet.us.number.0,
            address: fleet.config.address.to_string(),
            version: fleet.version.clone(),
            here: true,
            ready: self.not_ready().is_empty(),
            applied: Some(fleet.applied),
            clock_ms: None,
            clock_off_ms: fleet.members.our_clock_is_off(),
            uptime_s: since(fleet.started),
            sas: self.negotiated.own_count() as u64,
            late: 0,
        });
        nodes.sort_by(|a, b| a.name.cmp(&b.name));
        nodes
    }
}

fn node(record: &NodeRecord) -> FleetNode {
    FleetNode {
        name: record.name.to_string(),
        number: record.number.0,
        address: record.address.to_string(),
        version: record.version.clone(),
        ready: record.ready,
        uptime_s: since(record.started),
        ..FleetNode::default()
    }
}

fn barrier(fleet: &FleetState) -> FleetBarrier {
    let counters = fleet.acknowledgements.counters();
    let limit = Duration::from(fleet.config.barrier);
    let quantile = |permille| fleet.propagation.quantile(permille).map(|took| took.as_micros() as u64);
    FleetBarrier {
        limit_ms: limit.as_millis() as u64,
        waits: counters.barriers,
        timeouts: counters.timeouts,
        p50_us: quantile(500),
        p99_us: quantile(990),
        propagation: durations(&fleet.propagation),
    }
}

fn durations(lateness: &Lateness) -> Durations {
    let micros = |duration: Duration| duration.as_micros() as u64;
    Durations {
        count: lateness.count(),
        sum_us: micros(lateness.sum()),
        buckets: lateness.octaves().map(|(longest, count)| (micros(longest), count)).collect(),
    }
}

fn since(unix_millis: u64) -> u64 {
    let then = SystemTime::UNIX_EPOCH + Duration::from_millis(unix_millis);
    SystemTime::now().duration_since(then).map_or(0, |since| since.as_secs())
}
