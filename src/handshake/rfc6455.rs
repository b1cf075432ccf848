//! Pure: the key and the accept of RFC 6455 (section 4.2.2), over HTTP/1.1.

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use sha1::{Digest, Sha1};

/// The GUID of RFC 6455 section 1.3.
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// Standard base64; the four unused bits at the end of 16 bytes may be anything: some clients write a
/// random last letter, and the RFC does not forbid it.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::RequireCanonical),
);

/// The `Sec-WebSocket-Accept` that proves that `key` was read.
///
/// ```
/// use spliceway::handshake::accept_for;
/// assert_eq!(accept_for(b"dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
/// ```
pub fn accept_for(key: &[u8]) -> String {
    let mut hash = Sha1::new();
    hash.update(key);
    hash.update(GUID);
    BASE64.encode(hash.finalize())
}

/// A `Sec-WebSocket-Key` of our own from 16 random bytes.
pub fn fresh_key(random: [u8; 16]) -> String {
    BASE64.encode(random)
}

/// Whether `key` is 24 characters that stand for 16 bytes (RFC 6455 section 4.1, item 7).
pub(super) fn is_key(key: &[u8]) -> bool {
    let mut bytes = [0; 18]; // 24 characters decode to at most 18
    key.len() == 24 && BASE64.decode_slice(key, &mut bytes) == Ok(16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_known_pairs_agree() {
        for (key, accept) in [
            ("sN9cRrP/n9NdMgdcy2VJFQ==", "fFBooB7FAkLlXgRSz0BT3v4hq5s="),
            ("dGhlIHNhbXBsZSBub25jZQ==", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="),
            ("x3JJHMbDL1EzLkh9GBhXDw==", "HSmrc0sMlYUkAGmm5OPpG2HaGWk="),
        ] {
            assert!(is_key(key.as_bytes()));
            assert_eq!(accept_for(key.as_bytes()), accept);
        }
    }

    #[test]
    fn a_key_is_16_bytes_whatever_its_unused_bits_are() {
        assert!(is_key(fresh_key([7; 16]).as_bytes()));
        assert!(is_key(b"dGhlIHNhbXBsZSBub25jZR=="), "trailing bits are ignored");
        for bad in [
            "",
            "dGhlIHNhbXBsZSBub25jZQ",
            "dGhlIHNhbXBsZSBub25jZQ=",
            "dGhlIHNhbXBsZSBub25jZQ==A",
            "AAAAAAAAAAAAAAAAAAAAAAAA",
            "dGhlIHNhbXBsZSBub25jZ===",
            "dGhl HNhbXBsZSBub25jZQ==",
            "dGhlIHNhbXBsZSBub25j_Q==",
        ] {
            assert!(!is_key(bad.as_bytes()), "{bad}");
        }
    }
}
