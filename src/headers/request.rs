//! Pure: the form of a request: what hyper lets pass and a proxy must not.

use std::fmt;

use http::header::{CONTENT_LENGTH, HOST, TRANSFER_ENCODING};
use http::uri::Authority;
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, Version};

/// Why a request is not forwarded. The client's fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadRequest {
    /// CONNECT (without `:protocol`) and TRACE: 405.
    Method,
    /// HTTP/1.1 without `Host`, or h2 without an authority (RFC 9112 section 3.2).
    HostMissing,
    /// `Host` more than once.
    HostRepeated,
    /// `Host`, or the target's authority, is no host and port.
    HostMalformed,
    /// h2: `Host` and `:authority` differ (RFC 9113 section 8.3.1).
    HostDiffers,
    /// `Transfer-Encoding` other than exactly `chunked`.
    TransferEncoding,
    /// `Content-Length` is no single number.
    ContentLength,
}

impl BadRequest {
    /// The status of our answer.
    pub fn status(self) -> StatusCode {
        if self == Self::Method { StatusCode::METHOD_NOT_ALLOWED } else { StatusCode::BAD_REQUEST }
    }
}

impl fmt::Display for BadRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Method => "CONNECT and TRACE are not forwarded",
            Self::HostMissing => "the request names no host",
            Self::HostRepeated => "Host is repeated",
            Self::HostMalformed => "Host is not a host and a port",
            Self::HostDiffers => "Host and :authority differ",
            Self::TransferEncoding => "Transfer-Encoding is not exactly `chunked`",
            Self::ContentLength => "Content-Length is not one number",
        })
    }
}

/// Judges the form of a request.
pub fn check_request(method: &Method, uri: &Uri, version: Version, headers: &HeaderMap) -> Result<(), BadRequest> {
    if matches!(*method, Method::CONNECT | Method::TRACE) {
        return Err(BadRequest::Method);
    }
    check_host(uri, version, headers)?;
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    if let Some(coding) = codings.next() {
        let chunked = coding.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked");
        if !chunked || codings.next().is_some() {
            return Err(BadRequest::TransferEncoding);
        }
    }
    let mut lengths = headers.get_all(CONTENT_LENGTH).iter();
    if let Some(length) = lengths.next() {
        let digits = !length.is_empty() && length.as_bytes().iter().all(u8::is_ascii_digit);
        if !digits || lengths.next().is_some() {
            return Err(BadRequest::ContentLength);
        }
    }
    Ok(())
}

fn check_host(uri: &Uri, version: Version, headers: &HeaderMap) -> Result<(), BadRequest> {
    let mut hosts = headers.get_all(HOST).iter();
    let host = hosts.next();
    if hosts.next().is_some() {
        return Err(BadRequest::HostRepeated);
    }
    if host.is_some_and(|host| !is_host(host.as_bytes())) {
        return Err(BadRequest::HostMalformed);
    }
    match (host, uri.authority()) {
        (_, Some(authority)) if !is_host(authority.as_str().as_bytes()) => Err(BadRequest::HostMalformed),
        (Some(host), Some(authority))
            if version == Version::HTTP_2 && !host.as_bytes().eq_ignore_ascii_case(authority.as_str().as_bytes()) =>
        {
            Err(BadRequest::HostDiffers)
        }
        // RFC 9112 section 3.2: 400 also where the target has an authority.
        (None, None) if version != Version::HTTP_10 => Err(BadRequest::HostMissing),
        (None, Some(_)) if version == Version::HTTP_11 => Err(BadRequest::HostMissing),
        _ => Ok(()),
    }
}

/// Whether bytes are a host with or without a port, and no user (RFC 9110 section 7.2). Empty is legal.
fn is_host(bytes: &[u8]) -> bool {
    if bytes.is_empty() {
        return true; // for targets without an authority, RFC 9110 section 7.2
    }
    let Ok(authority) = Authority::try_from(bytes) else { return false };
    let host = authority.host();
    let port = authority.as_str().get(host.len()..).unwrap_or_default();
    let port_is_fine =
        port.is_empty() || port.strip_prefix(':').is_some_and(|port| port.is_empty() || port.parse::<u16>().is_ok());
    // A comma is legal in a registered name, and means that two fields were joined into one.
    !host.is_empty() && !host.contains(',') && !authority.as_str().contains('@') && port_is_fine
}

/// The host a request is for: of the target where that has one (RFC 9112 section 3.2.2), else `Host`.
pub fn effective_host(uri: &Uri, headers: &HeaderMap) -> Option<HeaderValue> {
    let of_target = uri.authority().and_then(|authority| HeaderValue::from_str(authority.as_str()).ok());
    of_target.or_else(|| headers.get(HOST).cloned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(method: &str, uri: &str, version: Version, fields: &[(&'static str, &'static str)]) -> Result<(), BadRequest> {
        let mut headers = HeaderMap::new();
        for &(name, value) in fields {
            headers.append(name, HeaderValue::from_static(value));
        }
        check_request(&method.parse().expect("legal"), &uri.parse().expect("legal"), version, &headers)
    }

    #[test]
    fn one_host_and_no_nonsense() {
        use BadRequest as Bad;
        let v11 = Version::HTTP_11;
        for (fields, expected) in [
            (&[("host", "a")][..], Ok(())),
            (&[("host", "a:80")], Ok(())),
            (&[("host", "[::1]:80")], Ok(())),
            (&[("host", "")], Ok(())),
            (&[], Err(Bad::HostMissing)),
            (&[("host", "a"), ("host", "a")], Err(Bad::HostRepeated)),
            (&[("host", "a b")], Err(Bad::HostMalformed)),
            (&[("host", "a,b")], Err(Bad::HostMalformed)),
            (&[("host", "u@a")], Err(Bad::HostMalformed)),
            (&[("host", "a:x")], Err(Bad::HostMalformed)),
            (&[("host", "a:99999")], Err(Bad::HostMalformed)),
            (&[("host", "a/b")], Err(Bad::HostMalformed)),
            (&[("host", "a"), ("transfer-encoding", "Chunked")], Ok(())),
            (&[("host", "a"), ("transfer-encoding", "gzip, chunked")], Err(Bad::TransferEncoding)),
            (&[("host", "a"), ("transfer-encoding", "chunked"), ("transfer-encoding", "chunked")], Err(Bad::TransferEncoding)),
            (&[("host", "a"), ("content-length", "+1")], Err(Bad::ContentLength)),
            (&[("host", "a"), ("content-length", "1"), ("content-length", "1")], Err(Bad::ContentLength)),
        ] {
            assert_eq!(check("GET", "/", v11, fields), expected, "{fields:?}");
        }
        assert_eq!(check("GET", "/", Version::HTTP_10, &[]), Ok(()));
        assert_eq!(check("TRACE", "/", v11, &[("host", "a")]), Err(Bad::Method));
        assert_eq!(check("GET", "http://u@a/", v11, &[("host", "a")]), Err(Bad::HostMalformed));
        assert_eq!(check("GET", "http://b/", Version::HTTP_2, &[("host", "a")]), Err(Bad::HostDiffers));
        assert_eq!(check("GET", "http://b/", Version::HTTP_2, &[]), Ok(()));
    }

    #[test]
    fn the_target_names_the_host_before_the_field() {
        let headers = HeaderMap::from_iter([(HOST, HeaderValue::from_static("a"))]);
        assert_eq!(effective_host(&"http://b:1/x".parse().expect("legal"), &headers).expect("one"), "b:1");
        assert_eq!(effective_host(&"/x".parse().expect("legal"), &headers).expect("one"), "a");
    }
}
