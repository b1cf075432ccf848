//! A configuration file. Input: its text.

use std::path::Path;

use http::{HeaderMap, Method};
use spliceway::config;
use spliceway::route::{Action, Query, Table};

pub fn target(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let checked = config::check_text(text, "a.toml", Path::new("/etc"), &environment);
    assert_eq!(checked.config.is_some(), !checked.report.is_fatal(), "a file is good, or it has a mistake");
    assert_eq!(checked.is_usable(), checked.config.is_some());
    let plain = checked.report.render(false);
    assert!(plain.contains("a.toml"), "no report without the file's name");
    assert!(!plain.contains('\u{1b}'), "a terminal is not the file's to write to: {plain:?}");
    assert!(!checked.report.render(true).is_empty());
    assert!(checked.text(false).ends_with('\n'));
    for warning in checked.report.warnings() {
        assert!(!warning.contains('\n'), "a warning is one line: {warning:?}");
    }
    let again = config::check_text(text, "a.toml", Path::new("/etc"), &environment);
    assert_eq!(again.report.render(false), plain, "the same file, another report");
    config::keys_asked(text);

    let Some(config) = checked.config else { return };
    assert!(!config.listeners.is_empty(), "listeners are never none");
    for route in &config.routes {
        if let Action::Forward(forward) = &route.action {
            assert!(forward.backend.0 < config.backends.len(), "{} forwards to no backend", route.name);
        }
    }
    let (table, headers) = (Table::new(config.routes), HeaderMap::new());
    for path in ["/", "/ws/room", "/a/..%2Fws", "*"] {
        let query = Query { host: Some("chat.example.com"), path, method: &Method::GET, headers: &headers };
        table.find(&query).ok();
    }
}

fn environment(name: &str) -> Option<String> {
    Some(match name {
        "NOT_SET" => return None,
        "EMPTY" => String::new(),
        "LINES" => "a\nb\u{1b}[31m\"".to_owned(),
        name => name.to_ascii_lowercase(),
    })
}
