//! Sockets that wait for clients: bind, accept with back-off, permits, the open-file limit.
//!
//! Gives `Accepted` and never ends for an error of `accept`. Knows neither TLS nor HTTP.

mod accept;
mod bind;
mod error;
mod open_files;
mod settings;
#[cfg(test)]
mod tests;
mod unix;

pub use accept::{Accepted, Listener, Permit};
pub use error::BindError;
pub use open_files::raise_open_files;
pub use settings::{Address, Settings};
