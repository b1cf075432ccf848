//! Ordinary HTTP: to a server and back, streamed both ways.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use http::header::{CONTENT_LENGTH, EXPECT, HOST, HeaderValue, TRANSFER_ENCODING};
use http::{Method, Request, Response, StatusCode, Version, request};
use http_body::Body as _;
use http_body_util::BodyExt;
use tokio_util::sync::DropGuard;

use super::body::{Alive, ClientBody, Flow, Reply, Source, Upload};
use super::clock::Rack;
use super::connection::Connection;
use super::exchange::{Begun, BodySettled};
use super::laws::{self, Prepared};
use super::record::Record;
use super::respond::{self, Failure};
use super::{World, again};
use crate::headers::{self, check_response};
use crate::net::TapHandle;
use crate::route::{Forward, Normal, Route};
use crate::upstream::{AnswerBody, Backend, Connection as ToBackend, Lease, RequestBody, SendError, no_body};

/// A request to forward.
pub(super) struct Job<'a> {
    pub(super) route: &'a Arc<Route>,
    pub(super) forward: &'a Forward,
    pub(super) path: &'a Normal<'a>,
    pub(super) host: Option<HeaderValue>,
    pub(super) begun: Box<Begun>,
    pub(super) record: Record,
}

/// Forwards it and gives the backend's answer, or ours about it.
pub(super) async fn forward(connection: &Arc<Connection>, world: &World, job: Job<'_>) -> Response<Reply> {
    let Job { route, forward, path, host, begun, mut record } = job;
    let Begun { mut parts, body, alive, .. } = *begun;
    let backend = match laws::backend(world, forward) {
        Ok(backend) => backend,
        Err(failure) => return respond::failure(failure, record, alive),
    };
    if forward.max_body.is_some_and(|limit| body.size_hint().lower() > limit) {
        return respond::failure(Failure::too_large(), record, alive);
    }
    let version = parts.version;
    let has_body = !body.is_end_stream();
    let prepared = laws::request(connection, world, route, forward, path, host, &mut parts);
    let expects = has_body
        && version != Version::HTTP_10
        && parts.headers.get(EXPECT).is_some_and(|expect| expect.as_bytes().eq_ignore_ascii_case(b"100-continue"));
    let flow = Flow::new(record.started, expects);
    record.upload = has_body.then(|| flow.clone());
    let body = upload(connection, forward, &flow, &mut parts, body, version);
    let cookie = prepared.cookie.as_deref();
    let (rack, answer_time) = (&connection.rack, forward.answer_time);
    let method = parts.method.clone();
    let again = || {
        let head = connection.tap.as_ref()?.served()?;
        let mut parts = again::parse(head.into(), world.settings.heads.count)?;
        if parts.method != method {
            return None;
        }
        laws::request(connection, world, route, forward, path, prepared.host.clone(), &mut parts);
        no_expectation_of_http_10(&mut parts, version);
        Some(Request::from_parts(parts, no_body()))
    };
    let can_again = connection.tap.as_ref().is_some_and(TapHandle::has_served);
    let again: Option<&Again<'_>> = can_again.then_some(&again);
    let tap = connection.tap.as_ref();
    let job = Sending { backend, prepared: &prepared, flow: &flow, rack, answer_time, tap, again };
    let outcome = job.send(cookie, parts, body, &mut record).await;
    let unasked = flow.answered();
    let upload = flow.until_over();
    let mut answer = match outcome {
        Ok((response, lease)) => {
            let answered = Answered { route, forward, prepared: &prepared, cookie, version, lease, upload };
            answered.pass(connection, backend, response, record, alive)
        }
        Err(failure) => respond::failure(failure, record, alive),
    };
    if unasked && version <= Version::HTTP_11 {
        respond::close_after(answer.headers_mut());
    }
    if has_body {
        answer.extensions_mut().insert(BodySettled);
    }
    answer
}

