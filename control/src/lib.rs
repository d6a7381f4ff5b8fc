//! Control.

pub mod kernel;
