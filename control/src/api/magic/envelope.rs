//! The envelope of every answer: `{"result", "success", "errors", "messages"}`.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use crate::api::{ApiError, ErrorCode};

/// An answer.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Envelope<T> {
    /// What was asked for; `null` when it failed.
    result: Option<T>,
    /// Whether it worked.
    success: bool,
    /// Why not.
    errors: Vec<Message>,
    /// What else there is to say.
    messages: Vec<Message>,
}

/// What there is when it failed.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Nothing;

/// A message, for people and programs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct Message {
    /// For programs; see docs/api.md.
    code: u16,
    /// For people.
    message: String,
    /// What it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<Source>,
}

/// A part of a request, or of what it would make of the tenant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct Source {
    /// Its path.
    pointer: String,
}

/// It worked.
pub(crate) struct Success<T>(pub(crate) T);

impl<T: Serialize> IntoResponse for Success<T> {
    fn into_response(self) -> Response {
        let body = Envelope { result: Some(self.0), success: true, errors: Vec::new(), messages: Vec::new() };
        Json(body).into_response()
    }
}

/// It did not work.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    status: StatusCode,
    errors: Vec<Message>,
    /// Another try may work.
    pub(super) is_conflict: bool,
}

impl Failure {
    /// The request makes no sense; `pointer` is the field that does not.
    pub(super) fn bad(pointer: &str, message: impl Into<String>) -> Self {
        let source = (!pointer.is_empty()).then(|| Source { pointer: pointer.to_owned() });
        let message = Message { code: code_of(ErrorCode::BadRequest), message: message.into(), source };
        Self { status: StatusCode::BAD_REQUEST, errors: vec![message], is_conflict: false }
    }

    /// There is no such object.
    pub(super) fn no_such(what: &str, id: &str) -> Self {
        ApiError::new(ErrorCode::NotFound, format!("this account has no {what} with the identifier {id}"))
            .into()
    }

    /// The same, about one of many.
    pub(super) fn of_item(mut self, index: usize) -> Self {
        for error in &mut self.errors {
            let pointer = error.source.take().map(|source| source.pointer).unwrap_or_default();
            error.source = Some(Source { pointer: format!("/{index}{pointer}") });
        }
        self
    }

    #[cfg(test)]
    pub(super) fn text(&self) -> String {
        self.errors.iter().map(|error| error.message.as_str()).collect::<Vec<_>>().join("; ")
    }
}

impl From<ApiError> for Failure {
    fn from(error: ApiError) -> Self {
        let code = code_of(error.code);
        let mut errors: Vec<Message> = error
            .problems
            .iter()
            .map(|problem| Message {
                code,
                message: format!("{}; {}", problem.message, problem.fix),
                source: Some(Source { pointer: problem.path.clone() }),
            })
            .collect();
        if errors.is_empty() {
            errors.push(Message { code, message: error.message, source: None });
        }
        Self { status: error.code.status(), errors, is_conflict: error.code == ErrorCode::Conflict }
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let body =
            Envelope::<Nothing> { result: None, success: false, errors: self.errors, messages: Vec::new() };
        (self.status, Json(body)).into_response()
    }
}

/// As docs/api.md lists them. Codes of this form begin with 1000.
fn code_of(code: ErrorCode) -> u16 {
    match code {
        ErrorCode::BadRequest => 1000,
        ErrorCode::Forbidden => 1001,
        ErrorCode::NotFound => 1002,
        ErrorCode::MethodNotAllowed => 1003,
        ErrorCode::TooLarge => 1004,
        ErrorCode::Timeout => 1005,
        ErrorCode::InvalidConfig => 1006,
        ErrorCode::NeedsRestart => 1007,
        ErrorCode::ReloadFailed => 1008,
        ErrorCode::Conflict => 1009,
        ErrorCode::NoStore => 1010,
        ErrorCode::Internal => 1011,
    }
}
