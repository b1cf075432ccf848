//! Pure: WebSocket frames as a proxy sees them (RFC 6455 section 5): headers are followed, payloads pass by.
//!
//! Bytes and values in, values and bytes out. Nothing is buffered but a header that was cut, and the payload of
//! a Close or Pong (at most 125 bytes, held until its frame ends); nothing else is ever unmasked. What to do
//! about what is seen is the tunnel's.

mod close;
mod control;
mod header;
mod judge;
mod tracker;

pub use close::{Close, is_sendable};
pub use control::{MAX_CONTROL_PAYLOAD, close, ping};
pub use header::{Header, MAX_HEADER, Parsed, opcode};
pub use judge::{Extensions, Judge, Side, Violation};
pub use tracker::{Counts, Opaque, Step, Tracker};
