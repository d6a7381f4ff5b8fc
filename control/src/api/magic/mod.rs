//! Tunnels and routes in the shape of Cloudflare's public Magic Transit API, so that its client libraries work here.
//!
//! An account is a tenant of the fleet's store. `fields` is what goes over the wire, `tunnels` and `routes` map it to the
//! tenant's configuration and back, `draft` is a tenant while that happens, `handlers` are the requests. A change is
//! planned from the tenant as the store has it, checked and written as `penstock apply` does, and planned again when
//! somebody else was faster. Pre-shared keys go in and never come out, except one that is made here: once.

mod draft;
mod envelope;
mod fields;
mod handlers;
mod health;
mod routes;
mod tunnels;

#[cfg(test)]
mod tests;

pub(super) use envelope::Failure;
pub(super) use handlers::{NESTED, router};
