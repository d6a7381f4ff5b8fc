//! Raw bindings to intel-ipsec-mb: what bindgen makes of its header.
//!
//! `Api` holds the functions that are looked up in the library at run time; all else is reached through
//! the function pointers in `IMB_MGR`.

#[expect(
    missing_docs,
    non_camel_case_types,
    non_snake_case,
    missing_debug_implementations,
    clippy::all,
    clippy::undocumented_unsafe_blocks,
    reason = "generated from a C header"
)]
mod generated {
    include!(concat!(env!("OUT_DIR"), "/ipsec_mb.rs"));
}

pub use generated::*;
