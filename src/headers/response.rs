//! Pure: which answers of a backend are refused, so that no client sees a half-understood one (RFC 9112
//! 6.1, 6.3). The 101 to an offer is judged in `handshake`, not here.

use std::fmt;

use http::{HeaderMap, StatusCode, Version};

use super::length::{Encoding, content_length, transfer_encoding};

/// Why an answer is refused; always the backend's fault. Its connection is not to be used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadResponse {
    /// A 101 to a request that asked for no upgrade.
    UnaskedSwitch,
    /// `Content-Length` and `Transfer-Encoding` together: a way to smuggle.
    LengthAndEncoding,
    /// Not exactly `chunked`, or `chunked` in HTTP/1.0, which has none.
    TransferEncoding,
    /// Not a number, or two that differ.
    ContentLength,
}

impl BadResponse {
    /// The status of the answer that the client gets in its place.
    pub fn status(self) -> StatusCode {
        StatusCode::BAD_GATEWAY
    }
}

impl fmt::Display for BadResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::UnaskedSwitch => "the backend answered 101 to a request that asked for no upgrade",
            Self::LengthAndEncoding => "the backend's answer has both a Content-Length and a Transfer-Encoding",
            Self::TransferEncoding => "the backend's Transfer-Encoding is not exactly `chunked`",
            Self::ContentLength => "the backend's Content-Length cannot be believed",
        })
    }
}

impl std::error::Error for BadResponse {}

/// Judges the head of an answer to an ordinary request. A 204 or 304 with a length is legal, and so is a
/// body that ends with the connection.
pub fn check_response(version: Version, status: StatusCode, headers: &HeaderMap) -> Result<(), BadResponse> {
    if status == StatusCode::SWITCHING_PROTOCOLS {
        return Err(BadResponse::UnaskedSwitch);
    }
    let length = content_length(headers).map_err(|_| BadResponse::ContentLength)?;
    match transfer_encoding(headers) {
        Encoding::None => Ok(()),
        Encoding::Chunked if length.is_some() => Err(BadResponse::LengthAndEncoding),
        Encoding::Chunked if version == Version::HTTP_11 => Ok(()),
        Encoding::Chunked | Encoding::Other => Err(BadResponse::TransferEncoding),
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderName;

    use super::*;

    fn check(version: Version, status: u16, lines: &[(&'static str, &str)]) -> Result<(), BadResponse> {
        let headers = lines.iter().map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap()));
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(name, value);
        }
        check_response(version, StatusCode::from_u16(status).unwrap(), &map)
    }

    #[test]
    fn everyday_answers_pass() {
        for (version, status, lines) in [
            (Version::HTTP_11, 200, &[("content-length", "5")][..]),
            (Version::HTTP_11, 200, &[("content-length", "5"), ("content-length", "5")]),
            (Version::HTTP_11, 200, &[("transfer-encoding", "chunked")]),
            (Version::HTTP_10, 200, &[]),
            (Version::HTTP_11, 204, &[("content-length", "0")]),
            (Version::HTTP_11, 304, &[("content-length", "512")]),
            (Version::HTTP_2, 200, &[("content-length", "5")]),
            (Version::HTTP_11, 404, &[("upgrade", "websocket"), ("connection", "upgrade")]),
        ] {
            assert_eq!(check(version, status, lines), Ok(()), "{status} {lines:?}");
        }
    }

    #[test]
    fn a_length_beside_an_encoding_is_refused_in_either_order() {
        let (length, encoding) = (("content-length", "5"), ("transfer-encoding", "chunked"));
        for lines in [[length, encoding], [encoding, length]] {
            let refused = check(Version::HTTP_11, 200, &lines).unwrap_err();
            assert_eq!((refused, refused.status().as_u16()), (BadResponse::LengthAndEncoding, 502));
        }
    }

    #[test]
    fn an_encoding_other_than_chunked_is_refused() {
        for other in ["gzip, chunked", "chunked, chunked", "identity", "xchunked"] {
            assert_eq!(
                check(Version::HTTP_11, 200, &[("transfer-encoding", other)]),
                Err(BadResponse::TransferEncoding),
                "{other}"
            );
        }
        assert_eq!(check(Version::HTTP_10, 200, &[("transfer-encoding", "chunked")]), Err(BadResponse::TransferEncoding));
    }

    #[test]
    fn lengths_that_differ_are_refused() {
        let differ = [("content-length", "5"), ("content-length", "6")];
        assert_eq!(check(Version::HTTP_11, 200, &differ), Err(BadResponse::ContentLength));
        assert_eq!(check(Version::HTTP_11, 200, &[("content-length", "five")]), Err(BadResponse::ContentLength));
    }

    #[test]
    fn a_101_nobody_asked_for_is_refused() {
        assert_eq!(check(Version::HTTP_11, 101, &[("upgrade", "websocket")]), Err(BadResponse::UnaskedSwitch));
    }

    #[test]
    fn every_refusal_says_that_it_is_the_backends() {
        use BadResponse as B;
        for (refusal, word) in [
            (B::UnaskedSwitch, "101"),
            (B::LengthAndEncoding, "both"),
            (B::TransferEncoding, "exactly `chunked`"),
            (B::ContentLength, "Content-Length"),
        ] {
            assert!(refusal.to_string().starts_with("the backend"), "{refusal}");
            assert!(refusal.to_string().contains(word), "{refusal}");
        }
    }
}
