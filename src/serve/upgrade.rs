//! The heart: the handshake with both sides, then the tunnel.
//!
//! Nothing is promised to the client before the backend has truly agreed; what the backend says
//! instead of 101 is ordinary HTTP.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Version};
use tokio::io::AsyncWriteExt;
use tokio::time::{Instant, timeout, timeout_at};

use super::ask::{Asking, Judged, Judging};
use super::body::Alive;
use super::connection::Connection;
use super::exchange::{Begun, Outcome};
use super::forward::Answered;
use super::laws;
use super::record::{self, Record};
use super::respond::{self, Failure};
use super::{Shared, World, http2};
use crate::base::{self, Hold, RequestId, random};
use crate::handshake::{Offer, fresh_key};
use crate::headers;
use crate::listen::Permit;
use crate::net::{LINGER_TIME, Stream};
use crate::route::{Forward, Normal, Route, WebSocket};
use crate::session::Place;
use crate::tunnel::{self, By, Ended, Framing, How, Owner, Report, Traffic, Tunnel};
use crate::upstream::Lease;

/// A handshake that the client asks for.
pub(super) struct Ask<'a> {
    pub(super) route: &'a Arc<Route>,
    pub(super) forward: &'a Forward,
    pub(super) path: &'a Normal<'a>,
    pub(super) host: Option<HeaderValue>,
    pub(super) begun: Box<Begun>,
    pub(super) offer: Offer,
    pub(super) record: Record,
}

/// Both sides agreed: what is left to do once HTTP has let go of the connection, or stream.
pub(super) struct Takeover {
    opening: Opening,
    backend: Stream,
    lease: Lease,
    place: Place,
    id: RequestId,
    client: laws::Client,
    settings: Arc<tunnel::Settings>,
    framing: Framing,
}

/// The answer that opens a tunnel.
enum Opening {
    /// The 101, to be written first.
    Http1(Bytes),
    /// The fields of the 200.
    Http2(HeaderMap),
}

/// What a client's tunnel is opened on.
pub(super) enum Client {
    /// What is left of an h1 connection.
    Http1(Stream, Permit),
    /// A stream of h2, whose exchange lives on.
    Http2(http2::Open, Alive),
}

/// What is held for a tunnel's life: of h1 the connection's permit, of h2 the exchange.
enum Capacity {
    Http1(#[expect(dead_code, reason = "its drop is its use")] Permit),
    Http2(#[expect(dead_code, reason = "its drop is its use")] Alive),
}

/// What a live tunnel leaves behind when it is over: its record, and the capacity that it took.
pub struct Guest {
    shared: Arc<Shared>,
    place: Place,
    /// Who the client is, where that is not the peer: boxed, as it seldom is.
    named: Option<Box<IpAddr>>,
    lease: Lease,
    capacity: Capacity,
    /// The drain waits for it.
    hold: Hold,
}

impl std::fmt::Debug for Guest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Guest").field("place", &self.place).finish_non_exhaustive()
    }
}

impl Guest {
    fn client(&self) -> laws::Client {
        self.named.as_deref().map_or(laws::Client::Peer(self.place.session().client), |address| laws::Client::Named(*address))
    }
}

impl Owner for Guest {
    fn traffic(&self) -> &Traffic {
        &self.place.session().traffic
    }

    fn over(self, report: Report) {
        let client = self.client();
        let Self { shared, place, lease, capacity, hold, .. } = self;
        drop((lease, capacity)); // held until here: capacity returns with the last byte, and before the record says so
        record::closed(&shared, place.session(), client, &report);
        drop((place, hold));
    }
}

