//! The operator's list of drop reasons says all that there is, and nothing that there is not.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::collections::BTreeMap;

use penstock_dataplane::drop_reason::DropReason;

const DOCUMENT: &str = include_str!("../../docs/drop-reasons.md");

/// The rows of the tables: a reason's name, its meaning, what to do.
fn rows() -> BTreeMap<&'static str, [&'static str; 2]> {
    let mut rows = BTreeMap::new();
    for line in DOCUMENT.lines() {
        let Some((name, rest)) = line.strip_prefix("| `").and_then(|line| line.split_once("` | ")) else {
            continue;
        };
        let (meaning, advice) = rest.strip_suffix(" |").and_then(|rest| rest.split_once(" | ")).unwrap();
        assert!(rows.insert(name, [meaning, advice]).is_none(), "{name} is in docs/drop-reasons.md twice");
    }
    rows
}

#[test]
fn every_drop_reason_is_documented() {
    let rows = rows();
    let missing: Vec<_> =
        DropReason::ALL.iter().map(|reason| reason.name()).filter(|name| !rows.contains_key(name)).collect();
    assert!(missing.is_empty(), "add a row to docs/drop-reasons.md for: {missing:?}");
}

#[test]
fn every_documented_drop_reason_exists() {
    let exists = |name: &str| DropReason::ALL.iter().any(|reason| reason.name() == name);
    let unknown: Vec<_> = rows().into_keys().filter(|name| !exists(name)).collect();
    assert!(unknown.is_empty(), "docs/drop-reasons.md names what does not exist: {unknown:?}");
}

#[test]
fn each_says_what_it_means_and_what_to_do() {
    for (name, cells) in rows() {
        assert!(cells.iter().all(|cell| cell.len() > 7), "{name} is not explained in docs/drop-reasons.md");
        assert!(
            !cells.iter().any(|cell| cell.contains(" | ")),
            "the row of {name} has more than three cells"
        );
    }
}
