//! What can be said of one backend. Plain data.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use crate::tls;

/// How a server is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// HTTP/1.1 over TCP or a unix socket.
    Http,
    /// HTTP over TLS; which version by ALPN and [`Protocol`].
    Https,
    /// HTTP/2 with prior knowledge.
    H2c,
}

/// Where a server is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Target {
    /// A name or an address (IPv6 without brackets), resolved at each dial.
    Tcp {
        /// The name or address.
        host: String,
        /// The port.
        port: u16,
    },
    /// A unix stream socket.
    Unix(PathBuf),
}

/// One server, from `http://HOST:PORT`, `https://HOST:PORT`, `h2c://HOST:PORT` or `unix:PATH`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ServerAddress {
    /// How.
    pub scheme: Scheme,
    /// Where.
    pub target: Target,
}

impl ServerAddress {
    /// Reads one. The error says what is wrong, in words for the operator.
    pub fn parse(text: &str) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix("unix:") {
            if path.is_empty() {
                return Err("`unix:` needs a path, as in `unix:/run/app.sock`".to_owned());
            }
            return Ok(Self { scheme: Scheme::Http, target: Target::Unix(path.into()) });
        }
        let Some((scheme, rest)) = text.split_once("://") else {
            return Err(format!("a server is written with its scheme, as in `http://{text}`"));
        };
        let (scheme, port) = match scheme.to_ascii_lowercase().as_str() {
            "http" | "ws" => (Scheme::Http, 80),
            "https" | "wss" => (Scheme::Https, 443),
            "h2c" => (Scheme::H2c, 80),
            other => return Err(format!("`{other}://` is not known; there are `http://`, `https://`, `h2c://` and `unix:`")),
        };
        let authority = rest.strip_suffix('/').unwrap_or(rest);
        if authority.contains(['/', '?', '#']) {
            return Err("a server has no path; a route can put a prefix there with `replace_prefix`".to_owned());
        }
        if authority.contains('@') {
            return Err("a server has no user or password; a route can set `Authorization`".to_owned());
        }
        let (host, port) = split_port(authority, port)?;
        Ok(Self { scheme, target: Target::Tcp { host, port } })
    }

    /// Host and port as they stand in a `Host` field; `localhost` for a unix socket.
    pub fn authority(&self) -> String {
        let default = if self.scheme == Scheme::Https { 443 } else { 80 };
        match &self.target {
            Target::Unix(_) => "localhost".to_owned(),
            Target::Tcp { host, port } => {
                let host = if host.contains(':') { format!("[{host}]") } else { host.clone() };
                if *port == default { host } else { format!("{host}:{port}") }
            }
        }
    }
}

fn split_port(authority: &str, default: u16) -> Result<(String, u16), String> {
    let parsed = http::uri::Authority::try_from(authority).map_err(|_| format!("`{authority}` is not a host and a port"))?;
    let host = parsed.host().trim_start_matches('[').trim_end_matches(']').to_owned();
    if host.is_empty() {
        return Err("a host is missing".to_owned());
    }
    let tail = authority.get(parsed.host().len()..).unwrap_or_default();
    let port = match tail.strip_prefix(':') {
        None => default,
        Some(text) => text.parse().ok().filter(|&port| port != 0).ok_or_else(|| format!("`{text}` is not a port: 1 to 65535"))?,
    };
    Ok((host, port))
}

impl fmt::Display for ServerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match self.scheme {
            Scheme::Http => "http",
            Scheme::Https => "https",
            Scheme::H2c => "h2c",
        };
        match &self.target {
            Target::Unix(path) => write!(f, "unix:{}", path.display()),
            Target::Tcp { host, port } if host.contains(':') => write!(f, "{scheme}://[{host}]:{port}"),
            Target::Tcp { host, port } => write!(f, "{scheme}://{host}:{port}"),
        }
    }
}

/// One server per client, by a cookie of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sticky {
    /// The cookie's name.
    pub cookie: String,
}

/// Which HTTP version an `https` server is spoken to in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Protocol {
    /// What ALPN gives.
    #[default]
    Auto,
    /// HTTP/1.1.
    H1,
    /// HTTP/2.
    H2,
}

/// One backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// As records show it.
    pub name: String,
    /// Never empty.
    pub servers: Vec<ServerAddress>,
    /// Keep a client with one server.
    pub sticky: Option<Sticky>,
    /// For `https` servers.
    pub protocol: Protocol,
    /// For `https` servers.
    pub tls: tls::ClientSettings,
    /// How long one server may take to accept a connection, names, all addresses and TLS included.
    pub connect_time: Duration,
    /// How long an unused connection is kept for the next request.
    pub idle_time: Duration,
}

impl Settings {
    /// A backend with these servers and every default.
    pub fn new(name: impl Into<String>, servers: Vec<ServerAddress>) -> Self {
        Self {
            name: name.into(),
            servers,
            sticky: None,
            protocol: Protocol::default(),
            tls: tls::ClientSettings::default(),
            connect_time: Duration::from_secs(3),
            // Under the 60 s after which most servers close an idle connection, so that we close first.
            idle_time: Duration::from_secs(50),
        }
    }
}
