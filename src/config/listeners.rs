//! `[[listen]]`: where to listen, with which certificates, or only to send clients to `https`.
//! Not here: sockets and PEM files. Nothing is opened.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use toml::de::DeValue;

use super::Listener;
use super::reading::{Entry, Section};
use super::values::Text;
use crate::listen::{Address, Settings};
use crate::tls::{CertificateFiles, ServerSettings};

/// A listener as its section says it, before the others are known.
struct Draft<'a> {
    settings: Settings,
    tls: Option<ServerSettings>,
    redirect: Option<Entry<'a>>,
    entry: Entry<'a>,
}

/// All listeners; with no `[[listen]]` at all, the default one. `admin` shares the ports.
pub(super) fn read(root: &Section<'_>, admin: Option<(SocketAddr, &Text<'_>)>) -> Vec<Listener> {
    let sections = root.sections("listen");
    let none = sections.is_empty();
    let drafts: Vec<_> = sections.into_iter().filter_map(draft).collect();
    twice(&drafts, admin);
    let https = https_port(&drafts);
    let listeners: Vec<_> = drafts.into_iter().map(|draft| finished(draft, https)).collect();
    if none { vec![Listener { listen: Settings::default(), tls: None, redirect_https: None }] } else { listeners }
}

fn draft(section: Section<'_>) -> Option<Draft<'_>> {
    let entry = section.ask("address");
    if entry.is_none() {
        section.missing("address", r#"address = "127.0.0.1:8080""#);
    }
    let text = entry.and_then(|entry| address_text(&entry));
    let read = text.as_ref().and_then(address);
    let mut settings = Settings::default();
    let known = read.as_ref();
    if let Some(ipv6_only) = section.ask("ipv6_only") {
        settings.ipv6_only = ipv6_only.flag().unwrap_or_default();
        if known.is_some_and(|address| !matches!(address, Address::Ip(SocketAddr::V6(_)))) {
            ipv6_only.mistaken_key("only an IPv6 address can have it").label("no meaning here").note();
        }
    }
    if let Some(mode) = section.ask("mode") {
        settings.unix_mode = unix_mode(&mode).unwrap_or(settings.unix_mode);
        if matches!(known, Some(Address::Ip(_))) {
            mode.mistaken_key("only a `unix:` address has a mode").label("no meaning here").note();
        }
    }
    settings.max_connections = section.ask("max_connections").and_then(|entry| entry.number(1..=10_000_000));
    let certificates = section.sections("certificate");
    let tls = (!certificates.is_empty())
        .then(|| ServerSettings { certificates: certificates.into_iter().filter_map(certificate).collect() });
    let redirect = redirect(&section, tls.is_some());
    section.finish();
    settings.address = read?;
    Some(Draft { settings, tls, redirect, entry: text?.entry })
}

fn address_text<'a>(entry: &Entry<'a>) -> Option<Text<'a>> {
    let DeValue::Integer(port) = entry.value.get_ref() else {
        return entry.text_for("an address such as `\"127.0.0.1:8080\"`");
    };
    entry.wrong_type("an address").label(format!("write `\"127.0.0.1:{port}\"`")).note();
    None
}

fn certificate(section: Section<'_>) -> Option<CertificateFiles> {
    let file = |name, example| {
        let entry = section.ask(name);
        if entry.is_none() {
            section.missing(name, example);
        }
        entry.and_then(|entry| entry.path())
    };
    let chain = file("chain", r#"chain = "example.pem""#);
    let key = file("key", r#"key = "example.key""#);
    section.finish();
    Some(CertificateFiles { chain: chain?, key: key? })
}

fn redirect<'a>(section: &Section<'a>, tls: bool) -> Option<Entry<'a>> {
    let entry = section.ask("redirect")?;
    let text = entry.text()?;
    if text.value != "https" {
        let noted = text.mistake("a listener can only redirect to `https`").label("must be `\"https\"`");
        noted.help("a `[[route]]` can redirect anywhere").note();
        return None;
    }
    if tls {
        let noted = entry.mistake("this listener has a certificate, so it is `https` already");
        noted.label("would send clients to itself").note();
        return None;
    }
    Some(entry)
}

fn unix_mode(entry: &Entry<'_>) -> Option<u32> {
    if matches!(entry.value.get_ref(), DeValue::Integer(_)) {
        entry.wrong_type("permission bits").label("octal, in quotes, as in `\"0660\"`").note();
        return None;
    }
    let text = entry.text_for("permission bits such as `\"0660\"`")?;
    let octal = !text.value.is_empty() && text.value.bytes().all(|b| (b'0'..=b'7').contains(&b));
    let mode = u32::from_str_radix(&text.value, 8).ok().filter(|mode| octal && *mode <= 0o777);
    if mode.is_none() {
        text.mistake(format!("{} is not a file mode", text.shown())).label("octal, as in `0660`").note();
    }
    mode
}

