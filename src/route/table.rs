//! Pure: all routes, and which of them a request takes.

use std::collections::HashMap;
use std::sync::Arc;

use http::{HeaderMap, Method};

use super::{HostPattern, Normal, PathError, PathPattern, Route};

/// The routes, sorted so that the first that matches is the one that wins.
#[derive(Debug, Default)]
pub struct Table {
    exact: HashMap<String, Vec<Arc<Route>>>,
    /// By what stands behind `*.`.
    wildcard: HashMap<String, Vec<Arc<Route>>>,
    any: Vec<Arc<Route>>,
}

/// What a request is routed by.
#[derive(Clone, Copy, Debug)]
pub struct Query<'a> {
    /// Its host, with or without a port.
    pub host: Option<&'a str>,
    /// Its path as it was sent.
    pub path: &'a str,
    /// Its method.
    pub method: &'a Method,
    /// Its fields.
    pub headers: &'a HeaderMap,
}

/// A route that was found.
#[derive(Debug)]
pub struct Found<'a> {
    /// The route.
    pub route: Arc<Route>,
    /// The path that selected it.
    pub path: Normal<'a>,
}

impl Table {
    /// Sorts routes given in the file's order.
    pub fn new(routes: Vec<Route>) -> Self {
        let mut table = Self::default();
        for route in routes {
            let list = match &route.host {
                Some(HostPattern::Exact(host)) => table.exact.entry(host.clone()).or_default(),
                Some(HostPattern::Wildcard(suffix)) => table.wildcard.entry(suffix.clone()).or_default(),
                None => &mut table.any,
            };
            list.push(Arc::new(route));
        }
        let lists = table.exact.values_mut().chain(table.wildcard.values_mut());
        for list in lists.chain([&mut table.any]) {
            list.sort_by_key(|route| std::cmp::Reverse(weight(route))); // stable: the file's order decides last
        }
        table
    }

    /// The route of a request; `Ok(None)`: there is none. An error where a lenient reading of the path
    /// would lead to another route.
    pub fn find<'a>(&self, query: &Query<'a>) -> Result<Option<Found<'a>>, PathError> {
        let path = Normal::parse(query.path)?;
        let host = query.host.map(bare_host);
        let route = self.select(host.as_deref(), path.as_str(), query);
        for reading in path.readings() {
            let other = self.select(host.as_deref(), &reading?, query);
            let same = match (route, other) {
                (Some(route), Some(other)) => Arc::ptr_eq(route, other),
                (None, None) => true,
                _ => false,
            };
            if !same {
                return Err(PathError::Ambiguous);
            }
        }
        Ok(route.cloned().map(|route| Found { route, path }))
    }

    /// Exact host, then the wildcard, then none; within each the first that matches.
    fn select(&self, host: Option<&str>, path: &str, query: &Query<'_>) -> Option<&Arc<Route>> {
        let exact = host.and_then(|host| self.exact.get(host));
        // A wildcard is one label: the longest suffix is the only one that can match.
        let wildcard = host.and_then(|host| host.split_once('.')).filter(|(label, _)| !label.is_empty());
        let wildcard = wildcard.and_then(|(_, suffix)| self.wildcard.get(suffix));
        let lists = exact.into_iter().chain(wildcard).chain([&self.any]);
        lists.flatten().find(|route| matches(route, path, query))
    }
}

/// What puts one route before another of the same host: exact path, longest prefix, more matchers.
fn weight(route: &Route) -> (bool, usize, usize) {
    let (exact, length) = match &route.path {
        Some(PathPattern::Exact(path)) => (true, path.len()),
        Some(PathPattern::Prefix(prefix)) => (false, prefix.len()),
        None => (false, 0),
    };
    (exact, length, usize::from(!route.methods.is_empty()) + route.headers.len())
}

