//! Requests about GRE tunnels.

use axum::body::Body;
use axum::extract::Path;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{Answer, Asked, Made, answered, body, change, chosen, id_of, look, object, objects, one};
use crate::api::magic::envelope::{Envelope, Nothing};
use crate::api::magic::fields::{GreTunnel, GreTunnelRequest};
use crate::api::magic::tunnels::{self, Kind, Wanted};
use crate::api::server::Api;

/// The requests.
pub(super) fn router() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(list_gre_tunnels, create_gre_tunnels, update_gre_tunnels))
        .routes(routes!(get_gre_tunnel, update_gre_tunnel, delete_gre_tunnel))
}

/// All GRE tunnels.
#[derive(Serialize, ToSchema)]
struct GreTunnels<T> {
    gre_tunnels: Vec<T>,
}

/// One GRE tunnel.
#[derive(Serialize, ToSchema)]
struct GreTunnelOne {
    gre_tunnel: GreTunnel,
}

/// GRE tunnels that were changed.
#[derive(Serialize, ToSchema)]
struct GreTunnelsModified {
    modified: bool,
    modified_gre_tunnels: Vec<GreTunnel>,
}

/// A GRE tunnel that was changed.
#[derive(Serialize, ToSchema)]
struct GreTunnelModified {
    modified: bool,
    modified_gre_tunnel: GreTunnel,
}

/// A GRE tunnel that is gone.
#[derive(Serialize, ToSchema)]
struct GreTunnelDeleted {
    deleted: bool,
    deleted_gre_tunnel: GreTunnel,
}

/// All GRE tunnels of an account.
#[utoipa::path(get, path = "/accounts/{account_id}/magic/gre_tunnels", tag = "magic",
    params(("account_id" = String, Path, description = "The tenant")),
    responses((status = 200, body = Envelope<GreTunnels<GreTunnel>>),
        (status = "default", body = Envelope<Nothing>)))]
async fn list_gre_tunnels(asked: Asked, Path(account): Path<String>) -> Answer<GreTunnels<GreTunnel>> {
    look(asked, account, |draft, typed| Ok(GreTunnels { gre_tunnels: tunnels::gre(draft, typed) })).await
}

/// Makes GRE tunnels: one, or a list of them, all or none.
#[utoipa::path(post, path = "/accounts/{account_id}/magic/gre_tunnels", tag = "magic",
    params(("account_id" = String, Path, description = "The tenant"),
        ("validate_only" = Option<bool>, Query, description = "Only say whether it could be done")),
    request_body = Made<GreTunnelRequest, GreTunnels<GreTunnelRequest>>,
    responses((status = 200, body = Envelope<Made<GreTunnel, GreTunnels<GreTunnel>>>),
        (status = "default", body = Envelope<Nothing>)))]
async fn create_gre_tunnels(
    asked: Asked,
    Path(account): Path<String>,
    content: Body,
) -> Answer<Made<GreTunnel, GreTunnels<GreTunnel>>> {
    let (requests, are_many) = objects::<GreTunnelRequest>(body(content).await?, "gre_tunnels")?;
    change(asked, account, move |draft| {
        let mut ids = Vec::new();
        for (i, request) in requests.iter().enumerate() {
            let made = Wanted::try_from(request.clone())
                .and_then(|wanted| tunnels::create(draft, Kind::Gre, wanted));
            ids.push(made.map_err(|failure| if are_many { failure.of_item(i) } else { failure })?);
        }
        let made = chosen(tunnels::gre(draft, &draft.typed()?), &ids, |one| &one.id);
        Ok(answered(made, are_many, |gre_tunnels| GreTunnels { gre_tunnels }))
    })
    .await
}

/// Changes GRE tunnels, all or none.
#[utoipa::path(put, path = "/accounts/{account_id}/magic/gre_tunnels", tag = "magic",
    params(("account_id" = String, Path, description = "The tenant"),
        ("validate_only" = Option<bool>, Query, description = "Only say whether it could be done")),
    request_body = GreTunnels<GreTunnelRequest>,
    responses((status = 200, body = Envelope<GreTunnelsModified>),
        (status = "default", body = Envelope<Nothing>)))]
