//! Pure: promises about which route a request takes.

use http::{HeaderName, HeaderValue, StatusCode};
use proptest::prelude::*;

use super::*;
use crate::headers::Edits;
use crate::route::{BackendId, Forward, HostHeader, Respond, TunnelKind, WebSocket, rewrite_target};

fn route(name: &str, host: Option<&str>, path: Option<&str>) -> Route {
    let path = path.map(|path| match path.strip_prefix("= ") {
        Some(path) => PathPattern::Exact(path.to_owned()),
        None => PathPattern::Prefix(path.trim_end_matches('/').to_owned()),
    });
    Route {
        name: name.into(),
        host: host.map(|host| HostPattern::parse(host).unwrap()),
        path,
        methods: Vec::new(),
        headers: Vec::new(),
        action: Action::Respond(Respond { status: StatusCode::OK, body: String::new() }),
        request_headers: Edits::default(),
        response_headers: Edits::default(),
    }
}

fn find_with(
    table: &Table,
    host: Option<&str>,
    path: &str,
    method: &Method,
    headers: &HeaderMap,
) -> Result<Option<String>, PathError> {
    let found = table.find(&Query { host, path, method, headers })?;
    Ok(found.map(|found| found.route.name.to_string()))
}

fn find(table: &Table, host: &str, path: &str) -> Result<Option<String>, PathError> {
    find_with(table, Some(host), path, &Method::GET, &HeaderMap::new())
}

/// What `find` gives for this route.
macro_rules! name {
    ($text:expr) => {
        Ok(Some($text.to_owned()))
    };
}

#[test]
fn an_exact_host_goes_before_a_wildcard_and_that_before_none() {
    let table = Table::new(vec![
        route("any", None, None),
        route("wild", Some("*.example.com"), None),
        route("exact", Some("a.example.com"), None),
        route("deeper", Some("*.b.example.com"), None),
    ]);
    assert_eq!(find(&table, "a.example.com", "/"), name!("exact"));
    assert_eq!(find(&table, "b.example.com", "/"), name!("wild"));
    assert_eq!(find(&table, "x.b.example.com", "/"), name!("deeper"));
    assert_eq!(find(&table, "other", "/"), name!("any"));
    assert_eq!(find_with(&table, None, "/", &Method::GET, &HeaderMap::new()), name!("any"));
}

#[test]
fn a_wildcard_matches_exactly_one_label() {
    let table = Table::new(vec![route("wild", Some("*.example.com"), None)]);
    assert_eq!(find(&table, "a.example.com", "/"), name!("wild"));
    for host in ["example.com", "a.b.example.com", ".example.com", "aexample.com"] {
        assert_eq!(find(&table, host, "/"), Ok(None), "{host}");
    }
}

#[test]
fn case_port_and_the_last_dot_of_a_host_do_not_matter() {
    let table = Table::new(vec![route("name", Some("Chat.example.com."), None), route("v6", Some("[2001:DB8:0::1]"), None)]);
    for host in ["chat.example.com", "CHAT.Example.COM:8080", "chat.example.com.", "chat.example.com.:80"] {
        assert_eq!(find(&table, host, "/"), name!("name"), "{host}");
    }
    for host in ["[2001:db8::1]", "[2001:db8::1]:443", "[2001:0DB8::0:1]"] {
        assert_eq!(find(&table, host, "/"), name!("v6"), "{host}");
    }
}

#[test]
fn a_prefix_ends_at_the_border_of_a_segment() {
    let table = Table::new(vec![route("ws", None, Some("/ws/"))]);
    for path in ["/ws", "/ws/", "/ws/x", "/%77s/x", "/x/../ws"] {
        assert_eq!(find(&table, "a", path), name!("ws"), "{path}");
    }
    for path in ["/wsx", "/", "/WS", "/x/ws"] {
        assert_eq!(find(&table, "a", path), Ok(None), "{path}");
    }
}

