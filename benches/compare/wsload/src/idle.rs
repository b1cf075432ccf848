//! Holds many idle WebSockets and reports what they cost.

use crate::connector::{Connector, Stream};
use crate::load;
use crate::message::Template;
use crate::process::{self, Watch};
use anyhow::Result;
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use tokio::task::LocalSet;

const ECHO_SIZE: usize = 64;

pub fn run(connector: Connector, connections: usize, parallel: usize, settle: Duration, watches: &[Watch]) -> Result<Value> {
    let connector = connector.with_path("/echo".to_owned());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let local = LocalSet::new();
    local.block_on(&runtime, async {
        // The first connection pays for what every process sets up once.
        echo_all(vec![load::open_websocket(&connector).await?], 1).await;
        tokio::time::sleep(settle).await;
        let before = process::memory(watches);

        let begin = Instant::now();
        let opener = connector.clone();
        let open = async move || load::open_websocket(&opener).await;
        let streams = load::open_all(connections, parallel, open).await?;
        let opening = begin.elapsed().as_secs_f64();
        tokio::time::sleep(settle).await;
        let idle = process::memory(watches);

        let (streams, mut errors) = echo_all(streams, parallel).await;
        tokio::time::sleep(settle).await;
        let after_echo = process::memory(watches);
        let alive = streams.len();
        errors.extend(close_all(streams, parallel).await);

        Ok(json!({
            "workload": "ws-idle",
            "connections": connections,
            "still_echoing": alive,
            "seconds_to_open": opening,
            "bytes_per_connection": per_connection(&before, &idle, connections),
            "bytes_per_connection_after_echo": per_connection(&before, &after_echo, connections),
            "before": before,
            "idle": idle,
            "errors": errors.len(),
            "first_error": errors.first(),
        }))
    })
}

/// Growth between two readings, divided by the connections, in the shape of the readings.
fn per_connection(before: &Value, after: &Value, connections: usize) -> Value {
    match (before, after) {
        (Value::Object(before), Value::Object(after)) => after
            .iter()
            .map(|(name, after)| {
                let share = per_connection(&before[name], after, connections);
                (name.clone(), share)
            })
            .collect(),
        _ => {
            let growth = after.as_f64().unwrap_or(0.0) - before.as_f64().unwrap_or(0.0);
            json!((growth / connections as f64).round())
        }
    }
}

/// Sends one message through every connection; returns those that echoed it, and the errors.
async fn echo_all(streams: Vec<Stream>, parallel: usize) -> (Vec<Stream>, Vec<String>) {
    let template = Template::new(ECHO_SIZE);
    for_all(streams, parallel, async move |mut stream| {
        load::exchange(&mut stream, &template, 1, false).await?;
        Ok(Some(stream))
    })
    .await
}

async fn close_all(streams: Vec<Stream>, parallel: usize) -> Vec<String> {
    let template = Template::new(ECHO_SIZE);
    let (_, errors) = for_all(streams, parallel, async move |mut stream| {
        load::exchange(&mut stream, &template, 0, true).await?;
        Ok(None)
    })
    .await;
    errors
}

/// Applies `work` to all streams, some at a time; collects what it gives back, and the errors.
async fn for_all<F>(streams: Vec<Stream>, parallel: usize, work: F) -> (Vec<Stream>, Vec<String>)
where
    F: AsyncFn(Stream) -> Result<Option<Stream>> + Clone + 'static,
{
    let mut tasks = tokio::task::JoinSet::new();
    let mut kept = Vec::with_capacity(streams.len());
    let mut errors = Vec::new();
    let mut waiting = streams.into_iter();
    loop {
        while tasks.len() < parallel {
            let Some(stream) = waiting.next() else { break };
            let work = work.clone();
            tasks.spawn_local(async move { work(stream).await });
        }
        let Some(done) = tasks.join_next().await else {
            return (kept, errors);
        };
        match done.expect("a connection task panicked") {
            Ok(stream) => kept.extend(stream),
            Err(error) => errors.push(format!("{error:#}")),
        }
    }
}
