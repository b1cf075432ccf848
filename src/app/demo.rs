//! `spliceway demo`: the embedded backend with the proxy in front of it, as a user would put it there.

use std::io::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::broadcast::error::RecvError;

use super::App;
use super::run::{Places, start};
use super::threads::Threads;
use crate::base::Shutdown;
use crate::config::{Config, Listener, Runtime};
use crate::demo::{Backend, invitation};
use crate::listen::{self, Address};
use crate::tls::Certificates;

/// The names a browser on this machine may use.
const NAMES: [&str; 3] = ["localhost", "127.0.0.1", "::1"];
/// Enough for a demo that is left running over a holiday.
const VALIDITY: Duration = Duration::from_secs(30 * 86400);

/// Runs it until a signal. The error is ready to be shown.
pub fn demo(http: SocketAddr, https: SocketAddr) -> Result<(), String> {
    let threads = Threads::new(Runtime::default(), None).map_err(|error| format!("cannot start the threads: {error}"))?;
    let places = Places::of(&threads);
    threads.complete(serve(http, https, places))
}

async fn serve(http: SocketAddr, https: SocketAddr, places: Places) -> Result<(), String> {
    let tasks = super::build::tasks(&Arc::default());
    let shutdown = Shutdown::new();
    let backend =
        Backend::start(&tasks, shutdown.clone()).map_err(|error| format!("the demo's backend cannot start: {error}"))?;
    let mut config = Config::quick(&http.to_string(), &format!("http://{}", backend.address()))?;
    let settings = listen::Settings { address: Address::Ip(https), ..listen::Settings::default() };
    config.listeners.push(Listener { listen: settings, tls: None, redirect_https: None });
    let mut app = App::build(config).map_err(|errors| errors.to_string())?;
    let own = Certificates::self_signed(&NAMES, VALIDITY).map_err(|error| error.to_string())?;
    app.set_certificates(1, own.certificates);
    let running = start(app, &places).map_err(|error| {
        format!("{error}\nthe demo takes other addresses by `--http ADDRESS:PORT` and `--https ADDRESS:PORT`")
    })?;
    let (http, https) = match running.addresses() {
        [Address::Ip(http), Address::Ip(https)] => (*http, *https),
        _ => (http, https),
    };
    say(&invitation(http, https, &own.fingerprint));
    let mut traffic = backend.traffic();
    tasks.spawn("demo traffic", async move {
        loop {
            match traffic.recv().await {
                Ok(line) => say(&line),
                Err(RecvError::Lagged(missed)) => say(&format!("({missed} lines were too quick to show)")),
                Err(RecvError::Closed) => return,
            }
        }
    });
    let ending = running.shutdown();
    tasks.spawn("demo end", async move {
        ending.draining().await;
        shutdown.drain(); // its streams end by themselves, and the proxy has nothing to wait for
    });
    running.serve(None).await;
    Ok(())
}

/// A line for the person at the terminal; one that cannot be written is not worth ending for.
fn say(text: &str) {
    let mut out = std::io::stdout().lock();
    if writeln!(out, "{text}").is_ok() {
        out.flush().ok();
    }
}
