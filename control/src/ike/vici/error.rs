//! Why charon was not reached, or did not do what it was asked.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

use super::message::{DecodeError, EncodeError};

/// Why a request to charon did not work.
#[derive(Debug, Error)]
pub enum ViciError {
    /// Nobody answers on its socket.
    #[error("charon does not answer on {}: {source}; is it running, with its vici plugin loaded?", path.display())]
    Connect {
        /// The socket.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Somebody else's socket: no secrets for them.
    #[error(
        "{} belongs to user {uid}, not to root or to the user of penstock; nothing is sent there. Stop that program, \
         or name charon's own socket in ike.vici",
        path.display()
    )]
    Stranger {
        /// The socket.
        path: PathBuf,
        /// The user at the other end.
        uid: u32,
    },
    /// The connection broke.
    #[error("the connection to charon broke: {0}")]
    Broken(#[from] io::Error),
    /// No answer.
    #[error("charon did not answer {command} within {seconds} s")]
    Timeout {
        /// What was asked.
        command: String,
        /// The patience.
        seconds: u64,
    },
    /// An answer that makes no sense.
    #[error("charon's answer is not understood: {0}")]
    Malformed(#[from] DecodeError),
    /// A packet that does not belong here.
    #[error("charon sent a packet of {length} bytes and type {kind} that nobody asked for")]
    Unexpected {
        /// Its length.
        length: usize,
        /// Its type.
        kind: u8,
    },
    /// It cannot be said in this protocol.
    #[error("it does not fit into a request to charon: {0}")]
    TooLong(#[from] EncodeError),
    /// charon does not know the command or the event: an old version, or a plugin is missing.
    #[error("charon does not know {0}; at least version 5.9 is needed")]
    Unknown(String),
    /// It said no.
    #[error("{reason}")]
    Refused {
        /// What was asked.
        command: String,
        /// charon's words.
        reason: String,
    },
}

impl ViciError {
    /// Whether charon is there and the connection is in order: it is this one request that did not work.
    pub fn is_refusal(&self) -> bool {
        matches!(self, Self::Refused { .. } | Self::TooLong(_) | Self::Unknown(_))
    }
}
