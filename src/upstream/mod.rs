//! Where to: which server of a backend, a connection to it (pooled or new), and the lease on both.
//!
//! Knows how to send an HTTP request to a server, not why. Not here: routes, the law of headers, the
//! WebSocket handshake.

mod answer;
mod backend;
mod connection;
mod dial;
mod extended;
mod hearing;
mod plain;
mod pool;
mod replay;
mod settings;

use bytes::Bytes;
use http_body_util::BodyExt;
use http_body_util::combinators::UnsyncBoxBody;

pub use answer::AnswerBody;
pub use backend::{Backend, Lease};
pub use connection::{Connection, SendError};
pub use dial::DialError;
pub use extended::{ConnectError, Connected};
pub use hearing::INFORMATIONAL_ANSWERS;
pub use replay::replay;
pub use settings::{Protocol, Scheme, ServerAddress, Settings, Sticky, Target};

/// Any error of a request's body, made by who reads it from the client.
pub type BodyError = Box<dyn std::error::Error + Send + Sync>;

/// The body of a request toward a backend.
pub type RequestBody = UnsyncBoxBody<Bytes, BodyError>;

/// No body.
pub fn no_body() -> RequestBody {
    http_body_util::Empty::new().map_err(|never: std::convert::Infallible| match never {}).boxed_unsync()
}

/// How large a backend's heads may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeadLimits {
    /// Bytes.
    pub bytes: usize,
    /// Lines.
    pub count: usize,
}
