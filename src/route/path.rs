//! Pure: a request's path as routes see it, and as a lenient backend might (law: "Paths"). What goes on is
//! the target as it was sent; this is for choosing and for rewriting.

use std::borrow::Cow;
use std::fmt;

use http::StatusCode;

use super::readings::Signs;

/// Why a path is refused; always the client's fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathError {
    /// It begins with no `/`.
    NotAbsolute,
    /// `%` without two hex digits after it.
    BadEscape,
    /// `%00`.
    Nul,
    /// More `..` than segments, in one of its readings.
    ClimbsOut,
    /// A backend that reads it leniently would see a path of another route.
    Ambiguous,
}

impl PathError {
    /// The status of the answer.
    pub fn status(self) -> StatusCode {
        StatusCode::BAD_REQUEST
    }
}

impl fmt::Display for PathError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotAbsolute => "the path does not begin with a slash",
            Self::BadEscape => "the path has a `%` without two hex digits after it",
            Self::Nul => "the path has a NUL in it",
            Self::ClimbsOut => "the path climbs out of the root",
            Self::Ambiguous => "the path can be read in two ways that lead to different places",
        })
    }
}

impl std::error::Error for PathError {}

/// A path with the escapes of unreserved characters decoded, other escapes in upper case, and dot
/// segments removed (RFC 3986 6.2.2). Borrows where nothing had to change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Normal<'a> {
    /// Decoded, its dot segments still there: a lenient reading may pair them otherwise.
    decoded: Cow<'a, str>,
    /// Without its dot segments; `None` where there were none.
    resolved: Option<String>,
    signs: Signs,
}

impl<'a> Normal<'a> {
    /// Reads a raw path: absolute, or the `*` of `OPTIONS *`.
    pub fn parse(raw: &'a str) -> Result<Self, PathError> {
        if raw == "*" {
            return Ok(Self { decoded: Cow::Borrowed(raw), resolved: None, signs: Signs::NONE });
        }
        if !raw.starts_with('/') {
            return Err(PathError::NotAbsolute);
        }
        let decoded = decode(raw)?;
        let resolved = resolve(&decoded)?;
        let signs = Signs::of(&decoded);
        Ok(Self { decoded, resolved, signs })
    }

    /// The same without a loan of the target.
    pub fn into_owned(self) -> Normal<'static> {
        Normal { decoded: Cow::Owned(self.decoded.into_owned()), resolved: self.resolved, signs: self.signs }
    }

    /// The strict reading, which routes are chosen by.
    pub fn as_str(&self) -> &str {
        self.resolved.as_deref().unwrap_or(&self.decoded)
    }

    /// Whether this is `*`.
    pub fn is_asterisk(&self) -> bool {
        self.as_str() == "*"
    }

    /// Whether [`readings`](Self::readings) has anything to say.
    pub fn is_plain(&self) -> bool {
        self.signs == Signs::NONE
    }

    /// Every path that a lenient backend might see: each choice of `%2F`, `%5C` and `\` being a slash,
    /// parameters (`;...`) cut before or after that, doubled slashes merged, escaped delimiters decoded,
    /// and then the dot segments removed. Nothing for a plain path. One may come twice.
    pub fn readings(&self) -> impl Iterator<Item = Result<String, PathError>> + '_ {
        self.signs.readings(&self.decoded)
    }
}

/// Decodes the escapes of unreserved characters and turns the hex digits of the others to upper case.
fn decode(raw: &str) -> Result<Cow<'_, str>, PathError> {
    let mut decoded = String::new();
    let mut copied = 0;
    for (at, _) in raw.match_indices('%') {
        let digits = raw.get(at + 1..at + 3).ok_or(PathError::BadEscape)?;
        let byte = hex(digits).ok_or(PathError::BadEscape)?;
        if byte == 0 {
            return Err(PathError::Nul);
        }
        let unreserved = is_unreserved(byte);
        if unreserved || digits.bytes().any(|digit| digit.is_ascii_lowercase()) {
            decoded.push_str(raw.get(copied..at).unwrap_or_default());
            if unreserved {
                decoded.push(char::from(byte));
            } else {
                decoded.push('%');
                decoded.extend(digits.chars().map(|digit| digit.to_ascii_uppercase()));
            }
            copied = at + 3;
        }
    }
    if copied == 0 {
        return Ok(Cow::Borrowed(raw));
    }
    decoded.push_str(raw.get(copied..).unwrap_or_default());
    Ok(Cow::Owned(decoded))
}

