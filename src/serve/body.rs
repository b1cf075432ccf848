//! Bodies on their way through: counted, limited, timed, never collected.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use futures_util::task::AtomicWaker;
use http::StatusCode;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::{Instant, Sleep, sleep};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::connection::Connection;
use super::record::{Fault, Record};
use crate::net::{H2Body, TapHandle};
use crate::upstream::{AnswerBody, BodyError, INFORMATIONAL_ANSWERS};

/// How long a client that expects a 100 is kept waiting for the backend's (RFC 9110 section 10.1.1: it
/// need not wait for ever; curl waits 1 s).
const EXPECT_TIME: Duration = Duration::from_secs(1);

/// What an upload tells those who wait for its answer.
#[derive(Debug)]
pub(super) struct Flow {
    bytes: AtomicU64,
    /// Milliseconds from `begun` to the last byte that moved.
    moved: AtomicU64,
    begun: Instant,
    too_large: AtomicBool,
    broken: AtomicBool,
    /// The backend waits for bytes that the client has not sent (h1: on h2 both may well wait for the
    /// other, as gRPC does).
    owed: AtomicBool,
    informational: AtomicUsize,
    /// Who waits for the backend's answer.
    waiter: AtomicWaker,
    answered: AtomicBool,
    /// It is not asked for before the backend has spoken.
    held: AtomicBool,
    /// Of a body that is to be asked for: most requests have none, and pay nothing for it.
    asking: Option<Asking>,
}

/// What opens the gate of a body, or shuts it for good.
#[derive(Debug, Default)]
struct Asking {
    /// Given when the backend says 100.
    go_on: CancellationToken,
    /// Given when the answer is over.
    over: CancellationToken,
}

impl Flow {
    /// `begun`: when the request came. `expects`: the client waits to be asked for its body.
    pub(super) fn new(begun: Instant, expects: bool) -> Arc<Self> {
        Arc::new(Self {
            bytes: AtomicU64::new(0),
            moved: AtomicU64::new(0),
            begun,
            too_large: false.into(),
            broken: false.into(),
            owed: false.into(),
            informational: AtomicUsize::new(0),
            waiter: AtomicWaker::new(),
            answered: false.into(),
            held: expects.into(),
            asking: expects.then(Asking::default),
        })
    }

    /// How many bytes of it have come.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// When its last byte moved; at first, when the request came.
    pub(super) fn last_moved(&self) -> Instant {
        self.begun + Duration::from_millis(self.moved.load(Ordering::Relaxed))
    }

    /// The body went over the route's limit.
    pub(super) fn is_too_large(&self) -> bool {
        self.too_large.load(Ordering::Relaxed)
    }

    /// The client's body broke off or was malformed.
    pub(super) fn is_broken(&self) -> bool {
        self.broken.load(Ordering::Relaxed)
    }

    /// It is the client that is waited for.
    pub(super) fn is_owed(&self) -> bool {
        self.owed.load(Ordering::Relaxed)
    }

    /// The backend gave an answer of 1xx.
    pub(super) fn informed(&self, status: StatusCode) {
        if let (StatusCode::CONTINUE, Some(asking)) = (status, &self.asking) {
            asking.go_on.cancel();
        }
        if self.informational.fetch_add(1, Ordering::Relaxed) == INFORMATIONAL_ANSWERS {
            self.waiter.wake();
        }
    }

    /// Whether there have been too many of them; who asks is woken when that comes true.
    pub(super) fn poll_flooded(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.waiter.register(cx.waker());
        let flooded = self.informational.load(Ordering::Relaxed) > INFORMATIONAL_ANSWERS;
        if flooded { Poll::Ready(()) } else { Poll::Pending }
    }

    /// The final answer is here: a body that nobody has asked for yet is not asked for any more. Whether
    /// that is so: the client may send it all the same, so its connection must end (RFC 9110 section 10.1.1).
    pub(super) fn answered(&self) -> bool {
        self.answered.store(true, Ordering::Relaxed);
        self.held.load(Ordering::Relaxed)
    }

    /// Whether its body waits for the backend's word.
    pub(super) fn is_held(&self) -> bool {
        self.asking.is_some()
    }

    /// To be dropped when the answer is over.
    pub(super) fn until_over(&self) -> Option<DropGuard> {
        self.asking.as_ref().map(|asking| asking.over.clone().drop_guard())
    }

    /// Completes when it is clear whether a client that expects a 100 is asked for its body.
    async fn is_asked_for(self: Arc<Self>) -> bool {
        let Some(Asking { go_on, over }) = &self.asking else { return true };
        tokio::select! {
            () = go_on.cancelled() => return true,
            () = over.cancelled() => return false,
            () = sleep(EXPECT_TIME) => {}
        }
        if self.answered.load(Ordering::Relaxed) {
            over.cancelled().await;
            return false;
        }
        true
    }
}

