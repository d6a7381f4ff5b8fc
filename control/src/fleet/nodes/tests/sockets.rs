//! Several nodes in one process, on addresses of their own, over real sockets.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use penstock_fleet::peer::{
    Datagram, HealthDatagram, HealthNews, Kind, MAX_STATES, PeerKeys, SaUsage, Sick, StoreTag, TunnelTag,
};
use penstock_fleet::seal::{FleetKey, TokenKind};
use tokio::net::UdpSocket;

use super::*;
use crate::fleet::nodes::acknowledgements::Acknowledgements;
use crate::fleet::nodes::members::{Members, Us};
use crate::fleet::nodes::peers::{HeardHealth, Peers, Settings, open};
use crate::kernel::netns::Netns;

const STORE: StoreTag = StoreTag([7; 16]);
const LIMIT: Duration = Duration::from_secs(3);

fn keys(seed: u8) -> PeerKeys {
    PeerKeys::new([FleetKey::from_bytes(&[seed; 32]).token(TokenKind::Control)]).unwrap()
}

/// Tests run side by side: each has a port of its own, on which no address of the host is in use.
fn free_port() -> u16 {
    std::net::UdpSocket::bind("0.0.0.0:0").unwrap().local_addr().unwrap().port()
}

fn at(host: u8, port: u16) -> SocketAddr {
    (IpAddr::from([127, 0, 0, host]), port).into()
}

/// Node `n` lives at 127.0.0.`n`.
fn start(number: u16, port: u16) -> Acknowledgements {
    let settings = Settings {
        local: at(number as u8, port),
        node: name(&format!("n{number}")),
        incarnation: Incarnation(u64::from(number) * 1000),
        store: STORE,
        keys: keys(1),
    };
    let socket = open(None, settings.local).unwrap();
    Acknowledgements::start(Peers::start(socket, settings).unwrap(), LIMIT)
}

/// Tells node `us` of the others, and where each seems to be to it.
fn introduce(node: &Acknowledgements, us: u16, others: &[(u16, u8)]) {
    let us = record(&format!("n{us}"), us);
    let mut members = Members::new(Us { name: us.name, number: us.number, incarnation: us.incarnation });
    for (number, host) in others {
        let other = NodeRecord { address: at(*host, 1).ip(), ..record(&format!("n{number}"), *number) };
        members.put(0, &format!("nodes/{}", other.name), &other.to_json());
    }
    assert_eq!(members.live().count(), others.len());
    node.set_members(&members);
}

#[tokio::test]
async fn three_nodes_acknowledge() {
    let port = free_port();
    let nodes = [start(1, port), start(2, port), start(3, port)];
    for us in 1..=3u16 {
        let others: Vec<(u16, u8)> = (1..=3).filter(|n| *n != us).map(|n| (n, n as u8)).collect();
        introduce(&nodes[usize::from(us) - 1], us, &others);
    }
    let owner = [name("n1")];
    for revision in 1..=50 {
        let wait = nodes[0].wait(revision);
        nodes[1].peers().applied(revision, &owner);
        nodes[2].peers().applied(revision, &owner);
        let outcome = wait.await.unwrap();
        assert_eq!(outcome.late, []);
    }
    let counters = nodes[0].counters();
    assert_eq!((counters.barriers, counters.timeouts, counters.strangers), (50, 0, 0));
    assert_eq!(nodes[1].peers().counters().unsent, 0);
    // To nobody but the owner.
    assert_eq!(nodes[2].peers().counters().heard, 0);
}

#[tokio::test]
async fn a_thousand_of_one_owner_are_few_datagrams() {
    let port = free_port();
    let nodes = [start(1, port), start(2, port)];
    introduce(&nodes[0], 1, &[(2, 2)]);
    introduce(&nodes[1], 2, &[(1, 1)]);
    let waits: Vec<_> = (1..=1000).map(|revision| nodes[0].wait(revision)).collect();
    for revision in 1..=1000 {
        nodes[1].peers().applied(revision, &[name("n1"), name("nobody")]);
    }
    for wait in waits {
        assert_eq!(wait.await.unwrap().late, []);
    }
    let told = nodes[1].peers().counters().told;
    assert!(told <= 3, "{told}");
}

