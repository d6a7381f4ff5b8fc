//! Several nodes, one store, workers that are made up, and time that the test says.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test stops at the first surprise")]

mod cases;
mod lab;
mod model;
