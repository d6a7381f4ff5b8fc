//! Memory for packets: hugepages that are free, on the right nodes, and enough for the buffers.

use std::collections::BTreeMap;

use super::ports::node_of;
use super::{Finding, Host};
use crate::config::{Auto, ValidConfig};
use crate::runtime::buffers_of_node;

const PAGES: &str = "/sys/kernel/mm/hugepages";
/// What DPDK adds to the data room of a packet buffer: its descriptor, headroom, alignment; bytes.
const BUFFER_OVERHEAD: u64 = 128 + 128 + 64;

pub(super) fn examine(host: &Host, config: Option<&ValidConfig>) -> Vec<Finding> {
    let mut findings = vec![hugepages(host, config)];
    if let Some(config) = config {
        findings.extend(nodes(host, config));
        findings.push(buffers(host, config));
    }
    findings
}

/// Sizes of hugepages, MiB, and how many there are and how many of them are free.
struct Pages {
    total_mib: u64,
    free_mib: u64,
}

fn pages(host: &Host, directory: &str) -> Pages {
    let mut sum = Pages { total_mib: 0, free_mib: 0 };
    for size in host.list(directory) {
        let Some(kib) = size.strip_prefix("hugepages-").and_then(|size| size.strip_suffix("kB")) else {
            continue;
        };
        let kib: u64 = kib.parse().unwrap_or_default();
        let count = |file: &str| {
            let count = host.number(format!("{directory}/{size}/{file}"));
            count.and_then(|count| u64::try_from(count).ok()).unwrap_or_default()
        };
        sum.total_mib += count("nr_hugepages").saturating_mul(kib) >> 10;
        sum.free_mib += count("free_hugepages").saturating_mul(kib) >> 10;
    }
    sum
}

fn hugepages(host: &Host, config: Option<&ValidConfig>) -> Finding {
    const CHECK: &str = "memory.hugepages";
    const DEFAULT_MIB: u64 = 2048;
    let wanted = config.map_or(DEFAULT_MIB, |config| u64::from(config.memory.size_mib));
    if config.is_some_and(|config| !config.memory.hugepages) {
        let available = available_mib(host);
        return if available >= wanted {
            Finding::not_needed(CHECK, "memory.hugepages is false: for laptops and labs, not for speed")
        } else {
            Finding::bad(
                CHECK,
                format!("memory.size_mib is {wanted}, and {available} MiB of ordinary memory are available"),
                "write a smaller memory.size_mib, or free memory",
            )
        };
    }
    let there = pages(host, PAGES);
    let make = format!(
        "sysctl -w vm.nr_hugepages={}   # and, to keep it: in /etc/sysctl.d/penstock.conf",
        wanted / 2
    );
    if there.free_mib >= wanted {
        Finding::ok(CHECK, format!("{} MiB free, {wanted} wanted", there.free_mib))
    } else if there.total_mib >= wanted {
        Finding::warning(
            CHECK,
            format!(
                "{} MiB are there, but only {} free, {wanted} wanted: that is right while penstock runs",
                there.total_mib, there.free_mib
            ),
            "grep -s KernelPageSize.*[^4].kB /proc/*/smaps   # who has them, if it is not penstock",
        )
    } else {
        Finding::bad(CHECK, format!("{} MiB are there, {wanted} wanted", there.total_mib), make)
    }
}

fn available_mib(host: &Host) -> u64 {
    let meminfo = host.read("/proc/meminfo").unwrap_or_default();
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    let kib = line.and_then(|line| line.split_whitespace().next()).and_then(|kib| kib.parse::<u64>().ok());
    kib.unwrap_or_default() >> 10
}

/// A port whose node has no hugepages gets its buffers from the other socket.
fn nodes(host: &Host, config: &ValidConfig) -> Vec<Finding> {
    if !config.memory.hugepages {
        return vec![];
    }
    let of_ports = config.ports.iter().filter_map(|(name, port)| Some((name, node_of(host, &port.device)?)));
    of_ports
        .filter_map(|(name, node)| {
            let directory = format!("/sys/devices/system/node/node{node}/hugepages");
            let empty = host.exists(&directory) && pages(host, &directory).total_mib == 0;
            empty.then(|| {
                Finding::bad(
                    "memory.node",
                    format!("port {name} is on NUMA node {node}, which has no hugepages"),
                    format!(
                        "echo {} > {directory}/hugepages-2048kB/nr_hugepages",
                        config.memory.size_mib / 2
                    ),
                )
            })
        })
        .collect()
}

/// As they are made at the start, if each worker polls one queue of each port.
fn buffers(host: &Host, config: &ValidConfig) -> Finding {
    const CHECK: &str = "memory.buffers";
    let workers = u32::try_from(config.cores.workers.len()).unwrap_or(u32::MAX);
    let mut rings: BTreeMap<Option<u32>, u32> = BTreeMap::new();
    for port in config.ports.values() {
        let slots = (u32::from(port.rx_descriptors) + u32::from(port.tx_descriptors)).saturating_mul(workers);
        let sum = rings.entry(node_of(host, &port.device)).or_default();
        *sum = sum.saturating_add(slots);
    }
    let count: u64 = rings
        .values()
        .map(|rings| match config.memory.mbufs {
            Auto::Fixed(count) => u64::from(count),
            Auto::Auto => u64::from(buffers_of_node(*rings, workers)),
        })
        .sum();
    let needed_mib = (count * (u64::from(config.memory.mbuf_size) + BUFFER_OVERHEAD)) >> 20;
    let size_mib = u64::from(config.memory.size_mib);
    // Rings, reassembly tables and DPDK itself need some, too.
    if needed_mib + needed_mib / 8 + 32 > size_mib {
        return Finding::bad(
            CHECK,
            format!(
                "{count} packet buffers need {needed_mib} MiB of the {size_mib} of memory.size_mib, too much"
            ),
            format!(
                "write memory: {{size_mib: {}}}, or fewer descriptors",
                (needed_mib * 2).next_power_of_two()
            ),
        );
    }
    Finding::ok(CHECK, format!("up to {count} packet buffers, {needed_mib} MiB of {size_mib}"))
}
