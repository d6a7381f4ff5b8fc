//! The header code against packets that scapy made (`tests/golden/make_wire_vectors.py`).

use penstock_dataplane::icmp::too_big::TooBig;
use penstock_dataplane::icmp::{v4, v6};
use penstock_dataplane::mss::{self, Clamp};
use penstock_dataplane::wire::gre::{self, Gre};
use penstock_dataplane::wire::ipv4::Ipv4Header;
use penstock_dataplane::wire::ipv6::{self, Ipv6Header};
use penstock_dataplane::wire::{checksum, protocol};
use std::collections::HashMap;
use std::str::FromStr;

/// One line of a vector file.
struct Vector<'a>(HashMap<&'a str, &'a str>);

impl<'a> Vector<'a> {
    /// The vectors of a file; at least `least`, so that an empty file is no success.
    fn all(text: &'a str, least: usize) -> Vec<Self> {
        let vectors: Vec<Self> = text
            .lines()
            .map(|line| Self(line.split(' ').filter_map(|field| field.split_once('=')).collect()))
            .collect();
        assert!(vectors.len() >= least, "only {} vectors", vectors.len());
        vectors
    }

    fn text(&self, key: &str) -> &'a str {
        self.0.get(key).expect("every vector of a file has the same fields")
    }

    fn number<T: FromStr>(&self, key: &str) -> T {
        self.optional(key).expect("a number")
    }

    fn optional<T: FromStr>(&self, key: &str) -> Option<T> {
        let text = self.text(key);
        let number = text.parse().ok();
        assert!(number.is_some() || text == "none", "{key}={text}");
        number
    }

    fn bytes(&self, key: &str) -> Vec<u8> {
        let text = self.text(key);
        let digits = |at: usize| u8::from_str_radix(&text[at..at + 2], 16).expect("hexadecimal");
        (0..text.len()).step_by(2).map(digits).collect()
    }
}

#[test]
fn checksums() {
    for vector in Vector::all(include_str!("../../tests/golden/wire/checksum.txt"), 19) {
        assert_eq!(checksum::checksum(&vector.bytes("bytes")), vector.number("checksum"));
    }
}

#[test]
fn ipv4_headers() {
    for vector in Vector::all(include_str!("../../tests/golden/wire/ipv4.txt"), 24) {
        let packet = vector.bytes("packet");
        let header = Ipv4Header::parse(&packet).expect("scapy's headers are valid");
        assert_eq!(header.header_len(), vector.number("ihl"));
        assert_eq!(header.total_len.get(), vector.number("len"));
        assert_eq!(header.tos, vector.number("tos"));
        assert_eq!(header.id.get(), vector.number("id"));
        assert_eq!(u8::from(header.dont_fragment()), vector.number("df"));
        assert_eq!(u8::from(header.more_fragments()), vector.number("mf"));
        assert_eq!(header.fragment_offset(), vector.number("offset"));
        assert_eq!(header.ttl, vector.number("ttl"));
        assert_eq!(header.protocol, vector.number("proto"));
        let changed = |change: &dyn Fn(&mut Ipv4Header)| {
            let mut packet = packet.clone();
            change(Ipv4Header::parse_mut(&mut packet).expect("valid as before"));
            packet
        };
        assert_eq!(changed(&|header| header.decrement_ttl()), vector.bytes("ttl_less"));
        assert_eq!(changed(&|header| header.set_tos(vector.number("new_tos"))), vector.bytes("with_tos"));
        assert_eq!(changed(&|header| header.set_id(vector.number("new_id"))), vector.bytes("with_id"));
    }
}

#[test]
fn ipv6_chains() {
    for vector in Vector::all(include_str!("../../tests/golden/wire/ipv6.txt"), 10) {
        let (name, packet) = (vector.text("name"), vector.bytes("packet"));
        let header = Ipv6Header::parse(&packet).expect("scapy's headers are valid");
        assert_eq!((header.traffic_class(), header.flow_label()), (0xb9, 0xabcde), "{name}");
        let found = ipv6::transport(&packet);
        if vector.text("fragment") == "refused" {
            assert_eq!(found, None, "{name}");
            continue;
        }
        let found = found.expect("a chain that ends");
        assert_eq!(found.protocol, vector.number("proto"), "{name}");
        assert_eq!(found.offset, vector.number("offset"), "{name}");
        let fragment = found.fragment.map(|fragment| (fragment.offset, fragment.more, fragment.id));
        let expected = match vector.text("fragment") {
            "first" => Some((0, true, 0xcafe_babe)),
            "later" => Some((181 * 8, false, 7)),
            _ => None,
        };
        assert_eq!(fragment, expected, "{name}");
    }
}

