//! Pure: what RFC 6455 forbids in a frame, for routes that have us judge. Payloads are not looked at but for a
//! Close's; whether a text message is UTF-8 is for its reader to say.

use std::fmt;

use super::{Close, Header, is_sendable, opcode};

/// Who sends the frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The client, whose frames are masked.
    Client,
    /// The server, whose frames are not.
    Server,
}

/// What was agreed on beside the plain protocol (RFC 6455 section 9).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Extensions {
    /// Nothing: no RSV bit has a meaning.
    #[default]
    None,
    /// `permessage-deflate` alone: RSV1 on the first frame of a message (RFC 7692 section 6).
    Deflate,
    /// Something that is not known here: RSV bits and reserved opcodes may mean anything.
    Unknown,
}

/// What is wrong with a frame. The fault of the side that sent it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Violation {
    /// A client's frame is not masked (RFC 6455 section 5.1).
    Unmasked,
    /// A server's frame is masked (RFC 6455 section 5.1).
    Masked,
    /// An opcode without a meaning (RFC 6455 section 5.2).
    Opcode,
    /// An RSV bit that no extension has given a meaning, or in a frame that may not have it.
    Rsv,
    /// A continuation without a beginning.
    LoneContinuation,
    /// A message that begins within another.
    Interleaved,
    /// A length in more bytes than it needs, or one that no frame can have.
    Length,
    /// A control frame in fragments (RFC 6455 section 5.5).
    FragmentedControl,
    /// A control frame with more than 125 bytes.
    LongControl,
    /// A Close with a code that no frame may have, or of one byte.
    CloseCode,
    /// A Close whose reason is no UTF-8.
    CloseReason,
    /// A message longer than the route allows.
    TooLong,
    /// More, or more often, than the route allows.
    TooFast,
}

impl Violation {
    /// The code that tells of it (RFC 6455 section 7.4.1).
    pub fn code(self) -> u16 {
        match self {
            Self::CloseReason => 1007,
            Self::TooFast => 1008,
            Self::TooLong => 1009,
            _ => 1002,
        }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unmasked => "a frame of the client is not masked",
            Self::Masked => "a frame of the server is masked",
            Self::Opcode => "a reserved opcode",
            Self::Rsv => "an RSV bit without a meaning",
            Self::LoneContinuation => "a continuation without a beginning",
            Self::Interleaved => "a message within a message",
            Self::Length => "a length that is not minimal",
            Self::FragmentedControl => "a control frame in fragments",
            Self::LongControl => "a control frame of more than 125 bytes",
            Self::CloseCode => "a close code that may not be sent",
            Self::CloseReason => "a close reason that is not UTF-8",
            Self::TooLong => "the message is too long",
            Self::TooFast => "too much at once",
        })
    }
}

/// The judge of one direction.
#[derive(Clone, Copy, Debug)]
pub struct Judge {
    /// Who sends.
    pub from: Side,
    /// What was agreed on.
    pub extensions: Extensions,
}

impl Judge {
    /// Judges a header. `within`: a message has begun and not ended.
    pub fn header(self, header: Header, within: bool) -> Result<(), Violation> {
        match (self.from, header.mask) {
            (Side::Client, None) => return Err(Violation::Unmasked),
            (Side::Server, Some(_)) => return Err(Violation::Masked),
            _ => {}
        }
        self.rsv(header)?;
        let known = matches!(header.opcode(), opcode::CONTINUATION..=opcode::BINARY | opcode::CLOSE..=opcode::PONG);
        if !known && self.extensions != Extensions::Unknown {
            return Err(Violation::Opcode);
        }
        if header.is_control() {
            if !header.is_final() {
                return Err(Violation::FragmentedControl);
            }
            if header.length > super::MAX_CONTROL_PAYLOAD as u64 {
                return Err(Violation::LongControl);
            }
        } else if known {
            match (header.opcode() == opcode::CONTINUATION, within) {
                (true, false) => return Err(Violation::LoneContinuation),
                (false, true) => return Err(Violation::Interleaved),
                _ => {}
            }
        }
        if header.is_minimal() { Ok(()) } else { Err(Violation::Length) }
    }

    fn rsv(self, header: Header) -> Result<(), Violation> {
        let legal = match self.extensions {
            Extensions::None => header.rsv() == 0,
            Extensions::Deflate => {
                let begins = !header.is_control() && header.opcode() != opcode::CONTINUATION;
                header.rsv() == 0 || (header.rsv() == 0x40 && begins)
            }
            Extensions::Unknown => true,
        };
        if legal { Ok(()) } else { Err(Violation::Rsv) }
    }

