//! What etcd's refusals mean, and which requests may be repeated.

use std::error::Error as _;

use tonic::Code;

use super::super::entry::LeaseId;
use super::super::error::StoreError;

/// A request that failed.
#[derive(Debug)]
pub(super) enum Failure {
    /// It did not happen, and another member would say the same.
    Answer(StoreError),
    /// No permission, in etcd's words.
    Forbidden(String),
    /// The lease is not there.
    LeaseEnded,
    /// The revision is not kept any more.
    Compacted,
    /// The revision is not there yet.
    Future,
    /// It did not happen, and may at another member.
    Unsent(String),
    /// It may have happened.
    Lost(String),
}

impl Failure {
    pub(super) fn into_error(self, prefix: &str) -> StoreError {
        match self {
            Self::Answer(error) => error,
            Self::Forbidden(reason) => StoreError::Forbidden(reason, prefix.into()),
            Self::Unsent(reason) | Self::Lost(reason) => StoreError::Away(reason),
            Self::LeaseEnded => StoreError::LeaseEnded(LeaseId(0)),
            Self::Compacted => StoreError::Away("it was compacted meanwhile".into()),
            Self::Future => StoreError::Away("it has lost its newest changes".into()),
        }
    }
}

impl From<etcd_client::Error> for Failure {
    fn from(error: etcd_client::Error) -> Self {
        match error {
            etcd_client::Error::GRpcStatus(status) => refusal(&status),
            // It says nothing else.
            etcd_client::Error::LeaseKeepAliveError(_) => Self::LeaseEnded,
            etcd_client::Error::TransportError(e) => Self::Unsent(with_sources(&e)),
            e => Self::Lost(e.to_string()),
        }
    }
}

/// By etcd's `rpctypes`: a code, and a text where the code is not enough.
fn refusal(status: &tonic::Status) -> Failure {
    let (code, text) = (status.code(), status.message());
    let says = |part| text.contains(part);
    match code {
        Code::NotFound if says("lease not found") => Failure::LeaseEnded,
        Code::OutOfRange if says("compacted") => Failure::Compacted,
        Code::OutOfRange if says("future revision") => Failure::Future,
        Code::PermissionDenied => Failure::Forbidden(text.into()),
        // A token that is not valid any more: a new connection takes a new one.
        Code::Unauthenticated => Failure::Unsent(text.into()),
        Code::InvalidArgument if says("revision of auth store is old") => Failure::Unsent(text.into()),
        Code::InvalidArgument if says("authentication failed") || says("user name") => {
            Failure::Answer(StoreError::Refused(text.into()))
        }
        Code::FailedPrecondition if says("authentication is not enabled") => {
            Failure::Answer(StoreError::Refused(text.into()))
        }
        Code::InvalidArgument | Code::FailedPrecondition => {
            Failure::Answer(StoreError::Nonsense(text.into()))
        }
        Code::ResourceExhausted => Failure::Answer(StoreError::Full(text.into())),
        _ if is_connect(status) => Failure::Unsent(with_sources(status)),
        _ => Failure::Lost(with_sources(status)),
    }
}

/// Whether there was no connection that the request could have been sent on.
fn is_connect(status: &tonic::Status) -> bool {
    let mut source = status.source();
    while let Some(error) = source {
        if error.is::<tonic::ConnectError>() {
            return true;
        }
        source = error.source();
    }
    false
}

/// The error and what caused it, which it does not say by itself.
fn with_sources(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let cause = error.to_string();
        if !text.contains(&cause) {
            text.push_str(": ");
            text.push_str(&cause);
        }
        source = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_repeated_is_told_from_what_may_not() {
        let of = |code, text: &str| refusal(&tonic::Status::new(code, text));
        assert!(matches!(of(Code::Unavailable, "etcdserver: leader changed"), Failure::Lost(_)));
        assert!(matches!(of(Code::Unknown, "?"), Failure::Lost(_)));
        assert!(matches!(of(Code::Unauthenticated, "etcdserver: invalid auth token"), Failure::Unsent(_)));
        assert!(matches!(of(Code::PermissionDenied, "etcdserver: permission denied"), Failure::Forbidden(_)));
        let full = of(Code::ResourceExhausted, "etcdserver: mvcc: database space exceeded");
        assert!(matches!(full, Failure::Answer(StoreError::Full(_))));
        let compacted = "etcdserver: mvcc: required revision has been compacted";
        assert!(matches!(of(Code::OutOfRange, compacted), Failure::Compacted));
        assert!(matches!(of(Code::NotFound, "etcdserver: requested lease not found"), Failure::LeaseEnded));
        let connect = tonic::Status::from_error(Box::new(tonic::ConnectError("refused".into())));
        assert!(matches!(refusal(&connect), Failure::Unsent(text) if text.contains("refused")));
    }
}
