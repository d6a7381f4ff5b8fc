//! What a reload would change.

use super::{FILE, replace, valid};
use crate::static_sas::{StaticSas, diff};

fn lines(old: &StaticSas, new: &StaticSas) -> Vec<String> {
    diff(old, new).unwrap().iter().map(ToString::to_string).collect()
}

#[test]
fn a_rekey_is_an_addition_and_a_removal() {
    let old = valid(FILE);
    assert!(lines(&old, &valid(FILE)).is_empty());
    let new = valid(&replace("0x1002", "0x1005").replace("0x2001\n", "0x2002\n").replace("31000", "31001"));
    assert_eq!(
        lines(&old, &new),
        [
            "- static_sas.acme/dc1.inbound.0x1002: {\"cipher\":\"aes128gcm16\",\"esn\":false,\"replay_window\":0}",
            "- static_sas.acme/dc1.outbound.0x2001: {\"cipher\":\"aes128-sha256\",\"esn\":false,\
             \"peer_replay_window\":1024}",
            "+ static_sas.acme/dc1.inbound.0x1005: {\"cipher\":\"aes128gcm16\",\"esn\":false,\"replay_window\":0}",
            "+ static_sas.acme/dc1.outbound.0x2002: {\"cipher\":\"aes128-sha256\",\"esn\":false,\
             \"peer_replay_window\":1024}",
            "~ static_sas.acme/dc1.udp: {\"local_port\":4500,\"remote_port\":31000} -> \
             {\"local_port\":4500,\"remote_port\":31001}",
        ]
    );
    assert_eq!(lines(&StaticSas::default(), &old).len(), 6);
    assert_eq!(lines(&old, &StaticSas::default()).len(), 6);
}

#[test]
fn a_living_one_does_not_change() {
    let old = valid(FILE);
    for new in [
        replace("01020305", "01020306"),
        replace("replay_window: 64", "replay_window: 128"),
        replace("hard_packets: 2000", "hard_packets: 2001"),
        replace("remote: [198.51.100.0/24]", "remote: [198.51.101.0/24]"),
    ] {
        let refused = diff(&old, &valid(&new)).unwrap_err();
        assert!(refused.to_string().contains("give the new one another spi"), "{refused}");
        assert!(refused.paths.iter().all(|path| path.starts_with("static_sas.acme/dc1.")), "{refused}");
    }
}
