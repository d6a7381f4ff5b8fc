//! Control.

pub mod api;
pub mod config;
pub mod kernel;
