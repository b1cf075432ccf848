//! Pure: a head written as its author spelled it: order, names, repetitions.
//!
//! A `HeaderMap` forgets spelling and, once a field was removed, order. The names that were on the
//! wire are walked instead, and each takes its values from the map: what the law or the operator
//! removed is gone, what they changed is changed, what they added stands at the end.

use bytes::{BufMut, Bytes, BytesMut};
use http::{HeaderMap, HeaderName};

use crate::base::eight::is_like;

/// Writes a head. `names` are the field names of the wire in order; `fixed` are the hop's own fields,
/// each written once, at the place of the first line of its name, or first of all.
///
/// Handshake fields are written as the RFC does, all others as in `names`, added ones in
/// title case.
pub fn write_head<'a>(
    first_line: &[&[u8]],
    names: impl Iterator<Item = &'a [u8]>,
    headers: &HeaderMap,
    fixed: &[(&HeaderName, &[u8])],
) -> Bytes {
    let mut out = BytesMut::with_capacity(512);
    for part in first_line {
        out.put_slice(part);
    }
    out.put_slice(b"\r\n");
    let names: Vec<&[u8]> = names.collect();
    let mut fixed: Vec<(&str, &[u8], bool)> = fixed.iter().map(|(name, value)| (name.as_str(), *value, false)).collect();
    for (name, value, written) in &mut fixed {
        if !names.iter().any(|line| is_like(line, name.as_bytes())) {
            put(&mut out, name, None, value);
            *written = true;
        }
    }
    // Not looked up in the map: what is to be written next most often stands in front.
    let mut fields: Vec<(&str, &[u8], bool)> =
        headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes(), false)).collect();
    fields.retain(|(name, ..)| !fixed.iter().any(|(fixed, ..)| fixed == name));
    let mut first = 0;
    for spelled in names {
        let field = match fixed.iter_mut().find(|(name, ..)| is_like(spelled, name.as_bytes())) {
            Some((_, _, true)) => continue,
            Some(field) => Some(field),
            None => fields.iter_mut().skip(first).find(|(name, _, written)| !written && is_like(spelled, name.as_bytes())),
        };
        if let Some((name, value, written)) = field {
            put(&mut out, name, Some(spelled), value);
            *written = true;
        }
        first += fields.iter().skip(first).take_while(|(_, _, written)| *written).count();
    }
    for (name, value, _) in fields.iter().skip(first).filter(|(_, _, written)| !written) {
        put(&mut out, name, None, value);
    }
    out.put_slice(b"\r\n");
    out.freeze()
}

/// `name` is in small letters.
fn put(out: &mut BytesMut, name: &str, spelled: Option<&[u8]>, value: &[u8]) {
    match (canonical(name), spelled) {
        (Some(name), _) => out.put_slice(name.as_bytes()),
        (None, Some(spelled)) => out.put_slice(spelled),
        (None, None) => {
            let mut start = true;
            for byte in name.bytes() {
                out.put_u8(if start { byte.to_ascii_uppercase() } else { byte });
                start = byte == b'-';
            }
        }
    }
    out.put_slice(b": ");
    out.put_slice(value);
    out.put_slice(b"\r\n");
}

/// The RFC's spelling of a handshake field; embedded clients compare bytes (websockets/ws#1512).
fn canonical(name: &str) -> Option<&'static str> {
    Some(match name {
        "upgrade" => "Upgrade",
        "connection" => "Connection",
        "sec-websocket-key" => "Sec-WebSocket-Key",
        "sec-websocket-accept" => "Sec-WebSocket-Accept",
        "sec-websocket-version" => "Sec-WebSocket-Version",
        "sec-websocket-protocol" => "Sec-WebSocket-Protocol",
        "sec-websocket-extensions" => "Sec-WebSocket-Extensions",
        _ => return None,
    })
}

/// The field names of a raw head, line by line, behind its first line.
pub(super) fn names_of(head: &[u8]) -> impl Iterator<Item = &[u8]> + Clone {
    let lines = head.split(|&b| b == b'\n').skip(1);
    lines.filter_map(|line| memchr::memchr(b':', line).and_then(|colon| line.get(..colon)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;
    use http::header::{CONNECTION, UPGRADE};

    #[test]
    fn spelling_order_and_repetitions_are_kept_and_handshake_fields_are_canonical() {
        let raw = b"GET / HTTP/1.1\r\nhOsT: x\r\nX-b: 1\r\nconnection: Upgrade\r\nX-Gone: 1\r\nx-B: 2\r\nsec-websocket-KEY: k\r\nupgrade: a\r\nUpgrade: b\r\nX-b: 3\r\n\r\n";
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("host", "x"),
            ("x-b", "1"),
            ("x-b", "2"),
            ("x-b", "3"),
            ("x-b", "4"),
            ("sec-websocket-key", "k"),
            ("x-forwarded-for", "::1"),
        ] {
            headers.append(name, HeaderValue::from_static(value));
        }
        let fixed: [(&HeaderName, &[u8]); 2] = [(&UPGRADE, b"websocket"), (&CONNECTION, b"Upgrade")];
        let head = write_head(&[b"GET /", b" HTTP/1.1"], names_of(raw), &headers, &fixed);
        let expected = "GET / HTTP/1.1\r\nhOsT: x\r\nX-b: 1\r\nConnection: Upgrade\r\nx-B: 2\r\nSec-WebSocket-Key: k\r\nUpgrade: websocket\r\nX-b: 3\r\nX-B: 4\r\nX-Forwarded-For: ::1\r\n\r\n";
        assert_eq!(String::from_utf8_lossy(&head), expected);
    }

    #[test]
    fn the_hops_own_fields_come_first_where_the_wire_had_none_of_their_name() {
        let mut headers = HeaderMap::new();
        headers.append("x-a", HeaderValue::from_static("1"));
        let fixed: [(&HeaderName, &[u8]); 2] = [(&UPGRADE, b"websocket"), (&CONNECTION, b"Upgrade")];
        let head = write_head(&[b"GET / HTTP/1.1"], names_of(b"GET / HTTP/1.1\r\nX-a: 1\r\n\r\n"), &headers, &fixed);
        let expected = "GET / HTTP/1.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nX-a: 1\r\n\r\n";
        assert_eq!(String::from_utf8_lossy(&head), expected);
    }
}
