//! What the fuzz targets check, as plain functions: the same code runs under libFuzzer and, over the committed
//! inputs of `regressions/`, in `cargo test`.

mod charon_request;
mod config;
mod esp;
mod fleet;
mod fleet_record;
mod headers;
mod peer;
mod pipeline;
mod rewrites;
mod sa_record;
mod static_sas;
#[path = "../../dataplane/tests/support/mod.rs"]
mod support;

pub use charon_request::charon_request;
pub use config::config;
pub use esp::esp;
pub use fleet::{fleet_key_file, fleet_key_name, sealed_record};
pub use fleet_record::fleet_record;
pub use headers::headers;
pub use peer::peer;
pub use pipeline::pipeline;
pub use rewrites::rewrites;
pub use sa_record::sa_record;
pub use static_sas::static_sas;
