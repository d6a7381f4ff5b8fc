//! Requests about IPsec tunnels.

use axum::body::Body;
use axum::extract::Path;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{Answer, Asked, Made, answered, body, change, chosen, id_of, look, object, objects, one};
use crate::api::magic::envelope::{Envelope, Nothing};
use crate::api::magic::fields::{IpsecTunnel, IpsecTunnelRequest};
use crate::api::magic::tunnels::{self, Kind, Wanted};
use crate::api::server::Api;

/// The requests.
pub(super) fn router() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(list_ipsec_tunnels, create_ipsec_tunnels, update_ipsec_tunnels))
        .routes(routes!(get_ipsec_tunnel, update_ipsec_tunnel, delete_ipsec_tunnel))
}

/// All IPsec tunnels.
#[derive(Serialize, ToSchema)]
struct IpsecTunnels<T> {
    ipsec_tunnels: Vec<T>,
}

/// One IPsec tunnel.
#[derive(Serialize, ToSchema)]
struct IpsecTunnelOne {
    ipsec_tunnel: IpsecTunnel,
}

/// IPsec tunnels that were changed.
#[derive(Serialize, ToSchema)]
struct IpsecTunnelsModified {
    modified: bool,
    modified_ipsec_tunnels: Vec<IpsecTunnel>,
}

/// An IPsec tunnel that was changed.
#[derive(Serialize, ToSchema)]
struct IpsecTunnelModified {
    modified: bool,
    modified_ipsec_tunnel: IpsecTunnel,
}

/// An IPsec tunnel that is gone.
#[derive(Serialize, ToSchema)]
struct IpsecTunnelDeleted {
    deleted: bool,
    deleted_ipsec_tunnel: IpsecTunnel,
}

/// All IPsec tunnels of an account.
#[utoipa::path(get, path = "/accounts/{account_id}/magic/ipsec_tunnels", tag = "magic",
    params(("account_id" = String, Path, description = "The tenant")),
    responses((status = 200, body = Envelope<IpsecTunnels<IpsecTunnel>>),
        (status = "default", body = Envelope<Nothing>)))]
async fn list_ipsec_tunnels(asked: Asked, Path(account): Path<String>) -> Answer<IpsecTunnels<IpsecTunnel>> {
    look(asked, account, |draft, typed| Ok(IpsecTunnels { ipsec_tunnels: tunnels::ipsec(draft, typed) }))
        .await
}

/// Makes IPsec tunnels: one, or a list of them, all or none.
#[utoipa::path(post, path = "/accounts/{account_id}/magic/ipsec_tunnels", tag = "magic",
    params(("account_id" = String, Path, description = "The tenant"),
        ("validate_only" = Option<bool>, Query, description = "Only say whether it could be done")),
    request_body = Made<IpsecTunnelRequest, IpsecTunnels<IpsecTunnelRequest>>,
    responses((status = 200, body = Envelope<Made<IpsecTunnel, IpsecTunnels<IpsecTunnel>>>),
        (status = "default", body = Envelope<Nothing>)))]
async fn create_ipsec_tunnels(
    asked: Asked,
    Path(account): Path<String>,
    content: Body,
) -> Answer<Made<IpsecTunnel, IpsecTunnels<IpsecTunnel>>> {
    let (requests, are_many) = objects::<IpsecTunnelRequest>(body(content).await?, "ipsec_tunnels")?;
    change(asked, account, move |draft| {
        let mut ids = Vec::new();
        for (i, request) in requests.iter().enumerate() {
            let made = Wanted::try_from(request.clone())
                .and_then(|wanted| tunnels::create(draft, Kind::Ipsec, wanted));
            ids.push(made.map_err(|failure| if are_many { failure.of_item(i) } else { failure })?);
        }
        let made = chosen(tunnels::ipsec(draft, &draft.typed()?), &ids, |one| &one.id);
        Ok(answered(made, are_many, |ipsec_tunnels| IpsecTunnels { ipsec_tunnels }))
    })
    .await
}

/// Changes IPsec tunnels, all or none.
#[utoipa::path(put, path = "/accounts/{account_id}/magic/ipsec_tunnels", tag = "magic",
    params(("account_id" = String, Path, description = "The tenant"),
        ("validate_only" = Option<bool>, Query, description = "Only say whether it could be done")),
    request_body = IpsecTunnels<IpsecTunnelRequest>,
    responses((status = 200, body = Envelope<IpsecTunnelsModified>),
        (status = "default", body = Envelope<Nothing>)))]
