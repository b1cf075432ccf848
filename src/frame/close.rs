//! Pure: what a Close frame says (RFC 6455 sections 5.5.1 and 7.4).

/// The content of a Close frame.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Close {
    /// The code; `None` where the frame is empty, or one byte long and so malformed.
    pub code: Option<u16>,
    /// The reason as it came: UTF-8, if the sender keeps the law.
    pub reason: Box<[u8]>,
}

impl Close {
    /// Reads an unmasked payload.
    ///
    /// ```
    /// let close = spliceway::frame::Close::parse(b"\x03\xe8bye");
    /// assert_eq!((close.code, &*close.reason), (Some(1000), &b"bye"[..]));
    /// ```
    pub fn parse(payload: &[u8]) -> Self {
        match payload {
            [high, low, reason @ ..] => Self { code: Some(u16::from_be_bytes([*high, *low])), reason: reason.into() },
            _ => Self::default(),
        }
    }
}

/// Whether a code may stand in a Close frame: those of RFC 6455 section 7.4.1 and the ones that IANA has
/// registered since (1012 to 1014), and the ranges for libraries and applications. Never 1005, 1006 and 1015,
/// which are words for having got no frame, and 1004, which has no meaning.
pub fn is_sendable(code: u16) -> bool {
    matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_that_no_frame_may_have_are_told_from_the_others() {
        let bad = [0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535];
        assert!(bad.into_iter().all(|code| !is_sendable(code)));
        let good = [1000, 1001, 1002, 1003, 1007, 1008, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4001, 4999];
        assert!(good.into_iter().all(is_sendable));
    }

    #[test]
    fn an_empty_close_has_no_code() {
        assert_eq!(Close::parse(b""), Close::default());
        assert_eq!(Close::parse(b"\x03"), Close::default());
        assert_eq!(Close::parse(b"\x0f\xa1"), Close { code: Some(4001), reason: Box::default() });
    }
}
