//! A process from bind to exit: listeners, signals, drain.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::runtime::Handle;

use super::build::{App, tasks};
use super::reload::Reload;
use super::signals::{Signals, Word};
use super::threads::Threads;
use crate::admin;
use crate::base::{Ebb, Shutdown, Tasks, give_back};
use crate::config::{self, Config};
use crate::listen::{Address, Listener, raise_open_files};
use crate::serve::{Entry, Shared, accept};
use crate::session::Registry;
use crate::tls::Acceptor;
use crate::tunnel::Engines;

/// How often pooled connections are looked through.
const SWEEP: Duration = Duration::from_secs(5);

/// How often it is looked whether many connections have gone.
const EBB: Duration = Duration::from_secs(1);

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
    pub(super) shared: Arc<Shared>,
    pub(super) config: Config,
    pub(super) acceptors: Vec<Option<Acceptor>>,
    pub(super) backend_tasks: Tasks,
    addresses: Vec<Address>,
    signals: Signals,
}

/// Serves until a signal ends it. Returns when everything has ended, or the grace has.
pub fn run(app: App, reload: Option<Reload>) -> Result<(), StartError> {
    let threads = Threads::of(&app).map_err(|error| no_threads(&error))?;
    let places = Places::of(&threads);
    threads.complete(async {
        start(app, &places)?.serve(reload).await;
        Ok(())
    })
}

fn no_threads(error: &io::Error) -> StartError {
    StartError(vec![format!("cannot start the threads: {error}")])
}

/// Where connections are accepted, and tunnels driven.
#[derive(Debug)]
pub struct Places {
    runtimes: Vec<Handle>,
    threads: usize,
}

impl Places {
    /// Those that threads have.
    pub fn of(threads: &Threads) -> Self {
        Self { runtimes: threads.handles(), threads: threads.count() }
    }
}

/// Opens what is to be opened, and serves from then on; inside the first of the runtimes.
pub fn start(app: App, places: &Places) -> Result<Running, StartError> {
    for warning in &app.config.warnings {
        tracing::warn!(fault = "configuration", "{warning}");
    }
    for warning in app.file_warnings() {
        tracing::warn!(fault = "configuration", "{warning}");
    }
    // Before anything is opened: who can connect may also send a signal, which would else kill.
    let signals = Signals::new().map_err(|error| StartError(vec![format!("cannot listen to signals: {error}")]))?;
    let App { config, world, acceptors, counters, backend_tasks, .. } = app;
    say_open_files();
    let engines = (config.engine == config::Engine::Epoll).then(|| Engines::new(places.threads)).transpose();
    let engines = engines.map_err(|error| StartError(vec![format!("cannot open an epoll instance: {error}")]))?;
    let shared = Arc::new(Shared {
        world: ArcSwap::from_pointee(world),
        registry: Registry::default(),
        tasks: tasks(&counters),
        counters,
        engines,
        shutdown: Shutdown::new(),
        records: config.records,
    });
    let mut running = Running { shared, config, acceptors, backend_tasks, addresses: Vec::new(), signals };
    running.drive(places)?;
    running.open(places)?;
    running.sweep();
    running.ebb();
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
        tracing::info!("ready");
        while self.signals.next().await == Word::Reload {
            self.reload(reload.as_ref());
        }
        end(&self.shared, &mut self.signals).await;
    }

    /// Starts the engines.
    fn drive(&self, places: &Places) -> Result<(), StartError> {
        let Some(engines) = &self.shared.engines else { return Ok(()) };
        for number in 0..engines.count() {
            let Some(runtime) = places.runtimes.get(number % places.runtimes.len()) else { continue };
            let _inside = runtime.enter();
            let engine = engines
                .engine(number, &self.shared.shutdown, self.shared.tasks.clone())
                .map_err(|error| StartError(vec![format!("cannot watch an epoll instance: {error}")]))?;
            // Not counted among what the drain waits for: its tunnels are.
            self.backend_tasks.spawn_on("engine", engine, runtime);
        }
        Ok(())
    }

    /// Binds every listener, or says of each why not; then serves them.
    fn open(&mut self, places: &Places) -> Result<(), StartError> {
        let mut errors = Vec::new();
        let mut listeners = Vec::new();
        for (listener, tls) in self.config.listeners.iter().zip(&self.acceptors) {
            match Listener::bind_in(&listener.listen, &places.runtimes) {
                Ok(bound) => listeners.push((bound, tls.clone(), listener.redirect_https)),
                Err(error) => errors.push(error.to_string()),
            }
        }
        let admin = self.config.admin.as_ref().map(admin::bind).transpose().map_err(|error| errors.push(error.to_string()));
        if !errors.is_empty() {
            return Err(StartError(errors));
        }
        for (bound, tls, redirect_https) in listeners {
            if let Some(first) = bound.first() {
                self.addresses.push(first.local_address().clone());
                tracing::info!(address = %first.local_address(), tls = tls.is_some(), "listening");
            }
            let entry = Arc::new(Entry { shared: self.shared.clone(), tls, redirect_https });
            let spread = if bound.len() == 1 { places.runtimes.clone() } else { Vec::new() };
            for (listener, runtime) in bound.into_iter().zip(&places.runtimes) {
                self.shared.tasks.spawn_on("listener", accept(listener, entry.clone(), spread.clone()), runtime);
            }
        }
        if let Ok(Some(admin)) = admin {
            // Not counted among what the drain waits for: it tells of the drain.
            if let Ok(address) = admin.local_addr() {
                tracing::info!(%address, "admin listening");
            }
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

    /// After a crowd has left, the memory that it took goes back to the system.
    fn ebb(&self) {
        let shared = self.shared.clone();
        self.backend_tasks.spawn("memory", async move {
            let mut ebb = Ebb::default();
            loop {
                tokio::select! {
                    () = shared.shutdown.draining() => return,
                    () = tokio::time::sleep(EBB) => {}
                }
                if ebb.is_out(shared.tasks.len()) {
                    tokio::task::spawn_blocking(give_back).await.ok(); // it can hold up whoever it is called by
                }
            }
        });
    }
}

/// Stops accepting, lets requests finish, ends tunnels; within the grace, or until a second signal.
async fn end(shared: &Shared, signals: &mut Signals) {
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

async fn second_end(signals: &mut Signals) {
    while signals.next().await != Word::End {}
}
