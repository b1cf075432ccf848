//! The certificates of a listener, and which of them a client gets. Not their files.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::SystemTime;

use rustls::SignatureScheme;
use rustls::sign::CertifiedKey;

use super::fault::{Fault, LoadError, Warning};
use super::load::{self, Loaded};
use super::settings::ServerSettings;

/// The certificates of one listener, to be chosen from by SNI.
///
/// Invariant: there is at least one, the default.
#[derive(Debug)]
pub struct Certificates {
    default: Arc<CertifiedKey>,
    /// By whole name, lower case. Several where one name has keys of several kinds (RSA beside ECDSA).
    exact: HashMap<String, Vec<Arc<CertifiedKey>>>,
    /// By what follows `*.`, lower case.
    wildcard: HashMap<String, Vec<Arc<CertifiedKey>>>,
}

impl Certificates {
    /// Loads all of them. Every fault of every file is found in one go; what is only odd is a warning.
    pub fn load(settings: &ServerSettings, now: SystemTime) -> Result<(Self, Vec<Warning>), Vec<LoadError>> {
        let (mut loaded, mut errors, mut warnings) = (Vec::new(), Vec::new(), Vec::new());
        for files in &settings.certificates {
            match load::load(files, now, &mut warnings) {
                Ok(one) => loaded.push(one),
                Err(found) => errors.extend(found),
            }
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        let none = || vec![LoadError { file: "".into(), fault: Fault::NoneGiven }];
        Ok((Self::new(loaded).ok_or_else(none)?, warnings))
    }

    /// The first is the default. `None` where there is none.
    pub(super) fn new(loaded: Vec<Loaded>) -> Option<Self> {
        let default = loaded.first()?.key.clone();
        let mut this = Self { default, exact: HashMap::new(), wildcard: HashMap::new() };
        for Loaded { key, names } in loaded {
            for name in names {
                let name = normal(&name);
                let (table, name) = match name.strip_prefix("*.") {
                    Some(parent) => (&mut this.wildcard, parent),
                    None => (&mut this.exact, name.as_str()),
                };
                table.entry(name.to_owned()).or_default().push(key.clone());
            }
        }
        Some(this)
    }

    /// The certificate for a client that asked for `name` and can check signatures of these `schemes`:
    /// the exact name, else a wildcard over its first label (RFC 6125, 6.4.3), else the default. Of
    /// several for one name it is the first that the client can check, in the order of the settings.
    pub(super) fn choose(&self, name: Option<&str>, schemes: &[SignatureScheme]) -> Arc<CertifiedKey> {
        let found = name.map(normal).and_then(|name| {
            let wildcard = || name.split_once('.').and_then(|(_, parent)| self.wildcard.get(parent));
            self.exact.get(&name).or_else(wildcard)
        });
        let Some(found) = found else { return self.default.clone() };
        let fitting = found.iter().find(|key| key.key.choose_scheme(schemes).is_some());
        fitting.or(found.first()).unwrap_or(&self.default).clone()
    }
}

fn normal(name: &str) -> String {
    name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase()
}
