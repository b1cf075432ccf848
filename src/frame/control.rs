//! Pure: the control frames that we send ourselves: Ping and Close (RFC 6455 section 5.5).

use super::opcode;

/// The most that a control frame carries (RFC 6455 section 5.5).
pub const MAX_CONTROL_PAYLOAD: usize = 125;

/// A Ping. `mask`: toward a server, a key that nobody could foresee (RFC 6455 section 5.3).
///
/// ```
/// assert_eq!(spliceway::frame::ping(*b"spliceway"[..8].first_chunk().unwrap(), None)[..2], [0x89, 8]);
/// ```
pub fn ping(payload: [u8; 8], mask: Option<[u8; 4]>) -> Vec<u8> {
    control(opcode::PING, &[&payload], mask)
}

/// A Close. The reason is cut to what fits, between two characters.
pub fn close(code: u16, reason: &str, mask: Option<[u8; 4]>) -> Vec<u8> {
    let most = reason.len().min(MAX_CONTROL_PAYLOAD - 2);
    let fits = (0..=most).rev().find_map(|end| reason.get(..end)).unwrap_or_default();
    control(opcode::CLOSE, &[&code.to_be_bytes(), fits.as_bytes()], mask)
}

fn control(opcode: u8, payload: &[&[u8]], mask: Option<[u8; 4]>) -> Vec<u8> {
    let length = payload.iter().map(|part| part.len()).sum::<usize>().min(MAX_CONTROL_PAYLOAD);
    let mut frame = Vec::with_capacity(6 + length);
    #[allow(clippy::cast_possible_truncation)] // at most 125
    let second = length as u8 | if mask.is_some() { 0x80 } else { 0 };
    frame.extend([0x80 | opcode, second]);
    frame.extend(mask.into_iter().flatten());
    let key = mask.unwrap_or_default();
    let bytes = payload.iter().copied().flatten().take(length);
    frame.extend(bytes.zip(key.iter().cycle()).map(|(byte, key)| byte ^ key));
    frame
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_stand_as_the_rfc_writes_them() {
        assert_eq!(close(1001, "", None), [0x88, 2, 0x03, 0xe9]);
        let masked = close(1000, "bye", Some([1, 2, 3, 4]));
        assert_eq!(masked, [0x88, 0x85, 1, 2, 3, 4, 0x03 ^ 1, 0xe8 ^ 2, b'b' ^ 3, b'y' ^ 4, b'e' ^ 1]);
        assert_eq!(ping(*b"12345678", Some([0; 4])), *b"\x89\x88\0\0\0\x0012345678");
    }

    #[test]
    fn a_reason_is_cut_between_characters() {
        let frame = close(1008, &"é".repeat(100), None);
        assert_eq!(frame.len(), 2 + 2 + 122);
        assert!(std::str::from_utf8(&frame[4..]).is_ok());
    }
}
