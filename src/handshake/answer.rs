//! Pure: a backend's head, read from bytes, with every name as it was spelled and in its order.

use std::fmt;
use std::mem::MaybeUninit;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

/// The head of a backend's answer to a handshake.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Whether it is of HTTP/1.1; HTTP/1.0 knows no upgrade (RFC 9110 section 7.8).
    pub is_http11: bool,
    /// Its status.
    pub status: StatusCode,
    /// Its reason phrase; may be empty.
    pub reason: Bytes,
    /// The names as they were spelled, line by line.
    pub names: Vec<Bytes>,
    /// The fields.
    pub headers: HeaderMap,
}

/// Why bytes are not the head of an answer. The backend's fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AnswerError {
    /// Not HTTP/1.
    Malformed(String),
    /// More bytes or lines than allowed.
    TooLarge,
}

impl fmt::Display for AnswerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed(why) => write!(f, "the head of its answer is malformed ({why})"),
            Self::TooLarge => f.write_str("the head of its answer is too large"),
        }
    }
}

/// As many lines as a head may have where nothing else was set.
const LINES: usize = 100;

impl Answer {
    /// Reads a head from the start of `bytes`. `Ok(None)`: not whole yet, nothing consumed. Else the
    /// answer and how many bytes its head has.
    pub fn parse(bytes: &[u8], max_lines: usize) -> Result<Option<(Self, usize)>, AnswerError> {
        // The everyday limit needs no heap.
        let (mut some, mut many) = ([const { MaybeUninit::uninit() }; LINES], Vec::new());
        many.resize_with(if max_lines > LINES { max_lines } else { 0 }, MaybeUninit::uninit);
        let lines = some.get_mut(..max_lines).unwrap_or(&mut many);
        let mut head = httparse::Response::new(&mut []);
        let parsed = httparse::ParserConfig::default().parse_response_with_uninit_headers(&mut head, bytes, lines);
        let length = match parsed {
            Ok(httparse::Status::Complete(length)) => length,
            Ok(httparse::Status::Partial) => return Ok(None),
            Err(httparse::Error::TooManyHeaders) => return Err(AnswerError::TooLarge),
            Err(error) => return Err(AnswerError::Malformed(error.to_string())),
        };
        let bad = |what: &str| AnswerError::Malformed(what.to_owned());
        let status = head.code.and_then(|code| StatusCode::from_u16(code).ok()).ok_or_else(|| bad("its status"))?;
        let whole = Bytes::copy_from_slice(bytes.get(..length).unwrap_or_default()); // once, for all that is kept of it
        let part = |part: &[u8]| {
            let at = part.as_ptr().addr().checked_sub(bytes.as_ptr().addr()).filter(|at| at + part.len() <= length);
            at.map_or_else(Bytes::new, |at| whole.slice(at..at + part.len()))
        };
        let mut headers = HeaderMap::with_capacity(head.headers.len());
        let mut names = Vec::with_capacity(head.headers.len());
        for line in head.headers.iter() {
            let name = HeaderName::from_bytes(line.name.as_bytes()).map_err(|_| bad("a field's name"))?;
            let value = HeaderValue::from_maybe_shared(part(line.value)).map_err(|_| bad("a field's value"))?;
            headers.append(name, value);
            names.push(part(line.name.as_bytes()));
        }
        let reason = part(head.reason.unwrap_or_default().as_bytes());
        Ok(Some((Self { is_http11: head.version == Some(1), status, reason, names, headers }, length)))
    }
}

/// A backend's bytes as they come, until there is a final head; informational answers are passed over.
#[derive(Debug)]
pub struct AnswerReader {
    read: BytesMut,
    /// How much of `read` has been looked at.
    seen: usize,
    /// How much was passed over.
    passed: usize,
    max_bytes: usize,
    max_lines: usize,
}

/// What a backend said to a handshake.
#[derive(Debug)]
pub struct Heard {
    /// Its answer.
    pub answer: Answer,
    /// The head as it came.
    pub head: Bytes,
    /// What came behind it.
    pub behind: Bytes,
}

impl AnswerReader {
    /// Nothing read yet; all heads together have at most so many bytes, each at most so many lines.
    pub fn new(max_bytes: usize, max_lines: usize) -> Self {
        Self { read: BytesMut::with_capacity(1024), seen: 0, passed: 0, max_bytes, max_lines }
    }

    /// Where bytes are read into.
    pub fn room(&mut self) -> &mut BytesMut {
        &mut self.read
    }

    /// Whether the backend has said anything.
    pub fn has_begun(&self) -> bool {
        self.passed + self.read.len() > 0
    }

