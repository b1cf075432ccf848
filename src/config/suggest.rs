//! Pure: what may have been meant. Words in, the likeliest word out.

use std::collections::BTreeSet;

use super::places::header_path;

/// What other proxies call things, and what it is called here.
const TRANSLATIONS: &[(&str, &str)] = &[
    ("proxy_pass", "backend"),
    ("reverse_proxy", "backend"),
    ("upstream", "backend"),
    ("service", "backend"),
    ("target", "backend"),
    ("to", "backend"),
    ("url", "backend"),
    ("server_name", "host"),
    ("hosts", "host"),
    ("hostname", "host"),
    ("domain", "host"),
    ("location", "path"),
    ("prefix", "path"),
    ("path_prefix", "path"),
    ("method", "methods"),
    ("header", "headers"),
    ("client_max_body_size", "max_body"),
    ("rewrite", "replace_prefix"),
    ("return", "respond"),
    ("bind", "address"),
    ("addr", "address"),
    ("port", "address"),
    ("listen", "address"),
    ("maxconn", "max_connections"),
    ("tls", "certificate"),
    ("ssl", "certificate"),
    ("ssl_certificate", "certificate"),
    ("cert", "chain"),
    ("certificate", "chain"),
    ("crt", "chain"),
    ("private_key", "key"),
    ("server", "servers"),
    ("hosts", "servers"),
    ("endpoints", "servers"),
    ("urls", "servers"),
    ("workers", "threads"),
    ("worker_processes", "threads"),
    ("frontend", "listen"),
    ("server", "listen"),
    ("listener", "listen"),
    ("upstream", "backend"),
    ("upstreams", "backend"),
    ("location", "route"),
    ("code", "status"),
    ("text", "body"),
    ("name", "cookie"),
    ("add", "append"),
    ("delete", "remove"),
    ("unset", "remove"),
];

/// The known word with the fewest slips of the pen between, if they are few for its length.
pub(super) fn closest<'w>(word: &str, known: impl IntoIterator<Item = &'w str>) -> Option<&'w str> {
    let word = word.to_ascii_lowercase();
    let length = word.chars().count();
    // Any two short words are but a slip apart.
    let most = if length < 3 { 0 } else { (length / 3).max(1) };
    known
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(&word, &candidate.to_ascii_lowercase()), candidate))
        .filter(|(distance, candidate)| *distance <= most && *distance < candidate.chars().count())
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Our word for another proxy's.
pub(super) fn translation<'w>(word: &str, known: impl IntoIterator<Item = &'w str>) -> Option<&'w str> {
    let word = word.to_ascii_lowercase().replace('-', "_");
    known.into_iter().find(|candidate| TRANSLATIONS.contains(&(word.as_str(), candidate)))
}

/// Where a key of this very name is asked for, if not in this section: `in [timeouts]`.
pub(super) fn home(name: &str, section: &str, asked: &BTreeSet<String>) -> Option<String> {
    let parent = |pattern: &str| match pattern.rsplit_once('.') {
        Some((parent, last)) if last == name => Some(parent.to_owned()),
        None if pattern == name => Some(String::new()),
        _ => None,
    };
    let parents = asked.iter().filter_map(|pattern| parent(pattern)).filter(|parent| parent != section);
    let parent = parents.min_by_key(String::len)?;
    Some(if parent.is_empty() {
        "at the top of the file, before the first `[section]`".to_owned()
    } else if parent.ends_with("[]") {
        format!("in `[[{}]]`", header_path(&parent))
    } else {
        let whole = if parent.contains('*') { "" } else { ", for the whole file" };
        format!("in `[{}]`{whole}", header_path(&parent))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_pen_is_understood_and_another_word_is_not() {
        let known = ["path", "host", "backend", "handshake"];
        assert_eq!(closest("pahts", known), None);
        assert_eq!(closest("pth", known), Some("path"));
        assert_eq!(closest("Backends", known), Some("backend"));
        assert_eq!(closest("handshaek", known), Some("handshake"));
        assert_eq!(closest("x", known), None);
    }

    #[test]
    fn a_key_of_another_section_is_sent_home() {
        let asked: BTreeSet<_> =
            ["records", "timeouts.head", "listen[].certificate[].chain", "backend.*.servers"].map(str::to_owned).into();
        assert_eq!(home("head", "", &asked).as_deref(), Some("in `[timeouts]`, for the whole file"));
        assert_eq!(home("chain", "listen[]", &asked).as_deref(), Some("in `[[listen.certificate]]`"));
        assert_eq!(home("servers", "route[]", &asked).as_deref(), Some("in `[backend.NAME]`"));
        assert_eq!(home("head", "timeouts", &asked), None);
    }
}
