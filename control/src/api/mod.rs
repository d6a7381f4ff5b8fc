//! The operator's interface: HTTP/JSON on a unix socket that only the owner can open.
//!
//! `penstock show` and `penstock reload` are clients of it, and so is anything an operator writes:
//! `curl --unix-socket /run/penstock/api.sock http://localhost/v1/show/ports`.
//!
//! - [`Gateway`] is what the running gateway answers; this module never reads a table or a counter itself.
//! - [`bind`] takes the socket (and with it the right to be the only daemon on it), [`serve`] answers on it.
//! - [`Client`] asks.
//! - `page` serves the status page, `history` what that has of the last hour.
//!
//! Deliberately absent: TCP, TLS, passwords. Who may open the socket may do everything; the file mode and the
//! peer's user id decide who that is. Remote access is SSH's business.

mod attention;
mod client;
mod error;
mod filter;
mod gateway;
mod history;
mod page;
mod server;
mod types;

pub use client::{Client, ClientError};
pub use error::{ApiError, ErrorCode, MAX_BODY_BYTES, Problem};
pub use filter::{DEFAULT_LIMIT, IkeFilter, NeighborFilter, RouteFilter, SaFilter, TunnelFilter};
pub use gateway::Gateway;
pub use server::serve;
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
