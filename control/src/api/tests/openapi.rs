//! The description of the API: complete, and the one in the documents. That answers are as it says is asked of a running
//! gateway (tests/fleet).

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use axum::http::Method;
use serde_json::Value;

use super::Running;
use super::fake::Fake;
use super::http::ask;
use crate::api::openapi_json;

const COPY: &str = "../docs/openapi.json";

fn described() -> Value {
    serde_json::from_str(&openapi_json().unwrap()).unwrap()
}

#[test]
fn the_copy_in_the_documents_is_this_one() {
    let copy = Path::new(env!("CARGO_MANIFEST_DIR")).join(COPY);
    let text = std::fs::read_to_string(&copy).unwrap_or_default();
    assert!(
        text.trim_end() == openapi_json().unwrap(),
        "write it again: penstock api-schema > docs/openapi.json"
    );
}

/// Every request is answered by something, and no two have one name.
#[tokio::test]
async fn what_is_described_is_there() {
    let running = Running::start(Arc::new(Fake::default()));
    let description = described();
    let mut names = BTreeSet::new();
    for (path, requests) in description["paths"].as_object().unwrap() {
        for (method, about) in requests.as_object().unwrap() {
            assert!(names.insert(about["operationId"].to_string()), "{method} {path}");
            let path = path.replace("{account_id}", "acme").replace(['{', '}'], "");
            let method: Method = method.to_uppercase().parse().unwrap();
            let (_, answer) = ask(&running.socket(), method.clone(), &path, &Value::Null).await;
            let text = answer.to_string();
            assert!(
                !text.contains("does not exist") && !text.contains("does not answer"),
                "{method} {path}: {text}"
            );
        }
    }
    assert!(names.len() > 35, "{names:?}");
    running.stop().await;
}
