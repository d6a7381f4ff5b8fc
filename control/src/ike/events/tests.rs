//! Real words of charon 5.9.8, as responder, to negotiations that fail.

use std::time::Duration;

use super::*;
use crate::ike::vici::Message;
use crate::ike::wanted::Connection;

fn connection(remote: Option<&str>, local_id: &str, remote_id: &str) -> Connection {
    Connection {
        tenant: "acme".into(),
        tunnel: "t".into(),
        section: Message::new(),
        peers: Message::new(),
        local: "192.0.2.1".parse().unwrap(),
        remote: remote.map(|remote| remote.parse().unwrap()),
        local_id: local_id.into(),
        remote_id: remote_id.into(),
        proposals: String::new(),
        esp_proposals: String::new(),
        selectors: "10.1.0.0/16 === 10.2.0.0/16".into(),
    }
}

fn wanted() -> Wanted {
    let psk = connection(Some("192.0.2.77"), "192.0.2.1", "192.0.2.77");
    let certificate = connection(None, "gw.example", "r1.example");
    let connections = [("acme/dc1".to_owned(), psk), ("acme/cert".to_owned(), certificate)].into();
    Wanted { connections, ..Wanted::default() }
}

/// What a log event looks like. Only the line about the packet comes before the IKE SA is known.
fn event(line: &str, id: &str) -> Section {
    let (thread, text) = line.split_once(' ').unwrap();
    let event = Message::new().value("thread", thread.trim_start_matches('0')).value("msg", text);
    let event = if text.starts_with("received packet") || id.is_empty() {
        event
    } else {
        event.value("ikesa-uniqueid", id).value("ikesa-name", "(unnamed)")
    };
    Section::decode(event.encoded().unwrap()).unwrap()
}

fn hear(watcher: &mut Watcher, log: &str, id: &str) -> Vec<String> {
    let now = Instant::now();
    let lines = log.lines().flat_map(|line| watcher.take(now, "log", &event(line, id), &wanted()));
    lines.filter(|line| line.failed).map(|line| line.text).collect()
}

fn only(log: &str) -> String {
    let mut lines = hear(&mut Watcher::default(), log, "7");
    assert_eq!(lines.len(), 1, "{lines:#?}");
    lines.remove(0)
}

const IKE_PROPOSALS: &str = r#"09 received packet: from 192.0.2.77[500] to 192.0.2.1[500] (464 bytes)
09 parsed IKE_SA_INIT request 0 [ SA KE No N(NATD_S_IP) N(NATD_D_IP) N(FRAG_SUP) N(HASH_ALG) N(REDIR_SUP) ]
09 received proposals: IKE:AES_CBC_256/HMAC_SHA2_256_128/PRF_HMAC_SHA2_256/MODP_2048
09 configured proposals: IKE:AES_GCM_16_128/PRF_HMAC_SHA2_256/ECP_256
09 received proposals: IKE:AES_CBC_256/HMAC_SHA2_256_128/PRF_HMAC_SHA2_256/MODP_2048
09 configured proposals: IKE:AES_GCM_16_128/PRF_HMAC_SHA2_256/ECP_256
09 received proposals unacceptable
09 generating IKE_SA_INIT response 0 [ N(NO_PROP) ]"#;

const ESP_PROPOSALS: &str = r#"07 received packet: from 192.0.2.77[500] to 192.0.2.1[500] (264 bytes)
07 parsed IKE_SA_INIT request 0 [ SA KE No N(NATD_S_IP) N(NATD_D_IP) N(FRAG_SUP) N(HASH_ALG) N(REDIR_SUP) ]
07 selected proposal: IKE:AES_GCM_16_128/PRF_HMAC_SHA2_256/ECP_256
12 received packet: from 192.0.2.77[4500] to 192.0.2.1[4500] (261 bytes)
12 parsed IKE_AUTH request 1 [ IDi N(INIT_CONTACT) IDr AUTH SA TSi TSr N(MOBIKE_SUP) N(NO_ADD_ADDR) N(MULT_AUTH) N(EAP_ONLY) N(MSG_ID_SYN_SUP) ]
12 looking for peer configs matching 192.0.2.1[192.0.2.1]...192.0.2.77[192.0.2.77]
12 selected peer config 'acme/dc1'
12 IKE_SA acme/dc1[36] established between 192.0.2.1[192.0.2.1]...192.0.2.77[192.0.2.77]
12 received proposals: ESP:AES_CBC_256/HMAC_SHA1_96/NO_EXT_SEQ
12 configured proposals: ESP:AES_GCM_16_128/NO_EXT_SEQ
12 no acceptable proposal found
12 failed to establish CHILD_SA, keeping IKE_SA
12 generating IKE_AUTH response 1 [ IDr AUTH N(MOBIKE_SUP) N(NO_ADD_ADDR) N(NO_PROP) ]
10 received packet: from 192.0.2.77[4500] to 192.0.2.1[4500] (65 bytes)"#;

