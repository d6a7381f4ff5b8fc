//! Mapping both ways, without a server.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::Failure;
use super::draft::Draft;
use super::fields::{GreTunnelRequest, IpsecTunnelRequest, RouteRequest};
use super::routes;
use super::tunnels::{self, Kind, Wanted};
use crate::api::{Account, Secret};

fn account(tenant: Value) -> Account {
    let endpoints = [("anycast4", "203.0.113.1"), ("anycast6", "2001:db8:ffff::1")];
    let endpoints = endpoints.map(|(name, address)| (name.to_owned(), address.parse().unwrap()));
    Account { version: 4, tenant, endpoints: endpoints.into(), ..Account::default() }
}

fn draft(tenant: Value) -> Draft {
    Draft::open("acme", account(tenant)).unwrap()
}

fn gre(draft: &mut Draft, request: Value) -> Result<String, Failure> {
    let request: GreTunnelRequest = serde_json::from_value(request).unwrap();
    tunnels::create(draft, Kind::Gre, Wanted::try_from(request)?)
}

fn ipsec(draft: &mut Draft, request: Value) -> Result<String, Failure> {
    let request: IpsecTunnelRequest = serde_json::from_value(request).unwrap();
    tunnels::create(draft, Kind::Ipsec, Wanted::try_from(request)?)
}

fn route(draft: &mut Draft, request: Value) -> Result<String, Failure> {
    routes::create(draft, serde_json::from_value(request).unwrap())
}

fn shown_gre(draft: &Draft) -> Value {
    serde_json::to_value(tunnels::gre(draft, &draft.typed().unwrap())).unwrap()
}

fn shown_ipsec(draft: &Draft) -> Value {
    serde_json::to_value(tunnels::ipsec(draft, &draft.typed().unwrap())).unwrap()
}

fn shown_routes(draft: &Draft) -> Value {
    serde_json::to_value(routes::all(draft, &draft.typed().unwrap())).unwrap()
}

fn dc1() -> Value {
    json!({
        "name": "dc1",
        "cloudflare_gre_endpoint": "203.0.113.1",
        "customer_gre_endpoint": "192.0.2.77",
        "interface_address": "10.213.0.8/31",
    })
}

#[test]
fn a_gre_tunnel_becomes_configuration() {
    let mut draft = draft(json!({"prefixes": ["198.51.100.0/24"]}));
    let mut request = dc1();
    request["description"] = "to Berlin".into();
    request["mtu"] = 1400.into();
    let id = gre(&mut draft, request).unwrap();
    assert_eq!(id.len(), 32);
    let change = draft.close(false);
    assert_eq!(
        change.tenant,
        json!({"prefixes": ["198.51.100.0/24"], "tunnels": {"dc1": {
            "type": "gre", "endpoint": "anycast4", "remote": "192.0.2.77", "address": ["10.213.0.8/31"], "mtu": 1400,
        }}})
    );
    assert_eq!(change.about.tunnels["dc1"].description.as_deref(), Some("to Berlin"));
    assert_eq!((change.from, change.secrets.len()), (4, 0));
}

#[test]
fn what_this_api_has_no_field_for_stays() {
    let mut draft = draft(json!({"tunnels": {"dc1": {
        "endpoint": "anycast4", "remote": "192.0.2.77", "address": ["10.213.0.8/31", "10.9.0.1/24", "fd00::/127"],
        "key": 7, "checksum": true, "mss": 1300, "ttl": "inherit",
    }}}));
    let shown = shown_gre(&draft);
    let id = shown[0]["id"].as_str().unwrap().to_owned();
    assert!(shown[0].get("ttl").is_none() && shown[0].get("created_on").is_none(), "{shown}");
    let wanted: GreTunnelRequest =
        serde_json::from_value(json!({"name": "berlin", "interface_address": "10.213.0.10/31"})).unwrap();
    tunnels::update(&mut draft, Kind::Gre, &id, Wanted::try_from(wanted).unwrap()).unwrap();
    let tenant = draft.close(false).tenant;
    let tunnel = &tenant["tunnels"]["berlin"];
    assert_eq!(
        (&tunnel["key"], &tunnel["mss"], &tunnel["ttl"]),
        (&7.into(), &1300.into(), &"inherit".into())
    );
    assert_eq!(tunnel["address"], json!(["10.213.0.10/31", "10.9.0.1/24", "fd00::/127"]));
    assert!(tenant["tunnels"].get("dc1").is_none());
}

