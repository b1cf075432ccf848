//! The whole life of a short WebSocket, again and again.

use super::{exchange, open_websocket, run_each};
use crate::connector::Connector;
use crate::driver::{Load, Tally, Window};
use crate::message::Template;
use anyhow::Result;
use std::sync::Arc;
use std::time::Instant;

const ECHO_SIZE: usize = 16;

#[derive(Clone)]
pub struct WsConnect {
    connector: Connector,
    template: Arc<Template>,
}

impl WsConnect {
    pub fn new(connector: Connector) -> Self {
        Self { connector: connector.with_path("/echo".to_owned()), template: Template::new(ECHO_SIZE) }
    }
}

impl Load for WsConnect {
    type Ready = Vec<()>;

    async fn prepare(&self, connections: usize) -> Result<Vec<()>> {
        // One connection shows at once whether the target works at all.
        open_websocket(&self.connector).await?;
        Ok(vec![(); connections])
    }

    async fn run(&self, slots: Vec<()>, window: Window) -> Tally {
        let load = self.clone();
        run_each(slots, window, async move |(), window, tally| {
            loop {
                let begin = Instant::now();
                if begin >= window.end {
                    return Ok(());
                }
                let mut stream = open_websocket(&load.connector).await?;
                exchange(&mut stream, &load.template, 1, true).await?;
                let end = Instant::now();
                let mut tally = tally.borrow_mut();
                tally.operation(begin, end, 0);
                if stream.resumed() {
                    tally.resumed(end);
                }
            }
        })
        .await
    }
}
