//! Frames through the pump: a peer in a namespace of its own behind a stand-in for the data plane.

use std::sync::Arc;

use super::super::pump::{FrameLink, Full, Pump};
use super::super::state::NeighbourState;
use super::super::tap::Tap;
use super::*;

/// A wire to the peer's TAP in place of the data plane. Frames on the wire are tagged if there is a VLAN.
struct Wire {
    peer: Tap,
    interface: InterfaceId,
    vlan: Option<u16>,
}

impl FrameLink for Wire {
    fn poll_punts(&mut self, take: &mut dyn FnMut(InterfaceId, &[u8])) -> usize {
        let mut buffer = vec![0; 65_536];
        let mut moved = 0;
        while moved < 32 {
            let Ok(length) = self.peer.read(&mut buffer) else { break };
            let frame = &buffer[..length];
            match self.vlan {
                None => take(self.interface, frame),
                Some(vlan) => {
                    let tag = [&[0x81, 0x00], vlan.to_be_bytes().as_slice()].concat();
                    take(self.interface, &[&frame[..12], &tag, &frame[12..]].concat());
                }
            }
            moved += 1;
        }
        moved
    }

    fn inject(&mut self, interface: InterfaceId, frame: &[u8]) -> Result<(), Full> {
        assert_eq!(interface, self.interface);
        let plain = match self.vlan {
            None => frame.to_vec(),
            Some(vlan) => {
                assert_eq!(frame[12..14], [0x81, 0x00], "a tag is missing");
                assert_eq!(frame[14..16], vlan.to_be_bytes());
                [&frame[..12], &frame[16..]].concat()
            }
        };
        let piece = std::io::IoSlice::new(&plain);
        self.peer.write(&[piece]).map_err(|_| Full)
    }
}

const PEER_MAC: Mac = [2, 0, 0, 0, 0, 0x99];

/// A gateway with one port, and a peer at .2 of its networks, joined by the pump.
async fn joined(what: &str, vlan: Option<u16>) -> (Kernel, Watch, Pump, Netns) {
    let name = unique(what);
    let (mut kernel, updates) = Kernel::start(&name, false).expect("starts");
    let mut watch = Watch::new(updates);
    let mut port = interface(7, "a0", MAC_A, &["192.0.2.1/24", "2001:db8:a::1/64"]);
    port.vlan = vlan;
    let local_addresses = vec![ip("203.0.113.1"), ip("2001:db8:ffff::1")];
    let plan = TwinPlan { interfaces: vec![port], local_addresses, ..TwinPlan::default() };
    let applied = kernel.apply(&plan).await;
    no_problems(&applied);

    let netns = peer(&format!("{what}-peer"));
    let tap = netns.run(|| Tap::open("p0")).expect("runs").expect("opens");
    let peer_name = netns.name();
    for line in [
        "link set p0 address 02:00:00:00:00:99 up",
        "address add 192.0.2.2/24 dev p0",
        "address add 2001:db8:a::2/64 dev p0 nodad",
        "route add default via 192.0.2.1",
        "-6 route add default via 2001:db8:a::1",
    ] {
        sh(&format!("ip -n {peer_name} {line}"));
    }
    let wire = Wire { peer: tap, interface: InterfaceId(7), vlan };
    let pump = Pump::start(Box::new(wire), Some(0)).expect("starts");
    pump.set_ports(applied.ports);
    watch.until("the twin", |s| s.link_by_name("a0").is_some_and(super::super::state::Link::is_up)).await;
    (kernel, watch, pump, netns)
}

async fn ping(netns: &Netns, target: &str, size: u32) {
    let line = format!("ip netns exec {} ping -c 3 -i 0.05 -W 2 -s {size} {target}", netns.name());
    // Not on this thread: the mirror runs on it.
    tokio::task::spawn_blocking(move || sh(&line)).await.expect("pinged");
}

#[tokio::test]
async fn the_peer_pings_the_port_and_the_endpoints() {
    let (kernel, _watch, pump, netns) = joined("ping", None).await;
    for target in ["192.0.2.1", "2001:db8:a::1", "203.0.113.1", "2001:db8:ffff::1"] {
        ping(&netns, target, 56).await;
        ping(&netns, target, 1400).await;
    }
    let stats = pump.stats();
    assert!(stats.punted >= 24 && stats.injected >= 24, "{stats:?}");
    // (Frames may come before the pump knows the twin.)
    let refused = stats.punt_refused + stats.punt_wrong_vlan + stats.inject_full + stats.inject_bad;
    assert_eq!(refused, 0, "{stats:?}");
    kernel.close().expect("closes");
}

#[tokio::test]
async fn a_vlan_is_tagged_on_the_wire_and_plain_in_the_twin() {
    let (_kernel, _watch, pump, netns) = joined("vlan", Some(100)).await;
    ping(&netns, "192.0.2.1", 56).await;
    ping(&netns, "2001:db8:a::1", 1400).await;
    assert_eq!(pump.stats().punt_wrong_vlan, 0);
}

