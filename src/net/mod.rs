//! Byte streams as concrete types: one enum for every transport, its options and its addresses.
//!
//! The only room besides `tls` that names TLS stream types. It moves bytes and knows no protocol,
//! but for three things that hyper has no word for: the end of an h1 head (`tap`), the preface of h2, and how many
//! frames of h2 carry nothing (`frame_budget`); for the streams of h2, which are byte streams like any other
//! once their heads are through (`h2`); and for TLS, whose records begin and end somewhere (`whole`), and which goes on
//! without rustls where it has made a tunnel's handshake (`takeover`, `sealed`).

mod address;
mod frame_budget;
mod h2;
mod linger;
mod options;
pub mod outbox;
mod pipe;
mod preface;
mod raw;
mod scratch;
mod sealed;
mod spelling;
mod stream;
mod takeover;
mod tap;
mod whole;

pub use address::{Peer, ip_text};

pub use h2::{Beneath, H2Body, H2Stream, Place, poll_room};
pub use linger::{LINGER_BYTES, LINGER_TIME, lingering_close};
pub use options::{may_stay_shut, no_delay, notice_loss_of, tune};
pub use pipe::Pipe;
pub use preface::{Beginning, begin};
pub use raw::{EVENTS, Poller, Readiness, Woken};
pub use spelling::{Names, Spelling, head_end};
pub use stream::{Socket, Stream};
pub use tap::{Clock, Tap, TapHandle, TapTimes};
pub use whole::WholeRecords;