fn upload(
    connection: &Connection,
    forward: &Forward,
    flow: &Arc<Flow>,
    parts: &mut request::Parts,
    body: ClientBody,
    version: Version,
) -> RequestBody {
    no_expectation_of_http_10(parts, version);
    if body.is_end_stream() {
        return no_body();
    }
    if !parts.headers.contains_key(CONTENT_LENGTH) {
        // hyper sends a body of unknown length with GET and HEAD only where it is told to.
        parts.headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
    Upload::new(body, flow, forward.max_body, connection.tap.clone()).boxed_unsync()
}

/// RFC 9110 section 10.1.1.
fn no_expectation_of_http_10(parts: &mut request::Parts, version: Version) {
    if version == Version::HTTP_10 {
        parts.headers.remove(EXPECT);
    }
}

/// Makes the request at hand once more, by the law, from its head as it came.
type Again<'a> = dyn Fn() -> Option<Request<RequestBody>> + Sync + 'a;

/// A request on its way through the servers of a backend.
struct Sending<'a> {
    backend: &'a Backend,
    prepared: &'a Prepared,
    flow: &'a Arc<Flow>,
    rack: &'a Rack,
    answer_time: Duration,
    /// What knows how the client spelled names; of h2 there is none.
    tap: Option<&'a TapHandle>,
    /// Where its head is still there; else it is copied before it goes.
    again: Option<&'a Again<'a>>,
}

impl Sending<'_> {
    /// Tries servers until one has taken the request. What was sent in part is not sent again, but for
    /// one case: a reused connection that the server had just closed, and a request that may be
    /// repeated (RFC 9110 section 9.2.2, RFC 9112 section 9.3.1).
    async fn send(
        &self,
        cookie: Option<&str>,
        parts: request::Parts,
        body: RequestBody,
        record: &mut Record,
    ) -> Result<(Response<AnswerBody>, Lease), Failure> {
        let repeatable = body.is_end_stream() && is_idempotent(&parts.method);
        let mut request = Box::new(Request::from_parts(parts, body)); // it goes from hand to hand
        *request.uri_mut() =
            self.prepared.target.to_uri().ok_or_else(|| Failure::bad_gateway("the rewritten target is no target"))?;
        let mut tried: Vec<Lease> = Vec::new();
        let mut fresh = false;
        let mut last = Failure::bad_gateway("the backend has no server");
        let mut next = self.backend.pick(cookie, &tried);
        while let Some(lease) = next {
            record.server = Some(lease.server_name().clone());
            let connection = match lease.connect(fresh).await {
                Ok(connection) => connection,
                Err(error) => {
                    last = Failure::dialling(&error);
                    tried.push(lease);
                    next = self.backend.pick(cookie, &tried);
                    continue;
                }
            };
            let others = self.backend.server_count() > tried.len() + 1;
            let may_repeat = repeatable && (connection.is_reused() || others);
            let spare = (may_repeat && self.again.is_none()).then(|| Box::new(copy_of(&request)));
            request.headers_mut().insert(HOST, self.prepared.host_for(&lease));
            let shared = connection.http2_number();
            let answer = self.exchange(connection, request).await;
            if let (Err(_), Some(number), false) = (&answer, shared, self.flow.is_owed()) {
                lease.distrust(number);
            }
            let error = match answer? {
                Ok(response) => return Ok((response, lease)),
                Err(error) => error,
            };
            if self.flow.is_too_large() {
                return Err(Failure::too_large());
            }
            if self.flow.is_broken() {
                return Err(Failure::broken_body());
            }
            last = Failure::sending(&error);
            let reused = error.reused;
            let repeat = may_repeat && is_early_close(&error.error);
            let again = || if repeat { spare.or_else(|| self.again_to_target()) } else { None };
            let Some(again) = error.unsent.or_else(again) else { return Err(last) };
            request = again;
            if reused && !fresh {
                fresh = true; // the same server, on a connection that nobody has closed yet
                next = Some(lease);
            } else {
                tried.push(lease);
                next = self.backend.pick(cookie, &tried);
            }
        }
        Err(last)
    }

    fn again_to_target(&self) -> Option<Box<Request<RequestBody>>> {
        let mut request = self.again?()?;
        *request.uri_mut() = self.prepared.target.to_uri()?;
        Some(Box::new(request))
    }

    /// One attempt. The outer error is final.
    async fn exchange(
        &self,
        connection: ToBackend,
        mut request: Box<Request<RequestBody>>,
    ) -> Result<Result<Response<AnswerBody>, SendError>, Failure> {
        // Over h1 the connection counts such answers itself, and only a held body waits for one.
        let told = self.flow.is_held() || connection.http2_number().is_some();
        if told {
            let flow = self.flow.clone();
            hyper::ext::on_informational(&mut request, move |answer| flow.informed(answer.status()));
        }
        let names = self.tap.map(TapHandle::names).unwrap_or_default();
        let mut sent = pin!(connection.send(request, self.prepared.te_trailers, names));
        let mut clock = self.rack.lend(self.flow, self.answer_time);
        poll_fn(|cx| {
            if let Poll::Ready(answer) = sent.as_mut().poll(cx) {
                return Poll::Ready(Ok(answer));
            }
            if told && self.flow.poll_flooded(cx).is_ready() {
                return Poll::Ready(Err(Failure::bad_gateway("it sent informational answers without an end")));
            }
            clock.poll(cx).map(|()| {
                Err(if self.flow.is_owed() { Failure::late_body() } else { Failure::silent("it sent no answer in time") })
            })
        })
        .await
    }
}

