//! Tenants as objects of the store: what there is, and how a change of them is planned.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use thiserror::Error;

use super::about::About;
use crate::config::{Name, SharedTenants};

/// The form of objects that this version writes, and the newest that it reads.
const SCHEMA: u32 = 1;

/// Why an object of the store is not taken.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ObjectError {
    /// Not what we write.
    #[error("is not an object of penstock: {0}")]
    Malformed(String),
    /// Written by a later version.
    #[error("has schema {0}, and this version reads up to {SCHEMA}: upgrade this node")]
    TooNew(u32),
    /// It cannot be part of a configuration.
    #[error("cannot be a tenant: {0}")]
    Unfit(String),
}

#[derive(Serialize, Deserialize)]
struct Stored {
    schema: u32,
    tenant: Value,
    #[serde(default, skip_serializing_if = "About::is_empty")]
    about: About,
}

/// A tenant, as the store has it; of what is about its objects only those that it has.
pub fn encode(tenant: &Value, about: &About) -> Vec<u8> {
    let mut about = about.clone();
    about.prune(tenant);
    Stored { schema: SCHEMA, tenant: tenant.clone(), about }.to_bytes()
}

impl Stored {
    fn to_bytes(&self) -> Vec<u8> {
        // Maps with string keys: writing them cannot fail.
        serde_json::to_vec(self).unwrap_or_default()
    }
}

fn decode(bytes: &[u8]) -> Result<(Value, About), ObjectError> {
    let stored: Stored =
        serde_json::from_slice(bytes).map_err(|error| ObjectError::Malformed(error.to_string()))?;
    if stored.schema > SCHEMA {
        Err(ObjectError::TooNew(stored.schema))
    } else {
        Ok((stored.tenant, stored.about))
    }
}

/// A tenant of the store.
#[derive(Clone, Debug, PartialEq)]
pub struct Object {
    /// What stands under `tenants.NAME`.
    pub tenant: Value,
    /// What is known about its objects.
    pub about: About,
    /// Counts its changes, from 1.
    pub version: u64,
}

/// All tenants of the store, as of the last that was seen of it.
#[derive(Clone, Debug, Default)]
pub struct Objects {
    tenants: BTreeMap<Name, Object>,
    shared: SharedTenants,
    /// What was not taken, and why, by name.
    refused: BTreeMap<Name, String>,
}

/// What a change means for one tenant: what it becomes, and the version that it has to have before; 0: none.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// The tenant.
    pub name: Name,
    /// `None`: it goes.
    pub becomes: Option<Value>,
    /// What is known about its objects.
    pub about: About,
    /// The version before.
    pub from: u64,
}

impl Objects {
    /// The store has this tenant. Whether anything is different from before.
    pub fn put(&mut self, name: Name, version: u64, bytes: &[u8]) -> bool {
        let taken = decode(bytes).and_then(|(tenant, about)| {
            let set = self.shared.set(name.clone(), &tenant);
            set.map_err(ObjectError::Unfit).map(|()| (tenant, about))
        });
        match taken {
            Ok((tenant, about)) => {
                self.refused.remove(&name);
                let object = Object { tenant, about, version };
                let before = self.tenants.insert(name, object.clone());
                before.is_none_or(|before| before.tenant != object.tenant)
            }
            Err(error) => {
                tracing::error!(
                    "tenants/{name} of the store {error}; this node goes on with what it had of it"
                );
                self.refused.insert(name, error.to_string());
                false
            }
        }
    }

    /// The store does not have this tenant any more. Whether it had.
    pub fn remove(&mut self, name: &Name) -> bool {
        self.refused.remove(name);
        self.shared.remove(name);
        self.tenants.remove(name).is_some()
    }

    /// Takes out all but these. Whether there were any.
    pub fn keep_only(&mut self, there: impl Fn(&Name) -> bool) -> bool {
        let gone: Vec<Name> = self.tenants.keys().filter(|name| !there(name)).cloned().collect();
        for name in &gone {
            self.remove(name);
        }
        !gone.is_empty()
    }

