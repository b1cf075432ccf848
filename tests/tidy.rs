//! The house's rules, kept by a test: floors, headers, purity, the changelog, the reference of keys.
//! Std only. What the rules are for stands in src/ARCHITECTURE.md.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

const TOP: &str = env!("CARGO_MANIFEST_DIR");
/// The rooms, from floor 9 down to floor 0.
const FLOORS: &str = "main cli lib/app/config/admin handover demo/serve/upstream session/listen tls tunnel/route handshake/\
    headers frame record net metrics/base";
/// Who may use whom on one floor.
const BESIDE: &[(&str, &str)] = &[("net", "record")];
const PURE_ROOMS: &[&str] = &["headers", "frame", "record", "route", "handshake"];
/// What a pure file may not name outside its tests.
const IMPURE: &[&str] = &["tokio", "TcpStream", "TcpListener", "UdpSocket", "UnixStream", "Instant", "SystemTime", "std::fs"];

fn files(dir: &Path, ending: &str) -> Vec<PathBuf> {
    let (dirs, files_here): (Vec<_>, Vec<_>) = fs::read_dir(dir)
        .into_iter()
        .flatten()
        .map(|entry| entry.expect("a directory entry").path())
        .partition(|path| path.is_dir());
    let here = files_here.into_iter().filter(|path| path.to_string_lossy().ends_with(ending));
    here.chain(dirs.iter().flat_map(|dir| files(dir, ending))).collect()
}

/// Each file of `src`: its path there, its room, its first line, its code without comments and tests.
fn sources() -> Vec<(String, String, String, String)> {
    let src = Path::new(TOP).join("src");
    let source = |path: &PathBuf| {
        let text = fs::read_to_string(path).expect("a UTF-8 file");
        let place = path.strip_prefix(&src).expect("a file below src").display().to_string();
        let room = place.split(['/', '.']).next().unwrap_or_default().to_owned();
        let code = text.split("#[cfg(test)]").next().unwrap_or_default();
        let code: String = code.lines().map(|line| line.split("//").next().unwrap_or_default().to_owned() + "\n").collect();
        (place, room, text.lines().next().unwrap_or_default().to_owned(), code)
    };
    files(&src, ".rs").iter().map(source).collect()
}

/// The names after `crate::`, also those in `crate::{...}`.
fn used(code: &str) -> BTreeSet<String> {
    let nested = |depth: &mut i32, c: char| *depth += i32::from(c == '{') - i32::from(c == '}');
    let mut paths = Vec::new();
    for rest in code.split("crate::").skip(1) {
        let (mut depth, mut inner) = (0, 0);
        let end = rest.find(|c| (nested(&mut depth, c), depth == 0 && !"{".contains(c)).1).unwrap_or(rest.len());
        match rest.strip_prefix('{') {
            Some(_) => paths.extend(rest[1..end].split(|c| (nested(&mut inner, c), inner == 0 && c == ',').1)),
            None => paths.push(rest),
        }
    }
    let first = |path: &str| path.trim_start().split(|c: char| c != '_' && !c.is_ascii_alphanumeric()).next().map(str::to_owned);
    paths.into_iter().filter_map(first).filter(|name| !name.is_empty()).collect()
}

#[test]
fn a_room_uses_lower_floors_only() {
    let example = "use crate::{admin, listen::{self, x}, net::Stream,}; fn f() { crate::base::Tasks::new(); }";
    assert_eq!(used(example), ["admin", "base", "listen", "net"].map(str::to_owned).into());
    let depth = |room: &str| FLOORS.split('/').position(|rooms| rooms.split(' ').any(|other| other == room));
    for (name, room, _, code) in sources() {
        let own = depth(&room).unwrap_or_else(|| panic!("src/{name} is in no room of the house"));
        for other in used(&code).iter().filter(|other| **other != room) {
            let below = depth(other).is_none_or(|depth| depth > own);
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
    let all = files(&Path::new(TOP).join("config"), ".toml");
    let (reference, examples): (Vec<_>, Vec<_>) = all.iter().partition(|path| path.ends_with("reference.toml"));
    let [reference, examples] =
        [reference, examples].map(|paths| paths.into_iter().flat_map(|path| keys(path)).collect::<BTreeSet<_>>());
    let odd: Vec<_> = reference.symmetric_difference(&examples).collect();
    assert!(odd.is_empty() || examples.is_empty(), "in the reference alone, or in no reference: {odd:?}");
}
