//! `penstock show`: asks for a table and prints it, as text or as JSON. One file for each table.

mod cores;
mod crypto;
mod drops;
mod fleet;
mod ike;
mod neighbors;
mod ports;
mod routes;
mod sas;
mod status;
pub mod tunnels;

use penstock_control::api::{
    IkeFilter, NeighborFilter, Page, RouteFilter, RunningConfig, SaFilter, TunnelFilter,
};
use serde::Serialize;

use crate::args::{ShowArgs, Table};
use crate::ask::ask;
use crate::terminal::{self, duration};

pub fn show(args: &ShowArgs) -> anyhow::Result<()> {
    let socket = &args.socket;
    let width = terminal::width();
    match &args.table {
        Table::Status => {
            let status = ask(socket, async |gateway| gateway.status().await)?;
            print(args, &status, status::text)
        }
        Table::Ports { detail } => {
            let page = ask(socket, async |gateway| gateway.ports().await)?;
            print(args, &page, |page| if *detail { ports::detail(page) } else { ports::text(page, width) })
        }
        Table::Cores => {
            let page = ask(socket, async |gateway| gateway.cores().await)?;
            print(args, &page, |page| cores::text(page, width))
        }
        Table::Tunnels(which) => {
            let filter = TunnelFilter {
                tenant: which.tenant.clone(),
                tunnel: which.tunnel.clone(),
                state: which.state.map(Into::into),
                limit: which.limit.limit,
            };
            let page = ask(socket, async |gateway| gateway.tunnels(&filter).await)?;
            print(
                args,
                &page,
                |page| if which.detail { tunnels::detail(page) } else { tunnels::text(page, width) },
            )
        }
        Table::Sas(which) => {
            let filter = SaFilter {
                tenant: which.tenant.clone(),
                tunnel: which.tunnel.clone(),
                limit: which.limit.limit,
            };
            let page = ask(socket, async |gateway| gateway.sas(&filter).await)?;
            print(args, &page, |page| if which.detail { sas::detail(page) } else { sas::text(page, width) })
        }
        Table::Ike(which) => {
            let filter = IkeFilter {
                tenant: which.tenant.clone(),
                tunnel: which.tunnel.clone(),
                limit: which.limit.limit,
            };
            let page = ask(socket, async |gateway| gateway.ike(&filter).await)?;
            print(args, &page, |page| if which.detail { ike::detail(page) } else { ike::text(page, width) })
        }
        Table::Fleet => {
            let fleet = ask(socket, async |gateway| gateway.fleet().await)?;
            print(args, &fleet, |fleet| fleet::text(fleet, width))
        }
        Table::Crypto => {
            let crypto = ask(socket, async |gateway| gateway.crypto().await)?;
            print(args, &crypto, |crypto| crypto::text(crypto, width))
        }
        Table::Routes(which) => {
            let filter = RouteFilter {
                tenant: which.tenant.clone(),
                prefix: which.prefix,
                address: which.address,
                limit: which.limit.limit,
            };
            let page = ask(socket, async |gateway| gateway.routes(&filter).await)?;
            print(args, &page, |page| routes::text(page, width))
        }
        Table::Neighbors(which) => {
            let filter = NeighborFilter { interface: which.interface.clone(), limit: which.limit.limit };
            let page = ask(socket, async |gateway| gateway.neighbors(&filter).await)?;
            print(args, &page, |page| neighbors::text(page, width))
        }
        Table::Drops(which) => {
            let page = ask(socket, async |gateway| gateway.drops().await)?;
            print(args, &page, |page| drops::text(page, which, width))
        }
        Table::Config => {
            let config = ask(socket, async |gateway| gateway.config().await)?;
            print(args, &config, config_text)
        }
    }
}

fn print<T: Serialize>(args: &ShowArgs, answer: &T, text: impl FnOnce(&T) -> String) -> anyhow::Result<()> {
    if args.json { terminal::print_json(answer) } else { terminal::print(&text(answer)) }
}

/// Usable as a configuration file as it is: what is not the file's own text is a comment.
fn config_text(config: &RunningConfig) -> String {
    let end = if config.yaml.ends_with('\n') { "" } else { "\n" };
    format!("# {}, applied {} ago\n{}{end}", config.source, duration(config.age_s), config.yaml)
}

/// What stands below a table that is empty or cut off.
fn footer<T>(page: &Page<T>, what: &str) -> String {
    let shown = page.rows.len() as u64;
    match page.total {
        0 => format!("no {what}\n"),
        total if total > shown => {
            format!("{shown} of {total} {what}; --limit 0 shows all, or narrow it down\n")
        }
        _ => String::new(),
    }
}
