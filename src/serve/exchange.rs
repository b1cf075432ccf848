//! One request: route, then forward, upgrade or answer.

use std::sync::Arc;

use http::header::{EXPECT, LOCATION, UPGRADE};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, Version, request};
use http_body::Body as _;

use super::body::{Alive, ClientBody, Reply};
use super::connection::Connection;
use super::record::Record;
use super::respond::{self, Failure};
use super::upgrade::Takeover;
use super::{World, forward, laws, upgrade};
use crate::base::crowd_first;
use crate::handshake::{Draft, Offer, Refusal};
use crate::headers::{BadRequest, origin_target};
use crate::route::{Action, Forward, Found, Query, Redirect};

/// A request that was just read, with what only its first moment can tell.
pub(super) struct Begun {
    pub(super) parts: request::Parts,
    pub(super) body: ClientBody,
    pub(super) alive: Alive,
    /// It asks for a WebSocket; what follows its head is held.
    asks: bool,
    /// Its head as it came, where it asks for a WebSocket and the input is in step.
    pub(super) raw: Option<Vec<u8>>,
}

/// To be called before anything more is read from the connection.
pub(super) fn begin(connection: &Arc<Connection>, request: Request<ClientBody>) -> Box<Begun> {
    let (parts, body) = request.into_parts();
    let asks = Offer::is_asked(&parts.method, parts.version, &parts.headers, laws::protocol(&parts));
    begin_as(connection, parts, body, asks)
}

/// Likewise, where it is known whether it asks for a WebSocket.
pub(super) fn begin_as(connection: &Arc<Connection>, parts: request::Parts, body: ClientBody, asks: bool) -> Box<Begun> {
    let raw = connection.tap.as_ref().and_then(|tap| tap.request(asks, !body.is_end_stream()));
    // Out of step the tap may have seen the end of a head only.
    let raw = raw.filter(|raw| raw.starts_with(parts.method.as_str().as_bytes()));
    Box::new(Begun { parts, body, alive: Alive::new(connection), asks, raw })
}

/// What comes of a request.
#[allow(clippy::large_enum_variant)] // an answer is the rule: no heap for it
pub(super) enum Outcome {
    Answer(Response<Reply>),
    /// A tunnel, to be opened on what the request came by; and the exchange's hold on that.
    Tunnel(Box<Takeover>, Alive),
}

/// Answers a request, or makes a tunnel of it.
pub(super) async fn exchange(connection: Arc<Connection>, begun: Box<Begun>) -> Outcome {
    crowd_first().await; // all read their requests, then all are routed
    let asks = begun.asks;
    let has_body = !begun.body.is_end_stream();
    let in_step = begun.raw.is_some();
    let expects = has_body && begun.parts.version == Version::HTTP_11 && begun.parts.headers.contains_key(EXPECT);
    let world = connection.entry.shared.world.load_full();
    let mut answer = match route(&connection, &world, begun).await {
        Outcome::Answer(answer) => answer,
        tunnel @ Outcome::Tunnel(..) => return tunnel,
    };
    if asks {
        // Bytes behind a refused offer are never read as a request. Where it is not known whether there
        // are any (out of step), or where they are still to come (a body, hixie-76's key), likewise.
        let early = connection.tap.as_ref().is_some_and(crate::net::TapHandle::offer_refused);
        let more_to_come = answer.extensions_mut().remove::<MoreToCome>().is_some();
        if early || has_body || !in_step || more_to_come {
            respond::close_after(answer.headers_mut());
        }
    }
    if expects && answer.extensions_mut().remove::<BodySettled>().is_none() {
        // Nobody has asked for the body: what comes next may be that, or the next request.
        respond::close_after(answer.headers_mut());
    }
    Outcome::Answer(answer)
}

/// Marks an answer whose maker knows what became of the request's body.
#[derive(Clone)]
pub(super) struct BodySettled;

/// Marks an answer behind which the client's bytes are no request.
#[derive(Clone)]
struct MoreToCome;

