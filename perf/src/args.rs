//! The command line.

use anyhow::{Result, ensure};
use clap::{Parser, Subcommand, ValueEnum};

use crate::scenario::{Case, Machine, Scenario};

/// Inner packets from a TCP SYN with options up to the MTU of a GRE tunnel over IPv4.
const SIZES: std::ops::RangeInclusive<usize> = 64..=1476;
/// More would not fit the made-up addresses.
const MAX_TUNNELS: usize = 131_072;

/// Measures Penstock's data path in TSC cycles a packet.
#[derive(Debug, Parser)]
#[command(name = "penstock-perf", version)]
pub struct Args {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Print the cases
    List,
    /// Measure one case
    Run(RunOptions),
    /// Measure the whole table: every case at every size, then more tunnels and more routes
    All(AllOptions),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Switch {
    On,
    Off,
}

/// Which memory packets lie in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Hugepages {
    On,
    Off,
    Auto,
}

#[derive(Debug, clap::Args)]
pub struct RunOptions {
    /// What happens to each packet
    #[arg(long, value_enum)]
    case: Case,
    /// Bytes of the inner IP packet
    #[arg(long, default_value_t = 64)]
    size: usize,
    /// Tunnels that the flows are spread over
    #[arg(long, default_value_t = 1)]
    tunnels: usize,
    /// Different flows, each with a frame of its own
    #[arg(long, default_value_t = 512)]
    flows: usize,
    /// Routes of the Internet's table: 1 is a default route, more look like the default-free zone
    #[arg(long, default_value_t = 1)]
    routes: usize,
    /// Tunnels accept only their tenant's sources
    #[arg(long, value_enum, default_value = "on")]
    source_filter: Switch,
    /// Workers, each with a port, a core and a pinned thread of its own
    #[arg(long, default_value_t = 1)]
    workers: usize,
    #[command(flatten)]
    machine: MachineOptions,
    /// Print JSON, one object a line
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, clap::Args)]
pub struct MachineOptions {
    /// Cores of the workers, such as 2,3; default: the last ones this process may use
    #[arg(long, value_delimiter = ',')]
    cores: Vec<usize>,
    /// Use hugepages; auto: if enough are free or can be reserved for the run, which takes root
    #[arg(long, value_enum, default_value = "auto", num_args = 0..=1, default_missing_value = "on")]
    hugepages: Hugepages,
    /// Bytes of data in a packet buffer
    #[arg(long, default_value_t = 2048)]
    mbuf_size: u16,
    /// Measured rounds; the best and the median are reported
    #[arg(long, default_value_t = 300)]
    rounds: usize,
    /// Packets of a round; raised to one for each flow
    #[arg(long, default_value_t = 32_768)]
    packets: usize,
}

#[derive(Debug, clap::Args)]
pub struct AllOptions {
    /// Only this case
    #[arg(long, value_enum)]
    pub case: Option<Case>,
    /// Workers
    #[arg(long, default_value_t = 1)]
    pub workers: usize,
    #[command(flatten)]
    pub machine: MachineOptions,
    /// Print JSON, one object a line
    #[arg(long)]
    pub json: bool,
}

impl RunOptions {
    /// The measurement's parameters, checked.
    pub fn scenario(&self) -> Result<Scenario> {
        ensure!(SIZES.contains(&self.size), "--size {}: use {} to {}", self.size, SIZES.start(), SIZES.end());
        ensure!((1..=MAX_TUNNELS).contains(&self.tunnels), "--tunnels: use 1 to {MAX_TUNNELS}");
        ensure!(self.routes >= 1, "--routes: use 1 or more");
        ensure!(self.workers >= 1, "--workers: use 1 or more");
        let tunnels = if self.case == Case::Forward { 1 } else { self.tunnels };
        Ok(Scenario {
            case: self.case,
            size: self.size,
            tunnels,
            flows: self.flows.max(1),
            routes: self.routes,
            source_filter: self.source_filter == Switch::On,
        })
    }

    /// Where to measure.
    pub fn machine(&self) -> Machine {
        let last = || -> Vec<usize> {
            let all = core_affinity::get_core_ids().unwrap_or_default();
            all.iter().skip(all.len().saturating_sub(self.workers)).map(|core| core.id).collect()
        };
        let mut cores = if self.machine.cores.is_empty() { last() } else { self.machine.cores.clone() };
        cores.truncate(self.workers);
        Machine {
            cores,
            hugepages: self.machine.hugepages,
            mbuf_size: self.machine.mbuf_size,
            rounds: self.machine.rounds.max(1),
            packets: self.machine.packets,
        }
    }
}

impl MachineOptions {
    /// The same options for another process.
    pub fn to_args(&self) -> Vec<String> {
        let mut args = vec![
            format!("--mbuf-size={}", self.mbuf_size),
            format!("--rounds={}", self.rounds),
            format!("--packets={}", self.packets),
        ];
        let hugepages = self.hugepages.to_possible_value();
        args.extend(hugepages.map(|value| format!("--hugepages={}", value.get_name())));
        if !self.cores.is_empty() {
            let cores: Vec<String> = self.cores.iter().map(usize::to_string).collect();
            args.push(format!("--cores={}", cores.join(",")));
        }
        args
    }
}
