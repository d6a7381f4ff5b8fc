//! Requests as any HTTP client makes them.

use std::path::Path;

use axum::body::Bytes;
use axum::http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::UnixStream;

/// One request over a connection of its own; a `Null` body is none.
pub(super) async fn send(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    method: Method,
    path: &str,
    body: &Value,
) -> Result<(StatusCode, Value), hyper::Error> {
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    let body = if body.is_null() { Bytes::new() } else { body.to_string().into() };
    let request =
        Request::builder().method(method).uri(path).header(header::HOST, "localhost").body(Full::new(body));
    let response = sender.send_request(request.unwrap()).await?;
    let status = response.status();
    let body = response.into_body().collect().await?.to_bytes();
    Ok((status, serde_json::from_slice(&body).unwrap()))
}

/// The same over a unix socket.
pub(super) async fn ask(socket: &Path, method: Method, path: &str, body: &Value) -> (StatusCode, Value) {
    send(UnixStream::connect(socket).await.unwrap(), method, path, body).await.unwrap()
}
