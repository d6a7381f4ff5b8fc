//! vici, charon's control interface: a client, and what it says.
//!
//! Written here although there is a crate (`rsvici` 0.1.5), for what that one does when things go wrong: when charon
//! ends, its requests never return and its task spins; an event that arrives in two pieces while a request is sent puts
//! it out of step for good; a value of a peer's choosing that is no UTF-8 ends a stream of events; a value longer than
//! 65535 bytes is cut silently; and copies of a secret stay in memory that is not wiped.
//!
//! One connection carries requests, one at a time, another one events: the protocol has no numbers to tell answers apart.

mod client;
mod error;
mod message;

pub use client::{Client, Events};
pub use error::ViciError;
pub use message::{DecodeError, EncodeError, Message, Section};