/// Methods that may be repeated (RFC 9110 section 9.2.2).
fn is_idempotent(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS | Method::PUT | Method::DELETE)
}

/// Whether the server closed before an answer, rather than answering badly.
fn is_early_close(error: &hyper::Error) -> bool {
    use std::io::ErrorKind as Kind;
    let io = std::error::Error::source(error).and_then(|source| source.downcast_ref::<std::io::Error>());
    error.is_incomplete_message()
        || error.is_closed()
        || error.is_canceled()
        || io.is_some_and(|io| {
            matches!(io.kind(), Kind::ConnectionReset | Kind::BrokenPipe | Kind::NotConnected | Kind::UnexpectedEof)
        })
}

/// The same request once more; it has no body.
fn copy_of(request: &Request<RequestBody>) -> Request<RequestBody> {
    let mut copy = Request::new(no_body());
    *copy.method_mut() = request.method().clone();
    *copy.uri_mut() = request.uri().clone();
    *copy.headers_mut() = request.headers().clone();
    copy
}

/// An answer of the backend on its way to the client.
pub(super) struct Answered<'a> {
    pub(super) route: &'a Route,
    pub(super) forward: &'a Forward,
    pub(super) prepared: &'a Prepared,
    pub(super) cookie: Option<&'a str>,
    pub(super) version: Version,
    pub(super) lease: Lease,
    /// Lets the request's body go when the answer is over.
    pub(super) upload: Option<DropGuard>,
}

impl Answered<'_> {
    /// Passes it on by the law, or refuses it.
    pub(super) fn pass(
        mut self,
        connection: &Connection,
        backend: &Backend,
        response: Response<AnswerBody>,
        mut record: Record,
        alive: Alive,
    ) -> Response<Reply> {
        if let Err(bad) = check_response(response.version(), response.status(), response.headers()) {
            return respond::failure(bad.into(), record, alive);
        }
        let (mut head, mut body) = response.into_parts();
        body.judged_good();
        let names = body.take_head();
        headers::keep_one_length(&mut head.headers);
        record.status = Some(head.status);
        laws::response(connection, &self, backend, head.status, &mut head.headers);
        head.version = Version::HTTP_11; // hyper lowers it for a client of 1.0
        let until_close = self.version == Version::HTTP_10 && !head.headers.contains_key(CONTENT_LENGTH);
        let told = match head.status {
            StatusCode::NOT_MODIFIED if self.version <= Version::HTTP_11 => headers::content_length(&head.headers).ok().flatten(),
            _ => None,
        };
        let source = match told {
            Some(length) => Source::Told(length),
            None => Source::backend(body, self.forward.between_time, until_close, self.upload.take()),
        };
        Response::from_parts(head, Reply::new(source, record, alive).spelled_as(names))
    }
}
