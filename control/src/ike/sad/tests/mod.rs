//! The state machine alone: workers that are made up, time that the test says.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test stops at the first surprise")]

mod cases;
pub(crate) mod fake;
mod model;
