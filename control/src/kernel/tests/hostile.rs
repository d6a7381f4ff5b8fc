//! Messages that no kernel should send, and messages that a later kernel might.

use proptest::prelude::*;
use rtnetlink::packet_core::{NLM_F_APPEND, NLM_F_REPLACE};
use rtnetlink::packet_route::address::{AddressAttribute, AddressMessage};
use rtnetlink::packet_route::link::{LinkAttribute, LinkMessage};
use rtnetlink::packet_route::neighbour::{NeighbourAddress, NeighbourAttribute, NeighbourMessage};
use rtnetlink::packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteNextHop, RouteType, RouteVia,
};
use rtnetlink::packet_route::{AddressFamily, RouteNetlinkMessage};

use super::super::netlink::convert::{Event, event};
use super::super::netlink::dump::serialize;
use super::super::netlink::socket::{Received, split};
use super::super::rib::Rib;
use super::super::state::RouteKind;
use super::*;

/// Takes a datagram all the way in. Gives the number of messages in it.
fn digest(datagram: &[u8]) -> usize {
    let mut rib = Rib::default();
    let mut messages = 0;
    split(datagram, &mut |received| {
        messages += 1;
        if let Received::Message(message, flags) = received {
            match event(&message, flags) {
                Some(Event::Route(prefix, candidate, placement)) => rib.add(prefix, candidate, placement),
                Some(Event::RouteGone(prefix, candidate)) => rib.remove(prefix, &candidate),
                _ => {}
            }
        }
    });
    messages
}

fn address(v4: bool, bits: u128) -> IpAddr {
    if v4 { IpAddr::V4((bits as u32).into()) } else { IpAddr::V6(bits.into()) }
}

fn route_attribute() -> impl Strategy<Value = RouteAttribute> {
    let any_address =
        (any::<bool>(), any::<u128>()).prop_map(|(v4, bits)| RouteAddress::from(address(v4, bits)));
    let leaf = prop_oneof![
        any_address.clone().prop_map(RouteAttribute::Destination),
        any_address.clone().prop_map(RouteAttribute::Gateway),
        any_address.prop_map(RouteAttribute::PrefSource),
        Just(RouteAttribute::Gateway(RouteAddress::Other(vec![1, 2, 3]))),
        any::<u128>().prop_map(|bits| RouteAttribute::Via(RouteVia::from(address(false, bits)))),
        any::<u32>().prop_map(RouteAttribute::Oif),
        any::<u32>().prop_map(RouteAttribute::Priority),
        prop_oneof![Just(254), any::<u32>()].prop_map(RouteAttribute::Table),
        any::<u32>().prop_map(RouteAttribute::NhId),
    ];
    leaf.prop_recursive(2, 8, 3, |inner| {
        let hop = (any::<u8>(), any::<u8>(), any::<u32>(), prop::collection::vec(inner, 0..4)).prop_map(
            |(flags, hops, interface_index, attributes)| {
                let mut hop = RouteNextHop::default();
                hop.flags = rtnetlink::packet_route::route::RouteNextHopFlags::from_bits_retain(flags);
                hop.hops = hops;
                hop.interface_index = interface_index;
                hop.attributes = attributes;
                hop
            },
        );
        prop::collection::vec(hop, 0..4).prop_map(RouteAttribute::MultiPath)
    })
}

fn route_message() -> impl Strategy<Value = RouteMessage> {
    let header =
        (prop_oneof![Just(2_u8), Just(10), any::<u8>()], any::<u8>(), 0_u8..3, any::<u32>(), 0_u8..12);
    (header, prop::collection::vec(route_attribute(), 0..8)).prop_map(
        |((family, length, odd, flags, kind), attributes)| {
            let mut message = RouteMessage::default();
            message.header.address_family = AddressFamily::from(family);
            message.header.destination_prefix_length = length;
            message.header.tos = odd / 2;
            message.header.table = RouteHeader::RT_TABLE_MAIN;
            message.header.kind = RouteType::from(kind);
            message.header.flags = rtnetlink::packet_route::route::RouteFlags::from_bits_retain(flags & 0x11);
            message.attributes = attributes;
            message
        },
    )
}

/// A route as the kernel sends it: two paths, metric, table.
fn ordinary_route() -> RouteMessage {
    let path = |last: u8| {
        let mut hop = RouteNextHop::default();
        hop.interface_index = u32::from(last);
        hop.attributes.push(RouteAttribute::Gateway(RouteAddress::Inet([192, 0, 2, last].into())));
        hop
    };
    let mut message = RouteMessage::default();
    message.header.address_family = AddressFamily::Inet;
    message.header.destination_prefix_length = 8;
    message.header.table = RouteHeader::RT_TABLE_MAIN;
    message.header.kind = RouteType::Unicast;
    message.attributes = vec![
        RouteAttribute::Table(254),
        RouteAttribute::Destination(RouteAddress::Inet([10, 0, 0, 0].into())),
        RouteAttribute::Priority(20),
        RouteAttribute::MultiPath(vec![path(2), path(3)]),
    ];
    message
}