/// Removes dot segments; `None` where there are none. Unlike RFC 3986 5.2.4 it does not let `..` stop at
/// the root: who asks for more means harm.
pub(super) fn resolve(path: &str) -> Result<Option<String>, PathError> {
    if !path.contains("/.") || !path.split('/').any(is_dots) {
        return Ok(None);
    }
    let mut kept: Vec<&str> = Vec::new();
    let mut last = "";
    for segment in path.split('/').skip(1) {
        last = segment;
        match segment {
            "." => {}
            ".." => drop(kept.pop().ok_or(PathError::ClimbsOut)?),
            other => kept.push(other),
        }
    }
    let mut resolved = String::with_capacity(path.len());
    for segment in kept {
        resolved.push('/');
        resolved.push_str(segment);
    }
    // What a dot segment at the end leaves is a directory.
    if is_dots(last) {
        resolved.push('/');
    }
    Ok(Some(resolved))
}

fn is_dots(segment: &str) -> bool {
    segment == "." || segment == ".."
}

pub(super) fn hex(digits: &str) -> Option<u8> {
    // `from_str_radix` alone would take a sign.
    digits.bytes().all(|digit| digit.is_ascii_hexdigit()).then(|| u8::from_str_radix(digits, 16).ok())?
}

fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn normal(raw: &str) -> Result<String, PathError> {
        Normal::parse(raw).map(|path| path.as_str().to_owned())
    }

    fn readings(raw: &str) -> Vec<String> {
        let mut readings: Vec<String> = Normal::parse(raw).unwrap().readings().map(Result::unwrap).collect();
        readings.sort();
        readings.dedup();
        readings
    }

    #[test]
    fn unreserved_escapes_are_decoded_and_others_kept() {
        assert_eq!(normal("/%77s/%7euser%2d%5F").unwrap(), "/ws/~user-_");
        assert_eq!(normal("/a%20b%c3%a9%2f%40").unwrap(), "/a%20b%C3%A9%2F%40");
        assert_eq!(normal("/%2561").unwrap(), "/%2561");
    }

    #[test]
    fn dot_segments_are_removed_however_they_are_spelled() {
        for (raw, path) in [
            ("/a/./b", "/a/b"),
            ("/a/../b", "/b"),
            ("/a/%2e%2E/b", "/b"),
            ("/a/.%2e", "/"),
            ("/a/b/..", "/a/"),
            ("/a/.", "/a/"),
            ("/.", "/"),
            ("/a/...", "/a/..."),
            ("/.well-known/x", "/.well-known/x"),
            ("/a//../b", "/a/b"),
        ] {
            assert_eq!(normal(raw).unwrap(), path, "{raw}");
        }
    }

    #[test]
    fn what_climbs_out_or_is_no_path_is_refused() {
        for (raw, error) in [
            ("/..", PathError::ClimbsOut),
            ("/a/../../b", PathError::ClimbsOut),
            ("/%2e%2e/b", PathError::ClimbsOut),
            ("/a%", PathError::BadEscape),
            ("/a%4", PathError::BadEscape),
            ("/a%zz", PathError::BadEscape),
            ("/a%+1", PathError::BadEscape),
            ("/a%%32%35", PathError::BadEscape),
            ("/a%\u{e9}\u{e9}", PathError::BadEscape),
            ("/a%00", PathError::Nul),
            ("", PathError::NotAbsolute),
            ("a", PathError::NotAbsolute),
            ("**", PathError::NotAbsolute),
        ] {
            assert_eq!(normal(raw), Err(error), "{raw}");
            assert_eq!(error.status(), 400);
            assert!(error.to_string().starts_with("the path "), "{error}");
        }
        assert!(Normal::parse("*").unwrap().is_asterisk());
    }

    #[test]
    fn an_ordinary_path_is_borrowed_and_has_no_other_reading() {
        for raw in ["/", "/ws/room-1", "/a%20b", "/%C3%A9", "/a.b/.c/"] {
            let path = Normal::parse(raw).unwrap();
            assert!(matches!(path.decoded, Cow::Borrowed(_)) && path.resolved.is_none() && path.is_plain(), "{raw}");
            assert_eq!(path.readings().count(), 0);
        }
    }

    #[test]
    fn each_sign_has_its_reading() {
        assert_eq!(readings("/a%2Fb"), ["/a%2Fb", "/a/b"]);
        assert_eq!(readings("/a%5cb"), ["/a%5Cb", "/a/b"]);
        assert_eq!(readings("/a\\b"), ["/a/b", "/a\\b"]);
        assert_eq!(readings("/a;x=1/b"), ["/a/b", "/a;x=1/b"]);
        assert_eq!(readings("/a//b"), ["/a/b"]);
        assert_eq!(readings("/%40a"), ["/@a"]);
    }

    #[test]
    fn signs_work_together() {
        assert!(readings("/a/..;x/b").contains(&"/b".to_owned()));
        assert!(readings("/a/b/..%2F..%5Cc").contains(&"/c".to_owned()));
        assert!(readings("/a/;x/b").contains(&"/a/b".to_owned()));
        // A server behind another that decodes `%3B` cuts there.
        assert!(readings("/a/..%3Bx/b").contains(&"/b".to_owned()));
        // A parameter ends at the escaped slash, or does not.
        assert!(readings("/a;x%2Fb/c").contains(&"/a/c".to_owned()));
        assert!(readings("/a;x%2Fb/c").contains(&"/a/b/c".to_owned()));
    }

    #[test]
    fn a_reading_that_climbs_out_says_so() {
        for raw in ["/..%2Fa", "/..;/a", "/a\\..\\..\\b", "//../a"] {
            let path = Normal::parse(raw).unwrap();
            assert!(path.readings().any(|reading| reading == Err(PathError::ClimbsOut)), "{raw}");
        }
    }

    #[test]
    fn a_path_with_too_much_to_read_is_refused_not_read() {
        let raw = format!("/a;%2f%5c\\//{}", "a".repeat(30 << 10));
        let readings: Vec<_> = Normal::parse(&raw).unwrap().readings().collect();
        assert_eq!(readings, [Err(PathError::Ambiguous)]);
        assert!(PathError::Ambiguous.to_string().contains("two ways"));
        let raw = format!("/a;//{}", "a".repeat(30 << 10));
        assert!(Normal::parse(&raw).unwrap().readings().all(|reading| reading.is_ok()));
    }

    /// RFC 3986 6.2.2 a byte at a time; `None`: refused.
    fn naive(raw: &str) -> Option<String> {
        let mut decoded = Vec::new();
        let mut bytes = raw.bytes();
        while let Some(byte) = bytes.next() {
            if byte != b'%' {
                decoded.push(byte);
                continue;
            }
            let mut digit = || char::from(bytes.next()?).to_digit(16);
            let value = u8::try_from(16 * digit()? + digit()?).ok().filter(|&value| value != 0)?;
            if char::from(value).is_ascii_alphanumeric() || b"-._~".contains(&value) {
                decoded.push(value);
            } else {
                decoded.extend(format!("%{value:02X}").bytes());
            }
        }
        let decoded = String::from_utf8(decoded).ok()?;
        let mut segments: Vec<&str> = Vec::new();
        for segment in decoded.strip_prefix('/')?.split('/') {
            match segment {
                ".." => drop(segments.pop()?),
                "." => {}
                other => segments.push(other),
            }
        }
        let slash = decoded.ends_with("/.") || decoded.ends_with("/..");
        if slash {
            segments.push("");
        }
        Some(format!("/{}", segments.join("/")))
    }

    proptest! {
        #[test]
        fn the_reader_agrees_with_a_naive_model(raw in "/?([./;\\\\a%b\u{e9}]|/\\.\\.?|%2[eEfF5]|%61|%c3|%3b|%0[01]|%[a-g]){0,12}") {
            prop_assert_eq!(normal(&raw).ok(), naive(&raw));
        }

        #[test]
        fn no_text_breaks_the_reader(raw in "\\PC{0,40}") {
            if let Ok(path) = Normal::parse(&raw) {
                path.readings().for_each(drop);
            }
        }

        #[test]
        fn a_normal_path_is_its_own_normal_path(raw in "/([./;\\\\a%b\u{e9}]|%2[eEfF5]|%61|%c3|%3b){0,12}") {
            if let Ok(path) = Normal::parse(&raw) {
                let again = Normal::parse(path.as_str()).unwrap();
                prop_assert_eq!(again.as_str(), path.as_str());
                prop_assert!(path.as_str().starts_with('/'));
                prop_assert!(!path.as_str().split('/').any(is_dots));
                for reading in path.readings().flatten() {
                    prop_assert!(reading.starts_with('/') && !reading.split('/').any(is_dots));
                }
            }
        }
    }
}
