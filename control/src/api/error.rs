//! How the API says no: one envelope for every error, `{"error": {"code", "message", "problems"}}`.

use std::fmt;

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};

use crate::config::{self, MAX_TEXT_BYTES, NeedsRestart};
use crate::static_sas::Unchangeable;

/// Largest request body: the largest configuration, with room for what JSON adds to quote it.
pub const MAX_BODY_BYTES: usize = MAX_TEXT_BYTES / 4 * 5;

/// Why a request failed, for programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ErrorCode {
    /// The request makes no sense.
    BadRequest,
    /// The caller is neither the daemon's user nor root.
    Forbidden,
    /// No such path.
    NotFound,
    /// The path exists, but not for this method.
    MethodNotAllowed,
    /// The body is larger than [`MAX_BODY_BYTES`](super::MAX_BODY_BYTES).
    TooLarge,
    /// The body did not arrive in time.
    Timeout,
    /// The configuration has problems; nothing was changed.
    InvalidConfig,
    /// The configuration is valid, but asks for what only a restart can do; nothing was changed.
    NeedsRestart,
    /// The configuration is valid but could not be applied.
    ReloadFailed,
    /// Somebody else has changed the same meanwhile; nothing was changed.
    Conflict,
    /// There is no fleet, or its store is away; nothing was changed.
    NoStore,
    /// A bug, or a code that this client is too old to know.
    #[serde(other)]
    Internal,
}

impl ErrorCode {
    pub(super) fn status(self) -> StatusCode {
        match self {
            Self::BadRequest => StatusCode::BAD_REQUEST,
            Self::Forbidden => StatusCode::FORBIDDEN,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Timeout => StatusCode::REQUEST_TIMEOUT,
            Self::InvalidConfig => StatusCode::UNPROCESSABLE_ENTITY,
            Self::NeedsRestart | Self::ReloadFailed | Self::Conflict => StatusCode::CONFLICT,
            Self::NoStore => StatusCode::SERVICE_UNAVAILABLE,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

/// One thing that is wrong with a configuration, or (a warning) that will surprise.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Problem {
    /// The file or other source of the text; empty where there is none.
    pub file: String,
    /// Line, from 1; absent when the text as a whole is meant.
    pub line: Option<u32>,
    /// Column, from 1.
    pub column: Option<u32>,
    /// Where in the document, for example `tenants.acme.tunnels.dc1.remote`.
    pub path: String,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub fix: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.file.is_empty() { "configuration" } else { &self.file })?;
        for place in [self.line, self.column].into_iter().flatten() {
            write!(f, ":{place}")?;
        }
        if !self.path.is_empty() {
            write!(f, ": {}", self.path)?;
        }
        write!(f, ": {}; {}", self.message, self.fix)
    }
}

/// A request that failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error, utoipa::ToSchema)]
#[error("{message}")]
pub struct ApiError {
    /// For programs.
    pub code: ErrorCode,
    /// For people.
    pub message: String,
    /// All that is wrong with a configuration.
    #[serde(default)]
    pub problems: Vec<Problem>,
}

impl ApiError {
    /// An error without a list of problems.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), problems: Vec::new() }
    }

    /// A body of more than so many bytes.
    pub(super) fn too_large(limit: usize) -> Self {
        let limit = limit >> 20;
        Self::new(ErrorCode::TooLarge, format!("a request's body may have at most {limit} MiB"))
    }

    /// A configuration that was refused; `source` names the text where the problems do not.
    pub fn invalid_config(source: &str, problems: Vec<config::Problem>) -> Self {
        let message = match problems.len() {
            1 => "the configuration has a problem, nothing was changed".to_owned(),
            many => format!("the configuration has {many} problems, nothing was changed"),
        };
        let problems = problems.into_iter().map(|problem| Problem::of(source, problem)).collect();
        Self { code: ErrorCode::InvalidConfig, message, problems }
    }
}

impl From<NeedsRestart> for ApiError {
    fn from(refused: NeedsRestart) -> Self {
        Self::new(ErrorCode::NeedsRestart, refused.to_string())
    }
}

impl From<Unchangeable> for ApiError {
    fn from(refused: Unchangeable) -> Self {
        Self::new(ErrorCode::ReloadFailed, refused.to_string())
    }
}

impl Problem {
    /// A problem of the text that came from `source`.
    pub fn of(source: &str, problem: config::Problem) -> Self {
        let config::Problem { file, at, path, message, fix } = problem;
        let known = |number: u32| (number > 0).then_some(number);
        Self {
            file: if file.is_empty() { source.to_owned() } else { file.to_string() },
            line: known(at.line),
            column: known(at.column),
            path,
            message,
            fix,
        }
    }
}

/// The envelope on the wire.
#[derive(Serialize, Deserialize, utoipa::ToSchema)]
pub(super) struct ErrorBody {
    pub(super) error: ApiError,
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        (self.code.status(), Json(ErrorBody { error: self })).into_response()
    }
}
