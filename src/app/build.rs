//! Settings become values: certificates are read, tables built. Nothing is opened, nothing dialled.

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use crate::base::Tasks;
use crate::config::Config;
use crate::metrics::Counters;
use crate::serve::World;
use crate::tls::{Acceptor, Certificates};
use crate::upstream::{Backend, HeadLimits};
use crate::{config, route};

/// A process that has not begun yet.
#[derive(Debug)]
pub struct App {
    pub(super) config: Config,
    pub(super) world: World,
    /// One for each listener, in the same order; `None`: plain.
    pub(super) acceptors: Vec<Option<Acceptor>>,
    pub(super) counters: Arc<Counters>,
    /// Connections to backends.
    pub(super) backend_tasks: Tasks,
    /// What an operator should know and nothing fails for.
    pub(super) warnings: Vec<String>,
}

/// What is wrong with files that the configuration names; all of it.
#[derive(Debug)]
pub struct BuildErrors(pub Vec<String>);

impl fmt::Display for BuildErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for error in &self.0 {
            writeln!(f, "error: {error}")?;
        }
        Ok(())
    }
}

impl App {
    /// Builds it.
    pub fn build(config: Config) -> Result<Self, BuildErrors> {
        let counters = Arc::new(Counters::default());
        let backend_tasks = tasks(&counters);
        let mut errors = Vec::new();
        let mut warnings = config.warnings.clone();
        let mut acceptors = Vec::new();
        for listener in &config.listeners {
            match certificates(listener, &mut warnings) {
                Ok(certificates) => acceptors.push(certificates.map(Acceptor::new)),
                Err(mut more) => errors.append(&mut more),
            }
        }
        let world = world(&config, &[], &backend_tasks);
        match (errors.is_empty(), world) {
            (true, Ok(world)) => Ok(Self { config, world, acceptors, counters, backend_tasks, warnings }),
            (_, world) => {
                errors.extend(world.err().unwrap_or_default());
                Err(BuildErrors(errors))
            }
        }
    }

    /// Puts a certificate made on the spot where files would be; for the demo.
    pub(super) fn set_certificates(&mut self, listener: usize, certificates: Certificates) {
        if let Some(acceptor) = self.acceptors.get_mut(listener) {
            *acceptor = Some(Acceptor::new(certificates));
        }
    }
}

/// A place for tasks whose panics are logged and counted.
pub(super) fn tasks(counters: &Arc<Counters>) -> Tasks {
    let counters = counters.clone();
    Tasks::new(move |task, message| {
        counters.panics.add();
        tracing::error!(fault = "spliceway", task, panic = message, "a task panicked; only its own connection ends. Please report this.");
    })
}

/// The certificates of one listener, read anew.
pub(super) fn certificates(listener: &config::Listener, warnings: &mut Vec<String>) -> Result<Option<Certificates>, Vec<String>> {
    let Some(settings) = &listener.tls else { return Ok(None) };
    match Certificates::load(settings, SystemTime::now()) {
        Ok((certificates, more)) => {
            warnings.extend(more.iter().map(ToString::to_string));
            Ok(Some(certificates))
        }
        Err(errors) => Err(errors.iter().map(ToString::to_string).collect()),
    }
}

/// The world that a configuration describes. Backends of `before` whose settings are the same stay, with
/// their counts and pooled connections.
pub(super) fn world(config: &Config, before: &[Arc<Backend>], tasks: &Tasks) -> Result<World, Vec<String>> {
    let heads = HeadLimits { bytes: config.serve.heads.bytes, count: config.serve.heads.count };
    let mut errors = Vec::new();
    let mut backends = Vec::new();
    for settings in &config.backends {
        if let Some(same) = before.iter().find(|backend| backend.settings() == settings) {
            backends.push(same.clone());
            continue;
        }
        match Backend::new(settings.clone(), heads, tasks) {
            Ok(backend) => backends.push(Arc::new(backend)),
            Err(error) => errors.push(format!("backend `{}`: {error}", settings.name)),
        }
    }
    if errors.is_empty() {
        Ok(World { routes: route::Table::new(config.routes.clone()), backends, settings: config.serve.clone() })
    } else {
        Err(errors)
    }
}
