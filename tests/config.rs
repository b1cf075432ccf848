//! The configuration as its writer meets it: what is good is read, what is wrong is said well, and the
//! reference leaves nothing out.

// Helper functions of a test file are tests too; clippy knows only the functions marked so.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use proptest::prelude::*;
use spliceway::config;
use spliceway::route::{Action, BackendId, Forward, HostPattern, PathPattern, Route};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn files(directory: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(root().join(directory)).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = entries.filter(|path| path.extension().is_some_and(|end| end == "toml")).collect();
    files.sort();
    assert!(!files.is_empty(), "{directory}");
    files
}

/// The environment of all these files.
fn environment(name: &str) -> Option<String> {
    match name {
        "BACKEND" => Some("http://127.0.0.1:3000".to_owned()),
        "PORT" => Some("80800".to_owned()),
        "TOKEN" => Some("secret\n".to_owned()),
        _ => None,
    }
}

fn check(path: &Path) -> config::Checked {
    let name = path.file_name().unwrap().to_str().unwrap();
    config::check_text(&fs::read_to_string(path).unwrap(), name, Path::new("/etc/spliceway"), &environment)
}

/// `SPLICEWAY_BLESS=1 cargo test --test config` writes what is said now, to be read and committed.
#[test]
fn each_broken_file_gets_the_message_beside_it() {
    let bless = std::env::var_os("SPLICEWAY_BLESS").is_some();
    let files = files("tests/config/invalid");
    assert!(files.len() >= 30);
    let mut differing = Vec::new();
    for path in files {
        let checked = check(&path);
        assert!(!checked.is_usable(), "{} is not broken", path.display());
        let said = checked.report.to_string();
        let beside = path.with_extension("txt");
        if bless {
            fs::write(&beside, &said).unwrap();
        } else if fs::read_to_string(&beside).unwrap_or_default() != said {
            differing.push(format!("--- {}\n{said}", beside.display()));
        }
    }
    assert!(differing.is_empty(), "{}", differing.join("\n"));
}

#[test]
fn each_message_names_a_line_and_a_key() {
    for path in files("tests/config/invalid") {
        let said = fs::read_to_string(path.with_extension("txt")).unwrap();
        let name = path.file_name().unwrap().to_str().unwrap();
        let mistakes = said.matches("error: ").count() + said.matches("warning: ").count();
        assert_eq!(said.matches(&format!("--> {name}:")).count(), mistakes, "{said}");
    }
}

#[test]
fn good_files_are_read_without_a_word() {
    for path in files("tests/config/valid").into_iter().chain(files("config")) {
        let checked = check(&path);
        assert!(checked.report.is_empty(), "{}", checked.report);
        assert!(checked.config.is_some());
    }
}

/// Every key of a text, in the form of `config::keys_asked`.
fn keys_written(text: &str) -> BTreeSet<String> {
    fn walk(value: &toml::Value, pattern: &str, keys: &mut BTreeSet<String>) {
        // The names in these tables are the operator's own.
        let free = pattern.ends_with(".headers") || pattern.ends_with("_headers.set") || pattern.ends_with("_headers.append");
        match value {
            toml::Value::Table(_) if free => {}
            toml::Value::Table(table) => {
                for (name, value) in table {
                    let name = if pattern == "backend" { "*" } else { name };
                    let key = if pattern.is_empty() { name.to_owned() } else { format!("{pattern}.{name}") };
                    if name != "*" {
                        keys.insert(key.clone());
                    }
                    walk(value, &key, keys);
                }
            }
            toml::Value::Array(array) => array.iter().for_each(|item| walk(item, &format!("{pattern}[]"), keys)),
            _ => {}
        }
    }
    let mut keys = BTreeSet::new();
    walk(&toml::Value::Table(text.parse().unwrap()), "", &mut keys);
    keys
}

#[test]
fn the_reference_has_every_key_and_no_other() {
    let text = fs::read_to_string(root().join("config/reference.toml")).unwrap();
    let (asked, written) = (config::keys_asked(&text), keys_written(&text));
    assert!(asked.len() > 60, "{asked:?}");
    assert_eq!(asked.difference(&written).collect::<Vec<_>>(), Vec::<&String>::new(), "read, but not in the reference");
    assert_eq!(written.difference(&asked).collect::<Vec<_>>(), Vec::<&String>::new(), "in the reference, but not read");
}