const SECRET: &str = r#"12 received packet: from 192.0.2.77[500] to 192.0.2.1[500] (264 bytes)
12 parsed IKE_SA_INIT request 0 [ SA KE No N(NATD_S_IP) N(NATD_D_IP) N(FRAG_SUP) N(HASH_ALG) N(REDIR_SUP) ]
12 selected proposal: IKE:AES_GCM_16_128/PRF_HMAC_SHA2_256/ECP_256
10 received packet: from 192.0.2.77[4500] to 192.0.2.1[4500] (253 bytes)
10 parsed IKE_AUTH request 1 [ IDi N(INIT_CONTACT) IDr AUTH SA TSi TSr N(MOBIKE_SUP) N(NO_ADD_ADDR) N(MULT_AUTH) N(EAP_ONLY) N(MSG_ID_SYN_SUP) ]
10 looking for peer configs matching 192.0.2.1[192.0.2.1]...192.0.2.77[192.0.2.77]
10 selected peer config 'acme/dc1'
10 tried 1 shared key for '192.0.2.1' - '192.0.2.77', but MAC mismatched
10 generating IKE_AUTH response 1 [ N(AUTH_FAILED) ]"#;

const IDENTITY: &str = r#"05 received packet: from 192.0.2.77[500] to 192.0.2.1[500] (264 bytes)
05 parsed IKE_SA_INIT request 0 [ SA KE No N(NATD_S_IP) N(NATD_D_IP) N(FRAG_SUP) N(HASH_ALG) N(REDIR_SUP) ]
05 selected proposal: IKE:AES_GCM_16_128/PRF_HMAC_SHA2_256/ECP_256
11 received packet: from 192.0.2.77[4500] to 192.0.2.1[4500] (259 bytes)
11 parsed IKE_AUTH request 1 [ IDi N(INIT_CONTACT) IDr AUTH SA TSi TSr N(MOBIKE_SUP) N(NO_ADD_ADDR) N(MULT_AUTH) N(EAP_ONLY) N(MSG_ID_SYN_SUP) ]
11 looking for peer configs matching 192.0.2.1[192.0.2.1]...192.0.2.77[r9.example]
11 no matching peer config found
11 generating IKE_AUTH response 1 [ N(AUTH_FAILED) ]"#;

const OUR_IDENTITY: &str = r#"06 received packet: from 192.0.2.77[500] to 192.0.2.1[500] (264 bytes)
06 parsed IKE_SA_INIT request 0 [ SA KE No N(NATD_S_IP) N(NATD_D_IP) N(FRAG_SUP) N(HASH_ALG) N(REDIR_SUP) ]
06 selected proposal: IKE:AES_GCM_16_128/PRF_HMAC_SHA2_256/ECP_256
08 received packet: from 192.0.2.77[4500] to 192.0.2.1[4500] (260 bytes)
08 parsed IKE_AUTH request 1 [ IDi N(INIT_CONTACT) IDr AUTH SA TSi TSr N(MOBIKE_SUP) N(NO_ADD_ADDR) N(MULT_AUTH) N(EAP_ONLY) N(MSG_ID_SYN_SUP) ]
08 looking for peer configs matching 192.0.2.1[gw9.example]...192.0.2.77[192.0.2.77]
08 no matching peer config found
08 generating IKE_AUTH response 1 [ N(AUTH_FAILED) ]"#;

