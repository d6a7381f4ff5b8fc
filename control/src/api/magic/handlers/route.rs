//! Requests about routes.

use axum::body::Body;
use axum::extract::Path;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{
    Answer, Asked, MAX_BODY_BYTES, Made, answered, body, change, chosen, id_of, json, look, object, objects,
    one,
};
use crate::api::magic::envelope::{Envelope, Nothing};
use crate::api::magic::fields::{Route, RouteRequest};
use crate::api::magic::routes as route_map;
use crate::api::server::{Api, receive};

/// The requests.
pub(super) fn router() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(list_routes, create_routes, update_routes, delete_routes))
        .routes(routes!(get_route, update_route, delete_route))
}

/// All routes.
#[derive(Serialize, ToSchema)]
struct Routes<T> {
    routes: Vec<T>,
}

/// One route.
#[derive(Serialize, ToSchema)]
struct RouteOne {
    route: Route,
}

/// Routes that were changed.
#[derive(Serialize, ToSchema)]
struct RoutesModified {
    modified: bool,
    modified_routes: Vec<Route>,
}

/// A route that was changed.
#[derive(Serialize, ToSchema)]
struct RouteModified {
    modified: bool,
    modified_route: Route,
}

/// Routes that are gone.
#[derive(Serialize, ToSchema)]
struct RoutesDeleted {
    deleted: bool,
    deleted_routes: Vec<Route>,
}

/// A route that is gone.
#[derive(Serialize, ToSchema)]
struct RouteDeleted {
    deleted: bool,
    deleted_route: Route,
}

/// Which routes.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct RouteIds {
    routes: Vec<RouteId>,
}

/// Which route.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct RouteId {
    id: String,
}

/// All routes of an account.
#[utoipa::path(get, path = "/accounts/{account_id}/magic/routes", tag = "magic",
    params(("account_id" = String, Path, description = "The tenant")),
    responses((status = 200, body = Envelope<Routes<Route>>),
        (status = "default", body = Envelope<Nothing>)))]
async fn list_routes(asked: Asked, Path(account): Path<String>) -> Answer<Routes<Route>> {
    look(asked, account, |draft, typed| Ok(Routes { routes: route_map::all(draft, typed) })).await
}

/// Makes routes: one, or a list of them, all or none.
#[utoipa::path(post, path = "/accounts/{account_id}/magic/routes", tag = "magic",
    params(("account_id" = String, Path, description = "The tenant"),
        ("validate_only" = Option<bool>, Query, description = "Only say whether it could be done")),
    request_body = Made<RouteRequest, Routes<RouteRequest>>,
    responses((status = 200, body = Envelope<Made<Route, Routes<Route>>>),
        (status = "default", body = Envelope<Nothing>)))]
async fn create_routes(
    asked: Asked,
    Path(account): Path<String>,
    content: Body,
) -> Answer<Made<Route, Routes<Route>>> {
    let (requests, are_many) = objects::<RouteRequest>(body(content).await?, "routes")?;
    change(asked, account, move |draft| {
        let mut ids = Vec::new();
        for (i, request) in requests.iter().enumerate() {
            let made = route_map::create(draft, request.clone());
            ids.push(made.map_err(|failure| if are_many { failure.of_item(i) } else { failure })?);
        }
        let made = chosen(route_map::all(draft, &draft.typed()?), &ids, |one| &one.id);
        Ok(answered(made, are_many, |routes| Routes { routes }))
    })
    .await
}

/// Changes routes, all or none.
#[utoipa::path(put, path = "/accounts/{account_id}/magic/routes", tag = "magic",
    params(("account_id" = String, Path, description = "The tenant"),
        ("validate_only" = Option<bool>, Query, description = "Only say whether it could be done")),
    request_body = Routes<RouteRequest>,
    responses((status = 200, body = Envelope<RoutesModified>),
        (status = "default", body = Envelope<Nothing>)))]
async fn update_routes(asked: Asked, Path(account): Path<String>, content: Body) -> Answer<RoutesModified> {
    let (requests, _) = objects::<RouteRequest>(body(content).await?, "routes")?;
    change(asked, account, move |draft| {
        let mut ids = Vec::new();
        for (i, request) in requests.iter().enumerate() {
            let changed = id_of(request.id.clone()).and_then(|id| {
                route_map::update(draft, &id, request.clone())?;
                Ok(id)
            });
            ids.push(changed.map_err(|failure| failure.of_item(i))?);
        }
        let modified_routes = chosen(route_map::all(draft, &draft.typed()?), &ids, |one| &one.id);
        Ok(RoutesModified { modified: true, modified_routes })
    })
    .await
}

