//! A configuration out of two words typed, with no file at all.

use std::net::SocketAddr;

use super::general::RouteTimes;
use super::{Config, Engine, Listener, Runtime};
use crate::route::{Action, BackendId, Forward, HostHeader, Route, TunnelKind, WebSocket};
use crate::upstream::ServerAddress;
use crate::{headers, listen, serve, tunnel, upstream};

impl Config {
    /// Everything that comes to `listen` (`127.0.0.1:8080`, `unix:PATH`) goes to `to` (a URL, or
    /// `HOST:PORT` for plain HTTP). Paths are relative to the working directory.
    pub fn quick(listen: &str, to: &str) -> Result<Self, String> {
        let address = match listen.strip_prefix("unix:") {
            Some("") => return Err("--listen: `unix:` needs a path".to_owned()),
            Some(path) => listen::Address::Unix(path.into()),
            None => listen::Address::Ip(socket_address(listen)?),
        };
        let scheme = to.contains("://") || to.starts_with("unix:");
        let url = if scheme { to.to_owned() } else { format!("http://{to}") };
        let server = ServerAddress::parse(&url).map_err(|why| format!("--to: {why}"))?;
        let times = RouteTimes::default();
        Ok(Self {
            threads: None,
            runtime: Runtime::default(),
            engine: Engine::default(),
            listeners: vec![Listener {
                listen: listen::Settings { address, ..listen::Settings::default() },
                tls: None,
                redirect_https: None,
            }],
            tunnels: vec![tunnel::Settings::default()],
            backends: vec![upstream::Settings::new(server.to_string(), vec![server])],
            routes: vec![everything(&times)],
            serve: serve::Settings::default(),
            admin: None,
            records: true,
            warnings: Vec::new(),
        })
    }
}

/// `127.0.0.1:8080`, or `:8080` and `8080` on loopback: a word typed to try something out opens nothing
/// to the network.
fn socket_address(listen: &str) -> Result<SocketAddr, String> {
    let port = listen.strip_prefix(':').unwrap_or(listen).parse::<u16>().ok();
    if let Some(port) = port {
        return Ok(SocketAddr::from(([127, 0, 0, 1], port)));
    }
    listen.parse().map_err(|_| {
        format!("--listen: `{listen}` is not an address to listen on, such as 127.0.0.1:8080, [::]:8080 or unix:PATH")
    })
}

fn everything(times: &RouteTimes) -> Route {
    Route {
        name: "/".into(),
        host: None,
        path: None,
        methods: Vec::new(),
        headers: Vec::new(),
        action: Action::Forward(Forward {
            backend: BackendId(0),
            handshake: WebSocket::Forward,
            legacy_drafts: false,
            rewrite: None,
            host_header: HostHeader::Keep,
            max_body: None,
            forwarded: false,
            handshake_time: times.handshake,
            answer_time: times.answer,
            between_time: times.between,
            tunnel: TunnelKind(0),
        }),
        request_headers: headers::Edits::default(),
        response_headers: headers::Edits::default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_words_are_a_configuration() {
        let config = Config::quick("8080", "localhost:3000").unwrap();
        assert_eq!(config.listeners[0].listen.address.to_string(), "127.0.0.1:8080");
        assert_eq!(config.backends[0].name, "http://localhost:3000");
        assert_eq!(Config::quick("unix:a", "h2c://b").unwrap().backends[0].name, "h2c://b:80");
    }

    #[test]
    fn the_word_at_fault_is_named() {
        assert!(Config::quick("localhost:80", "http://a").unwrap_err().starts_with("--listen: `localhost:80`"));
        assert!(Config::quick("unix:", "http://a").unwrap_err().starts_with("--listen:"));
        assert!(Config::quick("127.0.0.1:80", "ftp://a").unwrap_err().starts_with("--to: `ftp://`"));
    }
}
