//! Parsers of single values. Each says what is wrong with the text and shows what would be right.

use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::str::FromStr;

use ipnet::IpNet;

use super::Name;
use super::duration::Period;
use super::problem::Location;
use super::reader::Reader;
use super::schema::Selectors;
use super::tree::{Kind, Node};

/// Any text.
pub(crate) fn text(reader: &mut Reader, node: &Node) -> Option<String> {
    match &node.kind {
        Kind::Scalar(text) => Some(text.to_string()),
        _ => reader.unfit(node, "a text", "write one value"),
    }
}

fn scalar(node: &Node) -> &str {
    if let Kind::Scalar(text) = &node.kind { text } else { "" }
}

/// `true` or `false`.
pub(crate) fn boolean(reader: &mut Reader, node: &Node) -> Option<bool> {
    match scalar(node) {
        "true" | "yes" | "on" => Some(true),
        "false" | "no" | "off" => Some(false),
        _ => reader.unfit(node, "true or false", "write true or false"),
    }
}

/// A whole number within a range.
pub(crate) fn number<T>(range: RangeInclusive<T>) -> impl Fn(&mut Reader, &Node) -> Option<T> + Copy
where
    T: TryFrom<u64> + Into<u64> + Copy,
{
    let (low, high) = ((*range.start()).into(), (*range.end()).into());
    move |reader, node| {
        let text = scalar(node).replace('_', "");
        let parsed = match text.strip_prefix("0x") {
            Some(hex) => u64::from_str_radix(hex, 16),
            None => text.parse(),
        };
        match parsed {
            Ok(value) if (low..=high).contains(&value) => T::try_from(value).ok(),
            Ok(value) => {
                let message = format!("{value} is out of range");
                reader.problem(node.at, message, format!("write a number from {low} to {high}"));
                None
            }
            Err(_) => reader.unfit(node, "a whole number", &format!("write a number from {low} to {high}")),
        }
    }
}

/// One of several words, each standing for a value.
pub(crate) fn word<T: Copy>(
    words: &'static [(&'static str, T)],
) -> impl Fn(&mut Reader, &Node) -> Option<T> + Copy {
    move |reader, node| {
        let found = words.iter().find(|(word, _)| *word == scalar(node));
        match found {
            Some((_, value)) => Some(*value),
            None => {
                let list = words.iter().map(|(word, _)| *word).collect::<Vec<_>>().join(", ");
                reader.unfit(node, &format!("one of {list}"), &format!("write one of {list}"))
            }
        }
    }
}

/// A word, or else what `other` reads; `expected` names both.
pub(crate) fn word_or<T: Copy>(
    words: &'static [(&'static str, T)],
    other: impl Fn(&mut Reader, &Node) -> Option<T> + Copy,
) -> impl Fn(&mut Reader, &Node) -> Option<T> + Copy {
    move |reader, node| {
        let text = scalar(node);
        if let Some((_, value)) = words.iter().find(|(word, _)| *word == text) {
            return Some(*value);
        }
        if !text.starts_with(|c: char| c.is_ascii_digit()) {
            let list = words.iter().map(|(word, _)| *word).collect::<Vec<_>>().join(", ");
            return reader.unfit(node, &format!("{list} or a number"), &format!("write {list} or a number"));
        }
        other(reader, node)
    }
}

/// A span of time within bounds.
pub(crate) fn period(
    r: &mut Reader,
    node: &Node,
    least: Period,
    most: Period,
    example: &str,
) -> Option<Period> {
    let text = text(r, node)?;
    let fix = format!("write a time from {least} to {most} with its unit (s, m, h or d), such as {example}");
    match Period::parse(&text) {
        Some(period) if (least..=most).contains(&period) => Some(period),
        Some(period) => {
            r.problem(node.at, format!("{period} is out of range"), fix);
            None
        }
        None => r.unfit(node, "a span of time", &fix),
    }
}

/// An IPv4 or IPv6 address.
pub(crate) fn ip(reader: &mut Reader, node: &Node) -> Option<IpAddr> {
    let text = scalar(node);
    if let Ok(ip) = text.parse() {
        return Some(ip);
    }
    let without = text.split_once('/').and_then(|(ip, _)| ip.parse::<IpAddr>().ok());
    match without {
        Some(ip) => reader.unfit(node, "an IP address", &format!("write it without the prefix length: {ip}")),
        None => reader.unfit(
            node,
            "an IP address",
            "write an IPv4 or IPv6 address such as 192.0.2.7 or \"2001:db8::7\"",
        ),
    }
}

fn net(reader: &mut Reader, node: &Node, expected: &str, example: &str) -> Option<IpNet> {
    let text = scalar(node);
    if let Ok(net) = IpNet::from_str(text) {
        return Some(net);
    }
    if let Ok(ip) = text.parse::<IpAddr>() {
        let fix = format!("add the prefix length, such as {ip}/{}", if ip.is_ipv4() { 24 } else { 64 });
        return reader.unfit(node, expected, &fix);
    }
    reader.unfit(node, expected, &format!("write it as {example}"))
}

/// A prefix without host bits.
pub(crate) fn prefix(reader: &mut Reader, node: &Node) -> Option<IpNet> {
    let net = net(reader, node, "a prefix", "198.51.100.0/24 or \"2001:db8::/32\"")?;
    if net.trunc() != net {
        let message = format!("{net} has bits set beyond its prefix length");
        reader.problem(
            node.at,
            message,
            format!("write {}, or {}/{}", net.trunc(), net.addr(), net.max_prefix_len()),
        );
        return None;
    }
    Some(net)
}

