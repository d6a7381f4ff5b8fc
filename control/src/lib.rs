//! Control.

pub mod api;
pub mod kernel;
