//! Tenants of the fleet's store, joined with a file.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::{BARE_METAL, SMALL, valid};
use crate::config::{Name, SharedTenants, parse_joined, parse_str, tenants_in};

fn shared(tenants: &[(&str, Value)]) -> SharedTenants {
    let mut all = SharedTenants::default();
    for (name, tenant) in tenants {
        all.set(Name::new(name).unwrap(), tenant).unwrap();
    }
    all
}

fn globex() -> Value {
    json!({"tunnels": {"hq": {"endpoint": "gw", "remote": "192.0.2.88", "mtu": 1400}}})
}

fn joined_problems(text: &str, shared: &SharedTenants) -> Vec<String> {
    parse_joined("gw1.yaml", text, shared).unwrap_err().iter().map(ToString::to_string).collect()
}

#[test]
fn a_tenant_of_the_store_is_as_if_it_stood_in_the_file() {
    let joined = parse_joined("gw1.yaml", SMALL, &shared(&[("globex", globex())])).unwrap();
    let written =
        SMALL.to_owned() + "  globex: {tunnels: {hq: {endpoint: gw, remote: 192.0.2.88, mtu: 1400}}}\n";
    assert_eq!(joined, valid(&written));
}

#[test]
fn a_file_without_tenants_takes_them() {
    let (file, _) = SMALL.split_once("tenants:").unwrap();
    let joined = parse_joined("gw1.yaml", file, &shared(&[("globex", globex())])).unwrap();
    assert_eq!(joined.tenants.len(), 1);
}

#[test]
fn one_name_in_both_is_refused_where_it_stands() {
    let problems = joined_problems(SMALL, &shared(&[("acme", globex())]));
    assert_eq!(
        problems,
        [
            "gw1.yaml:9:3: tenants.acme: the fleet's store has a tenant of this name too; remove it here, or from the store: \
          penstock delete tenant acme"
        ]
    );
}

#[test]
fn what_is_wrong_in_the_store_is_named_by_its_path() {
    let tenant = json!({"tunnels": {"hq": {"endpoint": "nowhere", "remote": "192.0.2.88"}}});
    let problems = joined_problems(SMALL, &shared(&[("globex", tenant)]));
    assert_eq!(problems.len(), 1);
    assert!(problems[0].starts_with("gw1.yaml: tenants.globex.tunnels.hq.endpoint: "), "{problems:?}");
}

#[test]
fn objects_for_the_store_are_read_from_a_file_of_tenants() {
    let text = "tenants:\n  globex:\n    tunnels:\n      hq: {endpoint: gw, remote: 192.0.2.88, mtu: 1400}\n";
    let found = tenants_in("x", text).unwrap();
    assert_eq!(found.into_iter().collect::<Vec<_>>(), [(Name::new("globex").unwrap(), globex())]);
    for (text, expected) in [
        ("tenants: {}", "there is no tenant"),
        ("", "there is no tenant"),
        ("node: {name: x}\ntenants: {a: {}}", "node: is not for the store"),
        ("tenants: {a: {}, a: {}}", "already defined"),
        ("tenants: {a/b: {}}", "cannot be a name"),
        ("tenants: [", "not YAML"),
    ] {
        let problems = tenants_in("x", text).unwrap_err();
        assert!(
            problems.iter().any(|problem| problem.to_string().contains(expected)),
            "{text}: {problems:?}"
        );
    }
}

#[test]
fn a_tenant_can_move_from_the_file_to_the_store() {
    let (file, tenants) = BARE_METAL.split_at(BARE_METAL.find("\ntenants:").unwrap() + 1);
    let mut all = SharedTenants::default();
    for (name, tenant) in tenants_in("x", tenants).unwrap() {
        all.set(name, &tenant).unwrap();
    }
    assert_eq!(parse_joined("", file, &all).unwrap(), valid(BARE_METAL));
}

#[test]
fn an_object_is_bounded() {
    let large = json!({"prefixes": vec!["192.0.2.0/24"; 100_000]});
    assert!(SharedTenants::default().set(Name::new("a").unwrap(), &large).unwrap_err().contains("bytes"));
    let mut deep = json!({});
    for _ in 0..100 {
        deep = json!({ "x": deep });
    }
    assert!(SharedTenants::default().set(Name::new("a").unwrap(), &deep).unwrap_err().contains("nested"));
}

proptest! {
    /// Whatever is written as a value, it is the same text when it has been in the store.
    #[test]
    fn values_come_back_as_they_were_written(text in "[ -~]{0,12}") {
        let yaml = format!("tenants: {{a: {{x: {}}}}}", Value::String(text.clone()));
        let found = tenants_in("", &yaml).unwrap();
        let value = &found.values().next().unwrap()["x"];
        let back = match value {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        prop_assert_eq!(back, text);
    }

    #[test]
    fn no_text_is_too_much(text in "\\PC{0,200}") {
        if let Ok(found) = tenants_in("", &text) {
            let mut all = SharedTenants::default();
            for (name, tenant) in found {
                let _ = all.set(name, &tenant);
            }
            let _ = parse_joined("", SMALL, &all);
        }
        let _ = parse_str(&text);
    }
}
