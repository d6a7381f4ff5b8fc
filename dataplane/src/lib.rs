//! The packet pipeline: packets in, packets out.
//!
//! The listing of this directory is the data path: `classify` → `route` → `terminate` (`gre/decap`)
//! → `route` → `forward` or `gre/encap` → `adjacency`; beside it `report`, `answer_ping`, `probe` and `punt`.
//! [`pipeline::Pipeline`] runs the stages in that order over a burst, [`worker::Worker`] is the loop
//! of a core. Packets that belong to another node of the fleet take the way of `rescue`. Knows nothing of configuration, sockets or threads.
#![deny(unsafe_code)]

mod adjacency;
mod answer_ping;
mod budget;
mod burst;
mod classify;
pub mod drop_reason;
pub mod esp;
mod flow;
mod forward;
pub mod frame;
mod gre;
pub mod handoff;
pub mod icmp;
pub mod ids;
pub mod ike;
mod inner;
pub mod mss;
mod outer;
pub mod pipeline;
mod prefetch;
pub mod probe;
pub mod publish;
pub mod punt;
mod report;
mod rescue;
mod route;
mod spread;
pub mod stats;
pub mod tables;
mod terminate;
pub mod wire;
pub mod worker;

// What the tests outside share, for those that look inside.
#[cfg(test)]
extern crate self as penstock_dataplane;
#[cfg(test)]
#[path = "../tests/support/mod.rs"]
mod support;
