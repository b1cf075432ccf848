//! A client's HTTP/1 connection: hyper drives it until it closes or becomes a tunnel.

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Waker};

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::AsyncWriteExt;
use tokio::time::{Instant, timeout};

use super::body::{ClientBody, Reply};
use super::connection::{Connection, tap_times};
use super::exchange::{self, Begun, Outcome};
use super::slot::{News, Slot};
use super::upgrade::{self, Client, Takeover};
use super::{Entry, Settings, respond};
use crate::base::Turn;
use crate::listen::Permit;
use crate::net::{Clock, LINGER_TIME, Peer, Stream, Tap, TapHandle, lingering_close};

/// What ended hyper's part of it.
enum End {
    Http(hyper::Result<()>),
    Tunnel(Box<Takeover>),
}

/// Serves a connection to its end. `begun`: when its first byte came, where that was seen.
pub(super) async fn serve(
    entry: &Arc<Entry>,
    peer: Peer,
    stream: Stream,
    settings: &Settings,
    (permit, begun): (Permit, Option<Instant>),
) {
    let (tap, handle) = Tap::new(stream, tap_times(&settings.times));
    let tap = tap.with_longest_line(settings.heads.bytes).begun_at(begun);
    let connection = Connection::new(entry, peer, tap.is_tls(), Some(handle.clone()));
    let records = connection.finished.later();
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(None); // the tap has the clocks
    builder.max_header_size(settings.heads.bytes).max_buf_size(settings.heads.bytes.max(64 << 10));
    if settings.heads.count != 100 {
        builder.max_headers(settings.heads.count); // hyper's default needs no heap
    }
    let slot = Slot::new();
    // The service begins in the call itself, before hyper can read on: the tap has to know.
    let service = service_fn(|request: Request<Incoming>| {
        let begun = exchange::begin(&connection, request.map(ClientBody::Http1));
        slot.place(exchange(connection.clone(), begun))
    });
    let mut http = builder.serve_connection(TokioIo::new(tap), service);
    let end = {
        let shutdown = &entry.shared.shutdown;
        let mut draining = pin!(shutdown.draining());
        let mut ended = pin!(shutdown.ended());
        let mut told = false;
        let mut wakers: Option<(Arc<News>, Waker)> = None;
        poll_fn(|cx| {
            let _turn = Turn::begin();
            let (news, news_waker) = wakers.get_or_insert_with(|| {
                // These wake this task, which has one waker all its life: after the first turn a look is enough. One that
                // is over already is seen by the look as well.
                let _over = [draining.as_mut().poll(cx).is_ready(), ended.as_mut().poll(cx).is_ready()];
                slot.wakes(cx.waker());
                let news = News::new(cx.waker());
                (news.clone(), news.into())
            });
            records.write(); // of the turn before
            let mut is_for_hyper = news.take();
            if !told && shutdown.is_draining() {
                told = true;
                is_for_hyper = true;
                Pin::new(&mut http).graceful_shutdown();
            }
            // The exchange may in turn have news for hyper: it wants more of a body.
            is_for_hyper = is_for_hyper || slot.poll().is_ready() || news.take();
            if is_for_hyper && let Poll::Ready(result) = http.poll_without_shutdown(&mut Context::from_waker(news_waker)) {
                return Poll::Ready(End::Http(result));
            }
            if records.has_any() {
                cx.waker().wake_by_ref();
            }
            if let Some(takeover) = connection.taken_over() {
                return Poll::Ready(End::Tunnel(takeover));
            }
            if shutdown.has_ended() { Poll::Ready(End::Http(Ok(()))) } else { Poll::Pending }
        })
        .await
    };
    let parts = http.into_parts();
    drop(records);
    let (mut stream, held) = parts.io.into_inner().into_parts();
    match end {
        End::Tunnel(takeover) => {
            stream.unread(held);
            stream.unread(parts.read_buf);
            let shared = entry.shared.clone();
            let linger = settings.times.linger;
            Box::pin(upgrade::tunnel(shared, takeover, Client::Http1(stream, permit), linger)).await;
        }
        End::Http(result) => close(&connection, &handle, stream, result).await,
    }
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
