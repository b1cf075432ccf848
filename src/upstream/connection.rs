//! A connection that can take one request: from the pool, or dialled and spoken to in h1 or h2.

use std::fmt;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::task::AtomicWaker;
use http::header::{HOST, HeaderValue};
use http::{Request, Response, Uri, Version};
use http_body::Body as _;
use hyper::body::Incoming;
use hyper::client::conn::{TrySendError, http1, http2};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::runtime::Handle;
use tokio::time::{Sleep, sleep, timeout};

use super::answer::AnswerBody;
use super::backend::{Lease, Server};
use super::hearing::{Asked, Ear, Hearing};
use super::plain::{self, Whole};
use super::{DialError, HeadLimits, Protocol, RequestBody, Scheme};
use crate::base::{self, Tasks};
use crate::headers::add_te;
use crate::net::Stream;
use crate::tls::{Alpn, ClientAlpn};

/// One stream's window toward us: what one unread answer may hold.
const H2_STREAM_WINDOW: u32 = 256 << 10;
/// All of them together: one stalled answer cannot stop the others before 16 have stalled.
const H2_CONNECTION_WINDOW: u32 = 4 << 20;

/// What is queued to send on one stream before the client is made to wait.
const H2_SEND_BUFFER: usize = 64 << 10;
/// How long a connection that was given back may still take to be ready. It is microseconds, but where an
/// upload goes on behind its answer.
const ENDING_TIME: Duration = Duration::from_millis(2);

/// A connection with room for one request.
#[derive(Debug)]
pub struct Connection {
    sender: Sender,
    lease: Lease,
    reused: bool,
}

#[derive(Debug)]
enum Sender {
    Http1(Box<Http1>),
    /// With the number by which the pool knows it.
    Http2(http2::SendRequest<RequestBody>, u64),
}

/// The hold on an h1 connection: its drop ends it.
pub(super) struct Http1 {
    pub(super) sender: http1::SendRequest<RequestBody>,
    driver: Driver,
    ear: Ear,
    heads: HeadLimits,
    /// May carry further requests.
    pub(super) reusable: bool,
    /// The thread whose runtime watches its socket.
    pub(super) home: usize,
    /// Its end is told by a `close_notify`.
    is_tls: bool,
    tasks: Tasks,
}

/// Who drives an h1 connection.
enum Driver {
    /// Whoever waits for its answer: no second task is woken for each request, and none waits with an idle connection.
    Holder(Pin<Box<dyn Future<Output = ()> + Send>>),
    /// A task, so that an upload goes on whether or not the client takes its answer.
    Task {
        /// hyper ends a connection that nobody holds only when its last bytes are written; a server that takes
        /// none would keep it, and the client's body in it, for as long as it likes.
        _hold: Hold,
    },
    /// Nobody: it has ended.
    Over,
}

impl fmt::Debug for Http1 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Http1").field("sender", &self.sender).field("reusable", &self.reusable).finish_non_exhaustive()
    }
}

/// Tells a connection's task that nobody holds the connection any more.
#[derive(Debug)]
struct Hold(Arc<Held>);

/// Not a `CancellationToken`: looked at whenever the connection moves, and that one takes a lock for it.
#[derive(Debug, Default)]
struct Held {
    no_more: AtomicBool,
    task: AtomicWaker,
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.0.no_more.store(true, Ordering::Release);
        self.0.task.wake();
    }
}

impl Held {
    /// Ready when the hold was dropped.
    fn poll_dropped(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.task.register(cx.waker()); // before the look, so that a drop in between is not missed
        if self.no_more.load(Ordering::Acquire) { Poll::Ready(()) } else { Poll::Pending }
    }
}

/// How long an abandoned connection may take to end by itself, with a `close_notify` where there is TLS.
const ABANDONED_TIME: Duration = Duration::from_secs(1);

/// Why a request got no answer.
#[derive(Debug)]
pub struct SendError {
    /// What hyper says.
    pub error: hyper::Error,
    /// The request, where not a byte of it was sent: it may be sent again, whatever it is.
    pub unsent: Option<Box<Request<RequestBody>>>,
    /// The connection had carried other requests: the server may just have closed it.
    pub reused: bool,
}

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)?;
        let mut source = std::error::Error::source(&self.error);
        while let Some(cause) = source {
            write!(f, ": {cause}")?;
            source = cause.source();
        }
        Ok(())
    }
}

