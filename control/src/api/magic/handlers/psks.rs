//! Requests about pre-shared keys.

use std::collections::BTreeMap;

use axum::body::Body;
use axum::extract::Path;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{Answer, Asked, body, change, object};
use crate::api::magic::Failure;
use crate::api::magic::draft::Draft;
use crate::api::magic::envelope::{Envelope, Nothing};
use crate::api::magic::fields::PskMetadata;
use crate::api::magic::tunnels;
use crate::api::server::Api;
use zeroize::Zeroizing;

/// The requests.
pub(super) fn router() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(set_psks)).routes(routes!(generate_psk))
}

/// A pre-shared key that was made: this is the only time that it is shown.
#[derive(Serialize, ToSchema)]
struct PskGenerated {
    ipsec_tunnel_id: String,
    #[schema(value_type = String)]
    psk: Zeroizing<String>,
    psk_metadata: PskMetadata,
}

/// Makes a pre-shared key for an IPsec tunnel, in the place of the one that it has.
#[utoipa::path(post, path = "/accounts/{account_id}/magic/ipsec_tunnels/{ipsec_tunnel_id}/psk_generate", tag = "magic",
    params(("account_id" = String, Path, description = "The tenant"),
        ("validate_only" = Option<bool>, Query, description = "Only say whether it could be done"),
        ("ipsec_tunnel_id" = String, Path, description = "Its identifier")),
    responses((status = 200, body = Envelope<PskGenerated>),
        (status = "default", body = Envelope<Nothing>)))]
async fn generate_psk(asked: Asked, Path((account, id)): Path<(String, String)>) -> Answer<PskGenerated> {
    change(asked, account, move |draft| {
        let psk = tunnels::generate_psk(draft, &id)?;
        let psk_metadata = PskMetadata { last_generated_on: draft.now.clone() };
        Ok(PskGenerated { ipsec_tunnel_id: id.clone(), psk, psk_metadata })
    })
    .await
}

/// Pre-shared keys for tunnels.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct PsksRequest {
    psks: Vec<PskRequest>,
    /// Only say whether they could be set.
    #[serde(default)]
    validate_only: bool,
}

/// A pre-shared key for a tunnel.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct PskRequest {
    /// The identifier of the tunnel.
    id: String,
    /// The key.
    #[schema(write_only, value_type = String)]
    psk: Zeroizing<String>,
}

/// Pre-shared keys that were set. The keys are not repeated.
#[derive(Serialize, ToSchema)]
struct PsksSet {
    /// By the identifier of the tunnel.
    successfully_applied_psks: BTreeMap<String, PskSet>,
    /// None: all are set, or none.
    unapplied_psks: BTreeMap<String, String>,
}

/// A pre-shared key that was set.
#[derive(Serialize, ToSchema)]
struct PskSet {
    ipsec_tunnel_id: String,
    psk_metadata: PskMetadata,
}

/// Gives tunnels pre-shared keys, all or none.
#[utoipa::path(post, path = "/accounts/{account_id}/magic/ipsec_tunnels/psk", tag = "magic",
    params(("account_id" = String, Path, description = "The tenant"),
        ("validate_only" = Option<bool>, Query, description = "Only say whether it could be done")),
    request_body = PsksRequest,
    responses((status = 200, body = Envelope<PsksSet>),
        (status = "default", body = Envelope<Nothing>)))]
async fn set_psks(asked: Asked, Path(account): Path<String>, content: Body) -> Answer<PsksSet> {
    let PsksRequest { psks, validate_only } = object(body(content).await?)?;
    let given = psks.into_iter().enumerate().map(|(i, one)| {
        let psk = tunnels::given_psk(one.psk, "/psk").map_err(|failure| failure.of_item(i))?;
        Ok::<_, Failure>((one.id, psk))
    });
    let given: Vec<(String, Zeroizing<Vec<u8>>)> = given.collect::<Result<_, Failure>>()?;
    let set = move |draft: &mut Draft| {
        let mut successfully_applied_psks = BTreeMap::new();
        for (i, (id, psk)) in given.iter().enumerate() {
            tunnels::set_psk(draft, id, psk.clone()).map_err(|failure| failure.of_item(i))?;
            let psk_metadata = PskMetadata { last_generated_on: draft.now.clone() };
            successfully_applied_psks
                .insert(id.clone(), PskSet { ipsec_tunnel_id: id.clone(), psk_metadata });
        }
        Ok(PsksSet { successfully_applied_psks, unapplied_psks: BTreeMap::new() })
    };
    change(Asked { validate_only: asked.validate_only || validate_only, ..asked }, account, set).await
}
