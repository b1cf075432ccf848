//! Pure: a backend's `Location` as the client can follow it, behind a rewritten prefix or another `Host`.

use http::HeaderValue;

/// How the request was changed on its way: what a `Location` is read against.
#[derive(Clone, Copy, Debug)]
pub struct Rewrite<'a> {
    /// The prefix the client knows; without a slash at the end, the root is empty.
    pub client_prefix: &'a str,
    /// What took its place toward the backend, likewise.
    pub backend_prefix: &'a str,
    /// The `Host` the client sent.
    pub client_host: Option<&'a str>,
    /// The `Host` the backend got.
    pub sent_host: Option<&'a str>,
    /// The backend's own host and port.
    pub backend_authority: &'a str,
}

/// What the client gets in place of a `Location`; `None`: it stays as it is.
///
/// A path under the backend's prefix moves to the client's. A URL of the client's own host keeps its
/// scheme and host; one of the backend's host becomes a path, so that the client comes by us again.
/// Relative references and other hosts stay.
pub fn rewrite_location(value: &HeaderValue, rewrite: &Rewrite<'_>) -> Option<HeaderValue> {
    let text = std::str::from_utf8(value.as_bytes()).ok()?;
    let same_path = rewrite.client_prefix == rewrite.backend_prefix;
    let (scheme, rest) = split_scheme(text);
    let result = match rest.strip_prefix("//") {
        Some(rest) => {
            let (authority, path) = rest.split_at_checked(rest.find(['/', '?', '#', '\\']).unwrap_or(rest.len()))?;
            let same = |host: Option<&str>| host.is_some_and(|host| same_host(authority, host, scheme));
            if same(rewrite.client_host) {
                (!same_path).then_some(())?;
                let kept = text.get(..text.len() - path.len())?;
                format!("{kept}{}", moved(path, rewrite)?)
            } else if same(rewrite.sent_host) || same(Some(rewrite.backend_authority)) {
                moved(path, rewrite)?
            } else {
                return None;
            }
        }
        None if scheme.is_none() && rest.starts_with('/') && !same_path => moved(rest, rewrite)?,
        None => return None,
    };
    HeaderValue::try_from(result).ok()
}

/// What follows `prefix` in a path, where it ends at the border of a segment.
pub(super) fn under<'a>(path: &'a str, prefix: &str) -> Option<&'a str> {
    path.starts_with('/').then_some(())?;
    path.strip_prefix(prefix).filter(|rest| rest.is_empty() || rest.starts_with(['/', '?', '#']))
}

fn moved(path: &str, rewrite: &Rewrite<'_>) -> Option<String> {
    let rooted = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
    let moved = format!("{}{}", rewrite.client_prefix, under(&rooted, rewrite.backend_prefix)?);
    // Browsers take `//`, `/\` and a tab between for the start of a host: a path must not become one here.
    Some(format!("/{}", moved.trim_start_matches(['/', '\\', '\t'])))
}

/// `http` and `https` alone are looked at; for others the whole text is the rest, and no path.
fn split_scheme(text: &str) -> (Option<&str>, &str) {
    match text.split_once(':') {
        Some((scheme, rest)) if is_web(scheme) => (Some(scheme), rest),
        _ => (None, text),
    }
}

fn is_web(scheme: &str) -> bool {
    scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https")
}

/// Whether two authorities are one under a scheme whose port need not be said.
fn same_host(left: &str, right: &str, scheme: Option<&str>) -> bool {
    let default = match scheme {
        Some(scheme) if scheme.eq_ignore_ascii_case("https") => ":443",
        Some(_) => ":80",
        None => ":",
    };
    let bare = |host: &'_ str| host.strip_suffix(default).unwrap_or(host).to_ascii_lowercase();
    bare(left) == bare(right)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rewritten(location: &str, client_prefix: &str, backend_prefix: &str) -> Option<String> {
        let rewrite = Rewrite {
            client_prefix,
            backend_prefix,
            client_host: Some("Shop.example"),
            sent_host: Some("inner.example:3000"),
            backend_authority: "10.0.0.1:3000",
        };
        rewrite_location(&location.parse().unwrap(), &rewrite).map(|value| value.to_str().unwrap().to_owned())
    }

    #[test]
    fn a_path_moves_from_the_backends_prefix_to_the_clients() {
        for (from, to) in [("/v2/x?y#z", "/app/x?y#z"), ("/v2", "/app"), ("/v2/", "/app/"), ("/v2?q", "/app?q")] {
            assert_eq!(rewritten(from, "/app", "/v2").as_deref(), Some(to), "{from}");
        }
        assert_eq!(rewritten("/login", "/app", "").as_deref(), Some("/app/login"));
        assert_eq!(rewritten("/v2", "", "/v2").as_deref(), Some("/"));
        assert_eq!(rewritten("/v2?q", "", "/v2").as_deref(), Some("/?q"));
    }

    #[test]
    fn paths_outside_the_prefix_and_relative_references_stay() {
        for location in
            ["/v22/x", "/", "/other", "x/y", "../x", "?q", "#f", "", "mailto:a@b", "http:x", "ftp://10.0.0.1:3000/v2/x"]
        {
            assert_eq!(rewritten(location, "/app", "/v2"), None, "{location}");
        }
    }

    #[test]
    fn a_url_of_the_backend_becomes_a_path() {
        for location in ["http://10.0.0.1:3000/v2/x", "HTTPS://INNER.example:3000/v2/x", "//inner.example:3000/v2/x"] {
            assert_eq!(rewritten(location, "/app", "/v2").as_deref(), Some("/app/x"), "{location}");
        }
        assert_eq!(rewritten("http://10.0.0.1:3000", "", "").as_deref(), Some("/"));
        assert_eq!(rewritten("http://10.0.0.1:3000?q", "/app", "").as_deref(), Some("/app/?q"));
    }

    #[test]
    fn a_url_of_the_clients_host_keeps_its_scheme_and_host() {
        assert_eq!(rewritten("https://shop.example/v2/x", "/app", "/v2").as_deref(), Some("https://shop.example/app/x"));
        assert_eq!(rewritten("https://shop.example:443/v2", "/app", "/v2").as_deref(), Some("https://shop.example:443/app"));
        assert_eq!(rewritten("//shop.example/v2/x", "/app", "/v2").as_deref(), Some("//shop.example/app/x"));
        for same in ["https://shop.example/x", "https://shop.example", "/x", "/\\x"] {
            assert_eq!(rewritten(same, "/app", "/app"), None, "{same}");
        }
    }

    #[test]
    fn other_hosts_stay() {
        for location in [
            "http://other.example/v2/x",
            "//other.example/v2/x",
            "http://u@10.0.0.1:3000/v2/x",
            "http://10.0.0.1/v2/x",
            "http://shop.example:81/v2/x",
        ] {
            assert_eq!(rewritten(location, "/app", "/v2"), None, "{location}");
        }
    }

    #[test]
    fn a_path_never_becomes_a_host() {
        for location in
            ["/v2//evil.example", "/v2/\\evil.example", "/v2/\t/evil.example", "http://10.0.0.1:3000/v2//evil.example"]
        {
            assert_eq!(rewritten(location, "", "/v2").as_deref(), Some("/evil.example"), "{location:?}");
        }
    }

    proptest! {
        #[test]
        fn what_moved_is_under_the_clients_prefix(location in "[/\\\\v2a:.?#\t]{0,12}") {
            if let Some(moved) = rewritten(&location, "/app", "/v2") {
                prop_assert!(under(&moved, "/app").is_some(), "{} became {}", location, moved);
            }
        }
    }
}
