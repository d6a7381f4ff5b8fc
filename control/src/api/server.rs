//! The server: paths, bounds and who may ask.
//!
//! Every answer is JSON, every error the same envelope. Reads run on a blocking thread. A reload runs in a task of
//! its own: a client that goes away cannot leave half of it undone, and a second one waits for the first.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody, to_bytes};
use axum::extract::connect_info::{ConnectInfo, Connected};
use axum::extract::{Query, Request, State};
use axum::http::{HeaderMap, Uri, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::serve::IncomingStream;
use axum::{Json, Router};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::UnixListener;
use tokio::sync::Mutex;

use super::attention::attention;
use super::error::{ApiError, ErrorCode, MAX_BODY_BYTES};
use super::gateway::Gateway;
use super::history::Past;
use super::page::{files, not_for_other_pages};
use super::types::{ApplyReport, ApplyRequest, DeleteRequest, Page, ReloadReport, ReloadRequest, Status};
use crate::local_socket::{LocalSocket, is_trusted};
use crate::metrics::{self, Scraper};

/// A local client has its body ready; one that does not send it is stuck.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

struct Api {
    gateway: Arc<dyn Gateway>,
    scraper: Scraper,
    reloading: Arc<Mutex<()>>,
    past: Arc<Past>,
}

impl Clone for Api {
    fn clone(&self) -> Self {
        Self {
            gateway: Arc::clone(&self.gateway),
            scraper: self.scraper.clone(),
            reloading: Arc::clone(&self.reloading),
            past: Arc::clone(&self.past),
        }
    }
}

/// Who is at the other end of a connection; `None` when the kernel does not say.
#[derive(Clone, Copy, Debug)]
struct Peer {
    uid: Option<u32>,
}

impl Connected<IncomingStream<'_, UnixListener>> for Peer {
    fn connect_info(stream: IncomingStream<'_, UnixListener>) -> Self {
        Self { uid: stream.io().peer_cred().ok().map(|peer| peer.uid()) }
    }
}

/// Answers on `socket` until `shutdown` resolves and open requests are done.
///
/// # Errors
/// When the socket cannot be registered with the runtime.
pub async fn serve(
    mut socket: LocalSocket,
    gateway: Arc<dyn Gateway>,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    let listener = socket.listen()?;
    let past = Arc::<Past>::default();
    let watch = tokio::spawn(Arc::clone(&past).watch(Arc::clone(&gateway)));
    let app = router(gateway, past).into_make_service_with_connect_info::<Peer>();
    let outcome = axum::serve(listener, app).with_graceful_shutdown(shutdown).await;
    watch.abort();
    outcome
}

fn router(gateway: Arc<dyn Gateway>, past: Arc<Past>) -> Router {
    let page = files().into_iter().fold(Router::new(), |page, (path, file)| page.route(path, file));
    page.route("/v1/show/status", get(show_status))
        .route("/v1/show/ports", get(|api| show(api, |gateway| Page::all(gateway.ports()))))
        .route("/v1/show/cores", get(|api| show(api, |gateway| Page::all(gateway.cores()))))
        .route("/v1/show/drops", get(|api| show(api, |gateway| Page::all(gateway.drops()))))
        .route("/v1/show/crypto", get(|api| show(api, |gateway| gateway.crypto())))
        .route("/v1/show/ready", get(|api| show(api, |gateway| gateway.ready())))
        .route("/v1/show/fleet", get(|api| show(api, |gateway| gateway.fleet())))
        .route("/v1/show/sas", get(|api, uri| show_filtered(api, uri, |gateway, filter| gateway.sas(filter))))
        .route("/v1/show/ike", get(|api, uri| show_filtered(api, uri, |gateway, filter| gateway.ike(filter))))
        .route("/v1/show/config", get(|api| show(api, |gateway| gateway.config())))
        .route(
            "/v1/show/tunnels",
            get(|api, uri| show_filtered(api, uri, |gateway, filter| gateway.tunnels(filter))),
        )
        .route(
            "/v1/show/routes",
            get(|api, uri| show_filtered(api, uri, |gateway, filter| gateway.routes(filter))),
        )
        .route(
            "/v1/show/neighbors",
            get(|api, uri| show_filtered(api, uri, |gateway, filter| gateway.neighbors(filter))),
        )
        .route("/v1/show/history", get(show_history))
        .route("/v1/fleet/tenants", get(|api| show(api, |gateway| Page::all(gateway.tenants()))))
        .route("/v1/fleet/apply", post(apply))
        .route("/v1/fleet/delete", post(delete))
        .route("/v1/reload", post(reload))
        .route(metrics::PATH, get(scrape))
        .fallback(no_such_path)
        .method_not_allowed_fallback(wrong_method)
        .layer(middleware::from_fn(not_for_other_pages))
        .layer(middleware::from_fn(owner_only))
        .with_state(Api {
            scraper: Scraper::new(Arc::clone(&gateway)),
            gateway,
            reloading: Arc::default(),
            past,
        })
}

