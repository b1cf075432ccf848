//! Bulk transfer of messages as fast as the way takes them, in one or both directions.

use super::{open_websockets, run_each};
use crate::Direction;
use crate::connector::{Connector, Stream};
use crate::driver::{Load, Tally, Window};
use crate::frame::{self, Decoder, Event};
use crate::message::{self, Checker, Template};
use crate::scratch;
use anyhow::{Result, bail, ensure};
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;
use tokio::io::{AsyncWriteExt, ReadHalf, WriteHalf};

#[derive(Clone)]
pub struct WsStream {
    connector: Connector,
    template: Arc<Template>,
    direction: Direction,
}

impl WsStream {
    pub fn new(connector: Connector, size: usize, direction: Direction) -> Self {
        let path = match direction {
            Direction::Echo => "/echo".to_owned(),
            Direction::Up => format!("/sink?size={size}"),
            Direction::Down => format!("/source?size={size}"),
        };
        Self { connector: connector.with_path(path), template: Template::new(size), direction }
    }
}

impl Load for WsStream {
    type Ready = Vec<Stream>;

    async fn prepare(&self, connections: usize) -> Result<Vec<Stream>> {
        open_websockets(&self.connector, connections).await
    }

    async fn run(&self, streams: Vec<Stream>, window: Window) -> Tally {
        let template = Arc::clone(&self.template);
        let direction = self.direction;
        run_each(streams, window, async move |stream, window, tally| {
            transfer(stream, Arc::clone(&template), direction, window, tally).await
        })
        .await
    }
}

async fn transfer(
    stream: Stream,
    template: Arc<Template>,
    direction: Direction,
    window: Window,
    tally: Rc<RefCell<Tally>>,
) -> Result<()> {
    let (reader, writer) = tokio::io::split(stream);
    let sending = async {
        match direction {
            Direction::Echo => send(writer, &template, window, None).await,
            Direction::Up => send(writer, &template, window, Some(&tally)).await,
            Direction::Down => start_and_close_at_end(writer, window).await,
        }
    };
    let receiving = async {
        match direction {
            Direction::Up => receive_count(reader).await,
            Direction::Echo | Direction::Down => receive(reader, &template, &tally).await,
        }
    };
    let (sent, received) = tokio::try_join!(sending, receiving)?;
    if let Some(sent) = sent {
        ensure!(sent == received, "corrupt stream: {sent} messages sent, {received} arrived");
    }
    Ok(())
}

/// Sends messages until the window ends, then a Close; returns how many.
async fn send(
    mut writer: WriteHalf<Stream>,
    template: &Template,
    window: Window,
    tally: Option<&RefCell<Tally>>,
) -> Result<Option<u64>> {
    let mut out = Vec::new();
    let mut number = 0;
    loop {
        out.clear();
        template.put_client_frame(&mut out, number);
        number += 1;
        writer.write_all(&out).await?;
        let now = Instant::now();
        if let Some(tally) = tally {
            tally.borrow_mut().bulk(now, 1, template.size() as u64);
        }
        if now >= window.end {
            close(writer).await?;
            return Ok(Some(number));
        }
    }
}

/// Any first message makes the source send.
async fn start_and_close_at_end(mut writer: WriteHalf<Stream>, window: Window) -> Result<Option<u64>> {
    let mut start = Vec::new();
    Template::new(0).put_client_frame(&mut start, 0);
    writer.write_all(&start).await?;
    writer.flush().await?;
    tokio::time::sleep_until(window.end.into()).await;
    close(writer).await?;
    Ok(None)
}

async fn close(mut writer: WriteHalf<Stream>) -> Result<()> {
    let mut out = Vec::new();
    message::put_client_close(&mut out);
    writer.write_all(&out).await?;
    writer.flush().await?;
    Ok(())
}

/// Checks messages until the Close; returns how many.
async fn receive(mut reader: ReadHalf<Stream>, template: &Arc<Template>, tally: &RefCell<Tally>) -> Result<u64> {
    let mut decoder = Decoder::default();
    let mut checker = Checker::new(Arc::clone(template));
    let mut closed = false;
    while !closed {
        let before = checker.messages();
        let count = scratch::read(&mut reader, |bytes| {
            let count = bytes.len();
            decoder.feed(bytes, |event| {
                match event {
                    Event::Start { opcode, .. } if opcode == frame::CLOSE => closed = true,
                    Event::Start { opcode, len } => checker.start(opcode, len)?,
                    Event::Data(data) if !closed => checker.data(data)?,
                    Event::End if !closed => checker.end(),
                    Event::Data(_) | Event::End => {}
                }
                Ok(())
            })?;
            Ok(count)
        })
        .await?;
        let Some(count) = count else {
            bail!("connection closed without a Close frame");
        };
        let messages = checker.messages() - before;
        tally.borrow_mut().bulk(Instant::now(), messages, count as u64);
    }
    Ok(checker.messages())
}

/// Waits for the sink's report: the number of messages that arrived unharmed, as text.
async fn receive_count(mut reader: ReadHalf<Stream>) -> Result<u64> {
    let mut decoder = Decoder::default();
    let mut text = Vec::new();
    let mut complete = false;
    while !complete {
        let more = scratch::read(&mut reader, |bytes| {
            decoder.feed(bytes, |event| {
                match event {
                    Event::Data(data) if !complete => text.extend_from_slice(data),
                    Event::End => complete = true,
                    Event::Start { .. } | Event::Data(_) => {}
                }
                Ok(())
            })
        })
        .await?;
        if more.is_none() {
            bail!("connection closed without a report from the sink");
        }
    }
    let text = String::from_utf8(text)?;
    match text.parse() {
        Ok(count) => Ok(count),
        Err(_) => bail!("the sink reports: {text}"),
    }
}
