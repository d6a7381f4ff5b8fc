//! The packet pipeline.

pub mod tables;
pub mod wire;
