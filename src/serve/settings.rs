//! What can be said of serving as a whole. Plain data, every default with its origin.

use std::time::Duration;

use ipnet::IpNet;

use crate::tls::RecordLayer;

/// How long things may take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Times {
    /// From the first byte of a request's head to its last.
    pub head: Duration,
    /// Between requests on one connection.
    pub keep_alive: Duration,
    /// With bytes for a client of which it takes none (HTTP; a tunnel waits).
    pub send: Duration,
    /// The TLS handshake of a client.
    pub tls: Duration,
    /// From one side's end of a tunnel to the other's.
    pub linger: Duration,
    /// From SIGTERM to the end of the process.
    pub grace: Duration,
}

impl Default for Times {
    fn default() -> Self {
        Self {
            head: Duration::from_secs(10),
            keep_alive: Duration::from_secs(75), // nginx's
            send: Duration::from_secs(60),       // nginx's
            tls: Duration::from_secs(10),
            linger: Duration::from_secs(5),
            grace: Duration::from_secs(10),
        }
    }
}

/// How large a head may be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeadLimits {
    /// Bytes of a request's head, or of a backend's.
    pub bytes: usize,
    /// Lines in it.
    pub count: usize,
}

impl Default for HeadLimits {
    fn default() -> Self {
        // 32 KiB is what nginx takes in all (4 large buffers of 8k); 100 lines is Apache's and hyper's.
        Self { bytes: 32 << 10, count: 100 }
    }
}

/// Serving as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Time limits.
    pub times: Times,
    /// Head limits.
    pub heads: HeadLimits,
    /// Who carries tunnels of clients under TLS 1.3.
    pub record_layer: RecordLayer,
    /// Peers whose `X-Forwarded-*` and `Forwarded` are believed.
    pub trusted: Vec<IpNet>,
    /// Whether peers on unix sockets are believed likewise.
    pub trust_unix: bool,
    /// The most HTTP/2 streams at once on one connection.
    pub h2_streams: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            times: Times::default(),
            heads: HeadLimits::default(),
            record_layer: RecordLayer::default(),
            trusted: Vec::new(),
            trust_unix: false,
            h2_streams: 128, // nginx's
        }
    }
}
