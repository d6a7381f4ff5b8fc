//! The API over TCP: the same requests as on the unix socket, by mutual TLS, for the clients of `api.clients`.
//!
//! Bounds: connections, the time of a handshake, the time until a request's head is there, and (in `server`) the size and
//! time of its body. Who may do what counts from the next request on, new files from the next connection on; connections
//! of before end after the request that is under way.

pub(crate) mod access;
pub(crate) mod tls;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::middleware::{self, Next};
use axum::response::Response;
use hyper::body::Incoming;
use hyper::service::Service;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;

use self::access::Caller;
use super::page::not_for_other_sites;
use super::server::{self, Api, refusal};
use crate::config::ApiConfig;

/// A handshake over any path on earth takes less.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// From the end of a request, or of the handshake, until the head of the next one is there.
const HEAD_TIMEOUT: Duration = Duration::from_secs(60);
/// How long a request under way may take when its connection is to end.
const LAST_REQUEST: Duration = Duration::from_secs(60);
/// Out of sockets, it helps to wait.
const AFTER_FAILURE: Duration = Duration::from_millis(100);

/// On what terms clients are served.
#[derive(Clone)]
pub struct Terms {
    /// Who may do what.
    pub config: ApiConfig,
    /// How TLS is spoken.
    pub tls: Arc<ServerConfig>,
}

/// The listener. It ends, and all its connections with it, when dropped.
pub struct Remote {
    listen: SocketAddr,
    terms: watch::Sender<Arc<Terms>>,
    task: JoinHandle<()>,
}

impl Drop for Remote {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Remote {
    /// Begins to listen.
    ///
    /// # Errors
    /// When the address cannot be listened on.
    pub async fn start(terms: Terms, api: Api) -> io::Result<Self> {
        let listen = terms.config.listen;
        let listener = TcpListener::bind(listen).await?;
        let (terms, served) = watch::channel(Arc::new(terms));
        let app = server::router(api).layer(middleware::from_fn(not_for_other_sites));
        let app = app.layer(middleware::from_fn(authorize));
        let task = tokio::spawn(accept(listener, served, app));
        tracing::info!(%listen, "the API listens");
        Ok(Self { listen, terms, task })
    }

    /// Where it listens.
    pub fn listen(&self) -> SocketAddr {
        self.listen
    }

    /// Serves on other terms from now on, at the same address.
    pub fn set(&self, terms: Terms) {
        self.terms.send_replace(Arc::new(terms));
    }
}

async fn accept(listener: TcpListener, terms: watch::Receiver<Arc<Terms>>, app: Router) {
    let mut open = JoinSet::new();
    let mut is_full = false;
    loop {
        let (stream, from) = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, "a connection to the API was not taken");
                    tokio::time::sleep(AFTER_FAILURE).await;
                    continue;
                }
            },
            Some(_) = open.join_next() => continue,
        };
        let now = Arc::clone(&terms.borrow());
        let room = usize::from(now.config.max_connections);
        if open.len() >= room {
            // Said once, until there is room again.
            if !is_full {
                tracing::warn!(%from, room, "the API has as many connections as api.max_connections allows: more are closed");
            }
            is_full = true;
            continue;
        }
        is_full = false;
        open.spawn(serve(stream, from, now, terms.clone(), app.clone()));
    }
}

/// Serves one connection to its end.
async fn serve(
    stream: TcpStream,
    from: SocketAddr,
    now: Arc<Terms>,
    mut terms: watch::Receiver<Arc<Terms>>,
    app: Router,
) {
    let _ = stream.set_nodelay(true);
    let acceptor = TlsAcceptor::from(Arc::clone(&now.tls));
    let stream = match timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return tracing::debug!(%from, %error, "the API refused a handshake"),
        Err(_) => return tracing::debug!(%from, "a handshake with the API was not ended in time"),
    };
    let certificates = stream.get_ref().1.peer_certificates().unwrap_or_default();
    let Some(certificate) = certificates.first() else { return };
    let names = access::names(certificate);
    let (app, rights) = (TowerToHyperService::new(app), terms.clone());
    let service = hyper::service::service_fn(move |mut request: hyper::Request<Incoming>| {
        // As of this request: a client that is not listed any more has no last one.
        let caller = Caller::new(&names, &rights.borrow().config);
        request.extensions_mut().insert(caller);
        app.call(request)
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    let outcome = tokio::select! {
        outcome = connection.as_mut() => outcome,
        _ = changed(&mut terms, &now) => {
            connection.as_mut().graceful_shutdown();
            match timeout(LAST_REQUEST, connection).await {
                Ok(outcome) => outcome,
                Err(_) => return,
            }
        }
    };
    if let Err(error) = outcome {
        tracing::debug!(%from, %error, "a connection to the API broke");
    }
}

/// Waits until others than these terms hold.
async fn changed(terms: &mut watch::Receiver<Arc<Terms>>, these: &Arc<Terms>) {
    if terms.wait_for(|now| !Arc::ptr_eq(now, these)).await.is_err() {
        std::future::pending::<()>().await;
    }
}

async fn authorize(request: Request, next: Next) -> Response {
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let Some(caller) = request.extensions().get::<Caller>().cloned() else {
        return refusal(&path, server::no_caller());
    };
    if let Err(error) = caller.may(&method, &path) {
        tracing::warn!(client = caller.name(), %method, path, "API request refused: {error}");
        return refusal(&path, error);
    }
    let response = next.run(request).await;
    if method != axum::http::Method::GET {
        let status = response.status().as_u16();
        tracing::info!(client = caller.name(), %method, path, status, "API request");
    }
    response
}
