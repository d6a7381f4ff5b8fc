//! The words of problems, with their places; none has a key in it.

use super::{FILE, problems, read, replace, valid, words};

const KEY: &str = "00112233445566778899aabbccddeeff";

/// Changes a piece of the file and expects exactly one problem.
fn one(from: &str, to: &str, expected: &str) {
    assert_eq!(problems(&replace(from, to)), [expected], "{to}");
}

#[test]
fn a_fleet_takes_none() {
    let fleet = "node: {name: a, number: 1}\nfleet: {name: x, key_file: /x, address: 192.0.2.1}\n";
    let config = crate::config::parse_str(&format!("{fleet}{}", super::CONFIG)).unwrap();
    let problems = super::parse_str(&mut FILE.as_bytes().to_vec(), &config).err().unwrap();
    assert_eq!(
        words(&problems),
        [
            " security associations from a file cannot be used in a fleet: keys live 24 h there at most; start without \
          --static-sas, or remove fleet from the configuration"
        ]
    );
}

#[test]
fn single_values() {
    one(
        "0x1002",
        "255",
        "6:15: tunnels.acme/dc1.inbound[1].spi: 255 is reserved: the first 256 numbers name no security association; \
         write a number from 0x100 to 0xffffffff",
    );
    one(
        "cipher: chacha20poly1305",
        "cipher: chacha20poly1306",
        "19:37: tunnels.acme/dc3.outbound.cipher: \"chacha20poly1306\" is not a cipher; did you mean chacha20poly1305?",
    );
    one(
        "replay_window: 64",
        "replay_window: 100",
        "5:108: tunnels.acme/dc1.inbound[0].replay_window: 100 is no size of a replay window; write 0 (off), or a power of \
         two from 64 to 65536",
    );
    one(
        "replay_window: 64, ",
        "",
        "5:98: tunnels.acme/dc1.inbound[0].esn: needs replay_window: the high half of a number is inferred from the \
         window; write a replay_window, such as 64, or esn: false",
    );
    one(
        "peer_replay_window: 1024",
        "esn: true",
        "12:12: tunnels.acme/dc1.outbound.esn: needs peer_replay_window: the high half of a number is inferred from the \
         window; write a peer_replay_window, such as 64, or esn: false",
    );
    one(
        "soft_packets: 1000",
        "soft_packets: 3000",
        "13:21: tunnels.acme/dc1.outbound.soft_packets: 3000 is out of range; write a number from 1 to 2000",
    );
    one(
        "hard_packets: 2000",
        "hard_packets: 4294967296",
        "14:21: tunnels.acme/dc1.outbound.hard_packets: 4294967296 is out of range; write a number from 1 to 4294967295",
    );
    one(
        "remote_port: 31000",
        "local_port: 4501",
        "3:23: tunnels.acme/dc1.udp.local_port: 4501 is not ours; write 4500: ESP in UDP is received on no other port",
    );
    one(
        "198.51.100.0/24",
        "198.51.100.1/24",
        "15:54: tunnels.acme/dc1.selectors.remote[0]: 198.51.100.1/24 has bits set beyond its prefix length; write \
         198.51.100.0/24, or 198.51.100.1/32",
    );
    one(
        "remote: [198.51.100.0/24]",
        "remote: []",
        "15:53: tunnels.acme/dc1.selectors.remote: a list is written here, not a list of prefixes; write prefixes such as \
         [10.1.0.0/16], or leave the key out for any",
    );
    one(
        "  acme/dc2:\n    inbound: [{spi",
        "  acme/dc2:\n    inbund: [{spi",
        "17:5: tunnels.acme/dc2: unknown key \"inbund\"; did you mean \"inbound\"?",
    );
    assert_eq!(
        problems(&replace("acme/dc3", "acme-dc3")),
        [
            "18:3: tunnels.acme-dc3: \"acme-dc3\" does not name a tunnel; write the tenant's name, a slash and the \
             tunnel's name, such as acme/dc1"
        ]
    );
}

#[test]
fn keys_of_the_wrong_form_are_not_shown() {
    let gcm = "write 0x and 40 hexadecimal digits (20 bytes: 16 of key, then 4 of salt)";
    let key = format!("0x{KEY}01020305");
    let at = "6:49: tunnels.acme/dc1.inbound[1].key:";
    for (written, wrong) in [
        (format!("0x{KEY}"), "has 16 bytes, aes128gcm16 needs 20: 16 of key, then 4 of salt"),
        (format!("0x{KEY}010203050"), "has an odd number of hexadecimal digits"),
        (format!("0x{KEY}0102030g"), "has other characters than hexadecimal digits"),
        (format!("{KEY}01020305"), "does not start with 0x"),
        ("0xabcd".into(), "has 2 bytes, aes128gcm16 needs 20: 16 of key, then 4 of salt"),
        ("secret".into(), "does not start with 0x"),
    ] {
        one(&key, &written, &format!("{at} {wrong}; {gcm}"));
    }
    one(
        &key,
        &format!("[0x{KEY}01020305]"),
        &format!("6:49: tunnels.acme/dc1.inbound[1].key: is not a key; {gcm}"),
    );
    // Put together by the parser, which would have a copy.
    one(
        &key,
        "\"0x00112233445566778899aabb\\\n      ccddeeff01020305\"",
        &format!("6:49: tunnels.acme/dc1.inbound[1].key: is not a key; {gcm}"),
    );
    one(
        "10111213}]",
        "10111213, key: 0x00}]",
        "17:107: tunnels.acme/dc2.inbound[0].key: null-sha1 has none; remove it",
    );
    one(
        "01020305}",
        "01020305, auth_key: 0x00}",
        "6:103: tunnels.acme/dc1.inbound[1].auth_key: aes128gcm16 has none; remove it",
    );
    one(
        "key: 0x00112233445566778899aabbccddeeff\n",
        "\n",
        "8:7: tunnels.acme/dc1.outbound.key: is missing; add \"key: 0x... (32 hexadecimal digits)\"",
    );
}

