//! What the files may hold, and who may read them.

use tempfile::tempdir;

use super::{config, write};
use crate::config::Problem;
use crate::ike::connections::Credentials;

const ONE: &str = "\
cores: {control: 0, workers: [1]}
ports: {edge0: {device: net_null0, addresses: [192.0.2.1/24]}}
endpoints: {gw: 203.0.113.1}
tenants: {acme: {tunnels: {dc1: {type: ipsec, endpoint: gw, remote: 192.0.2.77, ike: {IKE}}}}}
";

const PSK: &str = "psk_file: DIR/a.psk";
const CERTIFICATES: &str = "certificate: DIR/a.pem, private_key: DIR/a.key, ca: DIR/ca.pem";
/// An empty sequence in DER: as much as we look at.
const PEM: &str = "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n";
const KEY: &str = "-----BEGIN PRIVATE KEY-----\nMAA=\n-----END PRIVATE KEY-----\n";

/// What is said of files with these contents and modes.
fn problems(ike: &str, files: &[(&str, &[u8], u32)]) -> Vec<String> {
    let (mut problems, wrong) = unread_and_wrong(ike, files);
    problems.extend(wrong);
    problems
}

/// Of those that cannot be read, and of those that hold something else.
fn unread_and_wrong(ike: &str, files: &[(&str, &[u8], u32)]) -> (Vec<String>, Vec<String>) {
    let directory = tempdir().unwrap();
    for (name, bytes, mode) in files {
        write(directory.path(), name, bytes, *mode);
    }
    let config = config(&ONE.replace("IKE", ike), directory.path());
    let here = directory.path().to_str().unwrap().to_owned();
    let found = Credentials::check(&config);
    let text = |problem: &Problem| problem.to_string().replace(&here, "DIR");
    (found.unread.iter().map(text).collect(), found.wrong.iter().map(text).collect())
}

/// The secret that a file means; empty: it is refused.
fn secret(text: &str) -> Vec<u8> {
    let directory = tempdir().unwrap();
    write(directory.path(), "a.psk", text, 0o600);
    let config = config(&ONE.replace("IKE", PSK), directory.path());
    match Credentials::read(&config) {
        Ok(credentials) => credentials.psk(&directory.path().join("a.psk")).to_vec(),
        Err(_) => Vec::new(),
    }
}

#[test]
fn a_secret_is_text_or_encoded() {
    for (text, bytes) in [
        ("hunter2\n", &b"hunter2"[..]),
        ("hunter2\r\n", b"hunter2"),
        (" with spaces ", b" with spaces "),
        ("0x00fF\n", b"\x00\xff"),
        ("0sAP8=\n", b"\x00\xff"),
        ("0", b"0"),
        ("0y", b"0y"),
        ("0x", b""),
        ("0x0", b""),
        ("0xzz", b""),
        ("0sAP8", b""),
        ("0s!", b""),
        ("\n", b""),
        ("a\nb\n", b""),
    ] {
        assert_eq!(secret(text), bytes, "{text:?}");
    }
}

#[test]
fn who_else_can_read_it_is_told() {
    assert_eq!(problems(PSK, &[("a.psk", b"hunter2", 0o600)]), Vec::<String>::new());
    for (files, expected) in [
        (
            &[][..],
            "DIR/a.psk cannot be read: No such file or directory (os error 2); check the path, and who may read it",
        ),
        (
            &[("a.psk", &b"hunter2"[..], 0o640)],
            "DIR/a.psk has mode 0640: other users may read the key; chmod 600 DIR/a.psk",
        ),
        (&[("a.psk", b"", 0o600)], "DIR/a.psk is empty; write the pre-shared key into it"),
        (
            &[("a.psk", b"0x0", 0o600)],
            "DIR/a.psk holds no key in the encoding that its first two characters announce; write",
        ),
    ] {
        let found = problems(PSK, files);
        let expected = format!("configuration:4:97: tenants.acme.tunnels.dc1.ike.psk_file: {expected}");
        assert!(found.len() == 1 && found[0].starts_with(&expected), "{found:?} is not {expected}");
    }
    // The certificate may be anybody's to read, its key not.
    let files = |key: u32| {
        [("a.pem", PEM.as_bytes(), 0o644), ("ca.pem", PEM.as_bytes(), 0o644), ("a.key", KEY.as_bytes(), key)]
    };
    assert_eq!(problems(CERTIFICATES, &files(0o600)), Vec::<String>::new());
    assert!(problems(CERTIFICATES, &files(0o644))[0].contains("private_key: DIR/a.key has mode 0644"));
}

#[test]
fn what_a_file_holds_is_wrong_on_any_machine() {
    let (unread, wrong) =
        unread_and_wrong(CERTIFICATES, &[("a.pem", KEY.as_bytes(), 0o644), ("a.key", KEY.as_bytes(), 0o644)]);
    assert_eq!((unread.len(), wrong.len()), (2, 1), "{unread:?} {wrong:?}");
    assert!(wrong[0].contains("a.pem holds no certificate"), "{wrong:?}");
}

#[test]
fn what_is_no_key_and_no_certificate() {
    let locked = KEY.replace("PRIVATE", "ENCRYPTED PRIVATE");
    let found = problems(
        CERTIFICATES,
        &[("a.pem", KEY.as_bytes(), 0o644), ("ca.pem", b"", 0o644), ("a.key", locked.as_bytes(), 0o600)],
    );
    assert_eq!(found.len(), 3, "{found:?}");
    assert!(found[0].contains("ike.certificate: DIR/a.pem holds no certificate; write X.509"), "{found:?}");
    assert!(
        found[1].contains("ike.private_key: DIR/a.key is locked with a passphrase; write it without"),
        "{found:?}"
    );
    assert!(found[2].contains("ike.ca: DIR/ca.pem holds no certificate"), "{found:?}");
    let found = problems(
        CERTIFICATES,
        &[
            ("a.pem", PEM.as_bytes(), 0o644),
            ("ca.pem", PEM.as_bytes(), 0o644),
            ("a.key", PEM.as_bytes(), 0o600),
        ],
    );
    assert!(
        found.len() == 1 && found[0].contains("holds no private key; write an RSA or ECDSA key into it"),
        "{found:?}"
    );
}

#[test]
fn no_secret_is_printed() {
    let directory = tempdir().unwrap();
    write(directory.path(), "a.psk", "hunter2", 0o600);
    let config = config(&ONE.replace("IKE", PSK), directory.path());
    let credentials = Credentials::read(&config).unwrap();
    let shown = format!("{credentials:?}{:?}", super::wanted(&config, &credentials, |_, _| Some(1)));
    assert!(shown.contains("a.psk") && !shown.contains("hunter2"), "{shown}");
}
