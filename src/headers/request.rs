//! Pure: which requests are refused before any route is asked (RFC 9112 3.2, 6.1; RFC 9113 8.3.1), and
//! what a good one needs before it goes on. What hyper has refused already does not come here.

use std::borrow::Cow;
use std::fmt;

use http::header::{CONTENT_LENGTH, COOKIE, HOST, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, Version};

use super::host::is_host;
use super::length::{Encoding, content_length, transfer_encoding};
use super::tokens::has_any;

/// Why a request is refused; always the client's fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadRequest {
    /// CONNECT, TRACE.
    Method,
    /// Neither origin nor absolute form, nor `OPTIONS *`.
    Target,
    /// No `Host`, no `:authority`.
    NoHost,
    /// Two `Host` fields.
    SeveralHosts,
    /// A `Host` or an authority that is none.
    MalformedHost,
    /// `user:password@` in the authority.
    UserInfo,
    /// h2: `Host` and `:authority` differ.
    HostsDiffer,
    /// Not exactly `chunked`.
    TransferEncoding,
    /// Not a number, or two that differ, or one beside a `Transfer-Encoding`.
    ContentLength,
}

impl BadRequest {
    /// The status of the answer.
    pub fn status(self) -> StatusCode {
        match self {
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            _ => StatusCode::BAD_REQUEST,
        }
    }
}

impl fmt::Display for BadRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Method => "CONNECT and TRACE are not forwarded",
            Self::Target => "the request target is neither a path nor a URL",
            Self::NoHost => "the request names no host",
            Self::SeveralHosts => "the request has more than one Host field",
            Self::MalformedHost => "the request's Host is malformed",
            Self::UserInfo => "the request target holds a user name or password",
            Self::HostsDiffer => "the request's Host and :authority differ",
            Self::TransferEncoding => "the request's Transfer-Encoding is not exactly `chunked`",
            Self::ContentLength => "the request's Content-Length cannot be believed",
        })
    }
}

impl std::error::Error for BadRequest {}

/// Judges a head. CONNECT with `:protocol` is to be brought here as the GET that it stands for.
pub fn check_request(method: &Method, uri: &Uri, version: Version, headers: &HeaderMap) -> Result<(), BadRequest> {
    if method == Method::CONNECT || method == Method::TRACE {
        return Err(BadRequest::Method);
    }
    check_target(method, uri)?;
    check_host(uri, version, headers)?;
    check_framing(headers)
}

/// `OPTIONS *`, which asks about the server as a whole.
pub fn is_asterisk(method: &Method, uri: &Uri) -> bool {
    method == Method::OPTIONS && uri.path() == "*"
}

/// The host the request is for: the target's authority where there is one (absolute form, h2), else
/// `Host`. `None` for an HTTP/1.0 request without either.
pub fn effective_host<'a>(uri: &'a Uri, headers: &'a HeaderMap) -> Option<&'a str> {
    match uri.authority() {
        Some(authority) => Some(authority.as_str()),
        None => headers.get(HOST).and_then(|host| host.to_str().ok()),
    }
}

/// The target in origin form, byte for byte: path and query, `*`. A URL without a path has `/` (RFC 9112
/// 3.2.1), also before its query.
pub fn origin_target(uri: &Uri) -> Cow<'_, str> {
    match uri.path_and_query().map_or("", http::uri::PathAndQuery::as_str) {
        "" => "/".into(),
        query if query.starts_with('?') => format!("/{query}").into(),
        target => target.into(),
    }
}

/// Puts a good head into the one form all that follows relies on: `Host` holds the effective host (RFC
/// 9112 3.2.2: the authority replaces it), cookies are one line, the length is one line.
pub fn normalise_request(uri: &Uri, headers: &mut HeaderMap) {
    if has_any(headers, &[COOKIE, CONTENT_LENGTH]) {
        join_cookies(headers);
        super::length::keep_one_length(headers);
    }
    if let Some(host) = uri.authority().and_then(|authority| HeaderValue::from_str(authority.as_str()).ok()) {
        headers.insert(HOST, host);
    }
}

/// Joins several `Cookie` lines with `; ` (RFC 9113 8.2.3): h2 may split them, h1 servers read one.
pub fn join_cookies(headers: &mut HeaderMap) {
    if headers.get_all(COOKIE).iter().nth(1).is_none() {
        return;
    }
    let lines: Vec<&[u8]> = headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if let Ok(joined) = HeaderValue::from_bytes(&lines.join(b"; ".as_slice())) {
        headers.insert(COOKIE, joined);
    }
}

