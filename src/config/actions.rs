//! What a route does: `backend`, `respond` or `redirect`, and the keys that belong to each.
//! Not here: which requests (`routes`).

use http::{HeaderValue, StatusCode};
use toml::de::DeValue;

use super::backends::Backends;
use super::general::{self, RouteTimes};
use super::reading::{Entry, Section};
use super::routes::{Matcher, not_one_of};
use super::suggest;
use super::tunnels::{self, Tunnels};
use super::values::Text;
use crate::route::{Action, BackendId, Forward, HostHeader, PathPattern, Redirect, Respond, WebSocket};

/// Keys that say how a request is sent on, and so nothing where it is not.
const FORWARD_ONLY: [&str; 9] = [
    "handshake",
    "legacy_drafts",
    "request_headers",
    "host_header",
    "max_body",
    "strip_prefix",
    "replace_prefix",
    "forwarded",
    "timeouts",
];

/// The action of a route, and its path (a replaced prefix needs one). Every key is read, whatever the
/// action, so that no mistake hides behind another.
pub(super) fn read(
    section: &Section<'_>,
    matcher: &Matcher,
    backends: &mut Backends,
    tunnels: &mut Tunnels,
    times: &RouteTimes,
) -> Option<(Action, Option<PathPattern>)> {
    let backend = section.ask("backend");
    let respond = section.ask("respond");
    let redirect = section.ask("redirect");
    let said = one_of(section, [backend.as_ref(), respond.as_ref(), redirect.as_ref()]);
    let target = backend.as_ref().and_then(target).and_then(|text| backends.resolve(&text));
    // Read whatever the action, with a backend of no meaning where there is none.
    let (forward, path) = forward(section, matcher, target.unwrap_or(BackendId(usize::MAX)), tunnels, times);
    let respond = respond.and_then(|entry| self::respond(&entry));
    let redirect = redirect.and_then(|entry| self::redirect(&entry));
    if said? == "backend" {
        target.map(|_| (Action::Forward(forward), path))
    } else {
        let action = respond.map(Action::Respond).or(redirect.map(Action::Redirect))?;
        Some((action, matcher.path.clone()))
    }
}

/// The one key of the three that is there.
fn one_of(section: &Section<'_>, keys: [Option<&Entry<'_>>; 3]) -> Option<&'static str> {
    let mut there: Vec<_> = keys.into_iter().flatten().collect();
    there.sort_by_key(|entry| entry.name_span.start);
    let Some(first) = there.first() else {
        let noted = section.mistake("a route says what to do: `backend`, `respond` or `redirect`");
        noted.label("none of them follows").needs_one_of(&["backend", "respond", "redirect"]).note();
        return None;
    };
    for second in there.iter().skip(1) {
        let noted = second.mistaken_key(format!("a route cannot have both `{}` and `{}`", first.name, second.name));
        noted.label("this").also(first.name_span.clone(), "or this").note();
    }
    if first.name == "backend" || there.len() > 1 {
        return (there.len() == 1).then_some("backend");
    }
    for entry in FORWARD_ONLY.into_iter().chain(tunnels::KEYS).filter_map(|name| section.ask(name)) {
        let noted = entry.mistaken_key(format!("no request is sent on where a route has `{}`", first.name));
        noted.label("no meaning here").also(first.name_span.clone(), "it answers by itself").note();
    }
    Some("ourselves")
}

fn target<'a>(entry: &Entry<'a>) -> Option<Text<'a>> {
    let expected = "a backend's name or a URL";
    if let DeValue::Array(_) = entry.value.get_ref() {
        entry.wrong_type(expected).label("several servers are a `[backend.NAME]`").note();
        return None;
    }
    entry.text_for(expected)
}

fn forward(
    section: &Section<'_>,
    matcher: &Matcher,
    backend: BackendId,
    tunnels: &mut Tunnels,
    times: &RouteTimes,
) -> (Forward, Option<PathPattern>) {
    let limits = section.section("timeouts");
    let times = general::of_route(&limits, times);
    limits.finish();
    let (rewrite, path) = rewrite(section, matcher);
    let forward = Forward {
        backend,
        handshake: section.ask("handshake").and_then(|entry| handshake(&entry)).unwrap_or(WebSocket::Forward),
        tunnel: tunnels.of_route(section),
        legacy_drafts: section.flag("legacy_drafts", false),
        rewrite,
        host_header: section.ask("host_header").and_then(|entry| host_header(&entry)).unwrap_or(HostHeader::Keep),
        max_body: section.ask("max_body").and_then(|entry| entry.size(0..=u64::MAX)),
        forwarded: section.flag("forwarded", false),
        handshake_time: times.handshake,
        answer_time: times.answer,
        between_time: times.between,
    };
    (forward, path)
}

