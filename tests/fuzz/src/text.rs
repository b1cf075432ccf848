//! Inputs are text as far as they can be, so that a seed can be read and written by hand.

use std::collections::BTreeMap;

use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, Version};

/// The lines, without their ends.
pub fn lines(input: &[u8]) -> impl Iterator<Item = &[u8]> {
    input.split(|&byte| byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line))
}

/// What stands before the first empty line, and what behind it.
pub fn parts(input: &[u8]) -> (&[u8], &[u8]) {
    let at = |mark: &[u8]| input.windows(mark.len()).position(|window| window == mark).map(|at| (at, at + mark.len()));
    match (at(b"\n\n"), at(b"\r\n\r\n")) {
        (Some(one), Some(two)) if two.0 < one.0 => (&input[..two.0], &input[two.1..]),
        (Some(one), _) | (None, Some(one)) => (&input[..one.0], &input[one.1..]),
        (None, None) => (input, &[]),
    }
}

/// The fields of a head, behind its first line. What hyper would refuse is left out.
pub fn fields(head: &[u8]) -> HeaderMap {
    let mut fields = HeaderMap::new();
    for line in lines(head).skip(1) {
        let Some(colon) = line.iter().position(|&byte| byte == b':') else { continue };
        let value = line[colon + 1..].trim_ascii();
        if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(&line[..colon]), HeaderValue::from_bytes(value)) {
            fields.append(name, value);
        }
    }
    fields
}

/// `GET /path HTTP/1.1`, as far as it is one.
pub fn request_line(head: &[u8]) -> Option<(Method, Uri, Version)> {
    let line = std::str::from_utf8(lines(head).next()?).ok()?;
    let mut words = line.split(' ');
    let (method, uri) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    let version = match words.next()? {
        "HTTP/1.0" => Version::HTTP_10,
        "HTTP/2" => Version::HTTP_2,
        _ => Version::HTTP_11,
    };
    Some((method, uri, version))
}

/// The values of each name, in order; the order of the names is not kept.
pub fn sorted(fields: &HeaderMap) -> BTreeMap<String, Vec<Vec<u8>>> {
    let all = |name: &HeaderName| fields.get_all(name).iter().map(|value| value.as_bytes().to_vec()).collect();
    fields.keys().map(|name| (name.as_str().to_owned(), all(name))).collect()
}

/// All lines of a field.
pub fn all<'a>(fields: &'a HeaderMap, name: &str) -> Vec<&'a [u8]> {
    fields.get_all(name).iter().map(HeaderValue::as_bytes).collect()
}

/// Whether one of the comma's elements is this word, in any case. It knows no quotes.
pub fn names(fields: &HeaderMap, field: &str, word: &str) -> bool {
    let elements = all(fields, field).into_iter().flat_map(|line| line.split(|&byte| byte == b','));
    elements.map(<[u8]>::trim_ascii).any(|element| element.eq_ignore_ascii_case(word.as_bytes()))
}

/// Bytes that come in pieces: a line of sizes from 1 to 999, then the bytes.
pub fn pieces(input: &[u8]) -> (Vec<usize>, &[u8]) {
    let size = |digits: &[u8]| std::str::from_utf8(digits).ok()?.parse().ok().filter(|size| (1..1000).contains(size));
    match input.iter().position(|&byte| byte == b'\n') {
        Some(end) => (input[..end].split(|&byte| byte == b' ').filter_map(size).collect(), &input[end + 1..]),
        None => (Vec::new(), input),
    }
}