async fn owner_only(ConnectInfo(peer): ConnectInfo<Peer>, request: Request, next: Next) -> Response {
    if peer.uid.is_some_and(is_trusted) {
        return next.run(request).await;
    }
    tracing::warn!(uid = peer.uid, path = request.uri().path(), "API request of another user refused");
    ApiError::new(ErrorCode::Forbidden, "only root and the user that penstock runs as may use this socket")
        .into_response()
}

async fn show_status(State(api): State<Api>) -> Result<Response, ApiError> {
    read(api, |gateway| {
        let status = gateway.status();
        let attention = attention(&status, &gateway.ports(), &gateway.cores());
        Status { attention, ..status }
    })
    .await
}

async fn scrape(State(api): State<Api>, headers: HeaderMap) -> Response {
    api.scraper.scrape(headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok())).await
}

async fn show_history(State(api): State<Api>) -> Result<Response, ApiError> {
    let past = Arc::clone(&api.past);
    read(api, move |_| past.history()).await
}

async fn show<T: Serialize>(
    State(api): State<Api>,
    rows: impl FnOnce(&dyn Gateway) -> T + Send + 'static,
) -> Result<Response, ApiError> {
    read(api, rows).await
}

async fn show_filtered<F, T>(
    State(api): State<Api>,
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

async fn apply(State(api): State<Api>, body: Body) -> Result<Json<ApplyReport>, ApiError> {
    let request: ApplyRequest = parse(&receive(body, MAX_BODY_BYTES).await?, "a change of tenants")?;
    let task = tokio::spawn(async move { api.gateway.apply(request).await });
    task.await.map_err(|failed| internal("the change", &failed))?.map(Json)
}

async fn delete(State(api): State<Api>, body: Body) -> Result<Json<ApplyReport>, ApiError> {
    let request: DeleteRequest = parse(&receive(body, MAX_BODY_BYTES).await?, "a removal")?;
    let task = tokio::spawn(async move { api.gateway.delete(request).await });
    task.await.map_err(|failed| internal("the removal", &failed))?.map(Json)
}

fn parse<T: DeserializeOwned>(body: &[u8], what: &str) -> Result<T, ApiError> {
    serde_json::from_slice(body)
        .map_err(|error| ApiError::new(ErrorCode::BadRequest, format!("the request is not {what}: {error}")))
}

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

async fn receive(body: Body, limit: usize) -> Result<Bytes, ApiError> {
    // What announces itself as too large is refused at once, what turns out so while it is read.
    if body.size_hint().lower() > limit as u64 {
        return Err(ApiError::too_large());
    }
    let whole = tokio::time::timeout(BODY_TIMEOUT, to_bytes(body, limit)).await.map_err(|_| {
        let seconds = BODY_TIMEOUT.as_secs();
        ApiError::new(ErrorCode::Timeout, format!("the request's body did not arrive within {seconds} s"))
    })?;
    whole.map_err(|error| {
        if is_too_large(&error) {
            ApiError::too_large()
        } else {
            ApiError::new(ErrorCode::BadRequest, format!("the request's body broke off: {error}"))
        }
    })
}

fn is_too_large(error: &axum::Error) -> bool {
    std::error::Error::source(error).is_some_and(|source| source.is::<http_body_util::LengthLimitError>())
}

fn internal(what: &str, failed: &tokio::task::JoinError) -> ApiError {
    tracing::error!(%failed, "{what} failed");
    ApiError::new(ErrorCode::Internal, format!("{what} failed inside the daemon; its log has the details"))
}

async fn no_such_path(uri: Uri) -> ApiError {
    ApiError::new(
        ErrorCode::NotFound,
        format!("{} does not exist; try /v1/show/status or see docs/cli.md", uri.path()),
    )
}

async fn wrong_method(request: Request) -> ApiError {
    ApiError::new(
        ErrorCode::MethodNotAllowed,
        format!("{} does not answer {}", request.uri().path(), request.method()),
    )
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use futures_util::stream;

    use super::receive;
    use crate::api::ErrorCode;

    #[tokio::test]
    async fn a_body_is_bounded_whether_it_announces_its_length_or_not() {
        let piece = || Ok::<_, std::io::Error>("12345");
        let chunked = |pieces: usize| Body::from_stream(stream::iter((0..pieces).map(move |_| piece())));
        assert_eq!(receive(chunked(2), 10).await.unwrap(), "1234512345");
        assert_eq!(receive(chunked(3), 10).await.unwrap_err().code, ErrorCode::TooLarge);
        assert_eq!(receive(Body::from("1234567890"), 10).await.unwrap(), "1234567890");
        assert_eq!(receive(Body::from("12345678901"), 10).await.unwrap_err().code, ErrorCode::TooLarge);
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_never_comes_is_given_up() {
        let never = Body::from_stream(stream::pending::<Result<&str, std::io::Error>>());
        assert_eq!(receive(never, 10).await.unwrap_err().code, ErrorCode::Timeout);
    }
}