/// Performs the handshake with a backend.
pub(super) async fn upgrade(connection: &Arc<Connection>, world: &World, ask: Ask<'_>) -> Outcome {
    let Ask { route, forward, path, host, begun, offer, mut record } = ask;
    let Begun { mut parts, raw, alive, .. } = *begun;
    let failed = |failure: Failure, record, alive| Outcome::Answer(respond::failure(failure, record, alive));
    let backend = match laws::backend(world, forward) {
        Ok(backend) => backend,
        Err(failure) => return failed(failure, record, alive),
    };
    let prepared = laws::request(connection, world, route, forward, path, host, &mut parts);
    let cookie = prepared.cookie.as_deref();
    let key = match (forward.handshake, offer.key()) {
        (WebSocket::Forward, Some(key)) => Some(key.as_bytes().to_vec()),
        _ => offer.needs_key().then(|| fresh_key(random()).into_bytes()),
    };
    base::others_first().await;
    let deadline = Instant::now() + forward.handshake_time;
    let asking = Asking { offer: &offer, parts: &parts, prepared: &prepared, raw: raw.as_deref(), key: key.as_deref(), world };
    let asked = timeout_at(deadline, asking.ask(backend, cookie, &mut record)).await;
    let (said, lease) = match asked.unwrap_or_else(|_| Err(Failure::silent("it did not answer the WebSocket handshake in time")))
    {
        Ok(said) => said,
        Err(failure) => return failed(failure, record, alive),
    };
    let judging = Judging { offer: &offer, parts: &parts, key: key.as_deref(), lease: &lease, deadline };
    let (mut agreement, stream) = match judging.judge(said).await {
        Ok(Judged::Tunnel(agreement, stream)) => (agreement, stream),
        Ok(Judged::Answer(response)) => {
            let version = parts.version;
            let answered = Answered { route, forward, prepared: &prepared, cookie, version, lease, upload: None };
            return Outcome::Answer(answered.pass(connection, backend, response, record, alive));
        }
        Err(failure) => return failed(failure, record, alive),
    };
    base::others_first().await;
    let framing = agreement.extensions().map_or(Framing::Opaque(&"a draft with other frames"), Framing::Frames);
    headers::strip_response(agreement.headers_mut());
    laws::put_cookies_right(route, forward, agreement.headers_mut());
    laws::add_sticky(connection, backend, cookie, &lease, agreement.headers_mut());
    route.response_headers.apply(agreement.headers_mut());
    record.silence();
    let shared = &connection.entry.shared;
    let place = shared.registry.enter(connection.peer, route.name.clone(), lease.server_name().clone());
    let opening = if offer.is_over_http2() {
        Opening::Http2(agreement.response_fields())
    } else {
        Opening::Http1(agreement.response_head(offer.key().map(HeaderValue::as_bytes)))
    };
    let settings = world.tunnels.get(forward.tunnel.0).cloned().unwrap_or_default();
    let takeover = Takeover { opening, backend: stream, lease, place, id: record.id, client: record.client, settings, framing };
    Outcome::Tunnel(Box::new(takeover), alive)
}

/// Answers the client, and has bytes moved until both sides are done: by an engine, or in here.
pub(super) async fn tunnel(shared: Arc<Shared>, takeover: Box<Takeover>, on: Client, linger: Duration) {
    let Takeover { opening, backend, lease, place, id, client, settings, framing } = *takeover;
    let session = place.session();
    let version = if matches!(opening, Opening::Http2(_)) { Version::HTTP_2 } else { Version::HTTP_11 };
    record::opened(&shared, session, id, client, version);
    let Some((stream, capacity)) = open(on, opening).await else {
        drop(lease);
        return record::closed(&shared, session, client, &Report::unused(Ended::by(By::Client, How::Reset)));
    };
    let tunnel = Tunnel::between(stream.into_record_layer(), backend.into_record_layer(), settings, framing, linger);
    let hold = shared.tasks.hold();
    let named = if let laws::Client::Named(address) = client { Some(Box::new(address)) } else { None };
    let guest = Guest { shared: shared.clone(), place, named, lease, capacity, hold };
    let (tunnel, guest) = match &shared.engines {
        Some(engines) => match engines.adopt(tunnel, guest, base::worker()) {
            Ok(()) => return,
            Err(back) => *back,
        },
        None => (tunnel, guest),
    };
    shared.tasks.spawn("tunnel", run(Box::new(tunnel), guest));
}

/// A tunnel as a task of its own.
async fn run(tunnel: Box<Tunnel>, guest: Guest) {
    let report = tunnel.run(guest.traffic(), &guest.shared.shutdown).await;
    guest.over(report);
}

/// Sends the answer that opens a tunnel, and lets go of it. `None`: the client does not take it.
async fn open(client: Client, opening: Opening) -> Option<(Stream, Capacity)> {
    match (client, opening) {
        (Client::Http1(mut stream, permit), Opening::Http1(head)) => {
            let answer = async {
                stream.write_all(&head).await?;
                stream.flush().await
            };
            // A client that has not room for a head takes nothing at all.
            timeout(LINGER_TIME, answer).await.ok()?.ok()?;
            Some((stream, Capacity::Http1(permit)))
        }
        (Client::Http2(stream, alive), Opening::Http2(fields)) => Some((stream.open(fields)?, Capacity::Http2(alive))),
        _ => None, // an offer is answered by the version that it came by
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_tunnel_holds_beside_itself_is_small() {
        assert!(size_of::<Guest>() <= 72, "{} bytes", size_of::<Guest>());
    }
}
