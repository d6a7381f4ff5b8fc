//! `ike`, of the gateway and of tunnels: what is read, refused and warned of.

use std::path::PathBuf;

use proptest::prelude::*;

use super::{IKE, parse_str, replace, valid};
use crate::config::{Dpd, Identity, IkeAuth, IkeDaemon, NatT, Period, Remote, TunnelIke};

/// The small configuration with an IPsec tunnel that has these lines, and `remote: any` or not.
fn with(remote: &str, ike: &str) -> String {
    replace(
        "endpoint: gw\n        remote: 192.0.2.77",
        &format!("{{type: ipsec, endpoint: gw, remote: {remote}, ike: {{{ike}}}}}"),
    )
}

fn tunnel(ike: &str) -> TunnelIke {
    valid(&with("192.0.2.77", ike)).tenants["acme"].tunnels["dc1"].ike().unwrap().clone()
}

/// The only problem of a tunnel, without its place and key.
fn problem(remote: &str, ike: &str) -> String {
    let problems = parse_str(&with(remote, ike)).expect_err("it is valid");
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert!(problems[0].path.starts_with("tenants.acme.tunnels.dc1"), "{}", problems[0]);
    let key = problems[0].path.trim_start_matches("tenants.acme.tunnels.dc1").trim_start_matches('.');
    format!("{key}: {}; {}", problems[0].message, problems[0].fix)
}

fn warnings(ike: &str) -> Vec<String> {
    let config = valid(&with("192.0.2.77", ike));
    config.warnings().iter().map(|w| format!("{}: {}", w.path, w.message)).collect()
}

#[test]
fn a_secret_is_enough() {
    let ike = tunnel("psk_file: /etc/penstock/dc1.psk");
    assert_eq!(ike.auth, IkeAuth::Psk { psk_file: "/etc/penstock/dc1.psk".into() });
    assert_eq!((ike.local_id, ike.remote_id), (None, None));
    assert_eq!((ike.rekey.to_string(), ike.esp_rekey.to_string()), ("4h".into(), "1h".into()));
    assert_eq!((ike.dpd, ike.nat_t), (Dpd::After(Period::from_secs(30)), NatT::Auto));
    assert_eq!((ike.replay_window, ike.peer_replay_window, ike.esn), (0, 32, false));
    assert!(ike.proposals.iter().chain(ike.esp_proposals.iter()).all(|one| one.weaknesses().count() == 0));
    assert_eq!(warnings("psk_file: /etc/penstock/dc1.psk"), Vec::<String>::new());
}