    /// The tenants, by name.
    pub fn tenants(&self) -> impl Iterator<Item = (&Name, &Object)> {
        self.tenants.iter()
    }

    /// One of them.
    pub fn tenant(&self, name: &str) -> Option<&Object> {
        self.tenants.get(name)
    }

    /// What was not taken, and why.
    pub fn refused(&self) -> impl Iterator<Item = (&Name, &String)> {
        self.refused.iter()
    }

    /// All of them, to be joined with a file.
    pub fn shared(&self) -> &SharedTenants {
        &self.shared
    }

    /// What has to be written so that these tenants are as wanted. `expected` are versions that they must have.
    ///
    /// # Errors
    /// When one has another version than expected.
    pub fn plan(
        &self,
        wanted: BTreeMap<Name, Value>,
        expected: &BTreeMap<String, u64>,
    ) -> Result<Vec<Step>, String> {
        for (name, version) in expected {
            let now = self.tenants.get(name.as_str()).map_or(0, |object| object.version);
            if now != *version {
                return Err(format!(
                    "tenant {name} has version {now} and not {version}: somebody has changed it; get it again, and make your \
                     change in that"
                ));
            }
        }
        let steps = wanted.into_iter().filter_map(|(name, tenant)| {
            let before = self.tenants.get(&name);
            let is_different = before.is_none_or(|before| before.tenant != tenant);
            is_different.then(|| Step {
                from: before.map_or(0, |before| before.version),
                about: before.map(|before| before.about.clone()).unwrap_or_default(),
                name,
                becomes: Some(tenant),
            })
        });
        Ok(steps.collect())
    }

    /// What has to be written so that a tenant, or one tunnel of it, is gone.
    ///
    /// # Errors
    /// When there is no such thing.
    pub fn plan_removal(&self, tenant: &str, tunnel: Option<&str>) -> Result<Step, String> {
        let Some((name, object)) = self.tenants.get_key_value(tenant) else {
            return Err(format!("the store has no tenant {tenant}; penstock get tenants shows what it has"));
        };
        let becomes = match tunnel {
            None => None,
            Some(tunnel) => {
                let mut tenant = object.tenant.clone();
                let tunnels = tenant.get_mut("tunnels").and_then(Value::as_object_mut);
                if tunnels.and_then(|tunnels| tunnels.remove(tunnel)).is_none() {
                    return Err(format!(
                        "tenant {name} has no tunnel {tunnel}; penstock get tenants {name} shows it"
                    ));
                }
                Some(tenant)
            }
        };
        Ok(Step { name: name.clone(), becomes, about: object.about.clone(), from: object.version })
    }

