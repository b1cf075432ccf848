//! An HTTP/2 client on the `h2` crate, with the runtime hidden: one call, one answer.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use h2::RecvStream;
use h2::client::SendRequest;
use http::{HeaderMap, Request, StatusCode};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::LIMIT;

/// One connection.
pub struct H2 {
    runtime: Runtime,
    sender: SendRequest<Bytes>,
}

/// A whole answer.
#[derive(Debug)]
pub struct H2Answer {
    /// Its status.
    pub status: StatusCode,
    /// Its fields.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Vec<u8>,
    /// Fields after the body.
    pub trailers: Option<HeaderMap>,
}

impl H2 {
    /// Without TLS, by prior knowledge.
    pub fn connect(address: SocketAddr) -> Self {
        Self::over(dial(address))
    }

    /// Over TLS; `config` must offer `h2` by ALPN.
    pub fn connect_tls(address: SocketAddr, name: &str, config: Arc<ClientConfig>) -> Self {
        let name = ServerName::try_from(name.to_owned()).unwrap();
        Self::over(async move {
            let tls = TlsConnector::from(config).connect(name, dial(address).await).await.expect("a TLS handshake");
            assert_eq!(tls.get_ref().1.alpn_protocol(), Some(b"h2".as_slice()), "the protocol agreed on");
            tls
        })
    }

    fn over<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(stream: impl Future<Output = S>) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let sender = runtime.block_on(async {
            let shake = async {
                // As browsers have it: room for many streams that are not read.
                let mut builder = h2::client::Builder::new();
                builder.initial_connection_window_size(16 << 20);
                builder.handshake(stream.await).await.expect("an HTTP/2 handshake")
            };
            let (sender, connection) = timeout(LIMIT, shake).await.expect("an HTTP/2 connection in time");
            runtime.spawn(connection);
            sender
        });
        Self { runtime, sender }
    }

    /// A request with a body (`None`: it ends with its head) and perhaps trailers.
    pub fn request(&self, request: Request<()>, body: Option<Bytes>, trailers: Option<HeaderMap>) -> Result<H2Answer, h2::Error> {
        let sender = self.sender.clone();
        self.run(async move {
            let mut sender = sender.ready().await?;
            let (answer, mut stream) = sender.send_request(request, body.is_none() && trailers.is_none())?;
            if let Some(body) = body {
                stream.send_data(body, trailers.is_none())?;
            }
            if let Some(trailers) = trailers {
                stream.send_trailers(trailers)?;
            }
            let (head, body) = answer.await?.into_parts();
            let mut body = body;
            let (body, trailers) = read(&mut body).await?;
            Ok(H2Answer { status: head.status, headers: head.headers, body, trailers })
        })
    }

    /// A GET that must be answered.
    #[track_caller]
    pub fn get(&self, uri: &str) -> H2Answer {
        let request = Request::get(uri).body(()).unwrap();
        self.request(request, None, None).unwrap_or_else(|e| panic!("GET {uri} over HTTP/2: {e}"))
    }

    /// Runs anything on the connection's runtime, for what the calls above do not say.
    #[track_caller]
    pub fn run<T>(&self, work: impl Future<Output = T>) -> T {
        self.runtime.block_on(async { timeout(LIMIT, work).await.expect("an answer over HTTP/2 in time") })
    }

    /// To send by hand.
    pub fn sender(&self) -> SendRequest<Bytes> {
        self.sender.clone()
    }
}

async fn dial(address: SocketAddr) -> TcpStream {
    let tcp = TcpStream::connect(address).await.expect("connecting");
    tcp.set_nodelay(true).expect("an option"); // window updates must not wait
    tcp
}

/// A body to its end, and its trailers.
pub(super) async fn read(body: &mut RecvStream) -> Result<(Vec<u8>, Option<HeaderMap>), h2::Error> {
    let mut bytes = Vec::new();
    while let Some(part) = body.data().await {
        let part = part?;
        body.flow_control().release_capacity(part.len())?;
        bytes.extend_from_slice(&part);
    }
    let trailers = body.trailers().await?;
    Ok((bytes, trailers))
}
