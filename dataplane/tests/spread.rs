//! One tunnel on two workers: who is overloaded hands on, each flow keeps its order, nothing is lost uncounted.
#![allow(clippy::unwrap_used, reason = "a test fails by panic")]

mod support;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use penstock_dataplane::drop_reason::DropReason;
use penstock_dataplane::esp::cipher::{Backend, Cipher};
use penstock_dataplane::esp::key::KeyMaterial;
use penstock_dataplane::esp::replay::ReplayWindow;
use penstock_dataplane::esp::sa::{InboundSpec, Numbering, OutboundSpec, Spi};
use penstock_dataplane::esp::selector::Selectors;
use penstock_dataplane::esp::suite::Suite;
use penstock_dataplane::ids::*;
use penstock_dataplane::tables::*;
use support::*;

const FLOWS: u16 = 40;
/// A worker judges its load after 256.
const TURNS: u32 = 350;

fn cipher(suite: Suite) -> Arc<Cipher> {
    let key = vec![5; suite.encryption_key_len() + suite.salt_len()];
    let keys = KeyMaterial::new(suite, &key, &vec![6; suite.integrity_key_len()]).unwrap();
    Arc::new(Cipher::new(suite, &keys, Backend::best()).unwrap())
}

fn outbound(suite: Suite, numbering: Numbering) -> OutboundSpec {
    OutboundSpec {
        spi: Spi(0x1001),
        tunnel: TUNNEL,
        incarnation: 7,
        cipher: cipher(suite),
        esn: false,
        numbering,
        first: 1,
        selectors: Arc::new(Selectors::any()),
        remote: REMOTE.parse().unwrap(),
        soft_limit: u64::MAX,
        hard_limit: u64::MAX,
    }
}

fn tunnel() -> TunnelSpec {
    TunnelSpec { encapsulation: Encapsulation::Esp { udp: None }, incarnation: 7, mtu: 1400, ..spec() }
}

/// The other end, to see what is inside.
fn opener(suite: Suite, replay: Option<u32>) -> (Lab, Lab) {
    let ours = tunnel();
    let (mut one, mut two) = Lab::two(&TunnelSpec { local: ours.remote, remote: ours.local, ..ours });
    for lab in [&mut one, &mut two] {
        lab.change(|tables| {
            let endpoint = Hop::endpoint(EndpointId(0));
            tables.set_vrf(VrfId::INTERNET, table(&[("192.0.2.77/32", endpoint)], &[]));
            tables.set_vrf(TENANT, table(&[("0.0.0.0/0", Hop::adjacency(AdjacencyId(0)))], &[]));
        });
    }
    let spec = InboundSpec {
        spi: Spi(0x1001),
        endpoint: EndpointId(0),
        tunnel: TUNNEL,
        incarnation: 7,
        cipher: cipher(suite),
        esn: false,
        replay: replay.map(|size| Arc::new(ReplayWindow::new(size, false).unwrap())),
        selectors: Arc::new(Selectors::any()),
    };
    one.feed.add_inbound(&spec).unwrap();
    (one, two)
}

/// A packet of a flow, which says its place in the flow.
fn packet(flow: u16, number: u32) -> Vec<u8> {
    let mut payload = udp(64);
    payload[0..2].copy_from_slice(&(1000 + flow).to_be_bytes());
    payload[8..12].copy_from_slice(&number.to_be_bytes());
    Ip4::default().build(CLIENT, INSIDE, &payload)
}

fn number_of(inner: &[u8]) -> (u16, u32) {
    let flow = u16::from_be_bytes([inner[20], inner[21]]) - 1000;
    (flow, u32::from_be_bytes([inner[28], inner[29], inner[30], inner[31]]))
}