    /// The final answer, once its head is whole.
    pub fn heard(&mut self) -> Result<Option<Heard>, AnswerError> {
        // A head can only have ended where a line has: it is not parsed anew for each of its bytes.
        while self.read.get(self.seen..).is_some_and(|fresh| memchr::memchr(b'\n', fresh).is_some()) {
            let Some((answer, length)) = Answer::parse(&self.read, self.max_lines)? else { break };
            let head = self.read.split_to(length).freeze();
            if !answer.status.is_informational() || answer.status == StatusCode::SWITCHING_PROTOCOLS {
                return Ok(Some(Heard { answer, head, behind: self.read.split().freeze() }));
            }
            self.passed += length;
            self.seen = 0;
        }
        self.seen = self.read.len();
        if self.passed + self.read.len() > self.max_bytes { Err(AnswerError::TooLarge) } else { Ok(None) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_keep_their_spelling_and_order() {
        let bytes = b"HTTP/1.1 101 \r\nuPGRADE: WebSocket\r\nX-b: 1\r\nx-B: 2\r\nX-caf\xe9: no\r\n\r\nrest";
        assert!(matches!(Answer::parse(bytes, 10), Err(AnswerError::Malformed(_))));
        let bytes = b"HTTP/1.1 101 \r\nuPGRADE: WebSocket\r\nX-b: 1\r\nx-B: \xe9\r\n\r\nrest";
        let (answer, length) = Answer::parse(bytes, 10).expect("legal").expect("whole");
        assert_eq!(&bytes[length..], b"rest");
        assert_eq!(answer.names, ["uPGRADE", "X-b", "x-B"]);
        assert_eq!(answer.headers.get_all("x-b").iter().count(), 2);
    }

    proptest! {
        #[test]
        fn no_bytes_break_it(bytes in prop::collection::vec(any::<u8>(), 0..300), prefix in any::<bool>()) {
            let head: &[u8] = if prefix { b"HTTP/1.1 101 X\r\n" } else { b"" };
            Answer::parse(&[head, &bytes].concat(), 10).ok();
        }

        #[test]
        fn the_cuts_between_reads_change_nothing(
            heads in prop::collection::vec("HTTP/1\\.[01] (10[0-3]|200|404) [A-Z]?\r?\n([a-c]: ?[a-c]?\r?\n){0,3}\r?\n", 1..4),
            sizes in prop::collection::vec(1..40_usize, 1..6),
        ) {
            let bytes = heads.concat();
            let mut whole = AnswerReader::new(1 << 20, 10);
            whole.room().extend_from_slice(bytes.as_bytes());
            let whole = whole.heard().expect("legal");
            let mut pieces = AnswerReader::new(1 << 20, 10);
            let (mut rest, mut heard) = (bytes.as_bytes(), None);
            for size in sizes.iter().cycle() {
                let (piece, behind) = rest.split_at((*size).min(rest.len()));
                pieces.room().extend_from_slice(piece);
                heard = pieces.heard().expect("legal");
                rest = behind;
                if heard.is_some() || rest.is_empty() {
                    break;
                }
            }
            let both = |heard: Option<Heard>, rest: &[u8]| {
                heard.map(|heard| (heard.answer.headers, heard.head, [&heard.behind, rest].concat()))
            };
            prop_assert_eq!(both(heard, rest), both(whole, b""));
        }
    }

    #[test]
    fn informational_answers_are_passed_over_and_a_head_is_found_however_it_is_cut() {
        let bytes =
            b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 101 Yes\r\nA: b\r\n\r\nrest";
        for size in 1..bytes.len() {
            let mut reader = AnswerReader::new(200, 10);
            let mut pieces = bytes.chunks(size);
            let heard = loop {
                reader.room().extend_from_slice(pieces.next().expect("the head ends before the bytes do"));
                if let Some(heard) = reader.heard().expect("legal") {
                    break heard;
                }
            };
            assert_eq!((heard.answer.status.as_u16(), &heard.head[..]), (101, &b"HTTP/1.1 101 Yes\r\nA: b\r\n\r\n"[..]));
            assert!(b"rest".starts_with(&heard.behind));
        }
        let mut reader = AnswerReader::new(40, 10);
        reader.room().extend_from_slice(&bytes[..50]);
        assert_eq!(reader.heard().err(), Some(AnswerError::TooLarge));
    }

    #[test]
    fn a_head_with_too_many_lines_is_too_large_and_one_that_is_no_head_is_malformed() {
        let head = b"HTTP/1.1 101 X\r\na: 1\r\nb: 2\r\nc: 3\r\n\r\n";
        assert!(Answer::parse(head, 3).is_ok_and(|answer| answer.is_some()));
        let large = Answer::parse(head, 2).expect_err("three lines");
        assert_eq!((&large, large.to_string().contains("too large")), (&AnswerError::TooLarge, true));
        let malformed = Answer::parse(b"SSH-2.0-x\r\n\r\n", 10).expect_err("no HTTP");
        assert!(malformed.to_string().contains("malformed"), "{malformed}");
        assert!(Answer::parse(b"HTTP/1.1 099 X\r\n\r\n", 10).is_err(), "no such status");
    }
}
