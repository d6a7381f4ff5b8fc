//! A tenant while it is read and changed: its configuration as it stands in the store, and what is known about its
//! objects.
//!
//! Configuration that this API has no field for stays as it is. Everything is looked up by identifier; those of objects that
//! nothing is known about follow from their names.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde_json::{Map, Value};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::Failure;
use crate::api::{Account, AccountChange, ApiError, ErrorCode, Secret};
use crate::config::{self, Name, TenantConfig};
use crate::fleet::about::{self, About, Notes};

/// A tenant.
pub(super) struct Draft {
    pub(super) name: Name,
    version: u64,
    /// By name.
    tunnels: Map<String, Value>,
    /// In their order.
    pub(super) routes: Vec<Value>,
    /// What is neither.
    rest: Map<String, Value>,
    pub(super) about: About,
    pub(super) endpoints: BTreeMap<String, IpAddr>,
    secrets: BTreeMap<String, Secret>,
    /// The time of the change.
    pub(super) now: String,
}

impl Draft {
    /// The tenant as the store has it.
    pub(super) fn open(name: &str, account: Account) -> Result<Self, Failure> {
        let Some(name) = Name::new(name) else {
            let message =
                "an account is a tenant: 1 to 63 letters, digits, - and _, beginning with a letter or digit";
            return Err(Failure::bad("", message));
        };
        let Account { version, tenant, about, endpoints } = account;
        let mut rest = match tenant {
            Value::Object(tenant) => tenant,
            _ => Map::new(),
        };
        let tunnels = match rest.remove("tunnels") {
            Some(Value::Object(tunnels)) => tunnels,
            _ => Map::new(),
        };
        let routes = match rest.remove("routes") {
            Some(Value::Array(routes)) => routes,
            // A list of one may be written without brackets.
            Some(route @ Value::Object(_)) => vec![route],
            _ => Vec::new(),
        };
        let now = OffsetDateTime::now_utc();
        let now = now.replace_microsecond(now.microsecond()).unwrap_or(now).format(&Rfc3339);
        let now = now.unwrap_or_default();
        Ok(Self { name, version, tunnels, routes, rest, about, endpoints, secrets: BTreeMap::new(), now })
    }

    /// What is to be written, or only to be looked at.
    pub(super) fn close(self, dry_run: bool) -> AccountChange {
        let tenant = self.tenant();
        let Self { name, version, mut about, secrets, .. } = self;
        about.prune(&tenant);
        AccountChange { dry_run, name: name.to_string(), from: version, tenant, about, secrets }
    }

    /// What stands under `tenants.NAME`.
    fn tenant(&self) -> Value {
        let mut tenant = self.rest.clone();
        if !self.tunnels.is_empty() {
            tenant.insert("tunnels".into(), Value::Object(self.tunnels.clone()));
        }
        if !self.routes.is_empty() {
            tenant.insert("routes".into(), Value::Array(self.routes.clone()));
        }
        Value::Object(tenant)
    }

    /// The tenant as typed values.
    pub(super) fn typed(&self) -> Result<TenantConfig, Failure> {
        config::tenant_of(&self.name, &self.tenant())
            .map_err(|problems| ApiError::invalid_config("", problems).into())
    }

    /// A tunnel as it stands in the store.
    pub(super) fn tunnel(&self, name: &str) -> Option<&Map<String, Value>> {
        self.tunnels.get(name)?.as_object()
    }

    /// Adds a tunnel, or puts it in the place of the one of that name.
    pub(super) fn put_tunnel(&mut self, name: &str, tunnel: Map<String, Value>) {
        self.tunnels.insert(name.to_owned(), Value::Object(tunnel));
    }

    /// Takes a tunnel out.
    pub(super) fn remove_tunnel(&mut self, name: &str) {
        self.tunnels.remove(name);
        self.about.tunnels.remove(name);
        self.secrets.remove(name);
    }

    /// What is known about a tunnel.
    pub(super) fn notes(&self, tunnel: &str) -> Notes {
        let derived = || Notes { id: about::id_of_tunnel(&self.name, tunnel), ..Notes::default() };
        self.about.tunnels.get(tunnel).cloned().unwrap_or_else(derived)
    }

    /// The pre-shared key of a tunnel becomes this one.
    pub(super) fn set_secret(&mut self, tunnel: &str, secret: Secret) {
        self.secrets.insert(tunnel.to_owned(), secret);
    }

    /// What is known about an object that is made now.
    pub(super) fn new_notes(&self) -> Result<Notes, Failure> {
        let id = about::new_id()
            .map_err(|error| Failure::from(ApiError::new(ErrorCode::Internal, error.to_string())))?;
        let now = Some(self.now.clone());
        Ok(Notes { id, created_on: now.clone(), modified_on: now, ..Notes::default() })
    }
}

/// What somebody wrote, checked.
pub(super) fn description(text: &str) -> Result<Option<String>, Failure> {
    const MAX_BYTES: usize = 1024;
    if text.len() > MAX_BYTES || text.contains(|c: char| c.is_control() && c != '\n') {
        let message = format!("write at most {MAX_BYTES} bytes of text");
        return Err(Failure::bad("/description", message));
    }
    Ok((!text.is_empty()).then(|| text.to_owned()))
}
