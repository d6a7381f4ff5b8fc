//! The packet pipeline: packets in, packets out.
#![deny(unsafe_code)]

pub mod drop_reason;
pub mod ids;
pub mod tables;
pub mod wire;
