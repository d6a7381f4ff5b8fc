//! Automatic queue placement: which worker polls which receive queue of which port.
//!
//! Every worker gets one queue of every port, as far as the ports have queues; workers on the port's own NUMA node
//! come first. Where a port has fewer queues than there are workers, those with the least to do get them.

use std::collections::BTreeMap;

use super::Name;
use super::schema::PortQueue;

/// What placement needs to know of a port.
#[derive(Debug, Clone)]
pub struct PortPlacement {
    /// Its name.
    pub port: Name,
    /// The NUMA node that the NIC sits on; `None` for virtual devices.
    pub numa: Option<u16>,
    /// Receive queues that the device can have.
    pub max_rx_queues: u16,
}

/// The queues of each worker. `workers` are cores with their NUMA nodes. Each port uses the queues from 0 to one less
/// than the smaller of workers and `max_rx_queues`, each exactly once.
pub fn place_queues(
    workers: &[(u16, Option<u16>)],
    ports: &[PortPlacement],
) -> BTreeMap<u16, Vec<PortQueue>> {
    let mut placed: BTreeMap<u16, Vec<PortQueue>> =
        workers.iter().map(|(core, _)| (*core, Vec::new())).collect();
    for port in ports {
        let mut order: Vec<_> = workers.to_vec();
        order.sort_by_key(|(core, numa)| {
            let remote = port.numa.is_some() && *numa != port.numa;
            (remote, placed.get(core).map_or(0, Vec::len), *core)
        });
        for (queue, (core, _)) in (0..port.max_rx_queues).zip(order) {
            placed.entry(core).or_default().push(PortQueue { port: port.port.clone(), queue });
        }
    }
    placed
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(name: &str, numa: Option<u16>, max_rx_queues: u16) -> PortPlacement {
        PortPlacement { port: Name::new(name).expect("a name"), numa, max_rx_queues }
    }

    fn show(placed: &BTreeMap<u16, Vec<PortQueue>>) -> Vec<String> {
        placed
            .iter()
            .map(|(core, queues)| {
                format!("{core}: {}", queues.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "))
            })
            .collect()
    }

    #[test]
    fn every_worker_polls_every_port() {
        let placed =
            place_queues(&[(2, Some(0)), (3, Some(0))], &[port("a", Some(0), 16), port("b", None, 8)]);
        assert_eq!(show(&placed), ["2: a/0 b/0", "3: a/1 b/1"]);
    }

    #[test]
    fn a_port_with_few_queues_is_polled_near_by() {
        let workers = [(2, Some(0)), (3, Some(0)), (10, Some(1)), (11, Some(1))];
        let placed =
            place_queues(&workers, &[port("near", Some(1), 1), port("far", Some(1), 1), port("v", None, 1)]);
        assert_eq!(show(&placed), ["2: v/0", "3: ", "10: near/0", "11: far/0"]);
    }
}
