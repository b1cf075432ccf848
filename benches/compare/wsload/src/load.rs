//! The workloads.

mod http_rate;
mod ws_connect;
mod ws_rate;
mod ws_stream;

pub use http_rate::HttpRate;
pub use ws_connect::WsConnect;
pub use ws_rate::WsRate;
pub use ws_stream::WsStream;

use crate::connector::{Connector, Stream};
use crate::driver::{Tally, Window};
use crate::frame::{self, Decoder, Event};
use crate::message::{self, Checker, Template};
use crate::{handshake, scratch};
use anyhow::{Context, Result, ensure};
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncWriteExt;

/// Connection attempts under way at any time while connections are being prepared.
const PARALLEL_CONNECTS: usize = 64;

/// A connection that makes no progress for this long after the window has ended has failed.
const DRAIN_LIMIT: Duration = Duration::from_secs(5);

/// Opens `count` connections, some at a time.
pub async fn open_all<F, T>(count: usize, parallel: usize, open: F) -> Result<Vec<T>>
where
    F: AsyncFn() -> Result<T> + Clone + 'static,
    T: 'static,
{
    let mut tasks = tokio::task::JoinSet::new();
    let mut opened = Vec::with_capacity(count);
    for _ in 0..count {
        if tasks.len() == parallel {
            opened.extend(tasks.join_next().await.transpose()?.transpose()?);
        }
        let open = open.clone();
        tasks.spawn_local(async move { open().await });
    }
    while let Some(done) = tasks.join_next().await {
        opened.push(done??);
    }
    Ok(opened)
}

/// Opens WebSockets; nothing may follow the handshake unasked.
async fn open_websockets(connector: &Connector, count: usize) -> Result<Vec<Stream>> {
    let connector = connector.clone();
    open_all(count, PARALLEL_CONNECTS, async move || open_websocket(&connector).await).await
}

pub async fn open_websocket(connector: &Connector) -> Result<Stream> {
    let mut stream = connector.connect().await?;
    let request = handshake::request(&connector.url.host, &connector.url.path);
    let rest = handshake::connect(&mut stream, &request).await?;
    ensure!(rest.is_empty(), "unexpected bytes after the handshake");
    Ok(stream)
}

/// Sends messages, then a Close if asked for, in one write, and waits for all their echoes.
pub async fn exchange(stream: &mut Stream, template: &Arc<Template>, messages: u64, close: bool) -> Result<()> {
    let mut out = Vec::new();
    for number in 0..messages {
        template.put_client_frame(&mut out, number);
    }
    if close {
        message::put_client_close(&mut out);
    }
    stream.write_all(&out).await?;
    stream.flush().await?;

    let mut decoder = Decoder::default();
    let mut checker = Checker::new(Arc::clone(template));
    let mut closed = false;
    while checker.messages() < messages || closed != close {
        scratch::read(stream, |bytes| {
            decoder.feed(bytes, |event| {
                match event {
                    Event::Start { opcode, .. } if opcode == frame::CLOSE => closed = true,
                    Event::Start { opcode, len } => checker.start(opcode, len)?,
                    Event::Data(data) if !closed => checker.data(data)?,
                    Event::End if !closed => checker.end(),
                    Event::Data(_) | Event::End => {}
                }
                Ok(())
            })
        })
        .await?
        .context("connection closed before all echoes had come")?;
    }
    Ok(())
}

/// Runs one task for each connection and counts into a shared tally until all have ended.
async fn run_each<C, F>(connections: Vec<C>, window: Window, work: F) -> Tally
where
    C: 'static,
    F: AsyncFn(C, Window, Rc<RefCell<Tally>>) -> Result<()> + Clone + 'static,
{
    let tally = Rc::new(RefCell::new(Tally::new(window)));
    let mut tasks = tokio::task::JoinSet::new();
    let limit = tokio::time::Instant::from_std(window.end + DRAIN_LIMIT);
    for connection in connections {
        let tally = Rc::clone(&tally);
        let work = work.clone();
        tasks.spawn_local(async move {
            let outcome = tokio::time::timeout_at(limit, work(connection, window, tally)).await;
            outcome.unwrap_or_else(|_| Err(anyhow::anyhow!("no progress after the end of the run")))
        });
    }
    while let Some(done) = tasks.join_next().await {
        if let Err(error) = done.expect("a connection task panicked") {
            tally.borrow_mut().error(&error);
        }
    }
    let tally = Rc::try_unwrap(tally);
    tally.unwrap_or_else(|_| unreachable!("all tasks have ended")).into_inner()
}
