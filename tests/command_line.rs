//! What can be typed: `run`, `check`, `demo`, their exit codes, what they print and where. The demo at work and
//! what ends a process are tested elsewhere.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)] // tests fail loudly

mod kit;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Instant;

use kit::*;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

fn spliceway(directory: &Path, words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_spliceway"));
    command.args(words).current_dir(directory).env_remove("SPLICEWAY_LOG").env_remove("RUST_LOG").stdin(Stdio::null());
    command
}

/// How a command ended by itself, and what it printed.
struct Ended {
    code: Option<i32>,
    out: String,
    err: String,
}

/// Runs a command that must end by itself.
#[track_caller]
fn ended_in(directory: &Path, words: &[&str]) -> Ended {
    let child = spliceway(directory, words).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let pid = Pid::from_child(&child);
    let (sender, output) = channel();
    let waiting = std::thread::spawn(move || sender.send(child.wait_with_output().unwrap()));
    let output = output.recv_timeout(LIMIT);
    if output.is_err() {
        kill_process(pid, Signal::KILL).ok();
    }
    waiting.join().unwrap().ok();
    let output = output.unwrap_or_else(|_| panic!("{words:?} still runs after {LIMIT:?}"));
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_owned()).unwrap();
    Ended { code: output.status.code(), out: text(&output.stdout), err: text(&output.stderr) }
}

#[track_caller]
fn ended(words: &[&str]) -> Ended {
    ended_in(tempfile::tempdir().unwrap().path(), words)
}

/// A directory with these files.
fn directory(files: &[(&str, &str)]) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = directory.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    directory
}

/// A command that runs until it is ended; its log as it comes.
struct Running {
    child: Child,
    log: Receiver<String>,
    seen: Vec<String>,
}

