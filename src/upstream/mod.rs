//! Where to: which server of a backend, a connection to it (pooled or new), and the lease on both.
//!
//! Knows how to send an HTTP request to a server, not why. Not here: routes, the law of headers.

mod settings;

pub use settings::{Protocol, Scheme, ServerAddress, Settings, Sticky, Target};
