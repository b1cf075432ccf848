//! A process from bind to exit: listeners, signals, reload, drain.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;

use super::build::{App, certificates, tasks, world};
use super::signals::{Signals, Word};
use crate::admin;
use crate::base::{Shutdown, Tasks};
use crate::config::{Config, Listener as Listen};
use crate::listen::{Address, Listener, raise_open_files};
use crate::serve::{Entry, Shared, accept};
use crate::session::Registry;
use crate::tls::Acceptor;

/// How often pooled connections are looked through.
const SWEEP: Duration = Duration::from_secs(5);

/// Reads the configuration again; the error is ready to be shown. `None` in [`run`]: there is no file.
pub type Reload = Box<dyn Fn() -> Result<Config, String> + Send>;

/// Why a process could not begin; all reasons.
#[derive(Debug)]
pub struct StartError(Vec<String>);

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("\n"))
    }
}

/// A process that serves.
#[derive(Debug)]
pub struct Running {
    shared: Arc<Shared>,
    config: Config,
    acceptors: Vec<Option<Acceptor>>,
    backend_tasks: Tasks,
    addresses: Vec<Address>,
}

/// Serves until a signal ends it. Returns when everything has ended, or the grace has.
pub async fn run(app: App, reload: Option<Reload>) -> Result<(), StartError> {
    start(app)?.serve(reload).await;
    Ok(())
}

/// Opens what is to be opened, and serves from then on; inside a runtime.
pub fn start(app: App) -> Result<Running, StartError> {
    for warning in &app.config.warnings {
        tracing::warn!(fault = "configuration", "{warning}");
    }
    for warning in app.file_warnings() {
        tracing::warn!(fault = "configuration", "{warning}");
    }
    let App { config, world, acceptors, counters, backend_tasks, .. } = app;
    say_open_files();
    let shared = Arc::new(Shared {
        world: ArcSwap::from_pointee(world),
        registry: Registry::default(),
        tasks: tasks(&counters),
        counters,
        shutdown: Shutdown::new(),
        records: config.records,
    });
    let mut running = Running { shared, config, acceptors, backend_tasks, addresses: Vec::new() };
    running.open()?;
    running.sweep();
    Ok(running)
}

fn say_open_files() {
    let (before, after) = raise_open_files();
    if before == after {
        tracing::debug!(limit = after, "open files");
    } else {
        tracing::info!(before, limit = after, "open files: raised to the hard limit; a WebSocket takes two");
    }
}

impl Running {
    /// Where it listens, in the configuration's order, with the ports that the kernel chose.
    pub fn addresses(&self) -> &[Address] {
        &self.addresses
    }

    /// The token of its end.
    pub fn shutdown(&self) -> Shutdown {
        self.shared.shutdown.clone()
    }

    /// Serves until a signal, and through the drain.
    pub async fn serve(mut self, reload: Option<Reload>) {
        let mut signals = match Signals::new() {
            Ok(signals) => signals,
            Err(error) => return tracing::error!(fault = "spliceway", %error, "cannot listen to signals"),
        };
        tracing::info!("ready");
        while signals.next().await == Word::Reload {
            self.reload(reload.as_ref());
        }
        self.end(&mut signals).await;
    }

    /// Binds every listener, or says of each why not; then serves them.
    fn open(&mut self) -> Result<(), StartError> {
        let mut errors = Vec::new();
        let mut listeners = Vec::new();
        for (listener, tls) in self.config.listeners.iter().zip(&self.acceptors) {
            match Listener::bind(&listener.listen) {
                Ok(bound) => listeners.push((bound, tls.clone(), listener.redirect_https)),
                Err(error) => errors.push(error.to_string()),
            }
        }
        let admin = self.config.admin.as_ref().map(admin::bind).transpose().map_err(|error| errors.push(error.to_string()));
        if !errors.is_empty() {
            return Err(StartError(errors));
        }
        for (listener, tls, redirect_https) in listeners {
            self.addresses.push(listener.local_address().clone());
            tracing::info!(address = %listener.local_address(), tls = tls.is_some(), "listening");
            let entry = Arc::new(Entry { shared: self.shared.clone(), tls, redirect_https });
            self.shared.tasks.spawn("listener", accept(listener, entry));
        }
        if let Ok(Some(admin)) = admin {
            // Not counted among what the drain waits for: it tells of the drain.
            let state = admin::State { service: self.shared.shutdown.clone() };
            if let Err(error) = admin::serve(admin, state, Shutdown::new(), &self.backend_tasks) {
                return Err(StartError(vec![format!("the admin listener: {error}")]));
            }
        }
        Ok(())
    }