impl Running {
    fn start(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let (sender, log) = channel();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        std::thread::spawn(move || stderr.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        Self { child, log, seen: Vec::new() }
    }

    /// The first line, of before or within the limit, that has these words.
    #[track_caller]
    fn wait_for(&mut self, words: &str) -> String {
        if let Some(line) = self.seen.iter().find(|line| line.contains(words)) {
            return line.clone();
        }
        let end = Instant::now() + LIMIT;
        while let Ok(line) = self.log.recv_timeout(end.saturating_duration_since(Instant::now())) {
            self.seen.push(line.clone());
            if line.contains(words) {
                return line;
            }
        }
        panic!("no line with {words:?}; the log:\n{}", self.seen.join("\n"));
    }

    /// Where it listens, by a log in JSON.
    #[track_caller]
    fn address(&mut self) -> SocketAddr {
        self.wait_for("\"ready\"");
        let line = self.wait_for("\"listening\"");
        let rest = line.split_once("\"address\":\"").unwrap().1;
        rest.split('"').next().unwrap().parse().unwrap()
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Ends it politely; how it ended, and all that it said.
    #[track_caller]
    fn end(mut self) -> (ExitStatus, Vec<String>) {
        self.signal(Signal::TERM);
        let end = Instant::now() + LIMIT;
        let mut seen = std::mem::take(&mut self.seen);
        // Its standard error closes when it ends.
        while let Ok(line) = self.log.recv_timeout(end.saturating_duration_since(Instant::now())) {
            seen.push(line);
        }
        assert!(Instant::now() < end, "still running; the log:\n{}", seen.join("\n"));
        (self.child.wait().unwrap(), seen)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

#[track_caller]
fn fetch(address: SocketAddr) -> String {
    let mut client = Conn::connect(address);
    client.send("GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
    client.read_answer().1.text()
}

const GOOD: &str = "[[listen]]\naddress = \"127.0.0.1:0\"\n[[route]]\nrespond = { body = \"found\" }\n";

// --- run -------------------------------------------------------------------------------------------------

#[test]
fn run_needs_no_file_with_the_address_of_a_server() {
    let backend = Backend::scripted(|conn, _| {
        while let Ok(head) = conn.try_read_head() {
            if head.value("upgrade").is_some() {
                conn.send(answer_101(&head));
                conn.wait_for_any_end();
                return;
            }
            conn.send(http(200, "from behind"));
        }
    });
    let directory = directory(&[]);
    let words = ["run", "--listen", "127.0.0.1:0", "--to", &backend.url()];
    let mut running = Running::start(spliceway(directory.path(), &words));
    let address = running.address();
    assert_eq!(fetch(address), "from behind");
    let mut client = Conn::connect(address);
    client.send(Offer::new().bytes());
    assert_eq!(client.read_head().status(), 101);
    drop(client);
    assert_eq!(running.end().0.code(), Some(0));
}

#[test]
fn run_takes_unix_sockets_on_both_sides() {
    let directory = directory(&[]);
    let (inner, outer) = (directory.path().join("inner"), directory.path().join("outer"));
    let backend = Backend::scripted_unix(&inner, |conn, _| {
        if conn.try_read_head().is_ok() {
            conn.send(http(200, "from behind"));
            conn.wait_for_any_end();
        }
    });
    let words = ["run", "--listen", &format!("unix:{}", outer.display()), "--to", &backend.url()];
    let mut running = Running::start(spliceway(directory.path(), &words));
    running.wait_for("\"ready\"");
    let mut client = Conn::connect_unix(&outer);
    client.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_eq!(client.read_answer().1.text(), "from behind");
    drop(client);
    assert_eq!(running.end().0.code(), Some(0));
    assert!(!outer.exists(), "its socket is removed");
}

#[test]
fn run_without_a_file_says_at_sighup_that_there_is_none() {
    let directory = directory(&[]);
    let mut running =
        Running::start(spliceway(directory.path(), &["run", "--listen", "127.0.0.1:0", "--to", "http://127.0.0.1:1"]));
    running.address();
    running.signal(Signal::HUP);
    assert!(running.wait_for("SIGHUP").contains("no configuration file"));
}

#[test]
fn run_takes_the_file_it_is_given() {
    let directory = directory(&[("site.toml", GOOD), ("config/spliceway.toml", "nonsense")]);
    for words in [["run", "--config", "site.toml"], ["run", "-c", "site.toml"]] {
        let mut running = Running::start(spliceway(directory.path(), &words));
        assert_eq!(fetch(running.address()), "found");
    }
}

#[test]
fn run_and_check_find_the_default_file() {
    let directory = directory(&[("config/spliceway.toml", GOOD)]);
    let mut running = Running::start(spliceway(directory.path(), &["run"]));
    assert_eq!(fetch(running.address()), "found");
    assert_eq!(ended_in(directory.path(), &["check"]).code, Some(0));
}

#[test]
fn where_there_is_no_default_file_the_places_are_named() {
    if Path::new("/etc/spliceway/spliceway.toml").exists() {
        return; // someone's own machine
    }
    for word in ["run", "check"] {
        let ended = ended(&[word]);
        assert_eq!(ended.code, Some(2), "{}", ended.err);
        for words in ["config/spliceway.toml", "/etc/spliceway/spliceway.toml", "--config"] {
            assert!(ended.err.contains(words), "{words}: {}", ended.err);
        }
    }
}

#[test]
fn run_with_a_broken_file_says_so_as_check_does_and_ends_with_2() {
    let directory = directory(&[("bad.toml", "[[route]]\nbackend = \"nowhere\"\nbackand = \"x\"\n")]);
    let (run, check) =
        ([["run", "-c", "bad.toml"], ["check", "-c", "bad.toml"]]).map(|words| ended_in(directory.path(), &words)).into();
    assert_eq!((run.code, run.out.as_str()), (Some(2), ""));
    assert!(run.err.contains("--> bad.toml:2:") && run.err.contains("--> bad.toml:3:"), "{}", run.err);
    assert_eq!(run.err, check.err);
}

#[test]
fn a_taken_port_ends_a_run_with_1_and_every_one_is_named() {
    let taken = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    let ports = taken.each_ref().map(|listener| listener.local_addr().unwrap().port());
    let listen = |text: String, port: &u16| text + &format!("[[listen]]\naddress = \"127.0.0.1:{port}\"\n");
    let text = ports.iter().fold(String::new(), listen);
    let directory = directory(&[("site.toml", &(text + "[[route]]\nrespond = {}\n"))]);
    let ended = ended_in(directory.path(), &["run", "-c", "site.toml"]);
    assert_eq!(ended.code, Some(1), "{}", ended.err);
    for port in ports {
        assert!(ended.err.contains(&format!("127.0.0.1:{port}")), "{port}: {}", ended.err);
    }
    assert!(ended.err.contains("another process"), "{}", ended.err);
    let listen = format!("127.0.0.1:{}", ports[0]);
    let quick = ended_in(directory.path(), &["run", "--listen", &listen, "--to", "http://127.0.0.1:1"]);
    assert_eq!(quick.code, Some(1));
    assert!(quick.err.contains(&listen), "{}", quick.err);
}

#[test]
fn an_address_that_is_none_ends_a_run_with_2() {
    for words in [
        ["run", "--listen", "127.0.0.1:99999", "--to", "http://127.0.0.1:1"],
        ["run", "--listen", "127.0.0.1:0", "--to", "ftp://127.0.0.1:1"],
        ["run", "--listen", "127.0.0.1:0", "--to", "http://127.0.0.1:1/path"],
    ] {
        let ended = ended(&words);
        assert_eq!(ended.code, Some(2), "{words:?}: {}", ended.err);
        assert!(ended.err.starts_with("error: "), "{words:?}: {}", ended.err);
    }
}

// --- check -----------------------------------------------------------------------------------------------

#[test]
fn check_says_what_a_good_file_holds_and_ends_with_0() {
    let text = "[[listen]]\naddress = \"127.0.0.1:1\"\n[backend.chat]\nservers = [\"http://127.0.0.1:1\"]\n[[route]]\nbackend = \"chat\"\n\
        [[route]]\npath = \"/x\"\nrespond = {}\n";
    let directory = directory(&[("site.toml", text)]);
    let ended = ended_in(directory.path(), &["check", "--config", "site.toml"]);
    assert_eq!((ended.code, ended.err.as_str()), (Some(0), ""));
    assert!(ended.out.contains("1 listener, 2 routes, 1 backend"), "{}", ended.out);
}

#[test]
fn check_opens_nothing() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let text =
        format!("[[listen]]\naddress = \"{}\"\n[[route]]\nbackend = \"http://127.0.0.1:1\"\n", taken.local_addr().unwrap());
    let directory = directory(&[("site.toml", &text)]);
    assert_eq!(ended_in(directory.path(), &["check", "-c", "site.toml"]).code, Some(0));
}

#[test]
fn check_says_every_mistake_of_a_broken_file_and_ends_with_2() {
    let text = "threads = 0\n[[listen]]\naddres = \"127.0.0.1:80\"\n[[route]]\npath = \"ws\"\nbackend = \"http://127.0.0.1:1\"\nhandshake = \"forwrad\"\n";
    let directory = directory(&[("site.toml", text)]);
    let ended = ended_in(directory.path(), &["check", "-c", "site.toml"]);
    assert_eq!((ended.code, ended.out.as_str()), (Some(2), ""));
    for words in [
        "site.toml:1:",
        "site.toml:3:",
        "site.toml:5:",
        "site.toml:7:",
        "did you mean `address`",
        "did you mean `forward`",
        "^^^",
    ] {
        assert!(ended.err.contains(words), "{words}:\n{}", ended.err);
    }
    assert!(!ended.err.contains('\u{1b}'), "no colours where nobody looks");
}

#[test]
fn check_of_a_file_that_is_not_there_ends_with_2() {
    let ended = ended(&["check", "-c", "nowhere.toml"]);
    assert_eq!(ended.code, Some(2));
    assert!(ended.err.contains("nowhere.toml") && ended.err.contains("No such file"), "{}", ended.err);
}

const TLS: &str = "[[listen]]\naddress = \"127.0.0.1:1\"\n[[listen.certificate]]\nchain = \"c.pem\"\nkey = \"k.pem\"\n\
    [[route]]\nrespond = {}\n";

/// What `check` says of a listener with these two files.
fn checked(files: &[(&str, &str)]) -> Ended {
    let directory = directory(&[&[("site.toml", TLS)], files].concat());
    ended_in(directory.path(), &["check", "-c", "site.toml"])
}

/// Asserts what it says of one of the two keys: a place, a caret, the file.
#[track_caller]
fn says(ended: &Ended, code: i32, key: &str, words: &[&str]) {
    let text = ended.err.clone() + &ended.out;
    assert_eq!(ended.code, Some(code), "{text}");
    let line = if key == "chain" { 4 } else { 5 };
    let place = format!("--> site.toml:{line}:");
    for words in [place.as_str(), "^^^", &format!("listen[0].certificate[0].{key}")].iter().chain(words) {
        assert!(text.contains(words), "{words:?} in\n{text}");
    }
}

#[test]
fn check_names_a_certificate_file_that_is_missing() {
    let identity = Authority::new().identity(&["a.example"]);
    says(&checked(&[("k.pem", &identity.key_pem)]), 2, "chain", &["c.pem"]);
    says(&checked(&[("c.pem", &identity.chain_pem)]), 2, "key", &["k.pem"]);
    let neither = checked(&[]);
    says(&neither, 2, "chain", &["c.pem"]);
    says(&neither, 2, "key", &["k.pem"]);
}

#[test]
fn check_names_a_key_that_belongs_to_another_certificate() {
    let authority = Authority::new();
    let (one, other) = (authority.identity(&["a.example"]), authority.identity(&["a.example"]));
    says(&checked(&[("c.pem", &one.chain_pem), ("k.pem", &other.key_pem)]), 2, "key", &["k.pem", "another certificate"]);
}

#[test]
fn check_names_a_file_without_pem_and_files_that_were_exchanged() {
    let identity = Authority::new().identity(&["a.example"]);
    says(&checked(&[("c.pem", "hello"), ("k.pem", &identity.key_pem)]), 2, "chain", &["c.pem"]);
    says(&checked(&[("c.pem", &identity.chain_pem), ("k.pem", "")]), 2, "key", &["k.pem"]);
    let exchanged = checked(&[("c.pem", &identity.key_pem), ("k.pem", &identity.chain_pem)]);
    says(&exchanged, 2, "chain", &["c.pem"]);
    says(&exchanged, 2, "key", &["k.pem"]);
}

#[test]
fn check_names_a_file_of_authorities_that_cannot_be_used() {
    let text = "[backend.app]\nservers = [\"https://127.0.0.1:1\"]\nca = \"ca.pem\"\n[[route]]\nbackend = \"app\"\n";
    for files in [&[("site.toml", text)][..], &[("site.toml", text), ("ca.pem", "hello")]] {
        let ended = ended_in(directory(files).path(), &["check", "-c", "site.toml"]);
        assert_eq!(ended.code, Some(2), "{}", ended.err);
        for words in ["backend.app.ca", "--> site.toml:3:6", "^^^", "ca.pem"] {
            assert!(ended.err.contains(words), "{words}: {}", ended.err);
        }
    }
}

#[test]
fn check_warns_of_a_certificate_out_of_its_time_and_ends_with_0() {
    let authority = Authority::new();
    for (validity, words) in [(Validity::Expired, "EXPIRED"), (Validity::NotYet, "NOT VALID before")] {
        let identity = authority.identity_valid(&["a.example"], validity);
        let ended = checked(&[("c.pem", &identity.chain_pem), ("k.pem", &identity.key_pem)]);
        says(&ended, 0, "chain", &["warning", words, "c.pem"]);
    }
}

#[test]
fn run_with_a_key_of_another_certificate_names_it_and_ends_with_2() {
    let authority = Authority::new();
    let (one, other) = (authority.identity(&["a.example"]), authority.identity(&["a.example"]));
    let directory = directory(&[("site.toml", TLS), ("c.pem", &one.chain_pem), ("k.pem", &other.key_pem)]);
    says(&ended_in(directory.path(), &["run", "-c", "site.toml"]), 2, "key", &["k.pem", "another certificate"]);
}

// --- words -----------------------------------------------------------------------------------------------

#[test]
fn version_and_help_go_to_standard_output_and_end_with_0() {
    let version = ended(&["--version"]);
    assert_eq!((version.code, version.err.as_str()), (Some(0), ""));
    assert_eq!(version.out, format!("spliceway {}\n", env!("CARGO_PKG_VERSION")));
    for words in [&["--help"][..], &["-h"], &["help"]] {
        let help = ended(words);
        assert_eq!((help.code, help.err.as_str()), (Some(0), ""));
        for words in ["spliceway demo", "spliceway run --to", "Exit codes", "SIGHUP", "--log-format", "SPLICEWAY_LOG"] {
            assert!(help.out.contains(words), "{words}: {}", help.out);
        }
    }
    let run = ended(&["run", "--help"]);
    assert_eq!(run.code, Some(0));
    assert!(run.out.contains("--listen") && run.out.contains("--to") && run.out.contains("/etc/spliceway/spliceway.toml"));
}

#[test]
fn words_typed_wrongly_end_with_2_and_the_right_one_is_named() {
    for (words, hint) in [
        (&["rum"][..], "'run'"),
        (&["run", "--lissten", "127.0.0.1:0"], "'--listen'"),
        (&["check", "--confg", "x"], "'--config'"),
        (&["run", "--config", "x", "--to", "http://127.0.0.1:1"], "--to"),
        (&["run", "--listen", "127.0.0.1:0"], "--to"),
        (&["run", "extra"], "extra"),
        (&["demo", "--http", "nowhere"], "--http"),
        (&["--log-format", "xml", "check"], "json"),
        (&["--log-level", "loud", "check"], "debug"),
        (&["--log-level", "info,spliceway=loud", "check"], "debug"),
        (&[], "Usage"),
    ] {
        let ended = ended(words);
        assert_eq!((ended.code, ended.out.as_str()), (Some(2), ""), "{words:?}");
        assert!(ended.err.contains(hint), "{words:?}: {}", ended.err);
    }
}

#[test]
fn a_wrong_log_level_in_the_environment_is_said_too() {
    let directory = directory(&[("site.toml", GOOD)]);
    let mut command = spliceway(directory.path(), &["check", "-c", "site.toml"]);
    let output = command.env("SPLICEWAY_LOG", "loud").output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("loud"));
}

// --- logs ------------------------------------------------------------------------------------------------

/// The log of a run with these words, of one request.
fn log(words: &[&str], level: Option<&str>) -> Vec<String> {
    let port = free_port();
    let directory = directory(&[("site.toml", &GOOD.replace(":0", &format!(":{port}")))]);
    let mut command = spliceway(directory.path(), &[&["run", "-c", "site.toml"], words].concat());
    if let Some(level) = level {
        command.env("SPLICEWAY_LOG", level);
    }
    let running = Running::start(command);
    // It may be told to say nothing, so that it is ready shows only so.
    let end = Instant::now() + LIMIT;
    while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(Instant::now() < end, "not listening within {LIMIT:?}");
        std::thread::sleep(std::time::Duration::from_millis(10)); // between two looks, not in place of one
    }
    assert_eq!(fetch(([127, 0, 0, 1], port).into()), "found");
    let (status, log) = running.end();
    assert_eq!(status.code(), Some(0), "{}", log.join("\n"));
    log
}

#[test]
fn logs_are_json_where_nobody_looks_and_as_the_flag_says() {
    for words in [&[][..], &["--log-format", "json"]] {
        let log = log(words, None);
        assert!(log.iter().any(|line| line.contains("\"message\":\"ready\"")), "{log:?}");
        for line in log {
            let json: serde_json::Value = serde_json::from_str(&line).unwrap_or_else(|e| panic!("{e}: {line}"));
            assert!(json["timestamp"].is_string() && json["level"].is_string() && json["message"].is_string(), "{line}");
        }
    }
    let log = log(&["--log-format", "human"], None);
    assert!(log.iter().any(|line| line.ends_with("ready")), "{log:?}");
    assert!(log.iter().all(|line| !line.starts_with('{') && !line.contains('\u{1b}')), "{log:?}");
}

#[test]
fn the_level_is_the_flags_or_the_environments_and_the_flag_wins() {
    let has = |log: &[String], level: &str| log.iter().any(|line| line.contains(&format!("\"level\":\"{level}\"")));
    assert_eq!(log(&["--log-level", "error"], None), Vec::<String>::new());
    assert_eq!(log(&["--log-level", "off"], None), Vec::<String>::new());
    assert_eq!(log(&[], Some("warn")), Vec::<String>::new());
    let debug = log(&["--log-level", "info,spliceway=debug"], Some("error"));
    assert!(has(&debug, "INFO"), "{debug:?}");
    let records = log(&["--log-level", "warn,spliceway::records=info"], None);
    assert_eq!(records.len(), 1, "{records:?}");
    assert!(records[0].contains("\"message\":\"request\""), "{records:?}");
}

// --- demo ------------------------------------------------------------------------------------------------

#[test]
fn a_taken_port_of_the_demo_is_named_with_the_flag_that_changes_it() {
    let held = TcpListener::bind("127.0.0.1:0").unwrap();
    let (taken, free) = (held.local_addr().unwrap().to_string(), "127.0.0.1:0");
    for (words, flag) in
        [(["demo", "--http", &taken, "--https", free], "--http"), (["demo", "--http", free, "--https", &taken], "--https")]
    {
        let ended = ended(&words);
        assert_eq!(ended.code, Some(1), "{}", ended.err);
        assert!(ended.err.contains(&taken) && ended.err.contains(flag), "{flag}: {}", ended.err);
    }
    drop(held);
}

/// Reads one answer with a `Content-Length`; its first line.
fn read_answer(from: &mut impl BufRead) -> String {
    let (mut first, mut length) = (None, None);
    loop {
        let mut line = String::new();
        from.read_line(&mut line).expect("an answer in time");
        let line = line.trim_end();
        if line.is_empty() {
            break;
        }
        length = length.or_else(|| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
        first.get_or_insert_with(|| line.to_owned());
    }
    std::io::copy(&mut from.take(length.expect("a length")), &mut std::io::sink()).unwrap();
    first.expect("an answer")
}

#[test]
fn a_log_that_nobody_reads_holds_up_no_request() {
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap(); // closed at once: each answer is a 502
    let directory = tempfile::tempdir().unwrap();
    let words = ["run", "--listen", "127.0.0.1:0", "--to", &format!("http://{nobody}"), "--log-format", "json"];
    let mut child = spliceway(directory.path(), &words).stderr(Stdio::piped()).spawn().unwrap();
    let mut log = BufReader::new(child.stderr.take().unwrap());
    let address: SocketAddr = loop {
        let mut line = String::new();
        assert!(log.read_line(&mut line).unwrap() > 0, "it tells where it listens");
        if let Some((_, rest)) = line.split_once("\"address\":\"") {
            break rest.split('"').next().unwrap().parse().unwrap();
        }
    };
    // From here on nobody reads it. 2,000 lines are ten times what a pipe holds.
    let mut client = BufReader::new(std::net::TcpStream::connect(address).unwrap());
    client.get_ref().set_read_timeout(Some(LIMIT)).unwrap();
    for _ in 0..2_000 {
        client.get_mut().write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        assert_eq!(read_answer(&mut client), "HTTP/1.1 502 Bad Gateway");
    }
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    let rest = std::io::read_to_string(log).unwrap();
    assert!(child.wait().unwrap().success());
    assert_eq!(rest.lines().filter(|line| line.contains("\"message\":\"request\"")).count(), 2_000, "and no line is lost");
}
