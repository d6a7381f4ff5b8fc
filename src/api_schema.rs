//! `penstock api-schema`: the API for programs; it needs no running gateway.

use crate::terminal;

/// Prints it.
pub fn print() -> anyhow::Result<()> {
    terminal::print(&(penstock_control::api::openapi_json()? + "\n"))
}
