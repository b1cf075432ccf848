//! TOML text in, each room's settings out, or every mistake at once with file, line, key and what
//! would be valid. The only room that knows TOML. No sockets, no runtime.
//!
//! ```
//! use spliceway::config;
//! let text = "[[route]]\nbackend = \"http://127.0.0.1:3000\"\npth = \"/ws\"\n";
//! let report = config::read(text, "spliceway.toml", "".as_ref(), &|_| None).unwrap_err();
//! assert!(report.to_string().contains("did you mean `path`?"));
//! ```

mod actions;
mod backends;
mod edits;
mod environment;
mod file;
mod general;
mod listeners;
mod places;
mod quick;
mod reading;
mod report;
mod routes;
mod suggest;
mod syntax;
mod tunnels;
mod values;

pub use file::{Checked, check, check_text, find, keys_asked, load, read};
pub use report::Report;

use crate::{admin, listen, route, serve, tls, tunnel, upstream};

/// A whole configuration: each room's settings, cross-checked.
#[derive(Clone, Debug)]
pub struct Config {
    /// Worker threads; `None`: one per core.
    pub threads: Option<usize>,
    /// How they share the work.
    pub runtime: Runtime,
    /// What drives tunnels.
    pub engine: Engine,
    /// Never empty.
    pub listeners: Vec<Listener>,
    /// What `route::BackendId` counts in.
    pub backends: Vec<upstream::Settings>,
    /// What `route::TunnelKind` counts in. Never empty: the first is for routes that say nothing.
    pub tunnels: Vec<tunnel::Settings>,
    /// In the file's order.
    pub routes: Vec<route::Route>,
    /// Limits, times, trust.
    pub serve: serve::Settings,
    /// `None`: no admin listener.
    pub admin: Option<admin::Settings>,
    /// One line for each request and tunnel.
    pub records: bool,
    /// What its writer should hear of, one line each; the file is good all the same.
    pub warnings: Vec<String>,
}

/// How threads share the work.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Runtime {
    /// Each accepts by itself, and keeps what it accepted.
    #[default]
    PerThread,
    /// One queue for all of them.
    Shared,
}

/// What drives tunnels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Engine {
    /// One for each thread, over an epoll instance of its own.
    #[default]
    Epoll,
    /// Each tunnel is a task of the runtime.
    Tasks,
}

/// One listener with what is spoken on it.
#[derive(Clone, Debug)]
pub struct Listener {
    /// The socket.
    pub listen: listen::Settings,
    /// `None`: plain HTTP.
    pub tls: Option<tls::ServerSettings>,
    /// Send every plain request to `https` on this port (443 is not shown); a WebSocket offer gets 403.
    pub redirect_https: Option<u16>,
}
