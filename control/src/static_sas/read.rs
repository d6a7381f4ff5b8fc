//! Reads the file out of the tree. Here a value is right or wrong in itself.

use std::collections::BTreeMap;

use penstock_dataplane::esp::suite::Suite;
use penstock_dataplane::tables::UdpPorts;
use zeroize::Zeroizing;

use super::TunnelName;
use super::masked::Keys;
use super::sa::{InboundSa, OutboundSa, TunnelSas};
use crate::config::reader::{Fields, Reader, closest};
use crate::config::tree::{Kind, Node, shorten};
use crate::config::{Location, Name, Selectors, value};
use crate::secret::Secret;

/// Numbers up to 255 are reserved (RFC 4303 section 2.1).
const FIRST_SPI: u32 = 256;
/// Port of ESP in UDP (RFC 3948 section 2).
const NATT_PORT: u16 = 4500;
/// Inbound security associations of one tunnel: a rekey has two for a while.
const MAX_INBOUND: usize = 64;

pub(super) fn file(r: &mut Reader, root: &Node, keys: &Keys) -> Option<BTreeMap<TunnelName, TunnelSas>> {
    let mut f = r.fields(root)?;
    let tunnels = f.required(r, "tunnels", "{acme/dc1: {inbound: [...], outbound: {...}}}", |r, node| {
        r.entries(node, tunnel_name, |r, node| tunnel(r, node, keys))
    });
    f.finish(r);
    tunnels
}

fn tunnel_name(r: &mut Reader, text: &str, at: Location) -> Option<TunnelName> {
    let parts =
        text.split_once('/').and_then(|(tenant, tunnel)| Some((Name::new(tenant)?, Name::new(tunnel)?)));
    if parts.is_none() {
        let message = format!("\"{}\" does not name a tunnel", shorten(text));
        r.problem(at, message, "write the tenant's name, a slash and the tunnel's name, such as acme/dc1");
    }
    parts
}

fn tunnel(r: &mut Reader, node: &Node, keys: &Keys) -> Option<TunnelSas> {
    let mut f = r.fields(node)?;
    let udp = f.optional(r, "udp", udp);
    let inbound = f.or(r, "inbound", vec![], |r, node| inbounds(r, node, keys));
    let outbound = f.optional(r, "outbound", |r, node| outbound(r, node, keys));
    let selectors = f.or(r, "selectors", Selectors::default(), value::selectors);
    f.finish(r);
    Some(TunnelSas { udp, inbound, outbound, selectors })
}

fn udp(r: &mut Reader, node: &Node) -> Option<UdpPorts> {
    let mut f = r.fields(node)?;
    let local = f.or(r, "local_port", NATT_PORT, |r, node| {
        let port = value::number(1..=u16::MAX)(r, node)?;
        if port == NATT_PORT {
            return Some(port);
        }
        r.problem(
            node.at,
            format!("{port} is not ours"),
            "write 4500: ESP in UDP is received on no other port",
        );
        None
    });
    let remote = f.or(r, "remote_port", NATT_PORT, value::number(1..=u16::MAX));
    f.finish(r);
    Some(UdpPorts { local, remote })
}

fn inbounds(r: &mut Reader, node: &Node, keys: &Keys) -> Option<Vec<InboundSa>> {
    if let Kind::List(items) = &node.kind
        && items.len() > MAX_INBOUND
    {
        let message = format!("there are {}, the limit is {MAX_INBOUND}", items.len());
        r.problem(node.at, message, "remove those that are no longer used");
        return None;
    }
    r.list(node, |r, node| inbound(r, node, keys))
}

fn inbound(r: &mut Reader, node: &Node, keys: &Keys) -> Option<InboundSa> {
    let mut f = r.fields(node)?;
    let spi = f.required(r, "spi", "0x1001", spi);
    let algorithms = algorithms(r, &mut f, keys);
    let replay_window = f.or(r, "replay_window", Some(0), |r, node| Some(value::replay_window(r, node)));
    let esn = esn(r, &mut f, replay_window, "replay_window");
    f.finish(r);
    let (suite, key, auth_key) = algorithms?;
    Some(InboundSa { spi: spi?, suite, key, auth_key, replay_window: replay_window?, esn })
}

fn outbound(r: &mut Reader, node: &Node, keys: &Keys) -> Option<OutboundSa> {
    let mut f = r.fields(node)?;
    let spi = f.required(r, "spi", "0x2001", spi);
    let algorithms = algorithms(r, &mut f, keys);
    let number = value::number(0..=value::MAX_WINDOW);
    let peer_replay_window = f.or(r, "peer_replay_window", Some(0), |r, node| Some(number(r, node)));
    let esn = esn(r, &mut f, peer_replay_window, "peer_replay_window");
    // Without ESN a sequence number has 32 bits and does not come back to zero (RFC 4303 section 3.3.3).
    let last = if esn { u64::MAX } else { u64::from(u32::MAX) };
    let hard_packets = f.optional(r, "hard_packets", value::number(1..=last));
    let soft_packets = f.optional(r, "soft_packets", value::number(1..=hard_packets.unwrap_or(last)));
    f.finish(r);
    let (suite, key, auth_key) = algorithms?;
    Some(OutboundSa {
        spi: spi?,
        suite,
        key,
        auth_key,
        peer_replay_window: peer_replay_window?,
        esn,
        soft_packets,
        hard_packets,
    })
}

