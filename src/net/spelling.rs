//! The names in a head that hyper writes, as their author spelled them; those that have no author in title case.
//!
//! hyper can do that itself, with a map beside each message: that costs as much as to parse the message. So it writes
//! names in small letters, and on their way out they get the letters that they came with. Only the case of letters in
//! names changes, and only where the names are the same without it: whatever a head is given for a model, its meaning
//! and its length stay.

use std::io::{self, IoSlice};
use std::task::Poll;

use crate::base::eight::{equal, unlike};

/// The RFC's spelling of handshake fields (RFC 6455 section 11.3), which title case is not; embedded clients compare bytes.
const CANONICAL: [&str; 5] =
    ["Sec-WebSocket-Version", "Sec-WebSocket-Protocol", "Sec-WebSocket-Extensions", "Sec-WebSocket-Accept", "Sec-WebSocket-Key"];
/// How many lines of a model are told apart; those behind it are spelled in title case. More than browsers send.
const LINES: usize = 64;

/// Output on which heads are spelled. It takes everything in the order in which hyper writes it.
#[derive(Debug)]
pub struct Spelling {
    /// Whether hyper holds nothing back: what it writes next begins where a message begins.
    at_rest: bool,
    /// The next bytes are a head, to be spelled as this one.
    model: Option<Vec<u8>>,
    /// A head on its way out, and how much of it is out.
    head: Vec<u8>,
    sent: usize,
}

impl Spelling {
    /// Before anything was written.
    #[allow(clippy::new_without_default)] // it begins at rest, which is no default
    pub fn new() -> Self {
        Self { at_rest: true, model: None, head: Vec::new(), sent: 0 }
    }

    /// The next that hyper writes is a head, whose names are spelled as in `model`, a head or several: its lines behind
    /// their first. Where bytes of an earlier message are still on their way that cannot be told, and nothing is done.
    pub fn expect(&mut self, model: Vec<u8>) {
        self.model = Some(model).filter(|_| self.at_rest);
    }

    /// hyper has written all it had.
    pub fn flushed(&mut self) {
        self.at_rest = true;
    }

