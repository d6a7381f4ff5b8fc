//! What an operator should look at first, in words: read from the same rows that `show` prints.
//!
//! Only states that need a person are named. A counter that is not zero is not one of them by itself, unless it
//! means that packets are lost for want of capacity.

use super::types::{CoreRole, CoreRow, PortRow, Status};

/// A pool this full will soon refuse buffers.
const POOL_NEARLY_FULL_PERCENT: u64 = 90;

/// Of many of a kind, these are named.
const MAX_NAMED: usize = 3;

/// A loop this long delays packets by more than a burst of any size explains.
const STALL_US: f64 = 10_000.0;

/// Sentences, most urgent first.
pub(super) fn attention(status: &Status, ports: &[PortRow], cores: &[CoreRow]) -> Vec<String> {
    let mut sentences = Vec::new();
    links(ports, &mut sentences);
    workers(cores, &mut sentences);
    encryption(status, &mut sentences);
    negotiation(status, &mut sentences);
    tunnels(status, &mut sentences);
    losses(ports, &mut sentences);
    pools(cores, &mut sentences);
    last_reload(status, &mut sentences);
    static_sas(status, &mut sentences);
    sentences
}

fn links(ports: &[PortRow], sentences: &mut Vec<String>) {
    for port in ports.iter().filter(|port| !port.link.up) {
        sentences.push(format!("port {}: no link; check the cable and the switch port", port.name));
    }
}

fn workers(cores: &[CoreRow], sentences: &mut Vec<String>) {
    for core in cores.iter().filter(|core| core.role == CoreRole::Worker) {
        if core.generation.is_some_and(|generation| generation < core.current_generation) {
            sentences.push(format!(
                "core {}: works with tables of generation {}, control has published {}; if it stays so, the core \
                 does not run (is another process pinned to it?)",
                core.core,
                core.generation.unwrap_or_default(),
                core.current_generation
            ));
        }
        if let Some(longest) = core.max_loop_us.filter(|&longest| longest >= STALL_US) {
            sentences.push(format!(
                "core {}: one loop took {:.0} ms; isolate the core from the kernel's scheduler",
                core.core,
                longest / 1000.0
            ));
        }
    }
}

fn tunnels(status: &Status, sentences: &mut Vec<String>) {
    let down = status.tunnels.total.saturating_sub(status.tunnels.up);
    if down > 0 {
        sentences.push(format!(
            "{down} of {} tunnels are not up: penstock show tunnels --state down, --state unresolved",
            status.tunnels.total
        ));
    }
}

fn losses(ports: &[PortRow], sentences: &mut Vec<String>) {
    for port in ports {
        let lost = &port.counters;
        if lost.rx_missed > 0 {
            sentences.push(format!(
                "port {}: {} packets missed because the receive ring was full; add workers or raise rx_descriptors",
                port.name, lost.rx_missed
            ));
        }
        if lost.rx_no_buffer > 0 {
            sentences.push(format!(
                "port {}: {} packets lost for want of a buffer; raise memory.mbufs",
                port.name, lost.rx_no_buffer
            ));
        }
    }
}

fn pools(cores: &[CoreRow], sentences: &mut Vec<String>) {
    let mut named: Vec<&str> = Vec::new();
    for pool in cores.iter().filter_map(|core| core.pool.as_ref()) {
        let full = u64::from(pool.in_use) * 100 >= u64::from(pool.size) * POOL_NEARLY_FULL_PERCENT;
        if full && pool.size > 0 && !named.contains(&pool.name.as_str()) {
            named.push(&pool.name);
            sentences.push(format!(
                "packet buffers of {}: {} of {} in use; raise memory.mbufs",
                pool.name, pool.in_use, pool.size
            ));
        }
    }
}

fn encryption(status: &Status, sentences: &mut Vec<String>) {
    if let Some(why) = &status.no_lease {
        sentences.push(format!("workers may not encrypt, IPsec tunnels send nothing: {why}"));
    }
    if status.stopped_sas > 0 {
        sentences.push(format!(
            "{} tunnels were stopped, because their outbound keys have been in use for {} days: write new security \
             associations into the file of --static-sas, with another spi, and reload; penstock show tunnels --state \
             down says which",
            status.stopped_sas,
            crate::leases::MAX_KEY_LIFE.as_secs() / (24 * 3600)
        ));
    }
    if let Some(why) = &status.no_renewal {
        sentences.push(format!("workers get no new sender IDs, which they should every day: {why}"));
    }
}

fn negotiation(status: &Status, sentences: &mut Vec<String>) {
    let Some(ike) = &status.ike else { return };
    if let Some(problem) = &ike.problem {
        sentences.push(format!("IKE: no tunnel can be negotiated or rekeyed: {problem}"));
    }
    for refused in ike.refused.iter().take(MAX_NAMED) {
        sentences.push(format!("IKE: {refused}"));
    }
    if ike.refused.len() > MAX_NAMED {
        sentences.push(format!("IKE: {} more like this: penstock show ike", ike.refused.len() - MAX_NAMED));
    }
    let named = ike.failing.iter().take(MAX_NAMED).map(String::as_str).collect::<Vec<_>>().join(", ");
    match ike.failing.len() {
        0 => {}
        1 => sentences.push(format!(
            "IKE: the negotiation of tunnel {named} fails: penstock show ike --detail says why"
        )),
        n => sentences.push(format!(
            "IKE: the negotiations of {n} tunnels fail ({named}{}): penstock show ike --detail says why",
            if n > MAX_NAMED { ", ..." } else { "" }
        )),
    }
}

fn static_sas(status: &Status, sentences: &mut Vec<String>) {
    if status.static_sas > 0 {
        sentences.push(format!("{} {}", status.static_sas, crate::static_sas::WARNING));
    }
}

fn last_reload(status: &Status, sentences: &mut Vec<String>) {
    if let Some(error) = status.last_reload.as_ref().and_then(|reload| reload.error.as_ref()) {
        sentences.push(format!("the last reload was refused: {error}"));
    }
}
