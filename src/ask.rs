//! Asking the running gateway from a command that otherwise needs no async.

use anyhow::Context;
use penstock_control::api::{Client, ClientError};
use tokio::runtime::{Builder, Runtime};

use crate::args::SocketArgs;

/// Runs one exchange to its end.
pub fn ask<T>(
    socket: &SocketArgs,
    question: impl AsyncFnOnce(Client) -> Result<T, ClientError>,
) -> anyhow::Result<T> {
    Ok(runtime()?.block_on(question(Client::new(&socket.socket)))?)
}

/// What runs an exchange.
pub fn runtime() -> anyhow::Result<Runtime> {
    let mut builder = Builder::new_current_thread();
    builder.enable_all().build().context("cannot start the client's event loop")
}
