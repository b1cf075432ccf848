//! A client's HTTP/1 connection: hyper drives it until it closes or becomes a tunnel.
//!
//! But most clients of WebSockets say one thing on a connection: the offer, whole with the first read. That is answered
//! without hyper, which would be made and thrown away for one head; only where it comes to nothing hyper reads it once
//! more, and is given the answer that is there already.

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::{Request, Response, request};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::AsyncWriteExt;
use tokio::time::timeout;

use super::body::{ClientBody, Reply};
use super::connection::{Connection, tap_times};
use super::exchange::{self, Begun, Outcome};
use super::slot::{News, Slot};
use super::upgrade::{self, Client, Takeover};
use super::{Entry, HeadLimits, Settings, respond};
use crate::base::{Shutdown, Turn};
use crate::handshake::{Offer, read_offer};
use crate::listen::Permit;
use crate::net::{Beginning, Clock, LINGER_TIME, Peer, Stream, Tap, TapHandle, lingering_close};

/// What ended HTTP on the connection.
enum End {
    /// hyper says so.
    Hyper(hyper::Result<()>),
    /// The client has gone, with its offer unanswered.
    Gone,
    Tunnel(Box<Takeover>),
}

/// Serves a connection that began so, to its end. `draining` completes when the drain begins, and has not been seen to.
pub(super) async fn serve(
    entry: &Arc<Entry>,
    peer: Peer,
    (mut stream, permit): (Stream, Permit),
    (beginning, draining): (Beginning, Pin<&mut impl Future<Output = ()>>),
    settings: &Settings,
) {
    let offer = first_offer(&beginning.read, &settings.heads);
    if offer.is_none() {
        stream.unread(beginning.read.clone());
    }
    let (tap, handle) = Tap::new(stream, tap_times(&settings.times));
    let tap = tap.with_longest_line(settings.heads.bytes).begun_at(Some(beginning.at));
    let connection = Connection::new(entry, peer, tap.is_tls(), Some(handle.clone()));
    let records = connection.finished.later();
    let slot = Slot::new();
    // What is in the slot is the answer to what hyper reads first.
    let is_under_way = AtomicBool::new(offer.is_some());
    // The service begins in the call itself, before hyper can read on: the tap has to know.
    let service = service_fn(|request: Request<Incoming>| {
        if is_under_way.swap(false, Ordering::Relaxed) {
            return slot.placed();
        }
        let begun = exchange::begin(&connection, request.map(ClientBody::Http1));
        slot.place(exchange(connection.clone(), begun))
    });
    let hyper = |tap| builder(&settings.heads).serve_connection(TokioIo::new(tap), service);
    // One of these is there: the tap while hyper is not asked, or hyper.
    let (mut first, mut http, mut hyper) = (None, None, Some(hyper));
    if let Some(offer) = offer {
        first = Some(tap.with_first_head(beginning.read));
        let begun = exchange::begin_as(&connection, offer, ClientBody::None, true);
        slot.put(exchange(connection.clone(), begun));
    } else {
        http = hyper.take().map(|hyper| hyper(tap));
    }
    let end = {
        let shutdown = &entry.shared.shutdown;
        let mut steps = Steps { shutdown, draining, begun: false, told: false, ended: None };
        let mut wakers: Option<(Arc<News>, Waker)> = None;
        poll_fn(|cx| {
            let _turn = Turn::begin();
            if !steps.begun {
                slot.wakes(cx.waker());
            }
            steps.watch(cx);
            records.write(); // of the turn before
            if let Some(tap) = &mut first {
                // The client first, as hyper has it: an answer of ours has to know what came behind the offer.
                if tap.poll_gone(cx).is_ready() {
                    return Poll::Ready(End::Gone);
                } else if slot.poll().is_ready() {
                    http = first.take().zip(hyper.take()).map(|(tap, hyper)| hyper(tap));
                }
            }
            if let Some(http) = &mut http {
                let (news, news_waker) = wakers.get_or_insert_with(|| {
                    let news = News::new(cx.waker());
                    (news.clone(), news.into())
                });
                let mut is_for_hyper = news.take();
                // The exchange may in turn have news for hyper: it wants more of a body.
                is_for_hyper = is_for_hyper || slot.poll().is_ready() || news.take();
                if is_for_hyper && let Poll::Ready(result) = http.poll_without_shutdown(&mut Context::from_waker(news_waker)) {
                    return Poll::Ready(End::Hyper(result));
                }
                // Behind that: what has read nothing yet hyper would close at once.
                if steps.drain_begins() {
                    Pin::new(&mut *http).graceful_shutdown();
                    if let Poll::Ready(result) = http.poll_without_shutdown(&mut Context::from_waker(news_waker)) {
                        return Poll::Ready(End::Hyper(result));
                    }
                }
                if records.has_any() {
                    cx.waker().wake_by_ref();
                }
            }
            if let Some(takeover) = connection.taken_over() {
                return Poll::Ready(End::Tunnel(takeover));
            }
            if shutdown.has_ended() { Poll::Ready(End::Hyper(Ok(()))) } else { Poll::Pending }
        })
        .await
    };
    let parts = http.map(http1::Connection::into_parts).map(|parts| (parts.io.into_inner(), parts.read_buf));
    slot.clear();
    drop(records);
    if let Some((tap, read)) = parts.or_else(|| Some((first?, Bytes::new()))) {
        after(end, &connection, (tap, &handle, read), permit, settings).await;
    }
}

