//! `[backend.NAME]`, and the backends that routes name by a URL. Not here: routes; nothing is dialled.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::time::Duration;

use super::reading::{Entry, Section};
use super::suggest;
use super::values::Text;
use crate::route::BackendId;
use crate::upstream::{Protocol, Scheme, ServerAddress, Settings, Sticky, Target};

/// All backends so far, by what routes may call them.
pub(super) struct Backends {
    list: Vec<Settings>,
    named: BTreeMap<String, (BackendId, Range<usize>)>,
    by_url: BTreeMap<String, BackendId>,
    /// As routes write them: many name the same one.
    by_text: BTreeMap<String, BackendId>,
    /// There are named ones, but they could not be read: whether a name is known cannot be told.
    broken: bool,
    used: BTreeSet<usize>,
    connect: Duration,
}

impl Backends {
    /// The named ones. `connect` is for those that say nothing else.
    pub(super) fn read(root: &Section<'_>, connect: Duration) -> Self {
        let mut all = Self {
            list: Vec::new(),
            named: BTreeMap::new(),
            by_url: BTreeMap::new(),
            by_text: BTreeMap::new(),
            broken: false,
            used: BTreeSet::new(),
            connect,
        };
        let Some(entry) = root.ask("backend") else { return all };
        let Some(section) = entry.section("tables `[backend.NAME]`") else {
            all.broken = true;
            return all;
        };
        for entry in section.entries() {
            let id = BackendId(all.list.len());
            all.named.insert(entry.name.to_string(), (id, entry.name_span.clone()));
            all.list.push(backend(&entry, connect));
        }
        all
    }

    /// The backend that a route means.
    pub(super) fn resolve(&mut self, text: &Text<'_>) -> Option<BackendId> {
        if text.value.contains("://") || text.value.starts_with("unix:") {
            return self.at_url(text);
        }
        let Some((id, _)) = self.named.get(&text.value) else {
            if !self.broken {
                self.unknown(text);
            }
            return None;
        };
        self.used.insert(id.0);
        Some(*id)
    }

    fn at_url(&mut self, text: &Text<'_>) -> Option<BackendId> {
        if let Some(id) = self.by_text.get(&text.value) {
            return Some(*id);
        }
        let server = server(text)?;
        let name = server.to_string();
        let id = self.by_url.get(&name).copied().unwrap_or_else(|| self.add(name, server));
        self.by_text.insert(text.value.clone(), id);
        Some(id)
    }

    /// A backend that is one server, called by its URL.
    fn add(&mut self, name: String, server: ServerAddress) -> BackendId {
        let id = BackendId(self.list.len());
        self.list.push(Settings { connect_time: self.connect, ..Settings::new(name.clone(), vec![server]) });
        self.by_url.insert(name, id);
        self.used.insert(id.0);
        id
    }

    fn unknown(&self, text: &Text<'_>) {
        let noted = text.mistake(format!("there is no backend `{}`", text.value)).needs_whole_file();
        let url = format!("http://{}", text.value);
        let noted = match suggest::closest(&text.value, self.named.keys().map(String::as_str)) {
            Some(name) => noted.label(format!("did you mean `{name}`?")),
            None if text.value.contains([':', '.']) && ServerAddress::parse(&url).is_ok() => {
                noted.label(format!("did you mean `{url}`?"))
            }
            None if text.value.contains(":/") => noted.label("a URL has two slashes after the colon"),
            None => noted.label("not in this file"),
        };
        let names: Vec<_> = self.named.keys().map(|name| format!("`{name}`")).collect();
        let help = if names.is_empty() {
            "this file has no `[backend.NAME]`; a backend can also be a URL, as in `http://127.0.0.1:3000`".to_owned()
        } else {
            format!("backends in this file: {}; or a URL such as `http://127.0.0.1:3000`", names.join(", "))
        };
        noted.help(help).note();
    }

    /// Says which named ones no route uses, and gives all.
    pub(super) fn finish(self, root: &Section<'_>) -> Vec<Settings> {
        for (name, (_, place)) in self.named.iter().filter(|(_, (id, _))| !self.used.contains(&id.0)) {
            let noted = root.mistake(format!("no route uses the backend `{name}`")).at(place.clone());
            noted.only_a_warning().needs_whole_file().note();
        }
        self.list
    }
}