/// Also where it is no key at all, or the text is not YAML.
#[test]
fn a_key_in_the_wrong_place_is_not_shown() {
    let key = format!("0x{KEY}01020305");
    for (from, to) in [
        ("spi: 0x1002", format!("spi: {key}")),
        ("esn: true", format!("esn: {KEY}01020305")),
        ("cipher: aes128gcm16", format!("cipher: {key}")),
        ("acme/dc3:", format!("{key}:")),
        ("    outbound:\n", format!("    {key}:\n")),
        ("remote: [198.51.100.0/24]", format!("remote: [{key}]")),
        ("tunnels:\n", format!("tunnels: {key} {key}\n")),
        ("    outbound:\n", format!("   {key} : [\n")),
    ] {
        let problems = problems(&replace(from, &to)).join("\n");
        assert!(!problems.contains("00112233"), "{problems}");
    }
}

#[test]
fn what_does_not_fit_the_configuration() {
    one(
        "acme/dc3",
        "acme/dc4",
        "18:3: tunnels.acme/dc4: there is no such tunnel in the configuration; did you mean acme/dc1?",
    );
    one(
        "acme/dc3",
        "acme/plain",
        "18:3: tunnels.acme/plain: is a gre tunnel; write type: ipsec in the configuration, or remove it here",
    );
    one(
        "acme/dc3",
        "acme/asks",
        "18:3: tunnels.acme/asks: negotiates its security associations; remove its ike from the configuration, or remove \
         it here",
    );
    let left_out = FILE.split("  acme/dc3").next().unwrap();
    assert_eq!(
        valid(FILE).warnings().len() + 1,
        valid(left_out).warnings().len(),
        "one that negotiates lacks nothing"
    );
    assert!(
        words(valid(left_out).warnings())[0]
            .contains("acme/dc3 is an ipsec tunnel without security associations")
    );
    let empty = replace("[{spi: 0x1003", "[] # [{");
    assert!(words(valid(&empty).warnings())[0].contains("has neither inbound nor outbound"));
}

#[test]
fn what_does_not_fit_each_other() {
    one(
        "0x1003",
        "0x1001",
        "17:21: tunnels.acme/dc2.inbound[0].spi: 0x1001 of endpoint gw is also that of tunnels.acme/dc1.inbound[0].spi \
         (line 5); received packets could be of either: give one another spi",
    );
    // Another endpoint has numbers of its own.
    let other = "acme/dc3:\n    inbound: [{spi: 0x1001, cipher: null-sha1, auth_key: 0x010102030405060708090a0b0c0d0e0f10111213}]";
    valid(&replace("acme/dc3:", other));
    one(
        "01020305",
        "01020304",
        "6:49: tunnels.acme/dc1.inbound[1].key: the key is also that of tunnels.acme/dc1.inbound[0].key (line 5); give \
         each security association a key of its own",
    );
    let more = "acme/dc2:\n    outbound: {spi: 0x2001, cipher: aes128-sha1, key: 0xff112233445566778899aabbccddeeff, \
                auth_key: 0x010102030405060708090a0b0c0d0e0f10111213}";
    // Another port is another host behind the same NAT.
    valid(&replace("acme/dc2:", more));
    let same_port = replace("acme/dc2:", more).replace("    udp: {remote_port: 31000}\n", "");
    assert_eq!(
        problems(&same_port),
        [
            "16:21: tunnels.acme/dc2.outbound.spi: 0x2001 of 192.0.2.77 is also that of tunnels.acme/dc1.outbound.spi \
             (line 7); the peer could not tell them apart: give one another spi"
        ]
    );
}

#[test]
fn all_problems_come_at_once() {
    let text = FILE
        .replace("0x1001", "1")
        .replace("acme/dc2", "acme/dc9")
        .replace("0x2001\n", "x\n")
        .replace("    inbound: [{", "    inbound: [{sp: 1, ");
    assert_eq!(problems(&text).len(), 4, "{:?}", problems(&text));
    assert!(read("tunnels: {}").is_ok());
    assert_eq!(
        problems(""),
        ["1:1: tunnels: is missing; add \"tunnels: {acme/dc1: {inbound: [...], outbound: {...}}}\""]
    );
}
