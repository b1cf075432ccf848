//! Sockets that wait for clients: bind, accept with back-off, permits, the open-file limit.
//!
//! Gives `Accepted` and never ends for an error of `accept`. Knows neither TLS nor HTTP.

mod settings;

pub use settings::{Address, Settings};