    fn sweep(&self) {
        let shared = self.shared.clone();
        self.backend_tasks.spawn("pool sweeper", async move {
            loop {
                tokio::select! {
                    () = shared.shutdown.draining() => return,
                    () = tokio::time::sleep(SWEEP) => {}
                }
                for backend in &shared.world.load().backends {
                    backend.sweep();
                }
            }
        });
    }

    /// SIGHUP: routes, backends, limits and certificates are read again. Live sockets stay as they are;
    /// whatever is wrong keeps all of the old.
    fn reload(&mut self, reload: Option<&Reload>) {
        let Some(read) = reload else {
            tracing::warn!(fault = "configuration", "SIGHUP: there is no configuration file to read again");
            return;
        };
        match read().map_err(|report| vec![format!("\n{report}")]).and_then(|config| self.apply(config)) {
            Ok(()) => tracing::info!(sockets = self.shared.registry.len(), "reloaded"),
            Err(errors) => {
                for error in errors {
                    tracing::error!(fault = "configuration", "not reloaded, the old configuration stays: {error}");
                }
            }
        }
    }

    fn apply(&mut self, config: Config) -> Result<(), Vec<String>> {
        let mut warnings = config.warnings.clone();
        let mut errors = Vec::new();
        let mut swaps = Vec::new();
        let mut file_warnings = Vec::new();
        for (old, acceptor) in self.config.listeners.iter().zip(&self.acceptors) {
            let new = config.listeners.iter().enumerate().find(|(_, new)| new.listen.address == old.listen.address);
            let same = |(_, new): &(usize, &Listen)| new.listen == old.listen && new.redirect_https == old.redirect_https;
            let Some((n, new)) = new.filter(same) else {
                warnings.push(format!("listener {}: its address and its own keys change at the next start", old.listen.address));
                continue;
            };
            match (acceptor, certificates(n, new, &mut file_warnings)) {
                (Some(acceptor), Ok(Some(fresh))) => swaps.push((acceptor, fresh)),
                (None, Ok(None)) => {}
                (_, Ok(_)) => {
                    warnings.push(format!("listener {}: TLS is switched on or off at the next start", old.listen.address));
                }
                (_, Err(mut more)) => errors.append(&mut more),
            }
        }
        for new in &config.listeners {
            if !self.config.listeners.iter().any(|old| old.listen.address == new.listen.address) {
                warnings.push(format!("listener {}: opened at the next start", new.listen.address));
            }
        }
        let old = &self.config;
        let others = [
            ("threads", old.threads != config.threads),
            ("records", old.records != config.records),
            ("admin", old.admin != config.admin),
        ];
        let changed = others.into_iter().filter(|&(_, changed)| changed);
        warnings.extend(changed.map(|(key, _)| format!("{key}: changes at the next start")));
        let world = world(&config, &self.shared.world.load().backends, &self.backend_tasks).map_err(|more| errors.extend(more));
        let Some(world) = world.ok().filter(|_| errors.is_empty()) else {
            return Err(errors.iter().map(ToString::to_string).collect());
        };
        for (acceptor, certificates) in swaps {
            acceptor.swap(certificates);
        }
        self.shared.world.store(Arc::new(world));
        warnings.extend(file_warnings.iter().map(ToString::to_string));
        for warning in warnings {
            tracing::warn!(fault = "configuration", "{warning}");
        }
        self.config.routes = config.routes;
        self.config.backends = config.backends;
        self.config.serve = config.serve;
        Ok(())
    }

    /// Stops accepting, lets requests finish, ends tunnels; within the grace, or until a second signal.
    async fn end(&self, signals: &mut Signals) {
        let shared = &self.shared;
        let grace = shared.world.load().settings.times.grace;
        tracing::info!(sockets = shared.registry.len(), ?grace, "ending: no new connections; a second signal ends at once");
        shared.shutdown.drain();
        tokio::select! {
            () = shared.tasks.wait() => {}
            () = tokio::time::sleep(grace) => {
                tracing::warn!(connections = shared.tasks.len(), sockets = shared.registry.len(), "the grace is over: what is left is cut");
                shared.shutdown.now();
                // The closes of cut tunnels are quick, but for one that waits for its last bytes to be sent.
                tokio::time::timeout(Duration::from_millis(200), shared.tasks.wait()).await.ok();
            }
            () = second_end(signals) => tracing::warn!("second signal: ending at once"),
        }
        let counters = &shared.counters;
        tracing::info!(
            connections = counters.connections.get(),
            requests = counters.requests.get(),
            tunnels = counters.tunnels.get(),
            panics = counters.panics.get(),
            "ended"
        );
    }
}

async fn second_end(signals: &mut Signals) {
    while signals.next().await != Word::End {}
}
