//! What the fuzz targets check, as plain functions: the same code runs under libFuzzer and, over the committed
//! inputs of `regressions/`, in `cargo test`.

mod config;
mod esp;
mod headers;
mod pipeline;
mod rewrites;
mod static_sas;
#[path = "../../dataplane/tests/support/mod.rs"]
mod support;

pub use config::config;
pub use esp::esp;
pub use headers::headers;
pub use pipeline::pipeline;
pub use rewrites::rewrites;
pub use static_sas::static_sas;
