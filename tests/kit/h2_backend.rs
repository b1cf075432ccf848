//! A server behind the proxy that speaks HTTP/2, on the `h2` crate: one async script per request.

#![allow(clippy::disallowed_methods)] // its tasks end with its runtime

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use h2::RecvStream;
use h2::server::{Builder, SendResponse};
use http::{HeaderMap, Request, Response};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio_rustls::TlsAcceptor;

use super::Identity;

/// A server on a port of its own. Its drop ends it. A script that fails resets its stream.
pub struct H2Backend {
    _runtime: Runtime,
    address: SocketAddr,
    scheme: &'static str,
    connections: Arc<AtomicUsize>,
}

/// One request and the way to answer it.
pub struct Call {
    /// Its head and body.
    pub request: Request<RecvStream>,
    /// To answer it.
    pub respond: SendResponse<Bytes>,
}

impl Call {
    /// The rest of the body, and its trailers.
    pub async fn read(&mut self) -> (Vec<u8>, Option<HeaderMap>) {
        super::h2::read(self.request.body_mut()).await.expect("a whole request")
    }

    /// Answers with this body.
    pub fn answer(&mut self, body: &'static str) {
        let mut stream = self.respond.send_response(Response::new(()), false).expect("a stream");
        stream.send_data(Bytes::from_static(body.as_bytes()), true).expect("a stream");
    }
}

impl H2Backend {
    /// Without TLS, by prior knowledge.
    pub fn scripted<F, Fut>(script: F) -> Self
    where
        F: Fn(Call) -> Fut + Clone + Send + Sync + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        Self::serve("h2c", None, Builder::new(), usize::MAX, script)
    }

    /// The same, with so many requests on each connection: then a GOAWAY, and its end.
    pub fn scripted_for<F, Fut>(requests: usize, script: F) -> Self
    where
        F: Fn(Call) -> Fut + Clone + Send + Sync + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        Self::serve("h2c", None, Builder::new(), requests, script)
    }

    /// Without TLS, with settings of its own.
    pub fn scripted_with<F, Fut>(settings: Builder, requests: usize, script: F) -> Self
    where
        F: Fn(Call) -> Fut + Clone + Send + Sync + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        Self::serve("h2c", None, settings, requests, script)
    }

    /// Over TLS; it takes h2 alone by ALPN.
    pub fn scripted_tls<F, Fut>(identity: &Identity, script: F) -> Self
    where
        F: Fn(Call) -> Fut + Clone + Send + Sync + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        Self::scripted_tls_with(identity, Builder::new(), script)
    }

    /// The same with settings of its own.
    pub fn scripted_tls_with<F, Fut>(identity: &Identity, settings: Builder, script: F) -> Self
    where
        F: Fn(Call) -> Fut + Clone + Send + Sync + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        Self::serve("https", Some(identity.server_config_alpn(&["h2"]).into()), settings, usize::MAX, script)
    }

    fn serve<F, Fut>(scheme: &'static str, tls: Option<TlsAcceptor>, settings: Builder, requests: usize, script: F) -> Self
    where
        F: Fn(Call) -> Fut + Clone + Send + Sync + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&connections);
        runtime.spawn(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                tcp.set_nodelay(true).expect("an option"); // window updates must not wait
                counted.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(connection(tcp, tls.clone(), settings.clone(), requests, script.clone()));
            }
        });
        Self { _runtime: runtime, address, scheme, connections }
    }

    /// As a config names it.
    pub fn url(&self) -> String {
        format!("{}://{}", self.scheme, self.address)
    }

    /// The same with a name in place of the address.
    pub fn url_as(&self, host: &str) -> String {
        format!("{}://{host}:{}", self.scheme, self.address.port())
    }

    /// How many connections it has had.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

async fn connection<F, Fut>(tcp: TcpStream, tls: Option<TlsAcceptor>, settings: Builder, requests: usize, script: F)
where
    F: Fn(Call) -> Fut,
    Fut: Future<Output = ()> + Send + 'static,
{
    match tls {
        None => streams(tcp, settings, requests, script).await,
        Some(tls) => {
            // A TLS handshake that fails is its client's to tell.
            if let Ok(stream) = tls.accept(tcp).await {
                streams(stream, settings, requests, script).await;
            }
        }
    }
}

async fn streams<S, F, Fut>(stream: S, settings: Builder, requests: usize, script: F)
where
    S: AsyncRead + AsyncWrite + Unpin,
    F: Fn(Call) -> Fut,
    Fut: Future<Output = ()> + Send + 'static,
{
    let Ok(mut connection) = settings.handshake(stream).await else { return };
    let mut taken = 0;
    while let Some(Ok((request, respond))) = connection.accept().await {
        tokio::spawn(script(Call { request, respond }));
        taken += 1;
        if taken == requests {
            connection.graceful_shutdown();
        }
    }
}
