//! One connection of HTTP/2, on the `h2` crate itself: each stream a task, until it is answered or a tunnel.
//!
//! Not on hyper, because its streams hide resets and leave no clock on a client that shuts its window. What
//! hyper does with heads is done here likewise: fields of the hop, length, date.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream, server};
use http::header::{CONNECTION, CONTENT_LENGTH, DATE, HeaderName, TE, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderMap, HeaderValue, Method, Request, Response};
use http_body::{Body, Frame};
use tokio::time::{Instant, sleep, timeout};

use super::body::{ClientBody, Reply};
use super::connection::{Connection, tap_times};
use super::exchange::{self, Begun, Outcome};
use super::upgrade::{self, Client};
use super::{Entry, Settings, respond};
use crate::headers;
use crate::net::{Beneath, H2Body, H2Stream, LINGER_TIME, Peer, Place, Stream, Tap, TapHandle, poll_room};
use crate::upstream::BodyError;

/// Our window for one stream, and for all streams of a connection: one stalled upload or tunnel cannot stop the
/// others before 16 have stalled. What is received and not yet forwarded is bounded by the latter.
const STREAM_WINDOW: u32 = 64 << 10;
const CONNECTION_WINDOW: u32 = 1 << 20;
/// What is queued to send on one stream before the backend is made to wait.
const SEND_BUFFER: usize = 64 << 10;
/// What h2 may spend on keeping track of received frames that are smaller than what it takes to keep track of one
/// (256 bytes); beyond that it ends the connection. Small messages to a backend that has stopped reading must not
/// bring that about: a whole stream window of the smallest frames that are masked messages is 2.3 MiB of it.
const SMALL_FRAMES: usize = 4 << 20;
/// Streams that we have reset for the client's errors, until the connection is ended (CVE-2025-8671).
const ERRORS: usize = 1024;

/// Serves it to its end.
pub(super) async fn serve(entry: &Arc<Entry>, peer: Peer, mut stream: Stream, settings: &Settings) {
    let secure = stream.is_tls();
    let beneath = Beneath::of(&mut stream);
    let (tap, handle) = Tap::passing(stream, tap_times(&settings.times), settings.h2_streams);
    let connection = Connection::new(entry, peer, secure, None);
    let driven = drive(&connection, (tap, &handle), &beneath, settings).await;
    if let Err(error) = driven {
        respond::failed_http2(&error, &handle, peer);
    }
}

async fn drive(
    connection: &Arc<Connection>,
    (tap, handle): (Tap, &TapHandle),
    beneath: &Beneath,
    settings: &Settings,
) -> Result<(), h2::Error> {
    let shared = &connection.entry.shared;
    let mut ended = pin!(shared.shutdown.ended());
    let mut http = tokio::select! {
        biased;
        http = builder(settings).handshake::<_, Bytes>(tap) => http?,
        () = &mut ended => return Ok(()),
        () = idle(connection, settings.times.keep_alive) => return Ok(()),
    };
    let mut draining = pin!(shared.shutdown.draining());
    let mut unused = pin!(idle(connection, settings.times.keep_alive));
    let mut flooded = pin!(handle.flooded());
    let (mut told, mut waits, mut calmed) = (false, false, false);
    loop {
        let accepted = tokio::select! {
            biased;
            accepted = http.accept() => accepted,
            () = &mut ended => return Ok(()),
            () = &mut draining, if !told => {
                told = true;
                http.graceful_shutdown();
                continue;
            }
            () = &mut unused, if !told => {
                (told, waits) = (true, true);
                http.graceful_shutdown();
                continue;
            }
            () = &mut flooded, if !calmed => {
                (told, calmed) = (true, true);
                respond::flooded(connection.peer);
                http.abrupt_shutdown(Reason::ENHANCE_YOUR_CALM);
                continue;
            }
            // Long enough for a client that reads, and for none that does not.
            () = sleep(LINGER_TIME), if calmed => return Ok(()),
            // h2 closes when the client has answered its PING; one that does not is not waited for.
            () = idle(connection, LINGER_TIME), if waits => return Ok(()),
        };
        let (request, respond) = match accepted {
            None | Some(Err(_)) if calmed => return Ok(()),
            Some(Ok(_)) if calmed => continue, // what came before the verdict is not begun any more
            None => return Ok(()),
            Some(accepted) => accepted?,
        };
        let stream = Exchange::begin(connection, request, respond, beneath, settings);
        shared.tasks.spawn("h2 stream", stream.run());
    }
}

