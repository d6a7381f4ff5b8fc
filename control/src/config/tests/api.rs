//! `api`, and `psk: store`: what is read, what is refused, and that it changes while the gateway runs.

use super::{FLEET, SMALL, problems, valid};
use crate::config::{ApiRole, ApiTenants, FileKind, IkeAuth, StoredPsk, diff};

const API: &str = "\
api:
  listen: \"192.0.2.1:8443\"
  certificate: /etc/penstock/api.pem
  private_key: /etc/penstock/api.key
  client_ca: /etc/penstock/ca.pem
  clients:
    - {name: noc.example.net, role: write, tenants: all}
    - {name: \"CN with spaces\", role: read, tenants: [acme, globex]}
";

fn with(from: &str, to: &str) -> String {
    assert!(API.contains(from), "{from}");
    format!("{SMALL}{}", API.replace(from, to))
}

#[test]
fn it_is_read_with_its_files_and_written_again() {
    let config = valid(&format!("{SMALL}{API}"));
    assert_eq!(config.warnings(), []);
    let api = config.api.as_ref().unwrap();
    assert_eq!((api.listen.port(), api.max_connections, api.clients.len()), (8443, 256, 2));
    assert_eq!((api.clients[0].role, &api.clients[0].tenants), (ApiRole::Write, &ApiTenants::All));
    assert!(matches!(&api.clients[1].tenants, ApiTenants::These(tenants) if tenants.len() == 2));
    let kinds: Vec<FileKind> = config.api_files().iter().map(|file| file.kind).collect();
    assert_eq!(kinds, [FileKind::Certificate, FileKind::PrivateKey, FileKind::Authorities]);
    assert_eq!(valid(&config.to_yaml()), config);
}

#[test]
fn what_makes_no_sense_is_named() {
    for (from, to, expected) in [
        ("\"192.0.2.1:8443\"", "192.0.2.1", "an address with a port"),
        ("\"192.0.2.1:8443\"", "\"192.0.2.1:0\"", "an address with a port"),
        ("/etc/penstock/api.key", "api.key", "an absolute path"),
        ("client_ca: /etc/penstock/ca.pem", "client_ca: []", "a list of files"),
        ("  client_ca: /etc/penstock/ca.pem\n", "", "is missing"),
        ("role: write", "role: root", "one of read, write"),
        (", tenants: all", "", "is missing"),
        ("[acme, globex]", "[\"a b\"]", "not a usable name"),
        ("\"CN with spaces\"", "noc.example.net", "is also api.clients[0]"),
    ] {
        let found = problems(&with(from, to));
        assert!(found.len() == 1 && found[0].contains(expected), "{to}: {found:?}");
    }
}

#[test]
fn an_api_that_nobody_may_use_is_a_warning() {
    let nobody = &API[..API.find("  clients").unwrap()];
    let config = valid(&format!("{SMALL}{nobody}"));
    assert!(config.warnings()[0].message.contains("nobody may ask"), "{:?}", config.warnings());
}

#[test]
fn it_changes_while_the_gateway_runs() {
    let (without, with_api) = (valid(SMALL), valid(&format!("{SMALL}{API}")));
    let other = valid(&with("8443", "8444"));
    for (old, new) in [(&without, &with_api), (&with_api, &other), (&other, &without)] {
        let difference = diff(old, new);
        assert!(difference.changes.len() == 1 && difference.live().is_ok(), "{difference:?}");
    }
}

#[test]
fn a_pre_shared_key_of_the_store_is_one_of_a_fleet() {
    const BEFORE: &str = "psk_file: /etc/penstock/acme-dc1.psk";
    assert!(FLEET.contains(BEFORE));
    let with = |auth: &str| FLEET.replace(BEFORE, auth);
    let config = valid(&with("psk: store"));
    let auth = &config.tenants["acme"].tunnels["dc1"].ike().unwrap().auth;
    assert_eq!(*auth, IkeAuth::Stored { psk: StoredPsk::Store });
    assert_eq!(config.files(), []);
    assert_eq!(valid(&config.to_yaml()), config);
    let secret = problems(&with("psk: hush-hush-hush"));
    assert!(secret[0].contains("is none") && !secret[0].contains("hush"), "{secret:?}");
    assert!(problems(&with("psk: store, psk_file: /etc/x"))[0].contains("has psk and other keys"));
    let alone = SMALL.replace("endpoint: gw", "type: ipsec\n        ike: {psk: store}\n        endpoint: gw");
    assert!(problems(&alone)[0].contains("there is no fleet"));
}
