//! What operators see and say. For now: `/healthz`.

/// The admin listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Where; meant for loopback or a private network.
    pub address: std::net::SocketAddr,
}