fn handshake(entry: &Entry<'_>) -> Option<WebSocket> {
    let text = entry.text()?;
    match text.value.as_str() {
        "forward" => Some(WebSocket::Forward),
        "terminate" => Some(WebSocket::Terminate),
        _ => {
            not_one_of(&text, "a way to handshake", &["forward", "terminate"]);
            None
        }
    }
}

fn rewrite(section: &Section<'_>, matcher: &Matcher) -> (Option<String>, Option<PathPattern>) {
    let strip = section.ask("strip_prefix");
    let replace = section.ask("replace_prefix");
    if let (Some(strip), Some(replace)) = (&strip, &replace) {
        let noted = replace.mistaken_key("the prefix can be stripped or replaced, not both");
        noted.label("this").also(strip.name_span.clone(), "or this").note();
    }
    let stripped = strip.as_ref().and_then(stripped).unwrap_or_default();
    let replaced = replace.as_ref().and_then(Entry::text).and_then(|text| prefix(&text));
    let rewrite = replaced.or(stripped.then(String::new));
    let exact = matches!(matcher.path, Some(PathPattern::Exact(_)));
    let absent = section.ask("path").is_none();
    for entry in [strip.as_ref().filter(|_| stripped), replace.as_ref()].into_iter().flatten() {
        if exact {
            let noted = entry.mistaken_key("an exact path has no prefix");
            let path = section.ask("path").map_or(entry.name_span.clone(), |path| path.span());
            noted.label("no meaning here").also(path, "exact because of the `=`").note();
        } else if absent && entry.name == "strip_prefix" {
            entry.mistaken_key("there is no prefix to strip").label("needs a `path`").needs_whole_file().note();
        }
    }
    // A prefix put before every path replaces the empty one.
    let path = if absent && rewrite.is_some() { Some(PathPattern::Prefix(String::new())) } else { matcher.path.clone() };
    (rewrite, path)
}

fn stripped(entry: &Entry<'_>) -> Option<bool> {
    if let DeValue::String(_) = entry.value.get_ref() {
        let noted = entry.wrong_type("`true` or `false`");
        noted.label("with `true`, what is stripped is the route's `path`").note();
        return None;
    }
    entry.flag()
}

fn prefix(text: &Text<'_>) -> Option<String> {
    match PathPattern::parse(&text.value) {
        Ok(PathPattern::Prefix(prefix)) => Some(prefix),
        Ok(PathPattern::Exact(_)) => {
            text.mistake("a prefix is a path, without `=`").label("as in `/v2`").note();
            None
        }
        Err(why) => {
            text.mistake(why).note();
            None
        }
    }
}

fn host_header(entry: &Entry<'_>) -> Option<HostHeader> {
    let text = entry.text()?;
    let words = ["keep", "backend"];
    match text.value.as_str() {
        "keep" => return Some(HostHeader::Keep),
        "backend" => return Some(HostHeader::Backend),
        other if !other.contains(['.', ':']) => {
            if let Some(word) = suggest::closest(other, words) {
                let noted = text.mistake(format!("`{other}` is not `keep`, `backend` or a host"));
                noted.label(format!("did you mean `{word}`?")).note();
                return None;
            }
        }
        _ => {}
    }
    let authority = http::uri::Authority::try_from(text.value.as_str()).ok().filter(|host| !host.as_str().contains('@'));
    let value = authority.and_then(|host| HeaderValue::from_str(host.as_str()).ok());
    if value.is_none() {
        let noted = text.mistake(format!("{} cannot be a `Host`", text.shown()));
        noted.label("`keep`, `backend` or a host such as `app.example.com`").note();
    }
    value.map(HostHeader::Set)
}