/// Full bursts to the first worker, for so many turns; both run. Returns frames in the order they left by.
fn load(one: &mut Lab, two: &mut Lab, turns: u32, mut next: impl FnMut(u32) -> Vec<u8>) -> Vec<Vec<u8>> {
    let mut out = Vec::new();
    let mut sent = 0;
    for _ in 0..turns {
        for _ in 0..64 {
            one.rx.push(&frame(&next(sent)));
            sent += 1;
        }
        for lab in [&mut *one, &mut *two] {
            lab.worker.turn();
            let (edge, core) = lab.drain();
            out.extend(edge.into_iter().chain(core).map(|frame| frame[14..].to_vec()));
        }
    }
    for _ in 0..8 {
        for lab in [&mut *two, &mut *one] {
            lab.worker.turn();
            let (edge, core) = lab.drain();
            out.extend(edge.into_iter().chain(core).map(|frame| frame[14..].to_vec()));
        }
    }
    out
}

fn assert_in_order(inner: impl IntoIterator<Item = Vec<u8>>, expected: usize) {
    let mut newest = HashMap::new();
    let mut count = 0;
    for packet in inner {
        let (flow, number) = number_of(&packet);
        let before = newest.insert(flow, number);
        assert!(before.is_none_or(|before| before < number), "flow {flow}: {number} after {before:?}");
        count += 1;
    }
    assert_eq!(count, expected);
}

fn assert_balanced(one: &Lab, two: &Lab) {
    let ((came, went), (came2, went2)) = (one.stats.balance(), two.stats.balance());
    assert_eq!((came, came2), (went, went2), "{:?} {:?}", one.all_drops(), two.all_drops());
    assert_eq!(
        one.stats.handed_out.get() + two.stats.handed_out.get(),
        one.stats.handed_in.get() + two.stats.handed_in.get()
    );
}

#[test]
fn an_overloaded_worker_has_others_seal_and_open_and_every_flow_keeps_its_order() {
    for suite in
        ["aes128gcm16", "aes128-sha256", "chacha20poly1305"].map(|name| name.parse::<Suite>().unwrap())
    {
        let (mut one, mut two) = Lab::two(&tunnel());
        one.feed.set_outbound(&outbound(suite, Numbering::Shared(Arc::new(AtomicU64::new(0)))));
        one.feed.lease(0, lease(1));
        one.feed.lease(1, lease(2));
        let flow_packet = |sent: u32| packet((sent % u32::from(FLOWS)) as u16, sent);
        let outer = load(&mut one, &mut two, TURNS, flow_packet);
        let handed = two.stats.handed_in.get();
        assert!(handed > 2000 && handed < u64::from(TURNS) * 64 / 2, "{suite}: {handed}");
        assert_eq!(outer.len(), TURNS as usize * 64, "{:?} {:?}", one.all_drops(), two.all_drops());
        assert_balanced(&one, &two);

        let (mut one, mut two) = opener(suite, Some(65536));
        let mut frames = outer.into_iter();
        let inner = load(&mut one, &mut two, TURNS, |_| frames.next().unwrap());
        assert!(two.stats.handed_in.get() > 2000, "{suite}: {:?}", one.all_drops());
        assert_balanced(&one, &two);
        assert_in_order(inner, TURNS as usize * 64);
    }
}

#[test]
fn it_ends_when_the_load_does() {
    let (mut one, mut two) = Lab::two(&tunnel());
    one.feed.set_outbound(&outbound(Suite::AES128_GCM, Numbering::PerCore));
    one.feed.lease(0, lease(1));
    one.feed.lease(1, lease(2));
    load(&mut one, &mut two, TURNS, |sent| packet((sent % 40) as u16, sent));
    let handed = one.stats.handed_out.get();
    assert!(handed > 0);
    for sent in 0..2000 {
        one.rx.push(&frame(&packet((sent % 40) as u16, sent)));
        one.worker.turn();
        two.worker.turn();
    }
    let after = one.stats.handed_out.get();
    assert!(after - handed < 600, "{}", after - handed);
    for sent in 0..1000 {
        one.rx.push(&frame(&packet((sent % 40) as u16, sent)));
        one.worker.turn();
        two.worker.turn();
    }
    assert_eq!(one.stats.handed_out.get(), after);
    assert_balanced(&one, &two);
}