#[test]
fn another_name_keeps_identifier_routes_and_key() {
    let mut draft = draft(json!({}));
    let request = json!({
        "name": "dc1", "cloudflare_endpoint": "203.0.113.1", "customer_endpoint": "192.0.2.77",
        "interface_address": "10.213.0.8/31", "psk": "correct horse",
    });
    let id = ipsec(&mut draft, request).unwrap();
    let way = route(&mut draft, json!({"prefix": "198.51.100.0/24", "nexthop": "10.213.0.9"})).unwrap();
    let change = draft.close(false);
    assert!(matches!(&change.secrets["dc1"], Secret::Given(psk) if &***psk == b"correct horse"));
    assert!(!format!("{change:?}").contains("correct"), "{change:?}");
    let mut draft =
        Draft::open("acme", Account { tenant: change.tenant, about: change.about, ..account(json!({})) })
            .unwrap();
    let wanted: IpsecTunnelRequest = serde_json::from_value(json!({"name": "berlin"})).unwrap();
    tunnels::update(&mut draft, Kind::Ipsec, &id, Wanted::try_from(wanted).unwrap()).unwrap();
    let (shown, ways) = (shown_ipsec(&draft), shown_routes(&draft));
    assert_eq!((&shown[0]["id"], &shown[0]["name"]), (&json!(id), &json!("berlin")));
    assert!(shown[0]["psk_metadata"]["last_generated_on"].is_string() && shown[0].get("psk").is_none());
    assert_eq!((&ways[0]["id"], &ways[0]["nexthop"]), (&json!(way), &json!("10.213.0.9")));
    let change = draft.close(false);
    assert!(matches!(&change.secrets["berlin"], Secret::Of(old) if old == "dc1"));
    assert_eq!(change.tenant["routes"][0]["via"], "berlin");
}

#[test]
fn a_key_of_the_store_takes_the_place_of_files() {
    let mut draft =
        draft(json!({"tunnels": {"dc1": {"type": "ipsec", "endpoint": "anycast4", "remote": "192.0.2.77",
        "ike": {"psk_file": "/etc/penstock/dc1.psk", "rekey": "1h"}}}}));
    let id = shown_ipsec(&draft)[0]["id"].as_str().unwrap().to_owned();
    let psk = tunnels::generate_psk(&mut draft, &id).unwrap();
    assert_eq!(psk.len(), 52);
    let change = draft.close(false);
    assert_eq!(change.tenant["tunnels"]["dc1"]["ike"], json!({"psk": "store", "rekey": "1h"}));
    assert!(matches!(&change.secrets["dc1"], Secret::Given(given) if given[..] == *psk.as_bytes()));
}

#[test]
fn next_hops_are_the_other_ends_of_tunnels() {
    let mut draft = draft(json!({}));
    gre(&mut draft, dc1()).unwrap();
    let mut wide = dc1();
    wide["name"] = "wide".into();
    wide["interface_address"] = "10.9.0.1/24".into();
    wide["interface_address6"] = "fd00::/127".into();
    gre(&mut draft, wide).unwrap();
    for (prefix, nexthop, via) in [
        ("10.1.0.0/16", "10.213.0.9", "dc1"),
        ("10.2.0.0/16", "dc1", "dc1"),
        ("10.3.0.0/16", "10.9.0.7", "wide"),
        ("2001:db8:77::/48", "fd00::1", "wide"),
        ("10.4.0.0/16", "192.0.2.9", "192.0.2.9"),
        ("0.0.0.0/0", "internet", "internet"),
    ] {
        route(&mut draft, json!({"prefix": prefix, "nexthop": nexthop})).unwrap();
        assert_eq!(draft.routes.last().unwrap()["via"], via);
    }
    let shown = shown_routes(&draft);
    let hops: Vec<&str> =
        shown.as_array().unwrap().iter().map(|one| one["nexthop"].as_str().unwrap()).collect();
    assert_eq!(hops, ["10.213.0.9", "10.213.0.9", "10.9.0.7", "fd00::1", "192.0.2.9", "internet"]);
    for (prefix, nexthop, expected) in [
        ("10.5.0.0/16", "10.213.0.8", "our own end of tunnel dc1"),
        ("10.5.0.0/16", "fd00::1", "two families"),
        ("10.5.0.0/16", "nowhere", "a tunnel's other end"),
        ("10.5.0.1/16", "10.213.0.9", "without host bits"),
    ] {
        let failure = route(&mut draft, json!({"prefix": prefix, "nexthop": nexthop})).unwrap_err();
        assert!(failure.text().contains(expected), "{}", failure.text());
    }
}

