//! Pure: comma lists, also over repeated lines (RFC 9110 5.6.1). Not what any one list means.

use http::{HeaderMap, HeaderName};

use crate::base::eight::is_like;

/// The elements of a list of tokens, over all lines of the field in order; white space around them
/// is cut, empty elements are skipped. It knows no quotes: see [`list_elements`].
pub fn tokens<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a [u8]> + use<'a> {
    headers.get_all(name).into_iter().flat_map(|line| of_line(line.as_bytes()))
}

fn of_line(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    line.split(|&byte| byte == b',').map(trim).filter(|token| !token.is_empty())
}

/// Whether one of these fields is there. For fields that seldom are: one look at each name, where a search of the map
/// for each field costs some ten of those.
pub(super) fn has_any(headers: &HeaderMap, names: &[HeaderName]) -> bool {
    headers.keys().any(|name| names.contains(name))
}

/// Whether a list of tokens holds this one, in any case.
pub fn has_token(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    let token = token.as_bytes();
    let holds =
        |line: &[u8]| is_like(line, token) || line.len() > token.len() && of_line(line).any(|found| is_like(found, token));
    headers.get_all(name).into_iter().any(|line| holds(line.as_bytes())) // most lines hold one token, and no space
}

/// The elements of a list whose elements may hold quoted strings, over all lines of the field: a comma
/// inside quotes does not part. A quoted string that is never closed ends with its line.
pub fn list_elements<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a [u8]> + use<'a> {
    headers.get_all(name).into_iter().flat_map(|line| Elements { rest: Some(line.as_bytes()) })
}

/// Cuts OWS (RFC 9110 5.6.3: spaces and tabs, nothing else) at both ends.
pub(super) fn trim(mut text: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = text {
        text = rest;
    }
    text
}

/// Whether every quoted string in a line is closed.
pub(super) fn quotes_are_closed(line: &[u8]) -> bool {
    let mut quotes = Quotes::default();
    for &byte in line {
        quotes.pass(byte);
    }
    !quotes.inside
}

struct Elements<'a> {
    rest: Option<&'a [u8]>,
}

impl<'a> Iterator for Elements<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        while let Some(rest) = self.rest {
            let mut quotes = Quotes::default();
            let comma = rest.iter().position(|&byte| {
                quotes.pass(byte);
                byte == b',' && !quotes.inside
            });
            let (element, rest) = match comma.and_then(|at| rest.split_at_checked(at)) {
                Some((element, tail)) => (element, tail.get(1..)),
                None => (rest, None),
            };
            self.rest = rest;
            let element = trim(element);
            if !element.is_empty() {
                return Some(element);
            }
        }
        None
    }
}

/// Where a reader of quoted strings (RFC 9110 5.6.4) is.
#[derive(Default)]
struct Quotes {
    inside: bool,
    escaped: bool,
}

impl Quotes {
    fn pass(&mut self, byte: u8) {
        if self.escaped {
            self.escaped = false;
        } else if byte == b'"' {
            self.inside = !self.inside;
        } else if self.inside && byte == b'\\' {
            self.escaped = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use http::header::{CONNECTION, SEC_WEBSOCKET_EXTENSIONS};
    use proptest::prelude::*;

    use super::*;

    fn lines(name: &HeaderName, values: &[&[u8]]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(name, HeaderValue::from_bytes(value).unwrap());
        }
        headers
    }

    #[test]
    fn repeated_lines_are_one_list() {
        let headers = lines(&CONNECTION, &[b"keep-alive,  Upgrade", b"\tTE ,, ", b""]);
        let found: Vec<&[u8]> = tokens(&headers, &CONNECTION).collect();
        assert_eq!(found, [b"keep-alive".as_slice(), b"Upgrade", b"TE"]);
    }

    #[test]
    fn a_token_is_found_in_any_case_and_only_whole() {
        let headers = lines(&CONNECTION, &[b"keep-alive, UPGRADE"]);
        assert!(has_token(&headers, &CONNECTION, "upgrade"));
        assert!(!has_token(&headers, &CONNECTION, "grade"));
        assert!(!has_token(&headers, &CONNECTION, "keep"));
    }

    #[test]
    fn a_comma_in_quotes_does_not_part() {
        let headers = lines(&SEC_WEBSOCKET_EXTENSIONS, &[br#"a; x="1,2\",3" , b"#, br#","open, c"#, b"d"]);
        let found: Vec<&[u8]> = list_elements(&headers, &SEC_WEBSOCKET_EXTENSIONS).collect();
        assert_eq!(found, [br#"a; x="1,2\",3""#.as_slice(), b"b", br#""open, c"#, b"d"]);
    }

    proptest! {
        #[test]
        fn any_lines_give_trimmed_elements_that_are_never_empty(values in proptest::collection::vec("[ \t,a\"\\\\-]{0,12}", 0..4)) {
            let values: Vec<&[u8]> = values.iter().map(String::as_bytes).collect();
            let headers = lines(&CONNECTION, &values);
            for token in tokens(&headers, &CONNECTION) {
                prop_assert!(!token.is_empty() && trim(token) == token && !token.contains(&b','));
            }
            for element in list_elements(&headers, &CONNECTION) {
                prop_assert!(!element.is_empty() && trim(element) == element);
            }
        }

        #[test]
        fn without_quotes_both_readings_agree(values in proptest::collection::vec("[ \t,a-c=;]{0,12}", 0..4)) {
            let values: Vec<&[u8]> = values.iter().map(String::as_bytes).collect();
            let headers = lines(&CONNECTION, &values);
            prop_assert!(tokens(&headers, &CONNECTION).eq(list_elements(&headers, &CONNECTION)));
        }
    }
}
