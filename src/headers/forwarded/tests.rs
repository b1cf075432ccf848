//! Pure: promises about forwarding fields.

use proptest::prelude::*;

use super::*;

fn head(lines: &[(&str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in lines {
        headers.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_bytes(value.as_bytes()).unwrap());
    }
    headers
}

fn ip(text: &str) -> Option<IpAddr> {
    let address = text.parse().ok();
    assert!(address.is_some(), "{text}");
    address
}

fn hop(peer: &str, trusted: bool) -> Hop<'_> {
    static HOST: HeaderValue = HeaderValue::from_static("a.example");
    Hop { peer: ip(peer), peer_value: None, trusted, secure: false, host: Some(&HOST), forwarded: false }
}

fn client(peer: Option<IpAddr>, lines: &[&str]) -> Option<IpAddr> {
    let networks = ["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()];
    let lines: Vec<(&str, &str)> = lines.iter().map(|line| ("x-forwarded-for", *line)).collect();
    client_address(peer, &head(&lines), &Trust { networks: &networks, unix: true })
}

#[test]
fn a_peer_outside_the_trusted_networks_is_the_client_whatever_it_says() {
    assert_eq!(client(ip("192.0.2.1"), &["203.0.113.9"]), ip("192.0.2.1"));
}

#[test]
fn the_client_is_the_rightmost_untrusted_address() {
    assert_eq!(client(ip("10.0.0.1"), &["203.0.113.9, 192.0.2.7, 10.0.0.3"]), ip("192.0.2.7"));
    assert_eq!(client(ip("10.0.0.1"), &["203.0.113.9", "192.0.2.7 ,", "10.0.0.3,fd00::1"]), ip("192.0.2.7"));
    assert_eq!(client(ip("10.0.0.1"), &["10.0.0.9, 10.0.0.3"]), ip("10.0.0.9"));
    assert_eq!(client(ip("10.0.0.1"), &[]), ip("10.0.0.1"));
    assert_eq!(client(ip("::ffff:10.0.0.1"), &["::ffff:192.0.2.7"]), ip("192.0.2.7"));
}

#[test]
fn an_element_that_is_no_address_ends_the_walk() {
    assert_eq!(client(ip("10.0.0.1"), &["192.0.2.7, unknown, 10.0.0.3"]), ip("10.0.0.3"));
    assert_eq!(client(ip("10.0.0.1"), &["192.0.2.7, \u{e9}"]), ip("10.0.0.1"));
}

#[test]
fn ports_and_brackets_are_read() {
    for (text, address) in
        [("192.0.2.7:4711", "192.0.2.7"), ("[2001:db8::1]:80", "2001:db8::1"), ("[2001:db8::1]", "2001:db8::1")]
    {
        assert_eq!(client(ip("10.0.0.1"), &[text]), ip(address));
    }
}

#[test]
fn a_unix_peer_is_believed_only_when_told_so() {
    assert_eq!(client(None, &["192.0.2.7"]), ip("192.0.2.7"));
    assert_eq!(client(None, &[]), None);
    assert_eq!(client_address(None, &head(&[("x-forwarded-for", "192.0.2.7")]), &Trust::default()), None);
}

#[test]
fn a_stranger_is_told_about_by_us_alone() {
    let mut headers = head(&[
        ("forwarded", "for=1.1.1.1"),
        ("x-forwarded-for", "1.1.1.1"),
        ("x-forwarded-port", "1"),
        ("x-forwarded", "x"),
        ("x-real-ip", "1.1.1.1"),
        ("wl-proxy-client-ip", "1.1.1.1"),
        ("wl-proxy-ssl", "true"),
        ("x_forwarded_for", "1.1.1.1"),
        ("x-forwarded_proto", "https"),
        ("x_real-ip", "1.1.1.1"),
        ("x.forwarded.host", "evil"),
        ("wl_proxy_ssl", "true"),
        ("x-forwardedness", "mine"),
        ("x-real-ipx", "mine"),
        ("accept", "*/*"),
    ]);
    set_forwarded(&mut headers, &hop("192.0.2.1", false));
    let expected = head(&[
        ("x-forwardedness", "mine"),
        ("x-real-ipx", "mine"),
        ("accept", "*/*"),
        ("x-forwarded-for", "192.0.2.1"),
        ("x-forwarded-proto", "http"),
        ("x-forwarded-host", "a.example"),
    ]);
    assert_eq!(headers, expected);
}

#[test]
fn a_trusted_peer_keeps_what_it_said_but_for_odd_spellings() {
    let mut headers = head(&[
        ("x-forwarded-for", "192.0.2.7"),
        ("x-forwarded-for", " 10.0.0.9"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-host", "outer.example"),
        ("wl-proxy-ssl", "true"),
        ("x-real-ip", "192.0.2.7"),
        ("x_forwarded_for", "6.6.6.6"),
    ]);
    set_forwarded(&mut headers, &hop("10.0.0.1", true));
    let expected = head(&[
        ("x-forwarded-for", "192.0.2.7, 10.0.0.9, 10.0.0.1"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-host", "outer.example"),
        ("wl-proxy-ssl", "true"),
        ("x-real-ip", "192.0.2.7"),
    ]);
    assert_eq!(headers, expected);
}

#[test]
fn forwarded_is_quoted_as_rfc_7239_says() {
    let said = |hop: Hop<'_>| {
        let mut headers = HeaderMap::new();
        set_forwarded(&mut headers, &Hop { forwarded: true, ..hop });
        headers.get(FORWARDED).unwrap().to_str().unwrap().to_owned()
    };
    assert_eq!(said(hop("192.0.2.1", false)), "for=192.0.2.1;host=a.example;proto=http");
    let host = HeaderValue::from_static("a:81");
    let secure = Hop { secure: true, host: Some(&host), ..hop("2001:db8::1", false) };
    assert_eq!(said(secure), "for=\"[2001:db8::1]\";host=\"a:81\";proto=https");
    assert_eq!(said(Hop { peer: None, host: None, ..hop("::1", false) }), "for=unknown;proto=http");
    let odd = HeaderValue::from_static(r#"a"\"#);
    assert_eq!(said(Hop { host: Some(&odd), ..hop("::ffff:192.0.2.1", false) }), r#"for=192.0.2.1;host="a\"\\";proto=http"#);
}

#[test]
fn an_address_made_before_stands_alone_or_behind_those_that_are_there() {
    let made = HeaderValue::from_static("10.0.0.1");
    for (lines, line) in [(&[][..], "10.0.0.1"), (&["192.0.2.7"], "192.0.2.7, 10.0.0.1"), (&[""], "10.0.0.1")] {
        let lines: Vec<(&str, &str)> = lines.iter().map(|line| ("x-forwarded-for", *line)).collect();
        let mut headers = head(&lines);
        set_forwarded(&mut headers, &Hop { peer_value: Some(&made), ..hop("10.0.0.1", true) });
        assert_eq!(headers.get_all(FORWARDED_FOR).iter().collect::<Vec<_>>(), [line]);
    }
}

#[test]
fn forwarded_is_appended_for_a_trusted_peer_and_started_anew_after_an_open_quote() {
    let said = |before: &str| {
        let mut headers = head(&[("forwarded", before)]);
        set_forwarded(&mut headers, &Hop { forwarded: true, host: None, ..hop("10.0.0.1", true) });
        headers.get(FORWARDED).unwrap().to_str().unwrap().to_owned()
    };
    assert_eq!(said("for=192.0.2.7"), "for=192.0.2.7, for=10.0.0.1;proto=http");
    assert_eq!(said("for=\"192.0.2.7"), "for=10.0.0.1;proto=http");
}

/// What a CGI backend makes of a name.
fn variable(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' }).collect()
}

proptest! {
    #[test]
    fn no_forged_field_gets_through(
        lines in proptest::collection::vec(
            ("(x[-_.]forwarded[-_](for|proto|host|port)|X_REAL-ip|wl[-_]proxy[-_]ssl|forwarded|X~Forwarded~For|x-[a-c])", "[a-z0-9., ]{0,8}"),
            0..8,
        ),
        with_forwarded in any::<bool>(),
    ) {
        let lines: Vec<(&str, &str)> = lines.iter().map(|(name, value)| (name.as_str(), value.trim())).collect();
        let mut headers = head(&lines);
        set_forwarded(&mut headers, &Hop { forwarded: with_forwarded, ..hop("192.0.2.1", false) });
        for (name, value) in &headers {
            let value = value.to_str().unwrap();
            match variable(name.as_str()).as_str() {
                "X_FORWARDED_FOR" => prop_assert_eq!(value, "192.0.2.1"),
                "X_FORWARDED_PROTO" => prop_assert_eq!(value, "http"),
                "X_FORWARDED_HOST" => prop_assert_eq!(value, "a.example"),
                "FORWARDED" => prop_assert_eq!(value, "for=192.0.2.1;host=a.example;proto=http"),
                other => prop_assert!(!other.starts_with("X_FORWARDED") && !other.starts_with("WL_PROXY") && other != "X_REAL_IP"),
            }
        }
        prop_assert_eq!(headers.get_all(FORWARDED_FOR).iter().count(), 1);
        prop_assert_eq!(headers.contains_key(FORWARDED), with_forwarded);
        let once = headers.clone();
        set_forwarded(&mut headers, &Hop { forwarded: with_forwarded, ..hop("192.0.2.1", false) });
        prop_assert_eq!(headers, once);
    }

    #[test]
    fn without_trust_no_line_changes_the_client(line in "[0-9a-f:., \\[\\]]{0,24}") {
        let headers = head(&[("x-forwarded-for", &line)]);
        prop_assert_eq!(client_address(ip("192.0.2.1"), &headers, &Trust::default()), ip("192.0.2.1"));
    }
}
