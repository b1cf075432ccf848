//! Pure: the header of one frame, from bytes (RFC 6455 section 5.2).

/// Opcodes (RFC 6455 section 11.8).
pub mod opcode {
    /// A further fragment of a message.
    pub const CONTINUATION: u8 = 0x0;
    /// A text message, or its first fragment.
    pub const TEXT: u8 = 0x1;
    /// A binary message, or its first fragment.
    pub const BINARY: u8 = 0x2;
    /// The end of the connection.
    pub const CLOSE: u8 = 0x8;
    /// To be answered by a Pong with the same payload.
    pub const PING: u8 = 0x9;
    /// The answer to a Ping, or a sign of life.
    pub const PONG: u8 = 0xA;
}

/// The most bytes a header has: 2, 8 of length, 4 of masking key.
pub const MAX_HEADER: usize = 14;

/// What stands before a payload.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// FIN, the three RSV bits and the opcode, as on the wire.
    pub first: u8,
    /// The masking key, where the frame is masked.
    pub mask: Option<[u8; 4]>,
    /// Bytes of payload; below 2^63.
    pub length: u64,
    /// Bytes of the header itself: 2 to 14.
    pub size: u8,
}

/// What the start of some bytes is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parsed {
    /// A header that goes on.
    Partial,
    /// A whole one.
    Whole(Header),
    /// A 64-bit length with its top bit set, which no frame may have (RFC 6455 section 5.2): where the next
    /// one begins is not known.
    Endless,
}

impl Header {
    /// Reads a header from the start of `bytes`.
    ///
    /// ```
    /// use spliceway::frame::{Header, Parsed};
    /// let Parsed::Whole(header) = Header::parse(&[0x81, 0x05, b'H', b'e', b'l', b'l', b'o']) else { unreachable!() };
    /// assert_eq!((header.length, header.size, header.mask), (5, 2, None));
    /// ```
    #[inline]
    pub fn parse(bytes: &[u8]) -> Parsed {
        let &[first, second, ref rest @ ..] = bytes else { return Parsed::Partial };
        let (length, taken) = match second & 0x7f {
            126 => match rest.first_chunk() {
                Some(&length) => (u64::from(u16::from_be_bytes(length)), 2),
                None => return Parsed::Partial,
            },
            127 => match rest.first_chunk() {
                Some(&length) => (u64::from_be_bytes(length), 8),
                None => return Parsed::Partial,
            },
            short => (u64::from(short), 0),
        };
        if length >> 63 != 0 {
            return Parsed::Endless;
        }
        let masked = second & 0x80 != 0;
        let mask = match rest.get(taken..).and_then(<[u8]>::first_chunk) {
            _ if !masked => None,
            Some(key) => Some(*key),
            None => return Parsed::Partial,
        };
        #[allow(clippy::cast_possible_truncation)] // 2 to 14
        let size = (2 + taken + if masked { 4 } else { 0 }) as u8;
        Parsed::Whole(Self { first, mask, length, size })
    }

    /// Whether it is the last frame of its message.
    pub fn is_final(self) -> bool {
        self.first & 0x80 != 0
    }

    /// The three RSV bits, RSV1 being `0x40`.
    pub fn rsv(self) -> u8 {
        self.first & 0x70
    }

    /// Its opcode.
    pub fn opcode(self) -> u8 {
        self.first & 0x0f
    }

    /// Close, Ping, Pong and the reserved ones of their kind.
    pub fn is_control(self) -> bool {
        self.first & 0x08 != 0
    }

    /// Whether the length is written in as few bytes as it can be (RFC 6455 section 5.2).
    pub fn is_minimal(self) -> bool {
        let written = self.size - if self.mask.is_some() { 6 } else { 2 };
        match written {
            0 => true,
            2 => self.length > 125,
            _ => self.length > 0xffff,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_read_once_it_is_whole_and_not_before() {
        for (bytes, length, masked, minimal) in [
            (&[0x81, 0x00][..], 0, false, true),
            (&[0x82, 0xfd, 1, 2, 3, 4], 125, true, true),
            (&[0x82, 0x7e, 0x00, 0x7e], 126, false, true),
            (&[0x82, 0x7e, 0x00, 0x7d], 125, false, false),
            (&[0x02, 0xfe, 0xff, 0xff, 1, 2, 3, 4], 0xffff, true, true),
            (&[0x00, 0x7f, 0, 0, 0, 0, 0, 1, 0, 0], 0x10000, false, true),
            (&[0x00, 0xff, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 1, 2, 3, 4], 0xffff, true, false),
            (&[0x00, 0x7f, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], (1 << 63) - 1, false, true),
        ] {
            for cut in 0..bytes.len() {
                assert_eq!(Header::parse(&bytes[..cut]), Parsed::Partial, "{bytes:x?} cut at {cut}");
            }
            let Parsed::Whole(header) = Header::parse(&[bytes, b"rest"].concat()) else { panic!("{bytes:x?}") };
            assert_eq!((header.length, usize::from(header.size)), (length, bytes.len()));
            assert_eq!(header.mask, masked.then_some([1, 2, 3, 4]));
            assert_eq!((header.is_minimal(), header.is_final()), (minimal, bytes[0] & 0x80 != 0), "{bytes:x?}");
        }
    }

    #[test]
    fn a_length_with_the_top_bit_has_no_end() {
        assert_eq!(Header::parse(&[0x82, 0x7f, 0x80, 0, 0, 0, 0, 0, 0, 0]), Parsed::Endless);
        assert_eq!(Header::parse(&[0x82, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]), Parsed::Endless);
    }
}
