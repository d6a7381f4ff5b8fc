//! The server: what both listeners have in common, and the one on the unix socket.
//!
//! Every answer is JSON. Requests are in `requests` and `magic`; here are their bounds, who may ask over the unix socket,
//! and what is said where there is no such request.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes, HttpBody, to_bytes};
use axum::extract::connect_info::{ConnectInfo, Connected};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Uri, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::serve::IncomingStream;
use tokio::net::UnixListener;
use tokio::sync::Mutex;
use utoipa_axum::router::OpenApiRouter;

use super::error::{ApiError, ErrorCode};
use super::gateway::Gateway;
use super::history::Past;
use super::magic::{self, Failure};
use super::page::{files, not_for_other_pages};
use super::remote::access::SCHEMA;
use super::{requests, watches};
use crate::local_socket::{LocalSocket, is_trusted};
use crate::metrics::{self, Scraper};

/// A client has its body ready; one that does not send it is stuck.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// What requests work with, whichever way they come.
#[derive(Clone)]
pub struct Api {
    pub(super) gateway: Arc<dyn Gateway>,
    pub(super) scraper: Scraper,
    /// Reloads run one at a time,
    pub(super) reloading: Arc<Mutex<()>>,
    /// and so do changes of accounts: those of this node do not get in each other's way.
    pub(super) changing: Arc<Mutex<()>>,
    pub(super) past: Arc<Past>,
}

impl Api {
    /// Answers for this gateway.
    pub fn new(gateway: Arc<dyn Gateway>) -> Self {
        Self {
            scraper: Scraper::new(Arc::clone(&gateway)),
            gateway,
            reloading: Arc::default(),
            changing: Arc::default(),
            past: Arc::default(),
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
    api: Api,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    let listener = socket.listen()?;
    let watch = tokio::spawn(Arc::clone(&api.past).watch(Arc::clone(&api.gateway)));
    let app = router(api).layer(middleware::from_fn(not_for_other_pages));
    let app = app.layer(middleware::from_fn(owner_only)).into_make_service_with_connect_info::<Peer>();
    let outcome = axum::serve(listener, app).with_graceful_shutdown(shutdown).await;
    watch.abort();
    outcome
}

/// All requests, and how they are described.
pub(super) fn described() -> OpenApiRouter<Api> {
    requests::router().merge(watches::router()).nest(magic::NESTED, magic::router())
}

/// All requests, for whoever gets here, and the status page.
pub(super) fn router(api: Api) -> Router {
    let (described, _) = described().split_for_parts();
    // Also without the prefix, which is of another's addresses.
    let (accounts, _) = magic::router().split_for_parts();
    let page = files().into_iter().fold(Router::new(), |page, (path, file)| page.route(path, file));
    let page = page.route(metrics::PATH, get(scrape));
    let all = page.merge(described).merge(accounts);
    all.fallback(no_such_path).method_not_allowed_fallback(wrong_method).with_state(api)
}

async fn owner_only(ConnectInfo(peer): ConnectInfo<Peer>, request: Request, next: Next) -> Response {
    if peer.uid.is_some_and(is_trusted) {
        return next.run(request).await;
    }
    let path = request.uri().path();
    tracing::warn!(uid = peer.uid, path, "API request of another user refused");
    let message = "only root and the user that penstock runs as may use this socket";
    refusal(path, ApiError::new(ErrorCode::Forbidden, message))
}

/// An error in the form that the clients of a path expect.
pub(super) fn refusal(path: &str, error: ApiError) -> Response {
    let below = path.strip_prefix(magic::NESTED).unwrap_or(path);
    if below.starts_with("/accounts") { Failure::from(error).into_response() } else { error.into_response() }
}

async fn scrape(State(api): State<Api>, headers: HeaderMap) -> Response {
    api.scraper.scrape(headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok())).await
}

/// What is said when nobody looked who asks.
pub(super) fn no_caller() -> ApiError {
    ApiError::new(ErrorCode::Forbidden, "the connection has shown no certificate")
}

/// The body of a request, up to so many bytes.
pub(super) async fn receive(body: Body, limit: usize) -> Result<Bytes, ApiError> {
    // What announces itself as too large is refused at once, what turns out so while it is read.
    if body.size_hint().lower() > limit as u64 {
        return Err(ApiError::too_large(limit));
    }
    let whole = tokio::time::timeout(BODY_TIMEOUT, to_bytes(body, limit)).await.map_err(|_| {
        let seconds = BODY_TIMEOUT.as_secs();
        ApiError::new(ErrorCode::Timeout, format!("the request's body did not arrive within {seconds} s"))
    })?;
    whole.map_err(|error| {
        if is_too_large(&error) {
            ApiError::too_large(limit)
        } else {
            ApiError::new(ErrorCode::BadRequest, format!("the request's body broke off: {error}"))
        }
    })
}

fn is_too_large(error: &axum::Error) -> bool {
    std::error::Error::source(error).is_some_and(|source| source.is::<http_body_util::LengthLimitError>())
}

/// Something of ours failed.
pub(super) fn internal(what: &str, failed: &tokio::task::JoinError) -> ApiError {
    tracing::error!(%failed, "{what} failed");
    ApiError::new(ErrorCode::Internal, format!("{what} failed inside the daemon; its log has the details"))
}

async fn no_such_path(uri: Uri) -> Response {
    let message = format!("{} does not exist; try {SCHEMA} or see docs/api.md", uri.path());
    refusal(uri.path(), ApiError::new(ErrorCode::NotFound, message))
}

async fn wrong_method(request: Request) -> Response {
    let path = request.uri().path();
    let message = format!("{path} does not answer {}", request.method());
    refusal(path, ApiError::new(ErrorCode::MethodNotAllowed, message))
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