    /// Has `write` write what hyper gives.
    pub fn write(
        &mut self,
        bufs: &[IoSlice<'_>],
        write: impl FnOnce(&[IoSlice<'_>]) -> Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        self.at_rest = false;
        let Some((first, others)) = bufs.split_first() else { return write(bufs) };
        if let Some(model) = self.model.take() {
            self.sent = 0;
            self.head = spelled(first, &model).unwrap_or_default();
        }
        let head = self.head.get(self.sent..).unwrap_or_default();
        let Some(behind) = first.get(head.len()..).filter(|_| !head.is_empty()) else {
            self.head = Vec::new(); // all of it is out; or hyper changed its mind, and then its word counts
            return write(bufs);
        };
        let mut all = [IoSlice::new(&[]); 16]; // to write less than all is allowed
        let given = [IoSlice::new(head), IoSlice::new(behind)].into_iter().chain(others.iter().copied());
        let count = all.iter_mut().zip(given).map(|(place, buf)| *place = buf).count();
        let written = write(all.get(..count).unwrap_or(&all));
        if let Poll::Ready(Ok(n)) = written {
            self.sent += n.min(head.len());
            if self.sent == self.head.len() {
                self.head = Vec::new();
            }
        }
        written
    }
}

/// Where the first head in `bytes` ends, just behind its empty line, if it does; of the first `seen` bytes it is known
/// that none does.
pub fn head_end(bytes: &[u8], seen: usize) -> Option<usize> {
    let from = seen.saturating_sub(2); // the end may have come in parts
    memchr::memchr_iter(b'\n', bytes.get(from..)?).find_map(|at| match bytes.get(from + at + 1..)? {
        [b'\n', ..] => Some(from + at + 2),
        [b'\r', b'\n', ..] => Some(from + at + 3),
        _ => None,
    })
}

/// The head that `bytes` begin with, each name in the letters of the first line of that name in `model` that no line
/// before it has taken. `None`: they begin with none.
fn spelled(bytes: &[u8], model: &[u8]) -> Option<Vec<u8>> {
    let first = memchr::memchr(b'\n', bytes)? + 1;
    let line = bytes.get(..first)?;
    // Of an answer or of a request.
    if !line.starts_with(b"HTTP/1.") && !line.ends_with(b" HTTP/1.1\r\n") {
        return None;
    }
    let mut model = Names::of(model);
    let mut head = bytes.to_vec();
    let mut start = first;
    loop {
        let rest = head.get_mut(start..)?;
        let end = memchr::memchr(b'\n', rest)?;
        let line = rest.get_mut(..=end)?;
        start += line.len();
        if matches!(&*line, b"\r\n" | b"\n") {
            head.truncate(start);
            return Some(head);
        }
        model.spell(line);
    }
}

/// The lines of a model that nobody has taken. Most often the order is kept, and the first of the rest is the right one.
#[derive(Debug)]
pub struct Names<'a> {
    rest: &'a [u8],
    /// Lines before the rest, with what follows them.
    skipped: [&'a [u8]; LINES],
    count: usize,
}

impl<'a> Names<'a> {
    /// The lines behind its first.
    pub fn of(head: &'a [u8]) -> Self {
        let mut model = Self { rest: head, skipped: [b""; LINES], count: 0 };
        model.next();
        model
    }

    fn next(&mut self) -> Option<&'a [u8]> {
        let line = Some(self.rest).filter(|rest| !rest.is_empty())?;
        let end = memchr::memchr(b'\n', line).map_or(line.len(), |at| at + 1);
        self.rest = line.get(end..)?;
        Some(line)
    }

    /// Gives the name that `line` begins with, up to its colon, the letters that it has here; title case, where nobody
    /// has spelled it.
    pub fn spell(&mut self, line: &mut [u8]) {
        let name = self.take(line);
        let length = name.map_or_else(|| memchr::memchr(b':', line).unwrap_or(0), <[u8]>::len);
        match (line.get_mut(..length), name) {
            (Some(place), Some(name)) => place.copy_from_slice(name), // equal but for the case, so equally long
            (Some(place), None) => in_title_case(place),
            (None, _) => {}
        }
    }

    /// The name that `line` has, as the model spells it.
    fn take(&mut self, line: &[u8]) -> Option<&'a [u8]> {
        for place in self.skipped.iter_mut().take(self.count) {
            if let Some(name) = same_name(line, place) {
                *place = b"";
                return Some(name);
            }
        }
        while let Some(other) = self.next() {
            if let Some(name) = same_name(line, other) {
                return Some(name);
            }
            if let Some(place) = self.skipped.get_mut(self.count) {
                *place = other;
                self.count += 1;
            }
        }
        None
    }
}

/// The name that `model` begins with, if `line` has the same but for the case of letters. Eight bytes at a time: this is
/// asked for each line of each head.
fn same_name<'a>(line: &[u8], model: &'a [u8]) -> Option<&'a [u8]> {
    let eight = |bytes: &[u8], at: usize| bytes.get(at..)?.first_chunk().copied().map(u64::from_le_bytes);
    let mut at = 0;
    while let (Some(one), Some(other)) = (eight(line, at), eight(model, at)) {
        let (colons, others) = (equal(one, b':'), unlike(one, other));
        if colons != 0 {
            let length = (colons.trailing_zeros() / 8) as usize;
            let with_colon = u64::MAX >> (56 - 8 * length);
            return if others & with_colon == 0 { model.get(..at + length) } else { None };
        }
        if others != 0 {
            return None;
        }
        at += 8;
    }
    for (byte, like) in line.get(at..)?.iter().zip(model.get(at..)?) {
        if !byte.eq_ignore_ascii_case(like) {
            return None;
        }
        if *byte == b':' {
            return model.get(..at);
        }
        at += 1;
    }
    None
}

