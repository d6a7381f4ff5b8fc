//! Changes of the store's tenants, as the operator asks for them.

use std::collections::BTreeMap;

use penstock_fleet::names::KeyName;
use penstock_fleet::store::{CommitError, Condition, Txn};

use crate::api::{ApiError, ApplyReport, ApplyRequest, DeleteRequest, ErrorCode, TenantObject};
use crate::config;
use crate::fleet::objects::{Objects, Step, encode};
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
        self.change_objects(dry_run, &config.source, |objects| {
            objects.plan(wanted, &versions).map_err(|reason| ApiError::new(ErrorCode::Conflict, reason))
        })
        .await
    }

    /// What `penstock delete` does.
    pub(in crate::runtime) async fn delete_objects(
        &self,
        request: DeleteRequest,
    ) -> Result<ApplyReport, ApiError> {
        let DeleteRequest { dry_run, tenant, tunnel } = request;
        self.change_objects(dry_run, "", |objects| {
            let step = objects.plan_removal(&tenant, tunnel.as_deref());
            step.map(|step| vec![step]).map_err(|reason| ApiError::new(ErrorCode::NotFound, reason))
        })
        .await
    }

    async fn change_objects(
        &self,
        dry_run: bool,
        source: &str,
        plan: impl FnOnce(&Objects) -> Result<Vec<Step>, ApiError>,
    ) -> Result<ApplyReport, ApiError> {
        let (steps, changes) = {
            let state = self.lock();
            let Some(fleet) = &state.fleet else {
                let reason =
                    "this node is not of a fleet: write tenants into its configuration file, and reload it";
                return Err(ApiError::new(ErrorCode::NoStore, reason));
            };
            let steps = plan(&fleet.objects)?;
            let refused = |reason| ApiError::new(ErrorCode::BadRequest, reason);
            let shared = fleet.objects.after(&steps).map_err(refused)?;
            let joined = config::parse_joined(&state.source.name, &state.source.yaml, &shared)
                .map_err(|problems| ApiError::invalid_config(source, problems))?;
            let difference = config::diff(state.compiler.config(), &joined);
            (steps, difference.changes.into_iter().map(Into::into).collect::<Vec<_>>())
        };
        if dry_run || steps.is_empty() {
            return Ok(ApplyReport { dry_run, revision: None, changes });
        }
        let Some(tasks) = &self.fleet else {
            return Err(ApiError::new(ErrorCode::Internal, "the fleet has ended"));
        };
        let outcome = tasks.store().commit(&transaction(&steps)).await;
        let revision = outcome.map_err(|error| match error {
            CommitError::Conflict => ApiError::new(
                ErrorCode::Conflict,
                "somebody else has changed the same tenant meanwhile; get it again, and make your change in that",
            ),
            other => ApiError::new(ErrorCode::NoStore, other.to_string()),
        })?;
        Ok(ApplyReport { dry_run, revision: Some(revision.0), changes })
    }

    /// Makes the tenants of the store those of this node.
    pub(in crate::runtime) async fn take_objects(&mut self) {
        let text = {
            let state = self.lock();
            crate::api::ConfigText { source: state.source.name.clone(), yaml: state.source.yaml.clone() }
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
        }
    }
}

fn transaction(steps: &[Step]) -> Txn {
    let mut keys = BTreeMap::new();
    for step in steps {
        keys.insert(KeyName::Tenant(step.name.clone()).to_string(), step);
    }
    keys.into_iter().fold(Txn::new(), |txn, (key, step)| {
        let txn = txn.when(match step.from {
            0 => Condition::Absent(key.clone()),
            version => Condition::Version(key.clone(), version),
        });
        match &step.becomes {
            Some(tenant) => txn.put(key, encode(tenant), None),
            None => txn.delete(key),
        }
    })
}