impl Lease {
    /// A connection to the leased server: an idle one, unless `fresh` is asked for, or a new one.
    pub async fn connect(&self, fresh: bool) -> Result<Connection, DialError> {
        let pool = &self.server.pool;
        if !fresh {
            let pooled = pool
                .take_http1()
                .map(Sender::Http1)
                .or_else(|| pool.share_http2().map(|(sender, number)| Sender::Http2(sender, number)));
            let pooled = match pooled {
                None => self.just_ending().await,
                pooled => pooled,
            };
            if let Some(sender) = pooled {
                return Ok(Connection { sender, lease: self.clone(), reused: true });
            }
        }
        let alpn = match self.server.settings.protocol {
            Protocol::Auto => ClientAlpn::Both,
            Protocol::H1 => ClientAlpn::Http1,
            Protocol::H2 => ClientAlpn::H2,
        };
        let (stream, alpn) = self.server.dial(alpn).await?;
        let sender = if alpn == Alpn::H2 || self.server.address.scheme == Scheme::H2c {
            let sender = start_http2(stream, &self.server).await.map_err(handshake_error)?;
            let number = pool.keep_http2(sender.clone());
            Sender::Http2(sender, number)
        } else {
            Sender::Http1(start_http1(stream, &self.server).await.map_err(handshake_error)?)
        };
        Ok(Connection { sender, lease: self.clone(), reused: false })
    }

    /// A request on the h2 connection of this number got no answer in time: if the fault is the
    /// connection's, the next request is not to suffer from it too.
    pub fn distrust(&self, number: u64) {
        self.server.pool.drop_http2(number);
    }

    /// A connection whose last answer has been read, once its task has seen that too.
    async fn just_ending(&self) -> Option<Sender> {
        let pool = &self.server.pool;
        let mut http1 = pool.take_ending()?; // driven by a task
        if let Ok(ready) = timeout(ENDING_TIME, http1.sender.ready()).await {
            return ready.is_ok().then_some(Sender::Http1(http1));
        }
        pool.put_http1(http1);
        None
    }

    /// A new connection as a bare stream, for a handshake over HTTP/1.1 and the tunnel behind it, which has to call
    /// [`notice_loss_of`](crate::net::notice_loss_of) if it lives.
    pub async fn dial(&self) -> Result<Stream, DialError> {
        self.server.dial_for_now(ClientAlpn::Http1).await.map(|(stream, _)| stream)
    }
}

fn handshake_error(error: hyper::Error) -> DialError {
    DialError::Connect(std::io::Error::other(error))
}

/// Starts h1 on `stream`.
pub(super) async fn start_http1(stream: Stream, server: &Server) -> hyper::Result<Box<Http1>> {
    let mut builder = http1::Builder::new();
    // The bound on what one stalled exchange holds in each direction.
    builder.max_buf_size(server.heads.bytes.max(64 << 10)).max_header_size(server.heads.bytes);
    if server.heads.count != 100 {
        builder.max_headers(server.heads.count); // hyper's default needs no heap
    }
    let (hearing, ear) = Hearing::new(stream);
    let (sender, connection) = builder.handshake(TokioIo::new(hearing)).await?;
    // Its errors reach whoever waits for an answer on it.
    let driver = Driver::Holder(Box::pin(connection.map(drop)));
    let (is_tls, tasks) = (server.address.scheme == Scheme::Https, server.tasks.clone());
    Ok(Box::new(Http1 { sender, driver, ear, heads: server.heads, reusable: true, home: base::worker(), is_tls, tasks }))
}

/// The body of an answer over h1.
#[derive(Debug)]
pub(super) enum Body {
    Hyper(Incoming),
    Whole(Whole),
}

type Sent = Result<Response<Incoming>, TrySendError<Request<RequestBody>>>;

