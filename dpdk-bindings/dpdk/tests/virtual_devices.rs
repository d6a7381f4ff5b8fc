//! Every kind of virtual device can really be made, started, polled and removed.

use arrayvec::ArrayVec;
use dpdk::testing::{assert_no_leak, eal, pool};
use dpdk::{Mbuf, Port, PortConfig, PortError, RxQueue, TxQueue, free_bulk};

type Burst = ArrayVec<Mbuf, 32>;

fn started(device: &str, pool: &dpdk::Mempool) -> (Port, RxQueue, TxQueue) {
    let mut port = Port::attach(device).unwrap_or_else(|error| panic!("{error}"));
    port.configure(&PortConfig::default(), std::slice::from_ref(pool))
        .unwrap_or_else(|error| panic!("{error}"));
    let (mut rx, mut tx) = port.start().unwrap_or_else(|error| panic!("{error}"));
    let (rx, tx) = (rx.remove(0), tx.remove(0));
    (port, rx, tx)
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
fn ring_device_loops_back_in_order() {
    let pool = pool("ring", 4095);
    {
        let (_port, mut rx, mut tx) = started("net_ring0", &pool);
        let mut burst = Burst::new();
        for number in 0..20u8 {
            burst.push(pool.alloc_copy(&[number; 60]).expect("a buffer"));
        }
        assert_eq!(tx.tx_burst(&mut burst), 20);
        assert_eq!(rx.rx_burst(&mut burst), 20);
        for (number, packet) in (0..).zip(&burst) {
            assert_eq!(packet.data(), [number; 60]);
        }
    }
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
}