/// An address of ours with the length of its link's prefix.
pub(crate) fn interface_address(reader: &mut Reader, node: &Node) -> Option<IpNet> {
    let net = net(reader, node, "an address with prefix length", "192.0.2.1/24 or \"2001:db8::1/64\"")?;
    let ip = net.addr();
    let host_bits = net.max_prefix_len() - net.prefix_len();
    let last = match net {
        IpNet::V4(v4) => host_bits >= 2 && ip == IpAddr::V4(v4.broadcast()),
        IpNet::V6(_) => false,
    };
    if host_bits >= 2 && (ip == net.network() || last) {
        let what = if last { "broadcast" } else { "network" };
        let example = net.hosts().next().map_or_else(|| ip.to_string(), |host| host.to_string());
        let fix = format!("write an address inside it, such as {example}/{}", net.prefix_len());
        reader.problem(node.at, format!("{net} is the {what} address of its prefix"), fix);
        return None;
    }
    unicast(reader, node.at, ip)?;
    Some(net)
}

/// An address that one host can have.
pub(crate) fn host(reader: &mut Reader, node: &Node) -> Option<IpAddr> {
    let ip = ip(reader, node)?;
    unicast(reader, node.at, ip)
}

fn unicast(reader: &mut Reader, at: Location, ip: IpAddr) -> Option<IpAddr> {
    let kind = if ip.is_unspecified() {
        "the unspecified address"
    } else if ip.is_multicast() {
        "a multicast address"
    } else if ip.is_loopback() {
        "a loopback address"
    } else if matches!(ip, IpAddr::V4(v4) if v4.is_broadcast() || v4.octets()[0] == 0) {
        "not an address of a host"
    } else if matches!(ip, IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some()) {
        "an IPv4-mapped address"
    } else {
        return Some(ip);
    };
    reader.problem(at, format!("{ip} is {kind}"), "write the unicast address of one host");
    None
}

/// A MAC address of one station.
pub(crate) fn mac(reader: &mut Reader, node: &Node) -> Option<super::schema::Mac> {
    let mut bytes = [0u8; 6];
    let mut parts = scalar(node).split([':', '-']);
    let complete = bytes.iter_mut().all(|byte| {
        parts
            .next()
            .filter(|p| p.len() == 2)
            .and_then(|p| u8::from_str_radix(p, 16).ok())
            .map(|b| *byte = b)
            .is_some()
    });
    if !complete || parts.next().is_some() {
        return reader.unfit(node, "a MAC address", "write six bytes such as \"02:00:00:00:00:01\"");
    }
    if bytes[0] & 1 != 0 || bytes == [0; 6] {
        let kind = if bytes == [0; 6] { "all zero" } else { "a multicast address" };
        let fix = "write a unicast address; one that starts with 02 is free to use";
        reader.problem(node.at, format!("{} is {kind}", scalar(node)), fix);
        return None;
    }
    Some(super::schema::Mac(bytes))
}

/// A name of something of ours.
pub(crate) fn name(reader: &mut Reader, node: &Node) -> Option<Name> {
    match &node.kind {
        Kind::Scalar(text) => key_name(reader, text, node.at),
        _ => reader.unfit(node, "a name", "write one name"),
    }
}

/// A key that is a name.
pub(crate) fn key_name(reader: &mut Reader, text: &str, at: Location) -> Option<Name> {
    match Name::new(text) {
        Some(name) => Some(name),
        None => {
            let message = format!("\"{}\" is not a usable name", super::tree::shorten(text));
            reader.problem(
                at,
                message,
                "use 1 to 63 letters, digits, \"-\" and \"_\", and start with a letter or digit",
            );
            None
        }
    }
}

/// Prefixes on both sides of a tunnel.
pub(crate) fn selectors(reader: &mut Reader, node: &Node) -> Option<Selectors> {
    let mut f = reader.fields(node)?;
    let any = Selectors::default();
    let local = f.or(reader, "local", any.local, prefixes);
    let remote = f.or(reader, "remote", any.remote, prefixes);
    f.finish(reader);
    Some(Selectors { local, remote })
}

fn prefixes(reader: &mut Reader, node: &Node) -> Option<Vec<IpNet>> {
    if matches!(&node.kind, Kind::List(items) if items.is_empty()) {
        return reader.unfit(
            node,
            "a list of prefixes",
            "write prefixes such as [10.1.0.0/16], or leave the key out for any",
        );
    }
    let prefixes = reader.list(node, prefix)?;
    if prefixes.len() > Selectors::MAX {
        let message = format!("there are {} prefixes, the limit is {}", prefixes.len(), Selectors::MAX);
        reader.problem(node.at, message, "write larger prefixes, or leave the key out for any");
        return None;
    }
    Some(prefixes)
}

/// Largest replay window, packets.
pub(crate) const MAX_WINDOW: u32 = 65_536;

/// A replay window that the data plane can have; 0 is none.
pub(crate) fn replay_window(reader: &mut Reader, node: &Node) -> Option<u32> {
    let window = number(0..=MAX_WINDOW)(reader, node)?;
    if window == 0 || (window >= 64 && window.is_power_of_two()) {
        return Some(window);
    }
    let fix = "write 0 (off), or a power of two from 64 to 65536";
    reader.problem(node.at, format!("{window} is no size of a replay window"), fix);
    None
}