#[test]
fn what_nobody_does_is_refused() {
    let ipsec_request =
        || json!({"name": "dc1", "cloudflare_endpoint": "203.0.113.1", "interface_address": "10.213.0.8/31"});
    let with = |mut request: Value, key: &str, value: Value| {
        request[key] = value;
        request
    };
    for (key, value, expected) in [
        ("bgp", json!({"customer_asn": 65000}), "no BGP"),
        ("automatic_return_routing", json!(true), "automatic_return_routing"),
        ("cloudflare_gre_endpoint", json!("203.0.113.9"), "write one of 203.0.113.1, 2001:db8:ffff::1"),
        ("customer_gre_endpoint", json!("nonsense"), "IPv4 or IPv6"),
        ("interface_address", json!("10.213.0.8"), "prefix length"),
        ("interface_address", json!("fd00::/127"), "is not IPv4"),
        ("name", json!("with space"), "letters, digits"),
        ("description", json!("x".repeat(2000)), "at most 1024"),
    ] {
        let failure = gre(&mut draft(json!({})), with(dc1(), key, value)).unwrap_err();
        assert!(failure.text().contains(expected), "{key}: {}", failure.text());
    }
    for (key, value, expected) in [
        ("replay_protection", json!(true), "write false"),
        ("allow_null_cipher", json!(true), "allow_null_cipher"),
        ("psk", json!("short"), "8 to 1024"),
        ("custom_remote_identities", json!({"fqdn_id": "a b"}), "domain name"),
    ] {
        let failure = ipsec(&mut draft(json!({})), with(ipsec_request(), key, value)).unwrap_err();
        assert!(failure.text().contains(expected), "{key}: {}", failure.text());
    }
    let mut twice = draft(json!({}));
    gre(&mut twice, dc1()).unwrap();
    assert!(gre(&mut twice, dc1()).unwrap_err().text().contains("already"));
    let scope = json!({"prefix": "10.0.0.0/8", "nexthop": "dc1", "scope": {"colo_names": ["ams01"]}});
    assert!(route(&mut twice, scope).unwrap_err().text().contains("scope"));
}

#[test]
fn health_checks_are_those_of_the_configuration() {
    let mut draft = draft(json!({}));
    let mut request = dc1();
    request["health_check"] = json!({"rate": "high", "type": "reply", "target": {"saved": "10.213.0.9"}});
    let id = gre(&mut draft, request).unwrap();
    let tunnel = |draft: &Draft| draft.tunnel("dc1").unwrap().get("health").cloned();
    assert_eq!(tunnel(&draft), Some(json!({"rate": "high", "type": "reply", "target": "10.213.0.9"})));
    let shown = |draft: &Draft| shown_gre(draft)[0]["health_check"].clone();
    let expected = json!({"enabled": true, "rate": "high", "type": "reply", "direction": "bidirectional",
        "target": "10.213.0.9"});
    assert_eq!(shown(&draft), expected);
    let mut change = |check: Value| {
        let wanted: GreTunnelRequest = serde_json::from_value(json!({"health_check": check})).unwrap();
        tunnels::update(&mut draft, Kind::Gre, &id, Wanted::try_from(wanted)?).map(|()| shown(&draft))
    };
    assert_eq!(change(expected.clone()).unwrap(), expected);
    let other = change(json!({"rate": "low", "target": ""})).unwrap();
    assert_eq!(other, json!({"enabled": true, "rate": "low", "type": "reply", "direction": "bidirectional"}));
    assert!(change(json!({"target": "nowhere"})).unwrap_err().text().contains("IPv4 or IPv6"));
    assert_eq!(change(json!({"enabled": false})).unwrap(), json!({"enabled": false}));
    assert_eq!(tunnel(&draft), None);
}

#[test]
fn what_is_off_may_be_said() {
    let mut request = dc1();
    request["automatic_return_routing"] = false.into();
    request["health_check"] = json!({"enabled": false});
    request["created_on"] = "2026-01-01T00:00:00Z".into();
    let mut draft = draft(json!({}));
    gre(&mut draft, request).unwrap();
    route(&mut draft, json!({"prefix": "10.0.0.0/8", "nexthop": "dc1", "scope": {"colo_names": []}}))
        .unwrap();
    assert_eq!(shown_routes(&draft)[0]["weight"], 1);
}

