//! `request_headers` and `response_headers`: fields to set, append and remove, except those that are
//! not the operator's to change, each with the reason. Not here: how they are applied (`headers`).

use std::ops::Range;

use http::{HeaderName, HeaderValue};
use toml::de::DeValue;

use super::reading::{Entry, Section};
use super::values::Text;
use crate::headers::Edits;

/// Which head is changed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Toward {
    Backend,
    Client,
}

/// Reads a section of edits.
pub(super) fn read(section: Section<'_>, toward: Toward) -> Edits {
    let edits = Edits {
        remove: section.ask("remove").map_or_else(Vec::new, |entry| remove(&entry, toward)),
        set: lines(&section.section("set"), toward, false),
        append: lines(&section.section("append"), toward, true),
    };
    section.finish();
    edits
}

fn remove(entry: &Entry<'_>, toward: Toward) -> Vec<HeaderName> {
    let texts = entry.texts("a list of field names").unwrap_or_default();
    let name = |text: &Text<'_>| {
        let Some(name) = name(&text.value) else {
            text.mistake(format!("`{}` is not a field name", text.value)).label("as in `X-Powered-By`").note();
            return None;
        };
        if let Some(why) = reserved(&name, toward) {
            text.mistake(format!("`{}` cannot be removed", text.value)).label(why).note();
            return None;
        }
        Some(name)
    };
    texts.iter().filter_map(name).collect()
}

fn lines(section: &Section<'_>, toward: Toward, several: bool) -> Vec<(HeaderName, HeaderValue)> {
    let mut lines: Vec<(HeaderName, HeaderValue)> = Vec::new();
    let mut seen: Vec<(HeaderName, Range<usize>)> = Vec::new();
    for entry in section.entries() {
        let name = field(&entry, toward);
        let values = if several && matches!(entry.value.get_ref(), DeValue::Array(_)) {
            entry.texts("a string or a list of strings").unwrap_or_default()
        } else {
            entry.text().into_iter().collect()
        };
        let values: Vec<_> = values.iter().filter_map(value).collect();
        let Some(name) = name else { continue };
        if let Some((_, first)) = seen.iter().find(|(other, _)| *other == name) {
            let noted = entry.mistaken_key(format!("`{}` is there twice", entry.name));
            noted.label("case makes no difference").also(first.clone(), "first here").note();
        }
        seen.push((name.clone(), entry.name_span.clone()));
        lines.extend(values.into_iter().map(|value| (name.clone(), value)));
    }
    lines
}

fn field(entry: &Entry<'_>, toward: Toward) -> Option<HeaderName> {
    let Some(name) = name(&entry.name) else {
        entry.mistaken_key(format!("`{}` is not a field name", entry.name)).label("as in `X-Env`").note();
        return None;
    };
    if let Some(why) = reserved(&name, toward) {
        entry.mistaken_key(format!("`{}` is not a route's to change", entry.name)).label(why).note();
        return None;
    }
    Some(name)
}

/// A field name (RFC 9110 5.1), in any case.
pub(super) fn name(text: &str) -> Option<HeaderName> {
    HeaderName::from_bytes(text.as_bytes()).ok()
}

/// A field value. What it holds is not shown: it may be a secret out of the environment.
pub(super) fn value(text: &Text<'_>) -> Option<HeaderValue> {
    if let Ok(value) = HeaderValue::from_str(&text.value) {
        if text.value.trim_matches([' ', '\t']) == text.value {
            return Some(value);
        }
        text.mistake("a field's value cannot begin or end with a space").label("it would be cut off on the way").note();
        return None;
    }
    text.mistake("a field's value has no line breaks or control characters").note();
    None
}

/// Why this field is not the operator's, if it is not.
fn reserved(name: &HeaderName, toward: Toward) -> Option<&'static str> {
    let name = name.as_str();
    match name {
        "connection" | "keep-alive" | "proxy-connection" | "te" | "upgrade" | "proxy-authenticate" | "proxy-authorization" => {
            Some("holds for one connection only, each side of the proxy has its own (RFC 9110 7.6.1)")
        }
        "transfer-encoding" | "content-length" | "trailer" => {
            Some("says where the message ends: a wrong one lets a request hide in another")
        }
        "host" if toward == Toward::Backend => Some("use `host_header`"),
        "expect" if toward == Toward::Backend => Some("is settled between client, proxy and server"),
        _ if name.starts_with("sec-websocket-") => Some("is part of the handshake: both sides check it"),
        _ => None,
    }
}