/// Removes routes: those that are named, or, without a body, all.
#[utoipa::path(delete, path = "/accounts/{account_id}/magic/routes", tag = "magic",
    params(("account_id" = String, Path, description = "The tenant"),
        ("validate_only" = Option<bool>, Query, description = "Only say whether it could be done")),
    request_body = Option<RouteIds>,
    responses((status = 200, body = Envelope<RoutesDeleted>),
        (status = "default", body = Envelope<Nothing>)))]
async fn delete_routes(asked: Asked, Path(account): Path<String>, content: Body) -> Answer<RoutesDeleted> {
    let bytes = receive(content, MAX_BODY_BYTES).await?;
    let named = match bytes.as_ref() {
        b"" => None,
        bytes => Some(object::<RouteIds>(json(bytes)?)?.routes),
    };
    change(asked, account, move |draft| {
        let all = route_map::all(draft, &draft.typed()?);
        let ids: Vec<String> = match &named {
            Some(named) => named.iter().map(|one| one.id.clone()).collect(),
            None => all.iter().map(|one| one.id.clone()).collect(),
        };
        for (i, id) in ids.iter().enumerate() {
            route_map::remove(draft, id).map_err(|failure| failure.of_item(i))?;
        }
        Ok(RoutesDeleted { deleted: true, deleted_routes: chosen(all, &ids, |one| &one.id) })
    })
    .await
}

/// A route.
#[utoipa::path(get, path = "/accounts/{account_id}/magic/routes/{route_id}", tag = "magic",
    params(("account_id" = String, Path, description = "The tenant"),
        ("route_id" = String, Path, description = "Its identifier")),
    responses((status = 200, body = Envelope<RouteOne>),
        (status = "default", body = Envelope<Nothing>)))]
async fn get_route(asked: Asked, Path((account, id)): Path<(String, String)>) -> Answer<RouteOne> {
    look(asked, account, move |draft, typed| {
        Ok(RouteOne { route: one(route_map::all(draft, typed), &id, |one| &one.id, "route")? })
    })
    .await
}

/// Changes a route. What is not named stays as it is.
#[utoipa::path(put, path = "/accounts/{account_id}/magic/routes/{route_id}", tag = "magic",
    params(("account_id" = String, Path, description = "The tenant"),
        ("validate_only" = Option<bool>, Query, description = "Only say whether it could be done"),
        ("route_id" = String, Path, description = "Its identifier")),
    request_body = RouteRequest,
    responses((status = 200, body = Envelope<RouteModified>),
        (status = "default", body = Envelope<Nothing>)))]
async fn update_route(
    asked: Asked,
    Path((account, id)): Path<(String, String)>,
    content: Body,
) -> Answer<RouteModified> {
    let request: RouteRequest = object(body(content).await?)?;
    change(asked, account, move |draft| {
        route_map::update(draft, &id, request.clone())?;
        let modified_route = one(route_map::all(draft, &draft.typed()?), &id, |one| &one.id, "route")?;
        Ok(RouteModified { modified: true, modified_route })
    })
    .await
}

/// Removes a route.
#[utoipa::path(delete, path = "/accounts/{account_id}/magic/routes/{route_id}", tag = "magic",
    params(("account_id" = String, Path, description = "The tenant"),
        ("validate_only" = Option<bool>, Query, description = "Only say whether it could be done"),
        ("route_id" = String, Path, description = "Its identifier")),
    responses((status = 200, body = Envelope<RouteDeleted>),
        (status = "default", body = Envelope<Nothing>)))]
async fn delete_route(asked: Asked, Path((account, id)): Path<(String, String)>) -> Answer<RouteDeleted> {
    change(asked, account, move |draft| {
        let all = route_map::all(draft, &draft.typed()?);
        let deleted_route = one(all, &id, |one| &one.id, "route")?;
        route_map::remove(draft, &id)?;
        Ok(RouteDeleted { deleted: true, deleted_route })
    })
    .await
}
