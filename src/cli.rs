//! Words typed become a Command. Not here: doing it.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use tracing_subscriber::EnvFilter;

const EXAMPLES: &str = "\
Examples:
  spliceway demo                             a chat to look at, on http and https
  spliceway run --to http://127.0.0.1:3000   in front of a server, with no file at all
  spliceway check --config site.toml         every mistake of a file, with its line
  spliceway run --config site.toml

Exit codes:
  0  done; or ended by SIGTERM or SIGINT within the grace
  1  could not start, or could not go on
  2  wrong configuration, or wrong words typed

Signals:
  SIGTERM, SIGINT  end: no new connections, live ones get their grace; a second one ends at once
  SIGHUP           read the configuration and the certificates again; live sockets are untouched";

const CONFIG_HELP: &str = "The configuration file [default: config/spliceway.toml, then /etc/spliceway/spliceway.toml]";
const LISTEN_HELP: &str = "With --to: where to listen, as 127.0.0.1:8080, [::]:80 or unix:PATH [default: 127.0.0.1:8080]";

/// The reverse proxy that gets WebSockets right: one port for HTTP and WebSocket, in front of real servers.
#[derive(Clone, Debug, PartialEq, Eq, Parser)]
#[command(name = "spliceway", version, after_help = EXAMPLES, max_term_width = 110, arg_required_else_help = true)]
pub struct Words {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// How to log.
    #[command(flatten)]
    pub log: Log,
}

/// How to log. Logs go to standard error.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
pub struct Log {
    /// How log lines look; auto: human on a terminal, else json
    #[arg(long = "log-format", global = true, value_enum, default_value = "auto", value_name = "FORMAT")]
    pub format: LogFormat,
    /// What is logged: error, warn, info, debug, trace, or directives such as `info,spliceway::serve=debug`
    #[arg(long = "log-level", global = true, env = "SPLICEWAY_LOG", default_value = "info", value_name = "LEVEL", value_parser = level)]
    pub level: String,
}

/// Takes what the log's filter takes, but for a single word that is no level: the filter would take it for
/// a part of the program, and log nothing at all.
fn level(text: &str) -> Result<String, String> {
    const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
    let known = |part: &str| part.contains(['=', '[']) || LEVELS.iter().any(|level| part.eq_ignore_ascii_case(level));
    match text.split(',').map(str::trim).find(|part| !known(part)) {
        Some(part) => Err(format!("`{part}` is no level; there are {}", LEVELS.join(", "))),
        None => {
            EnvFilter::try_new(text).map(|_| text.to_owned()).map_err(|error| format!("{error}; there are {}", LEVELS.join(", ")))
        }
    }
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// Human on a terminal, else JSON.
    Auto,
    /// For people.
    Human,
    /// One JSON object a line.
    Json,
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq, Subcommand)]
pub enum Command {
    /// Run the proxy
    #[command(after_help = "\
Examples:
  spliceway run                              by the first default file that is there
  spliceway run --config site.toml
  spliceway run --to http://127.0.0.1:3000   listens on 127.0.0.1:8080
  spliceway run --listen '[::]:80' --to unix:/run/app.sock")]
    Run {
        /// The file, where one is named.
        #[arg(long, short, value_name = "FILE", help = CONFIG_HELP, conflicts_with_all = ["listen", "to"])]
        config: Option<PathBuf>,
        /// Where to listen, with `to`.
        #[arg(long, value_name = "ADDRESS", help = LISTEN_HELP, requires = "to")]
        listen: Option<String>,
        /// Instead of a file: send everything to this server, http://, https:// or h2c://HOST:PORT or unix:PATH
        #[arg(long, value_name = "URL")]
        to: Option<String>,
    },
    /// Check a configuration: every mistake at once, with file, line and what would be valid
    #[command(after_help = "Exit codes: 0 the configuration is good, 2 it is not")]
    Check {
        /// The file, where one is named.
        #[arg(long, short, value_name = "FILE", help = CONFIG_HELP)]
        config: Option<PathBuf>,
    },
    /// Show it at work: a small chat behind the proxy, on http and https, with a certificate made on the spot
    Demo {
        /// Where to listen for http
        #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8080")]
        http: SocketAddr,
        /// Where to listen for https
        #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8443")]
        https: SocketAddr,
    },
}

impl Words {
    /// Where `run --to` listens when nothing else is said.
    pub const DEFAULT_LISTEN: &'static str = "127.0.0.1:8080";

    /// The words this process was started with. Help, version and wrong words are answered here, and
    /// the process ends with 0 or 2.
    pub fn typed() -> Self {
        Self::parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(words: &str) -> Result<Words, clap::error::ErrorKind> {
        Words::try_parse_from(words.split(' ')).map_err(|error| error.kind())
    }

    #[test]
    fn the_definition_is_sound() {
        use clap::CommandFactory;
        Words::command().debug_assert();
    }

    #[test]
    fn a_file_and_two_words_exclude_each_other() {
        use clap::error::ErrorKind::{ArgumentConflict, MissingRequiredArgument};
        assert_eq!(read("spliceway run --config a --to http://b"), Err(ArgumentConflict));
        assert_eq!(read("spliceway run --listen 127.0.0.1:80"), Err(MissingRequiredArgument));
        let to = Command::Run { config: None, listen: None, to: Some("http://b".to_owned()) };
        assert_eq!(read("spliceway run --to http://b").unwrap().command, to);
    }

    #[test]
    fn logging_is_said_before_or_after_the_command() {
        assert_eq!(read("spliceway --log-format json check").unwrap().log.format, LogFormat::Json);
        assert_eq!(read("spliceway check --log-level debug -c a").unwrap().log.level, "debug");
    }

    #[test]
    fn the_help_says_how_it_ends() {
        use clap::CommandFactory;
        let help = Words::command().render_help().to_string();
        assert!(help.contains("2  wrong configuration"), "{help}");
    }
}
