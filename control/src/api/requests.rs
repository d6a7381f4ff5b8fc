//! The requests of `penstock` itself: tables, reloads, tenants of the fleet.
//!
//! Reads run on a blocking thread. A reload runs in a task of its own: a client that goes away cannot leave half of it
//! undone, and a second one waits for the first.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::{Query, State};
use axum::http::Uri;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde::de::DeserializeOwned;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::attention::attention;
use super::error::{ApiError, ErrorBody, ErrorCode, MAX_BODY_BYTES};
use super::filter::{IkeFilter, NeighborFilter, RouteFilter, SaFilter, TunnelFilter};
use super::gateway::Gateway;
use super::schema;
use super::server::{Api, internal, receive};
use super::types::{
    ApplyReport, ApplyRequest, CoreRow, Crypto, DeleteRequest, DropRow, Fleet, History, Ike, NeighborRow,
    Page, PortRow, Readiness, ReloadReport, ReloadRequest, RouteRow, RunningConfig, SaRow, Status,
    TenantObject, TunnelRow,
};

/// All of them.
pub(super) fn router() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(show_status))
        .routes(routes!(show_ports))
        .routes(routes!(show_cores))
        .routes(routes!(show_drops))
        .routes(routes!(show_crypto))
        .routes(routes!(show_ready))
        .routes(routes!(show_fleet))
        .routes(routes!(show_sas))
        .routes(routes!(show_ike))
        .routes(routes!(show_config))
        .routes(routes!(show_tunnels))
        .routes(routes!(show_routes))
        .routes(routes!(show_neighbors))
        .routes(routes!(show_history))
        .routes(routes!(list_tenants))
        .routes(routes!(apply))
        .routes(routes!(delete))
        .routes(routes!(reload))
        .routes(routes!(openapi))
}

/// The gateway at a glance, and what needs attention.
#[utoipa::path(get, path = "/v1/show/status", tag = "show",
    responses((status = 200, body = Status), (status = "default", body = ErrorBody)))]
async fn show_status(State(api): State<Api>) -> Result<Response, ApiError> {
    read(api, |gateway| {
        let status = gateway.status();
        let attention = attention(&status, &gateway.ports(), &gateway.cores());
        Status { attention, ..status }
    })
    .await
}

/// All ports.
#[utoipa::path(get, path = "/v1/show/ports", tag = "show",
    responses((status = 200, body = Page<PortRow>), (status = "default", body = ErrorBody)))]
async fn show_ports(State(api): State<Api>) -> Result<Response, ApiError> {
    read(api, |gateway| Page::all(gateway.ports())).await
}

/// All cores.
#[utoipa::path(get, path = "/v1/show/cores", tag = "show",
    responses((status = 200, body = Page<CoreRow>), (status = "default", body = ErrorBody)))]
async fn show_cores(State(api): State<Api>) -> Result<Response, ApiError> {
    read(api, |gateway| Page::all(gateway.cores())).await
}

/// All reasons for which packets are dropped, and how many were.
#[utoipa::path(get, path = "/v1/show/drops", tag = "show",
    responses((status = 200, body = Page<DropRow>), (status = "default", body = ErrorBody)))]
async fn show_drops(State(api): State<Api>) -> Result<Response, ApiError> {
    read(api, |gateway| Page::all(gateway.drops())).await
}

/// What encrypts, and which workers may.
#[utoipa::path(get, path = "/v1/show/crypto", tag = "show",
    responses((status = 200, body = Crypto), (status = "default", body = ErrorBody)))]
async fn show_crypto(State(api): State<Api>) -> Result<Response, ApiError> {
    read(api, |gateway| gateway.crypto()).await
}

/// Whether this node may be sent traffic, and why not.
#[utoipa::path(get, path = "/v1/show/ready", tag = "show",
    responses((status = 200, body = Readiness), (status = "default", body = ErrorBody)))]
async fn show_ready(State(api): State<Api>) -> Result<Response, ApiError> {
    read(api, |gateway| gateway.ready()).await
}

/// The fleet as this node sees it.
#[utoipa::path(get, path = "/v1/show/fleet", tag = "show",
    responses((status = 200, body = Fleet), (status = "default", body = ErrorBody)))]
async fn show_fleet(State(api): State<Api>) -> Result<Response, ApiError> {
    read(api, |gateway| gateway.fleet()).await
}

/// Security associations. A key is never shown.
#[utoipa::path(get, path = "/v1/show/sas", tag = "show", params(SaFilter),
    responses((status = 200, body = Page<SaRow>), (status = "default", body = ErrorBody)))]
async fn show_sas(State(api): State<Api>, uri: Uri) -> Result<Response, ApiError> {
    filtered(api, uri, |gateway, filter: &SaFilter| gateway.sas(filter)).await
}

/// The IKE daemon, and tunnels that negotiate.
#[utoipa::path(get, path = "/v1/show/ike", tag = "show", params(IkeFilter),
    responses((status = 200, body = Ike), (status = "default", body = ErrorBody)))]
async fn show_ike(State(api): State<Api>, uri: Uri) -> Result<Response, ApiError> {
    filtered(api, uri, |gateway, filter: &IkeFilter| gateway.ike(filter)).await
}

/// The configuration that runs.
#[utoipa::path(get, path = "/v1/show/config", tag = "show",
    responses((status = 200, body = RunningConfig), (status = "default", body = ErrorBody)))]
async fn show_config(State(api): State<Api>) -> Result<Response, ApiError> {
    read(api, |gateway| gateway.config()).await
}

