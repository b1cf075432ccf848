//! A backend with its servers, and the choice among them: the client's own server by cookie, else the
//! one with the fewest requests and tunnels alive.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use sha1::{Digest, Sha1};

use super::extended::Carriers;
use super::pool::Pool;
use super::{HeadLimits, ServerAddress, Settings};
use crate::base::Tasks;
use crate::tls;

/// A backend: its servers and what is alive on each.
#[derive(Debug)]
pub struct Backend {
    settings: Settings,
    heads: HeadLimits,
    servers: Vec<Arc<Server>>,
    turn: AtomicUsize,
}

/// One server of a backend.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) address: ServerAddress,
    pub(super) authority: String,
    pub(super) settings: Settings,
    pub(super) connector: Option<tls::Connector>,
    pub(super) heads: HeadLimits,
    pub(super) tasks: Tasks,
    pub(super) pool: Pool,
    pub(super) carriers: Carriers,
    name: Arc<str>,
    token: String,
    /// Shared with the same server of the backend that took this one's place.
    live: Arc<AtomicUsize>,
}

impl Backend {
    /// Prepares a backend; nothing is dialled. What is alive on servers that `before`, whose place it takes,
    /// has as well counts on: else a reload would send every new client to the servers with the most.
    /// The error is a CA file's.
    pub fn new(settings: Settings, heads: HeadLimits, tasks: &Tasks, before: Option<&Self>) -> Result<Self, tls::LoadError> {
        let needs_tls = settings.servers.iter().any(|server| server.scheme == super::Scheme::Https);
        let connector = if needs_tls { Some(tls::Connector::new(&settings.tls)?) } else { None };
        let live = |address: &ServerAddress| {
            let same = before.and_then(|before| before.servers.iter().find(|server| server.address == *address));
            same.map(|server| server.live.clone()).unwrap_or_default()
        };
        let server = |address: &ServerAddress| {
            Arc::new(Server {
                authority: address.authority(),
                name: address.to_string().into(),
                token: token(address),
                address: address.clone(),
                settings: settings.clone(),
                connector: connector.clone(),
                heads,
                tasks: tasks.clone(),
                pool: Pool::new(settings.idle_time),
                carriers: Carriers::default(),
                live: live(address),
            })
        };
        let servers = settings.servers.iter().map(server).collect();
        Ok(Self { settings, heads, servers, turn: AtomicUsize::new(0) })
    }

    /// What it was made from.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Whether it was made from just this.
    pub fn is_made_from(&self, settings: &Settings, heads: HeadLimits) -> bool {
        self.settings == *settings && self.heads == heads
    }

    /// The name of the cookie that keeps a client with one server.
    pub fn sticky_cookie(&self) -> Option<&str> {
        self.settings.sticky.as_ref().map(|sticky| sticky.cookie.as_str())
    }

    /// How many servers it has.
    pub fn server_count(&self) -> usize {
        self.servers.len()
    }

    /// Takes a lease on a server that is not among `tried`: the one that `cookie` names, else the one
    /// with the least alive, in turn among equals. `None` when all were tried.
    pub fn pick(&self, cookie: Option<&str>, tried: &[Lease]) -> Option<Lease> {
        let untried = |server: &&Arc<Server>| !tried.iter().any(|lease| Arc::ptr_eq(&lease.server, server));
        let own = cookie.and_then(|cookie| self.servers.iter().find(|server| server.token == cookie));
        if let Some(server) = own.filter(untried) {
            return Some(Lease::on(server));
        }
        let start = self.turn.fetch_add(1, Ordering::Relaxed) % self.servers.len().max(1);
        let (before, after) = self.servers.split_at_checked(start)?;
        let least = after.iter().chain(before).filter(untried).min_by_key(|server| server.live.load(Ordering::Relaxed));
        least.map(Lease::on)
    }

    /// Closes pooled connections that have been idle for too long.
    pub fn sweep(&self) {
        for server in &self.servers {
            server.pool.sweep();
            server.carriers.sweep(self.settings.idle_time);
        }
    }
}

/// What a server is called in a cookie: tells nothing of where it is, and is the same after a restart
/// and in other instances.
fn token(address: &ServerAddress) -> String {
    let digest = Sha1::digest(address.to_string().as_bytes());
    digest.iter().take(8).fold(String::with_capacity(16), |mut hex, byte| {
        write!(hex, "{byte:02x}").ok(); // a String takes everything
        hex
    })
}

/// One request's or tunnel's hold on a server: counted as alive until dropped.
#[derive(Debug)]
pub struct Lease {
    pub(super) server: Arc<Server>,
}

impl Lease {
    fn on(server: &Arc<Server>) -> Self {
        server.live.fetch_add(1, Ordering::Relaxed);
        Self { server: server.clone() }
    }

    /// The server as records show it.
    pub fn server_name(&self) -> &Arc<str> {
        &self.server.name
    }

    /// The server's host and port as they stand in `Host`.
    pub fn authority(&self) -> &str {
        &self.server.authority
    }

    /// The value of the sticky cookie that leads here.
    pub fn token(&self) -> &str {
        &self.server.token
    }
}

impl Clone for Lease {
    fn clone(&self) -> Self {
        Self::on(&self.server)
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.server.live.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn backend(n: u16) -> Backend {
        let servers = (0..n).map(|i| ServerAddress::parse(&format!("http://127.0.0.1:{}", 8000 + i)).expect("legal"));
        let tasks = Tasks::new(|_, _| {});
        Backend::new(Settings::new("b", servers.collect()), HeadLimits { bytes: 1 << 15, count: 100 }, &tasks, None)
            .expect("no files")
    }

    #[test]
    fn the_server_with_the_fewest_alive_is_chosen() {
        let backend = backend(3);
        let mut leases: Vec<_> = (0..9).filter_map(|_| backend.pick(None, &[])).collect();
        assert!(backend.servers.iter().all(|server| server.live.load(Ordering::Relaxed) == 3));
        let freed = leases.remove(4).server.name.clone();
        assert_eq!(*backend.pick(None, &[]).expect("one").server_name(), freed);
    }

    #[test]
    fn a_cookie_leads_to_its_server_until_that_was_tried() {
        let backend = backend(3);
        let first = backend.pick(None, &[]).expect("one");
        let cookie = first.token().to_owned();
        assert!((0..5).all(|_| backend.pick(Some(&cookie), &[]).is_some_and(|lease| lease.token() == cookie)));
        let tried = [first];
        assert!(backend.pick(Some(&cookie), &tried).is_some_and(|lease| lease.token() != cookie));
        assert!(backend.pick(Some("forged"), &[]).is_some());
    }

    #[test]
    fn when_all_were_tried_there_is_none() {
        let backend = backend(2);
        let mut tried = Vec::new();
        while let Some(lease) = backend.pick(None, &tried) {
            tried.push(lease);
        }
        assert_eq!(tried.len(), 2);
    }
}
