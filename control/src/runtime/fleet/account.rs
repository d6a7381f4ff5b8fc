//! A tenant as an account: read and written as a whole, with the pre-shared keys of its tunnels.

use super::FleetState;
use super::objects::{Change, no_fleet};
use crate::api::{Account, AccountChange, ApiError, ErrorCode, Secret};
use crate::config::Name;
use crate::fleet::objects::Step;
use crate::fleet::psks::Sealed;
use crate::ike::connections::Credentials;
use crate::runtime::Running;
use crate::runtime::state::State;

impl State {
    /// What the store has of a tenant.
    pub(in crate::runtime) fn account(&self, tenant: &str) -> Result<Account, ApiError> {
        let fleet = self.fleet.as_ref().ok_or_else(no_fleet)?;
        let config = self.compiler.config();
        let endpoints = config.endpoints.iter().map(|(name, address)| (name.to_string(), *address));
        let object = fleet.objects.tenant(tenant).cloned();
        Ok(match object {
            Some(object) => Account {
                version: object.version,
                tenant: object.tenant,
                about: object.about,
                endpoints: endpoints.collect(),
            },
            None => Account { endpoints: endpoints.collect(), ..Account::default() },
        })
    }

    /// Adds the pre-shared keys that the store has.
    pub(in crate::runtime) fn add_stored_psks(&self, credentials: &mut Credentials) {
        for (tunnel, psk) in self.fleet.iter().flat_map(|fleet| fleet.psks.usable()) {
            credentials.add_stored(tunnel.clone(), psk.clone());
        }
    }

    /// Whether this node has all of the store up to a revision, its tenants on the workers.
    pub(in crate::runtime) fn has_objects_of(&self, revision: u64) -> bool {
        self.fleet.as_ref().is_none_or(|fleet| {
            fleet.store.revision >= revision && fleet.objects_taken == fleet.objects_changed
        })
    }
}

impl Running {
    /// Writes an account. The answer is the store's revision from which on nodes have it; `None`: nothing was different.
    pub(in crate::runtime) async fn write_account(
        &self,
        change: AccountChange,
    ) -> Result<Option<u64>, ApiError> {
        let report = self
            .change_objects(change.dry_run, "", |fleet| {
                let AccountChange { name, from, tenant, about, secrets, .. } = change;
                let name = Name::new(&name).ok_or_else(|| {
                    let rule = "use 1 to 63 letters, digits, - and _, beginning with a letter or digit";
                    ApiError::new(ErrorCode::BadRequest, format!("\"{name}\" cannot be an account: {rule}"))
                })?;
                let before = fleet.objects.tenant(&name);
                if before.map_or(0, |before| before.version) != from {
                    let message = format!("somebody else has changed tenant {name} meanwhile");
                    return Err(ApiError::new(ErrorCode::Conflict, message));
                }
                let sealed = secrets
                    .into_iter()
                    .map(|(tunnel, secret)| seal(fleet, &name, &tunnel, secret))
                    .filter_map(Result::transpose)
                    .collect::<Result<_, _>>()?;
                let is_same = before.is_some_and(|before| before.tenant == tenant && before.about == about);
                let step = Step { name, becomes: Some(tenant), about, from };
                let steps = if is_same { Vec::new() } else { vec![step] };
                Ok(Change { steps, sealed })
            })
            .await?;
        Ok(report.revision)
    }

    /// Writes the pre-shared keys anew, after another key of the fleet has begun to seal. Every node does; the first one
    /// to write each has done it for all.
    pub(in crate::runtime) fn seal_psks_again(&self) {
        let sealed = {
            let state = self.lock();
            let Some(fleet) = &state.fleet else { return };
            fleet.psks.seal_again(&fleet.keyring)
        };
        let (Some(tasks), Ok(sealed)) = (&self.fleet, sealed) else {
            tracing::error!("pre-shared keys of the store stay sealed with the old key: reload again");
            return;
        };
        let store = tasks.store().clone();
        tokio::spawn(async move {
            for one in sealed {
                let key = one.key.clone();
                let outcome = store.commit(&super::objects::transaction(&[], vec![one], &[])).await;
                match outcome {
                    Ok(_) | Err(penstock_fleet::store::CommitError::Conflict) => {}
                    Err(error) => tracing::error!(
                        key,
                        "stays sealed with the old key: {error}; reload again before that key is dropped"
                    ),
                }
            }
        });
    }
}

/// `None`: the tunnel whose key it should be has none.
fn seal(fleet: &FleetState, tenant: &Name, tunnel: &str, secret: Secret) -> Result<Option<Sealed>, ApiError> {
    let named = |tunnel: &str| Some((tenant.clone(), Name::new(tunnel)?));
    let unnamed = || ApiError::new(ErrorCode::BadRequest, format!("\"{tunnel}\" cannot be a tunnel's name"));
    let new = named(tunnel).ok_or_else(unnamed)?;
    let psk = match secret {
        Secret::Given(psk) => Some(psk),
        Secret::Of(old) => named(&old).and_then(|old| fleet.psks.of(&old).cloned()),
    };
    let Some(psk) = psk else { return Ok(None) };
    let failed =
        |error: penstock_fleet::seal::SealError| ApiError::new(ErrorCode::Internal, error.to_string());
    fleet.psks.seal(&fleet.keyring, &new, &psk).map(Some).map_err(failed)
}
