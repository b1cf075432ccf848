//! Pure: the text that `spliceway demo` prints: what to open, what to type, how to stop.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

/// The invitation for a proxy on these two addresses, with the SHA-256 fingerprint of its certificate.
///
/// ```
/// use spliceway::demo::invitation;
/// let text = invitation("127.0.0.1:8080".parse().unwrap(), "127.0.0.1:8443".parse().unwrap(), "AB:CD");
/// assert!(text.contains("http://127.0.0.1:8080/") && text.contains("curl -k https://127.0.0.1:8443/headers"));
/// ```
pub fn invitation(http: SocketAddr, https: SocketAddr, fingerprint: &str) -> String {
    let (http, https) = (format!("http://{}", reachable(http)), format!("https://{}", reachable(https)));
    let rows = [
        ("Open", format!("{http}/"), "in two windows, and chat with yourself"),
        ("", format!("{https}/"), "the same through TLS, on one port too"),
        ("Type", format!("curl {http}/headers"), "a request as it looks behind the proxy"),
        ("", format!("curl -k {https}/headers"), "the same through TLS and HTTP/2"),
        ("", format!("curl -N {http}/events"), "a stream, one event a second"),
        ("", format!("curl {http}/poll"), "the next chat message, or 204 in 20 s"),
        ("", format!("websocat {}/chat", http.replacen("http", "ws", 1)), "the chat: what you type is said"),
    ];
    let width = rows.iter().map(|(_, what, _)| what.len()).max().unwrap_or_default();
    let rows = rows.map(|(word, what, why)| format!("  {word:<6}{what:<width$}   {why}")).join("\n");
    format!(
        "\
Spliceway is running, with a small chat behind it.

{rows}
        and a handshake by hand (a 101, then frames):
        curl --include --no-buffer --http1.1 {http}/chat \\
          -H 'Connection: Upgrade' -H 'Upgrade: websocket' \\
          -H 'Sec-WebSocket-Version: 13' -H 'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=='
  Stop  Ctrl-C

The certificate was made a moment ago, so a browser asks before it trusts it. Its SHA-256 fingerprint:
  {fingerprint}

What happens behind the proxy:
"
    )
}

/// Where a wildcard listener is reached from this machine.
fn reachable(address: SocketAddr) -> SocketAddr {
    match address {
        SocketAddr::V4(v4) if v4.ip().is_unspecified() => (Ipv4Addr::LOCALHOST, v4.port()).into(),
        SocketAddr::V6(v6) if v6.ip().is_unspecified() => (Ipv6Addr::LOCALHOST, v6.port()).into(),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wildcard_address_is_shown_as_one_that_can_be_opened() {
        let text = invitation("0.0.0.0:80".parse().expect("v4"), "[::]:443".parse().expect("v6"), "AB:CD");
        assert!(text.contains("http://127.0.0.1:80/") && text.contains("https://[::1]:443/"), "{text}");
    }
}
