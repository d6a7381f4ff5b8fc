//! Every kind of virtual device without a kernel interface can be made, started, polled and removed.

use arrayvec::ArrayVec;
use dpdk::testing::{assert_no_leak, eal, pool};
use dpdk::{Mbuf, Mempool, Port, PortConfig, PortError, RxQueue, TxQueue, free_bulk};
use std::time::{Duration, Instant};

type Burst = ArrayVec<Mbuf, 32>;

fn started(device: &str, pool: &Mempool) -> (Port, RxQueue, TxQueue) {
    let mut port = Port::attach(device).expect(device);
    port.configure(&PortConfig::default(), std::slice::from_ref(pool)).expect(device);
    let (mut rx, mut tx) = port.start().expect(device);
    (port, rx.remove(0), tx.remove(0))
}

#[test]
fn null_device_gives_and_takes() {
    let pool = pool("null", 2047);
    {
        let (port, mut rx, mut tx) = started("net_null0,size=100", &pool);
        assert_eq!(port.info().expect("info").driver, "net_null");
        let mut burst = Burst::new();
        for _ in 0..100 {
            assert_eq!(rx.rx_burst(&mut burst), 32);
            assert_eq!(burst[0].len(), 100);
            assert_eq!(tx.tx_burst(&mut burst), 32);
            assert!(burst.is_empty());
        }
        assert_eq!(rx.rx_burst(&mut burst), 32);
        free_bulk(&mut burst);
        assert_eq!(port.stats().expect("stats").tx_packets, 3200);
    }
    assert_no_leak(&pool);
}

#[test]
fn reception_fills_the_room_that_is_left() {
    let pool = pool("room", 511);
    {
        let (_port, mut rx, _tx) = started("net_null1", &pool);
        let mut burst = Burst::new();
        burst.push(pool.alloc_copy(b"first").expect("a buffer"));
        assert_eq!(rx.rx_burst(&mut burst), 31);
        assert_eq!(burst[0].data(), b"first");
        assert_eq!(rx.rx_burst(&mut burst), 0);
    }
    assert_no_leak(&pool);
}

#[test]
fn ring_device_loops_back_in_order_and_keeps_what_it_cannot_send() {
    let pool = pool("ring", 4095);
    {
        // The driver's ring takes 1023 packets.
        let (_port, mut rx, mut tx) = started("net_ring0", &pool);
        let mut sent = 0u32;
        let mut burst = Burst::new();
        loop {
            let start = sent + u32::try_from(burst.len()).expect("small");
            for number in (start..).take(burst.remaining_capacity()) {
                burst.push(pool.alloc_copy(&number.to_be_bytes()).expect("a buffer"));
            }
            let count = tx.tx_burst(&mut burst);
            sent += u32::try_from(count).expect("small");
            if count < 32 {
                break;
            }
        }
        assert_eq!(sent, 1023);
        assert_eq!(burst.len(), 1, "1024 were made, 1023 sent");
        assert_eq!(burst[0].data(), 1023u32.to_be_bytes());
        burst.clear();

        let mut next = 0u32;
        while rx.rx_burst(&mut burst) > 0 {
            for packet in burst.drain(..) {
                assert_eq!(packet.data(), next.to_be_bytes());
                next += 1;
            }
        }
        assert_eq!(next, sent);
    }
    assert_no_leak(&pool);
}

#[test]
fn memif_carries_packets_between_two_ports() {
    let directory = tempfile::tempdir().expect("a directory");
    let socket = directory.path().join("memif.sock");
    let socket = socket.display();
    let pool = pool("memif", 8191);
    {
        let server = format!("net_memif0,role=server,socket={socket},socket-abstract=no,id=1");
        let client = format!("net_memif1,role=client,socket={socket},socket-abstract=no,id=1");
        let (a, mut a_rx, _a_tx) = started(&server, &pool);
        let (b, _b_rx, mut b_tx) = started(&client, &pool);
        wait("the link", || a.link().is_ok_and(|link| link.up) && b.link().is_ok_and(|link| link.up));
        let mut burst = Burst::new();
        burst.push(pool.alloc_copy(&[7; 900]).expect("a buffer"));
        assert_eq!(b_tx.tx_burst(&mut burst), 1);
        wait("the packet", || a_rx.rx_burst(&mut burst) == 1);
        assert_eq!(burst[0].data(), [7; 900]);
    }
    assert_no_leak(&pool);
}