#[test]
fn an_exact_path_goes_before_the_longest_prefix() {
    let table = Table::new(vec![
        route("root", None, None),
        route("a", None, Some("/a")),
        route("ab", None, Some("/a/b")),
        route("exact", None, Some("= /a/b")),
    ]);
    assert_eq!(find(&table, "x", "/a/b"), name!("exact"));
    assert_eq!(find(&table, "x", "/a/b/"), name!("ab"));
    assert_eq!(find(&table, "x", "/a/c"), name!("a"));
    assert_eq!(find(&table, "x", "/c"), name!("root"));
}

#[test]
fn more_matchers_go_first_and_then_the_files_order() {
    let with = |name: &str, methods: &[Method], headers: &[(&'static str, Option<&'static str>)]| Route {
        methods: methods.to_vec(),
        headers: headers
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), value.map(HeaderValue::from_static)))
            .collect(),
        ..route(name, None, None)
    };
    let table = Table::new(vec![
        with("first", &[], &[]),
        with("second", &[], &[]),
        with("post", &[Method::POST, Method::PUT], &[]),
        with("both", &[Method::POST], &[("x-a", Some("1"))]),
        with("there", &[], &[("x-a", None)]),
    ]);
    let mut headers = HeaderMap::new();
    assert_eq!(find_with(&table, None, "/", &Method::GET, &headers), name!("first"));
    assert_eq!(find_with(&table, None, "/", &Method::PUT, &headers), name!("post"));
    headers.append("x-a", HeaderValue::from_static("2"));
    assert_eq!(find_with(&table, None, "/", &Method::GET, &headers), name!("there"));
    headers.append("x-a", HeaderValue::from_static("1"));
    assert_eq!(find_with(&table, None, "/", &Method::POST, &headers), name!("both"));
}

#[test]
fn a_host_without_a_fitting_route_falls_back_to_the_next() {
    let only_post = Route { methods: vec![Method::POST], ..route("post", Some("a.example.com"), None) };
    let table = Table::new(vec![
        route("any", None, None),
        route("wild", Some("*.example.com"), Some("/w")),
        route("exact", Some("a.example.com"), Some("/e")),
        only_post,
    ]);
    assert_eq!(find(&table, "a.example.com", "/e"), name!("exact"));
    assert_eq!(find(&table, "a.example.com", "/w"), name!("wild"));
    assert_eq!(find(&table, "a.example.com", "/x"), name!("any"));
}

#[test]
fn options_asterisk_takes_the_default_route() {
    let table = Table::new(vec![
        route("host", Some("a"), None),
        route("path", None, Some("/x")),
        route("exact", None, Some("= /")),
        route("default", None, None),
    ]);
    assert_eq!(find_with(&table, Some("a"), "*", &Method::OPTIONS, &HeaderMap::new()), name!("default"));
    assert_eq!(find(&Table::new(vec![route("path", None, Some("/x"))]), "a", "*"), Ok(None));
}

#[test]
fn a_path_that_a_lenient_backend_reads_as_another_routes_is_refused() {
    let table = Table::new(vec![route("root", None, None), route("admin", None, Some("/admin")), route("at", None, Some("/@x"))]);
    for path in [
        "/public/..%2fadmin",
        "/public/..%5Cadmin",
        "/public\\..\\admin",
        "/public/..;/admin",
        "//admin",
        "/admin;x",
        "/;/admin",
        "/admin%2fx",
        "/admin\\x",
        "/admin/..;/x",
        "/admin/x%2f..%2f..%2fy",
        "/public%2f..%2f/admin",
        "/%40x",
        "/x/..;a%2fadmin",
    ] {
        assert_eq!(find(&table, "a", path), Err(PathError::Ambiguous), "{path}");
    }
    for path in ["/..%2fadmin", "/../admin", "/%2e%2e/admin", "/a\\..\\..\\admin"] {
        assert_eq!(find(&table, "a", path), Err(PathError::ClimbsOut), "{path}");
    }
}

