//! Paths: which targets are refused because a backend could read them as another route's, what goes on byte
//! for byte, and what a rewritten prefix does to targets, `Location` and cookies. For WebSockets likewise.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)] // tests fail loudly

mod kit;

use kit::*;

/// Answers each request with the `X-Answer` lines it came with: an offer with a 101, then it stays; others
/// with 302.
fn mirror() -> Backend {
    Backend::scripted(|conn, _| {
        while let Ok(head) = conn.try_read_head() {
            let lines = head.values("x-answer").iter().fold(String::new(), |text, line| text + line + "\r\n");
            if head.value("upgrade").is_none() {
                conn.send(format!("HTTP/1.1 302 Found\r\n{lines}Content-Length: 0\r\n\r\n"));
                continue;
            }
            let plain = answer_101(&head);
            conn.send(plain.strip_suffix("\r\n").unwrap().to_owned() + &lines + "\r\n");
            conn.wait_for_any_end();
            return;
        }
    })
}

fn start(backend: &Backend, routes: &str) -> Proxy {
    let text = format!("[[listen]]\naddress = \"127.0.0.1:0\"\n{routes}");
    Proxy::setup(&text).put("backend", backend.url()).start()
}

/// The two kinds of request that have a path.
fn requests(target: &str) -> [Vec<u8>; 2] {
    let plain = format!("GET {target} HTTP/1.1\r\nHost: server.example.com\r\n\r\n");
    [plain.into_bytes(), Offer::new().first(&format!("GET {target} HTTP/1.1")).bytes()]
}

// --- refused ---------------------------------------------------------------------------------------------

/// A route for the world, with one inside it that no other path must lead to.
const GUARDED: &str = "[[route]]\nbackend = \"{backend}\"\n[[route]]\npath = \"/public/\"\nbackend = \"{backend}\"\n\
    [[route]]\npath = \"/admin/\"\nrespond = { status = 403, body = \"guarded\" }\n\
    [[route]]\npath = \"= /@me\"\nrespond = { status = 403, body = \"guarded\" }\n";

#[test]
fn a_path_that_a_lenient_backend_reads_as_another_routes_is_refused() {
    let backend = Backend::http(200, "passed");
    let proxy = start(&backend, GUARDED);
    for target in [
        "/public/..%2fadmin",
        "/public/..%2Fadmin/x",
        "/public/%2e%2e%2fadmin",
        "/public/..%5cadmin",
        "/public/..%5Cadmin",
        "/public/..\\admin",
        "/public\\..\\admin",
        "/public/..;/admin",
        "/public/..;jsessionid=1/admin",
        "/public%2f..%2fadmin",
        "/public/x/..;/..;/admin",
        "//admin",
        "//admin/x?y",
        "/.//admin",
        "/x//../admin",
        "/x/..//admin",
        "/;x/admin",
        "/admin;x",
        "/admin;/x",
        "/admin%2fx",
        "/admin%5cx",
        "/admin\\x",
        "/%5cadmin",
        "/%2fadmin",
        "/public/..%3b/admin",
        "/%40me",
        "/x;/../admin/y%2f..%2f..%2fpublic",
    ] {
        for request in requests(target) {
            let (head, body) = proxy.connect_and_send(request).read_answer();
            assert_eq!(head.status(), 400, "{target}");
            assert!(body.text().contains("path"), "{target}: {}", body.text());
        }
    }
    assert_eq!(backend.connections(), 0);
    let record = proxy.request_record(0);
    assert_eq!((record.text("fault").as_str(), record.text("path").as_str()), ("client", "/public/..%2fadmin"), "{}", record.raw);
}

#[test]
fn a_path_that_strictly_is_another_routes_takes_that_route() {
    let backend = Backend::http(200, "passed");
    let proxy = start(&backend, GUARDED);
    for target in
        ["/public/../admin", "/public/%2e%2e/admin/", "/%61dmin/x", "/./admin", "/admin//x", "/admin/a%2fb", "/admin/x;y"]
    {
        for request in requests(target) {
            let (head, body) = proxy.connect_and_send(request).read_answer();
            assert_eq!((head.status(), body.text().as_str()), (403, "guarded"), "{target}");
        }
    }
    assert_eq!(backend.connections(), 0);
}

