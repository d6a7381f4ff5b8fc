//! Changes of the store's tenants, as the operator asks for them.

use std::collections::BTreeMap;

use penstock_fleet::names::KeyName;
use penstock_fleet::store::{CommitError, Condition, MOST_WRITES, Txn};

use super::FleetState;
use crate::api::{ApiError, ApplyReport, ApplyRequest, DeleteRequest, ErrorCode, TenantObject};
use crate::config;
use crate::fleet::objects::{Step, encode};
use crate::fleet::psks::Sealed;
use crate::runtime::Running;
use crate::runtime::state::State;

impl State {
    /// The store's tenants.
    pub(in crate::runtime) fn tenants_of_store(&self) -> Vec<TenantObject> {
        let tenants = self.fleet.iter().flat_map(|fleet| fleet.objects.tenants());
        tenants
            .map(|(name, object)| TenantObject {
                name: name.to_string(),
                version: object.version,
                tenant: object.tenant.clone(),
            })
            .collect()
    }
}

impl Running {
    /// What `penstock apply` does.
    pub(in crate::runtime) async fn apply_objects(
        &self,
        request: ApplyRequest,
    ) -> Result<ApplyReport, ApiError> {
        let ApplyRequest { dry_run, config, versions } = request;
        let wanted = config::tenants_in(&config.source, &config.yaml)
            .map_err(|problems| ApiError::invalid_config(&config.source, problems))?;
        self.change_objects(dry_run, &config.source, |fleet| {
            let steps = fleet.objects.plan(wanted, &versions);
            steps.map(Change::of).map_err(|reason| ApiError::new(ErrorCode::Conflict, reason))
        })
        .await
    }

    /// What `penstock delete` does.
    pub(in crate::runtime) async fn delete_objects(
        &self,
        request: DeleteRequest,
    ) -> Result<ApplyReport, ApiError> {
        let DeleteRequest { dry_run, tenant, tunnel } = request;
        self.change_objects(dry_run, "", |fleet| {
            let step = fleet.objects.plan_removal(&tenant, tunnel.as_deref());
            step.map(|step| Change::of(vec![step]))
                .map_err(|reason| ApiError::new(ErrorCode::NotFound, reason))
        })
        .await
    }

    /// Plans a change, checks it joined with this node's configuration, and writes it.
    pub(super) async fn change_objects(
        &self,
        dry_run: bool,
        source: &str,
        plan: impl FnOnce(&FleetState) -> Result<Change, ApiError>,
    ) -> Result<ApplyReport, ApiError> {
        let (Change { steps, sealed }, unwanted, changes) = {
            let state = self.lock();
            let fleet = state.fleet.as_ref().ok_or_else(no_fleet)?;
            let change = plan(fleet)?;
            let steps = &change.steps;
            let refused = |reason| ApiError::new(ErrorCode::BadRequest, reason);
            let shared = fleet.objects.after(steps).map_err(refused)?;
            let joined = config::parse_joined(&state.source.name, &state.source.yaml, &shared)
                .map_err(|problems| ApiError::invalid_config(source, problems))?;
            let difference = config::diff(state.compiler.config(), &joined);
            let unwanted = unwanted(fleet, steps);
            (change, unwanted, difference.changes.into_iter().map(Into::into).collect::<Vec<_>>())
        };
        if dry_run || (steps.is_empty() && sealed.is_empty()) {
            return Ok(ApplyReport { dry_run, revision: None, changes });
        }
        let Some(tasks) = &self.fleet else {
            return Err(ApiError::new(ErrorCode::Internal, "the fleet has ended"));
        };
        // What does not fit into one goes afterwards: without its tunnel a key is of no use to anybody.
        let room = MOST_WRITES.saturating_sub(steps.len() + sealed.len());
        let (now, later) = unwanted.split_at(unwanted.len().min(room));
        let outcome = tasks.store().commit(&transaction(&steps, sealed, now)).await;
        let revision = outcome.map_err(|error| match error {
            CommitError::Conflict => ApiError::new(
                ErrorCode::Conflict,
                "somebody else has changed the same tenant meanwhile; get it again, and make your change in that",
            ),
            other => ApiError::new(ErrorCode::NoStore, other.to_string()),
        })?;
        for some in later.chunks(MOST_WRITES) {
            if let Err(error) = tasks.store().commit(&transaction(&[], Vec::new(), some)).await {
                tracing::warn!(
                    keys = some.len(),
                    "pre-shared keys without a tunnel stay in the store: {error}"
                );
            }
        }
        Ok(ApplyReport { dry_run, revision: Some(revision.0), changes })
    }

