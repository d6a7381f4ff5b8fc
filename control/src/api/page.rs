//! The status page: three files that are part of the program, and what browsers are told about them.
//!
//! The page only reads. An operator's browser reaches the unix socket through ssh
//! (`ssh -L 8080:/run/penstock/api.sock gateway`), so whatever page that browser shows besides could ask
//! `localhost:8080` too. Browsers say whose page asks (`Origin`, `Sec-Fetch-Site`) and what name they looked up (`Host`);
//! [`not_for_other_pages`] lets nothing through that another site caused. Over TLS the certificate says whether the name is
//! ours, and [`not_for_other_sites`] is enough.

use axum::extract::Request;
use axum::http::header::ToStrError;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::middleware::Next;
use axum::response::Response;
use axum::routing::{MethodRouter, get};

use super::error::{ApiError, ErrorCode};
use super::server::refusal;

/// Only our own files and the API; nobody may put the page into a frame.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; \
                      connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// The paths and what answers there.
pub(super) fn files<S: Clone + Send + Sync + 'static>() -> [(&'static str, MethodRouter<S>); 3] {
    [
        ("/", file("text/html; charset=utf-8", include_str!("page/index.html"))),
        ("/page/status.js", file("text/javascript; charset=utf-8", include_str!("page/status.js"))),
        ("/page/status.css", file("text/css; charset=utf-8", include_str!("page/status.css"))),
    ]
}

fn file<S: Clone + Send + Sync + 'static>(kind: &'static str, text: &'static str) -> MethodRouter<S> {
    let headers = [
        (header::CONTENT_TYPE, kind),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        // Another version of the program has other files.
        (header::CACHE_CONTROL, "no-store"),
    ];
    get(move || async move { (headers, text) })
}

/// Refuses what a browser sends on behalf of another site's page.
pub(super) async fn not_for_other_pages(request: Request, next: Next) -> Response {
    match misnamed(request.headers()).or_else(|| foreign(request.headers())) {
        None => next.run(request).await,
        Some(why) => refuse(&request, &format!("{why}: open the page by localhost or an address")),
    }
}

/// The same where TLS has made sure of the name.
pub(super) async fn not_for_other_sites(request: Request, next: Next) -> Response {
    match foreign(request.headers()) {
        None => next.run(request).await,
        Some(why) => refuse(&request, why),
    }
}

fn refuse(request: &Request, why: &str) -> Response {
    let path = request.uri().path();
    tracing::warn!(path, why, "API request of another site's page refused");
    refusal(path, ApiError::new(ErrorCode::Forbidden, why))
}

fn text<'a>(headers: &'a HeaderMap, name: &header::HeaderName) -> Option<Result<&'a str, ToStrError>> {
    headers.get(name).map(HeaderValue::to_str)
}

/// Whether the name that was looked up may be another site's.
fn misnamed(headers: &HeaderMap) -> Option<&'static str> {
    let host = match text(headers, &header::HOST) {
        // No browser leaves it out.
        None => return None,
        Some(Ok(host)) => host,
        Some(Err(_)) => return Some("the Host header is not text"),
    };
    // A name that another site's owner lets point to this machine would make its page one of ours.
    let is_ours = host.parse::<axum::http::uri::Authority>().is_ok_and(|authority| {
        let name = authority.host().trim_start_matches('[').trim_end_matches(']');
        name == "localhost" || name.parse::<std::net::IpAddr>().is_ok()
    });
    (!is_ours).then_some("the Host header has a name that is not localhost")
}

/// Whether a page asks that is not this one.
fn foreign(headers: &HeaderMap) -> Option<&'static str> {
    let host = text(headers, &header::HOST).and_then(Result::ok);
    match text(headers, &header::ORIGIN) {
        None => {}
        Some(Ok(origin)) if origin.split_once("://").is_some_and(|(_, from)| Some(from) == host) => {}
        Some(_) => return Some("another site's page asks"),
    }
    match headers.get("sec-fetch-site").map(HeaderValue::as_bytes) {
        // `none`: typed, or a bookmark.
        None | Some(b"same-origin" | b"none") => None,
        Some(_) => Some("another site's page asks"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(lines: &[(&str, &str)]) -> Option<&'static str> {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.insert(
                header::HeaderName::try_from(*name).unwrap(),
                HeaderValue::from_bytes(value.as_bytes()).unwrap(),
            );
        }
        misnamed(&headers).or_else(|| foreign(&headers))
    }

    #[test]
    fn programs_and_our_own_page_may_ask() {
        for allowed in [
            &[][..],
            &[("host", "localhost")],
            &[
                ("host", "localhost:8080"),
                ("origin", "http://localhost:8080"),
                ("sec-fetch-site", "same-origin"),
            ],
            &[("host", "127.0.0.1:8080"), ("sec-fetch-site", "none")],
            &[("host", "[::1]:8080"), ("origin", "http://[::1]:8080")],
        ] {
            assert_eq!(verdict(allowed), None, "{allowed:?}");
        }
    }

    #[test]
    fn pages_of_other_sites_may_not() {
        for refused in [
            &[("host", "evil.example:8080")][..],
            &[("host", "localhost.evil.example:8080")],
            &[("host", "localhost:8080"), ("origin", "https://evil.example")],
            &[("host", "localhost:8080"), ("origin", "null")],
            &[("host", "localhost:8080"), ("origin", "http://localhost:9090")],
            &[("host", "localhost:8080"), ("sec-fetch-site", "cross-site")],
            &[("host", "localhost:8080"), ("sec-fetch-site", "same-site")],
            &[("host", "\u{e9}")],
            &[("host", "")],
        ] {
            assert!(verdict(refused).is_some(), "{refused:?}");
        }
    }
}