#[test]
fn a_small_replay_window_is_not_outrun() {
    let (mut near, mut other) = Lab::two(&tunnel());
    near.feed.set_outbound(&outbound(Suite::AES128_GCM, Numbering::PerCore));
    near.feed.lease(0, lease(1));
    let mut outer = Vec::new();
    for sent in 0..30_000u32 {
        near.rx.push(&frame(&packet((sent % 40) as u16, sent)));
        near.worker.turn();
        outer.push(near.drain().1.remove(0)[14..].to_vec());
    }
    other.worker.turn();
    let (mut one, mut two) = opener(Suite::AES128_GCM, Some(64));
    let mut frames = outer.into_iter();
    let inner = load(&mut one, &mut two, 460, |_| frames.next().unwrap());
    assert_eq!(one.stats.handed_out.get(), 0);
    assert_in_order(inner, 460 * 64);
}

#[test]
fn a_pinned_association_is_sealed_by_its_worker_alone() {
    let (mut one, mut two) = Lab::two(&tunnel());
    one.feed.set_outbound(&outbound(Suite::AES128_GCM, Numbering::Pinned { worker: 1 }));
    one.feed.lease(0, lease(1));
    one.feed.lease(1, lease(2));
    let mut numbers = Vec::new();
    for sent in 0..500 {
        let from = if sent % 3 == 0 { &mut two } else { &mut one };
        from.rx.push(&frame(&packet(1, sent)));
        one.worker.turn();
        two.worker.turn();
        let (mine, theirs) = (one.drain().1, two.drain().1);
        assert!(mine.is_empty());
        numbers.extend(theirs.iter().map(|f| u32::from_be_bytes([f[38], f[39], f[40], f[41]])));
    }
    assert_eq!(numbers, (1..=500).collect::<Vec<u32>>());
    // It does not keep up: its packets are dropped for that reason, not sealed by another.
    for _ in 0..20 {
        for sent in 0..64 {
            one.rx.push(&frame(&packet(1, sent)));
        }
        one.worker.turn();
    }
    assert!(one.drain().1.is_empty());
    assert!(one.stats.drops(DropReason::HandoffFull) > 0);
    while two.worker.turn() > 0 {}
    assert_balanced(&one, &two);
}

#[test]
fn what_another_worker_opened_comes_back_to_be_sealed_by_the_one_that_may() {
    let suite = Suite::AES128_GCM;
    let (mut near, _) = Lab::two(&tunnel());
    near.feed.set_outbound(&outbound(suite, Numbering::PerCore));
    near.feed.lease(0, lease(1));
    // From the customer's router, through the tunnel, and back into it.
    let (mut one, mut two) = Lab::two(&tunnel());
    let inbound = InboundSpec {
        spi: Spi(0x1001),
        endpoint: EndpointId(0),
        tunnel: TUNNEL,
        incarnation: 7,
        cipher: cipher(suite),
        esn: false,
        replay: None,
        selectors: Arc::new(Selectors::any()),
    };
    one.feed.add_inbound(&inbound).unwrap();
    one.feed.set_outbound(&outbound(suite, Numbering::Pinned { worker: 0 }));
    one.feed.lease(0, lease(2));
    one.feed.lease(1, lease(3));
    let arriving = |sent: u32| {
        near.rx.push(&frame(&packet((sent % 40) as u16, sent)));
        near.worker.turn();
        let esp = near.drain().1.remove(0)[34..].to_vec();
        Ip4 { protocol: 50, ..Ip4::default() }.build(REMOTE, ENDPOINT, &esp)
    };
    let out = load(&mut one, &mut two, TURNS, arriving);
    assert!(two.stats.handed_in.get() > 2000 && two.stats.handed_out.get() > 2000);
    assert_eq!((one.all_drops(), two.all_drops()), (vec![], vec![]));
    assert_eq!(out.len(), TURNS as usize * 64);
    assert_balanced(&one, &two);
    let mut numbers: Vec<_> = out.iter().map(|sent| sent[24..28].to_vec()).collect();
    numbers.dedup();
    assert_eq!(numbers.len(), out.len());
    assert!(numbers.is_sorted());
}