    /// Judges the payload of a Close, unmasked.
    pub fn close(payload: &[u8]) -> Result<(), Violation> {
        let close = Close::parse(payload);
        match close.code {
            None if payload.is_empty() => Ok(()),
            Some(code) if is_sendable(code) => std::str::from_utf8(&close.reason).map(drop).map_err(|_| Violation::CloseReason),
            _ => Err(Violation::CloseCode),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::Parsed;

    fn judge(bytes: &[u8], from: Side, extensions: Extensions, within: bool) -> Result<(), Violation> {
        let Parsed::Whole(header) = Header::parse(bytes) else { panic!("a header") };
        Judge { from, extensions }.header(header, within)
    }

    #[test]
    fn each_rule_has_its_violation() {
        use Extensions::{Deflate, None, Unknown};
        use Side::{Client, Server};
        use Violation as V;
        for (bytes, from, extensions, within, verdict) in [
            (&[0x81, 0x80, 0, 0, 0, 0][..], Client, None, false, Ok(())),
            (&[0x81, 0x00], Server, None, false, Ok(())),
            (&[0x81, 0x00], Client, None, false, Err(V::Unmasked)),
            (&[0x81, 0x80, 0, 0, 0, 0], Server, None, false, Err(V::Masked)),
            (&[0x83, 0x00], Server, None, false, Err(V::Opcode)),
            (&[0x8b, 0x00], Server, Deflate, false, Err(V::Opcode)),
            (&[0x8b, 0x00], Server, Unknown, false, Ok(())),
            (&[0xc1, 0x00], Server, None, false, Err(V::Rsv)),
            (&[0xc1, 0x00], Server, Deflate, false, Ok(())),
            (&[0xe1, 0x00], Server, Deflate, false, Err(V::Rsv)),
            (&[0xc0, 0x00], Server, Deflate, true, Err(V::Rsv)),
            (&[0xc9, 0x00], Server, Deflate, false, Err(V::Rsv)),
            (&[0xf1, 0x00], Server, Unknown, false, Ok(())),
            (&[0x80, 0x00], Server, None, false, Err(V::LoneContinuation)),
            (&[0x80, 0x00], Server, None, true, Ok(())),
            (&[0x01, 0x00], Server, None, true, Err(V::Interleaved)),
            (&[0x89, 0x00], Server, None, true, Ok(())),
            (&[0x09, 0x00], Server, None, false, Err(V::FragmentedControl)),
            (&[0x88, 0x7e, 0x00, 0x7e], Server, None, false, Err(V::LongControl)),
            (&[0x82, 0x7e, 0x00, 0x7d], Server, None, false, Err(V::Length)),
        ] {
            assert_eq!(judge(bytes, from, extensions, within), verdict, "{bytes:x?} {from:?} {extensions:?} {within}");
        }
    }

    #[test]
    fn a_close_needs_a_code_that_may_be_sent_and_a_reason_in_utf_8() {
        for (payload, verdict) in [
            (&b""[..], Ok(())),
            (b"\x03\xe8", Ok(())),
            (b"\x03\xe8caf\xc3\xa9", Ok(())),
            (b"\x03", Err(Violation::CloseCode)),
            (b"\x03\xed", Err(Violation::CloseCode)),
            (b"\x03\xe8\xff", Err(Violation::CloseReason)),
        ] {
            assert_eq!(Judge::close(payload), verdict, "{payload:x?}");
        }
    }

    #[test]
    fn the_codes_are_the_rfcs() {
        let codes = [Violation::Rsv, Violation::CloseReason, Violation::TooFast, Violation::TooLong].map(Violation::code);
        assert_eq!(codes, [1002, 1007, 1008, 1009]);
        assert_eq!(Violation::Length.to_string(), "a length that is not minimal");
    }

    #[test]
    fn every_violation_has_words_of_its_own_and_a_code_that_may_be_sent() {
        use Violation as V;
        let others = [
            V::Unmasked,
            V::Masked,
            V::Opcode,
            V::Rsv,
            V::LoneContinuation,
            V::Interleaved,
            V::Length,
            V::FragmentedControl,
            V::LongControl,
            V::CloseCode,
        ];
        assert!(others.iter().all(|violation| violation.code() == 1002));
        assert_eq!([V::CloseReason, V::TooFast, V::TooLong].map(V::code), [1007, 1008, 1009]);
        let all = others.into_iter().chain([V::CloseReason, V::TooFast, V::TooLong]);
        let words: std::collections::BTreeSet<String> = all.map(|violation| violation.to_string()).collect();
        assert_eq!(words.len(), 13, "{words:?}");
    }
}
