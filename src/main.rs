//! The binary: exit codes, logging, runtime. Everything else is the library's.

use std::io::IsTerminal;
use std::process::ExitCode;

use clap::Parser;
use spliceway::app::{self, App, Reload};
use spliceway::cli::{Cli, Command, LogFormat};
use spliceway::config::{self, Config};
use tracing_subscriber::EnvFilter;

/// Could not start, or stopped for an error.
const FAILED: u8 = 1;
/// The configuration, or a word typed, is wrong.
const WRONG: u8 = 2;

fn main() -> ExitCode {
    let cli = Cli::parse(); // ends with 2 itself
    logging(&cli);
    let outcome = match cli.command {
        Command::Check { config } => check(&config::find(config)),
        Command::Run { config, listen, to } => match (listen, to) {
            (None, None) => run_file(config::find(config)),
            (listen, to) => run_quick(listen, to),
        },
        Command::Demo { http, https } => app::demo(http, https).map_err(|error| (FAILED, format!("error: {error}"))),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err((code, text)) => {
            #[allow(clippy::print_stderr)] // for a person, not for the log
            {
                eprintln!("{}", text.trim_end());
            }
            ExitCode::from(code)
        }
    }
}
