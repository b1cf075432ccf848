//! Ping-pong of messages with a fixed number in flight.

use super::{open_websockets, run_each};
use crate::connector::{Connector, Stream};
use crate::driver::{Load, Tally, Window};
use crate::frame::{Decoder, Event};
use crate::message::{self, Checker, Template};
use crate::scratch;
use anyhow::{Context, Result, ensure};
use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;
use tokio::io::AsyncWriteExt;

/// More than this in flight could fill every buffer on the way while nobody reads.
const MOST_IN_FLIGHT: usize = 128 * 1024;

#[derive(Clone)]
pub struct WsRate {
    connector: Connector,
    template: Arc<Template>,
    depth: usize,
}

impl WsRate {
    pub fn new(connector: Connector, size: usize, depth: usize) -> Result<Self> {
        ensure!(depth > 0, "the depth must be at least 1");
        ensure!(size * depth <= MOST_IN_FLIGHT, "size times depth is above {MOST_IN_FLIGHT}: use ws-stream");
        Ok(Self { connector: connector.with_path("/echo".to_owned()), template: Template::new(size), depth })
    }
}

impl Load for WsRate {
    type Ready = Vec<Stream>;

    async fn prepare(&self, connections: usize) -> Result<Vec<Stream>> {
        open_websockets(&self.connector, connections).await
    }

    async fn run(&self, streams: Vec<Stream>, window: Window) -> Tally {
        let template = Arc::clone(&self.template);
        let depth = self.depth;
        run_each(streams, window, async move |stream, window, tally| {
            ping_pong(stream, Arc::clone(&template), depth, window, tally).await
        })
        .await
    }
}

async fn ping_pong(
    mut stream: Stream,
    template: Arc<Template>,
    depth: usize,
    window: Window,
    tally: Rc<RefCell<Tally>>,
) -> Result<()> {
    let size = template.size() as u64;
    let mut decoder = Decoder::default();
    let mut checker = Checker::new(Arc::clone(&template));
    let mut sent_at = VecDeque::with_capacity(depth);
    let mut next_number = 0;
    let mut out = Vec::new();

    let mut put_message = |out: &mut Vec<u8>, sent_at: &mut VecDeque<Instant>, now| {
        template.put_client_frame(out, next_number);
        next_number += 1;
        sent_at.push_back(now);
    };
    let now = Instant::now();
    for _ in 0..depth {
        put_message(&mut out, &mut sent_at, now);
    }
    while !sent_at.is_empty() {
        if !out.is_empty() {
            stream.write_all(&out).await?;
            stream.flush().await?;
            out.clear();
        }
        scratch::read(&mut stream, |bytes| {
            let now = Instant::now();
            let mut tally = tally.borrow_mut();
            decoder.feed(bytes, |event| match event {
                Event::Start { opcode, len } => checker.start(opcode, len),
                Event::Data(data) => checker.data(data),
                Event::End => {
                    checker.end();
                    let begin = sent_at.pop_front().context("more echoes than messages")?;
                    tally.operation(begin, now, size);
                    if now < window.end {
                        put_message(&mut out, &mut sent_at, now);
                    }
                    Ok(())
                }
            })
        })
        .await?
        .context("connection closed during the run")?;
    }
    message::put_client_close(&mut out);
    stream.write_all(&out).await?;
    stream.flush().await?;
    Ok(())
}
