//! `show routes`: one line for each way to a prefix, so that grep finds whole rows.

use penstock_control::api::{HopKind, HopRow, Page, RouteRow, RouteSource};

use super::footer;
use crate::terminal::Column::{Number, Text};
use crate::terminal::{Table, maybe};

pub fn text(page: &Page<RouteRow>, width: Option<u16>) -> String {
    let mut table = Table::new(&[
        Text("TENANT"),
        Text("PREFIX"),
        Text("KIND"),
        Text("VIA"),
        Number("PRIO"),
        Number("WEIGHT"),
        Text("ACTIVE"),
        Text("SOURCE"),
        Text("NOTE"),
    ]);
    for route in &page.rows {
        for hop in &route.hops {
            table.row(vec![
                route.tenant.clone(),
                route.prefix.to_string(),
                kind(hop.kind).to_owned(),
                hop.via.clone(),
                priority(hop),
                hop.weight.to_string(),
                if hop.active { "yes" } else { "no" }.to_owned(),
                source(route.source).to_owned(),
                hop.reason.clone().unwrap_or_default(),
            ]);
        }
        if route.hops.is_empty() {
            let none = || maybe(None::<u32>);
            table.row(vec![
                route.tenant.clone(),
                route.prefix.to_string(),
                kind(HopKind::None).to_owned(),
                none(),
                none(),
                none(),
                "no".to_owned(),
                source(route.source).to_owned(),
                String::new(),
            ]);
        }
    }
    table.text(width) + &footer(page, "routes")
}

/// As configured, and what is added to it.
fn priority(hop: &HopRow) -> String {
    match hop.penalty {
        0 => hop.priority.to_string(),
        penalty => format!("{}+{penalty}", hop.priority),
    }
}

fn kind(kind: HopKind) -> &'static str {
    match kind {
        HopKind::Tunnel => "tunnel",
        HopKind::Adjacency => "adjacency",
        HopKind::Unresolved => "unresolved",
        HopKind::Endpoint => "endpoint",
        HopKind::Link => "link",
        HopKind::Local => "local",
        HopKind::Table => "table",
        HopKind::Blackhole => "blackhole",
        HopKind::Unreachable => "unreachable",
        HopKind::None => "none",
    }
}

fn source(source: RouteSource) -> &'static str {
    match source {
        RouteSource::Config => "config",
        RouteSource::Kernel => "kernel",
        RouteSource::Neighbor => "neighbor",
        RouteSource::Local => "local",
        RouteSource::Endpoint => "endpoint",
    }
}