fn builder(settings: &Settings) -> server::Builder {
    let mut builder = server::Builder::new();
    builder.enable_connect_protocol();
    builder.max_concurrent_streams(settings.h2_streams).max_send_buffer_size(SEND_BUFFER);
    builder.initial_window_size(STREAM_WINDOW).initial_connection_window_size(CONNECTION_WINDOW);
    builder.max_header_list_size(u32::try_from(settings.heads.bytes).unwrap_or(u32::MAX));
    // A client may give up all that it has opened before we saw any of it, as one that goes to another page does.
    // How often it may do that (CVE-2023-44487) is the tap's to count.
    builder.max_pending_accept_reset_streams(usize::try_from(settings.h2_streams).unwrap_or(usize::MAX));
    builder.max_local_error_reset_streams(Some(ERRORS));
    builder.data_frame_budget(SMALL_FRAMES);
    builder
}

/// Completes when no exchange has been alive for `time`.
async fn idle(connection: &Connection, time: Duration) {
    loop {
        let since = connection.begun + Duration::from_millis(connection.used.load(Ordering::Relaxed));
        let alive = connection.exchanges.load(Ordering::Relaxed) > 0;
        if !alive && since.elapsed() >= time {
            return;
        }
        // Looked at, not told: a look each `time` costs nothing, and the end of idleness is never early.
        tokio::time::sleep_until(if alive { Instant::now() } else { since } + time).await;
    }
}

/// One request and the way to answer it.
struct Exchange {
    connection: Arc<Connection>,
    begun: Box<Begun>,
    respond: SendResponse<Bytes>,
    /// What follows the head of an extended CONNECT: held by h2, within the stream's window, until it is known
    /// whether there is a tunnel.
    behind: Option<RecvStream>,
    place: Place,
    is_head: bool,
    send_time: Duration,
    linger: Duration,
}

impl Exchange {
    fn begin(
        connection: &Arc<Connection>,
        request: Request<RecvStream>,
        respond: SendResponse<Bytes>,
        beneath: &Beneath,
        settings: &Settings,
    ) -> Self {
        let is_head = request.method() == Method::HEAD;
        let (parts, recv) = request.into_parts();
        let (body, behind) = if parts.extensions.get::<h2::ext::Protocol>().is_some() {
            (ClientBody::None, Some(recv))
        } else {
            let length = headers::content_length(&parts.headers).ok().flatten();
            (ClientBody::Http2(Box::new(H2Body::new(recv, length))), None)
        };
        let begun = exchange::begin(connection, Request::from_parts(parts, body));
        let (send_time, linger) = (settings.times.send, settings.times.linger);
        Self { connection: connection.clone(), begun, respond, behind, place: beneath.place(), is_head, send_time, linger }
    }

    async fn run(self) {
        let Self { connection, begun, mut respond, behind, place, is_head, send_time, linger } = self;
        let outcome = {
            let mut exchange = pin!(exchange::exchange(connection.clone(), begun));
            poll_fn(|cx| match exchange.as_mut().poll(cx) {
                Poll::Ready(outcome) => Poll::Ready(Some(outcome)),
                // A client that has reset the stream, or is gone, waits for no answer.
                Poll::Pending => respond.poll_reset(cx).map(|_| None),
            })
            .await
        };
        match (outcome, behind) {
            (Some(Outcome::Answer(answer)), behind) => {
                send(respond, answer, is_head, send_time).await;
                drop(behind);
            }
            (Some(Outcome::Tunnel(takeover, alive)), Some(recv)) => {
                let shared = connection.entry.shared.clone();
                let client = Client::Http2(Open { respond, recv, place }, alive);
                // A task of its own, as on h1: this one's size is that of HTTP.
                connection.entry.shared.tasks.spawn("tunnel", upgrade::tunnel(shared, takeover, client, linger));
            }
            (Some(Outcome::Tunnel(..)) | None, _) => {}
        }
    }
}

