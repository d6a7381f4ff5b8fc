//! As many SAs as there are tunnels, twice, in as few transactions as may be.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use clap::Args;
use penstock_control::fleet::record::Owner;
use penstock_fleet::store::{CommitError, Condition, MOST_WRITES, Revision, Txn};
use serde::Serialize;
use tokio::task::JoinSet;

use crate::association::{self, Negotiator};
use crate::fleet::Fleet;

/// Transactions that are under way at a time.
const MOST_UNDER_WAY: usize = 8;

#[derive(Debug, Args)]
pub struct Options {
    /// Number of the node that has negotiated them; nobody else may have it
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u16).range(0..=1023))]
    node: u16,
    /// Seconds that they live
    #[arg(long, default_value = "7200", value_parser = crate::seconds)]
    life: Duration,
    /// Only for so many tunnels
    #[arg(long)]
    tunnels: Option<usize>,
}

#[derive(Debug, Serialize)]
pub struct Outcome {
    tunnels: usize,
    records: usize,
    /// Of sealed records, without their names.
    bytes: usize,
    seconds: f64,
    revision: u64,
}

pub async fn run(config: &Path, options: &Options) -> Result<Outcome> {
    let fleet = Fleet::open(config).await?;
    let began = Instant::now();
    let owner = Owner { number: options.node, journal: getrandom::u64()? };
    let mut negotiator = Negotiator::new(owner, options.life);
    let tunnels = &fleet.tunnels[..options.tunnels.unwrap_or(usize::MAX).min(fleet.tunnels.len())];
    let mut outcome = Outcome { tunnels: tunnels.len(), records: 0, bytes: 0, seconds: 0.0, revision: 0 };
    let store = Arc::new(fleet.store);
    let mut under_way: JoinSet<Result<Revision, CommitError>> = JoinSet::new();
    for some in tunnels.chunks(MOST_WRITES / 2) {
        let mut txn = Txn::new();
        for tunnel in some {
            for record in negotiator.pair(tunnel)? {
                let key = association::key(&record);
                let sealed = fleet.keyring.seal(&key, 1, &record.encode()?)?;
                outcome.records += 1;
                outcome.bytes += sealed.len();
                txn = txn.when(Condition::Absent(key.clone())).put(key, sealed, None);
            }
        }
        if under_way.len() >= MOST_UNDER_WAY
            && let Some(done) = under_way.join_next().await
        {
            outcome.revision = outcome.revision.max(done??.0);
        }
        let store = Arc::clone(&store);
        under_way.spawn(async move { store.commit(&txn).await });
    }
    while let Some(done) = under_way.join_next().await {
        outcome.revision = outcome.revision.max(done??.0);
    }
    if outcome.records == 0 {
        bail!("--tunnels: at least 1");
    }
    outcome.seconds = began.elapsed().as_secs_f64();
    Ok(outcome)
}
