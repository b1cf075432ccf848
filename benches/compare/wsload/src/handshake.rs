//! The WebSocket opening handshake, both sides (RFC 6455, section 4).

use crate::http;
use crate::scratch;
use anyhow::{Context, Result, bail, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha1::{Digest, Sha1};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};

/// A fixed key lets the client compare the answer with a constant (both are the RFC's example).
const CLIENT_KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const CLIENT_ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

pub fn accept_for(key: &[u8]) -> String {
    let mut hash = Sha1::new();
    hash.update(key);
    hash.update(b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    STANDARD.encode(hash.finalize())
}

pub fn request(host: &str, path: &str) -> Vec<u8> {
    format!(
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {CLIENT_KEY}\r\n\r\n"
    )
    .into_bytes()
}

pub fn put_response(out: &mut Vec<u8>, key: &[u8]) {
    out.extend_from_slice(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
          Sec-WebSocket-Accept: ",
    );
    out.extend_from_slice(accept_for(key).as_bytes());
    out.extend_from_slice(b"\r\n\r\n");
}

/// Performs the client's handshake and returns the bytes that came after it.
pub async fn connect<S>(stream: &mut S, request: &[u8]) -> Result<Vec<u8>>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    stream.write_all(request).await?;
    let mut head = Vec::new();
    loop {
        let complete = scratch::read(stream, |bytes| {
            head.extend_from_slice(bytes);
            Ok(http::head_len(&head))
        })
        .await?
        .context("connection closed during the WebSocket handshake")?;
        if let Some(len) = complete {
            check_response(&head[..len])?;
            return Ok(head.split_off(len));
        }
    }
}

fn check_response(head: &[u8]) -> Result<()> {
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut response = httparse::Response::new(&mut headers);
    response.parse(head)?;
    if response.code != Some(101) {
        bail!("WebSocket handshake refused with status {:?}", response.code);
    }
    let accept = http::header(response.headers, "sec-websocket-accept");
    ensure!(accept == Some(CLIENT_ACCEPT.as_bytes()), "wrong Sec-WebSocket-Accept in the handshake");
    Ok(())
}

#[cfg(test)]
mod tests {
    #[test]
    fn accept_matches_the_example_of_the_rfc() {
        assert_eq!(super::accept_for(super::CLIENT_KEY.as_bytes()), super::CLIENT_ACCEPT);
    }
}
