//! The command line, as clap reads it and prints it in `--help`.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::{Args as ClapArgs, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use ipnet::IpNet;
use penstock_control::api::{DEFAULT_LIMIT, DEFAULT_PATH, TunnelState};

use crate::logging::{self, LogFormat};

/// Version of the package and the commit it was built from; `build.rs` stamps it.
pub const VERSION: &str = env!("PENSTOCK_VERSION");

const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  failed or refused: an invalid configuration, a start or a reload that did not work
  2  the command line makes no sense
  3  no answer: penstock is not running, or this user may not open its socket";

/// Anycast GRE and IPsec tunnel gateway on DPDK.
#[derive(Debug, Parser)]
#[command(name = "penstock", version = VERSION, after_help = EXIT_CODES)]
pub struct Args {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Start the gateway. It stays in the foreground; SIGHUP reloads, SIGTERM drains and stops, a second one stops at once.
    Run(RunArgs),
    /// Check a configuration. Needs neither root nor a network card nor a running gateway.
    Check(CheckArgs),
    /// Look whether this host is fit to run the gateway, and say what mends it. Changes nothing.
    Doctor(DoctorArgs),
    /// Apply a changed configuration to the running gateway, without losing packets.
    Reload(ReloadArgs),
    /// Show what the running gateway does.
    Show(ShowArgs),
    /// Watch tunnels, cores, drops and rates, live.
    Top(TopArgs),
    /// Make and rotate the keys of a fleet.
    Fleet(FleetArgs),
    /// Say whether this node may be sent traffic: exit code 0 if so, 1 if not. For whatever announces its addresses.
    Ready(ReadyArgs),
    /// Change tenants of the fleet: every node takes them from the store.
    #[command(after_help = APPLY_EXAMPLE)]
    Apply(ApplyArgs),
    /// Print tenants of the fleet, as YAML that `apply` takes.
    Get(GetArgs),
    /// Remove a tenant, or a tunnel, from the fleet.
    Delete(DeleteArgs),
    /// Print a shell's completion script.
    #[command(after_help = "Example:\n  penstock completions bash > /etc/bash_completion.d/penstock")]
    Completions {
        /// The shell.
        shell: Shell,
    },
    /// Write the manual pages.
    #[command(after_help = "Example:\n  penstock man /usr/local/share/man/man1")]
    Man {
        /// A directory.
        directory: PathBuf,
    },
}

const APPLY_EXAMPLE: &str = "\
Example:
  penstock get tenants acme > acme.yaml
  $EDITOR acme.yaml
  penstock apply -f acme.yaml --dry-run
  penstock apply -f acme.yaml";

/// How to reach the running gateway.
#[derive(Debug, ClapArgs)]
pub struct SocketArgs {
    /// Socket of the running gateway (`node.socket` of its configuration).
    #[arg(long, global = true, env = "PENSTOCK_SOCKET", default_value = DEFAULT_PATH, value_name = "PATH")]
    pub socket: PathBuf,
}

#[derive(Debug, ClapArgs)]
pub struct RunArgs {
    /// The configuration.
    #[arg(short, long, value_name = "FILE")]
    pub config: PathBuf,
    /// IPsec security associations with keys by hand, mode 0600. For tests and benchmarks only.
    #[arg(long, value_name = "FILE")]
    pub static_sas: Option<PathBuf>,
    /// What to log: error, warn, info, debug, trace, or a filter such as `info,penstock_control::kernel=debug`.
    #[arg(long, env = "PENSTOCK_LOG", default_value = "info", value_name = "FILTER", value_parser = logging::filter)]
    pub log: String,
    /// The form of the log.
    #[arg(long, env = "PENSTOCK_LOG_FORMAT", default_value = "auto", value_name = "FORMAT")]
    pub log_format: LogFormat,
}

