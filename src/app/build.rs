//! Settings become values: certificates are read, tables built. Nothing is opened, nothing dialled.

use std::collections::HashMap;
use std::fmt;
use std::path::Path;
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
    /// What an operator should know of files, and nothing fails for.
    file_warnings: Vec<FileProblem>,
}

/// Something about a file that the configuration names.
#[derive(Clone, Debug)]
pub struct FileProblem {
    /// The key that names it, as in `listen[0].certificate[1].chain`.
    pub key: String,
    /// The file and what is wrong.
    pub text: String,
}

impl fmt::Display for FileProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.key, self.text)
    }
}

/// What is wrong with files that the configuration names; all of it.
#[derive(Debug)]
pub struct BuildErrors(pub Vec<FileProblem>);

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
        let mut file_warnings = Vec::new();
        let mut acceptors = Vec::new();
        for (n, listener) in config.listeners.iter().enumerate() {
            match certificates(n, listener, &mut file_warnings) {
                Ok(certificates) => acceptors.push(certificates.map(Acceptor::new)),
                Err(mut more) => errors.append(&mut more),
            }
        }
        match world(&config, &[], &backend_tasks) {
            Ok(world) if errors.is_empty() => Ok(Self { config, world, acceptors, counters, backend_tasks, file_warnings }),
            world => {
                errors.extend(world.err().unwrap_or_default());
                Err(BuildErrors(errors))
            }
        }
    }

    /// What is wrong with files and does not keep it from running: expired certificates.
    pub fn file_warnings(&self) -> &[FileProblem] {
        &self.file_warnings
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
        tracing::error!(
            fault = "spliceway",
            task,
            panic = message,
            "a task panicked; only its own connection ends. Please report this."
        );
    })
}

/// The certificates of the `n`th listener, read anew.
pub(super) fn certificates(
    n: usize,
    listener: &config::Listener,
    warnings: &mut Vec<FileProblem>,
) -> Result<Option<Certificates>, Vec<FileProblem>> {
    let Some(settings) = &listener.tls else { return Ok(None) };
    let key_of = |file: &Path| {
        let place = settings.certificates.iter().enumerate().find(|(_, files)| files.chain == file || files.key == file);
        place.map_or_else(
            || format!("listen[{n}]"),
            |(at, files)| format!("listen[{n}].certificate[{at}].{}", if files.key == file { "key" } else { "chain" }),
        )
    };
    match Certificates::load(settings, SystemTime::now()) {
        Ok((certificates, more)) => {
            warnings.extend(more.iter().map(|warning| FileProblem { key: key_of(&warning.file), text: warning.to_string() }));
            Ok(Some(certificates))
        }
        Err(errors) => {
            Err(errors.iter().map(|error| FileProblem { key: key_of(&error.file), text: error.to_string() }).collect())
        }
    }
}

/// The world that a configuration describes. A backend of `before` that is the same stays, with its pooled
/// connections; one that changed hands the counts of its servers on. Files are read again.
pub(super) fn world(config: &Config, before: &[Arc<Backend>], tasks: &Tasks) -> Result<World, Vec<FileProblem>> {
    let heads = HeadLimits { bytes: config.serve.heads.bytes, count: config.serve.heads.count };
    let mut errors = Vec::new();
    let mut backends = Vec::new();
    let by_name: HashMap<&str, &Arc<Backend>> = before.iter().map(|old| (old.settings().name.as_str(), old)).collect();
    for settings in &config.backends {
        let old = by_name.get(settings.name.as_str()).copied();
        if let Some(same) = old.filter(|old| old.is_made_from(settings, heads) && settings.tls.ca.is_none()) {
            backends.push(same.clone());
            continue;
        }
        match Backend::new(settings.clone(), heads, tasks, old.map(Arc::as_ref)) {
            Ok(backend) => backends.push(Arc::new(backend)),
            Err(error) => errors.push(FileProblem { key: format!("backend.{}.ca", settings.name), text: error.to_string() }),
        }
    }
    if errors.is_empty() {
        let tunnels = config.tunnels.iter().cloned().map(Arc::new).collect();
        Ok(World { routes: route::Table::new(config.routes.clone()), backends, tunnels, settings: config.serve.clone() })
    } else {
        Err(errors)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    #[allow(clippy::panic)] // it is what is tested
    async fn a_panic_is_counted_and_ends_its_own_task_only() {
        let counters = Arc::new(Counters::default());
        let tasks = tasks(&counters);
        let (tell, told) = tokio::sync::oneshot::channel();
        tasks.spawn("breaks", async { panic!("on purpose") });
        tasks.spawn("lives", async { tell.send(()).expect("the test listens") });
        told.await.expect("the other task lives");
        tasks.wait().await;
        assert_eq!(counters.panics.get(), 1);
    }
}