/// A client's body, by whichever version it comes.
#[derive(Debug)]
pub(super) enum ClientBody {
    Http1(Incoming),
    Http2(Box<H2Body>),
    /// Of an offer that was not read by hyper, or an extended CONNECT: what follows its head belongs to the tunnel.
    None,
}

impl Body for ClientBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self.get_mut() {
            Self::Http1(body) => Pin::new(body).poll_frame(cx).map_err(Into::into),
            Self::Http2(body) => Pin::new(body.as_mut()).poll_frame(cx).map_err(Into::into),
            Self::None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Http1(body) => body.is_end_stream(),
            Self::Http2(body) => body.is_end_stream(),
            Self::None => true,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Http1(body) => body.size_hint(),
            Self::Http2(body) => body.size_hint(),
            Self::None => SizeHint::with_exact(0),
        }
    }
}

/// A client's body on its way to the backend.
pub(super) struct Upload {
    incoming: ClientBody,
    flow: Arc<Flow>,
    left: Option<u64>,
    tap: Option<TapHandle>,
    /// `Expect: 100-continue`: hyper says 100 to the client when the body is first polled, so it is not.
    gate: Option<Pin<Box<dyn Future<Output = bool> + Send>>>,
}

impl Upload {
    pub(super) fn new(incoming: ClientBody, flow: &Arc<Flow>, limit: Option<u64>, tap: Option<TapHandle>) -> Self {
        let gate =
            flow.asking.is_some().then(|| Box::pin(flow.clone().is_asked_for()) as Pin<Box<dyn Future<Output = bool> + Send>>);
        Self { incoming, flow: flow.clone(), left: limit, tap, gate }
    }

    fn ended(&mut self) {
        if let Some(tap) = self.tap.take() {
            tap.body_ended();
        }
    }
}

