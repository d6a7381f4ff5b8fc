//! `show fleet`: the store, the nodes, and how far each has come.

use penstock_control::api::{Fleet, FleetNode};

use crate::terminal::Column::{Number, Text};
use crate::terminal::{Table, duration, maybe};

pub fn text(fleet: &Fleet, width: Option<u16>) -> String {
    let Some(name) = &fleet.name else {
        return "This node is alone: its configuration has no `fleet`.\n".to_owned();
    };
    let mut text =
        format!("fleet {name}, node {} (number {}): {}\n", fleet.node, fleet.number, readiness(fleet));
    for reason in &fleet.not_ready {
        text.push_str(&format!("  {reason}\n"));
    }
    text.push_str(&store(fleet));
    text.push_str(&associations(fleet));
    text.push_str(&clocks(fleet));
    text.push('\n');
    text + &nodes(fleet).text(width)
}

fn readiness(fleet: &Fleet) -> &'static str {
    if fleet.ready { "ready" } else { "NOT READY, announce nothing from here" }
}

fn store(fleet: &Fleet) -> String {
    let store = &fleet.store;
    let state = match (store.connected, store.away_s) {
        (true, _) => "answers".to_owned(),
        (false, Some(away)) => format!("AWAY for {}", duration(away)),
        (false, None) => "not reached yet".to_owned(),
    };
    let mut text =
        format!("store {}: {state}, revision {}, applied {}", store.engine, store.revision, store.applied);
    if store.unwritten > 0 {
        text.push_str(&format!(", {} records to write", store.unwritten));
    }
    text.push('\n');
    if let Some(problem) = &store.problem {
        text.push_str(&format!("  {problem}\n"));
    }
    if let Some(why) = store.last_listing.as_ref().filter(|_| store.listings > 1) {
        text.push_str(&format!("  read as a whole {} times, last because {why}\n", store.listings));
    }
    if let Some(last) = store.last_refused.as_ref().filter(|_| store.refused > 0) {
        text.push_str(&format!("  {} records REFUSED, last {last}\n", store.refused));
    }
    text
}

fn associations(fleet: &Fleet) -> String {
    let (sas, barrier, rescue) = (&fleet.sas, &fleet.barrier, &fleet.rescue);
    let mut text = format!("SAs: {} negotiated here, {} by other nodes", sas.own, sas.foreign);
    if sas.orphaned > 0 {
        text.push_str(&format!(", {} of nodes that are gone", sas.orphaned));
    }
    if sas.homeless > 0 {
        text.push_str(&format!(", {} of tunnels that are not configured here", sas.homeless));
    }
    let time = |us: Option<u64>| maybe(us.map(|us| format!("{}.{} ms", us / 1000, us % 1000 / 100)));
    text.push_str(&format!(
        "\nchanges that all nodes had to have: {}, p50 {}, p99 {}, {} not within {} ms\nrescued: {} sent, {} received, {} refused\n",
        barrier.waits,
        time(barrier.p50_us),
        time(barrier.p99_us),
        barrier.timeouts,
        barrier.limit_ms,
        rescue.sent,
        rescue.received,
        rescue.refused,
    ));
    text
}

/// Who has another time than most.
fn clocks(fleet: &Fleet) -> String {
    let off = fleet.nodes.iter().filter_map(|node| Some((node, node.clock_off_ms?)));
    let line = |(node, millis): (&FleetNode, i64)| {
        let seconds = millis.unsigned_abs() as f64 / 1000.0;
        let direction = if millis > 0 { "AHEAD OF" } else { "BEHIND" };
        format!(
            "the clock of node {} is {seconds:.1} s {direction} most: set it, or stop that node; no node gets new sender IDs \
             meanwhile\n",
            node.name
        )
    };
    off.map(line).collect()
}

fn nodes(fleet: &Fleet) -> Table {
    let mut table = Table::new(&[
        Text("NODE"),
        Number("NUMBER"),
        Text("ADDRESS"),
        Text("READY"),
        Number("BEHIND"),
        Text("CLOCK"),
        Number("SAS"),
        Number("LATE"),
        Text("UP"),
        Text("VERSION"),
    ]);
    for node in &fleet.nodes {
        let newest = fleet.store.revision;
        table.row(vec![
            if node.here { format!("{} (here)", node.name) } else { node.name.clone() },
            node.number.to_string(),
            node.address.clone(),
            if node.ready { "yes" } else { "no" }.to_owned(),
            maybe(node.applied.map(|applied| newest.saturating_sub(applied).to_string())),
            maybe(node.clock_ms.map(|ms| format!("{ms:+} ms"))),
            node.sas.to_string(),
            node.late.to_string(),
            duration(node.uptime_s),
            node.version.clone(),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use penstock_control::api::FleetStore;

    use super::*;

    #[test]
    fn a_node_alone_says_so() {
        assert!(text(&Fleet::default(), None).contains("alone"));
    }

    #[test]
    fn a_wrong_clock_is_named() {
        let node =
            |name: &str, clock_off_ms| FleetNode { name: name.into(), clock_off_ms, ..FleetNode::default() };
        let nodes = vec![node("gw1", None), node("gw2", Some(-2540))];
        let fleet = Fleet { name: Some("edge".into()), nodes, ..Fleet::default() };
        let text = text(&fleet, None);
        assert!(text.contains("node gw2 is 2.5 s BEHIND most") && !text.contains("node gw1 is"), "{text}");
    }

    #[test]
    fn what_is_wrong_is_said() {
        let fleet = Fleet {
            name: Some("edge".into()),
            node: "gw1".into(),
            not_ready: vec!["the store has been away since the start".into()],
            store: FleetStore {
                engine: "etcd".into(),
                away_s: Some(61),
                revision: 12,
                refused: 2,
                last_refused: Some("sas/3/acme/dc1/i-00c00101: forged".into()),
                ..FleetStore::default()
            },
            nodes: vec![FleetNode {
                name: "gw1".into(),
                here: true,
                applied: Some(9),
                ..FleetNode::default()
            }],
            ..Fleet::default()
        };
        let text = text(&fleet, None);
        for words in ["NOT READY", "since the start", "AWAY", "2 records REFUSED, last sas/3", "gw1 (here)"] {
            assert!(text.contains(words), "{words} is not in {text}");
        }
        let row = text.lines().last().unwrap();
        assert!(row.split_whitespace().any(|word| word == "3"), "behind by 3: {row}");
    }
}
