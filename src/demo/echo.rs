//! The echo: what comes in goes out again, one message at a time. Nothing is queued: a peer that does not
//! read is not read from either.

use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use super::socket::{End, Event, Socket};
use super::traffic::Traffic;
use crate::base::Shutdown;

/// The largest message; a larger one gets 1009.
pub(super) const MAX: usize = 1 << 20;
/// For one message to leave. Long: a stalled reader is back-pressure, which is what an echo is tried for.
pub(super) const WRITE_TIME: Duration = Duration::from_secs(60);

/// Echoes until one side ends it.
pub(super) async fn converse<S>(socket: &mut Socket<S>, traffic: &Traffic, shutdown: &Shutdown) -> End
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    loop {
        let event = tokio::select! {
            event = socket.event() => event,
            () = shutdown.draining() => return End::Ours(CloseCode::Away),
        };
        let sent = match event {
            Event::Text(text) => {
                count(traffic, "text", text.len());
                socket.send(Message::Text(text)).await
            }
            Event::Binary(bytes) => {
                count(traffic, "binary", bytes.len());
                socket.send(Message::Binary(bytes)).await
            }
            Event::Silence => socket.ping().await,
            Event::End(end) => return end,
        };
        if let Err(end) = sent {
            return end;
        }
    }
}

fn count(traffic: &Traffic, kind: &str, length: usize) {
    traffic.echoes.fetch_add(1, Relaxed);
    traffic.tell("echo", format_args!("{kind}, {length} bytes"));
}