/// What becomes of the connection behind HTTP. `read`: what hyper has read and not used.
async fn after(
    end: End,
    connection: &Connection,
    (tap, handle, read): (Tap, &TapHandle, Bytes),
    permit: Permit,
    settings: &Settings,
) {
    let (mut stream, held) = tap.into_parts();
    match end {
        End::Tunnel(takeover) => {
            stream.unread(held);
            stream.unread(read);
            let (shared, linger) = (connection.entry.shared.clone(), settings.times.linger);
            Box::pin(upgrade::tunnel(shared, takeover, Client::Http1(stream, permit), linger)).await;
        }
        End::Hyper(result) => close(connection, handle, stream, result).await,
        End::Gone => {
            respond::gone(connection);
            lingering_close(stream).await;
        }
    }
}

fn builder(heads: &HeadLimits) -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(None); // the tap has the clocks
    builder.max_header_size(heads.bytes).max_buf_size(heads.bytes.max(64 << 10));
    if heads.count != 100 {
        builder.max_headers(heads.count); // hyper's default needs no heap
    }
    builder
}

/// What wakes a connection's task for the steps of the process to its end. It has one waker all its life: what was asked
/// once is not asked again, a look is enough. What is over already is seen by the look as well.
struct Steps<'a, D> {
    shutdown: &'a Shutdown,
    draining: Pin<&'a mut D>,
    begun: bool,
    /// The drain was told of.
    told: bool,
    ended: Option<Pin<Box<dyn Future<Output = ()> + Send + 'a>>>,
}

impl<D: Future<Output = ()>> Steps<'_, D> {
    /// To be called at each turn.
    fn watch(&mut self, cx: &mut Context<'_>) {
        let is_first = !std::mem::replace(&mut self.begun, true);
        let shutdown = self.shutdown;
        if !shutdown.is_draining() && (!is_first || self.draining.as_mut().poll(cx).is_pending()) {
            return;
        }
        // Not before the drain: most connections do not live to see it.
        let ended = self.ended.get_or_insert_with(|| Box::pin(async { shutdown.ended().await }));
        if !shutdown.has_ended() {
            let _is_over = ended.as_mut().poll(cx).is_ready();
        }
    }
}

impl<D> Steps<'_, D> {
    /// Whether the drain has begun; once.
    fn drain_begins(&mut self) -> bool {
        let begins = !self.told && self.shutdown.is_draining();
        self.told |= begins;
        begins
    }
}

/// The offer that a connection begins with, where that is all that was read.
fn first_offer(read: &Bytes, heads: &HeadLimits) -> Option<request::Parts> {
    if read.len() > heads.bytes {
        return None; // hyper has an answer for it
    }
    let (offer, ()) = read_offer(read, heads.count)?.into_parts();
    Offer::is_asked(&offer.method, offer.version, &offer.headers, None).then_some(offer)
}

