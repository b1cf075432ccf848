//! Pure: the target toward the backend where the route puts another prefix in its place.

use super::{Normal, Redirect};

/// Builds it from the normalised path: `prefix` (the route's) gives way to `replacement`; both without
/// a slash at the end, the root empty. Never begins with `//`, which a backend could read as a host.
pub fn rewrite_target(path: &Normal<'_>, query: Option<&str>, prefix: &str, replacement: &str) -> String {
    let rest = path.as_str().strip_prefix(prefix).unwrap_or(path.as_str());
    let joined = format!("{replacement}{rest}");
    let mut target = format!("/{}", joined.trim_start_matches('/'));
    if let Some(query) = query {
        target.push('?');
        target.push_str(query);
    }
    target
}

impl Redirect {
    /// The `Location` for a request: `{host}` is its host, `{path}` its path with the query. What could
    /// end a header line is not in a target that hyper let pass.
    pub fn expand(&self, host: &str, path_and_query: &str) -> String {
        // Behind a host of ours, a path that begins with `//` would be another host's.
        let path = format!("/{}", path_and_query.trim_start_matches('/'));
        let (first, rest) = self.location.split_once("{path}").unwrap_or((&self.location, ""));
        let path = if self.location.contains("{path}") {
            if first.ends_with('/') { path.trim_start_matches('/').to_owned() } else { path }
        } else {
            String::new()
        };
        format!("{}{path}{}", first.replace("{host}", host), rest.replace("{host}", host))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::StatusCode;

    #[test]
    fn a_prefix_gives_way_and_no_target_begins_with_two_slashes() {
        for (path, prefix, replacement, expected) in [
            ("/api/x", "/api", "", "/x?q=//"),
            ("/api", "/api", "", "/?q=//"),
            ("/api//evil", "/api", "", "/evil?q=//"),
            ("/api/x", "/api", "/v2", "/v2/x?q=//"),
            ("/x", "", "/v2", "/v2/x?q=//"),
        ] {
            let normal = Normal::parse(path).expect("legal");
            assert_eq!(rewrite_target(&normal, Some("q=//"), prefix, replacement), expected);
        }
    }

    #[test]
    fn a_redirect_fills_in_host_and_path() {
        for (location, expected) in [
            ("https://{host}{path}", "https://a.example/x?y"),
            ("https://{host}/{path}", "https://a.example/x?y"),
            ("https://b.example/old{path}#f", "https://b.example/old/x?y#f"),
            ("/fixed", "/fixed"),
        ] {
            let redirect = Redirect { location: location.to_owned(), status: StatusCode::PERMANENT_REDIRECT };
            assert_eq!(redirect.expand("a.example", "//x?y"), expected);
        }
    }
}
