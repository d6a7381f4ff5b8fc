//! Each tunnel as charon gets it, word by word.

use tempfile::tempdir;

use super::{CONFIG, config, render, write};
use crate::config::{IkeDaemon, parse_str};
use crate::ike::connections::{Credentials, strongswan_conf, wanted};
use crate::ike::vici::Message;

/// What stands for certificates here: sequences in DER.
const PEM: &str = "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n";
const PEM_2: &str = "-----BEGIN CERTIFICATE-----\nMAEH\n-----END CERTIFICATE-----\n";
const KEY: &str = "-----BEGIN PRIVATE KEY-----";

/// A message in the form of swanctl.conf.
fn text(message: &Message) -> String {
    let mut bytes = message.encoded().unwrap();
    let mut text = String::new();
    let mut indent = 0;
    let mut take = |length: usize| {
        let (head, rest) = bytes.split_at_checked(length)?;
        bytes = rest;
        Some(head.to_vec())
    };
    let show = |bytes: Vec<u8>| match String::from_utf8(bytes) {
        Ok(text) if !text.contains(char::is_control) => text,
        Ok(text) => format!("{text:?}"),
        Err(error) => format!("{:?}", error.as_bytes()),
    };
    while let Some(kind) = take(1) {
        let mut name = || {
            let length = take(1).unwrap()[0];
            show(take(usize::from(length)).unwrap())
        };
        let line = match kind[0] {
            1 => format!("{} {{", name()),
            2 => "}".to_owned(),
            6 => "]".to_owned(),
            3 => format!("{} = ", name()),
            4 => format!("{} [", name()),
            _ => String::new(),
        };
        let value = match kind[0] {
            3 | 5 => {
                let length = take(2).unwrap();
                show(take(usize::from(u16::from_be_bytes([length[0], length[1]]))).unwrap())
            }
            _ => String::new(),
        };
        indent -= usize::from(matches!(kind[0], 2 | 6));
        text += &format!("{}{line}{value}\n", "  ".repeat(indent));
        indent += usize::from(matches!(kind[0], 1 | 4));
    }
    text
}

fn files(directory: &std::path::Path) {
    write(directory, "a.psk", "hunter2\n", 0o600);
    write(directory, "b.psk", "0s//8=", 0o600);
    write(directory, "rsa.pem", format!("{PEM}{PEM_2}"), 0o644);
    write(directory, "rsa.key", format!("{KEY}\n"), 0o600);
    write(directory, "ca.pem", format!("{PEM_2}{PEM}"), 0o644);
    write(directory, "ca2.pem", PEM, 0o644);
}

#[test]
fn each_tunnel_word_by_word() {
    let directory = tempdir().unwrap();
    files(directory.path());
    let config = config(CONFIG, directory.path());
    let wanted = render(&config);
    let here = directory.path().to_str().unwrap();
    let mut found = String::new();
    for (name, connection) in &wanted.connections {
        found += &format!("# {name}\n{}", text(&connection.section));
        found += &format!("# {name}, who and what\n{}", text(&connection.peers));
    }
    for (what, messages) in
        [("shared", &wanted.secrets), ("key", &wanted.keys), ("cert", &wanted.certificates)]
    {
        for (name, message) in messages {
            found += &format!("# {what} {}\n{}", name.replace(here, "DIR"), text(message));
        }
    }
    assert_eq!(found, include_str!("connections.txt"), "{found}");
    let most = &wanted.connections["acme/most"];
    assert_eq!((most.local.to_string(), most.remote), ("203.0.113.1".into(), None));
    assert_eq!(most.selectors, "198.51.100.0/24 === 10.1.0.0/16, 10.2.0.0/16");
    assert_eq!(most.esp_proposals, "aes256gcm16-curve25519-none, aes128-sha512");
    let rsa = &wanted.connections["beta/rsa"];
    assert_eq!(rsa.local_id.replace(here, "DIR"), "the subject of DIR/rsa.pem");
}

/// What differs is loaded again, what does not is left alone.
#[test]
fn a_difference_is_seen_where_it_is() {
    let directory = tempdir().unwrap();
    files(directory.path());
    let before = render(&config(CONFIG, directory.path()));
    assert_eq!(before, render(&config(CONFIG, directory.path())));
    let changed = |from: &str, to: &str| {
        assert!(CONFIG.contains(from), "{from}");
        let after = render(&config(&CONFIG.replace(from, to), directory.path()));
        let sections: Vec<&str> = before
            .connections
            .iter()
            .filter(|(name, one)| after.connections[*name].section != one.section)
            .map(|(name, _)| name.as_str())
            .collect();
        let peers =
            before.connections.iter().filter(|(name, one)| after.connections[*name].peers != one.peers);
        (sections.join(" "), peers.count())
    };
    assert_eq!(changed("esp_rekey: 30m", "esp_rekey: 31m"), ("acme/most".into(), 0));
    assert_eq!(changed("192.0.2.77", "192.0.2.79"), ("acme/least".into(), 1));
    assert_eq!(changed("10.2.0.0/16", "10.3.0.0/16"), ("acme/most".into(), 1));
    assert_eq!(changed("branch 7", "branch 8"), ("beta/rsa".into(), 1));
    // What charon need not know.
    assert_eq!(changed("peer_replay_window: 64", "peer_replay_window: 128"), (String::new(), 0));
    // A new secret in the same file.
    write(directory.path(), "a.psk", "hunter3\n", 0o600);
    let after = render(&config(CONFIG, directory.path()));
    assert_eq!(after.connections, before.connections);
    assert_ne!(after.secrets["penstock:acme/least"], before.secrets["penstock:acme/least"]);
    assert_eq!(after.secrets["penstock:acme/most"], before.secrets["penstock:acme/most"]);
}

#[test]
fn a_tunnel_without_a_number_is_left_out() {
    let directory = tempdir().unwrap();
    files(directory.path());
    let config = config(CONFIG, directory.path());
    let credentials = Credentials::read(&config).unwrap();
    let some = wanted(&config, &credentials, |_, name| (name.as_str() == "most").then_some(9));
    assert_eq!(some.connections.keys().collect::<Vec<_>>(), ["acme/most"]);
    assert_eq!((some.secrets.len(), some.keys.len()), (1, 0));
}

#[test]
fn strongswan_conf_word_by_word() {
    let directory = tempdir().unwrap();
    let text = CONFIG.replace("ike: {run: DIR}", "ike: {run: '/run/a \"b\"', threads: 24}");
    let config = config(&text, directory.path());
    let daemon = config.ike.managed().unwrap();
    let text = strongswan_conf(&config.ike, daemon, config.node.number);
    assert_eq!(text, include_str!("strongswan.conf"), "{text}");
    let external =
        parse_str(&CONFIG.replace("ike: {run: DIR}", "ike: external").replace("DIR", "/x")).unwrap();
    assert!(matches!(external.ike.daemon, IkeDaemon::External(_)));
}
