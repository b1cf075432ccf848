//! The shapes of the demo backend's HTTP answers. No decisions.

use std::convert::Infallible;

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full};

/// Any answer of the demo's.
pub(super) type Answer = Response<UnsyncBoxBody<Bytes, Infallible>>;

/// Plain text.
pub(super) fn text(status: StatusCode, body: &'static str) -> Answer {
    answer(status, "text/plain; charset=utf-8", body)
}

/// JSON.
pub(super) fn json(body: impl Into<Bytes>) -> Answer {
    answer(StatusCode::OK, "application/json", body)
}

/// Whole, of one type, not to be stored by anyone: everything here is of the moment.
pub(super) fn answer(status: StatusCode, kind: &'static str, body: impl Into<Bytes>) -> Answer {
    streamed(status, kind, Full::new(body.into()).boxed_unsync())
}

/// As it comes.
pub(super) fn streamed(status: StatusCode, kind: &'static str, body: UnsyncBoxBody<Bytes, Infallible>) -> Answer {
    let mut answer = Response::new(body);
    *answer.status_mut() = status;
    let fields = answer.headers_mut();
    fields.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    fields.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    fields.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    answer
}
