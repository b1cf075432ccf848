//! Pure: where a redirect leads for one request. The status and the answer around it are `serve`'s.

use std::borrow::Cow;

use http::HeaderValue;

use super::Redirect;
use crate::headers::host_name;

impl Redirect {
    /// The `Location`: `{host}` becomes the request's host without its port, `{path}` its path and query.
    /// What cannot stand in a URL is escaped, so no request can put a second line or another host there.
    /// `None`: it needs a host and the request (of HTTP/1.0) has none.
    pub fn expand(&self, host: Option<&str>, path_and_query: &str) -> Option<HeaderValue> {
        let path = match path_and_query {
            path if path.starts_with('/') => path.to_owned(),
            query if query.starts_with('?') => format!("/{query}"),
            // `OPTIONS *`.
            _ => "/".to_owned(),
        };
        let mut expanded = String::with_capacity(self.location.len() + path.len());
        let mut rest = self.location.as_str();
        // One pass: a `{path}` inside the host is no placeholder.
        while let Some((literal, tail)) = rest.split_once('{') {
            expanded.push_str(literal);
            if let Some(tail) = tail.strip_prefix("host}") {
                expanded.push_str(host.map(host_name).filter(|host| !host.is_empty())?);
                rest = tail;
            } else if let Some(tail) = tail.strip_prefix("path}") {
                // A `/` before it is not doubled.
                let doubled = expanded.ends_with('/');
                expanded.push_str(if doubled { path.trim_start_matches('/') } else { &path });
                rest = tail;
            } else {
                expanded.push('{');
                rest = tail;
            }
        }
        expanded.push_str(rest);
        HeaderValue::try_from(escaped(self.kept_local(&expanded))).ok()
    }

    /// A location written as a path stays one: browsers read `//` and `/\` at its start as a host.
    fn kept_local<'a>(&self, expanded: &'a str) -> Cow<'a, str> {
        let is_path = (self.location.starts_with('/') && !self.location.starts_with("//")) || self.location.starts_with("{path}");
        if is_path { format!("/{}", expanded.trim_start_matches(['/', '\\'])).into() } else { expanded.into() }
    }
}

fn escaped(location: Cow<'_, str>) -> String {
    if location.bytes().all(|byte| byte.is_ascii_graphic()) {
        return location.into_owned();
    }
    let mut escaped = String::with_capacity(location.len() + 16);
    for byte in location.bytes() {
        if byte.is_ascii_graphic() {
            escaped.push(char::from(byte));
        } else {
            let digits = [byte >> 4, byte & 15].map(|digit| char::from_digit(digit.into(), 16).unwrap_or_default());
            escaped.push('%');
            escaped.extend(digits.map(|digit| digit.to_ascii_uppercase()));
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use http::StatusCode;
    use proptest::prelude::*;

    use super::*;

    fn expand(location: &str, host: Option<&str>, path: &str) -> Option<String> {
        let redirect = Redirect { location: location.to_owned(), status: StatusCode::PERMANENT_REDIRECT };
        redirect.expand(host, path).map(|value| value.to_str().unwrap().to_owned())
    }

    #[test]
    fn host_and_path_stand_for_the_requests() {
        for (location, host, path, result) in [
            ("https://{host}{path}", Some("a.example:8080"), "/x?y", "https://a.example/x?y"),
            ("https://{host}:8443{path}", Some("[::1]:80"), "/", "https://[::1]:8443/"),
            ("https://b.example/{host}/{other}{", Some("a"), "/x", "https://b.example/a/{other}{"),
            ("/new{path}", None, "/x", "/new/x"),
            ("https://b.example{path}", None, "*", "https://b.example/"),
            ("https://b.example{path}", None, "?q", "https://b.example/?q"),
        ] {
            assert_eq!(expand(location, host, path).as_deref(), Some(result), "{location}");
        }
    }

    #[test]
    fn a_request_without_a_host_has_no_place_to_go() {
        assert_eq!(expand("https://{host}{path}", None, "/"), None);
        assert_eq!(expand("https://{host}{path}", Some(":80"), "/"), None);
    }

    #[test]
    fn a_placeholder_in_a_value_is_not_expanded() {
        assert_eq!(expand("https://{host}/", Some("{path}"), "/x").unwrap(), "https://{path}/");
    }

    #[test]
    fn a_path_never_becomes_a_host() {
        for path in ["//evil.example", "/\\evil.example", "///evil.example"] {
            assert_eq!(expand("{path}", None, path).unwrap(), "/evil.example");
            assert_eq!(expand("/{path}", None, path).unwrap(), "/evil.example");
        }
        assert_eq!(expand("//cdn.example{path}", None, "/x").unwrap(), "//cdn.example/x");
    }

    proptest! {
        #[test]
        fn no_request_can_end_the_line(location in "(https://b|/|)(\\{host\\})?\\{path\\}", host in "\\PC{0,8}", path in "[/a\r\n\t \u{e9}\\\\\"{}]{0,12}") {
            if let Some(result) = expand(&location, Some(&host), &path) {
                prop_assert!(result.bytes().all(|byte| byte.is_ascii_graphic()));
            }
        }
    }
}
