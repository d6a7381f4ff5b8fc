//! The client: one connection per request, with a bound on every wait.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use axum::body::Bytes;
use axum::http::{Method, Request, Response, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;
use tokio::net::UnixStream;
use tokio::task::JoinHandle;

use super::error::{ApiError, ErrorBody, MAX_BODY_BYTES};
use super::filter::{IkeFilter, NeighborFilter, RouteFilter, SaFilter, TunnelFilter};
use super::stream;
use super::types::{
    ApplyReport, ApplyRequest, CaptureRequest, Caught, CoreRow, Crypto, DeleteRequest, DropRow, Fleet, Ike,
    NeighborRow, Page, PortRow, Readiness, ReloadReport, ReloadRequest, RouteRow, RunningConfig, SaRow,
    Status, StopRequest, TenantObject, TraceRequest, TunnelRow, WhyAnswer, WhyRequest,
};

/// A million routes as JSON take a few seconds.
const SHOW_TIMEOUT: Duration = Duration::from_secs(30);

/// Compiling a million routes and handing them to all workers.
const RELOAD_TIMEOUT: Duration = Duration::from_secs(300);

/// Why there is no answer.
#[derive(Debug, Error)]
pub enum ClientError {
    /// Nobody listens.
    #[error(
        "the gateway is not running: nothing listens on {}\n  \
         fix: start it with `penstock run -c FILE`; if it has another node.socket, name that one with --socket",
        path.display()
    )]
    NotRunning {
        /// The socket.
        path: PathBuf,
    },
    /// Not for this user.
    #[error(
        "no permission to open {}\n  fix: run as root or as the user that penstock runs as (sudo penstock ...)",
        path.display()
    )]
    Denied {
        /// The socket.
        path: PathBuf,
    },
    /// It listens but does not answer.
    #[error("the gateway did not answer within {seconds} s; its log tells what it is busy with")]
    Timeout {
        /// The patience.
        seconds: u64,
    },
    /// It said no.
    #[error(transparent)]
    Refused(#[from] ApiError),
    /// The connection broke.
    #[error("the connection to {} broke: {detail}", path.display())]
    Broken {
        /// The socket.
        path: PathBuf,
        /// How.
        detail: String,
    },
    /// The answer makes no sense.
    #[error("{} gave an answer that this version does not understand: {detail}", path.display())]
    Protocol {
        /// The socket.
        path: PathBuf,
        /// What.
        detail: String,
    },
}

/// Asks a running gateway.
#[derive(Clone, Debug)]
pub struct Client {
    path: PathBuf,
}

/// A capture or a trace on its way. Dropping it ends it.
#[derive(Debug)]
pub struct Watched {
    id: u64,
    client: Client,
    body: Incoming,
    caught: Option<Caught>,
    driver: JoinHandle<Result<(), hyper::Error>>,
}

impl Watched {
    /// Its number, to stop it by.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// The next piece; `None` at the end.
    ///
    /// # Errors
    /// When the connection breaks.
    pub async fn next(&mut self) -> Result<Option<Bytes>, ClientError> {
        while let Some(frame) = self.body.frame().await {
            let frame = frame.map_err(|error| self.client.broken(error))?;
            match frame.into_data() {
                Ok(bytes) => return Ok(Some(bytes)),
                Err(frame) => self.caught = frame.trailers_ref().and_then(stream::caught_of),
            }
        }
        Ok(None)
    }