/// Answers a request. Where it became a tunnel the future never completes: the connection's driver sees that,
/// and drops it with the rest of HTTP.
async fn exchange(connection: Arc<Connection>, begun: Box<Begun>) -> Result<Response<Reply>, Infallible> {
    match exchange::exchange(connection.clone(), begun).await {
        Outcome::Answer(mut answer) => {
            if let Some(tap) = &connection.tap {
                tap.spell(answer.body_mut().take_names());
            }
            Ok(answer)
        }
        Outcome::Tunnel(takeover, _alive) => {
            connection.take_over(takeover);
            std::future::pending().await
        }
    }
}

async fn close(connection: &Connection, tap: &TapHandle, mut stream: Stream, result: hyper::Result<()>) {
    if let Err(error) = &result {
        respond::failed_http(error, tap, connection);
    }
    if tap.expired() == Some(Clock::Send) {
        return stream.reset_on_close();
    }
    if let Some(answer) = respond::without_hyper(tap)
        && !matches!(timeout(LINGER_TIME, stream.write_all(answer.as_bytes())).await, Ok(Ok(())))
    {
        return; // a peer that takes nothing, or is gone
    }
    if connection.cut.load(Ordering::Relaxed) {
        return stream.reset_on_close();
    }
    lingering_close(stream).await;
}

#[cfg(test)]
mod tests {
    use http::Method;
    use proptest::prelude::*;

    use super::super::again;
    use super::*;

    /// Heads of the everyday kind, each with a piece or two that are not.
    fn heads() -> impl Strategy<Value = String> {
        let start = prop_oneof![
            6 => "GET /[a-z%?=&./\\[{|\u{7f}\u{e9}]{0,8} HTTP/1\\.1",
            1 => "(GET|POST|get|OPTIONS|CONNECT) (\\*|http://a/b|//|a:1|/ ?|)( |  |)HTTP/(1\\.[012]|2\\.0)",
        ];
        let line = prop_oneof![
            4 => "(Upgrade|upgrade): ?(websocket|h2c|)",
            4 => "Connection: (upgrade|close|keep-alive, Upgrade)",
            4 => "(Host|Cookie|X-a|Sec-WebSocket-Key):[ \t]{0,2}[a-z0-9=,;\u{e9}]{0,6}[ \t]{0,2}",
            1 => "(Content-Length|Transfer-Encoding|Expect): ?(0|1|chunked|100-continue)",
            1 => "[ \t]?[A-Za-z:\u{0}\u{1}()\u{80} -]{0,6}:?[ -~\u{7f}\u{0}]{0,4}",
        ];
        let end = prop_oneof![9 => Just("\r\n"), 1 => Just("\n"), 1 => Just("\r")];
        let lines = prop::collection::vec((line, end.clone()), 0..6);
        let asks = prop_oneof![2 => Just("Upgrade: websocket\r\nConnection: upgrade\r\n"), 1 => Just("")];
        (start, end.clone(), (asks, lines), end, "(|||||x)").prop_map(|(start, first, (asks, lines), last, behind)| {
            let lines: String = lines.into_iter().map(|(line, end)| line + end).collect();
            format!("{start}{first}{asks}{lines}{last}{behind}")
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1024))]

        #[test]
        fn an_offer_is_read_as_hyper_reads_it(head in heads()) {
            let head = Bytes::from(head);
            if let Some(offer) = first_offer(&head, &HeadLimits::default()) {
                let hyper = again::parse(head, 100).expect("a head to hyper too");
                prop_assert_eq!(&offer.method, Method::GET);
                prop_assert_eq!(
                    (offer.method, offer.uri, offer.version, offer.headers),
                    (hyper.method, hyper.uri, hyper.version, hyper.headers)
                );
            }
        }
    }

    #[test]
    fn an_offer_beyond_the_limits_is_left_to_hyper() {
        let head = Bytes::from("GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n");
        let is_read = |bytes, count| first_offer(&head, &HeadLimits { bytes, count }).is_some();
        assert!(is_read(head.len(), 3));
        assert!(!is_read(head.len() - 1, 3) && !is_read(head.len(), 2));
    }
}
