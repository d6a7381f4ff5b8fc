//! Whom a tunnel's probes go to, and where the answers come.

use crate::config::{Name, parse_str};
use crate::health::{ends, target_inside};

const TEXT: &str = "\
cores: {control: 0, workers: [1]}
ports: {edge0: {device: net_null0, addresses: [192.0.2.1/24]}}
endpoints: {gw: 203.0.113.1, gw6: 2001:db8::1}
tenants: {acme: {prefixes: [198.51.100.0/24], tunnels: {dc1: {TUNNEL}}}}
";

/// Ours, the target, and whether it is a source out of the tunnel; or what is wrong.
fn of(tunnel: &str) -> Result<String, String> {
    let text = TEXT.replace("TUNNEL", tunnel);
    let config = parse_str(&text).map_err(|problems| problems[0].to_string())?;
    let tunnel = &config.tenants[&Name::new("acme").unwrap()].tunnels[&Name::new("dc1").unwrap()];
    let health = tunnel.health.as_ref().unwrap();
    let ends = ends(tunnel, health, config.endpoints[&tunnel.endpoint]).unwrap();
    assert!(target_inside(tunnel).is_none_or(|inside| inside == ends.target));
    let inside = if target_inside(tunnel).is_some() { " inside" } else { "" };
    Ok(format!("{} {}{inside}", ends.ours, ends.target))
}

#[test]
fn defaults_follow_the_tunnels_addresses() {
    for (tunnel, expected) in [
        ("address: [10.0.0.0/31], health: on", "10.0.0.0 10.0.0.1 inside"),
        ("address: [10.0.0.5/30], health: {}", "10.0.0.5 10.0.0.6 inside"),
        ("address: [10.0.0.6/30], health: {rate: low}", "10.0.0.6 10.0.0.5 inside"),
        ("address: ['fd00::1/127'], health: on", "fd00::1 fd00:: inside"),
        ("address: ['fd00::1/126'], health: on", "fd00::1 fd00::2 inside"),
        // Whoever the other end is, the router has an address.
        ("address: [10.0.0.1/24], health: on", "10.0.0.1 192.0.2.77 inside"),
        ("address: [10.0.0.1/24, 10.9.0.0/31], health: on", "10.9.0.0 10.9.0.1 inside"),
        ("address: [10.0.0.1/24], health: {target: 10.0.0.7}", "10.0.0.1 10.0.0.7 inside"),
        ("address: [10.0.0.1/24, 'fd00::1/64'], health: {target: 'fd00::9'}", "fd00::1 fd00::9 inside"),
        ("health: on", "203.0.113.1 192.0.2.77"),
        ("health: {target: 198.51.100.9}", "203.0.113.1 198.51.100.9"),
        ("address: [10.0.0.0/31], health: {direction: unidirectional}", "203.0.113.1 192.0.2.77"),
    ] {
        let found = of(&format!("endpoint: gw, remote: 192.0.2.77, {tunnel}"));
        assert_eq!(found.as_deref(), Ok(expected), "{tunnel}");
    }
    assert_eq!(
        of("endpoint: gw6, remote: '2001:db8::77', health: {type: reply}").as_deref(),
        Ok("2001:db8::1 2001:db8::77")
    );
}

#[test]
fn what_cannot_be_probed_is_said_with_a_way_out() {
    let ike = "type: ipsec, remote: any, ike: {psk_file: /etc/psk, remote_id: r.example}";
    for (tunnel, problem) in [
        (format!("endpoint: gw, {ike}, health: on"), "there is nobody to probe"),
        (
            "endpoint: gw, remote: 192.0.2.77, health: {direction: bidirectional}".into(),
            "need an address of ours",
        ),
        (
            "endpoint: gw, remote: 192.0.2.77, address: [10.0.0.0/31], health: {target: 'fd00::1'}".into(),
            "of the family of fd00::1",
        ),
        ("endpoint: gw, remote: 192.0.2.77, health: {target: '2001:db8::9'}".into(), "is of another family"),
        (
            "endpoint: gw, remote: 192.0.2.77, address: [10.0.0.0/31], health: {target: 10.0.0.0}".into(),
            "is our own address",
        ),
        ("endpoint: gw, remote: 192.0.2.77, health: yes".into(), "is not on, off or a map"),
        ("endpoint: gw, remote: 192.0.2.77, health: {rate: fast}".into(), "fast"),
        ("endpoint: gw, remote: 192.0.2.77, health: {rat: low}".into(), "unknown key"),
    ] {
        let found = of(&tunnel).unwrap_err();
        assert!(found.contains(problem) && found.contains(":4:"), "{tunnel}: {found}");
    }
}

#[test]
fn off_is_as_not_written() {
    let parsed = |tunnel: &str| parse_str(&TEXT.replace("TUNNEL", tunnel)).unwrap();
    let without = parsed("endpoint: gw, remote: 192.0.2.77");
    assert_eq!(parsed("endpoint: gw, remote: 192.0.2.77, health: off"), without);
    assert_ne!(parsed("endpoint: gw, remote: 192.0.2.77, health: on"), without);
    // Written out, with every default, it is the same again.
    let full =
        parsed("endpoint: gw, remote: 192.0.2.77, health: {rate: high, type: reply, target: 198.51.100.9}");
    assert_eq!(parse_str(&full.to_yaml()).unwrap(), full);
}