fn matches(route: &Route, path: &str, query: &Query<'_>) -> bool {
    let path_fits = match &route.path {
        None => true,
        Some(PathPattern::Exact(exact)) => path == exact,
        Some(PathPattern::Prefix(prefix)) => {
            path.strip_prefix(prefix.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        }
    };
    path_fits
        && (route.methods.is_empty() || route.methods.contains(query.method))
        && route.headers.iter().all(|(name, value)| match value {
            None => query.headers.contains_key(name),
            Some(value) => query.headers.get_all(name).iter().any(|there| there == value),
        })
}

/// A host without port and trailing dot, in lower case.
fn bare_host(host: &str) -> std::borrow::Cow<'_, str> {
    let bracket = host.rfind(']').map_or(0, |end| end + 1);
    let port = host.get(bracket..).and_then(|rest| rest.find(':')).map(|colon| colon + bracket);
    let name = port.and_then(|port| host.get(..port)).unwrap_or(host);
    let name = name.strip_suffix('.').unwrap_or(name);
    if name.bytes().any(|b| b.is_ascii_uppercase()) { name.to_ascii_lowercase().into() } else { name.into() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::headers::Edits;
    use crate::route::{Action, Respond};
    use http::StatusCode;
    use proptest::prelude::*;

    fn route(host: &str, path: &str, method: Option<Method>) -> Route {
        let path_pattern = match path {
            "" => None,
            _ => Some(path.strip_prefix("= ").map_or_else(
                || PathPattern::Prefix(path.trim_end_matches('/').to_owned()),
                |exact| PathPattern::Exact(exact.to_owned()),
            )),
        };
        Route {
            name: format!("{host}{path}").into(),
            host: if host.is_empty() { None } else { Some(HostPattern::parse(host).expect("legal")) },
            path: path_pattern,
            methods: method.into_iter().collect(),
            headers: Vec::new(),
            action: Action::Respond(Respond { status: StatusCode::OK, body: String::new() }),
            request_headers: Edits::default(),
            response_headers: Edits::default(),
        }
    }

    fn find(routes: &[(&str, &str)], host: &str, path: &str) -> Result<String, PathError> {
        let table = Table::new(routes.iter().map(|(host, path)| route(host, path, None)).collect());
        let query = Query { host: Some(host), path, method: &Method::GET, headers: &HeaderMap::new() };
        Ok(table.find(&query)?.map_or_else(|| "none".to_owned(), |found| found.route.name.to_string()))
    }

    #[test]
    fn the_host_decides_first_and_falls_back() {
        let routes = [("", "/only"), ("*.example.com", "/w"), ("chat.example.com", "/c"), ("*.b.example.com", "/")];
        for (host, path, expected) in [
            ("chat.example.com", "/c", "chat.example.com/c"),
            ("CHAT.example.com.:8080", "/c/x", "chat.example.com/c"),
            ("chat.example.com", "/w", "*.example.com/w"),
            ("chat.example.com", "/only", "/only"),
            ("a.b.example.com", "/w", "*.b.example.com/"),
            ("a.b.c.example.com", "/w", "none"),
            ("example.com", "/w", "none"),
            (".example.com", "/w", "none"),
            ("[::1]:80", "/only", "/only"),
        ] {
            assert_eq!(find(&routes, host, path).as_deref(), Ok(expected), "{host} {path}");
        }
    }

    #[test]
    fn a_prefix_ends_at_a_segment() {
        let routes = [("", "/ws/"), ("", "/ws/deep"), ("", "= /ws/deep/exact"), ("", "= /ws/")];
        for (path, expected) in [
            ("/ws", "/ws/"),
            ("/ws/", "= /ws/"),
            ("/ws/x", "/ws/"),
            ("/wsx", "none"),
            ("/ws/deep/x", "/ws/deep"),
            ("/ws/deep/exact", "= /ws/deep/exact"),
            ("/ws/deeper", "/ws/"),
            ("/w%73/./x", "/ws/"),
        ] {
            assert_eq!(find(&routes, "h", path).as_deref(), Ok(expected), "{path}");
        }
    }

    #[test]
    fn more_matchers_win_then_the_order_of_the_file() {
        let mut with_header = route("", "/a", None);
        with_header.headers.push(("x-kind".parse().expect("legal"), Some(http::HeaderValue::from_static("b"))));
        with_header.name = "header".into();
        let mut second = route("", "/a", None);
        second.name = "second".into();
        let table = Table::new(vec![route("", "/a", None), second, route("", "/a", Some(Method::POST)), with_header]);
        let name = |method: &Method, headers: &HeaderMap| {
            let query = Query { host: None, path: "/a", method, headers };
            table.find(&query).expect("legal").expect("there").route.name.to_string()
        };
        let empty = HeaderMap::new();
        assert_eq!(name(&Method::GET, &empty), "/a");
        let kind = |value: &'static str| {
            HeaderMap::from_iter([("x-kind".parse().expect("legal"), http::HeaderValue::from_static(value))])
        };
        assert_eq!(name(&Method::GET, &kind("b")), "header");
        assert_eq!(name(&Method::GET, &kind("c")), "/a");
        let query = Query { host: None, path: "/a", method: &Method::POST, headers: &empty };
        let found = table.find(&query).expect("legal").expect("there");
        assert_eq!(found.route.methods, [Method::POST]);
    }

    #[test]
    fn a_path_that_two_readers_route_differently_is_refused() {
        let routes = [("", "/public"), ("", "/admin"), ("", "/")];
        for path in [
            "/public/..%2fadmin",
            "/public/..;/admin",
            "/public/..\\admin",
            "//admin",
            "/public%2f..%2fadmin",
            "/x;/../admin/y%2f..%2f..%2fpublic",
            "/admin;x",
            "/%5cadmin",
        ] {
            assert_eq!(find(&routes, "h", path), Err(PathError::Ambiguous), "{path}");
        }
        for (path, expected) in [
            ("/public/a;b=c", "/public"),
            ("/public//x", "/public"),
            ("/public/a%2fb", "/public"),
            ("/public/../admin", "/admin"),
            ("/files;v=1", "/"),
        ] {
            assert_eq!(find(&routes, "h", path).as_deref(), Ok(expected), "{path}");
        }
    }

    proptest! {
        /// The model: look at every route, keep the best.
        #[test]
        fn routing_agrees_with_a_naive_model(
            patterns in prop::collection::vec(("(|a\\.x|\\*\\.x|b\\.x)", "(|= )(/[ab]){1,3}"), 1..8),
            host in "(a|b|c)\\.x", path in "(/[ab]){1,4}",
        ) {
            let routes: Vec<_> = patterns.iter().map(|(h, p)| (h.as_str(), p.as_str())).collect();
            let fits = |&&(h, p): &&(&str, &str)| {
                let host_fits = h.is_empty() || h == host || h == "*.x";
                host_fits && match p.strip_prefix("= ") {
                    Some(exact) => path == exact,
                    None => path == p || path.starts_with(&format!("{p}/")),
                }
            };
            let rank = |&&(h, p): &&(&str, &str)| (if h.is_empty() { 0 } else if h == "*.x" { 1 } else { 2 }, p.starts_with('='), p.len());
            let best = routes.iter().filter(fits).rev().max_by_key(rank);
            let expected = best.map_or("none".to_owned(), |(h, p)| format!("{h}{p}"));
            prop_assert_eq!(find(&routes, &host, &path), Ok(expected));
        }
    }
}