#[test]
fn ten_lines_are_a_tunnel() {
    let text = "\
cores: {control: 0, workers: [1]}
ports: {edge0: {device: \"0000:3b:00.0\", addresses: [192.0.2.1/24]}}
routes: [{prefix: 0.0.0.0/0, via: 192.0.2.254}]
endpoints: {gw: 203.0.113.1}
tenants:
  acme:
    prefixes: [198.51.100.0/24]
    tunnels:
      dc1: {type: ipsec, endpoint: gw, remote: 192.0.2.77, ike: {psk_file: /etc/penstock/dc1.psk}}
    routes: [{prefix: 198.51.100.0/24, via: dc1}]
";
    assert_eq!(text.lines().count(), 10);
    assert_eq!(valid(text).warnings(), []);
}

#[test]
fn every_key_is_read() {
    let config = valid(IKE);
    assert_eq!(config.warnings(), []);
    assert_eq!(config.node.number, 7);
    assert_eq!(config.ike.vici(), PathBuf::from("/run/penstock/seven/ike/charon.vici"));
    assert_eq!(config.ike.managed().unwrap().threads, 24);
    assert_eq!((config.ike.rate, config.ike.source_rate), (20_000, 100));
    let most = &config.tenants["acme"].tunnels["most"];
    assert_eq!(most.remote, Remote::Any);
    let most = most.ike().unwrap();
    let texts = |id: &Option<Identity>| id.as_ref().unwrap().text();
    assert_eq!(texts(&most.local_id), "fqdn:gw.example.net");
    assert_eq!(texts(&most.remote_id), "email:router@example.com");
    assert_eq!(most.proposals[1].as_str(), "aes256-sha256-modp2048");
    assert_eq!(most.esp_proposals[0].as_str(), "aes256gcm16-curve25519-none");
    assert_eq!(
        (most.esp_rekey_bytes, most.esp_rekey_packets),
        (Some(1_000_000_000_000), Some(1_000_000_000))
    );
    assert_eq!((most.dpd, most.nat_t, most.esn), (Dpd::Off, NatT::Always, true));
}

#[test]
fn who_starts_charon_is_a_word_or_a_map() {
    let ike = |text: &str| valid(&replace("ports:", &format!("ike: {text}\nports:"))).ike.clone();
    let default = valid(super::SMALL).ike.clone();
    assert_eq!(ike("managed"), default);
    assert_eq!(ike("{}"), default);
    assert_eq!(default.plugin_socket, PathBuf::from("/run/penstock/ike/plugin.sock"));
    assert_eq!(ike("{run: /run/x}").plugin_socket, PathBuf::from("/run/x/plugin.sock"));
    let external = ike("external");
    assert!(matches!(external.daemon, IkeDaemon::External(_)) && external.managed().is_none());
    assert_eq!(external.vici(), PathBuf::from("/run/charon.vici"));
    assert_eq!(external.plugin_socket, PathBuf::from("/run/penstock/charon.sock"));
    assert_eq!(ike("{mode: external, vici: /run/my.vici}").vici(), PathBuf::from("/run/my.vici"));
    for (text, expected) in [
        ("yes", "\"yes\" is not one of managed, external"),
        ("{vici: /run/x}", "our own charon has its socket in run; remove it, or write mode: external"),
        (
            "{mode: external, threads: 9}",
            "this charon is not ours; remove it, and set it where you start charon",
        ),
        ("{mode: external, charon: /x}", "this charon is not ours"),
        ("{threads: 7}", "7 is out of range; write a number from 8 to 256"),
        ("{run: ike}", "\"ike\" is not an absolute path"),
        ("{rate: 0}", "0 is out of range"),
    ] {
        let problems = super::problems(&replace("ports:", &format!("ike: {text}\nports:")));
        assert!(problems.len() == 1 && problems[0].contains(expected), "{text}: {problems:?}");
    }
    let long = format!("{{run: /{}}}", "x".repeat(100));
    assert!(super::problems(&replace("ports:", &format!("ike: {long}\nports:")))[0].contains("shorter path"));
    assert!(
        super::problems(&replace("ports:", "node: {number: 1024}\nports:"))[0].contains("from 0 to 1023")
    );
    let config = valid(&replace("ports:", "ike: {rate: 5, source_rate: 6}\nports:"));
    assert!(config.warnings()[0].to_string().contains("ike.source_rate: 6 is more than rate, 5"));
}

#[test]
fn how_the_peer_shows_who_it_is() {
    for (ike, expected) in [
        (
            "",
            "ike: says nothing of how the peer shows who it is; add \"psk_file: /etc/penstock/NAME.psk\", or",
        ),
        ("psk_file: /x, ca: /y", "ike: has a pre-shared key and certificates; write psk_file alone"),
        ("certificate: /x", "ike: has certificates without private_key and ca; write all of"),
        ("certificate: /x, private_key: /y, ca: []", "ike.ca: a list is written here, not a list of files"),
        ("psk_file: x", "ike.psk_file: \"x\" is not an absolute path; write the whole path of the file"),
    ] {
        let problem = problem("192.0.2.77", ike);
        assert!(problem.starts_with(expected), "{ike}: {problem}");
    }
}

#[test]
fn what_charon_would_refuse() {
    for (remote, ike, expected) in [
        (
            "any",
            "",
            "ike: has no remote_id, and remote is any: everybody could be meant; add who the router says it is",
        ),
        ("192.0.2.77", ", remote_id: 203.0.113.1", "ike.remote_id: is our own identity, too; write what"),
        ("192.0.2.77", ", local_id: 192.0.2.77", "ike.remote_id: is our own identity, too; write what"),
        (
            "192.0.2.77",
            ", remote_id: '%any'",
            "ike.remote_id: \"%any\" stands for several identities; write the",
        ),
        ("192.0.2.77", ", remote_id: '*.example.com'", "ike.remote_id: \"*.example.com\" stands for several"),
        (
            "192.0.2.77",
            ", remote_id: 0.0.0.0",
            "ike.remote_id: 0.0.0.0 stands for any identity; write the router's",
        ),
        (
            "192.0.2.77",
            ", remote_id: 192.0.2.300",
            "ike.remote_id: \"192.0.2.300\" is neither an address nor a name",
        ),
        (
            "192.0.2.77",
            ", remote_id: 'C=CH, CH'",
            "ike.remote_id: \"CH\" in a distinguished name has no =; write it as",
        ),
        (
            "192.0.2.77",
            ", esn: true",
            "ike.esn: needs replay_window: the high half of a number is inferred from the",
        ),
        (
            "192.0.2.77",
            ", esn: true, replay_window: 64, peer_replay_window: 0",
            "ike.esn: needs peer_replay_window",
        ),
        (
            "192.0.2.77",
            ", replay_window: 32",
            "ike.replay_window: 32 is no size of a replay window; write 0 (off), or",
        ),
        (
            "192.0.2.77",
            ", esp_rekey: 8d",
            "ike.esp_rekey: 8d is out of range; write a time from 10s to 7d with its unit",
        ),
        (
            "192.0.2.77",
            ", rekey: 3600",
            "ike.rekey: \"3600\" is not a span of time; write a time from 10s to 7d with",
        ),
        (
            "192.0.2.77",
            ", dpd: no",
            "ike.dpd: \"no\" is not a span of time; write a time from 1s to 1d with its unit",
        ),
        (
            "192.0.2.77",
            ", esp_rekey_packets: 4000000000",
            "ike.esp_rekey_packets: 4000000000 packets are more than",
        ),
        (
            "192.0.2.77",
            ", esp_rekey_bytes: 1000000000000000",
            "ike.esp_rekey_bytes: 1000000000000000 is out of range",
        ),
        (
            "192.0.2.77",
            ", selectors: {local: 10.0.0.0/8, remote: '2001:db8::/32'}",
            "ike.selectors: has IPv4 on one side",
        ),
        (
            "192.0.2.77",
            ", selectors: {local: []}",
            "ike.selectors.local: a list is written here, not a list of prefixes",
        ),
        (
            "192.0.2.77",
            ", proposals: []",
            "ike.proposals: a list is written here, not a list of proposals; write",
        ),
        (
            "192.0.2.77",
            ", nat_t: no",
            "ike.nat_t: \"no\" is not one of auto, always; write one of auto, always",
        ),
        (
            "192.0.2.77",
            ", mode: tunnel",
            "ike: unknown key \"mode\"; the keys here are: psk, psk_file, certificate",
        ),
    ] {
        let problem = problem(remote, &format!("psk_file: /x{ike}"));
        assert!(problem.starts_with(expected), "{ike}: {problem}");
    }
    let gre = replace("remote: 192.0.2.77", "remote: any");
    assert!(super::problems(&gre)[0].contains("any needs ike to find the router; write the address"));
    let gre = replace("remote: 192.0.2.77", "remote: 192.0.2.77\n        ike: {psk_file: /x}");
    assert!(
        super::problems(&gre)[0]
            .contains("is for IPsec, this tunnel is gre; remove it, or write type: ipsec")
    );
}

#[test]
fn proposals_that_charon_would_refuse_or_change() {
    for (ike, text, expected) in [
        (true, "aes256gcm16-ecp384", "has no pseudo-random function; add one, such as prfsha384"),
        (true, "aes256gcm16-prfsha384", "has no group for the key exchange; add one, such as ecp384"),
        (
            true,
            "aes256gcm16-sha384-ecp384",
            "aes256gcm16 authenticates by itself: sha384 is not used; write prfsha384 instead",
        ),
        (
            true,
            "aes256-ecp384-prfsha256",
            "aes256 does not authenticate; add an integrity algorithm, such as sha256",
        ),
        (
            true,
            "aes256-aes128gcm-sha256-ecp256",
            "aes128gcm16 authenticates by itself, aes256 does not; make two",
        ),
        (true, "sha256-ecp256", "has no cipher; write a proposal such as aes256gcm16-prfsha384-ecp384"),
        (true, "aes256-sha256-none", "IKE needs a key exchange; replace none by a group, such as ecp384"),
        (true, "aes256-sha256-ecp256-ecp256", "ecp256 is named twice; name it once"),
        (true, "null-sha256-ecp256", "null is not available for IKE; write aes128 or aes192 or aes256"),
        (true, "3des-sha256-modp2048", "\"3des\" is no transform for IKE; use transforms of aes128gcm16"),
        (true, "aes256-sha256-ecp255", "\"ecp255\" is no transform for IKE; did you mean ecp256?"),
        (true, "", "\"\" is no transform for IKE"),
        (
            false,
            "aes128gcm16-esn",
            "esn is not part of a proposal here; remove it; write esn: true beside it",
        ),
        (false, "aes128gcm16-noesn", "noesn is not part of a proposal here"),
        (
            false,
            "aes192gcm16",
            "aes192gcm16 is not available for ESP; write aes128gcm16 or aes256gcm16 or chacha20poly1305",
        ),
        (false, "aes192-sha256", "aes192 is not available for ESP; write aes128 or aes256"),
        (false, "aes128gcm16-prfsha256", "prfsha256 is for IKE only; remove it"),
        (
            false,
            "aes128gcm16-sha256",
            "aes128gcm16 authenticates by itself: sha256 is not used; remove sha256",
        ),
        (false, "aes128", "aes128 does not authenticate; add an integrity algorithm"),
        (
            false,
            "aes128gcm16-none",
            "none is meant beside groups; remove it: without a group there is no key exchange",
        ),
        (false, "aes128gcm16iiv", "\"aes128gcm16iiv\" is no transform for ESP; did you mean aes128gcm16?"),
        (false, "default", "\"default\" is no transform for ESP; use transforms of"),
    ] {
        let key = if ike { "proposals" } else { "esp_proposals" };
        let problem = problem("192.0.2.77", &format!("psk_file: /x, {key}: [\"{text}\"]"));
        assert!(problem.starts_with(&format!("ike.{key}[0]: {expected}")), "{text}: {problem}");
    }
}

#[test]
fn what_is_outdated_is_warned_of() {
    for (ike, expected) in [
        (
            "proposals: aes128-sha1-modp1024",
            &["proposals: sha1: SHA-1 is outdated", "proposals: modp1024: this group is too small"][..],
        ),
        ("proposals: [aes128-sha256-prfsha1-modp2048]", &["proposals[0]: prfsha1: SHA-1"]),
        ("esp_proposals: [aes128gcm16, null-sha256]", &["esp_proposals[1]: null: does not encrypt"]),
        ("selectors: {local: 10.0.0.0/8}", &["selectors: has IPv6 on one side only"]),
        ("selectors: {remote: '2001:db8::/32'}", &["selectors: has IPv4 on one side only"]),
    ] {
        let found = warnings(&format!("psk_file: /x, {ike}"));
        assert_eq!(found.len(), expected.len(), "{found:?}");
        for (found, expected) in found.iter().zip(expected) {
            let expected = format!("tenants.acme.tunnels.dc1.ike.{expected}");
            assert!(found.starts_with(&expected), "{found} is not {expected}");
        }
    }
}

/// What charon could not tell apart.
#[test]
fn tunnels_of_one_router() {
    let two = |first: &str, second: &str| {
        let text = replace("gw: 203.0.113.1", "gw: 203.0.113.1\n  gx: 203.0.113.2");
        let text =
            text.replace("endpoint: gw\n        remote: 192.0.2.77", &format!("{{type: ipsec, {first}}}"));
        text.replace("    routes:", &format!("      dc2: {{type: ipsec, {second}}}\n    routes:"))
    };
    let psk = "psk_file: /x";
    let one = format!("endpoint: gw, remote: 192.0.2.77, ike: {{{psk}}}");
    for (second, expected) in [
        (
            format!("endpoint: gw, remote: 192.0.2.77, ike: {{{psk}}}"),
            Some("has the same local_id and remote_id as tenants.acme.tunnels.dc1 (line 13)"),
        ),
        (
            format!("endpoint: gw, remote: 192.0.2.78, ike: {{{psk}, remote_id: 192.0.2.77}}"),
            Some("has the same local_id"),
        ),
        (
            format!("endpoint: gw, remote: any, ike: {{{psk}, remote_id: 192.0.2.77}}"),
            Some("has the same local_id"),
        ),
        (
            format!("endpoint: gx, remote: 192.0.2.77, ike: {{{psk}, local_id: 203.0.113.1}}"),
            Some("has the same local_id"),
        ),
        (format!("endpoint: gx, remote: 192.0.2.77, ike: {{{psk}}}"), None),
        (format!("endpoint: gw, remote: 192.0.2.77, ike: {{{psk}, local_id: other.example}}"), None),
        (format!("endpoint: gw, remote: 192.0.2.77, ike: {{{psk}, remote_id: other.example}}"), None),
    ] {
        match (parse_str(&two(&one, &second)), expected) {
            (Ok(_), None) => {}
            (Err(problems), Some(expected)) => {
                assert!(problems[0].to_string().contains(expected), "{}", problems[0])
            }
            (got, _) => panic!("{second}: {got:?}"),
        }
    }
    let anywhere = |id: &str, nat_t: &str| {
        format!("endpoint: gw, remote: any, ike: {{{psk}, remote_id: {id}, nat_t: {nat_t}}}")
    };
    // Capitals are no difference to charon.
    let problems = super::problems(&two(&anywhere("A.example", "auto"), &anywhere("a.example", "auto")));
    assert!(problems[0].contains("has the same local_id and remote_id"), "{problems:?}");
    let problems = super::problems(&two(&anywhere("a.example", "auto"), &anywhere("b.example", "always")));
    assert!(
        problems[0].contains("dc2.ike.nat_t: is not that of tenants.acme.tunnels.dc1.ike"),
        "{problems:?}"
    );
    valid(&two(&anywhere("a.example", "always"), &anywhere("b.example", "always")));
    let there = |tunnel: String| tunnel.replace("remote: any", "remote: 192.0.2.77");
    let problems =
        super::problems(&two(&there(anywhere("a.example", "auto")), &there(anywhere("b.example", "always"))));
    assert!(
        problems[0].contains("ike, whose remote is 192.0.2.77, too") && problems.len() == 1,
        "two routers behind one address: {problems:?}"
    );
    valid(&two(&there(anywhere("a.example", "always")), &there(anywhere("b.example", "always"))));
    valid(&two(&there(anywhere("a.example", "auto")), &anywhere("b.example", "always")));
}

proptest! {
    #[test]
    fn a_damaged_ike_block_is_refused_or_reads_back(at in 0usize..2500, cut in 0usize..30, put in r#"[-a-z:{}\[\],'" \n0-9./@#=]{0,12}"#) {
        let at = at.min(IKE.len());
        let after = (at + cut).min(IKE.len());
        let text = format!("{}{put}{}", &IKE[..at], &IKE[after..]);
        match parse_str(&text) {
            Ok(config) => prop_assert_eq!(parse_str(&config.to_yaml()).unwrap(), config),
            Err(problems) => prop_assert!(!problems.is_empty()),
        }
    }
}
