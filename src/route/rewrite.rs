//! Pure: the target toward the backend where a route changes the path's prefix. Without a rewrite the
//! target goes on as it was sent and nothing here is asked.

use super::Normal;

/// The target with `replacement` in place of the route's `prefix` (both without a slash at the end, the
/// root is empty), built from the normalised path. It never begins with `//`, which a backend could take
/// for a host. A path that is not under the prefix keeps all of itself.
pub fn rewrite_target(path: &Normal<'_>, query: Option<&str>, prefix: &str, replacement: &str) -> String {
    let mut target = if path.is_asterisk() {
        "*".to_owned()
    } else {
        let rest = rest(path.as_str(), prefix).unwrap_or(path.as_str());
        let joined = [replacement, rest].concat();
        format!("/{}", joined.trim_start_matches('/'))
    };
    if let Some(query) = query {
        target.push('?');
        target.push_str(query);
    }
    target
}

/// What follows a prefix that ends at the border of a segment.
pub(super) fn rest<'a>(path: &'a str, prefix: &str) -> Option<&'a str> {
    path.strip_prefix(prefix).filter(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rewritten(path: &str, query: Option<&str>, prefix: &str, replacement: &str) -> String {
        rewrite_target(&Normal::parse(path).unwrap(), query, prefix, replacement)
    }

    #[test]
    fn a_prefix_is_stripped_or_replaced() {
        for (path, prefix, replacement, target) in [
            ("/app/x", "/app", "", "/x"),
            ("/app", "/app", "", "/"),
            ("/app/", "/app", "", "/"),
            ("/app/x", "/app", "/v2", "/v2/x"),
            ("/app", "/app", "/v2", "/v2"),
            ("/x", "", "/v2", "/v2/x"),
            ("/", "", "/v2", "/v2/"),
            ("/%61pp/./x%2fy", "/app", "/v2", "/v2/x%2Fy"),
            ("/apple", "/app", "", "/apple"),
            ("*", "", "/v2", "*"),
        ] {
            assert_eq!(rewritten(path, None, prefix, replacement), target, "{path}");
        }
    }

    #[test]
    fn the_query_goes_on_as_it_was_sent() {
        assert_eq!(rewritten("/app/x", Some("a=%2e&b=//"), "/app", ""), "/x?a=%2e&b=//");
        assert_eq!(rewritten("/app", Some(""), "/app", ""), "/?");
    }

    #[test]
    fn a_target_never_begins_with_two_slashes() {
        assert_eq!(rewritten("/app//evil.example/x", None, "/app", ""), "/evil.example/x");
        assert_eq!(rewritten("//evil.example", None, "", ""), "/evil.example");
    }

    proptest! {
        #[test]
        fn a_target_is_always_one_path(path in "/[/a.;%2f]{0,12}", replacement in prop_oneof![Just(""), Just("/v2"), Just("//")]) {
            if let Ok(path) = Normal::parse(&path) {
                let target = rewrite_target(&path, None, "/a", replacement);
                prop_assert!(target.starts_with('/') && !target.starts_with("//"), "{}", target);
            }
        }
    }
}