#[test]
fn a_strange_path_that_leads_to_one_route_however_read_is_taken() {
    let table = Table::new(vec![route("root", None, None), route("admin", None, Some("/admin"))]);
    for path in ["/1//SID", "/a;x=1/b", "/proxy/http://b.example/", "/a%2Fb", "/a\\b", "/a%40b"] {
        assert_eq!(find(&table, "a", path), name!("root"), "{path}");
    }
    for path in ["/admin//x", "/admin/a%2Fb", "/admin/x;y"] {
        assert_eq!(find(&table, "a", path), name!("admin"), "{path}");
    }
}

#[test]
fn a_strange_path_with_and_without_a_route_is_refused() {
    let table = Table::new(vec![route("admin", None, Some("/admin"))]);
    assert_eq!(find(&table, "a", "/x/..%2Fadmin"), Err(PathError::Ambiguous));
    assert_eq!(find(&table, "a", "/admin%2Fx"), Err(PathError::Ambiguous));
    assert_eq!(find(&table, "a", "/x;y"), Ok(None));
}

fn forward(rewrite: Option<&str>) -> Action {
    Action::Forward(Forward {
        backend: BackendId(0),
        handshake: WebSocket::Forward,
        legacy_drafts: false,
        rewrite: rewrite.map(str::to_owned),
        host_header: HostHeader::Keep,
        max_body: None,
        forwarded: false,
        handshake_time: std::time::Duration::ZERO,
        answer_time: std::time::Duration::ZERO,
        between_time: None,
        tunnel: TunnelKind(0),
    })
}

#[test]
fn no_reading_climbs_out_of_what_a_rewrite_puts_in_place() {
    let table = |rewrite| Table::new(vec![Route { action: forward(rewrite), ..route("app", None, Some("/app")) }]);
    for path in ["/app/..%2Fapp/x", "/app/..;/app/x", "/app/a%2F..%2F..%2Fapp"] {
        assert_eq!(find(&table(Some("/v2")), "a", path), Err(PathError::ClimbsOut), "{path}");
        assert_eq!(find(&table(None), "a", path), name!("app"), "{path}");
    }
    assert_eq!(find(&table(Some("/v2")), "a", "/app/a/..%2Fb"), name!("app"));
}

/// The order as one number for each route, taken over all of them: nothing in common with the table.
fn naive(routes: &[Route], host: Option<&str>, path: &str, method: &Method, headers: &HeaderMap) -> Option<String> {
    let rank = |(at, route): (usize, &Route)| {
        let host_rank = match (&route.host, host) {
            (None, _) => 0,
            (Some(_), None) => return None,
            (Some(HostPattern::Exact(wanted)), Some(host)) => (wanted == host).then_some(2)?,
            (Some(HostPattern::Wildcard(suffix)), Some(host)) => {
                let label = host.strip_suffix(suffix.as_str())?.strip_suffix('.')?;
                (!label.is_empty() && !label.contains('.')).then_some(1)?
            }
        };
        let path_rank = match &route.path {
            None => 0,
            Some(PathPattern::Exact(wanted)) => (wanted == path).then_some(usize::MAX)?,
            Some(PathPattern::Prefix(prefix)) => {
                (path == prefix || path.starts_with(&format!("{prefix}/"))).then_some(prefix.len())?
            }
        };
        let method_fits = route.methods.is_empty() || route.methods.iter().any(|wanted| wanted == method);
        let has = |name, wanted: &Option<HeaderValue>| {
            headers.get_all(name).iter().any(|line| wanted.as_ref().is_none_or(|wanted| line == wanted))
        };
        let fits = method_fits && route.headers.iter().all(|(name, wanted)| has(name, wanted));
        let count = route.headers.len() + route.methods.len().min(1);
        fits.then_some((host_rank, path_rank, count, Reverse(at)))
    };
    let best =
        routes.iter().enumerate().filter_map(|(at, route)| Some((rank((at, route))?, route))).max_by_key(|(rank, _)| *rank);
    best.map(|(_, route)| route.name.to_string())
}