fn in_title_case(name: &mut [u8]) {
    if let Some(canonical) = CANONICAL.iter().find(|canonical| canonical.as_bytes().eq_ignore_ascii_case(name)) {
        return name.copy_from_slice(canonical.as_bytes());
    }
    let mut before = b'-';
    for byte in name {
        if before == b'-' {
            byte.make_ascii_uppercase();
        }
        before = *byte;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn spelled(head: &str, model: &str) -> String {
        String::from_utf8(super::spelled(head.as_bytes(), model.as_bytes()).unwrap()).unwrap()
    }

    #[test]
    fn names_get_the_letters_that_they_came_with_and_nothing_else_changes() {
        let model = "HTTP/1.1 200 OK\r\nDATE: x\r\nx-list: 1\r\neTag: \"Y\"\r\nX-LIST: 2\r\n\r\n";
        let head =
            "HTTP/1.1 200 OK\r\netag: \"Y\"\r\nx-list: date\r\nx-list: 2\r\ndate: x\r\nx-list: 3\r\nnew-one: etag:\r\n\r\n";
        let right =
            "HTTP/1.1 200 OK\r\neTag: \"Y\"\r\nx-list: date\r\nX-LIST: 2\r\nDATE: x\r\nX-List: 3\r\nNew-One: etag:\r\n\r\n";
        assert_eq!(spelled(head, model), right);
    }

    #[test]
    fn handshake_fields_are_spelled_as_the_rfc_does_where_they_have_no_model() {
        let head = "HTTP/1.1 426 Upgrade Required\r\nsec-websocket-version: 13\r\n\r\n";
        let named = |name: &str| head.replace("sec-websocket-version", name);
        assert_eq!(spelled(head, ""), named("Sec-WebSocket-Version"));
        assert_eq!(spelled(head, "\nsec-websocket-VERSION:"), named("sec-websocket-VERSION"));
    }

    #[test]
    fn a_head_ends_behind_its_empty_line_however_it_comes() {
        for (bytes, end) in [("a\r\nb: c\r\n\r\nd", Some(11)), ("a\nb: c\n\nd\n\n", Some(8)), ("a\r\nb: c\r\n", None)] {
            assert_eq!(head_end(bytes.as_bytes(), 0), end);
            let parts = (0..=bytes.len()).scan(0, |seen, upto| {
                let found = head_end(&bytes.as_bytes()[..upto], *seen);
                *seen = upto;
                Some(found)
            });
            assert_eq!(parts.flatten().next(), end, "{bytes:?}");
        }
    }

    /// Writes `messages`, each a head and a body, in pieces as large as `sizes` say, as hyper does; what came out.
    fn written(messages: &[(String, String)], model: &str, sizes: &[usize]) -> Vec<u8> {
        let (mut spelling, mut out, mut sizes) = (Spelling::new(), Vec::new(), sizes.iter().cycle());
        for (head, body) in messages {
            spelling.expect(model.as_bytes().to_vec());
            let (mut head, mut body) = (head.as_bytes(), body.as_bytes());
            while !head.is_empty() || !body.is_empty() {
                let bufs: Vec<_> = [head, body].into_iter().filter(|buf| !buf.is_empty()).map(IoSlice::new).collect();
                let written = spelling.write(&bufs, |bufs| {
                    let all: Vec<u8> = bufs.iter().flat_map(|buf| buf.iter().copied()).collect();
                    let n = all.len().min(*sizes.next().unwrap());
                    if n == 0 {
                        return Poll::Pending;
                    }
                    out.extend_from_slice(&all[..n]);
                    Poll::Ready(Ok(n))
                });
                if let Poll::Ready(Ok(n)) = written {
                    let of_head = n.min(head.len());
                    head = &head[of_head..];
                    body = &body[n - of_head..];
                }
            }
            spelling.flushed();
        }
        out
    }

    #[test]
    fn a_head_that_goes_out_in_pieces_is_spelled_whole_and_a_body_is_not() {
        let message = ("A HTTP/1.1\r\nx-a: 1\r\nx-b: 2\r\n\r\n".to_owned(), "\r\nx-a: 1\r\n\r\n".to_owned());
        let right = b"A HTTP/1.1\r\nx-a: 1\r\nx-B: 2\r\n\r\n\r\nx-a: 1\r\n\r\n";
        for size in 1..=right.len() {
            assert_eq!(written(&[message.clone(), message.clone()], "\nx-a:\nx-B:", &[0, size]), [&right[..], right].concat());
        }
    }

    #[test]
    fn a_head_behind_bytes_that_are_still_on_their_way_is_left_alone() {
        let mut spelling = Spelling::new();
        let pending = |_: &[IoSlice<'_>]| Poll::Pending;
        assert!(spelling.write(&[IoSlice::new(b"body")], pending).is_pending());
        spelling.expect(b"\nx-a:".to_vec());
        let bufs = [IoSlice::new(b"HTTP/1.1 bodyA HTTP/1.1\r\nx-a: 1\r\n\r\n")];
        let mut out = Vec::new();
        let written = spelling.write(&bufs, |bufs| {
            out.extend_from_slice(&bufs[0]);
            Poll::Ready(Ok(bufs[0].len()))
        });
        assert!(matches!(written, Poll::Ready(Ok(35))) && out == *bufs[0]);
    }

    proptest! {
        #[test]
        fn a_name_is_the_same_up_to_the_colon_and_no_further(
            line in "[a-bA-B:@`\\x1a-]{0,20}", model in "[a-bA-B:@`\\x1a-]{0,20}", same in "[a-z-]{0,20}",
        ) {
            let naive = |line: &str, model: &str| {
                let (name, like) = (line.split_once(':')?.0, model.split_once(':')?.0);
                name.eq_ignore_ascii_case(like).then(|| like.as_bytes().to_vec())
            };
            for (line, model) in [(line.clone(), model.clone()), (same.clone() + ":" + &line, same.to_uppercase() + ":" + &model)] {
                prop_assert_eq!(same_name(line.as_bytes(), model.as_bytes()).map(<[u8]>::to_vec), naive(&line, &model));
            }
        }

        #[test]
        fn whatever_the_model_is_a_head_stays_the_same_but_for_case(
            head in "(A HTTP/1.1\r\n)?[aAbB\r\n: -]{0,60}", model in "[aAbB\r\n: -]{0,60}", sizes in proptest::collection::vec(0usize..9, 1..4),
        ) {
            let out = written(&[(head.clone(), "B\r\n".to_owned())], &model, &[&sizes[..], &[1]].concat());
            prop_assert!(out.eq_ignore_ascii_case((head + "B\r\n").as_bytes()));
        }
    }
}