#[test]
fn the_defaults_in_the_reference_are_the_defaults() {
    let read = |text: &str| config::read(text, "t", Path::new(""), &|_| None).unwrap();
    let reference = fs::read_to_string(root().join("config/reference.toml")).unwrap();
    let (said, silent) = (read(&reference), read(""));
    assert_eq!(said.serve.times, silent.serve.times);
    assert_eq!(said.serve.heads, silent.serve.heads);
    assert_eq!(said.serve.h2_streams, silent.serve.h2_streams);
    assert_eq!(said.records, silent.records);
    let (said_tunnel, silent_tunnel) = (&said.tunnels[0], &silent.tunnels[0]);
    assert_eq!((said_tunnel.ping, said_tunnel.pong_timeout), (silent_tunnel.ping, silent_tunnel.pong_timeout));
    assert_eq!((said_tunnel.ping_backend, said_tunnel.idle), (silent_tunnel.ping_backend, silent_tunnel.idle));
    assert_eq!((said_tunnel.enforce, said_tunnel.over_rate), (silent_tunnel.enforce, silent_tunnel.over_rate));
    assert_eq!(*silent_tunnel, spliceway::tunnel::Settings::default());
    assert_eq!(said.backends[0].idle_time, spliceway::upstream::Settings::new("", Vec::new()).idle_time);
    assert_eq!(said.listeners[2].listen.unix_mode, silent.listeners[0].listen.unix_mode);
    assert_eq!(silent.listeners[0].listen.address.to_string(), "127.0.0.1:8080");
}

fn good(text: &str) -> config::Config {
    config::read(text, "t.toml", Path::new("/etc/spliceway"), &environment).unwrap_or_else(|report| panic!("{report}"))
}

fn forward(route: &Route) -> &Forward {
    let Action::Forward(forward) = &route.action else { panic!("{route:?}") };
    forward
}

#[test]
fn every_key_of_the_reference_arrives_in_its_room() {
    let config = good(&fs::read_to_string(root().join("config/reference.toml")).unwrap());
    assert_eq!(config.threads, Some(2));
    assert!(config.serve.trust_unix && config.serve.trusted.len() == 3);
    assert_eq!(config.admin.unwrap().address.to_string(), "127.0.0.1:9090");
    assert_eq!(config.listeners[0].redirect_https, Some(8443));
    assert_eq!(config.listeners[0].listen.max_connections, Some(10_000));
    let certificates = &config.listeners[1].tls.as_ref().unwrap().certificates;
    assert_eq!(certificates[1].key, Path::new("/etc/spliceway/../certs/other.key"));

    let chat = &config.backends[0];
    assert_eq!((chat.name.as_str(), chat.servers.len()), ("chat", 2));
    assert_eq!(chat.sticky.as_ref().unwrap().cookie, "spliceway");
    assert_eq!(chat.connect_time, Duration::from_secs(1));
    assert_eq!(chat.tls.ca.as_deref(), Some(Path::new("/etc/spliceway/../certs/ca.pem")));
    assert_eq!(config.backends[1].name, "http://127.0.0.1:3000");

    assert_eq!(config.routes.len(), 5, "a list of two hosts is two routes");
    let (route, forward) = (&config.routes[1], forward(&config.routes[1]));
    assert_eq!(&*route.name, "chat");
    assert_eq!(route.host, Some(HostPattern::Wildcard("chat.example.com".to_owned())));
    assert_eq!(route.path, Some(PathPattern::Prefix("/ws".to_owned())));
    assert_eq!((route.methods.len(), route.headers.len()), (2, 2));
    assert_eq!(forward.rewrite.as_deref(), Some(""));
    assert_eq!(forward.max_body, Some(10 << 20));
    assert_eq!((forward.handshake_time, forward.answer_time), (Duration::from_secs(5), Duration::from_secs(120)));
    assert_eq!(forward.between_time, Some(Duration::from_secs(30)));
    assert_eq!(forward.backend, BackendId(0));
    assert!(forward.forwarded && !forward.legacy_drafts);
    assert_eq!(route.request_headers.set.len(), 2);
    assert_eq!(route.response_headers.append.len(), 2, "a list is several lines");
    assert_eq!(&*config.routes[2].name, "/api/");
    assert_eq!(&*config.routes[3].name, "= /robots.txt");
}

#[test]
fn routes_to_one_url_share_a_backend() {
    let config = good(
        r#"
        timeouts = { connect = "7s", answer = "8s" }
        route = [
            { backend = "http://a", path = "/a" },
            { backend = "http://a:80/", path = "/b" },
            { backend = "unix:app.sock", replace_prefix = "/v2/" },
        ]"#,
    );
    let names: Vec<_> = config.backends.iter().map(|backend| backend.name.as_str()).collect();
    assert_eq!(names, ["http://a:80", "unix:/etc/spliceway/app.sock"]);
    assert_eq!(config.backends[1].connect_time, Duration::from_secs(7));
    assert_eq!(forward(&config.routes[1]).backend, BackendId(0));
    assert_eq!(forward(&config.routes[2]).answer_time, Duration::from_secs(8));
    assert_eq!(forward(&config.routes[2]).rewrite.as_deref(), Some("/v2"));
    assert_eq!(config.routes[2].path, Some(PathPattern::Prefix(String::new())), "a prefix put before every path");
}

