//! The conductor: a connection's journey from accept to close, top to bottom.
//!
//! accept -> TLS -> HTTP -> route -> handshake -> dial -> tunnel -> outcome. The one room that knows the
//! timetable of all stations. It parses no bytes and knows no TOML.

mod accept;
mod again;
mod ask;
mod body;
mod clock;
mod connection;
mod exchange;
mod finished;
mod forward;
mod http1;
mod http2;
mod laws;
mod record;
mod respond;
mod settings;
mod slot;
mod upgrade;

use std::sync::Arc;

use arc_swap::ArcSwap;

pub use accept::{Entry, accept};
pub use settings::{HeadLimits, Settings, Times};
pub use upgrade::Guest;

use crate::base::{Shutdown, Tasks};
use crate::metrics::Counters;
use crate::route;
use crate::session::Registry;
use crate::tunnel::{self, Engines};
use crate::upstream::Backend;

/// What a reload changes, as one value: a request sees one world from its beginning to its end.
#[derive(Debug)]
pub struct World {
    /// Which request goes where.
    pub routes: route::Table,
    /// What `route::BackendId` counts in.
    pub backends: Vec<Arc<Backend>>,
    /// What `route::TunnelKind` counts in.
    pub tunnels: Vec<Arc<tunnel::Settings>>,
    /// Limits, times, trust.
    pub settings: Settings,
}

/// What every connection shares.
#[derive(Debug)]
pub struct Shared {
    /// The world as it is now.
    pub world: ArcSwap<World>,
    /// The tunnels alive.
    pub registry: Registry,
    /// What was seen.
    pub counters: Arc<Counters>,
    /// Where connections and tunnels run.
    pub tasks: Tasks,
    /// What drives tunnels over sockets; `None`: each is a task of its own.
    pub engines: Option<Engines<Guest>>,
    /// The end of the process.
    pub shutdown: Shutdown,
    /// Whether records are written.
    pub records: bool,
}