fn check_target(method: &Method, uri: &Uri) -> Result<(), BadRequest> {
    let web = uri.scheme_str().is_none_or(|scheme| scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https"));
    // An authority without a scheme is the form of CONNECT.
    let complete = uri.scheme().is_some() == uri.authority().is_some();
    let target = origin_target(uri);
    if web && complete && (target.starts_with('/') || is_asterisk(method, uri)) { Ok(()) } else { Err(BadRequest::Target) }
}

fn check_host(uri: &Uri, version: Version, headers: &HeaderMap) -> Result<(), BadRequest> {
    let mut lines = headers.get_all(HOST).iter();
    let field = lines.next();
    if lines.next().is_some() {
        return Err(BadRequest::SeveralHosts);
    }
    if let Some(field) = field {
        field.to_str().ok().filter(|host| is_host(host)).ok_or(BadRequest::MalformedHost)?;
    }
    let Some(authority) = uri.authority().map(http::uri::Authority::as_str) else {
        // HTTP/1.0 knew no Host.
        return if field.is_some() || version <= Version::HTTP_10 { Ok(()) } else { Err(BadRequest::NoHost) };
    };
    if authority.contains('@') {
        return Err(BadRequest::UserInfo);
    }
    if !is_host(authority) {
        return Err(BadRequest::MalformedHost);
    }
    match field {
        // Also in absolute form (RFC 9112 3.2).
        None if version == Version::HTTP_11 => Err(BadRequest::NoHost),
        Some(field) if version >= Version::HTTP_2 && !field.as_bytes().eq_ignore_ascii_case(authority.as_bytes()) => {
            Err(BadRequest::HostsDiffer)
        }
        _ => Ok(()),
    }
}

fn check_framing(headers: &HeaderMap) -> Result<(), BadRequest> {
    if !has_any(headers, &[CONTENT_LENGTH, TRANSFER_ENCODING]) {
        return Ok(()); // most requests
    }
    let length = content_length(headers).map_err(|_| BadRequest::ContentLength)?;
    match (transfer_encoding(headers), length) {
        (Encoding::Other, _) => Err(BadRequest::TransferEncoding),
        (Encoding::Chunked, Some(_)) => Err(BadRequest::ContentLength),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderName;
    use proptest::prelude::*;

    use super::*;

    fn head(lines: &[(&str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        headers
    }

    fn check(method: &str, target: &str, version: Version, lines: &[(&str, &str)]) -> Result<(), BadRequest> {
        check_request(&method.parse().unwrap(), &target.parse().unwrap(), version, &head(lines))
    }

    fn h1(lines: &[(&str, &str)]) -> Result<(), BadRequest> {
        check("GET", "/", Version::HTTP_11, lines)
    }

    #[test]
    fn connect_and_trace_are_405() {
        for (method, target) in [("CONNECT", "a:80"), ("TRACE", "/")] {
            let refused = check(method, target, Version::HTTP_11, &[("host", "a")]).unwrap_err();
            assert_eq!((refused, refused.status().as_u16()), (BadRequest::Method, 405));
        }
    }

    #[test]
    fn exactly_one_well_formed_host_in_http_1_1() {
        assert_eq!(h1(&[("host", "a:80")]), Ok(()));
        assert_eq!(h1(&[]), Err(BadRequest::NoHost));
        assert_eq!(h1(&[("host", "a"), ("host", "a")]), Err(BadRequest::SeveralHosts));
        for bad in ["", "a b", "a/b", "u@a", "a,b", "a:x", "\u{e9}", "http://a"] {
            assert_eq!(h1(&[("host", bad)]), Err(BadRequest::MalformedHost), "{bad}");
        }
        assert_eq!(BadRequest::NoHost.status(), 400);
    }

    #[test]
    fn http_1_0_needs_no_host_but_not_a_bad_one_either() {
        assert_eq!(check("GET", "/", Version::HTTP_10, &[]), Ok(()));
        assert_eq!(check("GET", "/", Version::HTTP_10, &[("host", "a b")]), Err(BadRequest::MalformedHost));
        assert_eq!(check("GET", "/", Version::HTTP_10, &[("host", "a"), ("host", "a")]), Err(BadRequest::SeveralHosts));
    }

    #[test]
    fn the_authority_of_an_absolute_form_replaces_host() {
        let uri: Uri = "http://b:81/x?y".parse().unwrap();
        let mut headers = head(&[("host", "a")]);
        assert_eq!(check_request(&Method::GET, &uri, Version::HTTP_11, &headers), Ok(()));
        assert_eq!(effective_host(&uri, &headers), Some("b:81"));
        assert_eq!(origin_target(&uri), "/x?y");
        normalise_request(&uri, &mut headers);
        assert_eq!(headers, head(&[("host", "b:81")]));
        assert_eq!(origin_target(&"http://b".parse().unwrap()), "/");
        assert_eq!(origin_target(&"http://b?c".parse().unwrap()), "/?c");
    }

    #[test]
    fn an_absolute_form_still_needs_its_host_field_and_no_user() {
        assert_eq!(check("GET", "http://b/", Version::HTTP_11, &[]), Err(BadRequest::NoHost));
        assert_eq!(check("GET", "http://u:p@b/", Version::HTTP_11, &[("host", "b")]), Err(BadRequest::UserInfo));
        assert_eq!(check("GET", "http://b:99999/", Version::HTTP_11, &[("host", "b")]), Err(BadRequest::MalformedHost));
    }

    #[test]
    fn other_request_forms_are_refused() {
        for target in ["b:80", "ftp://b/", "*"] {
            assert_eq!(check("GET", target, Version::HTTP_11, &[("host", "b")]), Err(BadRequest::Target), "{target}");
        }
        assert_eq!(check("OPTIONS", "*", Version::HTTP_11, &[("host", "b")]), Ok(()));
        assert!(is_asterisk(&Method::OPTIONS, &"*".parse().unwrap()));
        assert!(!is_asterisk(&Method::OPTIONS, &"/*".parse().unwrap()));
    }

    #[test]
    fn h2_takes_either_host_and_refuses_two_that_differ() {
        let h2 = |target, lines: &[(&str, &str)]| check("GET", target, Version::HTTP_2, lines);
        assert_eq!(h2("https://a/", &[]), Ok(()));
        assert_eq!(h2("https://a/", &[("host", "A")]), Ok(()));
        assert_eq!(h2("/", &[("host", "a")]), Ok(()));
        assert_eq!(h2("/", &[]), Err(BadRequest::NoHost));
        assert_eq!(h2("https://a/", &[("host", "b")]), Err(BadRequest::HostsDiffer));
    }

    #[test]
    fn transfer_encoding_is_chunked_and_nothing_else() {
        assert_eq!(h1(&[("host", "a"), ("transfer-encoding", "Chunked")]), Ok(()));
        for other in ["gzip, chunked", "chunked, chunked", "identity", ""] {
            assert_eq!(h1(&[("host", "a"), ("transfer-encoding", other)]), Err(BadRequest::TransferEncoding), "{other}");
        }
        let twice = [("host", "a"), ("transfer-encoding", "chunked"), ("transfer-encoding", "chunked")];
        assert_eq!(h1(&twice), Err(BadRequest::TransferEncoding));
    }

    #[test]
    fn a_length_that_cannot_be_believed_is_refused() {
        for bad in ["+1", "1, 2", "x"] {
            assert_eq!(h1(&[("host", "a"), ("content-length", bad)]), Err(BadRequest::ContentLength), "{bad}");
        }
        let both = [("host", "a"), ("content-length", "1"), ("transfer-encoding", "chunked")];
        assert_eq!(h1(&both), Err(BadRequest::ContentLength));
    }

    #[test]
    fn cookie_lines_are_joined_in_order() {
        let mut headers = HeaderMap::new();
        for line in [b"a=1".as_slice(), b"b=\xe9", b"c=3; d=4"] {
            headers.append(COOKIE, HeaderValue::from_bytes(line).unwrap());
        }
        join_cookies(&mut headers);
        let lines: Vec<&[u8]> = headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes).collect();
        assert_eq!(lines, [b"a=1; b=\xe9; c=3; d=4".as_slice()]);
    }

    proptest! {
        #[test]
        fn no_fields_break_the_law_and_a_head_that_passed_comes_in_one_form(
            target in "(http://b(:81)?|https://B)?/[a-c]?([?][a-c])?|[*]",
            version in prop::sample::select(vec![Version::HTTP_10, Version::HTTP_11, Version::HTTP_2]),
            lines in prop::collection::vec(
                ("host|cookie|content-length|transfer-encoding|x-[a-c]", prop_oneof!["a|b|B|b:81|5|5, 5|6|chunked|a=b", "\\PC{0,6}"]),
                0..6,
            ),
        ) {
            let uri: Uri = target.parse().unwrap();
            let lines: Vec<(&str, &str)> = lines.iter().map(|(name, value)| (name.as_str(), value.trim())).collect();
            let mut headers = head(&lines);
            let passed = check_request(&Method::GET, &uri, version, &headers).is_ok();
            let (host, length) = (effective_host(&uri, &headers).map(str::to_owned), content_length(&headers));
            normalise_request(&uri, &mut headers);
            let once = headers.clone();
            normalise_request(&uri, &mut headers);
            prop_assert_eq!(&headers, &once);
            prop_assert!(headers.get_all(COOKIE).iter().count() <= 1);
            if passed {
                let hosts: Vec<&[u8]> = headers.get_all(HOST).iter().map(HeaderValue::as_bytes).collect();
                prop_assert_eq!(hosts, host.iter().map(String::as_bytes).collect::<Vec<_>>());
                prop_assert_eq!(content_length(&headers), length);
                prop_assert!(headers.get_all(CONTENT_LENGTH).iter().count() <= 1);
            }
        }
    }

    #[test]
    fn every_refusal_names_what_is_wrong_with_the_request() {
        use BadRequest as B;
        for (refusal, word) in [
            (B::Method, "CONNECT and TRACE"),
            (B::Target, "target"),
            (B::NoHost, "no host"),
            (B::SeveralHosts, "more than one Host"),
            (B::MalformedHost, "Host is malformed"),
            (B::UserInfo, "user name"),
            (B::HostsDiffer, "differ"),
            (B::TransferEncoding, "Transfer-Encoding"),
            (B::ContentLength, "Content-Length"),
        ] {
            assert!(refusal.to_string().contains(word), "{refusal}");
        }
    }
}
