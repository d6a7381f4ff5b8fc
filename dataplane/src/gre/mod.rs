//! GRE (RFC 2784, 2890, 7676): out of the tunnel and into it.

pub(crate) mod decap;
pub(crate) mod encap;
