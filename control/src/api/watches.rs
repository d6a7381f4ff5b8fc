//! The requests that look at packets: captures, traces, and what would happen to one.
//!
//! Each begins in a task of its own: a client that goes away meanwhile leaves nothing half begun.

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::error::{ApiError, ErrorBody, ErrorCode, MAX_BODY_BYTES};
use super::requests::parse;
use super::server::{Api, internal, receive};
use super::types::{CaptureRequest, StopRequest, TraceRequest, TraceRow, WhyAnswer, WhyRequest};

/// All of them.
pub(super) fn router() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(capture))
        .routes(routes!(trace))
        .routes(routes!(stop_watching))
        .routes(routes!(why))
}

/// Packets as a pcapng file, until the request's limits, `/v1/watch/stop` with the number in the header
/// `penstock-watch`, or until the client goes away.
///
/// The trailers `penstock-caught`, `penstock-missed` and `penstock-seen` say how it went.
#[utoipa::path(post, path = "/v1/capture", tag = "packets", request_body = CaptureRequest,
    responses((status = 200, body = Vec<u8>, content_type = "application/x-pcapng"), (status = "default", body = ErrorBody)))]
async fn capture(State(api): State<Api>, body: Body) -> Result<Response, ApiError> {
    let request: CaptureRequest = parse(&receive(body, MAX_BODY_BYTES).await?, "a capture")?;
    let task = tokio::spawn(async move { api.gateway.capture(request).await });
    Ok(task.await.map_err(|failed| internal("the capture", &failed))??.into_response())
}

/// Packets' ways through the stages, one object a line, until the same ends as a capture.
#[utoipa::path(post, path = "/v1/trace", tag = "packets", request_body = TraceRequest,
    responses((status = 200, body = TraceRow, content_type = "application/x-ndjson"), (status = "default", body = ErrorBody)))]
async fn trace(State(api): State<Api>, body: Body) -> Result<Response, ApiError> {
    let request: TraceRequest = parse(&receive(body, MAX_BODY_BYTES).await?, "a trace")?;
    let task = tokio::spawn(async move { api.gateway.trace(request).await });
    Ok(task.await.map_err(|failed| internal("the trace", &failed))??.into_response())
}

/// Ends a capture or a trace; what was caught is still handed over.
#[utoipa::path(post, path = "/v1/watch/stop", tag = "packets", request_body = StopRequest,
    responses((status = 200, body = StopRequest), (status = "default", body = ErrorBody)))]
async fn stop_watching(State(api): State<Api>, body: Body) -> Result<Json<StopRequest>, ApiError> {
    let request: StopRequest = parse(&receive(body, MAX_BODY_BYTES).await?, "the number of a capture")?;
    if api.gateway.stop_watching(request) {
        return Ok(Json(request));
    }
    let message = format!("no capture or trace has the number {}; it has ended already", request.id);
    Err(ApiError::new(ErrorCode::NotFound, message))
}

/// What would become of a packet that nobody has sent, by the real code over the live tables.
#[utoipa::path(post, path = "/v1/why", tag = "packets", request_body = WhyRequest,
    responses((status = 200, body = WhyAnswer), (status = "default", body = ErrorBody)))]
async fn why(State(api): State<Api>, body: Body) -> Result<Json<WhyAnswer>, ApiError> {
    let request: WhyRequest = parse(&receive(body, MAX_BODY_BYTES).await?, "a packet")?;
    let task = tokio::task::spawn_blocking(move || api.gateway.why(&request));
    task.await.map_err(|failed| internal("the rehearsal", &failed))?.map(Json)
}
