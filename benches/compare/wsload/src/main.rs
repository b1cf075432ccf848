//! Load generator for WebSocket and HTTP proxies, and the cheap backend to put behind them.
//!
//! Every workload checks what it receives: a proxy that corrupts, drops or reorders data makes
//! the run fail instead of looking fast.

mod backend;
mod connector;
mod driver;
mod frame;
mod handshake;
mod http;
mod idle;
mod load;
mod message;
mod process;
mod report;
mod scratch;
mod tickets;

use anyhow::Result;
use clap::{Args, Parser, Subcommand, ValueEnum};
use connector::{Connector, Resumption, Url};
use driver::Plan;
use process::Watch;
use std::time::Duration;

#[derive(Parser)]
#[command(version, about, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Backend: HTTP/1.1 keep-alive (`/?n=BYTES`) and WebSocket (`/echo`, `/sink?size=S`,
    /// `/source?size=S`) on one port
    EchoServer {
        #[arg(long, default_value = "0.0.0.0:9000")]
        listen: std::net::SocketAddr,
        /// One event loop per thread, each with its own SO_REUSEPORT listener
        #[arg(long, default_value_t = 1)]
        threads: usize,
    },
    /// Ping-pong of small messages: messages per second and round-trip latency
    WsRate {
        #[command(flatten)]
        target: TargetArgs,
        #[command(flatten)]
        plan: PlanArgs,
        /// Connections
        #[arg(short, long, default_value_t = 64)]
        connections: usize,
        /// Payload bytes of a message
        #[arg(short, long, default_value_t = 64)]
        size: usize,
        /// Messages in flight on each connection
        #[arg(short = 'p', long, default_value_t = 1)]
        depth: usize,
    },
    /// Bulk transfer of big messages: megabytes per second
    WsStream {
        #[command(flatten)]
        target: TargetArgs,
        #[command(flatten)]
        plan: PlanArgs,
        #[arg(short, long, default_value_t = 1)]
        connections: usize,
        #[arg(short, long, default_value_t = 65536)]
        size: usize,
        #[arg(long, value_enum, default_value_t = Direction::Echo)]
        direction: Direction,
    },
    /// Connect, handshake, one echo, close: connections per second
    WsConnect {
        #[command(flatten)]
        target: TargetArgs,
        #[command(flatten)]
        plan: PlanArgs,
        /// Connection attempts under way at any time
        #[arg(short, long, default_value_t = 32)]
        connections: usize,
        /// Resume TLS sessions where the server allows it
        #[arg(long)]
        resume: bool,
    },
    /// Hold many idle WebSockets: memory of the watched processes and of the kernel
    WsIdle {
        #[command(flatten)]
        target: TargetArgs,
        #[arg(short, long, default_value_t = 5000)]
        connections: usize,
        /// Seconds to wait before memory is read
        #[arg(long, default_value_t = 2.0)]
        settle: f64,
        /// Connection attempts under way at any time
        #[arg(long, default_value_t = 64)]
        parallel: usize,
    },
    /// Keep-alive GET: requests per second and latency
    HttpRate {
        #[command(flatten)]
        target: TargetArgs,
        #[command(flatten)]
        plan: PlanArgs,
        #[arg(short, long, default_value_t = 64)]
        connections: usize,
        /// Bytes of the response body
        #[arg(short, long, default_value_t = 1024)]
        size: usize,
    },
}

#[derive(Args)]
struct TargetArgs {
    /// ws://, wss://, http:// or https:// address of the proxy (any certificate is accepted)
    url: Url,
    /// Spread connections over this many source addresses, 127.1.0.1 and up (0: leave it to the
    /// kernel). One address has room for about 28,000 connections to one port
    #[arg(long, default_value_t = 0)]
    sources: u8,
    /// NAME=PID: account CPU time and memory of that process and its descendants (repeatable)
    #[arg(long = "watch")]
    watches: Vec<Watch>,
    /// Print one JSON object instead of text
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
struct PlanArgs {
    /// Seconds measured
    #[arg(short, long, default_value_t = 3.0)]
    duration: f64,
    /// Seconds of load before measuring starts
    #[arg(long, default_value_t = 0.5)]
    warmup: f64,
    /// Generator threads, each with its own event loop
    #[arg(short, long, default_value_t = 1)]
    threads: usize,
}

#[derive(Clone, Copy, ValueEnum)]
enum Direction {
    /// Client to backend and back
    Echo,
    /// Client to backend
    Up,
    /// Backend to client
    Down,
}

impl TargetArgs {
    fn connector(&self, resumption: Resumption) -> Result<Connector> {
        Connector::new(self.url.clone(), self.sources, resumption)
    }
}

impl PlanArgs {
    fn plan(&self, connections: usize, target: &TargetArgs) -> Plan {
        Plan {
            threads: self.threads,
            connections,
            warmup: Duration::from_secs_f64(self.warmup),
            duration: Duration::from_secs_f64(self.duration),
            watches: target.watches.clone(),
        }
    }
}

fn main() -> Result<()> {
    process::raise_open_files_limit();
    let (outcome, json) = match Cli::parse().command {
        Command::EchoServer { listen, threads } => return backend::serve(listen, threads),
        Command::WsRate { target, plan, connections, size, depth } => {
            let load = load::WsRate::new(target.connector(Resumption::Off)?, size, depth)?;
            let measured = driver::drive(&plan.plan(connections, &target), load)?;
            (measured.report("ws-rate"), target.json)
        }
        Command::WsStream { target, plan, connections, size, direction } => {
            let load = load::WsStream::new(target.connector(Resumption::Off)?, size, direction);
            let measured = driver::drive(&plan.plan(connections, &target), load)?;
            (measured.report("ws-stream"), target.json)
        }
        Command::WsConnect { target, plan, connections, resume } => {
            let resumption = if resume { Resumption::On } else { Resumption::Off };
            let load = load::WsConnect::new(target.connector(resumption)?);
            let measured = driver::drive(&plan.plan(connections, &target), load)?;
            (measured.report("ws-connect"), target.json)
        }
        Command::WsIdle { target, connections, settle, parallel } => {
            let connector = target.connector(Resumption::Off)?;
            let settle = Duration::from_secs_f64(settle);
            let report = idle::run(connector, connections, parallel, settle, &target.watches)?;
            (report, target.json)
        }
        Command::HttpRate { target, plan, connections, size } => {
            let load = load::HttpRate::new(target.connector(Resumption::Off)?, size);
            let measured = driver::drive(&plan.plan(connections, &target), load)?;
            (measured.report("http-rate"), target.json)
        }
    };
    report::print(&outcome, json);
    let errors = outcome["errors"].as_u64().unwrap_or(0);
    std::process::exit(if errors > 0 { 1 } else { 0 });
}
