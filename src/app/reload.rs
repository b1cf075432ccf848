//! SIGHUP: the configuration and the files it names are read again and compared with what runs.
//!
//! Everything is made before anything is put in its place: whatever is wrong keeps all of the old. Live
//! sockets stay as they are.

use std::sync::Arc;

use super::build::{FileProblem, certificates, world};
use super::run::Running;
use crate::config::{Checked, Config};
use crate::serve::World;
use crate::tls::{Acceptor, Certificates};

/// Reads the configuration again. `None` in [`super::run`]: there is no file.
pub type Reload = Box<dyn Fn() -> Checked + Send>;

/// What a reload is going to do.
struct Plan {
    config: Config,
    world: Option<World>,
    swaps: Vec<(Acceptor, Certificates)>,
    errors: Vec<FileProblem>,
    warnings: Vec<String>,
}

impl Running {
    pub(super) fn reload(&mut self, reload: Option<&Reload>) {
        let Some(read) = reload else {
            tracing::warn!(fault = "configuration", "SIGHUP: there is no configuration file to read again");
            return;
        };
        let mut checked = read();
        let errors = match checked.config.take().map(|config| self.plan(config)) {
            Some(Plan { config, world: Some(world), swaps, errors, warnings }) if errors.is_empty() => {
                self.put_in_place(config, world, swaps);
                for warning in warnings {
                    tracing::warn!(fault = "configuration", "{warning}");
                }
                return tracing::info!(sockets = self.shared.registry.len(), "reloaded");
            }
            plan => plan.map(|plan| plan.errors).unwrap_or_default(),
        };
        for error in errors {
            checked.report.add_error(&error.key, error.text);
        }
        let report = checked.report.render(false);
        tracing::error!(fault = "configuration", "not reloaded, the old configuration stays:\n{}", report.trim_end());
    }

    fn plan(&self, config: Config) -> Plan {
        let warnings = config.warnings.clone();
        let mut plan = Plan { config, world: None, swaps: Vec::new(), errors: Vec::new(), warnings };
        self.plan_listeners(&mut plan);
        let (old, new) = (&self.config, &plan.config);
        let others = [
            ("threads", old.threads != new.threads),
            ("runtime", old.runtime != new.runtime),
            ("engine", old.engine != new.engine),
            ("records", old.records != new.records),
            ("admin", old.admin != new.admin),
        ];
        let changed = others.into_iter().filter(|&(_, changed)| changed);
        plan.warnings.extend(changed.map(|(key, _)| format!("{key}: changes at the next start")));
        match world(new, &self.shared.world.load().backends, &self.backend_tasks) {
            Ok(world) => plan.world = Some(world),
            Err(errors) => plan.errors.extend(errors),
        }
        plan
    }

    /// Sockets stay as they were opened; certificates are read again.
    fn plan_listeners(&self, plan: &mut Plan) {
        let Plan { config, swaps, errors, warnings, .. } = plan;
        let mut file_warnings = Vec::new();
        let mut left: Vec<_> = config.listeners.iter().enumerate().collect();
        for (old, acceptor) in self.config.listeners.iter().zip(&self.acceptors) {
            let address = &old.listen.address;
            let Some(at) = left.iter().position(|(_, new)| new.listen.address == *address) else {
                warnings.push(format!("listener {address}: closed at the next start"));
                continue;
            };
            let (n, new) = left.remove(at);
            if new.listen != old.listen || new.redirect_https != old.redirect_https {
                warnings.push(format!("listener {address}: its own keys change at the next start"));
            }
            match (acceptor, certificates(n, new, &mut file_warnings)) {
                (Some(acceptor), Ok(Some(fresh))) => swaps.push((acceptor.clone(), fresh)),
                (None, Ok(None)) => {}
                (_, Ok(_)) => warnings.push(format!("listener {address}: TLS is switched on or off at the next start")),
                (_, Err(more)) => errors.extend(more),
            }
        }
        warnings.extend(left.iter().map(|(_, new)| format!("listener {}: opened at the next start", new.listen.address)));
        warnings.extend(file_warnings.iter().map(ToString::to_string));
    }

    fn put_in_place(&mut self, config: Config, world: World, swaps: Vec<(Acceptor, Certificates)>) {
        for (acceptor, certificates) in swaps {
            acceptor.swap(certificates);
        }
        self.shared.world.store(Arc::new(world));
        self.config.routes = config.routes;
        self.config.backends = config.backends;
        self.config.tunnels = config.tunnels;
        self.config.serve = config.serve;
    }
}
