//! Ports on kernel interfaces: af_packet on a veth, TAP, af_xdp. Needs root.
//!
//! Each test moves its thread into a network namespace of its own, which ends with it.

use arrayvec::ArrayVec;
use dpdk::testing::{assert_no_leak, eal, pool};
use dpdk::{Mbuf, Mempool, Port, PortConfig, PortError, RxQueue, TxQueue};
use std::process::Command;
use std::time::{Duration, Instant};

type Burst = ArrayVec<Mbuf, 32>;

/// Moves this thread into a fresh network namespace.
fn namespace() {
    // SAFETY: no memory is involved; only this thread's namespace changes.
    let result = unsafe { libc::unshare(libc::CLONE_NEWNET) };
    let error = std::io::Error::last_os_error();
    assert_eq!(result, 0, "THESE TESTS NEED ROOT (or CAP_SYS_ADMIN and CAP_NET_ADMIN): unshare: {error}");
}

fn ip(arguments: &str) -> String {
    let output = Command::new("ip").args(arguments.split_whitespace()).output().expect("ip, of iproute2");
    assert!(output.status.success(), "ip {arguments}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn veth() {
    namespace();
    ip("link add left type veth peer name right");
    ip("link set left up");
    ip("link set right up");
}

fn attach(device: &str) -> Port {
    Port::attach(device).expect(device)
}

fn start(port: &mut Port, config: &PortConfig, pool: &Mempool) -> (RxQueue, TxQueue) {
    port.configure(config, &vec![pool.clone(); usize::from(config.rx_queues)]).expect("configured");
    let (mut rx, mut tx) = port.start().expect("started");
    (rx.remove(0), tx.remove(0))
}

/// A frame of an EtherType for experiments, which the kernel has nothing to say to.
fn frame(number: u8, len: usize) -> Vec<u8> {
    let mut frame = vec![number; len];
    frame[..14].copy_from_slice(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 1, 0x88, 0xb5]);
    frame
}

/// Sends frames of many sizes and waits until they are there, in order, among the kernel's own chatter.
fn exchange(pool: &Mempool, tx: &mut TxQueue, rx: &mut RxQueue) {
    let mut burst = Burst::new();
    for (number, len) in [60, 61, 200, 1000, 1514].into_iter().enumerate() {
        let wanted = frame(number as u8, len);
        burst.push(pool.alloc_copy(&wanted).expect("a buffer"));
        while !burst.is_empty() {
            tx.tx_burst(&mut burst);
        }
        let end = Instant::now() + Duration::from_secs(5);
        loop {
            rx.rx_burst(&mut burst);
            let found = burst.drain(..).find(|packet| packet.data().get(12..14) == Some(&[0x88, 0xb5]));
            if let Some(packet) = found {
                assert_eq!(packet.data(), wanted);
                break;
            }
            assert!(Instant::now() < end, "frame {number} of {len} bytes did not come");
        }
    }
}

#[test]
fn af_packet_on_a_veth_pair() {
    let pool = pool("af_packet", 4095);
    veth();
    {
        let (mut left, mut right) =
            (attach("net_af_packet0,iface=left"), attach("net_af_packet1,iface=right"));
        let config = PortConfig::default();
        let (mut left_rx, mut left_tx) = start(&mut left, &config, &pool);
        let (mut right_rx, mut right_tx) = start(&mut right, &config, &pool);
        exchange(&pool, &mut left_tx, &mut right_rx);
        exchange(&pool, &mut right_tx, &mut left_rx);
        assert_ne!(left.mac().expect("mac"), right.mac().expect("mac"));
    }
    assert_no_leak(&pool);
}

#[test]
fn the_ports_mtu_and_mac_become_the_interfaces() {
    let pool = pool("mtu", 1023);
    veth();
    let mut port = attach("net_af_packet2,iface=left");
    let config = PortConfig { mtu: 1400, ..PortConfig::default() };
    port.configure(&config, std::slice::from_ref(&pool)).expect("configured");
    assert!(ip("link show left").contains("mtu 1400"));
    port.set_mac([2, 0, 0, 0, 0, 0x77]).expect("set");
    assert!(ip("link show left").contains("02:00:00:00:00:77"));
    assert_eq!(port.mac().expect("mac"), [2, 0, 0, 0, 0, 0x77]);
}

