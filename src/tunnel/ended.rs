//! How a tunnel ends, as a value: who did it first and how, and what passed until then.

use std::fmt;
use std::io;
use std::time::Duration;

use super::passage::Passage;
use crate::frame::{Close, Counts, Opaque, Violation};

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
    /// A FIN (under TLS with `close_notify`), or the end of an HTTP/2 stream.
    Fin,
    /// Under TLS: a FIN without `close_notify`. Everyday life.
    Unclean,
    /// A reset.
    Reset,
    /// The peer answers nothing any more: keepalive, retransmissions or our Pings gave up.
    Lost,
    /// Any other error of the stream, such as a broken TLS record.
    Broken,
    /// The process ends.
    Shutdown,
    /// No data frame moved for as long as the route allows.
    Idle,
    /// It was as old as the route allows.
    Age,
    /// A side broke a rule of the route.
    Violation(Violation),
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
    /// Who was first: with a Close, where there was one.
    pub by: By,
    /// And how.
    pub how: How,
    /// Whose doing it was that we ended it, where it was a side's.
    pub fault: Option<By>,
}

impl Ended {
    /// A side ended it.
    pub fn by(by: By, how: How) -> Self {
        Self { by, how, fault: None }
    }
}

impl By {
    /// The word that records have for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Backend => "backend",
            Self::Us => "spliceway",
        }
    }
}

impl fmt::Display for By {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

impl How {
    /// The word that records have for it.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Fin => "fin",
            Self::Unclean => "unclean",
            Self::Reset => "reset",
            Self::Lost => "lost",
            Self::Broken => "broken",
            Self::Shutdown => "shutdown",
            Self::Idle => "idle",
            Self::Age => "max_age",
            Self::Violation(_) => "violation",
        }
    }
}

impl fmt::Display for How {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// What one side sent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sent {
    /// Its Close.
    pub close: Option<Close>,
    /// Frames and messages that were whole.
    pub counts: Counts,
    /// Since when and why its frames were not followed, if they were not.
    pub opaque: Option<Opaque>,
}

impl Sent {
    pub(super) fn of(passage: &Passage) -> Self {
        Self { close: passage.close().cloned(), counts: passage.counts(), opaque: passage.lost_track() }
    }
}

/// Round trips of our Pings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RoundTrips {
    /// The shortest.
    pub min: Duration,
    /// That in the middle of the last 63.
    pub median: Duration,
    /// The longest.
    pub max: Duration,
}

/// A tunnel that is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// How it ended.
    pub ended: Ended,
    /// What the client sent.
    pub client: Sent,
    /// What the backend sent.
    pub backend: Sent,
    /// The client's answers to our Pings, if there were any.
    pub round_trips: Option<RoundTrips>,
}

impl Report {
    /// A tunnel that never moved a byte.
    pub fn unused(ended: Ended) -> Self {
        Self { ended, client: Sent::default(), backend: Sent::default(), round_trips: None }
    }
}
