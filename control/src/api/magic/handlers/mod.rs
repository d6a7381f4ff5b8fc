//! The requests. Each list answers with a map of one key, as clients of the public API expect.

mod gre;
mod ipsec;
mod psks;
mod route;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{FromRequestParts, Query};
use axum::http::request::Parts;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use zeroize::Zeroizing;

use super::Failure;
use super::draft::Draft;
use super::envelope::Success;
use crate::api::server::{Api, receive};
use crate::api::{ApiError, ErrorCode};
use crate::config::TenantConfig;

/// Where clients of the public API look for it; it is there without this, too.
pub(in crate::api) const NESTED: &str = "/client/v4";
/// Largest body: a thousand objects are far less.
const MAX_BODY_BYTES: usize = 4 << 20;
/// How often a change is planned again when somebody else was faster.
const TRIES: u32 = 8;
/// The wait before that, times the number of the try: what others wrote has to arrive here.
const AFTER_CONFLICT: Duration = Duration::from_millis(20);

/// All requests, below an account.
pub(in crate::api) fn router() -> OpenApiRouter<Api> {
    gre::router().merge(ipsec::router()).merge(psks::router()).merge(route::router())
}

/// An answer, or why there is none.
type Answer<T> = Result<Success<T>, Failure>;

/// What may stand after a `?`.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Options {
    validate_only: bool,
}

/// What answers, and how.
struct Asked {
    api: Api,
    /// Only say whether it could be done.
    validate_only: bool,
}

impl FromRequestParts<Api> for Asked {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Failure> {
        let Query(Options { validate_only }) = Query::try_from_uri(&parts.uri)
            .map_err(|_| Failure::bad("", "write nothing after the path, or ?validate_only=true"))?;
        Ok(Self { api: api.clone(), validate_only })
    }
}

/// Reads an account.
async fn look<T: Send + 'static>(
    asked: Asked,
    account: String,
    read: impl FnOnce(&Draft, &TenantConfig) -> Result<T, Failure> + Send + 'static,
) -> Answer<T> {
    apart(move || {
        let draft = Draft::open(&account, asked.api.gateway.account(&account)?)?;
        let typed = draft.typed()?;
        read(&draft, &typed)
    })
    .await
    .map(Success)
}

/// Changes an account: all of what `edit` does, or nothing. It is done to its end also when the client goes away.
async fn change<T: Send + 'static>(
    Asked { api, validate_only }: Asked,
    account: String,
    edit: impl Fn(&mut Draft) -> Result<T, Failure> + Send + Sync + 'static,
) -> Answer<T> {
    let task = tokio::spawn(async move {
        let _alone = api.changing.lock().await;
        let edit = Arc::new(edit);
        for attempt in 1.. {
            let (gateway, account, edit) = (Arc::clone(&api.gateway), account.clone(), Arc::clone(&edit));
            let (outcome, change) = apart(move || {
                let mut draft = Draft::open(&account, gateway.account(&account)?)?;
                let outcome = edit(&mut draft)?;
                Ok((outcome, draft.close(validate_only)))
            })
            .await?;
            match api.gateway.write_account(change).await.map_err(Failure::from) {
                Ok(()) => return Ok(Success(outcome)),
                Err(failure) if failure.is_conflict && attempt < TRIES => {
                    tokio::time::sleep(AFTER_CONFLICT * attempt).await;
                }
                Err(failure) => return Err(failure),
            }
        }
        Err(ended())
    });
    task.await.unwrap_or_else(|_| Err(ended()))
}

/// Large accounts take their time, and the control thread has none.
async fn apart<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|_| Err(ended()))
}

fn ended() -> Failure {
    ApiError::new(ErrorCode::Internal, "the request ended inside the daemon; its log has the details").into()
}

/// A body of JSON.
async fn body(body: Body) -> Result<Value, Failure> {
    let bytes: Bytes = receive(body, MAX_BODY_BYTES).await?;
    json(&Zeroizing::new(Vec::from(bytes)))
}

/// Bytes of JSON. What they hold is not repeated: there may be a key in it.
fn json(bytes: &[u8]) -> Result<Value, Failure> {
    serde_json::from_slice(bytes).map_err(|error| {
        let place = format!("line {}, column {}", error.line(), error.column());
        Failure::bad("", format!("the body is not JSON ({place})"))
    })
}

/// One object. Keys are named when they are wrong, values are not.
fn object<T: DeserializeOwned>(value: Value) -> Result<T, Failure> {
    serde_json::from_value(value).map_err(|error| {
        let text = error.to_string();
        let message = if text.starts_with("unknown field") {
            text
        } else {
            "a field has a value of another type than it should; see docs/api.md".to_owned()
        };
        Failure::bad("", message)
    })
}

/// The objects of a request about many, by the key of the list, or (`false`) of a request about one.
fn objects<T: DeserializeOwned>(value: Value, list: &str) -> Result<(Vec<T>, bool), Failure> {
    let items = match value {
        Value::Array(items) => items,
        Value::Object(mut map) => match map.remove(list) {
            Some(Value::Array(items)) if map.is_empty() => items,
            Some(_) => return Err(Failure::bad(&format!("/{list}"), "write a list, and nothing beside it")),
            None => return Ok((vec![object(Value::Object(map))?], false)),
        },
        _ => return Err(Failure::bad("", "write an object")),
    };
    let parsed = items.into_iter().enumerate();
    let parsed = parsed.map(|(i, item)| object(item).map_err(|failure| failure.of_item(i)));
    Ok((parsed.collect::<Result<_, _>>()?, true))
}

/// The identifier of one of many.
fn id_of(id: Option<String>) -> Result<String, Failure> {
    id.ok_or_else(|| Failure::bad("/id", "id is missing: it says which one to change"))
}

/// What is asked for, of all: in the order of the identifiers.
fn chosen<T>(all: Vec<T>, ids: &[String], id: impl Fn(&T) -> &str) -> Vec<T> {
    let mut by_id: BTreeMap<String, T> = all.into_iter().map(|one| (id(&one).to_owned(), one)).collect();
    ids.iter().filter_map(|id| by_id.remove(id)).collect()
}

/// The one with this identifier.
fn one<T>(all: Vec<T>, wanted: &str, id: impl Fn(&T) -> &str, what: &str) -> Result<T, Failure> {
    all.into_iter().find(|one| id(one) == wanted).ok_or_else(|| Failure::no_such(what, wanted))
}

/// One object, or a list of them: as many as were asked for.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
enum Made<One, Many> {
    /// One.
    One(One),
    /// Many.
    Many(Many),
}

/// As many as were asked for.
fn answered<One, Many>(
    made: Vec<One>,
    are_many: bool,
    many: impl FnOnce(Vec<One>) -> Many,
) -> Made<One, Many> {
    let mut made = made;
    match made.pop() {
        Some(one) if !are_many => Made::One(one),
        Some(one) => {
            made.push(one);
            Made::Many(many(made))
        }
        None => Made::Many(many(made)),
    }
}