#[test]
fn a_path_that_climbs_out_of_the_root_in_any_reading_is_refused() {
    let backend = Backend::http(200, "passed");
    let proxy = start(&backend, "[[route]]\nbackend = \"{backend}\"\n");
    for target in [
        "/..",
        "/../x",
        "/%2e%2e/x",
        "/.%2E/x",
        "/a/../../x",
        "/..%2fx",
        "/%2e%2e%2fx",
        "/..;/x",
        "/..;a=b/x",
        "/..\\x",
        "/a/..%5c..%5cx",
        "/a/..;/..;/x",
        "//../x",
    ] {
        for request in requests(target) {
            assert_eq!(proxy.connect_and_send(request).read_answer().0.status(), 400, "{target}");
        }
    }
    assert_eq!(backend.connections(), 0);
}

#[test]
fn an_escape_that_is_none_or_stands_for_nul_is_refused() {
    let backend = Backend::http(200, "passed");
    let proxy = start(&backend, "[[route]]\nbackend = \"{backend}\"\n");
    for target in ["/%", "/a%4", "/%zz", "/%u0041", "/a%00b", "/%+1"] {
        for request in requests(target) {
            assert_eq!(proxy.connect_and_send(request).read_answer().0.status(), 400, "{target}");
        }
    }
    assert_eq!(backend.connections(), 0);
}

#[test]
fn where_one_route_has_it_with_a_host_and_another_without_the_hosts_are_looked_at_too() {
    let backend = Backend::http(200, "passed");
    let routes = "[[route]]\nbackend = \"{backend}\"\n[[route]]\nhost = \"server.example.com\"\npath = \"/admin/\"\n\
        respond = { status = 403, body = \"guarded\" }\n";
    let proxy = start(&backend, routes);
    for request in requests("/x/..;/admin") {
        assert_eq!(proxy.connect_and_send(request).read_answer().0.status(), 400);
    }
    assert_eq!(backend.connections(), 0);
}

#[test]
fn a_path_too_long_for_all_its_readings_is_refused_in_good_time() {
    let backend = Backend::silent();
    let proxy = start(&backend, GUARDED);
    let target = format!("/a;%2f%5c\\//%40{}", "/..;x%2f".repeat(3000));
    for request in requests(&target) {
        assert_eq!(proxy.connect_and_send(request).within(std::time::Duration::from_secs(2)).read_answer().0.status(), 400);
    }
}

// --- kept ------------------------------------------------------------------------------------------------

#[test]
fn a_target_that_one_route_has_however_it_is_read_goes_on_byte_for_byte() {
    let backend = mirror();
    let proxy = start(&backend, GUARDED);
    for target in [
        "/",
        "/1//SID/?x=//..%2f",
        "/a/./b/../c",
        "/%7euser/%61%2D",
        "/a%2fb%5Cc",
        "/a;x=1/b;y",
        "/a\\b",
        "/a%20b%c3%a9",
        "/proxy/https://b.example/x",
        "/public/./%2e/x",
        "/public/a;b//c",
        "/x?",
        "/x?a=b?c&d=/../admin&e=%zz%00;\\|{}'",
        "/!$&'()*+,;=:@-._~",
        "//x",
    ] {
        for request in requests(target) {
            let mut client = proxy.connect_and_send(request);
            let status = client.read_head().status();
            assert!(status == 302 || status == 101, "{target}: {status}");
            assert_eq!(backend.head().first, format!("GET {target} HTTP/1.1"));
        }
    }
}

#[test]
fn an_absolute_target_goes_on_in_origin_form() {
    let backend = mirror();
    let proxy = start(&backend, GUARDED);
    for (target, expected) in [
        ("http://server.example.com/a/./%7e?q", "/a/./%7e?q"),
        ("http://server.example.com", "/"),
        ("http://server.example.com?q", "/?q"),
        ("https://server.example.com/x", "/x"),
    ] {
        for request in requests(target) {
            let answer = proxy.connect_and_send(request).read_head();
            assert_ne!(answer.status(), 400, "{target}");
            assert_eq!(backend.head().first, format!("GET {expected} HTTP/1.1"), "{target}");
        }
    }
    for request in requests("http://server.example.com/public/..%2fadmin") {
        assert_eq!(proxy.connect_and_send(request).read_answer().0.status(), 400);
    }
}

