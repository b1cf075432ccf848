//! The house's rules, kept by a test. Std only. What they are for stands in src/ARCHITECTURE.md.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

const TOP: &str = env!("CARGO_MANIFEST_DIR");
/// The rooms, from floor 9 down to floor 0.
const FLOORS: &str = "main cli lib/app log/config/admin handover demo/serve/upstream session/listen tls tunnel/route handshake/\
    headers frame record net metrics/base";
/// Who may use whom on one floor; the rooms all of whose files are pure; what a pure file may not name.
const BESIDE: &[(&str, &str)] = &[("net", "record")];
const PURE_ROOMS: &[&str] = &["headers", "frame", "record", "route", "handshake"];
const IMPURE: &[&str] = &["tokio", "TcpStream", "TcpListener", "UdpSocket", "UnixStream", "Instant", "SystemTime", "std::fs"];

fn files(dir: &Path, ending: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten().map(|entry| entry.expect("a directory entry").path());
    let (dirs, here): (Vec<_>, Vec<_>) = entries.partition(|path| path.is_dir());
    let here = here.into_iter().filter(|path| path.to_string_lossy().ends_with(ending));
    here.chain(dirs.iter().flat_map(|dir| files(dir, ending))).collect()
}

/// Each file of `src`: its path there, its room, its first line, its code without comments and tests.
fn sources() -> Vec<(String, String, String, String)> {
    let src = Path::new(TOP).join("src");
    let source = |path: &PathBuf| {
        let text = fs::read_to_string(path).expect("a UTF-8 file");
        let place = path.strip_prefix(&src).expect("a file below src").display().to_string();
        let room = place.split(['/', '.']).next().unwrap_or_default().to_owned();
        let code = text.split("#[cfg(test)]").next().unwrap_or_default().lines();
        let code: String = code.map(|line| line.split("//").next().unwrap_or_default().to_owned() + "\n").collect();
        (place, room, text.lines().next().unwrap_or_default().to_owned(), code)
    };
    files(&src, ".rs").iter().map(source).collect()
}

/// The names after `crate::`; of a list in braces every name, nested or not.
fn used(code: &str) -> BTreeSet<&str> {
    let end =
        |rest: &str| if rest.starts_with('{') { rest.find(';') } else { rest.find(|c: char| c != '_' && !c.is_alphanumeric()) };
    let paths = code.split("crate::").skip(1).map(|rest| &rest[..end(rest).unwrap_or(rest.len())]);
    paths.flat_map(|path| path.split(|c: char| c != '_' && !c.is_alphanumeric())).collect()
}

#[test]
fn a_room_uses_lower_floors_only() {
    let example = used("use crate::{admin, listen::Settings, net}; fn f() { crate::base::Tasks::new(); }");
    assert_eq!(example, ["", "Settings", "admin", "base", "listen", "net"].into());
    let depth = |room: &str| FLOORS.split('/').position(|rooms| rooms.split(' ').any(|other| other == room));
    for (name, room, _, code) in sources() {
        let own = depth(&room).unwrap_or_else(|| panic!("src/{name} is in no room of the house"));
        for other in used(&code).into_iter().filter(|other| *other != room) {
            let below = depth(other).is_none_or(|depth| depth > own); // no room at all: an item of the list
            assert!(below || BESIDE.contains(&(&room, other)), "src/{name}: {room} may not use {other}");
        }
    }
}

#[test]
fn each_file_says_what_it_is_and_a_pure_one_is_pure() {
    for (name, room, first, code) in sources() {
        assert!(first.starts_with("//! ") || name == "lib.rs", "src/{name} does not open with `//! `");
        let pure = first.starts_with("//! Pure:");
        assert!(pure || !PURE_ROOMS.contains(&room.as_str()), "src/{name}: a file of {room} is pure, and says so");
        let impure: Vec<_> = IMPURE.iter().filter(|word| pure && code.contains(**word)).collect();
        assert!(impure.is_empty(), "src/{name} is pure, but names {impure:?}");
    }
}

#[test]
fn the_version_has_its_heading_in_the_changelog() {
    let (changelog, version) = (fs::read_to_string(Path::new(TOP).join("CHANGELOG.md")), env!("CARGO_PKG_VERSION"));
    let heading = changelog.is_ok_and(|text| text.lines().any(|line| line.starts_with("## ") && line.contains(version)));
    assert!(heading, "CHANGELOG.md has no heading for {version}");
}

/// Each key of a config as `table.key`, also one that a comment shows. `[backend.chat]` is a `backend`.
fn keys(path: &Path) -> BTreeSet<String> {
    let (mut table, mut keys) = (String::new(), BTreeSet::new());
    for line in fs::read_to_string(path).unwrap_or_default().lines().map(|line| line.trim_start_matches(['#', ' '])) {
        if let Some((name, _)) = line.strip_prefix('[').and_then(|line| line.trim_start_matches('[').split_once(']')) {
            let words = name.split('.').enumerate().filter(|(n, _)| *n != 1 || !name.starts_with("backend."));
            table = words.map(|(_, word)| word.to_owned() + ".").collect();
        } else if let Some((key, _)) = line.split_once(" = ").filter(|(key, _)| !key.contains([' ', '`', '{'])) {
            keys.insert(table.clone() + key);
        }
    }
    keys
}

#[test]
fn the_examples_and_the_reference_have_the_same_keys() {
    let (reference, mut examples) = (Path::new(TOP).join("config/reference.toml"), BTreeSet::new());
    let others = files(&Path::new(TOP).join("config"), ".toml").into_iter().filter(|path| *path != reference);
    others.for_each(|path| examples.append(&mut keys(&path)));
    let reference = keys(&reference);
    let odd: Vec<_> = reference.symmetric_difference(&examples).collect();
    assert!(odd.is_empty() || examples.is_empty(), "in the reference alone, or in no reference: {odd:?}");
}