impl Http1 {
    /// Sends a request, whose names are spelled as in `names`.
    pub(super) async fn send(
        &mut self,
        request: Box<Request<RequestBody>>,
        names: Vec<u8>,
    ) -> Result<Response<Body>, TrySendError<Request<RequestBody>>> {
        if !request.body().is_end_stream() {
            self.leave_to_a_task(&Handle::current());
        }
        if !matches!(self.driver, Driver::Holder(_)) {
            self.ear.asked(names);
            return self.sender.try_send_request(*request).await.map(|answer| answer.map(Body::Hyper));
        }
        let head = plain::request_head(&request, &names);
        base::others_first().await; // all prepare their requests, then all are sent
        let asked = match &head {
            Some(head) => self.ear.ask(head).await,
            None => Asked::NotAsked,
        };
        let answer = match asked {
            Asked::Read(read) => match plain::answer(&read, self.heads) {
                Some(answer) => Ok(answer.map(Body::Whole)),
                None => Box::pin(self.read_answer(read, *request)).await.map(|answer| answer.map(Body::Hyper)),
            },
            Asked::NotAsked => {
                self.ear.asked(names);
                Box::pin(self.exchange(*request)).await.map(|answer| answer.map(Body::Hyper))
            }
        };
        base::others_first().await; // all read their answers, then all are passed on
        answer
    }

    /// Has hyper read an answer, to a request like this that was sent already: `read`, and what follows it.
    pub(super) async fn read_answer(&mut self, read: Bytes, request: Request<RequestBody>) -> Sent {
        self.ear.asked(Vec::new());
        self.ear.replay(read);
        self.exchange(request).await
    }

    /// Gives hyper a request without a body, and drives the connection until there is an answer.
    async fn exchange(&mut self, request: Request<RequestBody>) -> Sent {
        let mut answer = pin!(self.sender.try_send_request(request));
        let driver = &mut self.driver;
        poll_fn(|cx| {
            driver.drive(cx);
            answer.as_mut().poll(&mut quiet())
        })
        .await
    }

    /// Does what can be done on it now, where that is its holder's to do; who is given by `cx` is woken when more can.
    pub(super) fn drive(&mut self, cx: &mut Context<'_>) {
        self.driver.drive(cx);
    }

    /// The head of the answer as it came.
    pub(super) fn answer_head(&self) -> Vec<u8> {
        self.ear.answered()
    }

    /// Has it come to rest, if it can; on the way to the pool, or out of it. What it was told before that wakes nobody.
    pub(super) fn settle(&mut self) {
        self.drive(&mut quiet());
    }

    /// Whether a task drives it.
    pub(super) fn is_left_to_a_task(&self) -> bool {
        matches!(self.driver, Driver::Task { .. })
    }

    /// Has a task on this runtime drive it, for good.
    pub(super) fn leave_to_a_task(&mut self, on: &Handle) {
        let Driver::Holder(mut connection) = self.driver.take() else { return };
        let held = Arc::<Held>::default();
        self.driver = Driver::Task { _hold: Hold(held.clone()) };
        let drive = async move {
            let mut last: Option<Pin<Box<Sleep>>> = None; // runs once nobody holds it
            poll_fn(|cx| {
                if connection.as_mut().poll(cx).is_ready() {
                    return Poll::Ready(());
                }
                if last.is_none() && held.poll_dropped(cx).is_ready() {
                    last = Some(Box::pin(sleep(ABANDONED_TIME)));
                }
                last.as_mut().map_or(Poll::Pending, |last| last.as_mut().poll(cx))
            })
            .await;
        };
        self.tasks.spawn_on("backend connection", drive, on);
    }
}

impl Driver {
    /// Takes it from its holder; of one that has none this is `Over`.
    fn take(&mut self) -> Self {
        if matches!(self, Self::Holder(_)) { std::mem::replace(self, Self::Over) } else { Self::Over }
    }

    fn drive(&mut self, cx: &mut Context<'_>) {
        if let Self::Holder(connection) = self
            && connection.as_mut().poll(cx).is_ready()
        {
            *self = Self::Over;
        }
    }
}