#[test]
fn a_port_stops_with_all_its_queues_and_takes_another_configuration() {
    let pool = pool("restart", 2047);
    let pools = [pool.clone(), pool.clone()];
    {
        let mut port = Port::attach("net_null2").expect("net_null2");
        assert!(matches!(port.start(), Err(PortError::NotConfigured { .. })));
        let mut config = PortConfig { rx_queues: 2, tx_queues: 2, ..PortConfig::default() };
        assert!(matches!(port.configure(&config, &pools[..1]), Err(PortError::Pools { .. })));
        port.configure(&config, &pools).expect("configured");
        let (rx, tx) = port.start().expect("started");
        assert_eq!((rx.len(), tx.len(), rx[1].queue_id(), tx[1].queue_id()), (2, 2, 1, 1));
        assert!(matches!(port.start(), Err(PortError::Running { .. })));
        assert!(matches!(port.configure(&config, &pools), Err(PortError::Running { .. })));
        port.stop(rx, tx).expect("stopped");

        config.rx_queues = 1;
        port.configure(&config, &pools[..1]).expect("configured anew");
        let (mut rx, tx) = port.start().expect("started again");
        let mut burst = Burst::new();
        assert_eq!(rx[0].rx_burst(&mut burst), 32);
        rx.clear();
        assert!(matches!(port.stop(rx, tx), Err(PortError::QueuesMissing { .. })));
    }
    assert_no_leak(&pool);
}

#[test]
fn sizes_that_do_not_fit_are_errors_before_they_are_packets() {
    let pool = pool("sizes", 511);
    let mut port = Port::attach("net_null3").expect("net_null3");
    let mut configure = |mtu| {
        let config = PortConfig { mtu, ..PortConfig::default() };
        port.configure(&config, std::slice::from_ref(&pool)).map_err(|error| error.to_string())
    };
    let error = configure(9000).expect_err("no chains on this device");
    assert!(error.contains("memory.mbuf_size to at least 9022"), "{error}");
    let error = configure(10).expect_err("less than IPv4 needs");
    assert!(error.contains("change the port's mtu"), "{error}");
    configure(1500).expect("fits");
}

#[test]
fn queues_outlive_their_port() {
    let pool = pool("outlive", 511);
    {
        let (port, mut rx, _tx) = started("net_null4", &pool);
        drop(port);
        let mut burst = Burst::new();
        assert_eq!(rx.rx_burst(&mut burst), 32);
    }
    drop(Port::attach("net_null4").expect("free again"));
    assert_no_leak(&pool);
}

#[test]
fn a_name_can_be_taken_once_and_again_later() {
    let _eal = eal();
    let first = Port::attach("net_null7").expect("net_null7");
    assert!(matches!(Port::attach("net_null7"), Err(PortError::NameInUse { .. })));
    drop(first);
    drop(Port::attach("net_null7").expect("net_null7 again"));
}

#[test]
fn an_unknown_device_says_what_a_device_is() {
    let _eal = eal();
    let error = Port::attach("eth0").expect_err("no such driver").to_string();
    assert!(error.contains("PCI address"), "{error}");
    let error = Port::attach("0000:ff:1f.7").expect_err("no such device").to_string();
    assert!(error.contains("lspci"), "{error}");
}

fn wait(what: &str, mut done: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(10);
    while !done() {
        assert!(Instant::now() < end, "{what} did not come in 10 s");
        std::thread::sleep(Duration::from_millis(1));
    }
}