    /// How it went; known when the end has come.
    pub fn caught(&self) -> Option<Caught> {
        self.caught
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Client {
    /// A client for the daemon behind `socket`. Connects only when asked something.
    pub fn new(socket: impl Into<PathBuf>) -> Self {
        Self { path: socket.into() }
    }

    /// The socket it asks.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The gateway at a glance.
    pub async fn status(&self) -> Result<Status, ClientError> {
        self.show("status", &()).await
    }

    /// All ports.
    pub async fn ports(&self) -> Result<Page<PortRow>, ClientError> {
        self.show("ports", &()).await
    }

    /// All cores.
    pub async fn cores(&self) -> Result<Page<CoreRow>, ClientError> {
        self.show("cores", &()).await
    }

    /// Tunnels that match.
    pub async fn tunnels(&self, filter: &TunnelFilter) -> Result<Page<TunnelRow>, ClientError> {
        self.show("tunnels", filter).await
    }

    /// Security associations that match.
    pub async fn sas(&self, filter: &SaFilter) -> Result<Page<SaRow>, ClientError> {
        self.show("sas", filter).await
    }

    /// The IKE daemon, and negotiated tunnels that match.
    pub async fn ike(&self, filter: &IkeFilter) -> Result<Ike, ClientError> {
        self.show("ike", filter).await
    }

    /// Whether the node may be sent traffic.
    pub async fn ready(&self) -> Result<Readiness, ClientError> {
        self.show("ready", &()).await
    }

    /// The fleet as the node sees it.
    pub async fn fleet(&self) -> Result<Fleet, ClientError> {
        self.show("fleet", &()).await
    }

    /// What encrypts, and who may.
    pub async fn crypto(&self) -> Result<Crypto, ClientError> {
        self.show("crypto", &()).await
    }

    /// Routes that match.
    pub async fn routes(&self, filter: &RouteFilter) -> Result<Page<RouteRow>, ClientError> {
        self.show("routes", filter).await
    }

    /// Neighbours that match.
    pub async fn neighbors(&self, filter: &NeighborFilter) -> Result<Page<NeighborRow>, ClientError> {
        self.show("neighbors", filter).await
    }

    /// All drop reasons.
    pub async fn drops(&self) -> Result<Page<DropRow>, ClientError> {
        self.show("drops", &()).await
    }

    /// The running configuration.
    pub async fn config(&self) -> Result<RunningConfig, ClientError> {
        self.show("config", &()).await
    }

    /// Makes another configuration the running one, or says what that would change.
    pub async fn reload(&self, request: &ReloadRequest) -> Result<ReloadReport, ClientError> {
        self.post("/v1/reload", request).await
    }

    /// The tenants of the fleet's store.
    pub async fn tenants(&self) -> Result<Page<TenantObject>, ClientError> {
        self.ask(Method::GET, "/v1/fleet/tenants", Bytes::new(), SHOW_TIMEOUT).await
    }

    /// Changes tenants of the fleet's store, or says what that would change.
    pub async fn apply(&self, request: &ApplyRequest) -> Result<ApplyReport, ClientError> {
        self.post("/v1/fleet/apply", request).await
    }

    /// Takes a tenant or a tunnel out of the fleet's store, or says what that would change.
    pub async fn delete(&self, request: &DeleteRequest) -> Result<ApplyReport, ClientError> {
        self.post("/v1/fleet/delete", request).await
    }

    /// Begins to capture packets: a pcapng file comes, piece by piece.
    pub async fn capture(&self, request: &CaptureRequest) -> Result<Watched, ClientError> {
        self.watch("/v1/capture", request).await
    }

    /// Begins to trace packets: a line of JSON for each comes, a [`super::TraceRow`].
    pub async fn trace(&self, request: &TraceRequest) -> Result<Watched, ClientError> {
        self.watch("/v1/trace", request).await
    }

    /// Ends a capture or a trace. What has been caught still comes.
    pub async fn stop_watching(&self, id: u64) -> Result<StopRequest, ClientError> {
        self.post("/v1/watch/stop", &StopRequest { id }).await
    }

    /// What would happen to a packet.
    pub async fn why(&self, request: &WhyRequest) -> Result<WhyAnswer, ClientError> {
        self.post("/v1/why", request).await
    }

    async fn watch(&self, path: &str, request: &impl Serialize) -> Result<Watched, ClientError> {
        let body = serde_json::to_vec(request).map_err(|error| self.protocol(error))?;
        let send = self.send(Method::POST, path, body.into());
        let (response, driver) = tokio::time::timeout(SHOW_TIMEOUT, send)
            .await
            .map_err(|_| ClientError::Timeout { seconds: SHOW_TIMEOUT.as_secs() })??;
        if !response.status().is_success() {
            let body = response.into_body().collect().await.map_err(|error| self.broken(error))?.to_bytes();
            driver.abort();
            return Err(self.refusal(&body));
        }
        let id = stream::id_of(response.headers()).ok_or_else(|| self.protocol("it has no number"))?;
        Ok(Watched { id, client: self.clone(), body: response.into_body(), caught: None, driver })
    }

    async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        request: &impl Serialize,
    ) -> Result<T, ClientError> {
        let body = serde_json::to_vec(request).map_err(|error| self.protocol(error))?;
        // The server would refuse it too, but closes the connection while we still write.
        if body.len() > MAX_BODY_BYTES {
            return Err(ApiError::too_large(MAX_BODY_BYTES).into());
        }
        self.ask(Method::POST, path, body.into(), RELOAD_TIMEOUT).await
    }

    async fn show<T: DeserializeOwned>(&self, what: &str, filter: &impl Serialize) -> Result<T, ClientError> {
        let query = serde_urlencoded::to_string(filter).map_err(|error| self.protocol(error))?;
        let path =
            if query.is_empty() { format!("/v1/show/{what}") } else { format!("/v1/show/{what}?{query}") };
        self.ask(Method::GET, &path, Bytes::new(), SHOW_TIMEOUT).await
    }

    async fn ask<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
        patience: Duration,
    ) -> Result<T, ClientError> {
        tokio::time::timeout(patience, self.exchange(method, path, body))
            .await
            .map_err(|_| ClientError::Timeout { seconds: patience.as_secs() })?
    }

    async fn exchange<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<T, ClientError> {
        let (response, driver) = self.send(method, path, body).await?;
        let success = response.status().is_success();
        let body = response.into_body().collect().await.map_err(|error| self.broken(error))?.to_bytes();
        driver.abort();
        if success {
            return serde_json::from_slice(&body).map_err(|error| self.protocol(error));
        }
        Err(self.refusal(&body))
    }

    /// Sends a request and waits for the head of the answer. The task drives the connection.
    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<(Response<Incoming>, JoinHandle<Result<(), hyper::Error>>), ClientError> {
        let stream = UnixStream::connect(&self.path).await.map_err(|error| self.unreachable(&error))?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| self.broken(error))?;
        let driver = tokio::spawn(connection);
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, "localhost")
            .header(header::CONTENT_TYPE, "application/json")
            // What is known only at the end of a capture.
            .header(header::TE, "trailers")
            .body(Full::new(body))
            .map_err(|error| self.protocol(error))?;
        let response = sender.send_request(request).await.map_err(|error| self.broken(error))?;
        Ok((response, driver))
    }

    fn refusal(&self, body: &[u8]) -> ClientError {
        match serde_json::from_slice::<ErrorBody>(body) {
            Ok(refusal) => refusal.error.into(),
            Err(error) => self.protocol(error),
        }
    }

    fn unreachable(&self, error: &io::Error) -> ClientError {
        let path = self.path.clone();
        match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => ClientError::NotRunning { path },
            io::ErrorKind::PermissionDenied => ClientError::Denied { path },
            _ => self.broken(error),
        }
    }

    fn broken(&self, detail: impl ToString) -> ClientError {
        ClientError::Broken { path: self.path.clone(), detail: detail.to_string() }
    }

    fn protocol(&self, detail: impl ToString) -> ClientError {
        ClientError::Protocol { path: self.path.clone(), detail: detail.to_string() }
    }
}