#[derive(Debug, ClapArgs)]
pub struct CheckArgs {
    /// The file to check.
    #[arg(short, long, value_name = "FILE")]
    pub config: PathBuf,
    /// A file of security associations to check with it.
    #[arg(long, value_name = "FILE")]
    pub static_sas: Option<PathBuf>,
    /// Print JSON: `valid`, `problems`, `warnings`.
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, ClapArgs)]
pub struct DoctorArgs {
    /// The configuration whose needs are looked at. Without it, and without /etc/penstock/penstock.yaml: those of all.
    #[arg(short, long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Print JSON: a list of `check`, `verdict`, `says`, `mend`.
    #[arg(long)]
    pub json: bool,
    /// Look below this directory instead: for tests.
    #[arg(long, hide = true, default_value = "/", value_name = "DIRECTORY")]
    pub root: PathBuf,
}

#[derive(Debug, ClapArgs)]
pub struct ReloadArgs {
    /// Print the difference and change nothing.
    #[arg(long)]
    pub dry_run: bool,
    /// Apply this file. Without it the gateway reads again the file that it was started with.
    #[arg(short, long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub socket: SocketArgs,
}

#[derive(Debug, ClapArgs)]
pub struct TopArgs {
    /// Seconds between two looks. A gateway with very many tunnels is looked at less often.
    #[arg(short, long, default_value_t = 1.0, value_name = "SECONDS", value_parser = interval)]
    pub interval: f64,
    #[command(flatten)]
    pub socket: SocketArgs,
}

fn interval(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(seconds) if (0.1..=3600.0).contains(&seconds) => Ok(seconds),
        _ => Err("write seconds from 0.1 to 3600".to_owned()),
    }
}

#[derive(Debug, ClapArgs)]
pub struct FleetArgs {
    #[command(subcommand)]
    pub command: FleetCommand,
}

