//! Pure: host and path patterns as operators write them.

/// `chat.example.com`, or `*.example.com` for exactly one label more. Kept in lower case, without a
/// trailing dot.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum HostPattern {
    /// This host.
    Exact(String),
    /// Any one label before this suffix (kept without the `*.`).
    Wildcard(String),
}

impl HostPattern {
    /// Reads a pattern. The error says what is wrong, in words for the operator.
    pub fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim_end_matches('.').to_ascii_lowercase();
        let (wild, name) = text.strip_prefix("*.").map_or((false, text.as_str()), |rest| (true, rest));
        let bracketed = name.starts_with('[') && name.ends_with(']');
        if name.is_empty() {
            return Err("a host is missing".to_owned());
        }
        if name.contains('/') {
            return Err("a host is given by itself, without `https://` and path".to_owned());
        }
        if name.contains('*') {
            return Err("a `*` can only stand for the whole first label, as in `*.example.com`".to_owned());
        }
        if name.contains(':') && !bracketed {
            return Err("a host is given without its port".to_owned());
        }
        let legal = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c) || (bracketed && "[:]".contains(c));
        if let Some(c) = name.chars().find(|&c| !legal(c)) {
            return Err(format!("`{c}` cannot stand in a host (an international name is written in its `xn--` form)"));
        }
        Ok(if wild { Self::Wildcard(name.to_owned()) } else { Self::Exact(name.to_owned()) })
    }
}

/// A prefix at segment borders, or one exact path. Normalised: unreserved escapes decoded.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PathPattern {
    /// `/ws` for `path = "/ws"` and `path = "/ws/"`: matches `/ws`, `/ws/` and `/ws/x`, never `/wsx`.
    /// Kept without the slash at the end; the root is empty.
    Prefix(String),
    /// `path = "= /exact"`.
    Exact(String),
}

impl PathPattern {
    /// Reads a pattern: `/ws/` for a prefix, `= /exact` for one path. The error says what is wrong, in
    /// words for the operator.
    ///
    /// ```
    /// use spliceway::route::PathPattern;
    /// assert_eq!(PathPattern::parse("/ws/"), Ok(PathPattern::Prefix("/ws".to_owned())));
    /// assert_eq!(PathPattern::parse("= /ws/"), Ok(PathPattern::Exact("/ws/".to_owned())));
    /// ```
    pub fn parse(text: &str) -> Result<Self, String> {
        let (exact, path) = text.strip_prefix('=').map_or((false, text), |rest| (true, rest.trim_start_matches(' ')));
        if !path.starts_with('/') {
            return Err(if path.is_empty() {
                "a path begins with `/`, as in `/ws/`; without the key a route is for any path".to_owned()
            } else if text.starts_with(['~', '^']) {
                "a path is no regular expression: a prefix such as `/ws/`, or one path such as `= /exact`".to_owned()
            } else {
                format!("a path begins with `/`, as in `/{}`", path.trim_start_matches(['*', '.', ' ']))
            });
        }
        if let Some(why) = path.chars().find_map(not_in_a_path) {
            return Err(why);
        }
        if path.contains("//") {
            return Err("a doubled `/` is refused in requests, so this would match nothing".to_owned());
        }
        if path.split('/').any(|segment| segment == "." || segment == "..") {
            return Err("`.` and `..` are resolved before routes are looked at, so this would match nothing".to_owned());
        }
        let kept = if exact { path } else { path.strip_suffix('/').unwrap_or(path) };
        Ok(if exact { Self::Exact(kept.to_owned()) } else { Self::Prefix(kept.to_owned()) })
    }
}