impl Body for Upload {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        if let Some(gate) = &mut this.gate {
            let asked = ready!(gate.as_mut().poll(cx));
            this.gate = None;
            if !asked {
                return Poll::Ready(Some(Err("the answer came before the body was asked for".into())));
            }
            this.flow.held.store(false, Ordering::Relaxed);
        }
        let polled = Pin::new(&mut this.incoming).poll_frame(cx);
        this.flow.owed.store(polled.is_pending() && this.tap.is_some(), Ordering::Relaxed);
        let Some(frame) = ready!(polled) else {
            this.ended();
            return Poll::Ready(None);
        };
        let frame = match frame {
            Ok(frame) => frame,
            Err(error) => {
                this.flow.broken.store(true, Ordering::Relaxed);
                return Poll::Ready(Some(Err(error)));
            }
        };
        let length = frame.data_ref().map_or(0, Bytes::len) as u64;
        this.flow.bytes.fetch_add(length, Ordering::Relaxed);
        this.flow.moved.store(u64::try_from(this.flow.begun.elapsed().as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
        if let Some(left) = &mut this.left {
            let Some(rest) = left.checked_sub(length) else {
                this.flow.too_large.store(true, Ordering::Relaxed);
                return Poll::Ready(Some(Err("the body is larger than the route allows".into())));
            };
            *left = rest;
        }
        if this.incoming.is_end_stream() {
            this.ended();
        }
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}

/// One exchange's hold on its connection, from the head of the request to the end of the answer.
pub(super) struct Alive(Arc<Connection>);

impl Alive {
    pub(super) fn new(connection: &Arc<Connection>) -> Self {
        connection.exchanges.fetch_add(1, Ordering::Relaxed);
        Self(connection.clone())
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.touch();
        self.0.exchanges.fetch_sub(1, Ordering::Relaxed);
        if let Some(tap) = &self.0.tap {
            tap.answered();
        }
    }
}

/// Where an answer's body comes from.
pub(super) enum Source {
    Own(Bytes),
    /// None, but the head of a 304 tells this length. hyper would drop that from an answer without a body;
    /// of a 304 it asks for none.
    Told(u64),
    Backend {
        body: AnswerBody,
        /// How long it may be silent, and the clock.
        between: Option<(Duration, Pin<Box<Sleep>>)>,
        /// The client can tell its end only by the close of the connection.
        until_close: bool,
        /// The request's body waits for the end of this.
        _upload: Option<DropGuard>,
    },
}

impl Source {
    pub(super) fn backend(body: AnswerBody, between: Option<Duration>, until_close: bool, upload: Option<DropGuard>) -> Self {
        Self::Backend { body, between: between.map(|time| (time, Box::pin(sleep(time)))), until_close, _upload: upload }
    }

    fn is_end(&self) -> bool {
        match self {
            Self::Own(bytes) => bytes.is_empty(),
            Self::Told(_) => false,
            Self::Backend { body, .. } => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Own(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Self::Told(length) => SizeHint::with_exact(*length),
            Self::Backend { body, .. } => body.size_hint(),
        }
    }
}

/// An answer's body on its way to the client. Its drop is the end of the exchange. On the heap, as [`Record`] is: hyper
/// moves it some ten times. Always there until the drop.
pub(super) struct Reply(Option<Box<Answer>>);

struct Answer {
    source: Source,
    record: Record,
    complete: bool,
    /// The source has failed; told at the next poll.
    failed: Option<BodyError>,
    /// The backend's head, for how its names are spelled.
    names: Vec<u8>,
    alive: Alive,
}

impl Reply {
    pub(super) fn new(source: Source, record: Record, alive: Alive) -> Self {
        let mut answer = Answer { source, record, complete: false, failed: None, names: Vec::new(), alive };
        // hyper sends no body to HEAD and does not ask for one.
        answer.complete = answer.source.is_end() || answer.record.is_head() || matches!(answer.source, Source::Told(_));
        Self(Some(Box::new(answer)))
    }

    /// The names in its head are spelled as in this one.
    pub(super) fn spelled_as(mut self, names: Vec<u8>) -> Self {
        if let Some(answer) = &mut self.0 {
            answer.names = names;
        }
        self
    }

    /// How they are.
    pub(super) fn take_names(&mut self) -> Vec<u8> {
        self.0.as_mut().map(|answer| std::mem::take(&mut answer.names)).unwrap_or_default()
    }

    /// The client takes none of it.
    pub(super) fn blame_stall(&mut self) {
        if let Some(answer) = &mut self.0 {
            answer.record.blame(Fault::Client, || "the client took no bytes in time".to_owned());
        }
    }
}

impl Answer {
    fn poll_source(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match &mut self.source {
            Source::Own(bytes) if bytes.is_empty() => Poll::Ready(None),
            Source::Told(_) => Poll::Ready(None),
            Source::Own(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Source::Backend { body, between, .. } => {
                let polled = Pin::new(body).poll_frame(cx);
                if let Some((time, clock)) = between {
                    if polled.is_ready() {
                        clock.as_mut().reset(Instant::now() + *time);
                    } else if clock.as_mut().poll(cx).is_ready() {
                        return Poll::Ready(Some(Err(io::Error::from(io::ErrorKind::TimedOut).into())));
                    }
                }
                polled
            }
        }
    }
}

impl Body for Reply {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let Some(this) = self.get_mut().0.as_deref_mut() else { return Poll::Ready(None) };
        if let Some(error) = this.failed.take() {
            return Poll::Ready(Some(Err(error)));
        }
        let polled = ready!(this.poll_source(cx));
        match &polled {
            None => this.complete = true,
            Some(Ok(frame)) => {
                this.record.bytes_out += frame.data_ref().map_or(0, Bytes::len) as u64;
                // A length that is used up is an end to hyper's h1, which then asks no more.
                this.complete = this.source.is_end() || this.source.size_hint().exact() == Some(0);
            }
            Some(Err(error)) => {
                this.record.blame(Fault::Backend, || format!("its answer was cut short ({})", chain(&**error)));
                if matches!(this.source, Source::Backend { until_close: true, .. }) {
                    this.alive.0.cut.store(true, Ordering::Relaxed);
                }
            }
        }
        if let Some(Err(error)) = polled {
            // hyper drops what it has not written yet when a body fails. So it gets a moment to write:
            // a close without a byte looks to a client like an idle connection's, and it may ask again.
            this.failed = Some(error);
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(polled)
    }

    fn is_end_stream(&self) -> bool {
        self.0.as_ref().is_none_or(|answer| answer.source.is_end())
    }

    fn size_hint(&self) -> SizeHint {
        self.0.as_ref().map_or(SizeHint::with_exact(0), |answer| answer.source.size_hint())
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        let Some(answer) = self.0.take() else { return };
        let Answer { source, mut record, complete, alive, .. } = *answer;
        if !complete {
            if matches!(source, Source::Backend { until_close: true, .. }) {
                alive.0.cut.store(true, Ordering::Relaxed); // a FIN would look like its end
            }
            record.blame_cut();
        }
        drop(source);
        alive.0.finished.put(record);
    }
}

/// An error with its causes.
pub(super) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
