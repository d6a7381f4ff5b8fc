//! charon's plugin, made up, over the real socket: to the feed, the tables, the journal and back. The workers are made up,
//! too: they take changes as soon as they are let.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test stops at the first surprise")]

mod lab;
mod stories;
