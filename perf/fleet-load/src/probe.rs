//! A node that negotiates one SA after the other, and times how long all others take until their workers have each.
//!
//! The time is that of a real node's barrier: from when the owner has the SA until it is sealed, in the store, on all
//! workers of all nodes, and all have said so.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use penstock_control::fleet::nodes::acknowledgements::Acknowledgements;
use penstock_control::fleet::nodes::members::{Members, Us};
use penstock_control::fleet::nodes::node_record::NodeRecord;
use penstock_control::fleet::nodes::peers::{self, Peers};
use penstock_control::fleet::record::Owner;
use penstock_fleet::names::{KeyName, NODES, Name, NodeNumber};
use penstock_fleet::peer::{Incarnation, PeerKeys, StoreTag};
use penstock_fleet::store::{Condition, Entry, Event, LeaseId, Store, Txn, Watch};
use serde::Serialize;

use crate::association::{self, Negotiator};
use crate::fleet::Fleet;

/// The node's life in the store after its last word.
const LIVENESS: Duration = Duration::from_secs(10);
/// Nodes must have seen this one before they are timed.
const INTRODUCTION: Duration = Duration::from_secs(10);
/// No change takes longer.
const LIMIT: Duration = Duration::from_secs(10);

#[derive(Debug, Args)]
pub struct Options {
    /// Name of this node; nobody else may have it
    #[arg(long, default_value = "probe")]
    node: String,
    /// Its number; likewise
    #[arg(long, default_value_t = 1001, value_parser = clap::value_parser!(u16).range(0..=1023))]
    number: u16,
    /// An address of this machine where the nodes reach it
    #[arg(long)]
    address: IpAddr,
    /// Nodes that must be there
    #[arg(long)]
    nodes: usize,
    /// SAs to write
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..))]
    count: u32,
    /// Milliseconds between two
    #[arg(long, default_value_t = 20)]
    pause_ms: u64,
    /// Seconds that each lives
    #[arg(long, default_value = "600", value_parser = crate::seconds)]
    life: Duration,
}

#[derive(Debug, Serialize)]
pub struct Outcome {
    nodes: usize,
    sas: usize,
    timeouts: u64,
    p50_ms: f64,
    p99_ms: f64,
    longest_ms: f64,
    /// Of each, how long the store took to have it: a part of the above.
    store_p50_ms: f64,
    store_p99_ms: f64,
}

pub async fn run(config: &Path, options: &Options) -> Result<Outcome> {
    let fleet = Fleet::open(config).await?;
    let mut node = Node::join(&fleet, options).await?;
    node.wait_for(options.nodes).await?;
    let (mut all, mut stored) = (Vec::new(), Vec::new());
    let mut written = Vec::new();
    let mut negotiator = Negotiator::new(node.owner(), options.life);
    for turn in 0..options.count as usize {
        let tunnel = &fleet.tunnels[turn % fleet.tunnels.len()];
        let began = Instant::now();
        let record = negotiator.inbound(tunnel)?;
        let key = association::key(&record);
        let sealed = fleet.keyring.seal(&key, 1, &record.encode()?)?;
        let txn = Txn::new().when(Condition::Absent(key.clone())).put(key.clone(), sealed, None);
        let revision = fleet.store.commit(&txn).await?;
        stored.push(began.elapsed());
        node.acknowledgements.wait(revision.0).await.context("the wait for the nodes has ended")?;
        all.push(began.elapsed());
        written.push(key);
        node.turn(Duration::from_millis(options.pause_ms)).await?;
    }
    let outcome = Outcome {
        nodes: node.members.live().count(),
        sas: all.len(),
        timeouts: node.acknowledgements.counters().timeouts,
        p50_ms: quantile(&mut all, 500),
        p99_ms: quantile(&mut all, 990),
        longest_ms: quantile(&mut all, 1000),
        store_p50_ms: quantile(&mut stored, 500),
        store_p99_ms: quantile(&mut stored, 990),
    };
    for key in written {
        fleet.store.commit(&Txn::new().delete(key)).await?;
    }
    fleet.store.revoke(node.lease).await?;
    Ok(outcome)
}