const SELECTORS: &str = r#"05 received packet: from 192.0.2.77[500] to 192.0.2.1[500] (264 bytes)
05 parsed IKE_SA_INIT request 0 [ SA KE No N(NATD_S_IP) N(NATD_D_IP) N(FRAG_SUP) N(HASH_ALG) N(REDIR_SUP) ]
05 selected proposal: IKE:AES_GCM_16_128/PRF_HMAC_SHA2_256/ECP_256
11 received packet: from 192.0.2.77[4500] to 192.0.2.1[4500] (253 bytes)
11 parsed IKE_AUTH request 1 [ IDi N(INIT_CONTACT) IDr AUTH SA TSi TSr N(MOBIKE_SUP) N(NO_ADD_ADDR) N(MULT_AUTH) N(EAP_ONLY) N(MSG_ID_SYN_SUP) ]
11 looking for peer configs matching 192.0.2.1[192.0.2.1]...192.0.2.77[192.0.2.77]
11 selected peer config 'acme/dc1'
11 IKE_SA acme/dc1[37] established between 192.0.2.1[192.0.2.1]...192.0.2.77[192.0.2.77]
11 traffic selectors 10.1.0.0/16 === 10.9.0.0/16 unacceptable
11 failed to establish CHILD_SA, keeping IKE_SA
11 generating IKE_AUTH response 1 [ IDr AUTH N(MOBIKE_SUP) N(NO_ADD_ADDR) N(TS_UNACCEPT) ]
06 received packet: from 192.0.2.77[4500] to 192.0.2.1[4500] (65 bytes)"#;

const VERSION_1: &str = r#"09 received packet: from 192.0.2.77[500] to 192.0.2.1[500] (180 bytes)
09 parsed ID_PROT request 0 [ SA V V V V V ]
09 no IKE config found for 192.0.2.1...192.0.2.77, sending NO_PROPOSAL_CHOSEN
09 generating INFORMATIONAL_V1 request 3509541848 [ N(NO_PROP) ]"#;

const EXPIRED: &str = r#"11 received packet: from 192.0.2.77[500] to 192.0.2.1[500] (264 bytes)
11 parsed IKE_SA_INIT request 0 [ SA KE No N(NATD_S_IP) N(NATD_D_IP) N(FRAG_SUP) N(HASH_ALG) N(REDIR_SUP) ]
11 selected proposal: IKE:AES_GCM_16_128/PRF_HMAC_SHA2_256/ECP_256
06 received packet: from 192.0.2.77[4500] to 192.0.2.1[4500] (708 bytes)
06 parsed IKE_AUTH request 1 [ IDi CERT N(INIT_CONTACT) CERTREQ IDr AUTH SA TSi TSr N(MOBIKE_SUP) N(NO_ADD_ADDR) N(MULT_AUTH) N(EAP_ONLY) N(MSG_ID_SYN_SUP) ]
06 looking for peer configs matching 192.0.2.1[gw.example]...192.0.2.77[r1.example]
06 selected peer config 'acme/cert'
06   using certificate "CN=old.example"
06   using trusted ca certificate "CN=ca"
06 subject certificate invalid (valid from Jan 01 00:00:00 2020 to Jan 01 00:00:00 2021)
06   using certificate "CN=r1.example"
06   using trusted ca certificate "CN=ca"
06 checking certificate status of "CN=r1.example"
06 certificate status is not available
06 signature validation failed, looking for another key
06 generating IKE_AUTH response 1 [ N(AUTH_FAILED) ]"#;

const STRANGER: &str = r#"07 received packet: from 192.0.2.77[500] to 192.0.2.1[500] (296 bytes)
07 parsed IKE_SA_INIT request 0 [ N(COOKIE) SA KE No N(NATD_S_IP) N(NATD_D_IP) N(FRAG_SUP) N(HASH_ALG) N(REDIR_SUP) ]
07 selected proposal: IKE:AES_GCM_16_128/PRF_HMAC_SHA2_256/ECP_256
05 received packet: from 192.0.2.77[4500] to 192.0.2.1[4500] (717 bytes)
05 parsed IKE_AUTH request 1 [ IDi CERT N(INIT_CONTACT) CERTREQ IDr AUTH SA TSi TSr N(MOBIKE_SUP) N(NO_ADD_ADDR) N(MULT_AUTH) N(EAP_ONLY) N(MSG_ID_SYN_SUP) ]
05 looking for peer configs matching 192.0.2.1[gw.example]...192.0.2.77[evil.example]
05 no matching peer config found
05 generating IKE_AUTH response 1 [ N(AUTH_FAILED) ]"#;

