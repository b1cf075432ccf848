//! Pure: alerts (RFC 8446 section 6), and what ends a session with one.

use std::fmt;

/// An alert that we send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Alert {
    /// Nothing more will be sent.
    CloseNotify = 0,
    /// A record or message that has no place here.
    UnexpectedMessage = 10,
    /// A record that was changed on the way, or sealed with another key.
    BadRecordMac = 20,
    /// A record that is too long.
    RecordOverflow = 22,
    /// A field with a value that it cannot have.
    IllegalParameter = 47,
    /// A message whose lengths do not fit.
    DecodeError = 50,
    /// Nobody's fault but ours.
    InternalError = 80,
}

impl Alert {
    /// Its two bytes. The level means nothing any more, but `close_notify` still goes as a warning.
    pub(super) fn bytes(self) -> [u8; 2] {
        [if self == Self::CloseNotify { 1 } else { 2 }, self as u8]
    }
}

/// Why a session is over before its `close_notify`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The peer broke a rule, and is told so by this alert.
    Ours(Alert),
    /// The peer sent an alert: its number.
    Theirs(u8),
}

impl From<Alert> for Fault {
    fn from(alert: Alert) -> Self {
        Self::Ours(alert)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ours(Alert::CloseNotify) => f.write_str("the session is closed"),
            Self::Ours(Alert::UnexpectedMessage) => f.write_str("a TLS record or message that has no place here"),
            Self::Ours(Alert::BadRecordMac) => f.write_str("a TLS record that cannot be decrypted"),
            Self::Ours(Alert::RecordOverflow) => f.write_str("a TLS record that is too long"),
            Self::Ours(Alert::IllegalParameter) => f.write_str("a TLS message with a value that it cannot have"),
            Self::Ours(Alert::DecodeError) => f.write_str("a TLS message whose lengths do not fit"),
            Self::Ours(Alert::InternalError) => f.write_str("the TLS record layer failed"),
            Self::Theirs(number) => write!(f, "the peer sent the fatal TLS alert {number}"),
        }
    }
}

impl std::error::Error for Fault {}