fn any_routes() -> impl Strategy<Value = Vec<Route>> {
    let host = proptest::option::of(prop_oneof![Just("a.x"), Just("b.a.x"), Just("*.x"), Just("*.a.x"), Just("x")]);
    let path = proptest::option::of("(= )?(/[ab]){1,3}/?");
    let value = || proptest::option::of(Just(HeaderValue::from_static("1")));
    let one =
        (host, path, any::<bool>(), 0..3usize, [value(), value()]).prop_map(|(host, path, method, headers, values)| Route {
            methods: if method { vec![Method::POST] } else { Vec::new() },
            headers: values
                .into_iter()
                .take(headers)
                .zip(["x-a", "x-b"])
                .map(|(value, name)| (HeaderName::from_static(name), value))
                .collect(),
            ..route("", host, path.as_deref())
        });
    proptest::collection::vec(one, 0..12).prop_map(|mut routes| {
        for (at, route) in routes.iter_mut().enumerate() {
            route.name = at.to_string().into();
        }
        routes
    })
}

/// A backend as lenient as they come, decoding in one go.
fn lenient(raw: &str) -> String {
    let slashes = raw.replace("%2F", "/").replace("%2f", "/").replace("%5C", "/").replace("%2e", ".").replace('\\', "/");
    let mut kept = Vec::new();
    for segment in slashes.split('/').map(|segment| segment.split(';').next().unwrap_or_default()) {
        match segment {
            "" | "." => {}
            ".." => drop(kept.pop()),
            other => kept.push(other),
        }
    }
    format!("/{}", kept.join("/"))
}

proptest! {
    #[test]
    fn the_table_agrees_with_a_naive_model(
        routes in any_routes(),
        host in proptest::option::of(prop_oneof![Just("a.x"), Just("b.a.x"), Just("c.x"), Just("c.a.x"), Just("x"), Just("y")]),
        path in "(/[abc]){0,4}/?",
        post in any::<bool>(),
        lines in proptest::collection::vec(("x-[ab]", "[12]"), 0..4),
        dressed in any::<bool>(),
    ) {
        let path = format!("/{}", path.trim_start_matches('/'));
        let method = if post { Method::POST } else { Method::GET };
        let mut headers = HeaderMap::new();
        for (name, value) in &lines {
            headers.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), value.parse().unwrap());
        }
        let expected = naive(&routes, host, &path, &method, &headers);
        let table = Table::new(routes);
        // Host and path as a client may spell them.
        let host = host.map(|host| if dressed { format!("{}.:8080", host.to_uppercase()) } else { host.to_owned() });
        let path = if dressed { format!("/c/..{}", path.replace('a', "%61")) } else { path };
        prop_assert_eq!(find_with(&table, host.as_deref(), &path, &method, &headers), Ok(expected));
    }

    #[test]
    fn a_lenient_backend_stays_inside_what_a_rewrite_puts_in_place(
        path in "/app/([ab]|/|\\.\\.|;|%2F|%5C|\\\\|/\\.\\./|app){1,10}",
    ) {
        let table = Table::new(vec![Route { action: forward(Some("/v2")), ..route("app", None, Some("/app")) }]);
        let query = Query { host: None, path: &path, method: &Method::GET, headers: &HeaderMap::new() };
        if let Ok(Some(found)) = table.find(&query) {
            let target = rewrite_target(&found.path, None, "/app", "/v2");
            let seen = lenient(&target);
            prop_assert!(seen == "/v2" || seen.starts_with("/v2/"), "{} became {}, read as {}", path, target, seen);
        }
    }

    #[test]
    fn a_lenient_backend_sees_the_path_of_the_same_route(
        prefixes in proptest::collection::vec("(/[ab]){1,2}", 1..4),
        path in "/([ab]|/|\\.\\.|\\.|;|%2F|%5C|\\\\|%2e|/\\.\\./|;/|a/b){1,10}",
    ) {
        let table = Table::new(prefixes.iter().map(|prefix| route(prefix, None, Some(prefix))).collect());
        if let Ok(found) = find(&table, "x", &path) {
            prop_assert_eq!(find(&table, "x", &lenient(&path)), Ok(found), "{} is read as {}", path, lenient(&path));
        }
    }
}