#[test]
fn paths_over_http2_are_judged_and_kept_likewise() {
    let backend = mirror();
    let proxy = start(&backend, GUARDED);
    let client = H2::connect(proxy.address(0));
    for target in ["/public/..%2fadmin", "/public/..;/admin", "//admin", "/%2e%2e/x", "/x//../admin"] {
        assert_eq!(client.get(&format!("http://server.example.com{target}")).status, 400, "{target}");
    }
    assert_eq!(backend.connections(), 0);
    for target in ["/a/./b/../c", "/1//SID/?x=//..%2f", "/a%2fb;c"] {
        assert_eq!(client.get(&format!("http://server.example.com{target}")).status, 302, "{target}");
        assert_eq!(backend.head().target(), target);
    }
}

// --- rewritten -------------------------------------------------------------------------------------------

/// `/app` is stripped, `/api` becomes `/v2`, and all that comes to `pre.example` gets a prefix.
const REWRITTEN: &str = "[[route]]\nbackend = \"{backend}\"\n\
    [[route]]\npath = \"/app/\"\nstrip_prefix = true\nbackend = \"{backend}\"\n\
    [[route]]\npath = \"/api\"\nreplace_prefix = \"/v2\"\nbackend = \"{backend}\"\n\
    [[route]]\nhost = \"pre.example\"\nreplace_prefix = \"/pre/\"\nbackend = \"{backend}\"\n";

#[test]
fn a_prefix_is_stripped_or_replaced_and_the_query_stays_as_it_is() {
    let backend = mirror();
    let proxy = start(&backend, REWRITTEN);
    for (target, expected) in [
        ("/app/x/y", "/x/y"),
        ("/app/x?q=/app/%2e&r=//", "/x?q=/app/%2e&r=//"),
        ("/app", "/"),
        ("/app/", "/"),
        ("/app?q", "/?q"),
        ("/app/?", "/?"),
        ("/api/users?x", "/v2/users?x"),
        ("/api", "/v2"),
        ("/api/", "/v2/"),
        ("/apix", "/apix"),
        ("/x/app/y", "/x/app/y"),
        ("http://pre.example/x?y", "/pre/x?y"),
        ("http://pre.example/", "/pre/"),
        // Built from the normalised path.
        ("/%61pp/./x/../y%20z%c3%a9", "/y%20z%C3%A9"),
        ("/x/../app/y", "/y"),
    ] {
        for request in requests(target) {
            proxy.connect_and_send(request).read_head();
            assert_eq!(backend.head().first, format!("GET {expected} HTTP/1.1"), "{target}");
        }
    }
}

#[test]
fn a_rewritten_target_never_begins_with_two_slashes() {
    let backend = mirror();
    let proxy = start(&backend, REWRITTEN);
    for target in ["/app//evil.example/", "/app///evil.example/"] {
        for request in requests(target) {
            let status = proxy.connect_and_send(request).read_head().status();
            if status != 400 {
                assert_eq!(backend.head().first, "GET /evil.example/ HTTP/1.1", "{target}");
            }
        }
    }
}

#[test]
fn no_reading_of_a_rewritten_path_climbs_out_of_what_took_the_prefixs_place() {
    let backend = Backend::http(200, "passed");
    let proxy = start(&backend, REWRITTEN);
    for target in ["/api/..%2fapi/x", "/api/..;/api/x", "/api/a%2f..%2f..%2fapi", "/api/..\\api"] {
        for request in requests(target) {
            assert_eq!(proxy.connect_and_send(request).read_answer().0.status(), 400, "{target}");
        }
    }
    assert_eq!(backend.connections(), 0);
}

/// What the client gets for a line in the backend's answer, over HTTP and in a 101.
fn answered(proxy: &Proxy, target: &str, line: &str) -> [Vec<String>; 2] {
    let name = line.split(':').next().unwrap();
    let plain = format!("GET {target} HTTP/1.1\r\nHost: server.example.com\r\nX-Answer: {line}\r\n\r\n");
    let offer = Offer::new().first(&format!("GET {target} HTTP/1.1")).line(&format!("X-Answer: {line}"));
    [plain.into_bytes(), offer.bytes()].map(|request| {
        let head = proxy.connect_and_send(request).read_head();
        head.values(name).into_iter().map(str::to_owned).collect()
    })
}

