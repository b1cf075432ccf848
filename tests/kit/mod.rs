//! The test kit: the real proxy as a process, scripted backends and raw clients around it, all on loopback.
//!
//! Blocking sockets and threads, so that a test reads from top to bottom in the order of the wire. Nothing
//! waits by sleeping: every read has a time limit, and fails with what it was waiting for and what had come.
//!
//! A test makes its backends first and the proxy after them: it is then dropped first, the scripts see their
//! connections end, and each backend's drop joins its scripts and fails the test for any of them that failed.
//! A script runs to its end; one that only has to stay connected ends with `wait_for_any_end`.

#![allow(dead_code, unused_imports, unused_macros)] // every test file includes the whole kit and uses its part of it
#![allow(unreachable_pub)] // the kit is a module of each test program, `pub` is what it offers there
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)] // to fail loudly is its purpose
#![allow(clippy::missing_panics_doc, clippy::print_stderr, clippy::wildcard_imports)] // likewise
#![allow(clippy::needless_pass_by_value)] // tests read better without `&` before every literal

mod around;
mod backend;
mod certs;
mod conn;
mod frames;
mod h2;
mod h2_backend;
mod head;
mod proxy;
mod websocket;
mod wire;

pub use around::{Around, BOTH_WSS, Over, PLAIN, WSS, WSS_BACKEND};
pub use backend::{Backend, RefusedPort, free_port, http};
pub use certs::{Authority, Identity, Validity};
pub use conn::{Body, Conn, Cut, Framing};
pub use frames::{Frame, Frames, frame as raw_frame, kind};
pub use h2::{H2, H2Answer, H2Asked, H2Socket, connect};
pub use h2_backend::{Call, H2Backend};
pub use head::{Head, shown};
pub use proxy::{Line, Proxy, Setup};
pub use websocket::{KEY, Offer, accept_for, answer_101, frame, pattern};
pub use wire::End;

/// A table of the law as tests: one named test for each row, all by one check.
macro_rules! rows {
    ($check:ident { $($name:ident: $($value:expr),+;)* }) => {
        $(#[test]
        fn $name() {
            $check($($value),+);
        })*
    };
}
pub(crate) use rows;

use std::time::Duration;

/// How long anything may take that must happen: far above what a loaded machine needs.
pub const LIMIT: Duration = Duration::from_secs(10);

/// How long nothing must happen before we believe that nothing will.
pub const SILENCE: Duration = Duration::from_millis(150);
