//! How a tunnel ends, as a value: who did it first, and how.

use std::fmt;
use std::io;

/// Who ended it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// The client.
    Client,
    /// The backend.
    Backend,
    /// We did.
    Us,
}

/// In which way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// A FIN (under TLS with `close_notify`).
    Fin,
    /// Under TLS: a FIN without `close_notify`. Everyday life.
    Unclean,
    /// A reset.
    Reset,
    /// The peer answers nothing any more: keepalive or retransmissions gave up.
    Lost,
    /// Any other error of the stream, such as a broken TLS record.
    Broken,
    /// The process ends.
    Shutdown,
}

impl How {
    /// From an error of reading or writing.
    pub(super) fn of(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => Self::Unclean,
            io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionAborted => Self::Reset,
            io::ErrorKind::TimedOut | io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => Self::Lost,
            _ => Self::Broken,
        }
    }

    /// Whether the side is lost, so that the other one is told by a reset.
    pub fn is_loss(self) -> bool {
        matches!(self, Self::Reset | Self::Lost | Self::Broken)
    }
}

/// The end of a tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Who was first.
    pub by: By,
    /// And how.
    pub how: How,
}

impl fmt::Display for By {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Client => "client",
            Self::Backend => "backend",
            Self::Us => "spliceway",
        })
    }
}

impl fmt::Display for How {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Fin => "fin",
            Self::Unclean => "unclean",
            Self::Reset => "reset",
            Self::Lost => "lost",
            Self::Broken => "broken",
            Self::Shutdown => "shutdown",
        })
    }
}