/// Nobody told us: the node is asked, and what it has is heard.
#[tokio::test]
async fn who_says_nothing_is_asked() {
    let port = free_port();
    let nodes = [start(1, port), start(2, port)];
    introduce(&nodes[0], 1, &[(2, 2)]);
    introduce(&nodes[1], 2, &[(1, 1)]);
    nodes[1].peers().applied(9, []);
    let began = Instant::now();
    assert_eq!(nodes[0].wait(9).await.unwrap().late, []);
    assert!(began.elapsed() >= Duration::from_millis(20), "it was not told");
    assert!(nodes[0].peers().counters().asked >= 1);
    assert_eq!(nodes[1].peers().counters().questions, nodes[0].peers().counters().asked);
}

/// Its lease ended, and it lives: it is told what there is, until it is among the others again.
#[tokio::test]
async fn a_node_called_dead_is_reminded() {
    let port = free_port();
    let nodes = [start(1, port), start(2, port)];
    introduce(&nodes[0], 1, &[(2, 2)]);
    introduce(&nodes[1], 2, &[(1, 1)]);
    nodes[0].peers().remind_gone(6);
    introduce(&nodes[0], 1, &[]);
    nodes[0].peers().remind_gone(7);
    let began = Instant::now();
    while nodes[0].peers().counters().gone == 0 {
        assert!(began.elapsed() < Duration::from_secs(2), "{:?}", nodes[0].peers().counters());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(nodes[1].peers().awaited(), 7);
    assert_eq!(nodes[1].peers().counters().questions, 1);
    introduce(&nodes[0], 1, &[(2, 2)]);
    nodes[0].peers().remind_gone(8);
    nodes[0].peers().ask(&name("n2"), 9);
    while nodes[0].peers().counters().heard == 0 {
        assert!(began.elapsed() < Duration::from_secs(2), "{:?}", nodes[0].peers().counters());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!((nodes[1].peers().awaited(), nodes[1].peers().counters().questions), (9, 2));
}

#[tokio::test]
async fn what_went_through_is_reported_to_the_owner_only() {
    let port = free_port();
    let nodes = [start(1, port), start(2, port), start(3, port)];
    for us in 1..=3u16 {
        let others: Vec<(u16, u8)> = (1..=3).filter(|n| *n != us).map(|n| (n, n as u8)).collect();
        introduce(&nodes[usize::from(us) - 1], us, &others);
    }
    // More than fit into one datagram.
    let sa = |spi| SaUsage { spi, outbound: spi % 2 == 0, runs_out: false, bytes: u64::MAX, packets: 1 };
    let sas: Vec<_> = (0..100).map(sa).collect();
    nodes[1].peers().report(&name("n1"), sas.clone());
    nodes[1].peers().report(&name("nobody"), sas.clone());
    let mut heard = Vec::new();
    let began = Instant::now();
    while heard.len() < sas.len() && began.elapsed() < LIMIT {
        tokio::time::sleep(Duration::from_millis(5)).await;
        for reported in nodes[0].peers().take_reported() {
            assert_eq!(reported.incarnation, Incarnation(2000));
            heard.extend(reported.sas);
        }
    }
    assert_eq!(heard, sas);
    assert_eq!((nodes[1].peers().counters().reported, nodes[0].peers().counters().reports), (3, 3));
    assert!(nodes[2].peers().take_reported().is_empty() && nodes[0].peers().take_reported().is_empty());
}

#[tokio::test]
async fn a_dead_node_costs_the_limit_and_is_named() {
    let port = free_port();
    let socket = open(None, at(1, port)).unwrap();
    let settings = Settings {
        local: at(1, port),
        node: name("n1"),
        incarnation: Incarnation(1000),
        store: STORE,
        keys: keys(1),
    };
    let limit = Duration::from_millis(100);
    let node = Acknowledgements::start(Peers::start(socket, settings).unwrap(), limit);
    introduce(&node, 1, &[(2, 2)]);
    let began = Instant::now();
    let outcome = node.wait(1).await.unwrap();
    assert_eq!(outcome.late, [name("n2")]);
    assert!(began.elapsed() >= limit && outcome.took >= limit);
    assert_eq!(node.counters().timeouts, 1);
    // Gone while it is waited for.
    let wait = node.wait(2);
    introduce(&node, 1, &[]);
    assert_eq!(wait.await.unwrap().late, []);
}

/// Carries datagrams between 1 and 2, each of which sees the other at the relay, and loses every second one of each
/// direction. (Of both together it would lose each answer, as every question comes through.)
async fn lossy(port: u16, lost: Arc<AtomicU64>) {
    let one = UdpSocket::bind(at(11, port)).await.unwrap();
    let two = UdpSocket::bind(at(12, port)).await.unwrap();
    let (mut buffer, mut other, mut counts) = ([0; 256], [0; 256], [0u64; 2]);
    loop {
        // What 1 sends to 2's stand-in goes on to 2 from 1's stand-in, and the other way round.
        let (bytes, by, to, count) = tokio::select! {
            received = two.recv_from(&mut buffer) => (&buffer[..received.unwrap().0], &one, at(2, port), &mut counts[0]),
            received = one.recv_from(&mut other) => (&other[..received.unwrap().0], &two, at(1, port), &mut counts[1]),
        };
        *count += 1;
        if count.is_multiple_of(2) {
            lost.fetch_add(1, Ordering::Relaxed);
        } else {
            by.send_to(bytes, to).await.unwrap();
        }
    }
}

#[tokio::test]
async fn every_second_datagram_may_be_lost() {
    let port = free_port();
    let nodes = [start(1, port), start(2, port)];
    let lost = Arc::new(AtomicU64::new(0));
    let relay = tokio::spawn(lossy(port, lost.clone()));
    introduce(&nodes[0], 1, &[(2, 12)]);
    introduce(&nodes[1], 2, &[(1, 11)]);
    for revision in 1..=30 {
        let wait = nodes[0].wait(revision);
        nodes[1].peers().applied(revision, &[name("n1")]);
        assert_eq!(wait.await.unwrap().late, [], "{revision}");
    }
    assert_eq!(nodes[0].counters().timeouts, 0);
    assert!(lost.load(Ordering::Relaxed) >= 10, "some were lost: {lost:?}");
    assert!(nodes[0].peers().counters().asked >= 5);
    relay.abort();
}

/// What anybody may send who can reach the port: none of it counts, each kind is counted by itself.
#[tokio::test]
async fn what_nodes_did_not_send_is_dropped_and_counted() {
    let port = free_port();
    let node = start(1, port);
    introduce(&node, 1, &[(2, 2), (3, 3)]);
    let wait = node.wait(5);
    let from_node = UdpSocket::bind(at(2, port)).await.unwrap();
    let stranger = UdpSocket::bind(at(9, port)).await.unwrap();
    let other_port = UdpSocket::bind(at(2, 0)).await.unwrap();
    let said = |node: &str, incarnation: u64, store: u8| Datagram {
        kind: Kind::Applied,
        node: name(node),
        incarnation: Incarnation(incarnation),
        store: StoreTag([store; 16]),
        revision: u64::MAX,
    };
    let good = said("n2", 2000, 7).seal(&keys(1)).to_vec();
    let forged = said("n2", 2000, 7).seal(&keys(2)).to_vec();
    let changed = |at: usize, value: u8| {
        let mut bytes = good.clone();
        bytes[at] = value;
        bytes
    };
    let malformed = {
        let mut bytes = good[..good.len() - 32].to_vec();
        bytes[7] = 1;
        let code = keys(1).code(&bytes);
        [bytes, code.to_vec()].concat()
    };
    let bad = [
        forged,
        changed(45, 0),
        changed(4, 2),
        changed(0, 0),
        good[..good.len() - 40].to_vec(),
        vec![0; 1400],
        vec![],
        malformed,
        said("n3", 3000, 7).seal(&keys(1)).to_vec(),
        said("n2", 1999, 7).seal(&keys(1)).to_vec(),
        said("n9", 9000, 7).seal(&keys(1)).to_vec(),
        said("n2", 2000, 8).seal(&keys(1)).to_vec(),
    ];
    for bytes in &bad {
        from_node.send_to(bytes, at(1, port)).await.unwrap();
    }
    for socket in [&stranger, &other_port] {
        socket.send_to(&good, at(1, port)).await.unwrap();
    }
    let began = Instant::now();
    let counters = loop {
        let counters = node.peers().counters();
        if counters.unknown_source == 2 || began.elapsed() > Duration::from_secs(2) {
            break counters;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    };
    assert_eq!(counters.unknown_source, 2);
    assert_eq!((counters.forged, counters.version, counters.foreign), (2, 1, 1));
    assert_eq!((counters.length, counters.malformed), (3, 1));
    assert_eq!((counters.other_node, counters.other_store, counters.heard), (3, 1, 0));
    // Nothing of it was believed, and the socket goes on.
    for (socket, bytes) in [(&from_node, &good)] {
        socket.send_to(bytes, at(1, port)).await.unwrap();
    }
    let third = UdpSocket::bind(at(3, port)).await.unwrap();
    third.send_to(&said("n3", 3000, 7).seal(&keys(1)), at(1, port)).await.unwrap();
    assert_eq!(wait.await.unwrap().late, []);
    assert_eq!(node.peers().counters().heard, 2);
}

/// Keys are rotated node by node while all goes on.
#[tokio::test]
async fn keys_change_while_it_runs() {
    let port = free_port();
    let nodes = [start(1, port), start(2, port)];
    introduce(&nodes[0], 1, &[(2, 2)]);
    introduce(&nodes[1], 2, &[(1, 1)]);
    let both = |first: u8, second: u8| {
        PeerKeys::new([first, second].map(|seed| FleetKey::from_bytes(&[seed; 32]).token(TokenKind::Control)))
            .unwrap()
    };
    let steps =
        [(0, both(1, 2)), (1, both(1, 2)), (0, both(2, 1)), (1, both(2, 1)), (0, keys(2)), (1, keys(2))];
    for (revision, (node, keys)) in (1..).zip(steps) {
        nodes[node].peers().set_keys(keys);
        let wait = nodes[0].wait(revision);
        nodes[1].peers().applied(revision, &[name("n1")]);
        assert_eq!(wait.await.unwrap().late, []);
    }
    assert_eq!(nodes[0].peers().counters().forged, 0);
}

#[tokio::test]
async fn another_store_is_another_count() {
    let port = free_port();
    let nodes = [start(1, port), start(2, port)];
    introduce(&nodes[0], 1, &[(2, 2)]);
    introduce(&nodes[1], 2, &[(1, 1)]);
    nodes[1].peers().applied(1000, &[name("n1")]);
    assert_eq!(nodes[0].wait(1000).await.unwrap().late, []);
    for node in &nodes {
        node.set_store(StoreTag([8; 16]));
    }
    let wait = nodes[0].wait(2);
    nodes[1].peers().applied(1, &[name("n1")]);
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(nodes[0].with_nodes(|barrier| barrier.waiting()), 1, "2 is more than 1");
    nodes[1].peers().applied(2, &[name("n1")]);
    assert_eq!(wait.await.unwrap().late, []);
}

/// The task ends with the last handle: the address can be had again.
#[tokio::test]
async fn it_ends_with_the_last_handle() {
    let port = free_port();
    let node = start(1, port);
    assert!(open(None, at(1, port)).is_err(), "in use");
    drop(node);
    for _ in 0..1000 {
        if open(None, at(1, port)).is_ok() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    panic!("the socket is still open");
}

/// In the namespace of the twins an address is free that is in use here, and may be one that no twin has yet.
#[test]
fn the_socket_is_in_the_namespace_of_the_twins() {
    let is_root = nix::unistd::geteuid().is_root();
    assert!(is_root, "this test makes a network namespace: run it as root (sudo -E cargo test ...)");
    let netns = Netns::open_or_create(&format!("pkt-peers-{}", std::process::id()), false).unwrap();
    let held = std::net::UdpSocket::bind(at(1, 0)).unwrap();
    let here = held.local_addr().unwrap();
    assert!(open(None, here).is_err(), "in use");
    open(Some(&netns), here).unwrap();
    drop(held);
    for address in ["192.0.2.1", "2001:db8::1"] {
        let address: IpAddr = address.parse().unwrap();
        open(Some(&netns), (address, 4791).into()).unwrap();
    }
    netns.close().unwrap();
}

#[tokio::test]
async fn nodes_tell_each_other_of_tunnels_health() {
    let port = free_port();
    let (one, two) = (start(1, port), start(2, port));
    introduce(&one, 1, &[(2, 2)]);
    introduce(&two, 2, &[(1, 1)]);
    let answer = HealthNews::Answer { serial: u64::MAX, tunnel: 7, via: Some(TunnelTag(9)) };
    let sick = (0..MAX_STATES as u64).map(|number| (TunnelTag(number), Sick::Down)).collect();
    let states = HealthNews::States { number: 1, total: MAX_STATES as u32, sick };
    one.peers().say_health(&name("n2"), answer.clone());
    // Nobody of that name lives.
    one.peers().say_health(&name("n3"), answer.clone());
    one.peers().say_health_to_all(&states);
    let mut heard = Vec::new();
    while heard.len() < 2 {
        tokio::time::sleep(Duration::from_millis(5)).await;
        heard.extend(two.peers().take_health());
    }
    let of_one = |news: &HealthNews| HeardHealth {
        node: name("n1"),
        incarnation: Incarnation(1000),
        news: news.clone(),
    };
    assert_eq!(heard, [of_one(&answer), of_one(&states)]);
    // What was signed with another key, is of another life or of another store, or comes from elsewhere, is not heard.
    let datagram = |node: &str, incarnation| HealthDatagram {
        node: name(node),
        incarnation: Incarnation(incarnation),
        store: STORE,
        news: answer.clone(),
    };
    let socket = UdpSocket::bind(at(9, port)).await.unwrap();
    socket.send_to(&datagram("n1", 1000).seal(&keys(1)), at(2, port)).await.unwrap();
    drop(one);
    let socket_of_one = loop {
        // The task of the node that went closes its socket a moment later.
        match UdpSocket::bind(at(1, port)).await {
            Ok(socket) => break socket,
            Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
        }
    };
    for bytes in [
        datagram("n1", 1000).seal(&keys(2)),
        datagram("n1", 1001).seal(&keys(1)),
        datagram("n2", 2000).seal(&keys(1)),
        HealthDatagram { store: StoreTag([8; 16]), ..datagram("n1", 1000) }.seal(&keys(1)),
    ] {
        socket_of_one.send_to(&bytes, at(2, port)).await.unwrap();
    }
    for _ in 0..20 {
        socket_of_one.send_to(&datagram("n1", 1000).seal(&keys(1)), at(2, port)).await.unwrap();
    }
    let mut heard = Vec::new();
    while heard.len() < 20 {
        tokio::time::sleep(Duration::from_millis(5)).await;
        heard.extend(two.peers().take_health());
    }
    assert_eq!(heard.len(), 20);
    let counters = two.peers().counters();
    assert_eq!(
        (counters.forged, counters.other_node, counters.other_store, counters.unknown_source),
        (1, 2, 1, 1)
    );
    assert_eq!((counters.health_heard, counters.health_lost), (22, 0));
}
