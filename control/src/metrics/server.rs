//! `/metrics`: the answer to a scrape, and the listener that serves nothing else.
//!
//! The listener is plain HTTP and read only. It has a bound on connections and on the time that each may take, so that
//! whoever reaches it can neither use up the process' files nor its memory.

use std::convert::Infallible;
use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::{Method, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use thiserror::Error;
use tokio::net::TcpListener;
use tokio::sync::{Mutex, Semaphore};
use tokio::time::{sleep, timeout};

use super::format::Format;
use super::reading::Reading;
use crate::api::Gateway;

/// Where it is, on either listener.
pub(crate) const PATH: &str = "/metrics";
/// Connections at a time; more wait.
const MAX_CONNECTIONS: usize = 16;
/// A scrape of very many tunnels takes seconds, and one that takes longer than this is worth nothing any more.
const PATIENCE: Duration = Duration::from_secs(30);
/// After an accept that failed, for want of files most likely.
const PAUSE: Duration = Duration::from_secs(1);

/// Why metrics are not served.
#[derive(Debug, Error)]
#[error(
    "metrics.listen: cannot listen on {address}: {source}; write an address of this host that is not one of our ports' \
     (those are in the twins' namespace), and a TCP port that is free"
)]
pub struct MetricsError {
    address: SocketAddr,
    source: io::Error,
}

/// Takes readings, one at a time: each takes memory for all that it writes.
#[derive(Clone)]
pub(crate) struct Scraper {
    gateway: Arc<dyn Gateway>,
    alone: Arc<Mutex<()>>,
}

impl Scraper {
    pub(crate) fn new(gateway: Arc<dyn Gateway>) -> Self {
        Self { gateway, alone: Arc::default() }
    }

    /// The answer to a scrape with this `Accept` header.
    pub(crate) async fn scrape(&self, accept: Option<&str>) -> Response<Body> {
        let format = Format::wanted(accept);
        let _alone = self.alone.lock().await;
        let gateway = Arc::clone(&self.gateway);
        let written = tokio::task::spawn_blocking(move || Reading::take(&*gateway).written(format)).await;
        match written {
            Ok(text) => {
                let typed = Response::builder().header(header::CONTENT_TYPE, format.content_type());
                typed.body(text.into()).unwrap_or_default()
            }
            Err(error) => {
                tracing::error!(%error, "metrics could not be read");
                refusal(StatusCode::INTERNAL_SERVER_ERROR, "the daemon's log has the details\n")
            }
        }
    }
}

/// A TCP listener that serves metrics.
#[derive(Debug)]
pub struct Listening {
    listener: StdListener,
    address: SocketAddr,
}

impl Listening {
    /// Takes the address.
    ///
    /// # Errors
    /// When the address is not ours or its port is taken.
    pub fn bind(address: SocketAddr) -> Result<Self, MetricsError> {
        let bound = StdListener::bind(address).and_then(|listener| {
            listener.set_nonblocking(true)?;
            let address = listener.local_addr()?;
            Ok(Self { listener, address })
        });
        bound.map_err(|source| MetricsError { address, source })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers scrapes, for ever.
    ///
    /// # Errors
    /// When the listener cannot be registered with the runtime.
    pub async fn serve(self, gateway: Arc<dyn Gateway>) -> io::Result<()> {
        let listener = TcpListener::from_std(self.listener)?;
        let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        let scraper = Scraper::new(gateway);
        loop {
            // Never closed.
            let Ok(place) = Arc::clone(&places).acquire_owned().await else { return Ok(()) };
            let stream = match listener.accept().await {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::debug!(%error, "a scrape could not be accepted");
                    sleep(PAUSE).await;
                    continue;
                }
            };
            let scraper = scraper.clone();
            tokio::spawn(async move {
                let service = service_fn(move |request| answer(scraper.clone(), request));
                let connection =
                    http1::Builder::new().keep_alive(false).serve_connection(TokioIo::new(stream), service);
                // Whoever asked may have gone away, or be slow; neither is ours to mend.
                let _ = timeout(PATIENCE, connection).await;
                drop(place);
            });
        }
    }
}

async fn answer(scraper: Scraper, request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
    if request.uri().path() != PATH {
        return Ok(refusal(StatusCode::NOT_FOUND, "only /metrics is served here\n"));
    }
    if request.method() != Method::GET {
        return Ok(refusal(StatusCode::METHOD_NOT_ALLOWED, "/metrics answers GET only\n"));
    }
    let accept = request.headers().get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
    Ok(scraper.scrape(accept).await)
}

fn refusal(status: StatusCode, why: &'static str) -> Response<Body> {
    let mut response = Response::new(Body::from(why));
    *response.status_mut() = status;
    response
}