fn backend(entry: &Entry<'_>, connect: Duration) -> Settings {
    let mut settings = Settings::new(entry.name.clone(), Vec::new());
    settings.connect_time = connect;
    name(entry);
    let Some(section) = entry.section(&format!("a table `[{}]`", entry.key)) else { return settings };
    settings.servers = servers(&section);
    settings.sticky = sticky(&section);
    settings.connect_time = section.duration("connect", connect);
    settings.idle_time = section.duration("idle", settings.idle_time);
    let https = settings.servers.iter().any(|server| server.scheme == Scheme::Https);
    let useless = |entry: &Entry<'_>, label: &str| {
        let noted = entry.mistaken_key("only `https://` servers have it, and there is none here");
        noted.label(label).needs_whole_file().note();
    };
    if let Some(entry) = section.ask("protocol") {
        let protocol = protocol(&entry);
        settings.protocol = protocol.unwrap_or_default();
        if !https && !settings.servers.is_empty() && protocol.is_some() {
            useless(&entry, H2C);
        }
    }
    if let Some(entry) = section.ask("ca") {
        settings.tls.ca = entry.path();
        if !https && !settings.servers.is_empty() {
            useless(&entry, "no meaning here");
        }
    }
    section.finish();
    settings
}

const H2C: &str = "HTTP/2 without TLS is a server `h2c://HOST:PORT`";

/// Records and metrics show the name, and a route must be able to tell it from a URL.
fn name(entry: &Entry<'_>) {
    let legal = |b: u8| b.is_ascii_alphanumeric() || b"_-.".contains(&b);
    if entry.name.is_empty() || !entry.name.bytes().all(legal) {
        let noted = entry.mistaken_key(format!("`{}` cannot be a backend's name", entry.name));
        noted.label("letters, digits, `-`, `_` and `.`").note();
    }
}

fn servers(section: &Section<'_>) -> Vec<ServerAddress> {
    const EXAMPLE: &str = r#"servers = ["http://10.0.0.1:3000"]"#;
    let Some(entry) = section.ask("servers") else {
        section.missing("servers", EXAMPLE);
        return Vec::new();
    };
    let Some(texts) = entry.texts("a list of servers") else { return Vec::new() };
    if matches!(entry.value.get_ref(), toml::de::DeValue::Array(array) if array.is_empty()) {
        entry.mistake("a backend needs a server").label(format!("as in `{EXAMPLE}`")).note();
    }
    let mut seen: Vec<(ServerAddress, Range<usize>)> = Vec::new();
    for text in texts {
        let Some(server) = server(&text) else { continue };
        match seen.iter().find(|(other, _)| *other == server) {
            Some((_, first)) => text.mistake(format!("`{server}` is listed twice")).also(first.clone(), "first here").note(),
            None => seen.push((server, text.entry.span())),
        }
    }
    seen.into_iter().map(|(server, _)| server).collect()
}

fn server(text: &Text<'_>) -> Option<ServerAddress> {
    match ServerAddress::parse(&text.value) {
        Ok(ServerAddress { scheme, target: Target::Unix(path) }) => {
            let path = text.entry.socket_path(path.to_str()?)?;
            Some(ServerAddress { scheme, target: Target::Unix(path) })
        }
        Ok(server) => Some(server),
        Err(_) if text.value.ends_with("://") => {
            text.mistake("a host is missing").label("as in `http://10.0.0.1:3000`").note();
            None
        }
        Err(why) => {
            text.mistake(why).help("a server is `http://HOST:PORT`, `https://…`, `h2c://…` or `unix:PATH`").note();
            None
        }
    }
}

fn sticky(section: &Section<'_>) -> Option<Sticky> {
    let section = section.ask("sticky")?.section("`{ cookie = \"NAME\" }`")?;
    let entry = section.ask("cookie");
    if entry.is_none() {
        section.missing("cookie", r#"sticky = { cookie = "spliceway" }"#);
    }
    section.finish();
    let text = entry?.text()?;
    // RFC 6265 4.1.1: a cookie's name is a token; so is a method's, whose reader serves here.
    if text.value.is_empty() || http::Method::from_bytes(text.value.as_bytes()).is_err() {
        let noted = text.mistake(format!("{} cannot be a cookie's name", text.shown()));
        noted.label("letters, digits and ``!#$%&'*+-.^_`|~``, no space (RFC 6265)").note();
        return None;
    }
    Some(Sticky { cookie: text.value })
}

fn protocol(entry: &Entry<'_>) -> Option<Protocol> {
    let text = entry.text()?;
    match text.value.as_str() {
        "auto" => Some(Protocol::Auto),
        "h1" => Some(Protocol::H1),
        "h2" => Some(Protocol::H2),
        other => {
            let noted = text.mistake(format!("`{other}` is not a protocol"));
            noted.label(if other == "h2c" { H2C } else { "`auto`, `h1` or `h2`" }).note();
            None
        }
    }
}
