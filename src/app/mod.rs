//! Assembly: settings become rooms, rooms become a running process. The only room that knows all rooms.
//!
//! It knows no protocol. `build` opens nothing; `run` binds, serves, reloads and ends.

mod build;
// mod demo;
mod run;
mod signals;

pub use build::{App, BuildErrors};
// pub use demo::demo;
pub use run::{Reload, StartError, run};

use crate::config::Config;

/// Everything that is wrong with the files a configuration names, beyond its text: certificates, keys,
/// authorities. Also gives what is only worth a warning.
pub fn check_files(config: &Config) -> Result<Vec<String>, BuildErrors> {
    let app = App::build(config.clone())?;
    Ok(app.warnings)
}