#[tokio::test]
async fn a_wanted_neighbour_is_resolved_and_stays_so() {
    let (kernel, mut watch, _pump, netns) = joined("resolve", None).await;
    let index = watch.index("a0");
    assert_eq!(watch.state.usable_mac(index, ip("192.0.2.2")), None);
    // A short first wait lets the test see the whole cycle.
    for family in ["ipv4", "ipv6"] {
        let path = format!("/proc/sys/net/{family}/neigh/a0/delay_first_probe_time");
        sh(&format!("ip netns exec {} sh -c 'echo 1 >{path}'", kernel.netns().name()));
    }
    kernel.set_wanted(wanted(&[(index, "192.0.2.2"), (index, "2001:db8:a::2")]));
    for address in ["192.0.2.2", "2001:db8:a::2"] {
        watch.until(address, |s| s.usable_mac(index, ip(address)) == Some(PEER_MAC)).await;
    }
    // It goes stale and is made fresh again, by nothing but the resolver: one that nobody wants stays stale.
    let state = |s: &KernelState, address| s.neighbours.get(&(index, ip(address))).map(|n| n.state);
    for address in ["192.0.2.60", "192.0.2.2", "2001:db8:a::2"] {
        let name = kernel.netns().name();
        sh(&format!("ip -n {name} neigh replace {address} lladdr 02:00:00:00:00:99 nud stale dev a0"));
        watch.until("stale", |s| state(s, address) == Some(NeighbourState::Stale)).await;
    }
    for address in ["192.0.2.2", "2001:db8:a::2"] {
        watch.until("fresh again", |s| state(s, address) == Some(NeighbourState::Reachable)).await;
    }
    assert_eq!(state(&watch.state, "192.0.2.60"), Some(NeighbourState::Stale));
    // A peer that moved: asked where it was it is silent, asked for by broadcast it is found.
    sh(&format!("ip -n {} link set p0 address 02:00:00:00:00:77", netns.name()));
    let name = kernel.netns().name();
    sh(&format!("ip -n {name} neigh replace 192.0.2.2 lladdr 02:00:00:00:00:99 nud stale dev a0"));
    let moved = [2, 0, 0, 0, 0, 0x77];
    watch.until("the new address", |s| s.usable_mac(index, ip("192.0.2.2")) == Some(moved)).await;
}

#[tokio::test]
async fn a_neighbour_that_fails_is_tried_again_until_it_is_there() {
    let (kernel, mut watch, _pump, netns) = joined("failed", None).await;
    let index = watch.index("a0");
    kernel.set_wanted(wanted(&[(index, "192.0.2.44")]));
    let failed = |s: &KernelState| {
        s.neighbours.get(&(index, ip("192.0.2.44"))).is_some_and(|n| n.state == NeighbourState::Failed)
    };
    watch.until("failed", failed).await;
    assert_eq!(watch.state.usable_mac(index, ip("192.0.2.44")), None);
    // IPv4 duplicate detection and gratuitous ARP are off in the peer: only our own retry can find it.
    sh(&format!("ip -n {} address add 192.0.2.44/24 dev p0", netns.name()));
    watch.until("found", |s| s.usable_mac(index, ip("192.0.2.44")) == Some(PEER_MAC)).await;
    assert!(kernel.stats().requests >= 2, "{:?}", kernel.stats());
}

#[tokio::test]
async fn a_deleted_twin_does_not_make_the_pump_spin() {
    let (kernel, mut watch, pump, _netns) = joined("spin", None).await;
    sh(&format!("ip -n {} link del a0", kernel.netns().name()));
    watch.until("gone", |s| s.link_by_name("a0").is_none()).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    let used = || {
        let pid = std::process::id();
        let line =
            format!("cat /proc/{pid}/task/*/stat | grep '(pump)' | awk '{{s += $14 + $15}} END {{print s}}'");
        sh(&line).trim().parse::<u64>().expect("a number")
    };
    let before = used();
    tokio::time::sleep(Duration::from_millis(500)).await;
    // Pumps of tests that run beside this one are in the sum; one that spins would add 50 ticks.
    assert!(used() - before < 30, "{} ticks", used() - before);
    drop(pump);
}

#[tokio::test]
async fn frames_for_nobody_are_counted() {
    struct Stray(usize);
    impl FrameLink for Stray {
        fn poll_punts(&mut self, take: &mut dyn FnMut(InterfaceId, &[u8])) -> usize {
            if self.0 == 0 {
                return 0;
            }
            self.0 -= 1;
            take(InterfaceId(9), &[0; 60]);
            take(InterfaceId(3), &[0; 5]);
            2
        }
        fn inject(&mut self, _: InterfaceId, _: &[u8]) -> Result<(), Full> {
            Err(Full)
        }
    }
    let netns = peer("stray");
    let tap = Arc::new(netns.run(|| Tap::open("s0")).expect("runs").expect("opens"));
    let index = IfIndex(2);
    let pump = Pump::start(Box::new(Stray(10)), None).expect("starts");
    let port = |tap: &Arc<Tap>| super::super::pump::PumpPort {
        interface: InterfaceId(3),
        index,
        vlan: None,
        tap: Arc::clone(tap),
    };
    pump.set_ports(vec![port(&tap)]);
    // Router solicitations of the new interface have nowhere to go.
    sh(&format!("ip -n {} link set s0 up", netns.name()));
    let wait = async {
        while pump.stats().inject_full == 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(PATIENCE, wait).await.expect("the kernel sends something on a new interface");
    let stats = pump.stats();
    assert_eq!(stats.punt_no_twin + stats.punt_wrong_vlan, 20, "{stats:?}");
    assert!(stats.punt_no_twin >= 10, "{stats:?}");
}
