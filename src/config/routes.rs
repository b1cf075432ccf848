//! `[[route]]`: which requests, and then one of three actions. Not here: what an action says
//! (`actions`), and which route wins (`route`).

use std::collections::BTreeMap;
use std::ops::Range;

use http::{HeaderName, HeaderValue, Method};
use toml::de::DeValue;

use super::actions;
use super::backends::Backends;
use super::edits::{self, Toward};
use super::general::RouteTimes;
use super::reading::{Entry, Section};
use super::suggest;
use super::tunnels::Tunnels;
use super::values::Text;
use crate::route::{HostPattern, PathPattern, Route};

/// What requests a route is for, as its section says it.
#[derive(Default)]
pub(super) struct Matcher {
    /// As written, and as read. Never empty: one `None` for any host.
    hosts: Vec<(String, Option<HostPattern>)>,
    path_text: String,
    pub(super) path: Option<PathPattern>,
    methods: Vec<Method>,
    headers: Vec<(HeaderName, Option<HeaderValue>)>,
    /// Not all of it could be read: what it would match cannot be told.
    is_broken: bool,
}

/// All routes in the file's order.
pub(super) fn read(root: &Section<'_>, backends: &mut Backends, tunnels: &mut Tunnels, times: &RouteTimes) -> Vec<Route> {
    let mut routes = Vec::new();
    let mut seen: BTreeMap<_, Vec<(_, Range<usize>)>> = BTreeMap::new();
    for section in root.sections("route") {
        let matcher = matcher(&section);
        for route in one(&section, &matcher, backends, tunnels, times) {
            let (place, rest) = identity(&route);
            let there = seen.entry(place).or_default();
            match there.iter().find(|(other, _)| *other == rest) {
                _ if matcher.is_broken => {}
                Some((_, first)) => twice(&section, &route, first),
                None => there.push((rest, section.span.clone())),
            }
            routes.push(route);
        }
        section.finish();
    }
    if routes.is_empty() && root.ask("route").is_none() {
        let noted = root.mistake("there is no `[[route]]`: every request will be answered with 404");
        noted.only_a_warning().needs_whole_file().note();
    }
    routes
}

fn one(
    section: &Section<'_>,
    matcher: &Matcher,
    backends: &mut Backends,
    tunnels: &mut Tunnels,
    times: &RouteTimes,
) -> Vec<Route> {
    let name = section.ask("name").and_then(|entry| entry.text());
    let request_headers = edits::read(section.section("request_headers"), Toward::Backend);
    let response_headers = edits::read(section.section("response_headers"), Toward::Client);
    let decided = actions::read(section, matcher, backends, tunnels, times);
    let Some((action, path)) = decided else { return Vec::new() };
    let route = |(text, host): (String, Option<HostPattern>)| Route {
        name: name.as_ref().map_or_else(|| default_name(&text, &matcher.path_text), |name| name.value.clone()).into(),
        host,
        path: path.clone(),
        methods: matcher.methods.clone(),
        headers: matcher.headers.clone(),
        action: action.clone(),
        request_headers: request_headers.clone(),
        response_headers: response_headers.clone(),
    };
    matcher.hosts.clone().into_iter().map(route).collect()
}

/// Host and path as written: `chat.example.com/ws/`, or `/`.
fn default_name(host: &str, path: &str) -> String {
    let path = if path.is_empty() { "/" } else { path };
    let gap = if path.starts_with('=') && !host.is_empty() { " " } else { "" };
    format!("{host}{gap}{path}")
}

fn matcher(section: &Section<'_>) -> Matcher {
    let before = section.reading.count();
    let path = section.ask("path").and_then(|entry| entry.text());
    let path_text = path.as_ref().map_or_else(String::new, |text| text.value.clone());
    let matcher = Matcher {
        hosts: hosts(section),
        path: path.and_then(|text| pattern(&text, PathPattern::parse(&text.value))),
        path_text,
        methods: methods(section),
        headers: headers(&section.section("headers")),
        is_broken: false,
    };
    Matcher { is_broken: section.reading.count() > before, ..matcher }
}

fn pattern<P>(text: &Text<'_>, parsed: Result<P, String>) -> Option<P> {
    parsed.map_err(|why| text.mistake(why).note()).ok()
}