async fn update_ipsec_tunnels(
    asked: Asked,
    Path(account): Path<String>,
    content: Body,
) -> Answer<IpsecTunnelsModified> {
    let (requests, _) = objects::<IpsecTunnelRequest>(body(content).await?, "ipsec_tunnels")?;
    change(asked, account, move |draft| {
        let mut ids = Vec::new();
        for (i, request) in requests.iter().enumerate() {
            let changed = id_of(request.id.clone()).and_then(|id| {
                tunnels::update(draft, Kind::Ipsec, &id, Wanted::try_from(request.clone())?)?;
                Ok(id)
            });
            ids.push(changed.map_err(|failure| failure.of_item(i))?);
        }
        let modified_ipsec_tunnels = chosen(tunnels::ipsec(draft, &draft.typed()?), &ids, |one| &one.id);
        Ok(IpsecTunnelsModified { modified: true, modified_ipsec_tunnels })
    })
    .await
}

/// An IPsec tunnel.
#[utoipa::path(get, path = "/accounts/{account_id}/magic/ipsec_tunnels/{ipsec_tunnel_id}", tag = "magic",
    params(("account_id" = String, Path, description = "The tenant"),
        ("ipsec_tunnel_id" = String, Path, description = "Its identifier")),
    responses((status = 200, body = Envelope<IpsecTunnelOne>),
        (status = "default", body = Envelope<Nothing>)))]
async fn get_ipsec_tunnel(
    asked: Asked,
    Path((account, id)): Path<(String, String)>,
) -> Answer<IpsecTunnelOne> {
    look(asked, account, move |draft, typed| {
        let ipsec_tunnel = one(tunnels::ipsec(draft, typed), &id, |one| &one.id, "IPsec tunnel")?;
        Ok(IpsecTunnelOne { ipsec_tunnel })
    })
    .await
}

/// Changes an IPsec tunnel. What is not named stays as it is.
#[utoipa::path(put, path = "/accounts/{account_id}/magic/ipsec_tunnels/{ipsec_tunnel_id}", tag = "magic",
    params(("account_id" = String, Path, description = "The tenant"),
        ("validate_only" = Option<bool>, Query, description = "Only say whether it could be done"),
        ("ipsec_tunnel_id" = String, Path, description = "Its identifier")),
    request_body = IpsecTunnelRequest,
    responses((status = 200, body = Envelope<IpsecTunnelModified>),
        (status = "default", body = Envelope<Nothing>)))]
async fn update_ipsec_tunnel(
    asked: Asked,
    Path((account, id)): Path<(String, String)>,
    content: Body,
) -> Answer<IpsecTunnelModified> {
    let request: IpsecTunnelRequest = object(body(content).await?)?;
    change(asked, account, move |draft| {
        tunnels::update(draft, Kind::Ipsec, &id, Wanted::try_from(request.clone())?)?;
        let all = tunnels::ipsec(draft, &draft.typed()?);
        let modified_ipsec_tunnel = one(all, &id, |one| &one.id, "IPsec tunnel")?;
        Ok(IpsecTunnelModified { modified: true, modified_ipsec_tunnel })
    })
    .await
}

/// Removes an IPsec tunnel. Routes into it have to go before.
#[utoipa::path(delete, path = "/accounts/{account_id}/magic/ipsec_tunnels/{ipsec_tunnel_id}", tag = "magic",
    params(("account_id" = String, Path, description = "The tenant"),
        ("validate_only" = Option<bool>, Query, description = "Only say whether it could be done"),
        ("ipsec_tunnel_id" = String, Path, description = "Its identifier")),
    responses((status = 200, body = Envelope<IpsecTunnelDeleted>),
        (status = "default", body = Envelope<Nothing>)))]
async fn delete_ipsec_tunnel(
    asked: Asked,
    Path((account, id)): Path<(String, String)>,
) -> Answer<IpsecTunnelDeleted> {
    change(asked, account, move |draft| {
        let all = tunnels::ipsec(draft, &draft.typed()?);
        let deleted_ipsec_tunnel = one(all, &id, |one| &one.id, "IPsec tunnel")?;
        tunnels::remove(draft, Kind::Ipsec, &id)?;
        Ok(IpsecTunnelDeleted { deleted: true, deleted_ipsec_tunnel })
    })
    .await
}
