//! The real binary as a process: its config, its addresses, its log, its memory, its end.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use super::{Backend, Conn, LIMIT};

/// A configuration in the making.
pub struct Setup {
    text: String,
    words: Vec<(String, String)>,
    args: Vec<String>,
    env: Vec<(String, String)>,
    through: Vec<String>,
    dir: TempDir,
}

impl Setup {
    /// A word in braces in the text becomes this: `{backend}` with `("backend", url)`. `{dir}` is there
    /// from the start: the directory of the config.
    #[must_use]
    pub fn put(mut self, word: &str, value: impl ToString) -> Self {
        self.words.push((format!("{{{word}}}"), value.to_string()));
        self
    }

    /// A file beside the config, made before the start.
    #[must_use]
    pub fn file(self, name: &str, bytes: impl AsRef<[u8]>) -> Self {
        let path = self.dir.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
        self
    }

    /// One more word on the command line.
    #[must_use]
    pub fn arg(mut self, arg: &str) -> Self {
        self.args.push(arg.to_owned());
        self
    }

    /// A variable in its environment.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Starts it by way of a command that becomes it, such as `prlimit --nofile=64`.
    #[must_use]
    pub fn through(mut self, command: &[&str]) -> Self {
        self.through = command.iter().map(|&word| word.to_owned()).collect();
        self
    }

    /// The directory of the config.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Starts it and waits until it is ready.
    #[track_caller]
    pub fn start(self) -> Proxy {
        let proxy = self.launch();
        let ready = proxy.log.wait(LIMIT, |lines| lines.iter().find(|line| line.message() == "ready").cloned());
        assert!(ready.is_ok(), "the proxy was not ready within {LIMIT:?}, or ended; its log:\n{}", proxy.log.text());
        proxy
    }

    /// Starts it without waiting for anything: for those that must not come up.
    pub fn launch(self) -> Proxy {
        let config = self.dir.path().join("spliceway.toml");
        std::fs::write(&config, self.filled()).unwrap();
        let mut words = self.through.iter().map(String::as_str).chain([env!("CARGO_BIN_EXE_spliceway")]);
        let mut command = Command::new(words.next().unwrap());
        command.args(words).args(["run", "--config"]).arg(&config).args(["--log-format", "json"]).args(&self.args);
        command.env_remove("RUST_LOG").envs(self.env).current_dir(self.dir.path());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("starting the proxy");
        let log = Arc::new(Log::default());
        let (stderr, gathered) = (child.stderr.take().unwrap(), Arc::clone(&log));
        thread::spawn(move || gathered.gather(BufReader::new(stderr)));
        Proxy { child, log, dir: self.dir, config, words: self.words, exit: None }
    }

    fn filled(&self) -> String {
        fill(&self.text, &self.words, self.dir.path())
    }
}

/// With the lines of `ARRANGEMENT` before it, such as `engine = "tasks"`: the same promises hold for each way in which the
/// work can be arranged. A test that says such a key itself keeps its own.
fn arranged(text: &str) -> String {
    let said = |line: &&str| line.split('=').next().is_some_and(|key| text.lines().any(|own| own.starts_with(key)));
    let arrangement = std::env::var("ARRANGEMENT").unwrap_or_default();
    arrangement.lines().filter(|line| !said(line)).chain([text]).collect::<Vec<_>>().join("\n")
}

fn fill(text: &str, words: &[(String, String)], dir: &Path) -> String {
    let text = arranged(text).replace("{dir}", &dir.display().to_string());
    words.iter().fold(text, |text, (word, value)| text.replace(word, value))
}

/// A running proxy. Its drop kills it, and shows its log where the test has failed.
pub struct Proxy {
    child: Child,
    log: Arc<Log>,
    dir: TempDir,
    config: PathBuf,
    words: Vec<(String, String)>,
    exit: Option<ExitStatus>,
}

impl Proxy {
    /// A config text to complete.
    pub fn setup(text: &str) -> Setup {
        let dir = tempfile::tempdir().expect("a temporary directory");
        Setup { text: text.to_owned(), words: Vec::new(), args: Vec::new(), env: Vec::new(), through: Vec::new(), dir }
    }

    /// Runs with this config.
    #[track_caller]
    pub fn start(text: &str) -> Self {
        Self::setup(text).start()
    }

    /// One listener, one route, this backend: everything else as it comes.
    #[track_caller]
    pub fn before(backend: &Backend) -> Self {
        Self::before_with(backend, "", "")
    }