proptest! {
    #[test]
    fn any_bytes_are_taken_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        digest(&bytes);
    }

    /// With a right netlink header in front, so that the bytes get further.
    #[test]
    fn any_payload_is_taken_without_a_panic(
        kind in 16_u16..30,
        flags in prop_oneof![Just(0), Just(NLM_F_REPLACE), Just(NLM_F_APPEND)],
        family in prop_oneof![Just(2_u8), Just(10), Just(0)],
        payload in prop::collection::vec(any::<u8>(), 1..200),
    ) {
        let mut datagram = (16 + payload.len() as u32).to_ne_bytes().to_vec();
        datagram.extend(kind.to_ne_bytes());
        datagram.extend(flags.to_ne_bytes());
        datagram.extend([0; 8]);
        datagram.push(family);
        datagram.extend(&payload[1..]);
        prop_assert_eq!(digest(&datagram), 1);
    }

    #[test]
    fn a_good_message_damaged_anywhere_is_taken_without_a_panic(
        at in any::<prop::sample::Index>(),
        value in any::<u8>(),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut bytes = serialize(RouteNetlinkMessage::NewRoute(ordinary_route()), 0);
        prop_assert_eq!(digest(&bytes), 1);
        let at = at.index(bytes.len());
        bytes[at] = value;
        digest(&bytes);
        let cut = cut.index(bytes.len());
        digest(&bytes[..cut]);
    }

    #[test]
    fn what_comes_out_of_any_route_is_sound(message in route_message(), flags in any::<u16>(), gone in any::<bool>()) {
        let message = if gone {
            RouteNetlinkMessage::DelRoute(message)
        } else {
            RouteNetlinkMessage::NewRoute(message)
        };
        let mut rib = Rib::default();
        if let Some(Event::Route(prefix, candidate, placement)) = event(&message, flags) {
            prop_assert_eq!(prefix, prefix.trunc());
            prop_assert!(!prefix.addr().is_multicast());
            prop_assert!(candidate.nexthops.is_sorted());
            prop_assert!(candidate.nexthops.iter().all(|hop| hop.weight >= 1));
            prop_assert!(candidate.kind == RouteKind::Unicast || candidate.nexthops.is_empty());
            rib.add(prefix, candidate.clone(), placement);
            rib.add(prefix, candidate.clone(), placement);
            let has_way = candidate.kind != RouteKind::Unicast || !candidate.nexthops.is_empty();
            prop_assert_eq!(rib.best(prefix, |_| true).is_some(), has_way);
            rib.remove(prefix, &candidate);
            prop_assert_eq!(rib.len(), 0, "told twice, gone once");
        }
    }
}

#[test]
fn a_message_without_what_it_needs_is_no_event() {
    let whole = ordinary_route();
    assert!(event(&RouteNetlinkMessage::NewRoute(whole.clone()), 0).is_some());
    // A /8 without a destination.
    let mut message = whole.clone();
    message.attributes.remove(1);
    assert_eq!(event(&RouteNetlinkMessage::NewRoute(message), 0), None);
    // A prefix length that the family does not have.
    let mut message = whole.clone();
    message.header.destination_prefix_length = 33;
    assert_eq!(event(&RouteNetlinkMessage::NewRoute(message), 0), None);
    // A destination of the other family.
    let mut message = whole.clone();
    message.attributes[1] = RouteAttribute::Destination(RouteAddress::Inet6(1.into()));
    assert_eq!(event(&RouteNetlinkMessage::NewRoute(message), 0), None);
    // Without a way out it is in the table, but it is nobody's best.
    let mut message = whole;
    message.attributes.pop();
    let Some(Event::Route(prefix, candidate, placement)) = event(&RouteNetlinkMessage::NewRoute(message), 0)
    else {
        panic!("a route without next hops is one that has lost them");
    };
    let mut rib = Rib::default();
    rib.add(prefix, candidate, placement);
    assert_eq!(rib.best(prefix, |_| true), None);

    assert_eq!(event(&RouteNetlinkMessage::NewLink(LinkMessage::default()), 0), None);
    let mut link = LinkMessage::default();
    link.attributes = vec![LinkAttribute::IfName("x".to_owned())];
    assert_eq!(event(&RouteNetlinkMessage::NewLink(link.clone()), 0), None, "no MTU");
    link.attributes.push(LinkAttribute::Mtu(1500));
    link.attributes.push(LinkAttribute::Address(vec![1, 2, 3]));
    let Some(Event::Link(link)) = event(&RouteNetlinkMessage::NewLink(link), 0) else { panic!("a link") };
    assert_eq!(link.mac, None, "three bytes are no Ethernet address");

    let mut address = AddressMessage::default();
    assert_eq!(event(&RouteNetlinkMessage::NewAddress(address.clone()), 0), None);
    address.header.prefix_len = 200;
    address.attributes = vec![AddressAttribute::Address(ip("192.0.2.1"))];
    assert_eq!(event(&RouteNetlinkMessage::NewAddress(address), 0), None);

    let mut neighbour = NeighbourMessage::default();
    assert_eq!(event(&RouteNetlinkMessage::NewNeighbour(neighbour.clone()), 0), None);
    neighbour.attributes = vec![NeighbourAttribute::Destination(NeighbourAddress::Other(vec![1; 9]))];
    assert_eq!(event(&RouteNetlinkMessage::NewNeighbour(neighbour), 0), None);
}