fn name() -> impl Strategy<Value = String> {
    "[a-z][a-z0-9_-]{0,14}"
        .prop_filter("reserved", |name| !matches!(name.as_str(), "internet" | "blackhole" | "unreachable"))
}

proptest! {
    /// What is shown of a tunnel, written again, changes nothing; and what was asked for is shown.
    #[test]
    fn a_tunnel_goes_there_and_back(
        name in name(), number in 1u8..120, mtu in proptest::option::of(576u16..9000),
        ttl in proptest::option::of(1u8..), text in "[ -~]{0,40}", v6 in any::<bool>(),
    ) {
        let mut request = json!({
            "name": name, "cloudflare_gre_endpoint": "203.0.113.1", "customer_gre_endpoint": format!("192.0.2.{number}"),
            "interface_address": format!("10.0.0.{}/31", number * 2), "description": text,
        });
        if let Some(mtu) = mtu { request["mtu"] = mtu.into(); }
        if let Some(ttl) = ttl { request["ttl"] = ttl.into(); }
        if v6 { request["interface_address6"] = format!("fd00::{:x}/127", u16::from(number) * 2).into(); }
        let mut draft = draft(json!({}));
        let id = gre(&mut draft, request.clone()).unwrap();
        let shown = shown_gre(&draft)[0].clone();
        for (key, value) in request.as_object().unwrap().iter().filter(|(_, value)| **value != "") {
            prop_assert_eq!(&shown[key], value, "{}", key);
        }
        let before = draft.typed().unwrap();
        let again: GreTunnelRequest = serde_json::from_value(shown.clone()).unwrap();
        tunnels::update(&mut draft, Kind::Gre, &id, Wanted::try_from(again).unwrap()).unwrap();
        prop_assert_eq!(before, draft.typed().unwrap());
        let mut after = shown_gre(&draft)[0].clone();
        after["modified_on"] = shown["modified_on"].clone();
        prop_assert_eq!(after, shown);
    }

    #[test]
    fn a_route_goes_there_and_back(
        third in any::<u8>(), priority in any::<u32>(), weight in 1u16..=256, text in "[ -~]{0,40}",
        hop in prop_oneof![Just("10.213.0.9"), Just("dc1"), Just("blackhole"), Just("192.0.2.200")],
    ) {
        let mut draft = draft(json!({}));
        gre(&mut draft, dc1()).unwrap();
        let request = json!({
            "prefix": format!("10.1.{third}.0/24"), "nexthop": hop, "priority": priority, "weight": weight, "description": text,
        });
        let id = route(&mut draft, request).unwrap();
        let shown = shown_routes(&draft)[0].clone();
        prop_assert_eq!(&shown["nexthop"], if hop == "dc1" { "10.213.0.9" } else { hop });
        prop_assert_eq!((&shown["priority"], &shown["weight"]), (&json!(priority), &json!(weight)));
        let before = draft.typed().unwrap();
        let again: RouteRequest = serde_json::from_value(shown.clone()).unwrap();
        routes::update(&mut draft, &id, again).unwrap();
        prop_assert_eq!(before, draft.typed().unwrap());
        let mut after = shown_routes(&draft)[0].clone();
        after["modified_on"] = shown["modified_on"].clone();
        prop_assert_eq!(after, shown);
        routes::remove(&mut draft, &id).unwrap();
        prop_assert_eq!(shown_routes(&draft), json!([]));
    }

    /// Any values in any fields: refused or taken, never a panic, and what is taken can be read.
    #[test]
    fn any_values_are_looked_at(
        fields in proptest::collection::btree_map(
            proptest::sample::select(vec![
                "name", "cloudflare_gre_endpoint", "customer_gre_endpoint", "interface_address", "interface_address6",
                "description", "mtu", "ttl", "health_check", "id", "bgp",
            ]),
            prop_oneof![
                any::<String>().prop_map(Value::from), any::<u64>().prop_map(Value::from), Just(Value::Null),
                Just(json!({})), Just(json!([])), Just(json!("203.0.113.1")), Just(json!("10.0.0.0/31")),
            ],
            0..10,
        ),
    ) {
        let fields: BTreeMap<_, _> = fields.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
        let mut draft = draft(json!({}));
        if let Ok(request) = serde_json::from_value::<GreTunnelRequest>(json!(fields))
            && let Ok(wanted) = Wanted::try_from(request)
            && tunnels::create(&mut draft, Kind::Gre, wanted).is_ok()
            && let Ok(typed) = draft.typed()
        {
            prop_assert_eq!(typed.tunnels.len(), 1);
        }
    }
}
