//! The rows of `show ike`, read from what charon lists.

use std::collections::BTreeMap;
use std::time::Instant;

use super::events::Failure;
use super::vici::Section;
use super::wanted::Connection;
use crate::api::{IkeChild, IkeFailure, IkeRow, IkeState};

/// An IKE SA as charon lists it.
pub(super) type Listed = BTreeMap<String, Vec<Section>>;

/// The row of a tunnel. Of several IKE SAs (one that is being replaced) the youngest that stands is shown, with the
/// children of all.
pub(super) fn row(
    name: &str,
    connection: &Connection,
    listed: &Listed,
    refused: Option<&String>,
    failure: Option<&Failure>,
    now: Instant,
) -> IkeRow {
    let none = Vec::new();
    let all = listed.get(name).unwrap_or(&none);
    let stands = |sa: &&Section| sa.value("state") == Some("ESTABLISHED");
    let youngest = all.iter().filter(stands).min_by_key(|sa| sa.number("established"));
    let sa = youngest.or_else(|| all.first());
    let children: Vec<IkeChild> =
        all.iter().filter_map(|sa| sa.section("child-sas")).flat_map(Section::sections).map(child).collect();
    let state = match (sa, refused) {
        (Some(_), _) if children.iter().any(|child| child.spi_out.is_some()) => IkeState::Up,
        (Some(_), _) => IkeState::Connecting,
        (None, Some(_)) => IkeState::Refused,
        (None, None) => IkeState::Down,
    };
    IkeRow {
        tenant: connection.tenant.clone(),
        tunnel: connection.tunnel.clone(),
        state,
        local: connection.local.to_string(),
        remote: connection.remote.map_or_else(|| "any".to_owned(), |remote| remote.to_string()),
        peer: sa.and_then(peer),
        local_id: sa.and_then(|sa| sa.value("local-id")).unwrap_or(&connection.local_id).to_owned(),
        remote_id: sa.and_then(|sa| sa.value("remote-id")).unwrap_or(&connection.remote_id).to_owned(),
        nat: sa.map(|sa| sa.is("nat-any")),
        suite: sa.filter(|sa| sa.value("encr-alg").is_some()).map(suite),
        age_s: sa.and_then(|sa| sa.number("established")),
        rekey_s: sa.and_then(|sa| sa.number("rekey-time")),
        spis: sa
            .and_then(|sa| Some(format!("{} {}", sa.value("initiator-spi")?, sa.value("responder-spi")?))),
        children,
        refused: refused.cloned(),
        last_failure: failure.map(|failure| IkeFailure {
            reason: failure.text.clone(),
            age_s: now.saturating_duration_since(failure.at).as_secs(),
            count: failure.count,
        }),
    }
}

/// Whether security associations came of it.
pub(super) fn has_children(sa: &Section) -> bool {
    let mut children = sa.section("child-sas").into_iter().flat_map(Section::sections);
    children.any(|(_, child)| child.value("spi-out").is_some())
}

