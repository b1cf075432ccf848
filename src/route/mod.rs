//! Pure: host, path, method and headers in; which route, and what it does, out.
//!
//! Not here: what a backend is (a `BackendId` names it), sockets, the request's body.

mod pattern;
mod route;

pub use pattern::{HostPattern, PathPattern};
pub use route::{Action, BackendId, Forward, HostHeader, Redirect, Respond, Route, WebSocket};
