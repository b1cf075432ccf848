//! One file from its text to a `Config` or a `Report`: the order of the reading, and what may be said
//! of a file that could be read in part only.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use toml::de::DeTable;

use super::backends::Backends;
use super::reading::{Reading, Section};
use super::report::{Mistake, Report, Weight};
use super::syntax::{self, Syntax};
use super::tunnels::Tunnels;
use super::{Config, general, listeners, routes};
use crate::serve;

/// Where a configuration is looked for when none is named.
const PLACES: [&str; 2] = ["config/spliceway.toml", "/etc/spliceway/spliceway.toml"];

/// What a check of a file found.
#[derive(Debug)]
pub struct Checked {
    /// The configuration, where the file is free of mistakes.
    pub config: Option<Config>,
    /// Everything there is to say; another room's findings can be added with [`Report::add_error`].
    pub report: Report,
}

impl Checked {
    /// Whether the file can be used.
    pub fn is_usable(&self) -> bool {
        !self.report.is_fatal()
    }

    /// What to print: the report if it says anything, else one line on what the file holds.
    pub fn text(&self, color: bool) -> String {
        match &self.config {
            Some(config) if self.is_usable() => {
                let warnings = if self.report.is_empty() { String::new() } else { self.report.render(color) };
                format!("{warnings}{}\n", holds(config))
            }
            _ => self.report.render(color),
        }
    }
}

fn holds(config: &Config) -> String {
    let count = |number: usize, noun: &str| format!("{number} {noun}{}", if number == 1 { "" } else { "s" });
    let listeners = count(config.listeners.len(), "listener");
    let (routes, backends) = (count(config.routes.len(), "route"), count(config.backends.len(), "backend"));
    format!("the configuration is good: {listeners}, {routes}, {backends}")
}

/// The file that is used when none is named: `config/spliceway.toml`, else `/etc/spliceway/spliceway.toml`.
/// The error says so.
pub fn find() -> Result<PathBuf, String> {
    PLACES.into_iter().map(PathBuf::from).find(|path| path.is_file()).ok_or_else(|| {
        let [here, there] = PLACES;
        format!("no configuration: there is no {here} and no {there}; name one with --config FILE, or use --listen and --to")
    })
}

/// Reads a file. Variables come from the environment of the process.
pub fn load(path: &Path) -> Result<Config, Report> {
    let checked = check(path);
    checked.config.ok_or(checked.report)
}

/// Reads a file and says everything there is to say of it.
pub fn check(path: &Path) -> Checked {
    let name = path.display().to_string();
    let directory = path.parent().unwrap_or(Path::new(""));
    let text = match std::fs::read(path) {
        Ok(bytes) => match String::from_utf8(bytes) {
            Ok(text) => text,
            Err(error) => return Checked { config: None, report: not_text(&name, &error) },
        },
        Err(error) => {
            let mut mistake = Mistake::new(None, "", format!("cannot read the configuration {name}: {error}"));
            if error.kind() == std::io::ErrorKind::NotFound {
                mistake.help.push("name a file with `--config FILE`".to_owned());
            }
            return Checked { config: None, report: Report::unreadable(&name, mistake) };
        }
    };
    check_text(&text, &name, directory, &|variable| std::env::var(variable).ok())
}

fn not_text(name: &str, error: &std::string::FromUtf8Error) -> Report {
    let at = error.utf8_error().valid_up_to();
    let text = String::from_utf8_lossy(error.as_bytes());
    let end = at + char::REPLACEMENT_CHARACTER.len_utf8();
    let mut mistake = Mistake::new(Some(at..end), "", "this is not UTF-8 text");
    mistake.label.push_str("the first such byte");
    Report::new(name, &text, vec![mistake], std::collections::BTreeMap::new())
}

/// Reads a text. Pure but for `environment`: relative paths are joined to `directory`, nothing is opened.
pub fn read(
    text: &str,
    file_name: &str,
    directory: &Path,
    environment: &dyn Fn(&str) -> Option<String>,
) -> Result<Config, Report> {
    let checked = check_text(text, file_name, directory, environment);
    checked.config.ok_or(checked.report)
}

/// Likewise, with everything there is to say of it.
pub fn check_text(text: &str, file_name: &str, directory: &Path, environment: &dyn Fn(&str) -> Option<String>) -> Checked {
    let (config, report, _) = run(text, file_name, directory, environment);
    let config = (!report.is_fatal()).then(|| Config { warnings: report.warnings(), ..config });
    Checked { config, report }
}

/// Every key that is asked for in reading this text, as in `route[].path` and `backend.*.servers`: what
/// the reference has to document.
pub fn keys_asked(text: &str) -> BTreeSet<String> {
    run(text, "", Path::new(""), &|_| None).2
}

fn run(
    text: &str,
    file_name: &str,
    directory: &Path,
    environment: &dyn Fn(&str) -> Option<String>,
) -> (Config, Report, BTreeSet<String>) {
    let (tree, errors) = DeTable::parse_recoverable(text);
    let syntax = syntax::judge(text, tree.get_ref(), &errors);
    let reading = Reading::new(text, directory, environment);
    let config = config(reading.root(tree.get_ref()));
    let notes = reading.into_notes();
    let mistakes = together(text, &syntax, notes.mistakes);
    (config, Report::new(file_name, text, mistakes, notes.places), notes.asked)
}

fn config(root: Section<'_>) -> Config {
    let threads = general::threads(&root);
    let (runtime, engine) = general::arrangement(&root);
    let (serve, times) = general::serve(&root);
    let record_layer = general::record_layer(&root);
    let serve = serve::Settings { record_layer, ..serve };
    let records = root.flag("records", true);
    let admin = general::admin(&root);
    let listeners = listeners::read(&root, admin.as_ref().map(|(settings, text)| (settings.address, text)));
    let mut backends = Backends::read(&root, times.connect);
    let mut tunnels = Tunnels::read(&root);
    let routes = routes::read(&root, &mut backends, &mut tunnels, &times);
    let mut backends = backends.finish(&root);
    for backend in &mut backends {
        backend.tls.record_layer = record_layer;
    }
    root.finish();
    let admin = admin.map(|(settings, _)| settings);
    let tunnels = tunnels.finish();
    Config { threads, runtime, engine, listeners, backends, tunnels, routes, serve, admin, records, warnings: Vec::new() }
}

/// Where the form is broken, what is missing may be there after all, and a line that could not be
/// read has had its say.
fn together(text: &str, syntax: &Syntax, mut found: Vec<Mistake>) -> Vec<Mistake> {
    if !syntax.mistakes.is_empty() || found.iter().any(|mistake| mistake.weight == Weight::Error) {
        // What is unused may have been meant where something else is wrong.
        found.retain(|mistake| mistake.weight == Weight::Error || !mistake.needs_whole_file);
    }
    if syntax.mistakes.is_empty() {
        return found;
    }
    let line = |at: usize| text.get(..at).map_or(0, |before| before.matches('\n').count());
    let broken: BTreeSet<_> = syntax.mistakes.iter().filter_map(|mistake| Some(line(mistake.span.as_ref()?.start))).collect();
    let holds = |mistake: &Mistake| {
        let start = mistake.span.as_ref().map_or(0, |span| span.start);
        !mistake.needs_whole_file && !broken.contains(&line(start)) && syntax.lost_from.is_none_or(|lost| start < lost)
    };
    let mut all = syntax.mistakes.clone();
    all.extend(found.into_iter().filter(holds));
    all
}