#[test]
fn gre_headers() {
    for vector in Vector::all(include_str!("../../tests/golden/wire/gre.txt"), 32) {
        let packet = vector.bytes("packet");
        let expected = Gre {
            header_len: vector.number("len"),
            checksum: vector.number::<u8>("c") == 1,
            key: vector.optional("key"),
            sequence: vector.optional("seq"),
            protocol: vector.number("proto"),
        };
        assert_eq!(Gre::parse(&packet), Ok(expected));
        if expected.checksum {
            assert!(gre::checksum_is_valid([&packet[..]]));
        }
        // Our own header is the same, byte by byte.
        let mut ours = packet.clone();
        assert_eq!(expected.write(&mut ours), Some(expected.header_len));
        if expected.checksum {
            let sum = gre::checksum_of([&ours[..]]);
            ours[4..6].copy_from_slice(&sum.to_be_bytes());
        }
        assert_eq!(ours, packet);
    }
}

#[test]
fn clamped_syns() {
    let mut clamped = 0;
    for vector in Vector::all(include_str!("../../tests/golden/wire/mss.txt"), 150) {
        let (name, before, limit) = (vector.text("name"), vector.bytes("before"), vector.number("limit"));
        let mut packet = before.clone();
        let clamp = match packet[0] >> 4 {
            4 => {
                assert_eq!(mss::may_be_syn_v4(&packet), name != "not-a-syn", "{name}");
                mss::clamp_v4(&mut packet, limit)
            }
            _ => {
                assert!(mss::may_be_syn_v6(&packet), "{name}");
                mss::clamp_v6(&mut packet, limit)
            }
        };
        assert_eq!(packet, vector.bytes("after"), "{name}");
        assert_eq!(clamp == Clamp::Clamped, packet != before, "{name}");
        clamped += usize::from(clamp == Clamp::Clamped);
    }
    assert!(clamped >= 60, "only {clamped} were clamped");
}

#[test]
fn icmp_errors() {
    for vector in Vector::all(include_str!("../../tests/golden/wire/icmp.txt"), 20) {
        let (name, about, expected) = (vector.text("name"), vector.bytes("about"), vector.bytes("error"));
        let mut out = [0; 1500];
        let len = if about[0] >> 4 == 4 {
            let error = match name {
                "time" => v4::Error::TimeExceeded,
                "net" => v4::Error::NetUnreachable,
                "host" => v4::Error::HostUnreachable,
                "prohibited" => v4::Error::Prohibited,
                _ => v4::Error::FragmentationNeeded { mtu: 1476 },
            };
            v4::write(&mut out, error, 0xc000_0201, &about, false)
        } else {
            let error = match name {
                "time" => v6::Error::TimeExceeded,
                "net" => v6::Error::NoRoute,
                "host" => v6::Error::AddressUnreachable,
                "prohibited" => v6::Error::Prohibited,
                _ => v6::Error::PacketTooBig { mtu: 1456 },
            };
            v6::write(&mut out, error, 0x2001_0db8 << 96 | 1, &about, false)
        };
        assert_eq!(&out[..len.expect("an error is allowed")], expected, "{name}");
    }
}

#[test]
fn too_big_reports() {
    for vector in Vector::all(include_str!("../../tests/golden/wire/too_big.txt"), 20) {
        let name = vector.text("name");
        let report = TooBig::parse(&vector.bytes("report")).expect("a valid report");
        assert_eq!(report.protocol, vector.number("proto"), "{name}");
        assert_eq!(report.gre_key(), vector.optional("key"), "{name}");
        assert_eq!(report.esp_spi(), vector.optional("spi"), "{name}");
        assert_eq!(report.mtu, vector.number("mtu"), "{name}");
        let [reporter, src, dst] =
            [report.reporter, report.outer_src, report.outer_dst].map(|address| address.to_string());
        if report.reporter.is_ipv4() {
            assert_eq!([reporter, src, dst], ["192.0.2.1", "203.0.113.1", "203.0.113.9"], "{name}");
        } else {
            let expected = ["2001:db8::1", "2001:db8:ffff::1", "2001:db8:9::9"];
            assert_eq!([reporter, src, dst], expected, "{name}");
        }
        assert!(matches!(report.protocol, protocol::GRE | protocol::ESP));
    }
}
