//! What is wrong with a frame.

use super::message::{ErrorCode, Refused};
use super::{MAX_FRAME, MAX_SYNC_FRAME, VERSION};

/// The first thing that is wrong with a frame. Names the field; never shows a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The length field contradicts the frame.
    #[error("the length field says {stated} bytes, {found} follow it")]
    Length {
        /// Bytes stated.
        stated: usize,
        /// Bytes there.
        found: usize,
    },
    /// The length field is less than the header that it counts.
    #[error("the length field says {0} bytes, the header alone has 12")]
    Short(usize),
    /// Longer than a frame of its type may be.
    #[error("{0} bytes are too many: a frame has at most {MAX_FRAME}, that of a SYNC {MAX_SYNC_FRAME}")]
    TooLong(usize),
    /// Another version of the protocol.
    #[error(
        "version {0} of the protocol is not spoken here, only {VERSION}: install plugin and penstock of one release"
    )]
    Version(u8),
    /// No message has this type, or it is none for this direction.
    #[error("type {0} is unknown here")]
    Kind(u8),
    /// The frame ends too early.
    #[error("the frame ends within {0}")]
    Truncated(&'static str),
    /// The frame goes on.
    #[error("{0} bytes follow the last field")]
    Trailing(usize),
    /// A value that nobody defined.
    #[error("{found} is no value of {field}")]
    Value {
        /// Where.
        field: &'static str,
        /// What is there.
        found: u64,
    },
    /// An address of no family that we know.
    #[error("{found} is no address family, in {field}: write 4 or 6")]
    Family {
        /// Where.
        field: &'static str,
        /// What is there.
        found: u8,
    },
    /// The two ends of an SA are of two families.
    #[error("{0} has an IPv4 and an IPv6 address")]
    MixedFamilies(&'static str),
    /// Ends before it begins.
    #[error("{0} ends before it begins")]
    Backwards(&'static str),
    /// Not a text.
    #[error("{0} is not a printable text of at most 1024 bytes")]
    Text(&'static str),
    /// Neither ESP nor anything that we know.
    #[error("IP protocol {0} is not supported, only ESP (50)")]
    Protocol(u8),
    /// A reserved SPI.
    #[error("SPI {0} is reserved (RFC 4303 section 2.1)")]
    ReservedSpi(u32),
}

impl DecodeError {
    /// The status that answers it.
    pub const fn code(self) -> ErrorCode {
        match self {
            Self::Version(_) => ErrorCode::UnknownVersion,
            Self::Protocol(_) | Self::ReservedSpi(_) => ErrorCode::Refused,
            _ => ErrorCode::Malformed,
        }
    }
}

impl From<DecodeError> for Refused {
    fn from(error: DecodeError) -> Self {
        Self::new(error.code(), error)
    }
}

/// The message has more in it than a frame can hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the message does not fit a frame")]
pub struct EncodeError;
