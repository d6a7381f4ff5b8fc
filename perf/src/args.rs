//! The command line.

use anyhow::{Context, Result, ensure};
use clap::{Parser, Subcommand, ValueEnum};
use penstock_dataplane::esp::cipher::Backend;
use penstock_dataplane::esp::replay::ReplayWindow;
use penstock_dataplane::esp::suite::Suite;
use penstock_dataplane::frame::BURST;

use crate::associations::MOST_WITH_WINDOWS;
use crate::fleet::FleetOptions;
use crate::scenario::{Case, Machine, Protection, Scenario, Size};
use crate::tables;

/// A TCP SYN with options fits.
const MIN_SIZE: usize = 64;
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
    /// Reckon what the store of a fleet carries, and how long negotiations wait for all nodes; measures nothing
    Fleet(FleetOptions),
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
    /// Bytes of the inner IP packet; imix: of twelve flows seven have 64 bytes, four 594, and one 1400
    #[arg(long, default_value_t = Size::Bytes(64))]
    size: Size,
    /// Tunnels that the flows are spread over; an ESP tunnel has one SA for each direction in use
    #[arg(long, visible_alias = "sas", default_value_t = 1)]
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
    /// Cipher suite of ESP tunnels
    #[arg(long, default_value_t = Suite::AES128_GCM)]
    cipher: Suite,
    /// Who encrypts: ipsec-mb, vaes or rustcrypto; default: the fastest here for the cipher suite
    #[arg(long)]
    backend: Option<Backend>,
    /// Packets that come in are checked against a replay window of so many sequence numbers; for those that go out the
    /// peer has one, so that the workers number them together. Frames are replayed for ever and their numbers with
    /// them: windows are renewed between passes, outside of the time measured, which takes flows in whole bursts of 64,
    /// at most 16 SAs, and with several workers a window of as many numbers as a pass of all has
    #[arg(long)]
    window: Option<u32>,
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
    /// Packets of a round; raised to one for each flow. Short rounds fit between the interruptions of a busy machine
    #[arg(long, default_value_t = 4096)]
    packets: usize,
}

#[derive(Debug, clap::Args)]
pub struct AllOptions {
    /// Only this case
    #[arg(long, value_enum)]
    pub case: Option<Case>,
    /// Workers; with 1, two workers on one SA are measured as well, where there are two cores
    #[arg(long, default_value_t = 1)]
    pub workers: usize,
    /// Who encrypts: ipsec-mb, vaes or rustcrypto; default: the fastest here for the cipher suite
    #[arg(long)]
    pub backend: Option<Backend>,
    #[command(flatten)]
    pub machine: MachineOptions,
    /// Print JSON, one object a line
    #[arg(long)]
    pub json: bool,
}

impl RunOptions {
    /// The measurement's parameters, checked.
    pub fn scenario(&self) -> Result<Scenario> {
        let largest = usize::from(tables::tunnel_mtu(self.case, self.cipher));
        if let Size::Bytes(bytes) = self.size {
            ensure!((MIN_SIZE..=largest).contains(&bytes), "--size {bytes}: use {MIN_SIZE} to {largest}");
        }
        ensure!((1..=MAX_TUNNELS).contains(&self.tunnels), "--tunnels: use 1 to {MAX_TUNNELS}");
        ensure!(self.routes >= 1, "--routes: use 1 or more");
        ensure!(self.workers >= 1, "--workers: use 1 or more");
        let scenario = Scenario {
            case: self.case,
            size: self.size,
            tunnels: if self.case == Case::Forward { 1 } else { self.tunnels },
            flows: self.flows.max(1),
            routes: self.routes,
            source_filter: self.source_filter == Switch::On,
            protection: Protection {
                suite: self.cipher,
                backend: self.backend.unwrap_or_else(|| Backend::best_for(self.cipher)),
                window: self.window,
            },
        };
        self.check_window(&scenario)?;
        Ok(scenario)
    }

    fn check_window(&self, scenario: &Scenario) -> Result<()> {
        let Some(window) = self.window else { return Ok(()) };
        ensure!(self.case.is_esp(), "--window: only ESP tunnels have one");
        ReplayWindow::new(window, false).context("--window")?;
        if scenario.checks_replays() {
            let (flows, tunnels) = (scenario.flows, scenario.tunnels);
            ensure!(tunnels <= MOST_WITH_WINDOWS, "--window: with at most {MOST_WITH_WINDOWS} tunnels");
            ensure!(flows.is_multiple_of(BURST), "--window: with --flows a multiple of {BURST}");
            let numbers = flows.div_ceil(tunnels) * self.workers;
            ensure!(
                self.workers == 1 || numbers <= window as usize,
                "--window: {} workers with {flows} flows use {numbers} numbers of an SA, more than fit",
                self.workers
            );
        }
        Ok(())
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
