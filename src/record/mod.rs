//! Pure: the record layer of TLS 1.3 (RFC 8446 sections 5 and 4.6) over the secrets of a finished handshake. It makes
//! no handshake, knows no sockets, and holds no buffers: bytes in, bytes out.
//!
//! Why it is here: rustls makes the handshake and carries HTTP, but its connection rests at 7.5 KB. A tunnel rests for
//! hours, and what it needs is in [`Session`]: two secrets with their keys, two sequence numbers.
//!
//! Not in here, and so left with rustls: TLS 1.2, early data, authentication after the handshake, sessions to resume.
//!
//! Invariants: a nonce is never used twice with a key (a record takes its number before it is sealed, and a number that
//! cannot be followed is not given out); nothing is sealed after `close_notify` or a fatal alert; nothing is opened after
//! the peer's, or after a record that was not right; secrets are wiped when they go, and no `Debug` shows them.

mod alert;
mod direction;
mod expanded;
mod messages;
mod secret;
mod session;
mod suite;
#[cfg(test)]
mod tests;

pub use alert::{Alert, Fault};
pub use direction::Extracted;
pub use secret::{Secret, Secrets};
pub use session::{Opened, Sealed, Session, Side};
pub use suite::Suite;

/// Bytes of a record's header: type, version, length.
pub const HEADER_BYTES: usize = 5;
/// The most that a record may carry (section 5.1).
pub const MOST_PLAIN: usize = 1 << 14;
/// The longest record there may be, with its header (section 5.2).
pub const MOST_RECORD: usize = HEADER_BYTES + MOST_PLAIN + 256;
/// What a record of ours has beside what it carries: header, inner type, tag. We never pad.
pub const OVERHEAD: usize = HEADER_BYTES + 1 + TAG_BYTES;
/// The tag of all three suites.
const TAG_BYTES: usize = 16;
/// What a record's opening may need in `out`: all but header and tag.
pub const UNSEALED: usize = HEADER_BYTES + TAG_BYTES;

/// `application_data`, the outer type of every protected record.
const APPLICATION_DATA: u8 = 23;

/// How long the record is that begins `bytes`, header and all; `None` where the header is not whole. The alert is what
/// its sender deserves: after a handshake all records are protected, also alerts, and a change of the cipher is none.
pub fn record_bytes(bytes: &[u8]) -> Result<Option<usize>, Alert> {
    let Some((&[kind, _, _, high, low], _)) = bytes.split_first_chunk::<HEADER_BYTES>() else {
        return match bytes.first() {
            None | Some(&APPLICATION_DATA) => Ok(None),
            Some(_) => Err(Alert::UnexpectedMessage),
        };
    };
    let whole = HEADER_BYTES + usize::from(u16::from_be_bytes([high, low]));
    match kind {
        APPLICATION_DATA if whole > MOST_RECORD => Err(Alert::RecordOverflow),
        APPLICATION_DATA => Ok(Some(whole)),
        _ => Err(Alert::UnexpectedMessage),
    }
}