async fn route(connection: &Arc<Connection>, world: &Arc<World>, begun: Box<Begun>) -> Outcome {
    let parts = &begun.parts;
    let host = laws::host(parts);
    let client = laws::client(connection, world, &parts.headers);
    let shown_host = host.as_ref().ok().and_then(Clone::clone);
    let sent = parts.uri.path_and_query().cloned();
    let mut record = Record::new(connection, client, parts.method.clone(), shown_host, sent.clone());
    let host = match host {
        Ok(host) => host,
        Err(bad) => return Outcome::Answer(respond::failure(bad.into(), record, begun.alive)),
    };
    if let Some(port) = connection.entry.redirect_https {
        return Outcome::Answer(redirect_https(port, host.as_ref(), record, *begun));
    }
    // Kept apart from `host`, which moves on: a clone shares the bytes.
    let named = host.clone();
    let host_text = named.as_ref().map(laws::lossy);
    let sent_path = sent.as_ref().map_or("", PathAndQuery::path);
    let query = Query { host: host_text.as_deref(), path: sent_path, method: laws::method(parts), headers: &parts.headers };
    let Found { route, path } = match world.routes.find(&query) {
        Ok(Some(found)) => found,
        Ok(None) => return Outcome::Answer(respond::failure(Failure::no_route(), record, begun.alive)),
        Err(error) => return Outcome::Answer(respond::failure(error.into(), record, begun.alive)),
    };
    record.route = Some(route.name.clone());
    let mut answer = match &route.action {
        Action::Forward(forward) => match begun.asks.then(|| offer(parts, forward)).transpose() {
            Ok(Some(offer)) => {
                let ask = upgrade::Ask { route: &route, forward, path: &path, host, begun, offer, record };
                // Boxed: the exchange of an ordinary request has no room for it.
                match Box::pin(upgrade::upgrade(connection, world, ask)).await {
                    Outcome::Answer(answer) => answer,
                    tunnel @ Outcome::Tunnel(..) => return tunnel,
                }
            }
            Ok(None) => {
                let job = forward::Job { route: &route, forward, path: &path, host, begun, record };
                forward::forward(connection, world, job).await
            }
            Err(refusal) => {
                let mut answer = respond::failure(refusal.into(), record, begun.alive);
                if refusal == Refusal::Version(Draft::Hixie76) {
                    answer.extensions_mut().insert(MoreToCome);
                }
                answer
            }
        },
        Action::Respond(own) if own.status.is_success() && laws::protocol(parts).is_some() => {
            respond::failure(Failure::no_socket(), record, begun.alive)
        }
        Action::Respond(own) => respond::text_answer(own.status, HeaderMap::new(), own.body.clone(), record, begun.alive),
        Action::Redirect(redirect) => match redirect.expand(host_text.as_deref(), &origin_target(&parts.uri)) {
            Some(location) => own_redirect(redirect.status, location, record, begun.alive),
            None => respond::failure(BadRequest::NoHost.into(), record, begun.alive),
        },
    };
    // Here and nowhere before, so that answers of ours about a backend that failed have them too.
    route.response_headers.apply(answer.headers_mut());
    Outcome::Answer(answer)
}

/// Of a request that asks for a WebSocket.
fn offer(parts: &request::Parts, forward: &Forward) -> Result<Offer, Refusal> {
    Offer::read(&parts.headers, laws::protocol(parts), forward.legacy_drafts)
}

fn own_redirect(status: StatusCode, location: HeaderValue, record: Record, alive: Alive) -> Response<Reply> {
    let text = format!("{status}\n{}\n", laws::text(&location));
    let headers = HeaderMap::from_iter([(LOCATION, location)]);
    respond::text_answer(status, headers, text, record, alive)
}

fn redirect_https(port: u16, host: Option<&HeaderValue>, record: Record, begun: Begun) -> Response<Reply> {
    let Begun { parts, alive, asks, .. } = begun;
    if asks || parts.headers.contains_key(UPGRADE) && parts.headers.contains_key("sec-websocket-key") {
        return respond::failure(Failure::needs_tls(), record, alive);
    }
    let authority = if port == 443 { "{host}".to_owned() } else { format!("{{host}}:{port}") };
    let redirect = Redirect { location: format!("https://{authority}{{path}}"), status: StatusCode::PERMANENT_REDIRECT };
    match redirect.expand(host.map(laws::text).as_deref(), &origin_target(&parts.uri)) {
        Some(location) => own_redirect(redirect.status, location, record, alive),
        None => respond::failure(BadRequest::NoHost.into(), record, alive),
    }
}