    /// The same, with text before the tables (or other tables) and text inside the route.
    #[track_caller]
    pub fn before_with(backend: &Backend, head: &str, route: &str) -> Self {
        let text = format!("{head}\n[[listen]]\naddress = \"127.0.0.1:0\"\n[[route]]\nbackend = \"{{backend}}\"\n{route}\n");
        Self::setup(&text).put("backend", backend.url()).start()
    }

    /// The address of the n-th listener that was announced.
    #[track_caller]
    pub fn address(&self, n: usize) -> SocketAddr {
        // Not by `logs`, which copies all there is: this is asked for each client.
        let listening: Vec<Line> = {
            let state = self.log.state.lock().unwrap();
            state.lines.iter().filter(|line| line.message() == "listening").take(n + 1).cloned().collect()
        };
        let line = listening.get(n).unwrap_or_else(|| panic!("listener {n} of {}:\n{}", listening.len(), self.log.text()));
        line.text("address").parse().unwrap_or_else(|e| panic!("{}: {e}", line.raw))
    }

    /// A client on the first listener.
    #[track_caller]
    pub fn connect(&self) -> Conn {
        Conn::connect(self.address(0))
    }

    /// A client on the first listener that has sent this.
    #[track_caller]
    pub fn connect_and_send(&self, bytes: impl AsRef<[u8]>) -> Conn {
        let mut client = self.connect();
        client.send(bytes);
        client
    }

    /// The directory of its config.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Puts another config in the place of the first, with the same words; nobody reads half of it.
    pub fn rewrite_config(&self, text: &str) {
        let fresh = self.config.with_extension("fresh");
        std::fs::write(&fresh, fill(text, &self.words, self.dir.path())).unwrap();
        std::fs::rename(fresh, &self.config).unwrap();
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).expect("a signal to the proxy");
    }

    /// Waits for its end.
    #[track_caller]
    pub fn wait_exit(&mut self, limit: Duration) -> ExitStatus {
        // Its standard error closes when it ends, and no earlier.
        assert!(self.log.wait_closed(limit), "the proxy still runs after {limit:?}; its log:\n{}", self.log.text());
        *self.exit.get_or_insert_with(|| self.child.wait().unwrap())
    }
}

/// What it says.
impl Proxy {
    /// Every line so far.
    pub fn logs(&self) -> Vec<Line> {
        self.log.state.lock().unwrap().lines.clone()
    }

    /// The first line, so far or within the limit, of which this holds.
    #[track_caller]
    pub fn wait_for_log(&self, wanted: impl Fn(&Line) -> bool, limit: Duration) -> Line {
        let found = self.log.wait(limit, |lines| lines.iter().find(|line| wanted(line)).cloned());
        found.unwrap_or_else(|()| panic!("no such line in the log within {limit:?}:\n{}", self.log.text()))
    }

    /// The n-th line (from 0) with this message.
    #[track_caller]
    pub fn wait_for_message(&self, message: &str, n: usize) -> Line {
        let found = self.log.wait(LIMIT, |lines| lines.iter().filter(|line| line.message() == message).nth(n).cloned());
        found.unwrap_or_else(|()| panic!("no line {n} of {message:?} within {LIMIT:?}; the log:\n{}", self.log.text()))
    }

    /// The record of the n-th request (from 0).
    #[track_caller]
    pub fn request_record(&self, n: usize) -> Line {
        self.wait_for_message("request", n)
    }
}

/// What it uses.
impl Proxy {
    /// Its process id.
    pub fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// Resident memory in bytes (`VmRSS`).
    pub fn resident(&self) -> u64 {
        kibibytes(&self.proc("status"), "VmRSS:")
    }

    /// Its share of the memory in bytes (`Pss`), where pages in common with others count in part.
    pub fn proportional(&self) -> u64 {
        kibibytes(&self.proc("smaps_rollup"), "Pss:")
    }