#[test]
fn variables_are_taken_from_the_environment_and_escapes_are_not() {
    let text = fs::read_to_string(root().join("tests/config/valid/variables.toml")).unwrap();
    let config = good(&text);
    assert_eq!(config.backends[0].servers[0].to_string(), "http://127.0.0.1:3000");
    let values: Vec<_> = config.routes[0].request_headers.set.iter().map(|(_, value)| value.to_str().unwrap()).collect();
    assert_eq!(values, ["${NAME} $5", "http://127.0.0.1:3000"]);
}

#[test]
fn what_is_odd_but_usable_is_a_warning() {
    let config = good("[backend.old]\nservers = [\"http://a\"]\n\n[[route]]\nrespond = {}\n");
    assert_eq!(config.warnings, ["t.toml:1: no route uses the backend `old`"]);
    assert_eq!(good("").warnings, ["t.toml: there is no `[[route]]`: every request will be answered with 404"]);
}

#[test]
fn a_secret_of_the_environment_is_never_shown() {
    let text = "[[route]]\nrespond = {}\nresponse_headers.set = { A = \"${TOKEN}\" }\n";
    let said = config::read(text, "t.toml", Path::new(""), &environment).unwrap_err().to_string();
    assert!(said.contains("control characters") && !said.contains("secret"), "{said}");
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let missing = directory.path().join("missing.toml");
    let said = config::load(&missing).unwrap_err().to_string();
    assert!(said.contains("cannot read the configuration") && said.contains("missing.toml"), "{said}");
    let latin = directory.path().join("latin.toml");
    fs::write(&latin, b"[[route]]\nbackend = \"http://caf\xe9\"\n").unwrap();
    let said = config::load(&latin).unwrap_err().to_string();
    assert!(said.contains("not UTF-8") && said.contains("latin.toml:2:"), "{said}");
}

#[test]
fn another_rooms_finding_gets_its_caret() {
    let text = "[[listen]]\naddress = \"[::]:443\"\n[[listen.certificate]]\nchain = \"a.pem\"\nkey = \"a.key\"\n";
    let mut checked = config::check_text(text, "t.toml", Path::new(""), &|_| None);
    assert!(checked.is_usable());
    checked.report.add_error("listen[0].certificate[0].key", "a.key is a directory");
    assert!(!checked.is_usable());
    let said = checked.text(false);
    assert!(said.contains("t.toml:5:7") && said.contains("5 | key = \"a.key\""), "{said}");
}

fn survives(text: &str) {
    let checked = config::check_text(text, "t.toml", Path::new(""), &|_| None);
    let said = checked.text(true);
    assert_eq!(checked.config.is_some(), checked.is_usable(), "{said}");
}

proptest! {
    #[test]
    fn no_text_breaks_the_reader(text in any::<String>()) {
        survives(&text);
    }

    #[test]
    fn no_half_sensible_text_breaks_the_reader(
        words in prop::collection::vec(
            prop::sample::select(vec![
                "[", "]", "[[", "]]", "\n", "\r\n", "=", ".", ",", "{", "}", "\"", "'", "\"\"\"", "\\u00e9", "é", "${", "}", "$${", "#",
                "route", "listen", "backend", "x", "path", "\"/a\"", "\"unix:\"", "host", "servers", "headers", "certificate", "1", "true",
                "timeouts", "\"10s\"", "respond", "status", "redirect", "set", "request_headers", "\"https\"", " ", "\u{feff}", "\t", "\0",
            ]),
            0..60,
        )
    ) {
        survives(&words.concat());
    }

    #[test]
    fn no_slip_in_the_reference_breaks_the_reader(
        at in 0.0..1.0f64,
        length in 0..40usize,
        with in prop::sample::select(vec!["", "\"", "]", "[", "{", "}", "=", "\n", "é", "${X}", "''", "1", "x", "[[route]]\n", "\r", "\u{1}"]),
    ) {
        let text = fs::read_to_string(root().join("config/reference.toml")).unwrap();
        let border = |mut at: usize| {
            while !text.is_char_boundary(at) {
                at -= 1;
            }
            at
        };
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
        let start = border((at * text.len() as f64) as usize);
        let end = border((start + length).min(text.len()));
        survives(&format!("{}{with}{}", &text[..start], &text[end..]));
    }
}