impl Drop for Http1 {
    fn drop(&mut self) {
        // It says goodbye, unless the process ends and there is no runtime any more.
        if let Ok(on) = Handle::try_current()
            && self.is_tls
        {
            self.leave_to_a_task(&on);
        }
    }
}

/// For what only happens while a connection is driven: nobody is to be woken for it.
pub(super) fn quiet() -> Context<'static> {
    Context::from_waker(Waker::noop())
}

async fn start_http2(stream: Stream, server: &Server) -> hyper::Result<http2::SendRequest<RequestBody>> {
    let mut builder = http2::Builder::new(Executor(server.tasks.clone()));
    builder.timer(TokioTimer::new());
    builder.initial_stream_window_size(H2_STREAM_WINDOW).initial_connection_window_size(H2_CONNECTION_WINDOW);
    builder.max_header_list_size(u32::try_from(server.heads.bytes).unwrap_or(u32::MAX)).max_send_buf_size(H2_SEND_BUFFER);
    // No PINGs: gRPC servers answer those that come more often than each 5 minutes with GOAWAY. A dead
    // connection is noticed by TCP keepalive, and a request without an answer takes it out of the pool.
    let (sender, connection) = builder.handshake(TokioIo::new(stream)).await?;
    server.tasks.spawn("backend h2 connection", async move {
        connection.await.ok();
    });
    Ok(sender)
}

/// Lets hyper start its tasks where ours are counted.
#[derive(Clone, Debug)]
struct Executor(Tasks);

impl<F> hyper::rt::Executor<F> for Executor
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, future: F) {
        self.0.spawn("backend h2 stream", future);
    }
}

impl Connection {
    /// The number of the h2 connection that it shares.
    pub fn http2_number(&self) -> Option<u64> {
        if let Sender::Http2(_, number) = self.sender { Some(number) } else { None }
    }

    /// Whether it has carried other requests: the server may just be closing it.
    pub fn is_reused(&self) -> bool {
        self.reused
    }

    /// Sends `request`: origin form, `Host` set, hop-by-hop fields gone; `te_trailers` where the client
    /// takes trailers. Dropping the future cancels the request and closes an h1 connection.
    /// Over h1 its names are spelled as in the head `names`.
    pub async fn send(
        self,
        mut request: Box<Request<RequestBody>>,
        te_trailers: bool,
        names: Vec<u8>,
    ) -> Result<Response<AnswerBody>, SendError> {
        let Self { sender, lease, reused } = self;
        let failed = |error: TrySendError<Request<RequestBody>>| {
            let mut error = error;
            SendError { unsent: error.take_message().map(Box::new), error: error.into_error(), reused }
        };
        match sender {
            Sender::Http1(mut http1) => {
                *request.version_mut() = Version::HTTP_11;
                if te_trailers {
                    add_te(request.headers_mut(), Version::HTTP_11);
                }
                let response = http1.send(request, names).await.map_err(failed)?;
                Ok(response.map(|body| match body {
                    Body::Hyper(body) => AnswerBody::new(body, lease, Some(http1)),
                    Body::Whole(whole) => AnswerBody::whole(whole, lease, http1),
                }))
            }
            Sender::Http2(mut sender, _) => {
                if te_trailers {
                    add_te(request.headers_mut(), Version::HTTP_2);
                }
                to_http2(&mut request, &lease);
                let response = sender.try_send_request(*request).await.map_err(failed)?;
                Ok(response.map(|body| AnswerBody::new(body, lease, None)))
            }
        }
    }
}

/// Moves `Host` into the target, where h2 has it (RFC 9113 section 8.3.1).
pub(super) fn to_http2<B>(request: &mut Request<B>, lease: &Lease) {
    let host = request.headers_mut().remove(HOST);
    let host = host.as_ref().map_or(lease.authority().as_bytes(), HeaderValue::as_bytes);
    let scheme = if lease.server.address.scheme == Scheme::Https { "https" } else { "http" };
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
    if let Ok(uri) = Uri::builder().scheme(scheme).authority(host).path_and_query(path).build() {
        *request.uri_mut() = uri;
    }
    *request.version_mut() = Version::HTTP_2;
    request.headers_mut().remove(http::header::TRANSFER_ENCODING);
}