/// A stream whose extended CONNECT is to be answered with a tunnel.
pub(super) struct Open {
    respond: SendResponse<Bytes>,
    recv: RecvStream,
    place: Place,
}

impl Open {
    /// Answers it with 200 and these fields. `None`: the client has reset it.
    pub(super) fn open(mut self, fields: HeaderMap) -> Option<Stream> {
        let mut answer = Response::new(());
        *answer.headers_mut() = fields;
        make_fit(answer.headers_mut());
        let send = self.respond.send_response(answer, false).ok()?;
        Some(H2Stream::new(send, self.recv, self.place).into())
    }
}

/// Takes from an answer's fields what h2 has no place for, and adds its date.
fn make_fit(fields: &mut HeaderMap) {
    const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
    const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
    for name in [CONNECTION, KEEP_ALIVE, PROXY_CONNECTION, TRANSFER_ENCODING, UPGRADE, TE] {
        fields.remove(name);
    }
    if !fields.contains_key(DATE)
        && let Ok(date) = HeaderValue::try_from(httpdate::fmt_http_date(SystemTime::now()))
    {
        fields.insert(DATE, date);
    }
}

/// Sends a whole answer, or as much of it as the client takes.
async fn send(mut respond: SendResponse<Bytes>, answer: Response<Reply>, is_head: bool, send_time: Duration) {
    let (mut head, mut body) = answer.into_parts();
    make_fit(&mut head.headers);
    let is_empty = body.is_end_stream();
    if let Some(length) = body.size_hint().exact().filter(|_| !is_empty) {
        head.headers.entry(CONTENT_LENGTH).or_insert(HeaderValue::from(length));
    }
    let ends = is_empty || is_head;
    match respond.send_response(Response::from_parts(head, ()), ends) {
        Ok(mut stream) if !ends => {
            if let Err(reason) = pump(&mut stream, &mut body, send_time).await {
                stream.send_reset(reason);
            }
        }
        Ok(_) => {}
        // Fields that h2 will not send; else the client is gone, and this tells nobody.
        Err(_) => respond.send_reset(Reason::INTERNAL_ERROR),
    }
}

/// Moves a body to the stream, as the client gives room. An error is the reason to reset the stream for.
async fn pump(stream: &mut SendStream<Bytes>, body: &mut Reply, send_time: Duration) -> Result<(), Reason> {
    let broken = |_| Reason::INTERNAL_ERROR;
    loop {
        let frame: Option<Result<Frame<Bytes>, BodyError>> = poll_fn(|cx| {
            if stream.poll_reset(cx).is_ready() {
                return Poll::Ready(Err(Reason::CANCEL)); // the client has gone
            }
            Pin::new(&mut *body).poll_frame(cx).map(Ok)
        })
        .await?;
        let Some(frame) = frame else {
            return stream.send_data(Bytes::new(), true).map_err(broken);
        };
        match frame.map_err(|_| Reason::INTERNAL_ERROR)?.into_data() {
            Ok(mut data) => {
                let ends = body.is_end_stream();
                if ends && data.is_empty() {
                    return stream.send_data(data, true).map_err(broken);
                }
                while !data.is_empty() {
                    let room = poll_fn(|cx| poll_room(stream, cx, data.len()));
                    let Ok(room) = timeout(send_time, room).await else {
                        body.blame_stall();
                        return Err(Reason::CANCEL);
                    };
                    let piece = data.split_to(room.ok_or(Reason::CANCEL)?);
                    stream.send_data(piece, ends && data.is_empty()).map_err(broken)?;
                }
                if ends {
                    return Ok(());
                }
            }
            Err(frame) => {
                if let Ok(trailers) = frame.into_trailers() {
                    return stream.send_trailers(trailers).map_err(broken);
                }
            }
        }
    }
}