fn respond(entry: &Entry<'_>) -> Option<Respond> {
    const FORM: &str = "`{ status = 200, body = \"…\" }`";
    if let DeValue::Integer(status) = entry.value.get_ref() {
        entry.wrong_type(FORM).label(format!("write `{{ status = {status} }}`")).note();
        return None;
    }
    let section = entry.section(FORM)?;
    let status_entry = section.ask("status");
    let status = match &status_entry {
        Some(entry) => entry.number::<u16>(200..=599).and_then(|status| StatusCode::from_u16(status).ok()),
        None => Some(StatusCode::OK),
    };
    let body = section.ask("body");
    let text = match &body {
        Some(entry) => entry.text().map(|text| text.value),
        None => Some(String::new()),
    };
    section.finish();
    let (status, text) = (status?, text?);
    // RFC 9110 6.4.1: these have no content.
    let bare = [StatusCode::NO_CONTENT, StatusCode::RESET_CONTENT, StatusCode::NOT_MODIFIED].contains(&status);
    if let (true, false, Some(body)) = (bare, text.is_empty(), body) {
        let noted = body.mistake(format!("an answer with status {} has no body", status.as_u16()));
        let status = status_entry.map_or(entry.span(), |entry| entry.span());
        noted.label("leave it out").also(status, "because of this").note();
    }
    Some(Respond { status, body: text })
}

fn redirect(entry: &Entry<'_>) -> Option<Redirect> {
    if let DeValue::String(_) = entry.value.get_ref() {
        let location = location(&entry.text()?)?;
        return Some(Redirect { location, status: StatusCode::PERMANENT_REDIRECT });
    }
    let section = entry.section("a URL or `{ to = \"URL\", status = 308 }`")?;
    let to = section.ask("to");
    if to.is_none() {
        section.missing("to", r#"to = "https://example.com/{path}""#);
    }
    let status = section.ask("status").map_or(Some(StatusCode::PERMANENT_REDIRECT), |entry| {
        let status = entry.number::<u16>(100..=999)?;
        if ![301, 302, 303, 307, 308].contains(&status) {
            entry.mistake(format!("{status} is not the status of a redirect")).label("301, 302, 303, 307 or 308").note();
            return None;
        }
        StatusCode::from_u16(status).ok()
    });
    section.finish();
    Some(Redirect { location: location(&to?.text()?)?, status: status? })
}

fn location(text: &Text<'_>) -> Option<String> {
    let value = text.value.as_str();
    if value == "https" {
        let noted = text.mistake("a route redirects to a URL").label("as in `https://{host}/{path}`");
        noted.help("a `[[listen]]` can `redirect = \"https\"`").note();
        return None;
    }
    if !["/", "http://", "https://"].iter().any(|start| value.starts_with(start)) {
        let noted = text.mistake(format!("`{value}` is not where a client can be sent"));
        noted.label("begins with `https://`, `http://` or `/`").note();
        return None;
    }
    if let Some(c) = value.chars().find(|c| !c.is_ascii_graphic()) {
        text.mistake(format!("{c:?} cannot stand in a URL")).label("write it as an escape, `%20` for a space").note();
        return None;
    }
    placeholders(text).then(|| value.to_owned())
}

/// Whether every `{…}` is one that is known.
fn placeholders(text: &Text<'_>) -> bool {
    const FORMS: &str = "`{host}` and `{path}` stand for the request's";
    // nginx's way to write the same. A `$` is legal in a URL, these names are hardly ever meant.
    if let Some(name) = ["$host", "$request_uri", "$uri", "$http_host"].into_iter().find(|name| text.value.contains(name)) {
        text.mistake(format!("`{name}` would be sent as it stands")).label("as in `https://{host}/{path}`").help(FORMS).note();
        return false;
    }
    let mut rest = text.value.as_str();
    while let Some((before, after)) = rest.split_once('{') {
        let inner = after.split_once('}').filter(|_| !before.contains('}'));
        let Some((word, tail)) = inner else {
            text.mistake("`{` and `}` do not match").help(FORMS).note();
            return false;
        };
        if word != "host" && word != "path" {
            let foreign = ["uri", "request_uri", "query"].contains(&word).then_some("path");
            let label = foreign
                .or_else(|| suggest::closest(word, ["host", "path"]))
                .map_or_else(|| "`{host}` or `{path}`".to_owned(), |word| format!("did you mean `{{{word}}}`?"));
            text.mistake(format!("`{{{word}}}` is not known")).label(label).help(FORMS).note();
            return false;
        }
        rest = tail;
    }
    if rest.contains('}') {
        text.mistake("`{` and `}` do not match").help(FORMS).note();
        return false;
    }
    true
}
