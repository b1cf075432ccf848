//! Keep-alive GET requests, one at a time on each connection.

use super::{PARALLEL_CONNECTS, open_all, run_each};
use crate::connector::{Connector, Stream};
use crate::driver::{Load, Tally, Window};
use crate::{http, message, scratch};
use anyhow::{Context, Result, ensure};
use std::rc::Rc;
use std::time::Instant;
use tokio::io::AsyncWriteExt;

#[derive(Clone)]
pub struct HttpRate {
    connector: Connector,
    size: usize,
}

impl HttpRate {
    pub fn new(connector: Connector, size: usize) -> Self {
        Self { connector: connector.with_path(format!("/?n={size}")), size }
    }
}

impl Load for HttpRate {
    type Ready = Vec<Stream>;

    async fn prepare(&self, connections: usize) -> Result<Vec<Stream>> {
        let connector = self.connector.clone();
        open_all(connections, PARALLEL_CONNECTS, async move || connector.connect().await).await
    }

    async fn run(&self, streams: Vec<Stream>, window: Window) -> Tally {
        let url = &self.connector.url;
        let request = format!("GET {} HTTP/1.1\r\nHost: {}\r\n\r\n", url.path, url.host);
        let body: Rc<[u8]> = message::pattern(self.size).into();
        run_each(streams, window, async move |mut stream, window, tally| {
            loop {
                let begin = Instant::now();
                if begin >= window.end {
                    return Ok(());
                }
                stream.write_all(request.as_bytes()).await?;
                stream.flush().await?;
                receive(&mut stream, &body).await?;
                tally.borrow_mut().operation(begin, Instant::now(), body.len() as u64);
            }
        })
        .await
    }
}

/// Reads one response and checks its status, length and content.
async fn receive(stream: &mut Stream, body: &[u8]) -> Result<()> {
    let mut head = Vec::new();
    let mut body_at = None;
    loop {
        let complete = scratch::read(stream, |bytes| {
            let mut bytes = &*bytes;
            let at = match body_at {
                Some(at) => at,
                None => {
                    let seen = head.len();
                    head.extend_from_slice(bytes);
                    let Some(len) = http::head_len(&head) else {
                        return Ok(false);
                    };
                    check_head(&head[..len], body.len())?;
                    bytes = &bytes[len - seen..];
                    0
                }
            };
            let end = at + bytes.len();
            ensure!(end <= body.len() && *bytes == body[at..end], "corrupt response body");
            body_at = Some(end);
            Ok(end == body.len())
        })
        .await?
        .context("connection closed during a response")?;
        if complete {
            return Ok(());
        }
    }
}

fn check_head(head: &[u8], expected_len: usize) -> Result<()> {
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut response = httparse::Response::new(&mut headers);
    response.parse(head)?;
    ensure!(response.code == Some(200), "status {:?}", response.code);
    let len = http::header(response.headers, "content-length").and_then(|value| std::str::from_utf8(value).ok()?.parse().ok());
    ensure!(len == Some(expected_len), "content-length {len:?}, expected {expected_len}");
    Ok(())
}