const METHOD: &str = r#"10 received packet: from 192.0.2.77[500] to 192.0.2.1[500] (296 bytes)
10 parsed IKE_SA_INIT request 0 [ N(COOKIE) SA KE No N(NATD_S_IP) N(NATD_D_IP) N(FRAG_SUP) N(HASH_ALG) N(REDIR_SUP) ]
10 selected proposal: IKE:AES_GCM_16_128/PRF_HMAC_SHA2_256/ECP_256
08 received packet: from 192.0.2.77[4500] to 192.0.2.1[4500] (265 bytes)
08 parsed IKE_AUTH request 1 [ IDi N(INIT_CONTACT) IDr AUTH SA TSi TSr N(MOBIKE_SUP) N(NO_ADD_ADDR) N(MULT_AUTH) N(EAP_ONLY) N(MSG_ID_SYN_SUP) ]
08 looking for peer configs matching 192.0.2.1[gw.example]...192.0.2.77[r1.example]
08 selected peer config 'acme/cert'
08 no shared key found for 'gw.example' - 'r1.example'
08 generating IKE_AUTH response 1 [ N(AUTH_FAILED) ]"#;

const GROUP_RETRY: &str = r#"12 received packet: from 192.0.2.77[500] to 192.0.2.1[500] (240 bytes)
12 parsed IKE_SA_INIT request 0 [ SA KE No N(NATD_S_IP) N(NATD_D_IP) N(FRAG_SUP) N(HASH_ALG) N(REDIR_SUP) ]
12 selected proposal: IKE:AES_GCM_16_128/PRF_HMAC_SHA2_256/ECP_256
12 DH group CURVE_25519 unacceptable, requesting ECP_256
10 received packet: from 192.0.2.77[500] to 192.0.2.1[500] (272 bytes)
10 parsed IKE_SA_INIT request 0 [ SA KE No N(NATD_S_IP) N(NATD_D_IP) N(FRAG_SUP) N(HASH_ALG) N(REDIR_SUP) ]
10 selected proposal: IKE:AES_GCM_16_128/PRF_HMAC_SHA2_256/ECP_256
05 received packet: from 192.0.2.77[4500] to 192.0.2.1[4500] (253 bytes)
05 parsed IKE_AUTH request 1 [ IDi N(INIT_CONTACT) IDr AUTH SA TSi TSr N(MOBIKE_SUP) N(NO_ADD_ADDR) N(MULT_AUTH) N(EAP_ONLY) N(MSG_ID_SYN_SUP) ]
05 looking for peer configs matching 192.0.2.1[192.0.2.1]...192.0.2.77[192.0.2.77]
05 selected peer config 'acme/dc1'
05 IKE_SA acme/dc1[40] established between 192.0.2.1[192.0.2.1]...192.0.2.77[192.0.2.77]
06 received packet: from 192.0.2.77[4500] to 192.0.2.1[4500] (65 bytes)"#;

const UNKNOWN_ISSUER: &str = r#"06 received packet: from 192.0.2.77[4500] to 192.0.2.1[4500] (708 bytes)
06 looking for peer configs matching 192.0.2.1[gw.example]...192.0.2.77[r1.example]
06 selected peer config 'acme/cert'
06   using certificate "CN=r1.example"
06 no issuer certificate found for "CN=r1.example"
06   issuer is "CN=badca"
06 no trusted ECDSA public key found for 'r1.example'
06 generating IKE_AUTH response 1 [ N(AUTH_FAILED) ]"#;

const NOT_INSTALLED: &str = r#"06 IKE_SA acme/dc1[40] established between 192.0.2.1[192.0.2.1]...192.0.2.77[192.0.2.77]
06 penstock refuses request 4, error 4: ESN is not configured for this tunnel
06 unable to install inbound and outbound IPsec SA (SAD) in kernel
06 failed to establish CHILD_SA, keeping IKE_SA
06 generating IKE_AUTH response 1 [ IDr AUTH N(NO_PROP) ]"#;

