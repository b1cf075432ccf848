//! What can be said of the tunnels of a route. Plain data, every default with its origin.

use std::time::Duration;

/// How tunnels are kept alive, judged, limited and ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Ping the client after so long without a byte from it; `None`: never.
    pub ping: Option<Duration>,
    /// Ping the backend likewise. By choice only: some real servers die of a Ping.
    pub ping_backend: Option<Duration>,
    /// How long a side that was pinged may show no sign of life.
    pub pong_timeout: Duration,
    /// Close when no data frame has moved either way for so long.
    pub idle: Option<Duration>,
    /// Close at this age.
    pub max_age: Option<MaxAge>,
    /// Judge every frame by RFC 6455, both ways.
    pub enforce: bool,
    /// The longest message in payload bytes on the wire, both ways.
    pub max_message: Option<u64>,
    /// How many messages a client may begin.
    pub messages: Option<Rate>,
    /// How many bytes a client may send.
    pub bytes: Option<Rate>,
    /// What becomes of a client that goes beyond.
    pub over_rate: OverRate,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            // Under the 30 s after which the first middleboxes and servers cut what is silent (Mojolicious).
            ping: Some(Duration::from_secs(25)),
            ping_backend: None,
            pong_timeout: Duration::from_secs(20), // that of uvicorn and `websockets`
            idle: None,
            max_age: None,
            enforce: false,
            max_message: None,
            messages: None,
            bytes: None,
            over_rate: OverRate::Wait,
        }
    }
}

/// How old a tunnel may become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MaxAge {
    /// At the most.
    pub time: Duration,
    /// Up to so much less, by chance: tunnels that began together are not to end together.
    pub jitter: Duration,
    /// The close code.
    pub code: u16,
}

/// So many in a second, and so many at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// In a second, on average.
    pub per_second: u64,
    /// At once, after a pause.
    pub burst: u64,
}

/// What becomes of a client that sends more than it may.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OverRate {
    /// It is read from more slowly, and so has to wait.
    #[default]
    Wait,
    /// It gets Close 1008.
    Close,
}
