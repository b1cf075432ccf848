//! What went wrong in a handshake, and whose fault it was. The sentences are made in `words`.

use std::fmt;
use std::io;

use super::hello::gone;
use super::words;
use crate::net::Socket;

/// A handshake with a client that came to nothing.
#[derive(Debug)]
pub struct AcceptError {
    /// Whose fault.
    pub fault: AcceptFault,
    /// The connection, with the alert already sent: for closing it so that the alert arrives. `None`
    /// where it is closed already.
    pub socket: Option<Socket>,
    text: String,
}

/// Whose fault a failed handshake with a client is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AcceptFault {
    /// The client sent what cannot be answered, or does not like our certificate.
    Client,
    /// The time was over.
    Time,
    /// The client went away.
    Gone,
    /// Ours.
    Ours,
}

impl AcceptError {
    pub(super) fn new(fault: AcceptFault, text: String) -> Self {
        Self { fault, socket: None, text }
    }

    pub(super) fn of(error: &io::Error, socket: Socket) -> Self {
        let (fault, text) = match words::tls(error) {
            Some(tls) => (if words::ours(tls) { AcceptFault::Ours } else { AcceptFault::Client }, words::of_client(tls)),
            None if gone(error) => (AcceptFault::Gone, "the client went away during the handshake".to_owned()),
            None => (AcceptFault::Ours, format!("the connection broke during the handshake: {error}")),
        };
        Self { fault, socket: Some(socket), text }
    }
}

impl fmt::Display for AcceptError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for AcceptError {}

/// A handshake with a backend that came to nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectError {
    /// What kind of fault.
    pub fault: ConnectFault,
    text: String,
}

/// What kind of fault a failed handshake with a backend is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectFault {
    /// What we call the backend can be no name of a certificate: a mistake of the configuration.
    Name,
    /// The backend's certificate cannot be trusted.
    Certificate,
    /// The backend does not speak TLS there.
    NotTls,
    /// The backend speaks TLS, but none that we do, or sent an alert.
    Refused,
    /// The backend closed the connection.
    Gone,
    /// Ours.
    Ours,
}

impl ConnectError {
    pub(super) fn name(host: &str) -> Self {
        let text = format!("{host:?} is neither a DNS name nor an IP address, so no certificate can be for it");
        Self { fault: ConnectFault::Name, text }
    }

    pub(super) fn of(error: &io::Error, host: &str) -> Self {
        let (fault, text) = match words::tls(error) {
            Some(tls) => words::of_backend(tls, host),
            None if gone(error) => (ConnectFault::Gone, "the backend closed the connection during the TLS handshake".to_owned()),
            None => (ConnectFault::Ours, format!("the connection broke during the TLS handshake: {error}")),
        };
        Self { fault, text }
    }
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for ConnectError {}
