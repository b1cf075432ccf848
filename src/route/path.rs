//! Pure: a path as a backend will understand it, and as a lenient one might.
//!
//! Routes hold for the normalised path: escapes of unreserved characters decoded, dot segments removed
//! (RFC 3986 section 6.2.2). Where a lenient reading leads elsewhere the request is refused, because a
//! route is often all that guards a backend.

use std::borrow::Cow;
use std::fmt;

/// Why a path leads nowhere. The client's fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathError {
    /// No absolute path, or an escape that is none, or one that stands for NUL.
    Malformed,
    /// `..` above the root.
    ClimbsOut,
    /// Read leniently it would select another route.
    Ambiguous,
}

impl fmt::Display for PathError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Malformed => "the path is malformed",
            Self::ClimbsOut => "the path climbs out of the root",
            Self::Ambiguous => "the path can be read in two ways that lead to different routes",
        })
    }
}

/// What lenient servers do to a path beyond the RFC, one bit each.
const DECODE_SLASH: u8 = 1;
const BACKSLASH: u8 = 2;
const PARAMETERS: u8 = 4;
const MERGE_SLASHES: u8 = 8;

/// A normalised path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Normal<'a> {
    text: Cow<'a, str>,
    /// Which lenient readings could differ.
    suspicious: u8,
}

impl<'a> Normal<'a> {
    /// Normalises the path of a request target. `*` (RFC 9112 section 3.2.4) counts as the root.
    pub fn parse(raw: &'a str) -> Result<Self, PathError> {
        if raw == "*" {
            return Ok(Self { text: Cow::Borrowed("/"), suspicious: 0 });
        }
        if !raw.starts_with('/') {
            return Err(PathError::Malformed);
        }
        let decoded = decode_unreserved(raw)?;
        let suspicious = suspicions(&decoded);
        let text = match remove_dot_segments(&decoded)? {
            Some(removed) => Cow::Owned(removed),
            None => decoded,
        };
        let normal = Self { text, suspicious };
        // Climbing out leniently is climbing out somewhere.
        for reading in normal.readings() {
            reading?;
        }
        Ok(normal)
    }

    /// The path.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The same, without a loan.
    pub fn into_owned(self) -> Normal<'static> {
        Normal { text: Cow::Owned(self.text.into_owned()), suspicious: self.suspicious }
    }

    /// Every lenient reading. None for an ordinary path.
    pub fn readings(&self) -> impl Iterator<Item = Result<String, PathError>> + '_ {
        // Undoing one thing can bring another to light (`%5C`, `;` before `%2F`): all of them, then.
        let masks = if self.suspicious == 0 { 0..0 } else { 1..16 };
        masks.map(|mask| {
            let read = lenient(&self.text, mask);
            Ok(remove_dot_segments(&read)?.unwrap_or(read))
        })
    }
}

/// Decodes escapes of unreserved characters and writes the others in upper case.
fn decode_unreserved(raw: &str) -> Result<Cow<'_, str>, PathError> {
    if !raw.contains('%') {
        return Ok(Cow::Borrowed(raw));
    }
    let mut out = String::with_capacity(raw.len());
    let mut parts = raw.split('%');
    out.push_str(parts.next().unwrap_or_default());
    for part in parts {
        let digits = part.get(..2).filter(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit())).ok_or(PathError::Malformed)?;
        let byte = u8::from_str_radix(digits, 16).map_err(|_| PathError::Malformed)?;
        match byte {
            0 => return Err(PathError::Malformed),
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(char::from(byte)),
            _ => {
                out.push('%');
                out.push_str(&digits.to_ascii_uppercase());
            }
        }
        out.push_str(part.get(2..).unwrap_or_default());
    }
    Ok(Cow::Owned(out))
}

/// Removes `.` and `..` segments; `None` where there are none. An empty segment counts as one (RFC 3986).
fn remove_dot_segments(path: &str) -> Result<Option<String>, PathError> {
    if !path.split('/').any(|segment| matches!(segment, "." | "..")) {
        return Ok(None);
    }
    let mut kept: Vec<&str> = Vec::new();
    let mut segments = path.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        let is_last = segments.peek().is_none();
        match segment {
            "." => {}
            ".." => {
                kept.pop().ok_or(PathError::ClimbsOut)?;
            }
            _ => kept.push(segment),
        }
        if is_last && matches!(segment, "." | "..") {
            kept.push("");
        }
    }
    Ok(Some(format!("/{}", kept.join("/"))))
}

fn suspicions(path: &str) -> u8 {
    let mut found = 0;
    if path.contains("%2F") || path.contains("%5C") {
        found |= DECODE_SLASH;
    }
    if path.contains('\\') {
        found |= BACKSLASH;
    }
    if path.contains(';') || path.contains("%3B") {
        found |= PARAMETERS;
    }
    if path.contains("//") {
        found |= MERGE_SLASHES;
    }
    found
}

/// Reads a path as a server does that has these lenient habits.
fn lenient(path: &str, habits: u8) -> String {
    let mut path = path.to_owned();
    if habits & DECODE_SLASH != 0 {
        path = path.replace("%2F", "/").replace("%5C", "\\").replace("%3B", ";");
    }
    if habits & BACKSLASH != 0 {
        path = path.replace('\\', "/");
    }
    if habits & PARAMETERS != 0 {
        path = path.split('/').map(|segment| segment.split(';').next().unwrap_or_default()).collect::<Vec<_>>().join("/");
    }
    if habits & MERGE_SLASHES != 0 {
        while path.contains("//") {
            path = path.replace("//", "/");
        }
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn normal(raw: &str) -> Result<String, PathError> {
        Normal::parse(raw).map(|normal| normal.as_str().to_owned())
    }

    #[test]
    fn unreserved_escapes_and_dot_segments_go() {
        for (raw, expected) in [
            ("/", "/"),
            ("*", "/"),
            ("/a/b/", "/a/b/"),
            ("/%61%2d%7E", "/a-~"),
            ("/a%20b%c3%a9", "/a%20b%C3%A9"),
            ("/a/./b/../c", "/a/c"),
            ("/a/b/%2e%2E", "/a/"),
            ("/a/.", "/a/"),
            ("/...", "/..."),
            ("/a//../b", "/a/b"),
        ] {
            assert_eq!(normal(raw).as_deref(), Ok(expected), "{raw}");
        }
    }

    #[test]
    fn what_no_backend_should_see_is_refused() {
        for (raw, error) in [
            ("/%zz", PathError::Malformed),
            ("/%4", PathError::Malformed),
            ("/%00", PathError::Malformed),
            ("/%é1", PathError::Malformed),
            ("a", PathError::Malformed),
            ("", PathError::Malformed),
            ("/..", PathError::ClimbsOut),
            ("/a/../..", PathError::ClimbsOut),
            ("/%2e%2e/", PathError::ClimbsOut),
            ("/..%2f", PathError::ClimbsOut),
            ("/a/..;/..;/b", PathError::ClimbsOut),
            ("/..\\x", PathError::ClimbsOut),
            ("/a/..%5c..%5c", PathError::ClimbsOut),
        ] {
            assert_eq!(normal(raw), Err(error), "{raw}");
        }
    }

    proptest! {
        #[test]
        fn no_text_breaks_it_and_twice_is_once(raw in "/?([/.;%\\\\a]|%2[eEfF5]|%5c|%61|é){0,12}") {
            if let Ok(once) = normal(&raw) {
                prop_assert_eq!(normal(&once), Ok(once.clone()));
                prop_assert!(!once.split('/').any(|segment| segment == ".." || segment == "."));
            }
        }
    }
}