fn address(text: &Text<'_>) -> Option<Address> {
    if let Some(path) = text.value.strip_prefix("unix:") {
        if path.is_empty() {
            text.mistake("`unix:` needs a path").label("as in `unix:/run/spliceway.sock`").note();
            return None;
        }
        return text.entry.socket_path(path).map(Address::Unix);
    }
    let parsed = text.value.parse().ok().map(Address::Ip);
    if parsed.is_none() {
        let noted = text.mistake(format!("{} is not an address to listen on", text.shown()));
        match meant(&text.value) {
            Some(label) => noted.label(label).note(),
            None => noted.label("an IP address and a port").help(FORMS).note(),
        }
    }
    parsed
}

const FORMS: &str = "an address is `1.2.3.4:80`, `[::]:80` (IPv4 as well, unless `ipv6_only = true`) or `unix:PATH`";

/// What someone who wrote this is likely to have meant.
fn meant(text: &str) -> Option<String> {
    let bare = text.split_once("://").map_or(text, |(_, rest)| rest).trim_end_matches('/');
    if bare != text && bare.parse::<SocketAddr>().is_ok() {
        return Some(format!("did you mean `{bare}`?"));
    }
    let (host, port) = bare.rsplit_once(':').unwrap_or(("", bare));
    let number = port.parse::<u16>().ok();
    // An address in its own right, too, but hardly meant as one.
    let unbracketed = number.is_some_and(|port| port >= 80) && host.parse::<Ipv6Addr>().is_ok();
    if let (Ok(ip), false) = (bare.parse::<IpAddr>(), unbracketed) {
        return Some(format!("the port is missing, as in `{}`", SocketAddr::from((ip, 8080))));
    }
    // `::1` is cut into `:` and `1`.
    let host = if host == ":" { "::" } else { host };
    Some(match (host, number) {
        ("" | "*", Some(port)) => format!("`0.0.0.0:{port}` for every IPv4 address, `[::]:{port}` for every address"),
        ("localhost", Some(port)) => format!("a name is not resolved here: `127.0.0.1:{port}` or `[::1]:{port}`"),
        (host, Some(port)) if host.parse::<Ipv6Addr>().is_ok() => format!("did you mean `[{host}]:{port}`?"),
        (_, Some(_)) => "a name is not resolved here: write its IP address".to_owned(),
        (host, None) if host.parse::<IpAddr>().is_ok() => format!("`{port}` is not a port: 0 to 65535"),
        _ if text.starts_with('/') => format!("did you mean `unix:{text}`?"),
        _ => return None,
    })
}

/// Whether two listeners cannot both be bound: the kernel would say no more than "address in use".
fn collide(one: &Settings, other: &Settings) -> bool {
    match (&one.address, &other.address) {
        (Address::Unix(one), Address::Unix(other)) => one == other,
        (Address::Ip(a), Address::Ip(b)) if a.port() == b.port() && a.port() != 0 => {
            let takes = |wide: &SocketAddr, settings: &Settings, narrow: &SocketAddr| {
                wide.ip().is_unspecified() && (wide.is_ipv4() == narrow.is_ipv4() || (wide.is_ipv6() && !settings.ipv6_only))
            };
            a.ip() == b.ip() || takes(a, one, b) || takes(b, other, a)
        }
        _ => false,
    }
}

fn twice(drafts: &[Draft<'_>], admin: Option<(SocketAddr, &Text<'_>)>) {
    for (index, draft) in drafts.iter().enumerate() {
        let Some(first) = drafts.iter().take(index).find(|first| collide(&first.settings, &draft.settings)) else { continue };
        let noted = draft.entry.mistake(format!("`{}` is already taken by another `[[listen]]`", draft.settings.address));
        noted.label("again here").also(first.entry.span(), taken(first, &draft.settings)).note();
    }
    let Some((address, text)) = admin else { return };
    let settings = Settings { address: Address::Ip(address), ..Settings::default() };
    if let Some(first) = drafts.iter().find(|first| collide(&first.settings, &settings)) {
        let noted = text.mistake(format!("`{address}` is already taken by a `[[listen]]`"));
        noted.label("again here").also(first.entry.span(), taken(first, &settings)).note();
    }
}

fn taken(first: &Draft<'_>, second: &Settings) -> &'static str {
    let both = matches!(first.settings.address, Address::Ip(SocketAddr::V6(_)))
        && matches!(second.address, Address::Ip(SocketAddr::V4(_)));
    if both { "takes IPv4 clients as well: see `ipv6_only`" } else { "first here" }
}

/// The port of the first listener with a certificate; 0 where the kernel will choose it.
fn https_port(drafts: &[Draft<'_>]) -> Option<u16> {
    drafts.iter().filter(|draft| draft.tls.is_some()).find_map(|draft| match draft.settings.address {
        Address::Ip(address) => Some(address.port()),
        Address::Unix(_) => None,
    })
}

fn finished(draft: Draft<'_>, https: Option<u16>) -> Listener {
    let redirect_https = draft.redirect.and_then(|entry| {
        match https {
            None => entry
                .mistake("no other listener speaks `https`")
                .label("where to?")
                .help("give a `[[listen]]` with an IP address a `[[listen.certificate]]`")
                .needs_whole_file()
                .note(),
            Some(0) => entry.mistake("the `https` listener has no fixed port").label("port 0 is chosen by the system").note(),
            Some(_) => {}
        }
        https
    });
    Listener { listen: draft.settings, tls: draft.tls, redirect_https }
}
