//! `cores` and `memory`.

use std::collections::{BTreeMap, BTreeSet};

use super::Check;
use crate::config::schema::{Auto, IdlePlacement, QueuePlacement};

/// What DPDK adds to the data room of a packet buffer: its descriptor, headroom, alignment; bytes.
const MBUF_OVERHEAD: u64 = 128 + 128 + 64;

impl Check<'_> {
    pub(super) fn cores(&mut self) {
        let cores = &self.config.cores;
        let mut seen = BTreeSet::new();
        for core in &cores.workers {
            if !seen.insert(*core) {
                self.error("cores.workers", format!("core {core} is named twice"), "name each core once");
            }
        }
        if seen.contains(&cores.control) {
            let message = format!("core {} runs a worker as well as control", cores.control);
            self.warn("cores.control", message, "give control a core of its own where there is one");
        }
        if let IdlePlacement::ByCore(policies) = &cores.idle {
            for core in policies.keys().filter(|core| !seen.contains(core)) {
                let fix = "name a core of cores.workers, or remove it";
                self.error(&format!("cores.idle.{core}"), format!("core {core} is not a worker"), fix);
            }
        }
        let QueuePlacement::ByHand(by_core) = &cores.queues else { return };
        let mut polled: BTreeMap<&str, BTreeSet<u16>> = BTreeMap::new();
        for (core, queues) in by_core {
            let list = format!("cores.queues.{core}");
            if !seen.contains(core) {
                let fix = "add it to cores.workers or move its queues to a worker";
                self.error(&list, format!("core {core} is not a worker"), fix);
            }
            for (i, queue) in queues.iter().enumerate() {
                let path = self.item(&list, i);
                if !self.config.ports.contains_key(&queue.port) {
                    let ports = self.config.ports.keys().map(|n| &**n);
                    self.unknown(&path, "port", &queue.port, "ports", ports);
                } else if !polled.entry(&queue.port).or_default().insert(queue.queue) {
                    self.error(
                        &path,
                        format!("{queue} is polled twice"),
                        "one queue, one core: remove one of them",
                    );
                }
            }
        }
        for port in self.config.ports.keys() {
            let queues = polled.get(&**port).map_or(0, BTreeSet::len);
            let highest = polled.get(&**port).and_then(BTreeSet::last).copied();
            match highest {
                None => {
                    let fix = format!("give {port}/0 to a worker");
                    self.error("cores.queues", format!("nobody polls port {port}"), fix);
                }
                Some(highest) if usize::from(highest) + 1 != queues => {
                    let message =
                        format!("some queues of {port} below {port}/{highest} are polled by nobody");
                    self.error("cores.queues", message, "use every queue from 0 on, without gaps");
                }
                Some(_) => {}
            }
        }
        for core in &seen {
            if by_core.get(core).is_none_or(Vec::is_empty) {
                let message = format!("worker core {core} polls nothing");
                self.warn("cores.queues", message, "give it a queue, or remove it from cores.workers");
            }
        }
    }

    pub(super) fn memory(&mut self) {
        let memory = &self.config.memory;
        let Auto::Fixed(mbufs) = memory.mbufs else { return };
        let needed_mib = (u64::from(mbufs) * (u64::from(memory.mbuf_size) + MBUF_OVERHEAD)) >> 20;
        if needed_mib > u64::from(memory.size_mib) {
            let message = format!(
                "{mbufs} packet buffers need {needed_mib} MiB, memory.size_mib is {}",
                memory.size_mib
            );
            self.error("memory.mbufs", message, "write auto, fewer buffers, or more memory");
        }
        let workers = self.config.cores.workers.len() as u64;
        let rings: u64 = self
            .config
            .ports
            .values()
            .map(|p| workers * (u64::from(p.rx_descriptors) + u64::from(p.tx_descriptors)))
            .sum();
        if u64::from(mbufs) < rings {
            let message = format!("{mbufs} packet buffers are fewer than the {rings} slots of all queues");
            self.warn("memory.mbufs", message, "write auto, more buffers, or fewer descriptors");
        }
    }
}
