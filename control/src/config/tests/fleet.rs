//! `fleet`: what is read, what is refused, and what it refuses of tunnels.

use super::{FLEET, SMALL, parse_str, problems, valid};
use crate::config::{FileKind, FleetConfig, FleetStore, ValidConfig, Wait, diff};

/// The small configuration in a fleet; the section's lines.
fn with(lines: &str) -> String {
    format!("node: {{name: fra1, number: 1}}\n{SMALL}fleet:\n{}", indented(lines))
}

fn indented(lines: &str) -> String {
    lines.lines().map(|line| format!("  {line}\n")).collect()
}

const LINES: &str = "\
name: edge
key_file: /etc/penstock/fleet.key
address: 192.0.2.1
";

const ETCD: &str = "\
name: edge
key_file: /etc/penstock/fleet.key
address: 192.0.2.1
store:
  etcd:
    endpoints: [\"https://192.0.2.11:2379\"]
    ca: /etc/ca.pem
";

fn fleet(config: &ValidConfig) -> &FleetConfig {
    config.fleet.as_ref().unwrap()
}

/// What one changed line of the section makes of it: the only problem, without its place.
fn problem(lines: &str, from: &str, to: &str) -> String {
    assert!(lines.contains(from), "{from}");
    only(&with(&lines.replace(from, to)))
}

fn only(text: &str) -> String {
    let problems = parse_str(text).expect_err("it is valid");
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert!(problems[0].at.line > 0, "it has a place");
    format!("{}: {}; {}", problems[0].path, problems[0].message, problems[0].fix)
}

fn expect(problem: &str, expected: &str) {
    assert!(problem.starts_with(expected), "{problem}\n  instead of\n{expected}");
}

#[test]
fn three_keys_are_enough() {
    let config = valid(&with(LINES));
    assert_eq!(config.warnings(), []);
    let fleet = fleet(&config);
    assert_eq!(fleet.store, FleetStore::Embedded);
    assert_eq!((fleet.port, fleet.barrier, fleet.liveness.seconds), (4790, Wait::from_millis(1000), 5));
    assert_eq!(fleet.control_address().to_string(), "192.0.2.1:4791");
    assert_eq!(config.fleet_files().len(), 1);
    assert_eq!(config.files(), [], "charon needs none of them");
}

#[test]
fn every_key_is_read() {
    let config = valid(FLEET);
    let fleet = fleet(&config);
    let FleetStore::Etcd { etcd } = &fleet.store else { panic!("{:?}", fleet.store) };
    let urls: Vec<String> = etcd.endpoints.iter().map(ToString::to_string).collect();
    assert_eq!(urls, ["https://192.0.2.11:2379", "https://192.0.2.12:2379", "https://192.0.2.13:2379"]);
    assert_eq!(etcd.user.as_ref().unwrap().user, "penstock");
    let kinds: Vec<FileKind> = config.fleet_files().iter().map(|file| file.kind).collect();
    let all = [
        FileKind::FleetKeys,
        FileKind::Authorities,
        FileKind::Certificate,
        FileKind::PrivateKey,
        FileKind::StorePassword,
    ];
    assert_eq!(kinds, all);
    let problem = config.fleet_files()[4].problem("is missing", "make it").to_string();
    assert!(
        problem.contains("fleet.store.etcd.password_file: /etc/penstock/etcd.password is missing"),
        "{problem}"
    );
    assert!(!problem.contains(":0:0"), "{problem}");
}

#[test]
fn single_values() {
    for (from, to, expected) in [
        ("name: edge", "name: e dge", "fleet.name: \"e dge\" is not a usable name"),
        ("name: edge", "nam: edge", "fleet.name: is missing"),
        ("/etc/penstock/fleet.key", "fleet.key", "fleet.key_file: \"fleet.key\" is not an absolute path"),
        ("192.0.2.1", "192.0.2.1/24", "fleet.address: \"192.0.2.1/24\" is not an IP address"),
        (
            "192.0.2.1",
            "192.0.2.2",
            "fleet.address: 192.0.2.2 is no address of a port or VLAN; write one of our own",
        ),
        ("192.0.2.1", "203.0.113.1", "fleet.address: 203.0.113.1 is the endpoint gw, which all nodes have"),
    ] {
        if from == "name: edge" && to.starts_with("nam:") {
            let found = problems(&with(&LINES.replace(from, to)));
            assert!(found.iter().any(|one| one.contains(expected)), "{found:?}");
            assert!(found.iter().any(|one| one.contains("did you mean \"name\"?")), "{found:?}");
            continue;
        }
        expect(&problem(LINES, from, to), expected);
    }
    for (line, expected) in [
        ("port: 65535", "fleet.port: 65535 is out of range; write a number from 1024 to 65534"),
        ("port: 4499", "fleet.port: 4499 and 4500 are ours then, and one of them is that of IKE"),
        ("port: 4500", "fleet.port: 4500 and 4501 are ours then"),
        (
            "barrier: 49ms",
            "fleet.barrier: 49ms is out of range; write a time from 50ms to 3s with its unit (ms or s)",
        ),
        ("barrier: 3001ms", "fleet.barrier: 3001ms is out of range"),
        ("barrier: 1", "fleet.barrier: \"1\" is not a span of time"),
        ("liveness: 1s", "fleet.liveness: 1s is out of range; write a time from 2s to 1m"),
        ("liveness: 61s", "fleet.liveness: 61s is out of range"),
        (
            "store: etcd",
            "fleet.store: \"etcd\" is not embedded or a map with etcd; write embedded (a fleet of one node)",
        ),
        ("store: {}", "fleet.store.etcd: is missing"),
    ] {
        expect(&only(&with(&format!("{LINES}{line}\n"))), expected);
    }
    for line in ["port: 65534", "barrier: 50ms", "barrier: 3s", "liveness: 60s", "store: embedded"] {
        valid(&with(&format!("{LINES}{line}\n")));
    }
}

#[test]
fn urls_of_the_store() {
    let url = "\"https://192.0.2.11:2379\"";
    for (to, expected) in [
        ("192.0.2.11:2379", "\"192.0.2.11:2379\" is not a URL with http or https; write https://HOST:PORT"),
        ("\"https://192.0.2.11\"", "\"https://192.0.2.11\" is not a URL with a port"),
        ("\"https://192.0.2.11:0\"", "\"https://192.0.2.11:0\" is not a URL with a port"),
        ("\"https://192.0.2.11:2379/v3\"", "\"https://192.0.2.11:2379/v3\" is not a URL without a path"),
        ("\"unix:///run/etcd\"", "\"unix:///run/etcd\" is not a URL"),
        ("\"https://\"", "\"https://\" is not a URL"),
        ("\"https://a b:1\"", "\"https://a b:1\" is not a URL"),
    ] {
        expect(&problem(ETCD, url, to), &format!("fleet.store.etcd.endpoints[0]: {expected}"));
    }
    let secret = problem(ETCD, url, "\"https://penstock:hunter2@192.0.2.11:2379\"");
    expect(
        &secret,
        "fleet.store.etcd.endpoints[0]: there is a user name in this URL; write user and password_file",
    );
    assert!(!secret.contains("hunter2"));
    let both = format!("{url}, \"http://192.0.2.12:2379\"");
    expect(&problem(ETCD, url, &both), "fleet.store.etcd.endpoints: are both https and http");
    expect(
        &problem(ETCD, &format!("[{url}]"), "[]"),
        "fleet.store.etcd.endpoints: a list is written here, not a list",
    );
    let many: Vec<String> = (1..=17).map(|i| format!("\"https://192.0.2.{i}:2379\"")).collect();
    expect(
        &problem(ETCD, url, &many.join(", ")),
        "fleet.store.etcd.endpoints: there are 17, the limit is 16",
    );
    // An address of IPv6, and what does not matter.
    let config = valid(&with(&ETCD.replace(url, "\"HTTPS://[2001:db8::11]:2379/\"")));
    let FleetStore::Etcd { etcd } = &fleet(&config).store else { panic!() };
    assert_eq!(etcd.endpoints[0].to_string(), "https://[2001:db8::11]:2379");
    assert!(etcd.endpoints[0].is_tls());
}

#[test]
fn files_of_tls_and_users_come_together() {
    let etcd = "fleet.store.etcd: ";
    for (from, to, expected) in [
        ("    ca: /etc/ca.pem\n", "", "has no ca: https could be with anybody; add \"ca: "),
        (
            "ca:",
            "certificate: /c\n    ca:",
            "has no private_key; write certificate and private_key, or neither",
        ),
        ("ca:", "private_key: /k\n    ca:", "has no certificate; write"),
        ("ca:", "user: penstock\n    ca:", "has no password_file; write user and password_file, or neither"),
        ("ca:", "password_file: /p\n    ca:", "has no user; write"),
        ("https", "http", "has files of TLS, and endpoints are http; write https in endpoints"),
    ] {
        expect(&problem(ETCD, from, to), &format!("{etcd}{expected}"));
    }
    expect(
        &problem(ETCD, "ca:", "user: \"\"\n    password_file: /p\n    ca:"),
        "fleet.store.etcd.user: \"\" is not a user",
    );
}

#[test]
fn without_tls_everybody_can_read() {
    let plain = |host: &str| ETCD.replace("    ca: /etc/ca.pem\n", "").replace("https://192.0.2.11", host);
    let config = valid(&with(&plain("http://192.0.2.11")));
    let warnings: Vec<&str> = config.warnings().iter().map(|one| one.message.as_str()).collect();
    assert_eq!(warnings, ["http: everybody on the way can read the tenants and change them"]);
    for host in ["http://127.0.0.1", "http://[::1]", "http://localhost"] {
        assert_eq!(valid(&with(&plain(host))).warnings(), [], "{host}");
    }
}

#[test]
fn a_node_has_its_number_and_its_name() {
    expect(
        &only(&with(LINES).replace(", number: 1", "")),
        "node: has no number: a fleet's nodes are told apart by it",
    );
    expect(&only(&with(LINES).replace("number: 1", "number:")), "node: has no number");
    valid(&with(LINES).replace("number: 1", "number: 0"));
    let config = valid(&with(LINES).replace("name: fra1, ", ""));
    let warning = &config.warnings()[0].message;
    assert_eq!(warning, "has no name: it is penstock, and no two nodes of a fleet may have the same");
}

#[test]
fn the_address_may_be_a_vlans_but_no_tenants() {
    let vlan = "[192.0.2.1/24]\n    vlans: {7: {addresses: [10.9.0.1/24]}}";
    let text = |tenant: &str| {
        let vlan = vlan.replace("addresses: [10", &format!("{tenant}addresses: [10"));
        with(&LINES.replace("192.0.2.1", "10.9.0.1")).replace("[192.0.2.1/24]", &vlan)
    };
    valid(&text(""));
    expect(
        &only(&text("tenant: acme, ")),
        "fleet.address: 10.9.0.1 is on a link of tenant acme; nodes reach",
    );
    // Where a port could not be read, its addresses are not called unknown.
    let found = problems(&with(&LINES.replace("192.0.2.1", "10.9.0.1")).replace("net_null0", "eth0"));
    assert!(found.len() == 1 && found[0].contains("is not a device"), "{found:?}");
}

/// The tunnel of the small configuration negotiates, in a fleet or not.
fn negotiating(ike: &str) -> String {
    with(LINES)
        .replace("endpoint: gw\n", &format!("endpoint: gw\n        type: ipsec\n        ike: {{{ike}}}\n"))
}

#[test]
fn many_nodes_under_one_security_association() {
    let config = valid(&negotiating("psk_file: /x"));
    assert_eq!(config.warnings(), []);
    let ike = config.tenants["acme"].tunnels["dc1"].ike().unwrap();
    assert_eq!((ike.replay_window, ike.peer_replay_window, ike.esn), (0, 0, false));
    valid(&negotiating("psk_file: /x, peer_replay_window: 0, replay_window: 0, esn: false, esp_rekey: 21h"));
    for (line, expected) in [
        (
            "peer_replay_window: 32",
            "peer_replay_window: 32: the router's replay window needs a single sender",
        ),
        ("replay_window: 64", "replay_window: 64: packets of one security association come to all nodes"),
        ("esn: true", "esn: needs replay windows (RFC 4303 section 2.2.1), and there are none in a fleet"),
        ("esp_rekey: 22h", "esp_rekey: 22h and 10 % more, when the key ends, is longer than 1d: in a fleet"),
        ("esp_rekey_packets: 4000000000", "esp_rekey_packets: 4000000000 packets are more than"),
    ] {
        let problem = only(&negotiating(&format!("psk_file: /x, {line}")));
        expect(&problem, &format!("tenants.acme.tunnels.dc1.ike.{expected}"));
    }
    let problem = only(&negotiating("psk_file: /x, peer_replay_window: 32"));
    assert!(problem.contains("strongSwan: replay_window = 0"), "{problem}");
}

/// The IKE SA is one node's alone: its life has nothing to do with sender IDs.
#[test]
fn the_ike_sa_may_live_longer() {
    valid(&negotiating("psk_file: /x, rekey: 7d"));
}

#[test]
fn a_fleet_that_cannot_be_read_is_one_mistake() {
    let found = problems(&negotiating("psk_file: /x").replace("address: 192.0.2.1\n", "address: 192.0.2\n"));
    assert_eq!(found.len(), 1, "{found:?}");
}

#[test]
fn without_ike_a_tunnel_stays_down() {
    let config = valid(&with(LINES).replace("endpoint: gw\n", "endpoint: gw\n        type: ipsec\n"));
    assert_eq!(config.warnings().len(), 1);
    assert!(config.warnings()[0].message.starts_with("has no ike"), "{}", config.warnings()[0]);
}

#[test]
fn nothing_of_it_changes_by_a_reload() {
    let lines = |old: &str, new: &str| diff(&valid(old), &valid(new)).lines();
    let changed = with(&LINES.replace("name: edge", "name: core")) + "  port: 5000\n";
    assert_eq!(
        lines(&with(LINES), &changed),
        ["~ fleet.name: edge -> core (needs a restart)", "~ fleet.port: 4790 -> 5000 (needs a restart)"]
    );
    let alone = format!("node: {{name: fra1, number: 1}}\n{SMALL}");
    for (old, new, sign) in [(&alone, &with(LINES), '+'), (&with(LINES), &alone, '-')] {
        let lines = lines(old, new);
        assert!(lines.len() == 1 && lines[0].starts_with(&format!("{sign} fleet: {{")), "{lines:?}");
        assert!(diff(&valid(old), &valid(new)).live().is_err());
    }
    let lines = lines(&with(LINES), &with(ETCD));
    assert!(lines[0].starts_with("~ fleet.store: embedded -> {\"etcd\":"), "{lines:?}");
}

#[test]
fn a_node_drains_for_as_long_as_it_is_told_and_in_a_fleet_by_itself() {
    let seconds = |text: &str| valid(text).drain().seconds;
    assert_eq!(seconds(SMALL), 0);
    assert_eq!(seconds(&with(LINES)), 5);
    assert_eq!(seconds(&with(LINES).replace("number: 1}", "number: 1, drain: 0s}")), 0);
    assert_eq!(seconds(&with(LINES).replace("number: 1}", "number: 1, drain: auto}")), 5);
    assert_eq!(seconds(&format!("node: {{drain: 2m}}\n{SMALL}")), 120);
}