fn hosts(section: &Section<'_>) -> Vec<(String, Option<HostPattern>)> {
    let any = vec![(String::new(), None)];
    let Some(entry) = section.ask("host") else { return any };
    let texts = match entry.value.get_ref() {
        DeValue::Array(array) if array.is_empty() => {
            entry.mistake("an empty list would match no request").label("leave the key out for any host").note();
            return any;
        }
        DeValue::Array(_) => entry.texts("a host"),
        _ => entry.text_for("a host or a list of hosts").map(|text| vec![text]),
    };
    let texts = texts.unwrap_or_default().into_iter();
    texts.filter_map(|text| Some((text.value.clone(), Some(pattern(&text, HostPattern::parse(&text.value))?)))).collect()
}

fn methods(section: &Section<'_>) -> Vec<Method> {
    let Some(entry) = section.ask("methods") else { return Vec::new() };
    let texts = entry.texts("a list of methods").unwrap_or_default();
    if matches!(entry.value.get_ref(), DeValue::Array(array) if array.is_empty()) {
        entry.mistake("an empty list would match no request").label("leave the key out for any method").note();
    }
    texts.iter().filter_map(method).collect()
}

fn method(text: &Text<'_>) -> Option<Method> {
    let value = text.value.as_str();
    let upper = value.to_ascii_uppercase();
    if value == "CONNECT" || value == "TRACE" {
        text.mistake(format!("`{value}` is never forwarded")).label("always answered with 405").note();
        return None;
    }
    let known = ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"];
    if value != upper && known.contains(&upper.as_str()) {
        let noted = text.mistake(format!("`{value}` would match no request: methods are written in capitals"));
        noted.label(format!("did you mean `{upper}`?")).note();
        return None;
    }
    let method = Method::from_bytes(value.as_bytes()).ok();
    if method.is_none() {
        text.mistake(format!("`{value}` is not a method")).label("as in `GET`").note();
    }
    method
}

fn headers(section: &Section<'_>) -> Vec<(HeaderName, Option<HeaderValue>)> {
    section.entries().iter().filter_map(header).collect()
}

fn header(entry: &Entry<'_>) -> Option<(HeaderName, Option<HeaderValue>)> {
    let name = edits::name(&entry.name);
    if name.is_none() {
        entry.mistaken_key(format!("`{}` is not a field name", entry.name)).label("as in `X-Kind`").note();
    }
    match entry.value.get_ref() {
        DeValue::Boolean(true) => Some((name?, None)),
        DeValue::Boolean(false) => {
            let noted = entry.mistake("a route cannot ask for a field's absence").label("a string or `true`");
            noted.help("put a route that asks for the field before this one").note();
            None
        }
        _ => {
            let text = entry.text_for("a string, or `true` for any value")?;
            let value = edits::value(&text)?;
            Some((name?, Some(value)))
        }
    }
}

type Place = (Option<HostPattern>, PathPattern);
type Rest = (Vec<String>, Vec<(HeaderName, Option<HeaderValue>)>);

/// What makes two routes match the same requests, so that the second would never be taken: host and path, by which
/// routes are told apart where there are many, and the rest.
fn identity(route: &Route) -> (Place, Rest) {
    let mut methods: Vec<_> = route.methods.iter().map(ToString::to_string).collect();
    methods.sort_unstable();
    methods.dedup();
    let mut headers = route.headers.clone();
    headers.sort_by(|one, other| one.0.as_str().cmp(other.0.as_str()));
    // No path at all is the prefix `/`, which is kept as an empty text.
    let path = route.path.clone().unwrap_or(PathPattern::Prefix(String::new()));
    ((route.host.clone(), path), (methods, headers))
}

fn twice(section: &Section<'_>, route: &Route, first: &Range<usize>) {
    if section.span == *first {
        let noted = section.mistake(format!("`{}` is named twice by one route", route.name));
        return noted.label("two of its hosts are the same").note();
    }
    let noted = section.mistake(format!("`{}` can never be taken", route.name));
    let noted = noted.label("matches the same requests").also(first.clone(), "as this one, which comes first");
    noted.help("same host, path, methods and headers: remove one, or tell them apart").note();
}

/// A word out of a closed set, with the likeliest one when it is another.
pub(super) fn not_one_of(text: &Text<'_>, what: &str, known: &[&str]) {
    let list = known.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(" or ");
    let likely = suggest::closest(&text.value, known.iter().copied()).map(|word| format!("did you mean `{word}`?"));
    text.mistake(format!("`{}` is not {what}", text.value)).label(likely.unwrap_or(list)).note();
}
