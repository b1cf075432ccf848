//! Records: one line for each request, one at the open and one at the close of each tunnel.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::time::Duration;

use http::uri::PathAndQuery;
use http::{HeaderValue, Method, StatusCode, Version};
use tokio::time::Instant;

use super::Shared;
use super::body::Flow;
use super::connection::Connection;
use super::laws::{self, Client};
use crate::base::{RequestId, now};
use crate::frame::{Close, Opaque};
use crate::session::Session;
use crate::tunnel::{By, How, Report};

/// Whose fault an error is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    Client,
    Backend,
    Us,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Client => "client",
            Self::Backend => "backend",
            Self::Us => "spliceway",
        })
    }
}

/// What is known of a request; written when it is dropped, so that none is lost. On the heap, since it goes from hand
/// to hand: what is large is not to be moved a dozen times.
pub(super) struct Record(Box<Known>);

pub(super) struct Known {
    pub(super) id: RequestId,
    pub(super) client: Client,
    pub(super) started: Instant,
    /// How long it took, once it is over.
    took: Option<Duration>,
    pub(super) route: Option<Arc<str>>,
    pub(super) server: Option<Arc<str>>,
    pub(super) status: Option<StatusCode>,
    /// What counts the bytes of its body.
    pub(super) upload: Option<Arc<Flow>>,
    pub(super) bytes_out: u64,
    // As they came, and made text where a record is written: most proxies write none.
    method: Method,
    host: Option<HeaderValue>,
    target: Option<PathAndQuery>,
    fault: Option<(Fault, String)>,
    connection: Arc<Connection>,
    /// It became a tunnel, which has records of its own.
    silent: bool,
}

impl Record {
    pub(super) fn new(
        connection: &Arc<Connection>,
        client: Client,
        method: Method,
        host: Option<HeaderValue>,
        target: Option<PathAndQuery>,
    ) -> Self {
        Self(Box::new(Known {
            id: RequestId::next(),
            client,
            started: now(),
            took: None,
            route: None,
            server: None,
            status: None,
            upload: None,
            bytes_out: 0,
            method,
            host,
            target,
            fault: None,
            connection: connection.clone(),
            silent: false,
        }))
    }

    /// Whether the request was HEAD.
    pub(super) fn is_head(&self) -> bool {
        self.method == Method::HEAD
    }

    /// Notes that the answer was not taken to its end: by the client, or by us when the grace is over.
    pub(super) fn blame_cut(&mut self) {
        if self.connection.entry.shared.shutdown.has_ended() {
            self.blame(Fault::Us, || "the process ended before the answer did".to_owned());
        } else {
            self.blame(Fault::Client, || "the client went away before the answer's end".to_owned());
        }
    }

    /// Notes what went wrong; the first word stands.
    pub(super) fn blame(&mut self, fault: Fault, why: impl FnOnce() -> String) {
        if self.fault.is_none() {
            self.fault = Some((fault, why()));
        }
    }

    /// The answer is over now; the line about it may come later.
    pub(super) fn end(&mut self) {
        self.took = Some(self.started.elapsed());
    }

    /// The request became a tunnel.
    pub(super) fn silence(&mut self) {
        self.silent = true;
    }
}

impl Deref for Record {
    type Target = Known;

    fn deref(&self) -> &Known {
        &self.0
    }
}

impl DerefMut for Record {
    fn deref_mut(&mut self) -> &mut Known {
        &mut self.0
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        if self.silent {
            return;
        }
        self.connection.entry.shared.counters.requests.add();
        if self.status.is_none() {
            self.blame_cut();
        }
        if !self.connection.entry.shared.records {
            return;
        }
        // Text, where it can be had without making it.
        let id = self.id.digits();
        let named;
        let client = match &self.client {
            Client::Peer(_) => self.connection.peer_text(),
            client @ Client::Named(_) => {
                named = client.to_string();
                &named
            }
        };
        tracing::info!(
            target: "spliceway::records",
            id = str::from_utf8(&id).unwrap_or_default(),
            client,
            method = self.method.as_str(),
            host = self.host.as_ref().map(laws::lossy).as_deref().unwrap_or_default(),
            path = self.target.as_ref().map_or("", PathAndQuery::path),
            route = self.route.as_deref(),
            backend = self.server.as_deref(),
            status = self.status.map_or(499, |status| status.as_u16()), // 499: nginx's word for a client gone
            seconds = self.took.unwrap_or_else(|| self.started.elapsed()).as_secs_f64(),
            bytes_in = self.upload.as_ref().map_or(0, |flow| flow.bytes()),
            bytes_out = self.bytes_out,
            fault = self.fault.as_ref().map(|(fault, _)| tracing::field::display(fault)),
            why = self.fault.as_ref().map(|(_, why)| why.as_str()),
            "request"
        );
    }
}

/// The record at the open of a tunnel.
/// `version`: what the client asked in; over HTTP/2 by `:protocol` (RFC 8441).
pub(super) fn opened(shared: &Shared, session: &Session, id: RequestId, client: Client, version: Version) {
    shared.counters.tunnels.add();
    if shared.records {
        tracing::info!(
            target: "spliceway::records",
            session = itoa::Buffer::new().format(session.id.number()),
            id = str::from_utf8(&id.digits()).unwrap_or_default(),
            client = client.to_string(),
            route = &*session.route,
            backend = &*session.server,
            version = if version == Version::HTTP_2 { "HTTP/2.0" } else { "HTTP/1.1" },
            protocol = (version == Version::HTTP_2).then_some("websocket"),
            "tunnel opened"
        );
    }
}

/// The record at its close. Fields without a value are left out: most tunnels end without most of them.
pub(super) fn closed(shared: &Shared, session: &Session, client: Client, report: &Report) {
    if !shared.records {
        return;
    }
    let Report { ended, client: from_client, backend: from_backend, round_trips } = report;
    let code = |close: &Option<Close>| close.as_ref().and_then(|close| close.code);
    let reason = |close: &Option<Close>| {
        let reason = close.as_ref().filter(|close| !close.reason.is_empty());
        reason.map(|close| String::from_utf8_lossy(&close.reason).into_owned())
    };
    let opaque = |opaque: Option<Opaque>| opaque.map(|Opaque { since, why }| format!("from byte {since} on: {why}"));
    let violation = if let How::Violation(violation) = ended.how { Some(violation.to_string()) } else { None };
    tracing::info!(
        target: "spliceway::records",
        session = itoa::Buffer::new().format(session.id.number()),
        client = client.to_string(),
        route = &*session.route,
        backend = &*session.server,
        seconds = session.opened.elapsed().as_secs_f64(),
        bytes_from_client = session.traffic.from_client(),
        bytes_from_backend = session.traffic.from_backend(),
        messages_from_client = from_client.counts.messages,
        messages_from_backend = from_backend.counts.messages,
        largest_from_client = from_client.counts.largest,
        largest_from_backend = from_backend.counts.largest,
        close_from_client = code(&from_client.close),
        close_reason_from_client = reason(&from_client.close),
        close_from_backend = code(&from_backend.close),
        close_reason_from_backend = reason(&from_backend.close),
        opaque_from_client = opaque(from_client.opaque),
        opaque_from_backend = opaque(from_backend.opaque),
        ping_ms_min = round_trips.map(|trips| millis(trips.min)),
        ping_ms_median = round_trips.map(|trips| millis(trips.median)),
        ping_ms_max = round_trips.map(|trips| millis(trips.max)),
        ended_by = ended.by.word(),
        how = ended.how.word(),
        fault = ended.fault.map(By::word),
        why = violation,
        "tunnel closed"
    );
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}
