//! The operator's interface: HTTP/JSON on a unix socket that only the owner can open, and over TCP by mutual TLS.
//!
//! `penstock show` and `penstock reload` are clients of it, and so is anything an operator writes:
//! `curl --unix-socket /run/penstock/api.sock http://localhost/v1/show/ports`.
//!
//! - [`Gateway`] is what the running gateway answers; this module never reads a table or a counter itself.
//! - [`bind`] takes the socket (and with it the right to be the only daemon on it), [`serve`] answers on it.
//! - `remote` answers over TCP, for certificates that the configuration lists, when it has `api`.
//! - [`Client`] asks.
//! - `page` serves the status page, `history` what that has of the last hour.
//!
//! Deliberately absent: passwords and tokens. Who may open the socket may do everything; the file mode and the peer's
//! user id decide who that is. Over TCP the certificate decides.

mod attention;
mod client;
mod error;
mod filter;
mod gateway;
mod history;
mod magic;
mod page;
pub(crate) mod remote;
mod requests;
mod schema;
mod server;
mod stream;
mod types;
mod watches;

pub use client::{Client, ClientError, Watched};
pub use error::{ApiError, ErrorCode, MAX_BODY_BYTES, Problem};
pub use filter::{DEFAULT_LIMIT, IkeFilter, NeighborFilter, RouteFilter, SaFilter, TunnelFilter};
pub use gateway::Gateway;
pub use remote::tls::{Findings, check as check_files};
pub use schema::openapi_json;
pub use server::{Api, serve};
pub use stream::{WatchPiece, Watching};
pub use types::*;

use crate::local_socket::{self, BindError, LocalSocket};

/// Where the daemon listens unless `node.socket` says otherwise.
pub const DEFAULT_PATH: &str = "/run/penstock/api.sock";

/// Takes the API's socket, and with it the right to be the only daemon there.
///
/// # Errors
/// When another daemon has it, or the path, its directory or the system forbids it; see [`BindError`].
pub fn bind(path: &std::path::Path) -> Result<LocalSocket, BindError> {
    local_socket::bind(path, "node.socket")
}

#[cfg(test)]
pub(crate) mod tests;