async fn update_gre_tunnels(
    asked: Asked,
    Path(account): Path<String>,
    content: Body,
) -> Answer<GreTunnelsModified> {
    let (requests, _) = objects::<GreTunnelRequest>(body(content).await?, "gre_tunnels")?;
    change(asked, account, move |draft| {
        let mut ids = Vec::new();
        for (i, request) in requests.iter().enumerate() {
            let changed = id_of(request.id.clone()).and_then(|id| {
                tunnels::update(draft, Kind::Gre, &id, Wanted::try_from(request.clone())?)?;
                Ok(id)
            });
            ids.push(changed.map_err(|failure| failure.of_item(i))?);
        }
        let modified_gre_tunnels = chosen(tunnels::gre(draft, &draft.typed()?), &ids, |one| &one.id);
        Ok(GreTunnelsModified { modified: true, modified_gre_tunnels })
    })
    .await
}

/// A GRE tunnel.
#[utoipa::path(get, path = "/accounts/{account_id}/magic/gre_tunnels/{gre_tunnel_id}", tag = "magic",
    params(("account_id" = String, Path, description = "The tenant"),
        ("gre_tunnel_id" = String, Path, description = "Its identifier")),
    responses((status = 200, body = Envelope<GreTunnelOne>),
        (status = "default", body = Envelope<Nothing>)))]
async fn get_gre_tunnel(asked: Asked, Path((account, id)): Path<(String, String)>) -> Answer<GreTunnelOne> {
    look(asked, account, move |draft, typed| {
        let gre_tunnel = one(tunnels::gre(draft, typed), &id, |one| &one.id, "GRE tunnel")?;
        Ok(GreTunnelOne { gre_tunnel })
    })
    .await
}

/// Changes a GRE tunnel. What is not named stays as it is.
#[utoipa::path(put, path = "/accounts/{account_id}/magic/gre_tunnels/{gre_tunnel_id}", tag = "magic",
    params(("account_id" = String, Path, description = "The tenant"),
        ("validate_only" = Option<bool>, Query, description = "Only say whether it could be done"),
        ("gre_tunnel_id" = String, Path, description = "Its identifier")),
    request_body = GreTunnelRequest,
    responses((status = 200, body = Envelope<GreTunnelModified>),
        (status = "default", body = Envelope<Nothing>)))]
async fn update_gre_tunnel(
    asked: Asked,
    Path((account, id)): Path<(String, String)>,
    content: Body,
) -> Answer<GreTunnelModified> {
    let request: GreTunnelRequest = object(body(content).await?)?;
    change(asked, account, move |draft| {
        tunnels::update(draft, Kind::Gre, &id, Wanted::try_from(request.clone())?)?;
        let all = tunnels::gre(draft, &draft.typed()?);
        let modified_gre_tunnel = one(all, &id, |one| &one.id, "GRE tunnel")?;
        Ok(GreTunnelModified { modified: true, modified_gre_tunnel })
    })
    .await
}

/// Removes a GRE tunnel. Routes into it have to go before.
#[utoipa::path(delete, path = "/accounts/{account_id}/magic/gre_tunnels/{gre_tunnel_id}", tag = "magic",
    params(("account_id" = String, Path, description = "The tenant"),
        ("validate_only" = Option<bool>, Query, description = "Only say whether it could be done"),
        ("gre_tunnel_id" = String, Path, description = "Its identifier")),
    responses((status = 200, body = Envelope<GreTunnelDeleted>),
        (status = "default", body = Envelope<Nothing>)))]
async fn delete_gre_tunnel(
    asked: Asked,
    Path((account, id)): Path<(String, String)>,
) -> Answer<GreTunnelDeleted> {
    change(asked, account, move |draft| {
        let all = tunnels::gre(draft, &draft.typed()?);
        let deleted_gre_tunnel = one(all, &id, |one| &one.id, "GRE tunnel")?;
        tunnels::remove(draft, Kind::Gre, &id)?;
        Ok(GreTunnelDeleted { deleted: true, deleted_gre_tunnel })
    })
    .await
}