fn spi(r: &mut Reader, node: &Node) -> Option<u32> {
    let spi = value::number(0..=u32::MAX)(r, node)?;
    if spi >= FIRST_SPI {
        return Some(spi);
    }
    let fix = "write a number from 0x100 to 0xffffffff";
    r.problem(node.at, format!("{spi} is reserved: the first 256 numbers name no security association"), fix);
    None
}

/// `window` is `None` where it could not be read: then it counts as there.
fn esn(r: &mut Reader, f: &mut Fields<'_>, window: Option<u32>, key: &str) -> bool {
    f.or(r, "esn", false, |r, node| {
        let esn = value::boolean(r, node)?;
        if !esn || window != Some(0) {
            return Some(esn);
        }
        // RFC 4303 section 2.2.1: who does not check sequence numbers must not use ESN.
        let message = format!("needs {key}: the high half of a number is inferred from the window");
        r.problem(node.at, message, format!("write a {key}, such as 64, or esn: false"));
        None
    })
}

/// `cipher` and the keys that it needs.
fn algorithms(r: &mut Reader, f: &mut Fields<'_>, keys: &Keys) -> Option<(Suite, Secret, Secret)> {
    let Some(suite) = f.required(r, "cipher", "aes128gcm16", suite) else {
        // Both are known, whatever they hold.
        f.optional(r, "key", |_, _| None::<()>);
        f.optional(r, "auth_key", |_, _| None::<()>);
        return None;
    };
    let (plain, salt) = (suite.encryption_key_len(), suite.salt_len());
    let parts = if salt == 0 { String::new() } else { format!(": {plain} of key, then {salt} of salt") };
    let key = secret(r, f, "key", suite, plain + salt, &parts, keys);
    let auth_key = secret(r, f, "auth_key", suite, suite.integrity_key_len(), "", keys);
    Some((suite, key?, auth_key?))
}

fn suite(r: &mut Reader, node: &Node) -> Option<Suite> {
    let text = value::text(r, node)?;
    let Ok(suite) = text.parse() else {
        let names: Vec<_> = Suite::all().map(Suite::name).collect();
        let fix = match closest(&text, &names) {
            Some(near) => format!("did you mean {near}?"),
            None => format!("write one of {}", names.join(", ")),
        };
        return r.unfit(node, "a cipher", &fix);
    };
    Some(suite)
}

/// A key of exactly `wanted` bytes; where none is wanted, the empty one. Problems tell lengths only.
fn secret(
    r: &mut Reader,
    f: &mut Fields<'_>,
    name: &'static str,
    suite: Suite,
    wanted: usize,
    parts: &str,
    keys: &Keys,
) -> Option<Secret> {
    if wanted == 0 {
        let mut unwanted = false;
        f.optional(r, name, |r, node| {
            unwanted = true;
            r.problem(node.at, format!("{suite} has none"), "remove it");
            None::<()>
        });
        return (!unwanted).then(Secret::default);
    }
    let digits = wanted * 2;
    f.required(r, name, &format!("0x... ({digits} hexadecimal digits)"), |r, node| {
        let fix = format!("write 0x and {digits} hexadecimal digits ({wanted} bytes{parts})");
        let Some(word) = keys.word(node) else {
            r.problem(node.at, "is not a key", fix);
            return None;
        };
        match hexadecimal(word) {
            Ok(bytes) if bytes.len() == wanted => Some(Secret::new(bytes)),
            Ok(bytes) => {
                let message = format!("has {} bytes, {suite} needs {wanted}{parts}", bytes.len());
                r.problem(node.at, message, fix);
                None
            }
            Err(message) => {
                r.problem(node.at, message, fix);
                None
            }
        }
    })
}

/// The bytes of `0x0011...`.
fn hexadecimal(word: &[u8]) -> Result<Zeroizing<Box<[u8]>>, &'static str> {
    let digits = word.strip_prefix(b"0x").ok_or("does not start with 0x")?;
    if !digits.iter().all(u8::is_ascii_hexdigit) {
        return Err("has other characters than hexadecimal digits");
    }
    if digits.len() % 2 != 0 {
        return Err("has an odd number of hexadecimal digits");
    }
    let mut bytes = Zeroizing::new(vec![0; digits.len() / 2].into_boxed_slice());
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = pair.iter().fold(0, |high, digit| high << 4 | digit_value(*digit));
    }
    Ok(bytes)
}

fn digit_value(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        b'a'..=b'f' => digit - b'a' + 10,
        _ => digit - b'A' + 10,
    }
}
