//! A configuration file and the files that it names, with everything that is wrong with them shown at its
//! place. Opens no socket.

use std::path::Path;

use super::App;
use crate::config::{self, Checked, Report};

/// `spliceway check`: everything that can be said of a file.
pub fn check(path: &Path) -> Checked {
    built(path).0
}

/// What a file describes; or everything that is wrong with it.
pub fn load(path: &Path) -> Result<App, Report> {
    let (checked, app) = built(path);
    app.ok_or(checked.report)
}

fn built(path: &Path) -> (Checked, Option<App>) {
    let mut checked = config::check(path);
    let Some(config) = checked.config.clone() else { return (checked, None) };
    match App::build(config) {
        Ok(app) => {
            for problem in app.file_warnings() {
                checked.report.add_warning(&problem.key, &problem.text);
            }
            (checked, Some(app))
        }
        Err(errors) => {
            for problem in &errors.0 {
                checked.report.add_error(&problem.key, &problem.text);
            }
            (checked, None)
        }
    }
}
