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