    /// The tenants as they would be after a change.
    ///
    /// # Errors
    /// When one of them cannot be written.
    pub fn after(&self, steps: &[Step]) -> Result<SharedTenants, String> {
        let mut shared = self.shared.clone();
        for step in steps {
            match &step.becomes {
                Some(tenant) => shared
                    .set(step.name.clone(), tenant)
                    .map_err(|reason| format!("tenant {} cannot be written: {reason}", step.name))?,
                None => {
                    shared.remove(&step.name);
                }
            }
        }
        Ok(shared)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::fleet::about::Notes;

    fn name(text: &str) -> Name {
        Name::new(text).unwrap()
    }

    fn with(name_of: &str, tenant: &Value) -> Objects {
        let mut objects = Objects::default();
        assert!(objects.put(name(name_of), 4, &encode(tenant, &About::default())));
        objects
    }

    fn acme() -> Value {
        json!({"tunnels": {"dc1": {"remote": "192.0.2.77"}, "dc2": {"remote": "192.0.2.78"}}})
    }

    #[test]
    fn only_what_differs_is_written_and_only_over_what_was_seen() {
        let objects = with("acme", &acme());
        let same = objects.plan([(name("acme"), acme())].into(), &BTreeMap::new()).unwrap();
        assert_eq!(same, []);
        let other = json!({"tunnels": {}});
        let wanted = BTreeMap::from([(name("acme"), other.clone()), (name("globex"), other.clone())]);
        let steps = objects.plan(wanted, &[("acme".to_owned(), 4)].into()).unwrap();
        assert_eq!(
            steps,
            [
                Step { name: name("acme"), becomes: Some(other.clone()), about: About::default(), from: 4 },
                Step { name: name("globex"), becomes: Some(other), about: About::default(), from: 0 }
            ]
        );
    }

    #[test]
    fn what_somebody_else_changed_is_not_overwritten() {
        let objects = with("acme", &acme());
        let plan = |versions: &[(String, u64)]| {
            objects.plan([(name("acme"), json!({}))].into(), &versions.iter().cloned().collect())
        };
        assert!(plan(&[("acme".into(), 3)]).unwrap_err().contains("version 4 and not 3"));
        assert!(plan(&[("new".into(), 1)]).unwrap_err().contains("version 0 and not 1"));
        assert!(plan(&[("acme".into(), 4)]).is_ok());
    }

    #[test]
    fn a_tunnel_goes_alone() {
        let objects = with("acme", &acme());
        let step = objects.plan_removal("acme", Some("dc1")).unwrap();
        assert_eq!(step.becomes, Some(json!({"tunnels": {"dc2": {"remote": "192.0.2.78"}}})));
        assert!(objects.plan_removal("acme", Some("dc3")).unwrap_err().contains("no tunnel dc3"));
        assert!(objects.plan_removal("nobody", None).unwrap_err().contains("no tenant nobody"));
        let whole = objects.plan_removal("acme", None).unwrap();
        assert_eq!((whole.becomes.clone(), whole.from), (None, 4));
        assert_eq!(objects.after(&[whole]).unwrap().names().count(), 0);
    }

    #[test]
    fn what_cannot_be_read_is_named_and_changes_nothing() {
        let mut objects = with("acme", &acme());
        for (bytes, expected) in [
            (&b"{}"[..], "not an object of penstock"),
            (b"\xff", "not an object of penstock"),
            (br#"{"schema":2,"tenant":{}}"#, "upgrade this node"),
        ] {
            assert!(!objects.put(name("acme"), 5, bytes));
            let (who, why) = objects.refused().next().unwrap();
            assert!(**who == *"acme" && why.contains(expected), "{why}");
            assert_eq!(objects.tenants().next().unwrap().1.tenant, acme());
        }
        assert!(objects.put(name("acme"), 6, &encode(&json!({}), &About::default())));
        assert_eq!(objects.refused().count(), 0);
        assert!(!objects.put(name("acme"), 7, &encode(&json!({}), &About::default())), "the same again");
    }

    #[test]
    fn what_is_known_about_objects_outlives_an_apply() {
        let notes = |id: &str| Notes { id: id.into(), ..Notes::default() };
        let about = About {
            tunnels: [("dc1".into(), notes("1")), ("dc2".into(), notes("2"))].into(),
            routes: vec![],
        };
        let mut objects = Objects::default();
        objects.put(name("acme"), 4, &encode(&acme(), &about));
        let wanted = json!({"tunnels": {"dc1": {"remote": "192.0.2.99"}}});
        let steps = objects.plan([(name("acme"), wanted.clone())].into(), &BTreeMap::new()).unwrap();
        objects.put(name("acme"), 5, &encode(steps[0].becomes.as_ref().unwrap(), &steps[0].about));
        let now = objects.tenant("acme").unwrap();
        assert_eq!((&now.tenant, now.about.tunnels.len()), (&wanted, 1));
        assert_eq!(now.about.tunnels["dc1"].id, "1");
    }

    #[test]
    fn a_listing_takes_away_what_it_does_not_have() {
        let mut objects = with("acme", &acme());
        assert!(!objects.keep_only(|_| true));
        assert!(objects.keep_only(|_| false));
        assert_eq!(objects.shared().names().count(), 0);
    }
}
