//! Pure: comma lists over repeated lines (RFC 9110 section 5.6.1), as tokens or as elements with quotes.

use http::{HeaderMap, HeaderName};

/// The elements of a list whose elements are tokens: split at every comma, without white space around
/// them; empty ones are skipped.
pub fn tokens<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a [u8]> + use<'a> {
    let lines = headers.get_all(name).into_iter();
    lines.flat_map(|line| line.as_bytes().split(|&b| b == b',')).map(<[u8]>::trim_ascii).filter(|token| !token.is_empty())
}

/// Whether a list has a token, in whatever case.
///
/// ```
/// use http::{HeaderMap, header::CONNECTION};
/// let headers = HeaderMap::from_iter([(CONNECTION, "keep-alive, Upgrade".parse().unwrap())]);
/// assert!(spliceway::headers::has_token(&headers, &CONNECTION, "upgrade"));
/// ```
pub fn has_token(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    tokens(headers, name).any(|there| there.eq_ignore_ascii_case(token.as_bytes()))
}

/// The elements of a list whose elements may hold quoted strings: a comma within quotes splits nothing.
pub fn list_elements<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a [u8]> + use<'a> {
    headers.get_all(name).into_iter().flat_map(|line| Elements { rest: Some(line.as_bytes()) })
}

struct Elements<'a> {
    rest: Option<&'a [u8]>,
}

impl<'a> Iterator for Elements<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        loop {
            let rest = self.rest?;
            let end = end_of_element(rest);
            let (element, tail) = rest.split_at_checked(end)?;
            self.rest = tail.get(1..);
            let element = element.trim_ascii();
            if !element.is_empty() {
                return Some(element);
            }
        }
    }
}

/// Where the first comma outside quotes is, or the end.
fn end_of_element(bytes: &[u8]) -> usize {
    let mut quoted = false;
    let mut escaped = false;
    for (at, &byte) in bytes.iter().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b',' if !quoted => return at,
            _ => {}
        }
    }
    bytes.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;
    use http::header::CONNECTION;
    use proptest::prelude::*;

    fn map(lines: &[&str]) -> HeaderMap {
        lines.iter().map(|line| (CONNECTION, HeaderValue::from_str(line).expect("legal"))).collect()
    }

    #[test]
    fn lists_are_read_over_lines_commas_and_empty_elements() {
        let headers = map(&["a, ,b,", "\tC"]);
        assert_eq!(tokens(&headers, &CONNECTION).collect::<Vec<_>>(), [b"a", b"b", b"C"]);
        assert!(has_token(&headers, &CONNECTION, "c") && !has_token(&headers, &CONNECTION, "d"));
    }

    #[test]
    fn a_comma_in_quotes_splits_nothing() {
        let headers = map(&[r#"x; a="1,\",2", y"#, r#"z="open, "#]);
        let elements: Vec<_> = list_elements(&headers, &CONNECTION).map(String::from_utf8_lossy).collect();
        assert_eq!(elements, [r#"x; a="1,\",2""#, "y", r#"z="open,"#]);
    }

    proptest! {
        #[test]
        fn without_quotes_both_readings_agree(line in "[a-z ,;]{0,40}") {
            let headers = map(&[&line]);
            prop_assert_eq!(tokens(&headers, &CONNECTION).collect::<Vec<_>>(), list_elements(&headers, &CONNECTION).collect::<Vec<_>>());
        }
    }
}