    /// How many files it has open.
    pub fn open_files(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.child.id())).expect("the proxy runs").count()
    }

    /// Processor time used so far.
    pub fn cpu(&self) -> Duration {
        let stat = self.proc("stat");
        // proc_pid_stat(5): fields 14 and 15, counted behind the name in parentheses, which is field 2.
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        let ticks: u64 = fields[11..=12].iter().map(|ticks| ticks.parse::<u64>().unwrap()).sum();
        Duration::from_millis(10 * ticks) // a tick of this file is 10 ms on every Linux
    }

    /// Asserts that it does nothing: no clock and no peer keeps it busy.
    #[track_caller]
    pub fn assert_idle(&self) {
        // What has just happened may still be worked on: a quiet span is asked for, not that it be the first.
        let mut spans = Vec::new();
        while spans.len() < 10 {
            let before = self.cpu();
            thread::sleep(Duration::from_millis(300));
            spans.push(self.cpu().saturating_sub(before));
            if spans.last() <= Some(&Duration::from_millis(20)) {
                return;
            }
        }
        panic!("of every 300 ms it was busy for {spans:?}");
    }

    /// Waits until `holds` of the process: for what the kernel tells only to those who ask again.
    #[track_caller]
    pub fn wait_until(&self, what: &str, holds: impl Fn(&Self) -> bool) {
        let end = Instant::now() + LIMIT;
        while !holds(self) {
            assert!(Instant::now() < end, "not within {LIMIT:?}: {what}");
            thread::sleep(Duration::from_millis(10)); // between two looks, not in place of one
        }
    }

    /// Waits until it has at most so many files open.
    #[track_caller]
    pub fn wait_for_open_files(&self, at_most: usize) {
        self.wait_until(&format!("at most {at_most} open files"), |proxy| proxy.open_files() <= at_most);
    }

    fn proc(&self, file: &str) -> String {
        std::fs::read_to_string(format!("/proc/{}/{file}", self.child.id())).expect("the proxy runs")
    }
}

fn kibibytes(text: &str, name: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("no {name}"));
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number of kB") * 1024
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
        if thread::panicking() {
            eprintln!("--- log of the proxy ---\n{}--- end of the log ---", self.log.text());
        }
    }
}

/// One line of its log.
#[derive(Clone, Debug)]
pub struct Line {
    /// As it stood there.
    pub raw: String,
    json: Value,
}

impl Line {
    fn new(raw: String) -> Self {
        let json = serde_json::from_str(&raw).unwrap_or(Value::Null);
        Self { raw, json }
    }

    /// Its message; empty for a line that is no JSON.
    pub fn message(&self) -> &str {
        self.json["message"].as_str().unwrap_or_default()
    }

    /// `INFO`, `WARN` ...
    pub fn level(&self) -> &str {
        self.json["level"].as_str().unwrap_or_default()
    }

    /// Whether it has this field.
    pub fn has(&self, field: &str) -> bool {
        self.json.get(field).is_some()
    }

    /// A field as text: a number is written out, a missing field is empty.
    pub fn text(&self, field: &str) -> String {
        match &self.json[field] {
            Value::String(text) => text.clone(),
            Value::Null => String::new(),
            other => other.to_string(),
        }
    }

    /// A field as a number.
    #[track_caller]
    pub fn number(&self, field: &str) -> f64 {
        let text = self.text(field);
        text.parse().unwrap_or_else(|_| panic!("{field} is no number in {}", self.raw))
    }

    /// A field as a count.
    #[track_caller]
    pub fn count(&self, field: &str) -> u64 {
        let text = self.text(field);
        text.parse().unwrap_or_else(|_| panic!("{field} is no count in {}", self.raw))
    }

    /// Whether it holds these words, in any case.
    pub fn says(&self, words: &str) -> bool {
        self.raw.to_lowercase().contains(&words.to_lowercase())
    }
}

/// The lines so far, and word of new ones.
#[derive(Default)]
struct Log {
    state: Mutex<LogState>,
    changed: Condvar,
}

#[derive(Default)]
struct LogState {
    lines: Vec<Line>,
    closed: bool,
}

impl Log {
    fn gather(&self, mut from: impl BufRead) {
        let mut raw = Vec::new();
        while matches!(from.read_until(b'\n', &mut raw), Ok(n) if n > 0) {
            let line = Line::new(String::from_utf8_lossy(&raw).trim_end().to_owned());
            raw.clear();
            self.state.lock().unwrap().lines.push(line);
            self.changed.notify_all();
        }
        self.state.lock().unwrap().closed = true;
        self.changed.notify_all();
    }

    /// What `find` finds, now or within the limit; an error as well when nothing more can come.
    fn wait<T>(&self, limit: Duration, find: impl Fn(&[Line]) -> Option<T>) -> Result<T, ()> {
        let end = Instant::now() + limit;
        let mut state = self.state.lock().unwrap();
        loop {
            if let Some(found) = find(&state.lines) {
                return Ok(found);
            }
            let left = end.saturating_duration_since(Instant::now());
            if state.closed || left.is_zero() {
                return Err(());
            }
            state = self.changed.wait_timeout(state, left).unwrap().0;
        }
    }

    fn wait_closed(&self, limit: Duration) -> bool {
        let state = self.state.lock().unwrap();
        self.changed.wait_timeout_while(state, limit, |state| !state.closed).unwrap().0.closed
    }

    fn text(&self) -> String {
        self.state.lock().unwrap().lines.iter().fold(String::new(), |text, line| text + &line.raw + "\n")
    }
}
