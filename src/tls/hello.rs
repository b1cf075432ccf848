//! The first byte of a client on a TLS port: TLS, or HTTP without it? It is looked at, not taken.

use std::io;
use std::time::Duration;

use rustix::net::RecvFlags;
use tokio::io::Interest;

use super::{AcceptError, AcceptFault};
use crate::net::Socket;

/// What a client on a TLS port begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hello {
    /// A TLS record, or something that only a TLS alert can answer.
    Tls,
    /// A letter or a line end, as HTTP requests begin: worth an answer in plain text.
    PlainText,
    /// Nothing: the client closed without a byte, as port scanners and health checks do.
    Gone,
}

impl Hello {
    /// Waits for the first byte, which stays in the socket for [`super::Acceptor::accept`]. Cancel safe.
    pub async fn sniff(socket: &Socket, time: Duration) -> Result<Self, AcceptError> {
        match tokio::time::timeout(time, peek(socket)).await {
            Ok(Ok(first)) => Ok(Self::of(first)),
            Ok(Err(error)) if gone(&error) => Ok(Self::Gone),
            Ok(Err(error)) => Err(AcceptError::new(AcceptFault::Ours, format!("looking at the first byte: {error}"))),
            Err(_) => Err(AcceptError::new(AcceptFault::Time, "the client sent nothing in time".to_owned())),
        }
    }

    fn of(first: Option<u8>) -> Self {
        match first {
            None => Self::Gone,
            // RFC 8446, 5.1: a ClientHello is in a record of type 22, so a letter is no TLS; methods are
            // letters, and RFC 9112, 2.2 lets empty lines stand before a request.
            Some(byte) if byte.is_ascii_alphabetic() || byte == b'\r' || byte == b'\n' => Self::PlainText,
            Some(_) => Self::Tls,
        }
    }
}

/// The first byte, left where it is; `None` at the end.
async fn peek(socket: &Socket) -> io::Result<Option<u8>> {
    let mut byte = [0];
    let read = match socket {
        Socket::Tcp(tcp) => tcp.peek(&mut byte).await?,
        Socket::Unix(unix) => {
            let look = || Ok(rustix::net::recv(unix, &mut byte, RecvFlags::PEEK)?.1);
            unix.async_io(Interest::READABLE, look).await?
        }
        Socket::Raw(_) => return Err(io::ErrorKind::Unsupported.into()), // only tunnels have such
    };
    let [first] = byte;
    Ok((read > 0).then_some(first))
}

/// Whether an error says no more than that the peer went away.
pub(super) fn gone(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, NotConnected, UnexpectedEof};
    matches!(error.kind(), UnexpectedEof | ConnectionReset | ConnectionAborted | BrokenPipe | NotConnected)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handshake_record_is_tls_and_a_letter_is_plain_text() {
        assert_eq!(Hello::of(Some(0x16)), Hello::Tls);
        assert_eq!(Hello::of(Some(0x80)), Hello::Tls, "SSL 2.0: gets an alert");
        for first in [b'G', b'P', b'o', b'\r'] {
            assert_eq!(Hello::of(Some(first)), Hello::PlainText);
        }
        assert_eq!(Hello::of(None), Hello::Gone);
    }
}