fn peer(sa: &Section) -> Option<String> {
    let (host, port) = (sa.value("remote-host")?, sa.value("remote-port")?);
    Some(if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") })
}

fn child((_, sa): (&str, &Section)) -> IkeChild {
    let spi = |name| sa.value(name).map(|spi| format!("0x{spi}"));
    IkeChild {
        state: sa.value("state").unwrap_or("?").to_lowercase(),
        spi_in: spi("spi-in"),
        spi_out: spi("spi-out"),
        suite: child_suite(sa),
        encapsulated: sa.is("encap"),
        age_s: sa.number("install-time"),
        rekey_s: sa.number("rekey-time"),
        local: sa.list("local-ts").to_vec(),
        remote: sa.list("remote-ts").to_vec(),
    }
}

/// The algorithms of an IKE SA, as strongSwan calls them.
pub(super) fn suite(sa: &Section) -> String {
    algorithms(sa, &["prf-alg", "dh-group"])
}

/// The algorithms of a pair of ESP associations. A key exchange is there after a rekey with forward secrecy.
pub(super) fn child_suite(sa: &Section) -> String {
    let esn = if sa.value("esn") == Some("1") { "/ESN" } else { "" };
    algorithms(sa, &["dh-group"]) + esn
}

fn algorithms(sa: &Section, more: &[&str]) -> String {
    let sized = |name: &str, size: &str| {
        let name = sa.value(name)?;
        Some(sa.value(size).map_or_else(|| name.to_owned(), |size| format!("{name}_{size}")))
    };
    let all = [sized("encr-alg", "encr-keysize"), sized("integ-alg", "integ-keysize")].into_iter().flatten();
    all.chain(more.iter().filter_map(|name| sa.value(name).map(ToOwned::to_owned)))
        .collect::<Vec<_>>()
        .join("/")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ike::vici::Message;

    fn connection() -> Connection {
        Connection {
            tenant: "acme".into(),
            tunnel: "dc1".into(),
            section: Message::new(),
            peers: Message::new(),
            local: "192.0.2.1".parse().unwrap(),
            remote: None,
            local_id: "192.0.2.1".into(),
            remote_id: "r1.example".into(),
            proposals: "aes128gcm16-prfsha256-ecp256".into(),
            esp_proposals: "aes128gcm16".into(),
            selectors: "0.0.0.0/0 === 0.0.0.0/0".into(),
        }
    }

    fn ike_sa(state: &str, established: &str, children: &Message) -> Section {
        let message = Message::new()
            .value("state", state)
            .value("remote-host", "2001:db8::7")
            .value("remote-port", "4500")
            .value("remote-id", "r1.example")
            .value("nat-any", "yes")
            .value("encr-alg", "AES_GCM_16")
            .value("encr-keysize", "128")
            .value("prf-alg", "PRF_HMAC_SHA2_256")
            .value("dh-group", "ECP_256")
            .value("established", established)
            .value("rekey-time", "13000")
            .section("child-sas", children);
        Section::decode(message.encoded().unwrap()).unwrap()
    }

    fn child_sa() -> Message {
        let child = Message::new()
            .value("state", "INSTALLED")
            .value("encap", "yes")
            .value("spi-in", "c0000001")
            .value("spi-out", "c0000002")
            .value("encr-alg", "AES_CBC")
            .value("encr-keysize", "256")
            .value("integ-alg", "HMAC_SHA2_256_128")
            .value("esn", "1")
            .value("install-time", "12")
            .list("local-ts", ["10.1.0.0/16"])
            .list("remote-ts", ["10.2.0.0/16"]);
        Message::new().section("acme/dc1-3", &child)
    }

    #[test]
    fn a_tunnel_that_stands() {
        let old = ike_sa("ESTABLISHED", "14000", &Message::new());
        let new = ike_sa("ESTABLISHED", "12", &child_sa());
        let listed = BTreeMap::from([("acme/dc1".to_owned(), vec![old, new])]);
        let row = row("acme/dc1", &connection(), &listed, None, None, Instant::now());
        assert_eq!((row.state, row.age_s, row.rekey_s), (IkeState::Up, Some(12), Some(13_000)));
        assert_eq!(row.peer.as_deref(), Some("[2001:db8::7]:4500"));
        assert_eq!(row.nat, Some(true));
        assert_eq!(row.suite.as_deref(), Some("AES_GCM_16_128/PRF_HMAC_SHA2_256/ECP_256"));
        let child = &row.children[0];
        assert_eq!((child.state.as_str(), child.encapsulated), ("installed", true));
        assert_eq!(child.suite, "AES_CBC_256/HMAC_SHA2_256_128/ESN");
        assert_eq!(
            (child.spi_in.as_deref(), child.remote.as_slice()),
            (Some("0xc0000001"), &["10.2.0.0/16".to_owned()][..])
        );
    }

    #[test]
    fn one_that_does_not() {
        let state = |listed: &Listed, refused: Option<&String>| {
            row("acme/dc1", &connection(), listed, refused, None, Instant::now()).state
        };
        let connecting = ike_sa("CONNECTING", "0", &Message::new());
        let listed = BTreeMap::from([("acme/dc1".to_owned(), vec![connecting])]);
        assert_eq!(state(&listed, None), IkeState::Connecting);
        assert_eq!(state(&Listed::new(), None), IkeState::Down);
        assert_eq!(state(&Listed::new(), Some(&"no".to_owned())), IkeState::Refused);
    }
}
