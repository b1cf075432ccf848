//! Pure: cookies, as far as a proxy has to do with them.

use http::header::{COOKIE, HeaderMap, HeaderValue};

/// The value of a cookie, the first of its name.
pub fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let lines = headers.get_all(COOKIE).into_iter().filter_map(|line| std::str::from_utf8(line.as_bytes()).ok());
    let mut pairs = lines.flat_map(|line| line.split(';')).filter_map(|pair| pair.split_once('='));
    pairs.find(|(there, _)| there.trim() == name).map(|(_, value)| value.trim())
}

/// Joins the cookie lines that h2 splits (RFC 9113 section 8.2.3), for backends that read one line.
pub fn join_cookies(headers: &mut HeaderMap) {
    if headers.get_all(COOKIE).iter().nth(1).is_none() {
        return;
    }
    let lines: Vec<_> = headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if let Ok(joined) = HeaderValue::from_bytes(&lines.join(&b"; "[..])) {
        headers.insert(COOKIE, joined);
    }
}

/// A `Set-Cookie` whose path begins with `from` gets `to` there instead; `None`: nothing to change.
/// Both without a slash at the end; the root is empty.
pub fn replace_cookie_path(cookie: &HeaderValue, from: &str, to: &str) -> Option<HeaderValue> {
    let text = std::str::from_utf8(cookie.as_bytes()).ok()?;
    let mut changed = false;
    let parts: Vec<_> = text
        .split(';')
        .enumerate()
        .map(|(n, part)| {
            let path = part.split_once('=').filter(|(name, _)| n > 0 && name.trim().eq_ignore_ascii_case("path"));
            match path.and_then(|(name, path)| Some((name, replace_prefix(path.trim(), from, to)?))) {
                Some((name, path)) => {
                    changed = true;
                    format!("{name}={path}")
                }
                None => part.to_owned(),
            }
        })
        .collect();
    if changed { HeaderValue::from_str(&parts.join(";")).ok() } else { None }
}

/// A path under `from`, put under `to`, at segment borders.
pub(super) fn replace_prefix(path: &str, from: &str, to: &str) -> Option<String> {
    let rest = path.strip_prefix(from)?;
    if !(rest.is_empty() || rest.starts_with(['/', '?', '#'])) {
        return None;
    }
    let replaced = format!("{to}{rest}");
    Some(if replaced.starts_with('/') { replaced } else { format!("/{replaced}") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cookie_is_found_over_lines_and_by_its_whole_name() {
        let mut headers = HeaderMap::new();
        headers.append(COOKIE, HeaderValue::from_static("xa=1; a=2"));
        headers.append(COOKIE, HeaderValue::from_static("b=3;a=4"));
        assert_eq!((cookie(&headers, "a"), cookie(&headers, "b"), cookie(&headers, "c")), (Some("2"), Some("3"), None));
        join_cookies(&mut headers);
        assert_eq!(headers.get_all(COOKIE).iter().collect::<Vec<_>>(), ["xa=1; a=2; b=3;a=4"]);
    }

    #[test]
    fn cookie_paths_are_put_right_at_segment_borders() {
        for (cookie, from, to, expected) in [
            ("a=1; Path=/v2/x; Secure", "/v2", "/api", Some("a=1; Path=/api/x; Secure")),
            ("a=1; path=/", "", "/api", Some("a=1; path=/api/")),
            ("a=1;Path=/v2", "/v2", "", Some("a=1;Path=/")),
            ("a=1; Path=/v2x", "/v2", "/api", None),
            ("path=/v2/", "/v2", "/api", None),
        ] {
            let right = replace_cookie_path(&HeaderValue::from_static(cookie), from, to);
            assert_eq!(right.as_ref().map(|value| value.to_str().expect("text")), expected, "{cookie}");
        }
    }
}
