//! What charon's plugin and control say to each other, version 1: `docs/charon-plugin.md`.
//!
//! A message is a frame: a length, a header, and fields in network byte order. Reading a frame never panics, takes
//! memory only for what the frame really has, and knows only what is written here: bytes left over, lengths that do not fit,
//! and types, versions, flags and values that nobody defined are each an error that says which.
//!
//! Decides nothing beyond form: what of it we can do is the receiver's to say.

mod error;
mod frame;
mod message;
mod sa;
mod sa_codec;
pub(crate) mod wire;

#[cfg(test)]
pub(crate) mod tests;

pub use error::{DecodeError, EncodeError};
pub use frame::Header;
pub use message::{
    Answer, ErrorCode, Event, GetSpi, Hello, Installed, Instance, Kind, Refused, Request, Usage,
};
pub use sa::{
    AddSa, Direction, Lifetimes, Limit, Mode, PolicyAction, PolicySpec, SaFlags, SaId, TrafficSelectorSpec,
    UpdateSa,
};

/// The version of the protocol that is spoken here.
pub const VERSION: u8 = 1;

/// Largest frame of a request's connection, bytes, its length field included.
pub const MAX_FRAME: usize = 64 << 10;
/// Largest frame of a SYNC and of its answer: more than 180 000 SAs, whatever their addresses.
pub const MAX_SYNC_FRAME: usize = 8 << 20;