#[test]
fn a_location_is_put_right_behind_a_rewritten_prefix() {
    let backend = mirror();
    let proxy = start(&backend, REWRITTEN);
    let own = backend.address();
    for (target, location, expected) in [
        ("/app/x", "/login?next=/x", "/app/login?next=/x".to_owned()),
        ("/app/x", "/", "/app/".to_owned()),
        ("/app/x", "next", "next".to_owned()),
        ("/app/x", "?page=2", "?page=2".to_owned()),
        ("/api/x", "/v2/login#top", "/api/login#top".to_owned()),
        ("/api/x", "/elsewhere", "/elsewhere".to_owned()),
        ("/api/x", "/v22", "/v22".to_owned()),
        ("/api/x", "http://server.example.com/v2/y", "http://server.example.com/api/y".to_owned()),
        ("/api/x", "https://server.example.com/v2/y", "https://server.example.com/api/y".to_owned()),
        ("/api/x", &format!("http://{own}/v2/y?z"), "/api/y?z".to_owned()),
        ("/api/x", &format!("http://{own}"), "http://{own}".replace("{own}", &own.to_string())),
        ("/api/x", "https://other.example/v2/y", "https://other.example/v2/y".to_owned()),
        ("/app/x", "//other.example/", "//other.example/".to_owned()),
    ] {
        let [plain, _] = answered(&proxy, target, &format!("Location: {location}"));
        assert_eq!(plain, [expected], "{target} {location}");
    }
}

#[test]
fn a_location_that_names_the_server_behind_us_becomes_a_path_even_without_a_rewrite() {
    let backend = mirror();
    let proxy = start(&backend, REWRITTEN);
    let own = backend.address();
    for (location, expected) in [
        (format!("http://{own}/x?y#z"), "/x?y#z"),
        (format!("http://{own}"), "/"),
        (format!("http://{own}//evil.example/"), "/evil.example/"),
        ("/x".to_owned(), "/x"),
        ("https://server.example.com/x".to_owned(), "https://server.example.com/x"),
    ] {
        let [plain, _] = answered(&proxy, "/", &format!("Location: {location}"));
        assert_eq!(plain, [expected], "{location}");
    }
}

#[test]
fn a_location_that_names_the_host_we_sent_becomes_a_path() {
    let backend = mirror();
    let proxy = start(&backend, "[[route]]\nbackend = \"{backend}\"\nhost_header = \"inner.example:81\"\n");
    for (location, expected) in [("http://inner.example:81/x", "/x"), ("http://inner.example/x", "http://inner.example/x")] {
        let [plain, _] = answered(&proxy, "/", &format!("Location: {location}"));
        assert_eq!(plain, [expected], "{location}");
    }
}

#[test]
fn a_location_never_leads_to_another_host_than_the_backend_meant() {
    let backend = mirror();
    let routes = "[[route]]\npath = \"/\"\nreplace_prefix = \"/v2\"\nbackend = \"{backend}\"\n";
    let proxy = start(&backend, routes);
    for location in ["/v2//evil.example/", "/v2/\\evil.example/"] {
        let [plain, _] = answered(&proxy, "/", &format!("Location: {location}"));
        assert_eq!(plain, ["/evil.example/"], "{location}");
    }
}

#[test]
fn cookie_paths_are_put_right_over_http_and_in_the_101() {
    let backend = mirror();
    let proxy = start(&backend, REWRITTEN);
    for (target, cookie, expected) in [
        ("/app/x", "a=1; Path=/; HttpOnly", "a=1; Path=/app; HttpOnly"),
        ("/app/x", "a=1; path=/room; Secure", "a=1; path=/app/room; Secure"),
        ("/app/x", "a=1", "a=1"),
        ("/api/x", "a=Path=/v2; Path=/v2/x", "a=Path=/v2; Path=/api/x"),
        ("/api/x", "a=1; Path=/v2", "a=1; Path=/api"),
        ("/api/x", "a=1; Path=/v22", "a=1; Path=/v22"),
        ("/x", "a=1; Path=/v2", "a=1; Path=/v2"),
    ] {
        for got in answered(&proxy, target, &format!("Set-Cookie: {cookie}")) {
            assert_eq!(got, [expected], "{target} {cookie}");
        }
    }
}

#[test]
fn every_cookie_of_an_answer_is_kept_and_put_right() {
    let backend = mirror();
    let proxy = start(&backend, REWRITTEN);
    let mut client = proxy.connect_and_send(
        "GET /app/x HTTP/1.1\r\nHost: h\r\nX-Answer: Set-Cookie: a=1; Path=/\r\nX-Answer: Set-Cookie: b=2\r\nX-Answer: Set-Cookie: c=3; Path=/x\r\n\r\n",
    );
    assert_eq!(client.read_head().values("set-cookie"), ["a=1; Path=/app", "b=2", "c=3; Path=/app/x"]);
}
