//! The binary: exit codes, logging. Everything else is the library's.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;

use spliceway::app::{self, App, Reload};
use spliceway::base::Heap;
use spliceway::cli::{Command, Log, LogFormat, Words};
use spliceway::config::{self, Config};
use spliceway::log::Flush;

#[global_allocator]
static HEAP: Heap = Heap;

/// Could not start, or stopped for an error.
const FAILED: u8 = 1;
/// The configuration, or a word typed, is wrong.
const WRONG: u8 = 2;

/// What ends the process early: its exit code, and words for a person.
type Failure = (u8, String);

fn main() -> ExitCode {
    let words = Words::typed(); // ends with 2 itself
    let outcome = match words.command {
        Command::Check { config } => check(config),
        Command::Run { config, listen: None, to: None } => run_file(config, &words.log),
        Command::Run { listen, to, .. } => run_quick(listen.as_deref(), to.as_deref(), &words.log),
        Command::Demo { http, https } => {
            let _log = logging(&words.log);
            app::demo(http, https).map_err(failed)
        }
    };
    let Err((code, text)) = outcome else { return ExitCode::SUCCESS };
    #[allow(clippy::print_stderr)] // for a person, not for the log
    {
        eprintln!("{}", text.trim_end());
    }
    ExitCode::from(code)
}

fn find(config: Option<PathBuf>) -> Result<PathBuf, Failure> {
    config.map_or_else(config::find, Ok).map_err(|error| (WRONG, format!("error: {error}")))
}

fn check(config: Option<PathBuf>) -> Result<(), Failure> {
    let path = find(config)?;
    let checked = app::check(&path);
    let text = checked.text(std::io::stdout().is_terminal());
    if !checked.is_usable() {
        return Err((WRONG, text));
    }
    #[allow(clippy::print_stdout)] // what was asked for
    {
        println!("{}", text.trim_end());
    }
    Ok(())
}

fn run_file(config: Option<PathBuf>, log: &Log) -> Result<(), Failure> {
    let path = find(config)?;
    let _log = logging(log);
    let app = app::load(&path).map_err(|report| (WRONG, report.render(std::io::stderr().is_terminal())))?;
    run(app, Some(Box::new(move || config::check(&path))))
}

fn run_quick(listen: Option<&str>, to: Option<&str>, log: &Log) -> Result<(), Failure> {
    let Some(to) = to else { return Err((WRONG, "error: --listen needs --to, the address of a backend".to_owned())) };
    let config =
        Config::quick(listen.unwrap_or(Words::DEFAULT_LISTEN), to).map_err(|error| (WRONG, format!("error: {error}")))?;
    let _log = logging(log);
    run(App::build(config).map_err(|errors| (WRONG, errors.to_string()))?, None)
}

fn run(app: App, reload: Option<Reload>) -> Result<(), Failure> {
    app::run(app, reload).map_err(failed)
}

fn failed(error: impl std::fmt::Display) -> Failure {
    (FAILED, format!("error: {error}"))
}

/// Logs until what it gives is dropped.
fn logging(log: &Log) -> Flush {
    let human = log.format == LogFormat::Human || (log.format == LogFormat::Auto && std::io::stderr().is_terminal());
    spliceway::log::start(&log.level, human)
}
