//! Pure: a `Location` that a backend wrote for itself, put right for the client.

use http::{HeaderValue, Uri};

use super::cookie::replace_prefix;

/// The names under which a `Location` means this very service.
#[derive(Clone, Copy, Debug)]
pub struct Authorities<'a> {
    /// What the client calls us.
    pub client: Option<&'a HeaderValue>,
    /// The `Host` that the backend was sent.
    pub sent: Option<&'a HeaderValue>,
    /// The backend's own host and port.
    pub backend: Option<&'a HeaderValue>,
}

/// The right `Location`, or `None` where it is right already: another host's, or a relative one.
///
/// `client_prefix` is what stood in the client's path, `backend_prefix` what took its place toward the
/// backend; both empty where the route rewrites nothing.
pub fn rewrite_location(
    location: &HeaderValue,
    names: Authorities<'_>,
    client_prefix: &str,
    backend_prefix: &str,
) -> Option<HeaderValue> {
    let text = std::str::from_utf8(location.as_bytes()).ok()?;
    let rewrites = client_prefix != backend_prefix;
    if text.starts_with('/') && !text.starts_with("//") {
        let path = replace_prefix(text, backend_prefix, client_prefix).filter(|_| rewrites)?;
        return HeaderValue::from_str(&path).ok();
    }
    let uri: Uri = if text.starts_with("//") { format!("http:{text}").parse().ok()? } else { text.parse().ok()? };
    let authority = uri.authority()?.as_str();
    let is = |name: Option<&HeaderValue>| name.is_some_and(|name| name.as_bytes().eq_ignore_ascii_case(authority.as_bytes()));
    let start = text.find(authority)? + authority.len();
    let rest = text.get(start..)?;
    let rest = if rest.starts_with('/') { rest.to_owned() } else { format!("/{rest}") };
    if is(names.client) {
        // The client's own name for us: its scheme may be wanted (a redirect to https), only the path is ours.
        let path = replace_prefix(&rest, backend_prefix, client_prefix).filter(|_| rewrites)?;
        return HeaderValue::from_str(&format!("{}{path}", text.get(..start)?)).ok();
    }
    if is(names.sent) || is(names.backend) {
        let path = replace_prefix(&rest, backend_prefix, client_prefix).unwrap_or(rest);
        // A path that begins with `//` would name a host.
        return HeaderValue::from_str(&format!("/{}", path.trim_start_matches('/'))).ok();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_means_this_service_is_put_right() {
        let (client, backend) = (HeaderValue::from_static("chat.example"), HeaderValue::from_static("127.0.0.1:3000"));
        let names = Authorities { client: Some(&client), sent: Some(&client), backend: Some(&backend) };
        for (location, prefixes, expected) in [
            ("/v2/x?q#f", ("/api", "/v2"), Some("/api/x?q#f")),
            ("/login", ("/api", ""), Some("/api/login")),
            ("/other", ("/api", "/v2"), None),
            ("/v2", ("", ""), None),
            ("next", ("/api", ""), None),
            ("http://127.0.0.1:3000/v2/x", ("/api", "/v2"), Some("/api/x")),
            ("http://127.0.0.1:3000", ("", ""), Some("/")),
            ("http://127.0.0.1:3000//evil.example/", ("", ""), Some("/evil.example/")),
            ("https://Chat.example/v2/x", ("/api", "/v2"), Some("https://Chat.example/api/x")),
            ("https://chat.example/x", ("", ""), None),
            ("//127.0.0.1:3000/x", ("", ""), Some("/x")),
            ("https://elsewhere.example/v2", ("/api", "/v2"), None),
        ] {
            let right = rewrite_location(&HeaderValue::from_static(location), names, prefixes.0, prefixes.1);
            assert_eq!(right.as_ref().map(|value| value.to_str().expect("text")), expected, "{location}");
        }
    }
}
