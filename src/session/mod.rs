//! What is alive: the registry of tunnels. It tells, and it moves no bytes.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::base::SessionId;
use crate::net::Peer;
use crate::tunnel::Traffic;

/// How many parts the registry has, so that threads seldom wait for one another at opening and closing.
const SHARDS: usize = 16;

/// A live tunnel as the registry knows it.
#[derive(Debug)]
pub struct Session {
    /// Its name.
    pub id: SessionId,
    /// Since when.
    pub opened: Instant,
    /// Whose.
    pub client: Peer,
    /// By which route.
    pub route: Arc<str>,
    /// To which server.
    pub server: Arc<str>,
    /// Counted as it goes.
    pub traffic: Traffic,
}

/// One part of the registry.
type Shard = HashMap<SessionId, Arc<Session>>;

/// Every live tunnel of the process.
#[derive(Clone, Debug, Default)]
pub struct Registry {
    shards: Arc<[Mutex<Shard>; SHARDS]>,
}

impl Registry {
    /// Enters a tunnel that has just opened. It is taken out when the place is dropped.
    pub fn enter(&self, client: Peer, route: Arc<str>, server: Arc<str>) -> Place {
        let id = SessionId::next();
        let session = Arc::new(Session { id, opened: Instant::now(), client, route, server, traffic: Traffic::default() });
        if let Some(mut shard) = self.shard(id) {
            shard.insert(id, session.clone());
        }
        Place { registry: self.clone(), session }
    }

    /// How many are alive.
    pub fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().unwrap_or_else(PoisonError::into_inner).len()).sum()
    }

    /// Whether none is alive.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    #[allow(clippy::cast_possible_truncation)] // a remainder of 16
    fn shard(&self, id: SessionId) -> Option<MutexGuard<'_, Shard>> {
        let shard = self.shards.get((id.number() % SHARDS as u64) as usize)?;
        Some(shard.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A tunnel's place in the registry, held for its life.
#[derive(Debug)]
pub struct Place {
    registry: Registry,
    session: Arc<Session>,
}

impl Place {
    /// What is known of it.
    pub fn session(&self) -> &Session {
        &self.session
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(mut shard) = self.registry.shard(self.session.id) {
            shard.remove(&self.session.id);
            if shard.is_empty() {
                shard.shrink_to_fit();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_in_the_registry_exactly_while_its_place_is_held() {
        let registry = Registry::default();
        let places: Vec<_> = (0..40).map(|_| registry.enter(Peer::Unix, "r".into(), "s".into())).collect();
        assert_eq!(registry.len(), 40);
        drop(places);
        assert!(registry.is_empty());
    }
}
