//! `spliceway check`: the text of a configuration, and the files that it names.

use std::path::Path;

use super::App;
use crate::config::{self, Checked};

/// Checks a configuration and everything it names that can be looked at without opening a socket.
pub fn check(path: &Path) -> Checked {
    let mut checked = config::check(path);
    let Some(config) = checked.config.clone() else { return checked };
    match App::build(config) {
        Ok(app) => {
            for problem in app.file_warnings() {
                checked.report.add_warning(&problem.key, &problem.text);
            }
        }
        Err(errors) => {
            for problem in &errors.0 {
                checked.report.add_error(&problem.key, &problem.text);
            }
        }
    }
    checked
}
