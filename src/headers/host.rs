//! Pure: a host and its port, as `Host` fields and authorities have them (RFC 9110 7.2).

use std::net::Ipv6Addr;

/// Whether this is `uri-host [ ":" port ]` with a host that is not empty.
///
/// Of RFC 3986's characters the comma is refused: `X-Forwarded-Host`, where this goes, is read as a list.
pub fn is_host(text: &str) -> bool {
    let name = host_name(text);
    let port_is_good = match text.get(name.len()..).unwrap_or_default().strip_prefix(':') {
        None => name.len() == text.len(),
        // `port = *DIGIT`: it may be empty.
        Some(port) => port.bytes().all(|byte| byte.is_ascii_digit()) && (port.is_empty() || port.parse::<u16>().is_ok()),
    };
    let literal = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    port_is_good && literal.map_or_else(|| is_name(name), |address| address.parse::<Ipv6Addr>().is_ok())
}

/// The host without its port; an IPv6 literal keeps its brackets.
pub fn host_name(text: &str) -> &str {
    // By bytes: each request comes by here, and the search for a `char` costs more than a host is long.
    let find = |from: usize, sign| text.bytes().skip(from).position(|byte| byte == sign).map(|at| from + at);
    let from = if text.starts_with('[') { find(0, b']').unwrap_or_default() } else { 0 };
    let end = find(from, b':').unwrap_or(text.len());
    text.get(..end).unwrap_or(text)
}

/// `reg-name` of RFC 3986 3.2.2, without empty labels but for the root's at the end.
fn is_name(name: &str) -> bool {
    let mut bytes = name.strip_suffix('.').unwrap_or(name).bytes();
    let mut label_is_empty = true;
    while let Some(byte) = bytes.next() {
        let good = match byte {
            b'.' => !label_is_empty,
            b'%' => [bytes.next(), bytes.next()].iter().all(|digit| digit.is_some_and(|digit| digit.is_ascii_hexdigit())),
            other => {
                other.is_ascii_alphanumeric()
                    || matches!(other, b'-' | b'_' | b'~' | b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b';' | b'=')
            }
        };
        if !good {
            return false;
        }
        label_is_empty = byte == b'.';
    }
    !label_is_empty
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn hosts_of_every_kind_are_taken() {
        for good in [
            "a",
            "example.com",
            "Example.COM.",
            "a:80",
            "a:",
            "127.0.0.1:8080",
            "[::1]",
            "[2001:DB8::1]:443",
            "a_b",
            "a%20b",
            "xn--bcher-kva",
        ] {
            assert!(is_host(good), "{good}");
        }
    }

    #[test]
    fn what_is_no_host_is_refused() {
        for bad in [
            "",
            ":80",
            ".",
            "a..b",
            ".a",
            "a b",
            "a/b",
            "a?b",
            "a#b",
            "u@a",
            "a,b",
            "a:x",
            "a:65536",
            "a:80:80",
            "[::1",
            "::1",
            "[::1]x",
            "[::1]:x",
            "[127.0.0.1]",
            "[]",
            "a]",
            "a%2",
            "a%zz",
            "b\u{fc}cher",
            "a\\b",
            "a\"",
            "<a>",
        ] {
            assert!(!is_host(bad), "{bad}");
        }
    }

    #[test]
    fn the_port_is_cut_and_brackets_stay() {
        for (text, name) in [("a:80", "a"), ("a", "a"), ("[::1]:80", "[::1]"), ("[::1]", "[::1]"), ("[::1", "["), ("", "")] {
            assert_eq!(host_name(text), name);
        }
    }

    proptest! {
        #[test]
        fn no_text_breaks_the_reader(text in "[a:.%\\[\\]0-9\u{fc}]{0,12}") {
            prop_assert!(text.starts_with(host_name(&text)));
            if is_host(&text) {
                prop_assert!(text.parse::<http::uri::Authority>().is_ok() || text.contains('%'), "{}", text);
            }
        }
    }
}
