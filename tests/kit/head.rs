//! Pure: an HTTP/1 head as it stood on the wire: spelling, order and bytes kept. Judges nothing.

use std::fmt;

/// A head. Bytes stand as Latin-1, so that any value is text and none is changed.
#[derive(Clone, PartialEq, Eq)]
pub struct Head {
    /// With the empty line at its end.
    pub raw: Vec<u8>,
    /// The request or status line.
    pub first: String,
    /// The field lines, in order.
    pub lines: Vec<String>,
}

impl Head {
    /// Takes a head off the front of `bytes` where it is there whole.
    pub fn take(bytes: &mut Vec<u8>) -> Option<Self> {
        let end = bytes.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
        let raw: Vec<u8> = bytes.drain(..end).collect();
        let mut lines = raw[..end - 4].split(|&b| b == b'\n').map(|line| latin1(line.strip_suffix(b"\r").unwrap_or(line)));
        let first = lines.next().unwrap_or_default();
        let lines = lines.collect();
        Some(Self { raw, first, lines })
    }

    /// The status of an answer.
    pub fn status(&self) -> u16 {
        let number = self.first.strip_prefix("HTTP/1.").and_then(|rest| rest.get(2..5)).and_then(|code| code.parse().ok());
        number.unwrap_or_else(|| panic!("not a status line: {:?}", self.first))
    }

    /// The target of a request.
    pub fn target(&self) -> &str {
        self.first.split(' ').nth(1).unwrap_or_else(|| panic!("not a request line: {:?}", self.first))
    }

    /// Names (as spelled) and values, in order.
    pub fn fields(&self) -> impl Iterator<Item = (&str, &str)> {
        self.lines.iter().map(|line| {
            let (name, value) = line.split_once(':').unwrap_or_else(|| panic!("not a field line: {line:?}"));
            (name, value.trim_matches([' ', '\t']))
        })
    }

    /// The values of every line of this name, in any spelling.
    pub fn values(&self, name: &str) -> Vec<&str> {
        self.fields().filter(|(other, _)| other.eq_ignore_ascii_case(name)).map(|(_, value)| value).collect()
    }

    /// The value of the one line of this name; `None` where there is none, a failure where there are more.
    pub fn value(&self, name: &str) -> Option<&str> {
        let values = self.values(name);
        assert!(values.len() <= 1, "{name} stands there {} times:\n{self}", values.len());
        values.first().copied()
    }

    /// Whether a list field holds this token, in any case and on any of its lines.
    pub fn has_token(&self, name: &str, token: &str) -> bool {
        self.values(name).iter().flat_map(|value| value.split(',')).any(|item| item.trim().eq_ignore_ascii_case(token))
    }

    /// Asserts that exactly this line is there, letter by letter, and that no other line has its name.
    #[track_caller]
    pub fn assert_line(&self, line: &str) {
        let name = line.split(':').next().unwrap_or_default();
        let same: Vec<&String> = self.lines.iter().filter(|other| named(other, name)).collect();
        assert_eq!(same, [line], "expected exactly the line {line:?} in\n{self}");
    }

    /// Asserts that no line has this name, in any spelling.
    #[track_caller]
    pub fn assert_none(&self, name: &str) {
        assert!(self.values(name).is_empty(), "expected no {name} in\n{self}");
    }

    /// The lines whose names are none of these (a `*` at an end stands for anything).
    pub fn lines_without(&self, names: &[&str]) -> Vec<&str> {
        let gone = |line: &str| names.iter().any(|name| named(line, name));
        self.lines.iter().map(String::as_str).filter(|line| !gone(line)).collect()
    }
}

fn named(line: &str, name: &str) -> bool {
    let have = line.split(':').next().unwrap_or_default();
    match name.strip_suffix('*') {
        Some(start) => {
            have.len() >= start.len() && have.is_char_boundary(start.len()) && have[..start.len()].eq_ignore_ascii_case(start)
        }
        None => have.eq_ignore_ascii_case(name),
    }
}

impl fmt::Display for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "  | {}", self.first)?;
        self.lines.iter().try_for_each(|line| writeln!(f, "  | {line}"))
    }
}

impl fmt::Debug for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\n{self}")
    }
}

fn latin1(bytes: &[u8]) -> String {
    bytes.iter().map(|&b| char::from(b)).collect()
}

/// Bytes as a failure shows them: escaped, the first and the last of many.
pub fn shown(bytes: &[u8]) -> String {
    const MANY: usize = 2000;
    if bytes.len() <= 2 * MANY {
        return format!("{} bytes \"{}\"", bytes.len(), bytes.escape_ascii());
    }
    let (first, last) = (&bytes[..MANY], &bytes[bytes.len() - MANY..]);
    format!("{} bytes \"{}\" ... \"{}\"", bytes.len(), first.escape_ascii(), last.escape_ascii())
}