#[test]
fn too_few_queues_say_how_to_get_more() {
    let pool = pool("queues", 1023);
    veth();
    let config = PortConfig { rx_queues: 2, tx_queues: 2, ..PortConfig::default() };
    let pools = [pool.clone(), pool];
    let mut port = attach("net_af_packet3,iface=left");
    let error = port.configure(&config, &pools).expect_err("one queue only").to_string();
    assert!(error.contains("offers 1 RX") && error.contains("qpairs=2"), "{error}");
    drop(port);
    let mut port = attach("net_af_packet3,iface=left,qpairs=2");
    port.configure(&config, &pools).expect("two queues");
    assert_eq!(port.start().expect("started").0.len(), 2);
}

#[test]
fn a_missing_interface_is_named() {
    let _eal = eal();
    namespace();
    let error = Port::attach("net_af_packet4,iface=nowhere").expect_err("no interface").to_string();
    assert!(error.contains("'nowhere'"), "{error}");
}

#[test]
fn a_lost_link_is_seen() {
    let pool = pool("link", 1023);
    veth();
    let mut port = attach("net_af_packet5,iface=left");
    let _queues = start(&mut port, &PortConfig::default(), &pool);
    // The kernel notices a carrier some milliseconds later.
    let becomes = |port: &Port, up: bool, why: &str| {
        let end = Instant::now() + Duration::from_secs(5);
        while port.link().expect("link").up != up {
            assert!(Instant::now() < end, "{why}");
            std::thread::sleep(Duration::from_millis(1));
        }
    };
    becomes(&port, true, "both ends are up");
    ip("link set right down");
    // Asked by a thread of another namespace, as control does.
    std::thread::scope(|scope| {
        scope.spawn(|| {
            namespace();
            becomes(&port, false, "the other end is down");
        });
    });
    ip("link set right up");
    becomes(&port, true, "the other end is back");
    ip("link delete left");
    becomes(&port, false, "the interface is gone");
}

#[test]
fn tap_makes_an_interface_and_carries_packets() {
    let pool = pool("tap", 8191);
    namespace();
    {
        let mut tap = attach("net_tap0,iface=penstap,mac=02:00:00:00:00:05");
        let (mut tap_rx, mut tap_tx) = start(&mut tap, &PortConfig::default(), &pool);
        assert!(ip("link show penstap").contains("02:00:00:00:00:05"));
        let mut kernel = attach("net_af_packet6,iface=penstap");
        let (mut kernel_rx, mut kernel_tx) = start(&mut kernel, &PortConfig::default(), &pool);
        exchange(&pool, &mut tap_tx, &mut kernel_rx);
        exchange(&pool, &mut kernel_tx, &mut tap_rx);
    }
    assert_no_leak(&pool);
}

#[test]
fn tap_has_several_queues() {
    let pool = pool("taps", 8191);
    namespace();
    let mut tap = attach("net_tap1,iface=pens2");
    let config = PortConfig { rx_queues: 2, tx_queues: 2, ..PortConfig::default() };
    tap.configure(&config, &[pool.clone(), pool]).expect("two queues");
    assert_eq!(tap.start().expect("started").1.len(), 2);
}

#[test]
fn af_xdp_on_a_veth_pair() {
    let pool = pool("af_xdp", 16383);
    veth();
    let mut xdp = match Port::attach("net_af_xdp0,iface=left") {
        Ok(port) => port,
        Err(PortError::Attach { hint, .. }) => unreachable!("net_af_xdp is not there: {hint}"),
        Err(error) => unreachable!("{error}"),
    };
    let (mut rx, mut tx) = start(&mut xdp, &PortConfig::default(), &pool);
    let mut peer = attach("net_af_packet7,iface=right");
    let (mut peer_rx, mut peer_tx) = start(&mut peer, &PortConfig::default(), &pool);
    exchange(&pool, &mut tx, &mut peer_rx);
    exchange(&pool, &mut peer_tx, &mut rx);
}
