//! Pure: `Content-Length` and `Transfer-Encoding` as both directions read them (RFC 9112 6.1 to 6.3).

use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderValue};

use super::tokens::trim;

/// A length that cannot be believed: not a number, too large, or two that differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadLength;

/// The one length that all lines and elements agree on (`5, 5` is legal, RFC 9110 8.6), if there is any.
pub fn content_length(headers: &HeaderMap) -> Result<Option<u64>, BadLength> {
    let mut length = None;
    // Not `tokens`: an empty element is no number.
    for line in headers.get_all(CONTENT_LENGTH) {
        for element in line.as_bytes().split(|&byte| byte == b',') {
            let number = digits(trim(element))?;
            if length.is_some_and(|known| known != number) {
                return Err(BadLength);
            }
            length = Some(number);
        }
    }
    Ok(length)
}

/// Leaves one line where a length is repeated; to be called with a length that [`content_length`] took.
pub fn keep_one_length(headers: &mut HeaderMap) {
    if headers.keys_len() == headers.len() && !headers.get(CONTENT_LENGTH).is_some_and(|line| line.as_bytes().contains(&b',')) {
        return; // nearly always
    }
    let mut lines = headers.get_all(CONTENT_LENGTH).iter();
    let first = lines.next();
    let repeated = lines.next().is_some() || first.is_some_and(|line| line.as_bytes().contains(&b','));
    if let (true, Ok(Some(length))) = (repeated, content_length(headers)) {
        headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
}

/// What `Transfer-Encoding` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Encoding {
    /// Nothing.
    None,
    /// One line, `chunked`.
    Chunked,
    /// Anything else.
    Other,
}

pub(super) fn transfer_encoding(headers: &HeaderMap) -> Encoding {
    let mut lines = headers.get_all(TRANSFER_ENCODING).iter();
    match (lines.next(), lines.next()) {
        (None, _) => Encoding::None,
        (Some(line), None) if trim(line.as_bytes()).eq_ignore_ascii_case(b"chunked") => Encoding::Chunked,
        _ => Encoding::Other,
    }
}

fn digits(text: &[u8]) -> Result<u64, BadLength> {
    if text.is_empty() {
        return Err(BadLength);
    }
    text.iter().try_fold(0_u64, |number, byte| {
        let digit = byte.wrapping_sub(b'0');
        let number = number.checked_mul(10).and_then(|tens| tens.checked_add(digit.into()));
        number.filter(|_| digit < 10).ok_or(BadLength)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lengths(lines: &[&str]) -> HeaderMap {
        lines.iter().map(|line| (CONTENT_LENGTH, line.parse().unwrap())).collect()
    }

    #[test]
    fn repeated_lengths_must_agree() {
        assert_eq!(content_length(&lengths(&[])), Ok(None));
        assert_eq!(content_length(&lengths(&["5"])), Ok(Some(5)));
        assert_eq!(content_length(&lengths(&["5, 5", "5"])), Ok(Some(5)));
        assert_eq!(content_length(&lengths(&["5", "6"])), Err(BadLength));
        assert_eq!(content_length(&lengths(&["5, 6"])), Err(BadLength));
    }

    #[test]
    fn only_digits_are_a_length() {
        for bad in ["", "+2", "-1", "0x2", "2 2", "2,", "18446744073709551616", "1e3", "\u{b2}"] {
            let headers = std::iter::once((CONTENT_LENGTH, HeaderValue::from_bytes(bad.as_bytes()).unwrap())).collect();
            assert_eq!(content_length(&headers), Err(BadLength), "{bad}");
        }
    }

    #[test]
    fn a_repeated_length_becomes_one_line() {
        for mut headers in [lengths(&["7", "7"]), lengths(&["7, 7"]), lengths(&["7"])] {
            keep_one_length(&mut headers);
            assert_eq!(headers, lengths(&["7"]));
        }
    }

    #[test]
    fn chunked_is_one_line_of_that_one_word() {
        let encoding =
            |lines: &[&str]| transfer_encoding(&lines.iter().map(|line| (TRANSFER_ENCODING, line.parse().unwrap())).collect());
        assert_eq!(encoding(&[]), Encoding::None);
        assert_eq!(encoding(&["Chunked"]), Encoding::Chunked);
        for other in [&["gzip, chunked"][..], &["chunked", "chunked"], &["chunked, chunked"], &["identity"], &[""], &["xchunked"]]
        {
            assert_eq!(encoding(other), Encoding::Other, "{other:?}");
        }
    }
}