/// This process as a node of the fleet.
struct Node {
    us: Us,
    store: Store,
    watch: Watch,
    members: Members,
    acknowledgements: Acknowledgements,
    lease: LeaseId,
    kept_alive: Instant,
}

impl Node {
    async fn join(fleet: &Fleet, options: &Options) -> Result<Self> {
        let name = Name::new(&options.node).context("--node: write letters, digits, - and _")?;
        let us = Us { name, number: NodeNumber(options.number), incarnation: Incarnation(getrandom::u64()?) };
        let local = SocketAddr::new(options.address, fleet.config.control_address().port());
        let settings = peers::Settings {
            local,
            node: us.name.clone(),
            incarnation: us.incarnation,
            store: StoreTag::of(&fleet.store.id().await?.to_string()),
            keys: PeerKeys::of(&fleet.keyring)?,
        };
        let peers = Peers::start(peers::open(None, local)?, settings)?;
        let lease = fleet.store.grant(LIVENESS).await?;
        let now = u64::try_from(SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_millis())?;
        let record = NodeRecord {
            name: us.name.clone(),
            number: us.number,
            incarnation: us.incarnation,
            address: options.address,
            port: fleet.config.port,
            started: now,
            clock: now,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            ready: true,
            applied: 0,
        };
        let (node, number) =
            (KeyName::Node(us.name.clone()).to_string(), KeyName::Number(us.number).to_string());
        let txn = Txn::new()
            .when(Condition::Absent(node.clone()))
            .when(Condition::Absent(number.clone()))
            .put(node, record.to_json(), Some(lease))
            .put(number, us.name.to_string(), Some(lease));
        fleet.store.commit(&txn).await.context("--node and --number: may be another node's")?;
        Ok(Self {
            members: Members::new(us.clone()),
            us,
            watch: fleet.store.watch(NODES, None),
            store: fleet.store.clone(),
            acknowledgements: Acknowledgements::start(peers, LIMIT),
            lease,
            kept_alive: Instant::now(),
        })
    }

    fn owner(&self) -> Owner {
        Owner { number: self.us.number.0, journal: self.us.incarnation.0 }
    }

    /// Until the nodes are there, and have seen this one.
    async fn wait_for(&mut self, nodes: usize) -> Result<()> {
        let began = Instant::now();
        while self.members.live().count() < nodes {
            self.turn(Duration::from_millis(100)).await?;
            let seen = self.members.live().count();
            ensure!(
                began.elapsed() < INTRODUCTION,
                "{seen} other nodes are in the store, --nodes says {nodes}"
            );
        }
        self.turn(Duration::from_secs(1)).await
    }

    /// Keeps the lease, and follows who lives, for so long.
    async fn turn(&mut self, time: Duration) -> Result<()> {
        let until = tokio::time::Instant::now() + time;
        if self.kept_alive.elapsed() > LIVENESS / 4 {
            self.store.keep_alive(self.lease).await?;
            self.kept_alive = Instant::now();
        }
        while let Ok(event) = tokio::time::timeout_at(until, self.watch.next()).await {
            self.take(event.context("the watch has ended")?)?;
        }
        Ok(())
    }

    fn take(&mut self, event: Event) -> Result<()> {
        match event {
            Event::Reset { entries, .. } => {
                self.members.listed(0, entries.iter().map(|entry| (entry.key.as_str(), &*entry.value)));
            }
            Event::Changed { puts, deletes, .. } => {
                for Entry { key, value, .. } in &puts {
                    self.members.put(0, key, value);
                }
                deletes.iter().for_each(|key| self.members.deleted(key));
            }
            Event::Away { error } => bail!("{error}"),
            Event::Progress(_) | Event::Back => return Ok(()),
        }
        self.acknowledgements.set_members(&self.members);
        Ok(())
    }
}

/// So many of a thousand took no longer, milliseconds.
fn quantile(times: &mut [Duration], permille: usize) -> f64 {
    times.sort_unstable();
    let rank = (times.len() * permille).div_ceil(1000).max(1);
    times.get(rank - 1).map_or(0.0, |time| time.as_secs_f64() * 1e3)
}
