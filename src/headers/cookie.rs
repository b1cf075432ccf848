//! Pure: one cookie out of a request, and cookie paths of a backend behind a rewrite. No jar, no expiry.

use http::header::{COOKIE, SET_COOKIE};
use http::{HeaderMap, HeaderValue};

use super::location::under;

/// The value of the first cookie of this name (RFC 6265 4.2.1: names differ by case), without quotes
/// around it.
pub fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers
        .get_all(COOKIE)
        .iter()
        .flat_map(|line| line.as_bytes().split(|&byte| byte == b';'))
        // One by one: a neighbour that is no UTF-8 is not ours to judge.
        .filter_map(|pair| std::str::from_utf8(pair).ok()?.split_once('='))
        .find(|(found, _)| found.trim() == name)
        .map(|(_, value)| value.trim())
        .map(|value| value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(value))
}

/// Puts every `Set-Cookie` path right, see [`replace_cookie_path`].
pub fn rewrite_cookie_paths(headers: &mut HeaderMap, from: &str, to: &str) {
    if let http::header::Entry::Occupied(mut lines) = headers.entry(SET_COOKIE) {
        for line in lines.iter_mut() {
            if let Some(changed) = replace_cookie_path(line, from, to) {
                *line = changed;
            }
        }
    }
}

/// A `Set-Cookie` whose `Path` lies under the backend's prefix `from`, moved to the client's prefix `to`
/// (both without a slash at the end, the root is empty). `None`: nothing is to change.
pub fn replace_cookie_path(value: &HeaderValue, from: &str, to: &str) -> Option<HeaderValue> {
    let text = std::str::from_utf8(value.as_bytes()).ok()?;
    let mut parts = text.split(';');
    let mut result = parts.next()?.to_owned();
    let mut changed = false;
    for part in parts {
        result.push(';');
        match moved_path(part, from, to) {
            Some(moved) => {
                changed = true;
                result.push_str(&moved);
            }
            None => result.push_str(part),
        }
    }
    changed.then(|| HeaderValue::try_from(result).ok()).flatten()
}

fn moved_path(attribute: &str, from: &str, to: &str) -> Option<String> {
    let (name, path) = attribute.split_once('=')?;
    if !name.trim().eq_ignore_ascii_case("path") {
        return None;
    }
    let rest = under(path.trim(), from)?;
    // The whole of the backend is the whole of the prefix, `/app` too, which `Path=/app/` would not cover.
    let rest = if rest == "/" { "" } else { rest };
    let moved = format!("{to}{rest}");
    Some(format!("{name}={}", if moved.is_empty() { "/" } else { &moved }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(lines: &[&[u8]]) -> HeaderMap {
        lines.iter().map(|line| (COOKIE, HeaderValue::from_bytes(line).unwrap())).fold(
            HeaderMap::new(),
            |mut map, (name, line)| {
                map.append(name, line);
                map
            },
        )
    }

    #[test]
    fn a_cookie_is_found_on_any_line_among_any_neighbours() {
        let headers = request(&[b"a=1; x=\xe9;spliceway=s0", b"SpliceWay=no; q=\"v=w\"; a=2"]);
        assert_eq!(cookie(&headers, "spliceway"), Some("s0"));
        assert_eq!(cookie(&headers, "a"), Some("1"));
        assert_eq!(cookie(&headers, "q"), Some("v=w"));
        assert_eq!(cookie(&headers, "x"), None);
        assert_eq!(cookie(&headers, "way"), None);
        assert_eq!(cookie(&HeaderMap::new(), "a"), None);
    }

    fn replaced(value: &str, from: &str, to: &str) -> Option<String> {
        replace_cookie_path(&value.parse().unwrap(), from, to).map(|value| value.to_str().unwrap().to_owned())
    }

    #[test]
    fn a_path_under_the_backends_prefix_is_moved() {
        let line = "id=Path=/v2; HttpOnly; Path=/v2/x; Secure";
        assert_eq!(replaced(line, "/v2", "/app").unwrap(), "id=Path=/v2; HttpOnly; Path=/app/x; Secure");
        assert_eq!(replaced("id=1; path=/", "", "/app").unwrap(), "id=1; path=/app");
        assert_eq!(replaced("id=1; PATH= /x", "", "/app").unwrap(), "id=1; PATH=/app/x");
        assert_eq!(replaced("id=1;Path=/v2", "/v2", "").unwrap(), "id=1;Path=/");
    }

    #[test]
    fn other_paths_stay() {
        for line in [
            "id=1; Path=/v22",
            "id=1; Max-Age=5; Domain=/v2",
            "id=1; Path=/",
            "id=1",
            "id=1; Path",
            "id=1; Path=v2/x",
            "Path=/v2/x",
        ] {
            assert_eq!(replaced(line, "/v2", "/app"), None, "{line}");
        }
    }

    #[test]
    fn every_line_of_an_answer_is_put_right() {
        let mut headers = HeaderMap::new();
        for line in ["a=1; Path=/", "b=2", "c=3; Path=/x"] {
            headers.append(SET_COOKIE, line.parse().unwrap());
        }
        rewrite_cookie_paths(&mut headers, "", "/app");
        let lines: Vec<&HeaderValue> = headers.get_all(SET_COOKIE).iter().collect();
        assert_eq!(lines, ["a=1; Path=/app", "b=2", "c=3; Path=/app/x"]);
    }
}