/// Tunnels.
#[utoipa::path(get, path = "/v1/show/tunnels", tag = "show", params(TunnelFilter),
    responses((status = 200, body = Page<TunnelRow>), (status = "default", body = ErrorBody)))]
async fn show_tunnels(State(api): State<Api>, uri: Uri) -> Result<Response, ApiError> {
    filtered(api, uri, |gateway, filter: &TunnelFilter| gateway.tunnels(filter)).await
}

/// Routes of tenants and of the underlay.
#[utoipa::path(get, path = "/v1/show/routes", tag = "show", params(RouteFilter),
    responses((status = 200, body = Page<RouteRow>), (status = "default", body = ErrorBody)))]
async fn show_routes(State(api): State<Api>, uri: Uri) -> Result<Response, ApiError> {
    filtered(api, uri, |gateway, filter: &RouteFilter| gateway.routes(filter)).await
}

/// Neighbours of the underlay.
#[utoipa::path(get, path = "/v1/show/neighbors", tag = "show", params(NeighborFilter),
    responses((status = 200, body = Page<NeighborRow>), (status = "default", body = ErrorBody)))]
async fn show_neighbors(State(api): State<Api>, uri: Uri) -> Result<Response, ApiError> {
    filtered(api, uri, |gateway, filter: &NeighborFilter| gateway.neighbors(filter)).await
}

/// The last hour.
#[utoipa::path(get, path = "/v1/show/history", tag = "show",
    responses((status = 200, body = History), (status = "default", body = ErrorBody)))]
async fn show_history(State(api): State<Api>) -> Result<Response, ApiError> {
    let past = Arc::clone(&api.past);
    read(api, move |_| past.history()).await
}

/// The tenants of the fleet's store.
#[utoipa::path(get, path = "/v1/fleet/tenants", tag = "fleet",
    responses((status = 200, body = Page<TenantObject>), (status = "default", body = ErrorBody)))]
async fn list_tenants(State(api): State<Api>) -> Result<Response, ApiError> {
    read(api, |gateway| Page::all(gateway.tenants())).await
}

/// Makes tenants of the fleet's store what a text says, all or none.
#[utoipa::path(post, path = "/v1/fleet/apply", tag = "fleet", request_body = ApplyRequest,
    responses((status = 200, body = ApplyReport), (status = "default", body = ErrorBody)))]
async fn apply(State(api): State<Api>, body: Body) -> Result<Json<ApplyReport>, ApiError> {
    let request: ApplyRequest = parse(&receive(body, MAX_BODY_BYTES).await?, "a change of tenants")?;
    let task = tokio::spawn(async move { api.gateway.apply(request).await });
    task.await.map_err(|failed| internal("the change", &failed))?.map(Json)
}

/// Takes a tenant, or one of its tunnels, out of the fleet's store.
#[utoipa::path(post, path = "/v1/fleet/delete", tag = "fleet", request_body = DeleteRequest,
    responses((status = 200, body = ApplyReport), (status = "default", body = ErrorBody)))]
async fn delete(State(api): State<Api>, body: Body) -> Result<Json<ApplyReport>, ApiError> {
    let request: DeleteRequest = parse(&receive(body, MAX_BODY_BYTES).await?, "a removal")?;
    let task = tokio::spawn(async move { api.gateway.delete(request).await });
    task.await.map_err(|failed| internal("the removal", &failed))?.map(Json)
}

/// Makes another configuration the running one. Without a body the daemon reads its own file again.
#[utoipa::path(post, path = "/v1/reload", tag = "node", request_body = Option<ReloadRequest>,
    responses((status = 200, body = ReloadReport), (status = "default", body = ErrorBody)))]
async fn reload(State(api): State<Api>, body: Body) -> Result<Json<ReloadReport>, ApiError> {
    let body = receive(body, MAX_BODY_BYTES).await?;
    let request: ReloadRequest =
        if body.is_empty() { ReloadRequest::default() } else { parse(&body, "a reload")? };
    let task = tokio::spawn(async move {
        let _alone = api.reloading.lock().await;
        api.gateway.reload(request).await
    });
    task.await.map_err(|failed| internal("the reload", &failed))?.map(Json)
}

/// This description.
#[utoipa::path(get, path = "/v1/openapi.json", tag = "node",
    responses((status = 200, body = Object), (status = "default", body = ErrorBody)))]
async fn openapi() -> Result<Response, ApiError> {
    tokio::task::spawn_blocking(|| Json(schema::openapi()).into_response())
        .await
        .map_err(|failed| internal("the description", &failed))
}

async fn filtered<F, T>(
    api: Api,
    uri: Uri,
    rows: impl FnOnce(&dyn Gateway, &F) -> T + Send + 'static,
) -> Result<Response, ApiError>
where
    F: DeserializeOwned + Send + 'static,
    T: Serialize,
{
    let Query(filter) = Query::<F>::try_from_uri(&uri)
        .map_err(|rejection| ApiError::new(ErrorCode::BadRequest, rejection.body_text()))?;
    read(api, move |gateway| rows(gateway, &filter)).await
}

/// Makes rows and their JSON on a blocking thread.
async fn read<T: Serialize>(
    api: Api,
    rows: impl FnOnce(&dyn Gateway) -> T + Send + 'static,
) -> Result<Response, ApiError> {
    tokio::task::spawn_blocking(move || Json(rows(&*api.gateway)).into_response())
        .await
        .map_err(|failed| internal("reading the tables", &failed))
}

pub(super) fn parse<T: DeserializeOwned>(body: &[u8], what: &str) -> Result<T, ApiError> {
    serde_json::from_slice(body)
        .map_err(|error| ApiError::new(ErrorCode::BadRequest, format!("the request is not {what}: {error}")))
}