#[test]
fn proposals_that_have_nothing_in_common() {
    assert_eq!(
        only(IKE_PROPOSALS),
        "tunnel acme/dc1, router 192.0.2.77: no proposal in common for the IKE SA: the router offers \
         AES_CBC_256/HMAC_SHA2_256_128/PRF_HMAC_SHA2_256/MODP_2048; we accept \
         AES_GCM_16_128/PRF_HMAC_SHA2_256/ECP_256; change the router, or ike.proposals of the tunnel"
    );
    assert_eq!(
        only(ESP_PROPOSALS),
        "tunnel acme/dc1, router 192.0.2.77: no proposal in common for ESP: the router offers \
         AES_CBC_256/HMAC_SHA1_96/NO_EXT_SEQ; we accept AES_GCM_16_128/NO_EXT_SEQ; change the router, or \
         ike.esp_proposals of the tunnel"
    );
}

#[test]
fn who_it_is_and_how_it_shows_that() {
    assert!(only(SECRET).starts_with("tunnel acme/dc1, router 192.0.2.77: wrong pre-shared key"));
    assert_eq!(
        only(IDENTITY),
        "tunnel acme/dc1, router 192.0.2.77: unknown identity: the router says it is r9.example and asks for 192.0.2.1; \
         configured for its address is acme/cert: r1.example, asking for gw.example; acme/dc1: 192.0.2.77, asking for \
         192.0.2.1; correct ike.remote_id or ike.local_id, or the identities on the router"
    );
    assert!(only(OUR_IDENTITY).contains("says it is 192.0.2.77 and asks for gw9.example; configured"));
    assert!(only(METHOD).starts_with(
        "tunnel acme/cert, router 192.0.2.77: the router (r1.example) authenticates with a pre-shared key and none is \
         loaded for gw.example and r1.example"
    ));
    assert!(only(VERSION_1).contains("the router speaks IKEv1"));
}

#[test]
fn certificates() {
    let expired = only(EXPIRED);
    assert!(expired.starts_with(
        "tunnel acme/cert, router 192.0.2.77: the router's certificate is not accepted: it has expired"
    ));
    assert!(expired.contains("valid from Jan 01 00:00:00 2020 to Jan 01 00:00:00 2021"), "{expired}");
    assert!(only(STRANGER).contains("says it is evil.example and asks for gw.example"));
    let unknown = only(UNKNOWN_ISSUER);
    assert!(
        unknown.contains("its issuer is not among the authorities that the tunnel trusts: \"CN=r1.example\""),
        "{unknown}"
    );
}

#[test]
fn selectors_and_what_control_refuses() {
    assert_eq!(
        only(SELECTORS),
        "tunnel acme/dc1, router 192.0.2.77: traffic selectors rejected: the router wants 10.1.0.0/16 on our side and \
         10.9.0.0/16 on its own; we allow 10.1.0.0/16 === 10.2.0.0/16; change the router, or ike.selectors of the tunnel"
    );
    let mut watcher = Watcher::default();
    hear(&mut watcher, SECRET.split_at(SECRET.find("12 selected").unwrap()).0, "3");
    let lines = hear(&mut watcher, NOT_INSTALLED, "3");
    assert_eq!(
        lines,
        [
            "tunnel acme/dc1, router 192.0.2.77: negotiated, but not installed: ESN is not configured for this tunnel"
        ]
    );
}

#[test]
fn what_is_no_failure_is_silent() {
    assert_eq!(hear(&mut Watcher::default(), GROUP_RETRY, "1"), [""; 0]);
}

