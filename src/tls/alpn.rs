//! Which HTTP is spoken on a TLS connection (ALPN, RFC 7301). Only the names; the choosing is rustls's.

const H2: &[u8] = b"h2";
const HTTP1: &[u8] = b"http/1.1";

/// What both sides agreed to speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alpn {
    /// HTTP/2.
    H2,
    /// HTTP/1.1.
    Http1,
    /// Nothing was agreed on: one side does not use ALPN.
    None,
}

impl Alpn {
    pub(super) fn of(agreed: Option<&[u8]>) -> Self {
        match agreed {
            Some(H2) => Self::H2,
            Some(HTTP1) => Self::Http1,
            _ => Self::None,
        }
    }
}

/// What to offer a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientAlpn {
    /// HTTP/1.1 only: what a WebSocket needs.
    Http1,
    /// HTTP/2 only.
    H2,
    /// Both, HTTP/2 first: the backend chooses.
    Both,
}

impl ClientAlpn {
    pub(super) fn names(self) -> Vec<Vec<u8>> {
        match self {
            Self::Http1 => vec![HTTP1.to_vec()],
            Self::H2 => vec![H2.to_vec()],
            Self::Both => server_names(),
        }
    }
}

/// What a server of ours takes, what it likes most first.
pub(super) fn server_names() -> Vec<Vec<u8>> {
    vec![H2.to_vec(), HTTP1.to_vec()]
}
