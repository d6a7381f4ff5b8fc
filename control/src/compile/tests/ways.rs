//! Packets through the tables that were made, and their ways in words.

use penstock_dataplane::esp::EspParts;
use penstock_dataplane::frame::heap::{Heap, HeapPool, NoFragmentation};
use penstock_dataplane::ids::PortId;
use penstock_dataplane::rehearse::{Stage, rehearse};
use penstock_dataplane::watch::Journey;
use penstock_dataplane::wire::checksum;

use super::lab::{Lab, SMALL};
use crate::watch::{Clock, Describer, Place, Prefixes, frames};

const CLIENT: [u8; 4] = [8, 8, 8, 8];
const REMOTE: [u8; 4] = [192, 0, 2, 77];
const ENDPOINT: [u8; 4] = [203, 0, 113, 1];
const SERVER: [u8; 4] = [198, 51, 100, 9];

fn ip(protocol: u8, src: [u8; 4], dst: [u8; 4], payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x45, 0, 0, 20 + payload.len() as u8, 0, 0, 0x40, 0, 64, protocol, 0, 0];
    packet.extend_from_slice(&src);
    packet.extend_from_slice(&dst);
    let sum = checksum::checksum(&packet);
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
    packet.extend_from_slice(payload);
    packet
}

fn udp(src: [u8; 4], dst: [u8; 4]) -> Vec<u8> {
    ip(17, src, dst, &[0, 7, 0, 9, 0, 8, 0, 0])
}

fn walk(lab: &Lab, l3: &[u8]) -> Journey {
    let stage = Stage::<Heap> {
        pool: HeapPool,
        fragmentation: NoFragmentation::default(),
        strangers: NoFragmentation::default(),
        esp: EspParts::none().unwrap(),
        hz: 1,
    };
    let frame = [&[2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 9, 8, 0][..], l3].concat();
    rehearse(stage, lab.compiler.tables(), PortId(0), &frame).unwrap().remove(0)
}

fn told(lab: &Lab, journey: &Journey) -> Vec<String> {
    let names = lab.compiler.names();
    let looked_up = Describer::lookups(journey);
    let prefixes: Prefixes = looked_up.map(|(vrf, ip)| ((vrf, ip), lab.compiler.covering(vrf, ip))).collect();
    let ports = ["edge0".to_owned()];
    let describer =
        Describer { names: &names, ports: &ports, cores: &[5], prefixes: &prefixes, clock: Clock::at(0, 1) };
    let row = describer.row(journey);
    assert_eq!(row.core, 5);
    row.steps.iter().map(|step| format!("{} {}", step.stage, step.text)).collect()
}

#[test]
fn into_a_tunnel_and_out_of_it() {
    let mut lab = Lab::new(SMALL);
    lab.wire_up();
    lab.neighbour(2, "192.0.2.77", Some(7));
    let journey = walk(&lab, &udp(CLIENT, SERVER));
    assert_eq!(
        told(&lab, &journey),
        [
            "came received by edge0, queue 0",
            "classify interface edge0, table internet",
            "route 198.51.100.9: internet: 198.51.100.0/24 → acme: 198.51.100.0/24 → tunnel acme/dc1",
            "tunnel into acme/dc1",
            "encap GRE, 52 bytes, to edge0 via 192.0.2.77",
            "sent by edge0",
        ]
    );
    let inner = udp(SERVER, CLIENT);
    let journey = walk(&lab, &ip(47, REMOTE, ENDPOINT, &[&[0, 0, 8, 0][..], &inner].concat()));
    assert_eq!(
        told(&lab, &journey)[2..],
        [
            "route 203.0.113.1: internet: 203.0.113.1/32 → endpoint gw",
            "decap out of tunnel acme/dc1, 28 bytes inside",
            "route 8.8.8.8: acme: 0.0.0.0/0 → internet: 0.0.0.0/0 → edge0 via 192.0.2.254",
            "forward plain to edge0 via 192.0.2.254",
            "sent by edge0",
        ]
    );
}

#[test]
fn what_is_seen_where() {
    let mut lab = Lab::new(SMALL);
    lab.wire_up();
    lab.neighbour(2, "192.0.2.77", Some(7));
    let names = lab.compiler.names();
    let tunnel = lab.compiler.tunnels().next().unwrap().id;
    let places = |journey: &Journey| -> Vec<_> {
        frames(journey, &names, 5).into_iter().map(|(_, caught)| (caught.place, caught.inbound)).collect()
    };
    let into = walk(&lab, &udp(CLIENT, SERVER));
    let port = Place::Port(PortId(0));
    assert_eq!(places(&into), [(port, true), (Place::Tunnel(tunnel), false), (port, false)]);
    let comments: Vec<_> = frames(&into, &names, 5).into_iter().map(|(_, caught)| caught.comment).collect();
    assert_eq!(comments[1], "tunnel=acme/dc1 direction=out layer=inner core=5 packet=1 end=sent");

    let hole =
        walk(&lab, &ip(47, REMOTE, ENDPOINT, &[&[0, 0, 8, 0][..], &udp(SERVER, [10, 66, 0, 1])].concat()));
    assert_eq!(places(&hole), [(port, true), (Place::Tunnel(tunnel), true)]);
    let (_, dropped) = frames(&hole, &names, 5).remove(0);
    assert!(
        dropped.comment.starts_with(
            "tunnel=acme/dc1 direction=in layer=outer core=5 packet=1 end=dropped reason=blackhole: "
        ),
        "{}",
        dropped.comment
    );
    assert_eq!(told(&lab, &hole).last().unwrap(), "dropped blackhole: A blackhole route matched.");
}

#[test]
fn the_prefix_is_the_longest_that_covers() {
    let mut lab = Lab::new(SMALL);
    lab.wire_up();
    let acme = lab.compiler.vrf(&crate::config::Name::new("acme").unwrap()).unwrap();
    let internet = penstock_dataplane::ids::VrfId::INTERNET;
    for (vrf, address, prefix) in [
        (internet, "192.0.2.1", Some("192.0.2.1/32")),
        (internet, "192.0.2.9", Some("192.0.2.0/24")),
        (internet, "203.0.113.1", Some("203.0.113.1/32")),
        (internet, "198.51.100.3", Some("198.51.100.0/24")),
        (internet, "9.9.9.9", Some("0.0.0.0/0")),
        (internet, "2001:db8::1", None),
        (acme, "10.66.1.1", Some("10.66.0.0/16")),
        (acme, "10.255.0.0", Some("10.255.0.0/32")),
        (acme, "10.255.0.1", Some("10.255.0.0/31")),
        (acme, "9.9.9.9", Some("0.0.0.0/0")),
    ] {
        let found = lab.compiler.covering(vrf, address.parse().unwrap());
        assert_eq!(found.map(|prefix| prefix.to_string()).as_deref(), prefix, "{address}");
    }
}