/// Why a character cannot stand in a path pattern. What may is RFC 3986's `pchar` without `;`.
fn not_in_a_path(c: char) -> Option<String> {
    Some(match c {
        '*' => "a `*` has no meaning: a prefix such as `/api/` matches everything below it".to_owned(),
        '%' => {
            "a path is written without escapes: a request's are decoded where that is safe before routes are looked at".to_owned()
        }
        '?' => "a path ends before the `?`: a query cannot be matched".to_owned(),
        '#' => "a path ends before the `#`, which no client sends".to_owned(),
        ';' => "a `;` is read differently by different servers, so it cannot be matched".to_owned(),
        '\\' => "a `\\` is read as `/` by some servers, so it cannot be matched".to_owned(),
        '{' | '}' | '<' | '>' => format!("`{c}` cannot stand in a path; there are no placeholders"),
        c if c.is_ascii_alphanumeric() || "/-._~!$&'()+,=:@".contains(c) => return None,
        c => format!("{c:?} cannot stand in a path"),
    })
}

#[cfg(test)]
mod path_tests {
    use super::PathPattern;
    use proptest::prelude::*;

    #[test]
    fn a_prefix_loses_its_last_slash_and_an_exact_path_keeps_it() {
        let prefix = |text: &str| Ok(PathPattern::Prefix(text.to_owned()));
        let exact = |text: &str| Ok(PathPattern::Exact(text.to_owned()));
        assert_eq!(PathPattern::parse("/"), prefix(""));
        assert_eq!(PathPattern::parse("/ws"), prefix("/ws"));
        assert_eq!(PathPattern::parse("/ws/"), prefix("/ws"));
        assert_eq!(PathPattern::parse("=/"), exact("/"));
        assert_eq!(PathPattern::parse("=   /a/b/"), exact("/a/b/"));
        assert_eq!(PathPattern::parse("/a.b/..c/...=@:~"), prefix("/a.b/..c/...=@:~"));
    }

    #[test]
    fn what_could_never_match_is_refused_with_its_reason() {
        for (text, why) in [
            ("", "begins with `/`"),
            ("=", "begins with `/`"),
            ("ws", "as in `/ws`"),
            ("*.php", "as in `/php`"),
            ("~ ^/ws", "no regular expression"),
            ("/ws/*", "everything below"),
            ("/a%20b", "without escapes"),
            ("/a?b", "query"),
            ("/a#b", "no client sends"),
            ("/a;b", "differently"),
            ("/a\\b", "`\\`"),
            ("/{id}", "no placeholders"),
            ("/a b", "' '"),
            ("/caf\u{e9}", "'\u{e9}'"),
            ("//a", "doubled"),
            ("/a/../b", "resolved"),
            ("/a/.", "resolved"),
        ] {
            let error = PathPattern::parse(text).unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        }
    }

    proptest! {
        #[test]
        fn a_pattern_that_is_read_has_only_what_a_path_has(text in "[=~]? ?/?[a-z%.;/*?]{0,12}") {
            if let Ok(PathPattern::Prefix(path) | PathPattern::Exact(path)) = PathPattern::parse(&text) {
                prop_assert!(path.is_empty() || path.starts_with('/'));
                prop_assert!(!path.contains("//") && !path.contains(['%', ';', '*', '?']));
            }
        }
    }
}

#[cfg(test)]
mod host_tests {
    use super::HostPattern;

    #[test]
    fn a_host_is_kept_in_lower_case_without_its_last_dot() {
        assert_eq!(HostPattern::parse("Chat.Example.com."), Ok(HostPattern::Exact("chat.example.com".to_owned())));
        assert_eq!(HostPattern::parse("*.Example.com"), Ok(HostPattern::Wildcard("example.com".to_owned())));
        assert_eq!(HostPattern::parse("[2001:DB8::1]"), Ok(HostPattern::Exact("[2001:db8::1]".to_owned())));
    }

    #[test]
    fn what_is_no_host_is_refused_with_its_reason() {
        for (text, why) in [
            ("", "missing"),
            (".", "missing"),
            ("https://a", "by itself"),
            ("a/b", "by itself"),
            ("a.*.b", "first label"),
            ("*", "first label"),
            ("a:80", "without its port"),
            ("2001:db8::1", "without its port"),
            ("b\u{fc}cher.example", "`xn--`"),
            ("a b", "` `"),
        ] {
            let error = HostPattern::parse(text).unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        }
    }
}
