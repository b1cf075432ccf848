//! Pure: host, path, method and headers in; which route, and what it does, out.
//!
//! Not here: what a backend is (a `BackendId` names it), sockets, the request's body.

mod entry;
mod expand;
mod path;
mod pattern;
mod readings;
mod rewrite;
mod table;

pub use entry::{Action, BackendId, Forward, HostHeader, Redirect, Respond, Route, TunnelKind, WebSocket};
pub use path::{Normal, PathError};
pub use pattern::{HostPattern, PathPattern};
pub use rewrite::rewrite_target;
pub use table::{Found, Query, Table};
