//! Pure: which route a request takes. The order: exact host, wildcard, no host; within it exact path,
//! longest prefix, more matchers, the file's order.

use std::borrow::Cow;
use std::cmp::Reverse;
use std::collections::HashMap;
use std::net::Ipv6Addr;
use std::sync::Arc;

use http::{HeaderMap, Method};

use super::rewrite::rest;
use super::{Action, HostPattern, Normal, PathError, PathPattern, Route};
use crate::headers::host_name;

/// What a route is chosen by.
#[derive(Clone, Copy, Debug)]
pub struct Query<'a, 'p> {
    /// The effective host; case, port and a dot at its end do not matter.
    pub host: Option<&'a str>,
    /// The path as it was sent.
    pub path: &'p str,
    /// The method, as it is: `GET` in a route does not stand for `HEAD`.
    pub method: &'a Method,
    /// All fields.
    pub headers: &'a HeaderMap,
}

/// The route of a request.
#[derive(Clone, Debug)]
pub struct Found<'a> {
    /// The route.
    pub route: Arc<Route>,
    /// The path as it was matched; a rewrite starts from it.
    pub path: Normal<'a>,
}

/// All routes, ready to be asked.
#[derive(Debug, Default)]
pub struct Table {
    exact: HashMap<String, Paths>,
    /// By what follows the first label.
    wildcard: HashMap<String, Paths>,
    any: Paths,
}

impl Table {
    /// A table of routes in the file's order.
    pub fn new(routes: Vec<Route>) -> Self {
        let mut table = Self::default();
        for route in routes {
            let paths = match &route.host {
                Some(HostPattern::Exact(host)) => table.exact.entry(canonical(host).into_owned()).or_default(),
                Some(HostPattern::Wildcard(suffix)) => table.wildcard.entry(canonical(suffix).into_owned()).or_default(),
                None => &mut table.any,
            };
            paths.add(Arc::new(route));
        }
        table
    }

    /// The route of a request; `None`: there is none. The error: the path is bad, or a lenient backend
    /// would see one that belongs to another route.
    pub fn find<'p>(&self, query: &Query<'_, 'p>) -> Result<Option<Found<'p>>, PathError> {
        let path = Normal::parse(query.path)?;
        if path.is_asterisk() {
            let route = self.any.default_route(query).cloned();
            return Ok(route.map(|route| Found { route, path }));
        }
        let host = query.host.map(canonical);
        let route = self.select(host.as_deref(), path.as_str(), query);
        for reading in path.readings() {
            let other = self.select(host.as_deref(), &reading?, query);
            if other.map(Arc::as_ptr) != route.map(Arc::as_ptr) {
                return Err(PathError::Ambiguous);
            }
        }
        let Some(route) = route else { return Ok(None) };
        check_rest(route, &path)?;
        Ok(Some(Found { route: Arc::clone(route), path }))
    }

    fn select(&self, host: Option<&str>, path: &str, query: &Query<'_, '_>) -> Option<&Arc<Route>> {
        let exact = host.and_then(|host| self.exact.get(host));
        let wildcard = || {
            let (label, suffix) = host?.split_once('.')?;
            (!label.is_empty()).then(|| self.wildcard.get(suffix))?
        };
        exact
            .and_then(|paths| paths.select(path, query))
            .or_else(|| wildcard()?.select(path, query))
            .or_else(|| self.any.select(path, query))
    }
}

/// The routes of one host by their paths, each list with the most matchers first.
#[derive(Debug, Default)]
struct Paths {
    exact: HashMap<String, Vec<Arc<Route>>>,
    prefix: HashMap<String, Vec<Arc<Route>>>,
    /// No prefix is longer: a path of a thousand slashes is not looked up a thousand times.
    longest: usize,
}

impl Paths {
    fn add(&mut self, route: Arc<Route>) {
        let routes = match &route.path {
            Some(PathPattern::Exact(path)) => self.exact.entry(path.clone()).or_default(),
            Some(PathPattern::Prefix(prefix)) => {
                self.longest = self.longest.max(prefix.len());
                self.prefix.entry(prefix.clone()).or_default()
            }
            None => self.prefix.entry(String::new()).or_default(),
        };
        routes.push(route);
        // Stable: the file's order stays among equals.
        routes.sort_by_key(|route| Reverse(matchers(route)));
    }

    fn select(&self, path: &str, query: &Query<'_, '_>) -> Option<&Arc<Route>> {
        accepting(self.exact.get(path), query)
            .or_else(|| borders(path, self.longest).find_map(|prefix| accepting(self.prefix.get(prefix), query)))
    }

    /// The route of `OPTIONS *`: it asks about no path, so a route for any.
    fn default_route(&self, query: &Query<'_, '_>) -> Option<&Arc<Route>> {
        accepting(self.prefix.get(""), query)
    }
}

fn accepting<'t>(routes: Option<&'t Vec<Arc<Route>>>, query: &Query<'_, '_>) -> Option<&'t Arc<Route>> {
    routes?.iter().find(|route| accepts(route, query))
}

/// Every beginning of a path that ends at the border of a segment, the longest first.
fn borders(path: &str, longest: usize) -> impl Iterator<Item = &str> {
    let is_border = |&end: &usize| end == path.len() || path.as_bytes().get(end) == Some(&b'/');
    (0..=longest.min(path.len())).rev().filter(is_border).filter_map(|end| path.get(..end))
}

fn matchers(route: &Route) -> usize {
    usize::from(!route.methods.is_empty()) + route.headers.len()
}

fn accepts(route: &Route, query: &Query<'_, '_>) -> bool {
    (route.methods.is_empty() || route.methods.contains(query.method))
        && route.headers.iter().all(|(name, wanted)| match wanted {
            None => query.headers.contains_key(name),
            Some(wanted) => query.headers.get_all(name).iter().any(|line| line == wanted),
        })
}

/// With a rewrite the backend sees the prefix's replacement and the rest: no reading of the rest may climb
/// out of it (`/app/..%2Fx` under `/app` becomes `/v2/..%2Fx`).
fn check_rest(route: &Route, path: &Normal<'_>) -> Result<(), PathError> {
    if path.is_plain() {
        return Ok(());
    }
    let (Action::Forward(forward), Some(PathPattern::Prefix(prefix))) = (&route.action, &route.path) else { return Ok(()) };
    let (Some(_), Some(rest)) = (&forward.rewrite, rest(path.as_str(), prefix)) else { return Ok(()) };
    let rest = if rest.is_empty() { "/" } else { rest };
    Normal::parse(rest)?.readings().try_for_each(|reading| reading.map(drop))
}

/// A host as the table knows it: lower case, without port and dot, an IPv6 literal in its one short form.
fn canonical(host: &str) -> Cow<'_, str> {
    let host = host_name(host).trim_end_matches('.');
    let literal = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    if let Some(address) = literal.and_then(|literal| literal.parse::<Ipv6Addr>().ok()) {
        return Cow::Owned(format!("[{address}]"));
    }
    if host.bytes().any(|byte| byte.is_ascii_uppercase()) { Cow::Owned(host.to_ascii_lowercase()) } else { Cow::Borrowed(host) }
}

#[cfg(test)]
mod tests;
