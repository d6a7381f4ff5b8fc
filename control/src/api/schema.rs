//! How the API is described: OpenAPI, made from the code.

use utoipa::OpenApi;

use super::server;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Penstock",
        description = "The gateway's API, on its unix socket and over mutual TLS. See docs/api.md. Everything below \
                       /client/v4 is there without that prefix, too."
    ),
    tags(
        (name = "show", description = "What the gateway does"),
        (name = "node", description = "This node"),
        (name = "packets", description = "Packets as they pass: captures, traces, and what would become of one"),
        (name = "fleet", description = "Tenants of the fleet"),
        (name = "magic", description = "Tunnels and routes of an account, in the shape of Cloudflare's Magic Transit API")
    )
)]
struct Description;

/// The description of all requests and answers, as OpenAPI 3.1.
pub fn openapi() -> utoipa::openapi::OpenApi {
    let mut openapi = Description::openapi();
    openapi.merge(server::described().into_openapi());
    openapi
}

/// The same as text.
///
/// # Errors
/// When it cannot be written as JSON.
pub fn openapi_json() -> Result<String, serde_json::Error> {
    openapi().to_pretty_json()
}
