//! Pure: the form of an answer: what would be read differently by two readers goes no further.

use std::fmt;

use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderMap, StatusCode, Version};

/// Why an answer is not passed on. The backend's fault; the client gets 502.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadResponse {
    /// Both ways of framing at once (RFC 9112 section 6.3).
    BothLengths,
    /// `Transfer-Encoding` other than exactly `chunked`.
    TransferEncoding,
    /// `Content-Length` is no single number.
    ContentLength,
    /// 101 to a request that asked for no upgrade.
    UnaskedUpgrade,
}

impl fmt::Display for BadResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::BothLengths => "its answer has a Content-Length and a Transfer-Encoding",
            Self::TransferEncoding => "the Transfer-Encoding of its answer is not exactly `chunked`",
            Self::ContentLength => "the Content-Length of its answer is not one number",
            Self::UnaskedUpgrade => "it answered 101 to a request that asked for no upgrade",
        })
    }
}

/// Judges the form of an answer. A length with 204 or 304 is legal.
pub fn check_response(version: Version, status: StatusCode, headers: &HeaderMap) -> Result<(), BadResponse> {
    if status == StatusCode::SWITCHING_PROTOCOLS {
        return Err(BadResponse::UnaskedUpgrade);
    }
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    if let Some(coding) = codings.next() {
        if headers.contains_key(CONTENT_LENGTH) {
            return Err(BadResponse::BothLengths);
        }
        let chunked = coding.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked");
        if !chunked || codings.next().is_some() || version == Version::HTTP_10 {
            return Err(BadResponse::TransferEncoding);
        }
    }
    let mut lengths = headers.get_all(CONTENT_LENGTH).iter();
    if let Some(length) = lengths.next() {
        let digits = !length.is_empty() && length.as_bytes().iter().all(u8::is_ascii_digit);
        if !digits || lengths.any(|other| other != length) {
            return Err(BadResponse::ContentLength);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    #[test]
    fn an_answer_has_one_length_at_most() {
        use BadResponse as Bad;
        for (status, fields, expected) in [
            (200, &[("content-length", "5")][..], Ok(())),
            (304, &[("content-length", "5")], Ok(())),
            (200, &[("transfer-encoding", "chunked")], Ok(())),
            (200, &[("transfer-encoding", "chunked"), ("content-length", "5")], Err(Bad::BothLengths)),
            (200, &[("transfer-encoding", "gzip, chunked")], Err(Bad::TransferEncoding)),
            (200, &[("transfer-encoding", "identity")], Err(Bad::TransferEncoding)),
            (200, &[("content-length", "5"), ("content-length", "6")], Err(Bad::ContentLength)),
            (200, &[("content-length", "-5")], Err(Bad::ContentLength)),
            (101, &[], Err(Bad::UnaskedUpgrade)),
        ] {
            let mut headers = HeaderMap::new();
            for &(name, value) in fields {
                headers.append(name, HeaderValue::from_static(value));
            }
            let status = StatusCode::from_u16(status).expect("legal");
            assert_eq!(check_response(Version::HTTP_11, status, &headers), expected, "{fields:?}");
        }
    }
}
