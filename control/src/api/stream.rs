//! Answers that go on until somebody ends them: captures and traces. How they went is in the trailers.

use std::convert::Infallible;

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use http_body_util::StreamBody;
use hyper::body::Frame;
use tokio::sync::mpsc;

use super::types::Caught;

const ID: HeaderName = HeaderName::from_static("penstock-watch");
const CAUGHT: HeaderName = HeaderName::from_static("penstock-caught");
const MISSED: HeaderName = HeaderName::from_static("penstock-missed");
const SEEN: HeaderName = HeaderName::from_static("penstock-seen");

/// A capture or a trace that has begun. It ends when its pieces do, or when whoever reads them goes away.
#[derive(Debug)]
pub struct Watching {
    /// Its number.
    pub id: u64,
    /// What the pieces are: a media type.
    pub media: &'static str,
    /// The pieces, and at the end how it went.
    pub pieces: mpsc::Receiver<WatchPiece>,
}

/// What comes of a capture or a trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WatchPiece {
    /// More of it.
    Data(Bytes),
    /// The end.
    End(Caught),
}

impl IntoResponse for Watching {
    fn into_response(self) -> Response {
        let pieces = stream::unfold(self.pieces, async |mut pieces| {
            let frame = match pieces.recv().await? {
                WatchPiece::Data(bytes) => Frame::data(bytes),
                WatchPiece::End(caught) => Frame::trailers(trailers(caught)),
            };
            Some((Ok::<_, Infallible>(frame), pieces))
        });
        let mut response = Response::new(Body::new(StreamBody::new(pieces)));
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(self.media));
        headers.insert(
            header::TRAILER,
            HeaderValue::from_static("penstock-caught, penstock-missed, penstock-seen"),
        );
        headers.insert(ID, self.id.into());
        response
    }
}

fn trailers(caught: Caught) -> HeaderMap {
    HeaderMap::from_iter([
        (CAUGHT, caught.caught.into()),
        (MISSED, caught.missed.into()),
        (SEEN, caught.seen.into()),
    ])
}

fn number(headers: &HeaderMap, name: &HeaderName) -> Option<u64> {
    headers.get(name)?.to_str().ok()?.parse().ok()
}

/// The number in an answer's head.
pub(super) fn id_of(headers: &HeaderMap) -> Option<u64> {
    number(headers, &ID)
}

/// How it went, from an answer's trailers.
pub(super) fn caught_of(trailers: &HeaderMap) -> Option<Caught> {
    Some(Caught {
        caught: number(trailers, &CAUGHT)?,
        missed: number(trailers, &MISSED)?,
        seen: number(trailers, &SEEN)?,
    })
}