#[derive(Debug, Subcommand)]
pub enum FleetCommand {
    /// Make a file with a new key, for all nodes.
    NewKey {
        /// The file; it must not be there yet.
        file: PathBuf,
    },
    /// Make one step from the old key to a new one. After each, copy the file to all nodes and reload them.
    RotateKey {
        /// The file.
        file: PathBuf,
        /// Which step.
        step: RotationStep,
    },
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum RotationStep {
    /// A new key, with which nobody seals yet.
    Add,
    /// The new key seals.
    Use,
    /// The old key goes.
    Drop,
}

#[derive(Debug, ClapArgs)]
pub struct ReadyArgs {
    /// Print nothing.
    #[arg(short, long)]
    pub quiet: bool,
    #[command(flatten)]
    pub socket: SocketArgs,
}

#[derive(Debug, ClapArgs)]
pub struct ApplyArgs {
    /// YAML with `tenants:`. Tenants of the fleet that it does not name stay as they are.
    #[arg(short, long, value_name = "FILE")]
    pub file: PathBuf,
    /// Print the difference and change nothing.
    #[arg(long)]
    pub dry_run: bool,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub socket: SocketArgs,
}

#[derive(Debug, ClapArgs)]
pub struct GetArgs {
    #[command(subcommand)]
    pub what: Gettable,
    /// Print JSON.
    #[arg(long, global = true)]
    pub json: bool,
    #[command(flatten)]
    pub socket: SocketArgs,
}

#[derive(Debug, Subcommand)]
pub enum Gettable {
    /// Tenants, whole.
    Tenants {
        /// Only these.
        names: Vec<String>,
    },
}

#[derive(Debug, ClapArgs)]
pub struct DeleteArgs {
    #[command(subcommand)]
    pub what: Deletable,
    /// Print the difference and change nothing.
    #[arg(long, global = true)]
    pub dry_run: bool,
    /// Print JSON.
    #[arg(long, global = true)]
    pub json: bool,
    #[command(flatten)]
    pub socket: SocketArgs,
}

#[derive(Debug, Subcommand)]
pub enum Deletable {
    /// A tenant, with its tunnels and routes.
    Tenant {
        /// Its name.
        name: String,
    },
    /// One tunnel of a tenant. Routes by it have to go first.
    Tunnel {
        /// The tenant.
        tenant: String,
        /// The tunnel.
        name: String,
    },
}

#[derive(Debug, ClapArgs)]
pub struct ShowArgs {
    #[command(subcommand)]
    pub table: Table,
    /// Print JSON with exact values instead of a table.
    #[arg(long, global = true)]
    pub json: bool,
    #[command(flatten)]
    pub socket: SocketArgs,
}

#[derive(Debug, Subcommand)]
pub enum Table {
    /// The gateway at a glance, and what needs attention.
    Status,
    /// Ports: link, packets, losses.
    Ports {
        /// One block for each port, with every field.
        #[arg(long)]
        detail: bool,
    },
    /// Cores: what each one does, how busy it is, which tables it has.
    Cores,
    /// Tunnels: state, MTU, packets.
    Tunnels(TunnelArgs),
    /// IPsec security associations: algorithms, numbers, packets. Never a key.
    Sas(SaArgs),
    /// Tunnels that are negotiated: state, peer, identities, why it failed; and the IKE daemon.
    Ike(SaArgs),
    /// The fleet: its store, its nodes, how far each has come, and whether this one may be sent traffic.
    Fleet,
    /// What encrypts, and which workers may.
    Crypto,
    /// Routes of all tenants and of the underlay.
    Routes(RouteArgs),
    /// Neighbours that the kernel knows on our links.
    Neighbors(NeighborArgs),
    /// Why packets were dropped, in words.
    Drops(DropArgs),
    /// The configuration that runs.
    Config,
}

/// How many rows.
#[derive(Debug, ClapArgs)]
pub struct LimitArgs {
    /// Print at most so many; 0 for all.
    #[arg(long, default_value_t = DEFAULT_LIMIT, value_name = "ROWS")]
    pub limit: usize,
}

#[derive(Debug, ClapArgs)]
pub struct TunnelArgs {
    /// Only this tenant's.
    #[arg(long)]
    pub tenant: Option<String>,
    /// Only those of this name.
    #[arg(long)]
    pub tunnel: Option<String>,
    /// Only those in this state.
    #[arg(long)]
    pub state: Option<State>,
    /// One block for each tunnel, with every field.
    #[arg(long)]
    pub detail: bool,
    #[command(flatten)]
    pub limit: LimitArgs,
}

#[derive(Debug, ClapArgs)]
pub struct SaArgs {
    /// Only this tenant's.
    #[arg(long)]
    pub tenant: Option<String>,
    /// Only those of tunnels of this name.
    #[arg(long)]
    pub tunnel: Option<String>,
    /// One block for each, with every field.
    #[arg(long)]
    pub detail: bool,
    #[command(flatten)]
    pub limit: LimitArgs,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum State {
    Up,
    Unresolved,
    Down,
}

impl From<State> for TunnelState {
    fn from(state: State) -> Self {
        match state {
            State::Up => Self::Up,
            State::Unresolved => Self::Unresolved,
            State::Down => Self::Down,
        }
    }
}

#[derive(Debug, ClapArgs)]
pub struct RouteArgs {
    /// Only this tenant's table; `internet` is the underlay.
    #[arg(long)]
    pub tenant: Option<String>,
    /// Only this prefix and those inside it.
    #[arg(long)]
    pub prefix: Option<IpNet>,
    /// Only those that cover this address; the longest is the one that packets take.
    #[arg(long)]
    pub address: Option<IpAddr>,
    #[command(flatten)]
    pub limit: LimitArgs,
}

#[derive(Debug, ClapArgs)]
pub struct NeighborArgs {
    /// Only those on this port or VLAN.
    #[arg(long)]
    pub interface: Option<String>,
    #[command(flatten)]
    pub limit: LimitArgs,
}

#[derive(Debug, ClapArgs)]
pub struct DropArgs {
    /// Also the reasons that never happened.
    #[arg(long)]
    pub all: bool,
    /// Packets of each core.
    #[arg(long)]
    pub per_core: bool,
}
