//! An HTTP/2 client on the `h2` crate, with the runtime hidden: one call, one answer.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use h2::ext::Protocol;
use h2::{Ping, PingPong, Reason, RecvStream, SendStream};
use http::{HeaderMap, Method, Request, StatusCode};
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
    ping: Mutex<PingPong>,
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
        let (sender, ping) = runtime.block_on(async {
            let shake = async {
                // As browsers have it: room for many streams that are not read.
                let mut builder = h2::client::Builder::new();
                builder.initial_connection_window_size(16 << 20);
                builder.handshake(stream.await).await.expect("an HTTP/2 handshake")
            };
            let (sender, mut connection) = timeout(LIMIT, shake).await.expect("an HTTP/2 connection in time");
            let ping = connection.ping_pong().unwrap();
            runtime.spawn(connection);
            (sender, Mutex::new(ping))
        });
        Self { runtime, sender, ping }
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

/// An extended CONNECT for a WebSocket, with these fields beside its version.
pub fn connect(lines: &[(&'static str, &'static str)]) -> Request<()> {
    let request = Request::builder().method(Method::CONNECT).uri("http://server.example.com/chat");
    let request = request.extension(Protocol::from_static("websocket")).header("sec-websocket-version", "13");
    lines.iter().fold(request, |request, &(name, value)| request.header(name, value)).body(()).unwrap()
}

/// A stream whose head was sent: what comes of it is still to be seen.
pub struct H2Asked<'a> {
    h2: &'a H2,
    answer: ResponseFuture,
    /// To send on.
    pub send: SendStream<Bytes>,
}

/// A WebSocket on a stream, by hand.
pub struct H2Socket<'a> {
    h2: &'a H2,
    /// The fields of the 200.
    pub headers: HeaderMap,
    /// To send on.
    pub send: SendStream<Bytes>,
    /// To read from. What is read is given back to its window by the calls below.
    pub recv: RecvStream,
    unread: Vec<u8>,
}

impl H2 {
    /// Waits until all that the server had to say at first was heard, its settings above all.
    #[track_caller]
    pub fn settled(&self) -> &Self {
        let mut ping = self.ping.lock().unwrap();
        self.run(ping.ping(Ping::opaque())).expect("a PING answered");
        self
    }

    /// Sends the head of a request that goes on.
    #[track_caller]
    pub fn ask(&self, request: Request<()>) -> H2Asked<'_> {
        let (answer, send) = self.run(async {
            let mut sender = self.sender.clone().ready().await.expect("room for a stream");
            sender.send_request(request, false).expect("a request that can be sent")
        });
        H2Asked { h2: self, answer, send }
    }

    /// A WebSocket that is agreed to.
    #[track_caller]
    pub fn socket(&self) -> H2Socket<'_> {
        self.settled().ask(connect(&[])).opened()
    }
}

impl<'a> H2Asked<'a> {
    /// Its whole answer.
    #[track_caller]
    pub fn answer(self) -> H2Answer {
        self.h2.run(async {
            let (head, mut body) = self.answer.await.expect("an answer").into_parts();
            let (body, trailers) = read(&mut body).await.expect("a whole answer");
            H2Answer { status: head.status, headers: head.headers, body, trailers }
        })
    }

    /// The reason of the reset that comes in place of an answer.
    #[track_caller]
    pub fn refused(self) -> Option<Reason> {
        self.h2.run(self.answer).expect_err("no answer").reason()
    }

    /// Asserts that the answer is 200, and goes on.
    #[track_caller]
    pub fn opened(self) -> H2Socket<'a> {
        let (head, recv) = self.h2.run(self.answer).expect("an answer").into_parts();
        assert_eq!(head.status, 200, "{head:?}");
        H2Socket { h2: self.h2, headers: head.headers, send: self.send, recv, unread: Vec::new() }
    }
}

impl H2Socket<'_> {
    /// Sends bytes, however little room there is for them.
    #[track_caller]
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.send.send_data(Bytes::copy_from_slice(bytes.as_ref()), false).expect("a stream to send on");
    }

    /// So many bytes, or how they ended.
    #[track_caller]
    pub fn try_read_exact(&mut self, count: usize) -> Result<Vec<u8>, Option<h2::Error>> {
        while self.unread.len() < count {
            let part = self.h2.run(self.recv.data()).ok_or(None)?.map_err(Some)?;
            self.recv.flow_control().release_capacity(part.len()).unwrap();
            self.unread.extend_from_slice(&part);
        }
        Ok(self.unread.drain(..count).collect())
    }

    /// Asserts that just these bytes come next.
    #[track_caller]
    pub fn expect(&mut self, bytes: impl AsRef<[u8]>) {
        let bytes = bytes.as_ref();
        let read = self.try_read_exact(bytes.len()).unwrap_or_else(|end| panic!("{end:?} instead of {} bytes", bytes.len()));
        assert!(read == bytes, "other bytes than expected");
    }

    /// Ends our side.
    #[track_caller]
    pub fn fin(&mut self) {
        self.send.send_data(Bytes::new(), true).expect("a stream to end");
    }

    /// Asserts that the other side ends, with `END_STREAM` and nothing before it.
    #[track_caller]
    pub fn expect_fin(&mut self) {
        let end = self.try_read_exact(1).expect_err("no byte");
        assert!(end.is_none(), "{end:?} instead of END_STREAM");
    }

    /// Asserts that the other side resets the stream, and nothing before that; its reason.
    #[track_caller]
    pub fn expect_reset(&mut self) -> Reason {
        let error = self.try_read_exact(1).expect_err("no byte").expect("a reset, not END_STREAM");
        assert!(error.is_reset() && error.is_remote(), "{error:?}");
        error.reason().unwrap()
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