#[test]
fn a_peer_that_does_not_answer_or_go_on() {
    let mut watcher = Watcher::default();
    hear(&mut watcher, GROUP_RETRY, "1");
    let lines = hear(&mut watcher, "04 giving up after 5 retransmits", "1");
    assert!(
        lines[0].starts_with("tunnel acme/dc1, router 192.0.2.77: the router does not answer any more"),
        "{lines:?}"
    );
    let begun = SECRET.split_at(SECRET.find("10 received").unwrap()).0;
    hear(&mut watcher, begun.trim_end(), "2");
    let lines = hear(&mut watcher, "04 deleting half open IKE_SA with 192.0.2.77 after timeout", "2");
    assert!(
        lines[0].starts_with("tunnel acme/dc1, router 192.0.2.77: the router began and did not go on"),
        "{lines:?}"
    );
    let lines = hear(&mut watcher, "04 parsed INFORMATIONAL request 2 [ N(AUTH_FAILED) ]", "1");
    assert!(
        lines[0].contains("the router refuses us: it does not accept our identity (192.0.2.1)"),
        "{lines:?}"
    );
}

#[test]
fn a_rekey_of_ours_that_the_router_refuses() {
    for (refused, end) in [
        (
            "received NO_PROPOSAL_CHOSEN notify, no CHILD_SA built",
            "CHILD_SA rekeying failed, trying again in 13 seconds",
        ),
        ("received NO_PROPOSAL_CHOSEN notify error", "IKE_SA rekeying failed, trying again in 13 seconds"),
    ] {
        let mut watcher = Watcher::default();
        hear(&mut watcher, GROUP_RETRY, "1");
        let lines = hear(&mut watcher, &format!("04 {refused}\n04 {end}"), "1");
        assert_eq!(
            lines,
            [
                "tunnel acme/dc1, router 192.0.2.77: the router refuses our rekey (NO_PROPOSAL_CHOSEN): compare \
                 ike.esp_proposals (a group asks for PFS), ike.proposals and ike.selectors with what it has; the tunnel \
                 ends with its keys"
            ]
        );
    }
}

#[test]
fn strangers_are_named_by_their_address() {
    let log = "02 received packet: from 203.0.113.9[500] to 192.0.2.1[500] (264 bytes)\n\
               02 no IKE config found for 192.0.2.1...203.0.113.9, sending NO_PROPOSAL_CHOSEN\n\
               02 generating IKE_SA_INIT response 0 [ N(NO_PROP) ]";
    assert!(
        only(log)
            .starts_with("IKE from 203.0.113.9 to 192.0.2.1: no tunnel of this endpoint expects a router")
    );
    let mut watcher = Watcher::default();
    let flood = "02 received packet: from 203.0.113.9[500] to 192.0.2.1[500] (264 bytes)\n\
                 02 ignoring IKE_SA setup from 203.0.113.9, per-IP half-open IKE_SA limit of 5 reached\n\
                 02 ignoring IKE_SA setup from 203.0.113.9, per-IP half-open IKE_SA limit of 5 reached";
    let lines = hear(&mut watcher, flood, "");
    assert_eq!(lines.len(), 1, "the same is not said twice: {lines:?}");
    assert!(
        lines[0]
            .starts_with("IKE from 203.0.113.9: not answered: per-IP half-open IKE_SA limit of 5 reached")
    );
}

#[test]
fn the_last_failure_of_a_tunnel_is_kept_and_counted() {
    let mut watcher = Watcher::default();
    hear(&mut watcher, SECRET, "1");
    hear(&mut watcher, SECRET, "2");
    let failure = watcher.failure("acme/dc1").unwrap();
    assert!(failure.text.starts_with("wrong pre-shared key"));
    assert_eq!(failure.count, 2);
    assert_eq!(watcher.failing().collect::<Vec<_>>(), ["acme/dc1"]);
    watcher.keep(&Wanted::default());
    assert!(watcher.failure("acme/dc1").is_none());
    assert_eq!(watcher.failing().count(), 0);
}

#[test]
fn a_tunnel_that_came_up_since_is_not_failing() {
    let mut watcher = Watcher::default();
    hear(&mut watcher, SECRET, "1");
    let updown = |up: &str| {
        let event = Message::new().value("up", up).section("acme/dc1", &Message::new());
        Section::decode(event.encoded().unwrap()).unwrap()
    };
    watcher.take(Instant::now(), "child-updown", &updown("no"), &wanted());
    assert_eq!(watcher.failing().count(), 1);
    watcher.take(Instant::now(), "child-updown", &updown("yes"), &wanted());
    watcher.take(Instant::now(), "child-updown", &updown("no"), &wanted());
    assert_eq!(watcher.failing().count(), 0);
    assert_eq!(watcher.failure("acme/dc1").unwrap().count, 1, "it is shown still");
    hear(&mut watcher, SECRET, "2");
    assert_eq!(watcher.failing().count(), 1);
}