    /// Makes the tenants of the store those of this node.
    pub(in crate::runtime) async fn take_objects(&mut self) {
        let (changed, text) = {
            let state = self.lock();
            let changed = state.fleet.as_ref().map(|fleet| fleet.objects_changed).unwrap_or_default();
            let text =
                crate::api::ConfigText { source: state.source.name.clone(), yaml: state.source.yaml.clone() };
            (changed, text)
        };
        let request = crate::api::ReloadRequest { dry_run: false, config: Some(text) };
        let outcome = self.reload(request).await;
        let unfit = match outcome {
            Ok(report) => {
                if !report.changes.is_empty() {
                    tracing::info!(
                        changes = report.changes.len(),
                        "tenants of the fleet's store are applied"
                    );
                }
                None
            }
            Err(error) => {
                let first = error.problems.first().map(|problem| format!(": {problem}")).unwrap_or_default();
                let why =
                    format!("tenants of the store do not fit this node's configuration: {error}{first}");
                tracing::error!("{why}; the node goes on with those that it had");
                Some(why)
            }
        };
        if let Some(fleet) = &mut self.lock().fleet {
            fleet.set_unfit(unfit);
            fleet.objects_taken = changed;
        }
    }
}

/// What is to be written.
pub(super) struct Change {
    /// To tenants.
    pub(super) steps: Vec<Step>,
    /// Pre-shared keys.
    pub(super) sealed: Vec<Sealed>,
}

impl Change {
    fn of(steps: Vec<Step>) -> Self {
        Self { steps, sealed: Vec::new() }
    }
}

/// There is nothing to write to.
pub(super) fn no_fleet() -> ApiError {
    let reason = "this node is not of a fleet: write tenants into its configuration file, and reload it; or add fleet \
                  (store: embedded is enough)";
    ApiError::new(ErrorCode::NoStore, reason)
}

/// Pre-shared keys whose tunnels go, or do not want them any more.
fn unwanted(fleet: &FleetState, steps: &[Step]) -> Vec<String> {
    steps.iter().flat_map(|step| fleet.psks.unwanted(&step.name, step.becomes.as_ref())).collect()
}

/// All of it, if nothing of it was changed meanwhile.
pub(super) fn transaction(steps: &[Step], sealed: Vec<Sealed>, unwanted: &[String]) -> Txn {
    let unchanged = |key: &str, from: u64| match from {
        0 => Condition::Absent(key.to_owned()),
        version => Condition::Version(key.to_owned(), version),
    };
    let mut keys = BTreeMap::new();
    for step in steps {
        keys.insert(KeyName::Tenant(step.name.clone()).to_string(), step);
    }
    let txn = keys.into_iter().fold(Txn::new(), |txn, (key, step)| {
        let txn = txn.when(unchanged(&key, step.from));
        match &step.becomes {
            Some(tenant) => txn.put(key, encode(tenant, &step.about), None),
            None => txn.delete(key),
        }
    });
    let txn = sealed.into_iter().fold(txn, |txn, Sealed { key, from, record }| {
        txn.when(unchanged(&key, from)).put(key, record, None)
    });
    unwanted.iter().fold(txn, |txn, key| txn.delete(key.clone()))
}
