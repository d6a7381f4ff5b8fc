//! Tenants that stand in no file: a fleet has them in its store, one object a tenant, and every node joins them with its
//! own file.
//!
//! An object is what stands under `tenants.NAME`, as JSON. It is joined as a part of the text's tree, so that all is read
//! and checked by the same rules, whichever of the two it comes from.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::Name;
use super::problem::{Location, Problem, Problems};
use super::reader::Reader;
use super::schema::TenantConfig;
use super::tree::{self, Key, Kind, Node};

/// Largest object. A store's entry has 1.5 MB at most.
const MAX_OBJECT_BYTES: usize = 1 << 20;
/// The key that tenants stand under.
const TENANTS: &str = "tenants";

/// The tenants of the store.
#[derive(Debug, Clone, Default)]
pub struct SharedTenants(BTreeMap<Name, Node>);

impl SharedTenants {
    /// Adds a tenant, or puts it in the place of the one of that name.
    ///
    /// # Errors
    /// When it is too large, or not what a tenant may be written as. Whether its values are right is asked when it is
    /// joined with a file.
    pub fn set(&mut self, name: Name, tenant: &Value) -> Result<(), String> {
        let text = tenant.to_string();
        if text.len() > MAX_OBJECT_BYTES {
            return Err(format!(
                "it has {} bytes, and an object of the store at most {MAX_OBJECT_BYTES}",
                text.len()
            ));
        }
        let mut problems = Problems::new("");
        let parsed = tree::parse(&text, &mut problems);
        match parsed {
            Some(mut node) => {
                place_nowhere(&mut node);
                self.0.insert(name, node);
                Ok(())
            }
            None => {
                Err(problems.into_list().first().map_or_else(String::new, |problem| problem.message.clone()))
            }
        }
    }

    /// Takes a tenant out. Whether it was there.
    pub fn remove(&mut self, name: &str) -> bool {
        self.0.remove(name).is_some()
    }

    /// Their names.
    pub fn names(&self) -> impl Iterator<Item = &Name> {
        self.0.keys()
    }

    /// Puts them into the tree of a file, which may have others.
    pub(super) fn join(&self, root: &mut Node, problems: &mut Problems) {
        if self.0.is_empty() {
            return;
        }
        if matches!(root.kind, Kind::Empty) {
            root.kind = Kind::Map(Vec::new());
        }
        // Something else is a problem that the reader finds.
        let Kind::Map(entries) = &mut root.kind else { return };
        let at = match entries.iter().position(|(key, _)| &*key.text == TENANTS) {
            Some(at) => at,
            None => {
                let key = Key { at: Location::default(), text: TENANTS.into() };
                entries.push((key, Node { at: Location::default(), kind: Kind::Empty }));
                entries.len() - 1
            }
        };
        let Some((_, tenants)) = entries.get_mut(at) else { return };
        if matches!(tenants.kind, Kind::Empty) {
            tenants.kind = Kind::Map(Vec::new());
        }
        let Kind::Map(tenants) = &mut tenants.kind else { return };
        for (name, node) in &self.0 {
            if let Some((key, _)) = tenants.iter().find(|(key, _)| *key.text == **name) {
                problems.add(
                    key.at,
                    format!("{TENANTS}.{name}"),
                    "the fleet's store has a tenant of this name too",
                    format!("remove it here, or from the store: penstock delete tenant {name}"),
                );
                continue;
            }
            tenants.push((Key { at: Location::default(), text: (**name).into() }, node.clone()));
        }
    }
}

/// A tenant of the store as typed values, each right in itself.
///
/// # Errors
/// All problems, with paths below `tenants.NAME`.
pub fn tenant_of(name: &Name, tenant: &Value) -> Result<TenantConfig, Vec<Problem>> {
    let mut problems = Problems::new("");
    let root = tree::parse(&tenant.to_string(), &mut problems);
    let mut reader = Reader::new(problems);
    let read = root.and_then(|root| {
        reader.within(TENANTS, |r| r.within(name, |r| super::read::tenant_of_fleet(r, &root)))
    });
    match read {
        Some(tenant) if reader.problems.is_empty() => Ok(tenant),
        _ => Err(reader.problems.into_list()),
    }
}

/// The tenants that a text has under `tenants`, and nothing else, as objects for the store.
///
/// # Errors
/// When it is not YAML, has other keys, or a name that cannot be one. Values are not looked at.
pub fn tenants_in(file: &str, text: &str) -> Result<BTreeMap<Name, Value>, Vec<Problem>> {
    let mut problems = Problems::new(file);
    let Some(root) = tree::parse(text, &mut problems) else { return Err(problems.into_list()) };
    let mut found = BTreeMap::new();
    let nothing: &[(Key, Node)] = &[];
    let entries = if let Kind::Map(entries) = &root.kind { entries } else { nothing };
    for (key, node) in entries {
        if &*key.text != TENANTS {
            problems.add(
                key.at,
                &*key.text,
                "is not for the store",
                "write nothing but tenants: into this file",
            );
            continue;
        }
        let Kind::Map(tenants) = &node.kind else { continue };
        for (key, tenant) in tenants {
            let path = format!("{TENANTS}.{}", key.text);
            let Some(name) = Name::new(&key.text) else {
                let fix = "use 1 to 63 letters, digits, - and _, beginning with a letter or digit";
                problems.add(key.at, path, "cannot be a name", fix);
                continue;
            };
            if found.insert(name, to_json(tenant)).is_some() {
                problems.add(key.at, path, "is already defined above", "rename or remove one of them");
            }
        }
    }
    if found.is_empty() && problems.is_empty() {
        problems.add(
            root.at,
            TENANTS,
            "there is no tenant",
            "write tenants: and below it a name and its tunnels and routes",
        );
    }
    if problems.is_empty() { Ok(found) } else { Err(problems.into_list()) }
}

/// Text that is a number or a truth value as JSON would write it becomes one: what is read back is the same text.
fn to_json(node: &Node) -> Value {
    match &node.kind {
        Kind::Empty => Value::Null,
        Kind::Scalar(text) => match serde_json::from_str::<Value>(text) {
            Ok(value) if (value.is_u64() || value.is_boolean()) && is_written_as(&value, text) => value,
            _ => Value::String(text.to_string()),
        },
        Kind::List(items) => Value::Array(items.iter().map(to_json).collect()),
        Kind::Map(entries) => {
            let entries = entries.iter().map(|(key, node)| (key.text.to_string(), to_json(node)));
            Value::Object(entries.collect::<Map<_, _>>())
        }
    }
}

/// Numbers may be written in several ways.
fn is_written_as(value: &Value, text: &str) -> bool {
    let written = value.to_string();
    written == text
}

/// It has no line in the file.
fn place_nowhere(node: &mut Node) {
    node.at = Location::default();
    match &mut node.kind {
        Kind::Empty | Kind::Scalar(_) => {}
        Kind::List(items) => items.iter_mut().for_each(place_nowhere),
        Kind::Map(entries) => {
            for (key, node) in entries {
                key.at = Location::default();
                place_nowhere(node);
            }
        }
    }
}
