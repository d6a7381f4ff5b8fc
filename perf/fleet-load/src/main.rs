//! The load of a large fleet, made by one process.
//!
//! `fill` writes security associations into the store as a node that has negotiated them would. `probe` is such a node for
//! a while: it writes one at a time, and measures how long all others take until their workers have it. Records, seals,
//! the store, members and acknowledgements are those of the gateway itself; only charon and packets are missing.

mod association;
mod fill;
mod fleet;
mod probe;

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use clap::{Parser, Subcommand};
use serde::Serialize;

/// Fills a fleet's store, and measures how soon all nodes have a change.
#[derive(Debug, Parser)]
#[command(name = "penstock-fleet-load", version)]
struct Args {
    /// A node's configuration: it has the fleet, its store and key, and the tunnels
    #[arg(short, long)]
    config: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Write a pair of SAs for each IPsec tunnel of the configuration
    Fill(fill::Options),
    /// Join the fleet, write one SA after the other, and see how soon all nodes have each
    Probe(probe::Options),
}

fn main() -> Result<()> {
    let args = Args::parse();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        match &args.command {
            Command::Fill(options) => print(&fill::run(&args.config, options).await?),
            Command::Probe(options) => print(&probe::run(&args.config, options).await?),
        }
    })
}

fn print(outcome: &impl Serialize) -> Result<()> {
    writeln!(std::io::stdout().lock(), "{}", serde_json::to_string(outcome)?)?;
    Ok(())
}

fn seconds(text: &str) -> Result<Duration, std::num::ParseIntError> {
    text.parse().map(Duration::from_secs)
}
