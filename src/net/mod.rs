//! Byte streams as concrete types: one enum for every transport, its options and its addresses.
//!
//! The only room besides `tls` that names TLS stream types. It moves bytes and knows no protocol,
//! but for three things that hyper has no word for: the end of an h1 head (`tap`), the preface of h2, and how many
//! frames of h2 carry nothing (`frame_budget`).

mod address;
mod frame_budget;
mod linger;
mod options;
mod preface;
mod stream;
mod tap;

pub use address::Peer;

pub use linger::{LINGER_BYTES, LINGER_TIME, lingering_close};
pub use options::{reset_on_close, tune, unsent};
pub use preface::{Beginning, begin};
pub use stream::{Socket, Stream};
pub use tap::{Clock, Tap, TapHandle, TapTimes};
