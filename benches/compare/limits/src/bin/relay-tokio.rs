//! tokio's `copy_bidirectional`, as most Rust proxies use it.
//!
//! By default one multi-threaded runtime; with `--per-core`, one single-threaded runtime with its
//! own SO_REUSEPORT listener on each thread. With `--cert` and `--key` it terminates TLS (rustls).

use anyhow::Result;
use clap::Parser;
use limits::{Options, TlsOptions, reuseport_listener};
use tokio::io::{AsyncRead, AsyncWrite, copy_bidirectional_with_sizes};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Builder;
use tokio_rustls::TlsAcceptor;

#[derive(Clone, Parser)]
struct Arguments {
    #[command(flatten)]
    options: Options,
    #[arg(long)]
    per_core: bool,
    #[command(flatten)]
    tls: TlsOptions,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let tls = arguments.tls.acceptor()?;
    if arguments.per_core {
        return arguments.options.run_on_each_thread(move |listener, options| {
            let runtime = Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(accept(listener, options, tls.clone()))
        });
    }
    let options = arguments.options;
    let runtime = Builder::new_multi_thread().worker_threads(options.threads).enable_all().build()?;
    runtime.block_on(async {
        let listener = reuseport_listener(options.listen)?;
        // Accepting inside the pool keeps it off the thread that only waits here.
        tokio::spawn(accept(listener, options, tls)).await?
    })
}

async fn accept(listener: std::net::TcpListener, options: Options, tls: Option<TlsAcceptor>) -> Result<()> {
    let listener = TcpListener::from_std(listener)?;
    loop {
        let Ok((client, _)) = listener.accept().await else {
            continue;
        };
        let (options, tls) = (options.clone(), tls.clone());
        tokio::spawn(async move {
            // A connection that fails is closed, and that is all there is to do.
            let _ = match tls {
                None => relay(client, &options).await,
                Some(tls) => relay_tls(client, &options, tls).await,
            };
        });
    }
}

async fn relay_tls(client: TcpStream, options: &Options, tls: TlsAcceptor) -> Result<()> {
    client.set_nodelay(true)?;
    copy(tls.accept(client).await?, options).await
}

async fn relay(client: TcpStream, options: &Options) -> Result<()> {
    client.set_nodelay(true)?;
    copy(client, options).await
}

async fn copy(mut client: impl AsyncRead + AsyncWrite + Unpin, options: &Options) -> Result<()> {
    let mut backend = TcpStream::connect(options.backend).await?;
    backend.set_nodelay(true)?;
    let size = options.buffer;
    copy_bidirectional_with_sizes(&mut client, &mut backend, size, size).await?;
    Ok(())
}