#[test]
fn one_tunnel_is_not_said_again_for_each_address() {
    let mut watcher = Watcher::default();
    let from = |n: u8| EXPIRED.replace("192.0.2.77", &format!("198.51.100.{n}"));
    let lines: usize = (0..100).map(|n| hear(&mut watcher, &from(n), &n.to_string()).len()).sum();
    assert_eq!(lines, 1);
    assert_eq!(watcher.failure("acme/cert").unwrap().count, 100);
}

#[test]
fn a_peer_cannot_write_into_the_log_what_it_likes() {
    let long = "x".repeat(60_000);
    let log = format!(
        "05 received packet: from 192.0.2.77[4500] to 192.0.2.1[4500] (259 bytes)\n\
         05 looking for peer configs matching 192.0.2.1[gw]...192.0.2.77[a]...[\u{1b}[31m{long}]\n\
         05 no matching peer config found\n\
         05 generating IKE_AUTH response 1 [ N(AUTH_FAILED) ]"
    );
    let line = only(&log);
    assert!(line.len() < 6000, "{}", line.len());
    assert!(!line.contains('\u{1b}'));
}

#[test]
fn memory_is_bounded() {
    let mut watcher = Watcher::default();
    for id in 0..25_000 {
        hear(&mut watcher, "05 IKE_SA x[1] established between a...b", &id.to_string());
    }
    assert!(watcher.negotiations.len() <= 10_000);
}

#[test]
fn tunnels_that_come_and_go() {
    let child = Message::new()
        .value("spi-in", "c0000001")
        .value("spi-out", "c0000002")
        .value("encr-alg", "AES_GCM_16")
        .value("encr-keysize", "128")
        .list("local-ts", ["10.1.0.0/16"])
        .list("remote-ts", ["10.2.0.0/16"]);
    let sa = Message::new()
        .value("remote-host", "192.0.2.77")
        .value("remote-port", "4500")
        .section("child-sas", &Message::new().section("acme/dc1-1", &child));
    let take = |event: &str, message: Message| {
        let message = Section::decode(message.encoded().unwrap()).unwrap();
        Watcher::default().take(Instant::now(), event, &message, &wanted())
    };
    let lines = take("child-updown", Message::new().value("up", "yes").section("acme/dc1", &sa));
    assert_eq!(
        lines,
        [Line::good(
            "tunnel acme/dc1: up, AES_GCM_16_128, SPI in c0000001, out c0000002, 10.1.0.0/16 === 10.2.0.0/16"
                .into()
        )]
    );
    let lines = take("child-updown", Message::new().section("acme/dc1", &sa));
    assert_eq!(lines[0].text, "tunnel acme/dc1: security associations ended, SPI in c0000001, out c0000002");
    assert_eq!(take("child-updown", Message::new().section("somebody/elses", &sa)), []);
}

#[test]
fn the_end_of_what_never_stood_is_not_said_again() {
    let mut watcher = Watcher::default();
    hear(&mut watcher, SECRET, "7");
    hear(&mut watcher, SELECTORS, "8");
    let mut down = |id: &str| {
        let message = Message::new().section("acme/dc1", &Message::new().value("uniqueid", id));
        let message = Section::decode(message.encoded().unwrap()).unwrap();
        watcher.take(Instant::now(), "ike-updown", &message, &wanted()).len()
    };
    assert_eq!((down("7"), down("8"), down("9")), (0, 1, 1));
}

#[test]
fn what_was_kept_back_is_told_later() {
    let mut watcher = Watcher::default();
    let now = Instant::now();
    for n in 0..100 {
        let text = format!(
            "02 received unsupported IKE version 7.7 from 203.0.113.{n}, sending INVALID_MAJOR_VERSION"
        );
        watcher.take(now, "log", &event(&text, ""), &wanted());
    }
    let line = watcher.summary(now + Duration::from_secs(61)).unwrap();
    assert!(line.text.contains("80 more failed negotiations"), "{}", line.text);
}
