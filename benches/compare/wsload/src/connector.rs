//! Opens connections to the proxy: plain or TLS, from one or many source addresses.

use crate::tickets::Tickets;
use anyhow::{Context as _, Result, bail};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, HandshakeKind, SignatureScheme};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs};
use std::os::fd::AsRawFd;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

#[derive(Clone)]
pub struct Url {
    pub tls: bool,
    /// Value of the Host header.
    pub host: String,
    /// Path and query.
    pub path: String,
    address: SocketAddr,
}

impl std::str::FromStr for Url {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let (scheme, rest) = text.split_once("://").context("a URL needs a scheme")?;
        let (tls, default_port) = match scheme {
            "ws" | "http" => (false, 80),
            "wss" | "https" => (true, 443),
            _ => bail!("unknown scheme {scheme}"),
        };
        let (host, path) = match rest.find('/') {
            Some(at) => rest.split_at(at),
            None => (rest, "/"),
        };
        let address = if host.contains(':') { host.to_socket_addrs() } else { (host, default_port).to_socket_addrs() };
        Ok(Self {
            tls,
            host: host.to_owned(),
            path: path.to_owned(),
            address: address?.find(SocketAddr::is_ipv4).context("the host has no IPv4 address")?,
        })
    }
}

#[derive(Clone, Copy, PartialEq)]
pub enum Resumption {
    On,
    Off,
}

#[derive(Clone)]
pub struct Connector {
    pub url: Url,
    sources: u8,
    next_source: Arc<AtomicUsize>,
    tls: TlsConnector,
    server_name: ServerName<'static>,
}

impl Connector {
    pub fn new(url: Url, sources: u8, resumption: Resumption) -> Result<Self> {
        let host = url.host.rsplit_once(':').map_or(&*url.host, |(host, _)| host);
        let server_name = match host.parse::<IpAddr>() {
            // An address sends no SNI, which some servers answer with a refusal.
            Ok(_) => ServerName::try_from("localhost")?,
            Err(_) => ServerName::try_from(host.to_owned())?,
        };
        Ok(Self {
            sources,
            next_source: Arc::default(),
            tls: TlsConnector::from(Arc::new(tls_config(resumption)?)),
            server_name,
            url,
        })
    }

    pub fn with_path(mut self, path: String) -> Self {
        self.url.path = path;
        self
    }

    pub async fn connect(&self) -> Result<Stream> {
        let socket = TcpSocket::new_v4()?;
        if self.sources > 0 {
            let turn = self.next_source.fetch_add(1, Ordering::Relaxed) % usize::from(self.sources);
            bind_address_only(&socket, Ipv4Addr::new(127, 1, 0, turn as u8 + 1))?;
        }
        let tcp = socket.connect(self.url.address).await.context("connect")?;
        tcp.set_nodelay(true)?;
        if !self.url.tls {
            return Ok(Stream::Plain(tcp));
        }
        let tls = self.tls.connect(self.server_name.clone(), tcp).await;
        Ok(Stream::Tls(Box::new(tls.context("TLS handshake")?)))
    }
}

/// Binds to an address and leaves the port to `connect`, which can then reuse ports per target.
fn bind_address_only(socket: &TcpSocket, address: Ipv4Addr) -> Result<()> {
    let enable: libc::c_int = 1;
    // SAFETY: the descriptor is open, and the option value is a valid int of the given size.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_IP,
            libc::IP_BIND_ADDRESS_NO_PORT,
            (&raw const enable).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    if result != 0 {
        return Err(std::io::Error::last_os_error().into());
    }
    socket.bind((address, 0).into())?;
    Ok(())
}

pub enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Stream {
    pub fn resumed(&self) -> bool {
        match self {
            Stream::Plain(_) => false,
            Stream::Tls(tls) => tls.get_ref().1.handshake_kind() == Some(HandshakeKind::Resumed),
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        match self.get_mut() {
            Stream::Plain(tcp) => Pin::new(tcp).poll_read(cx, buffer),
            Stream::Tls(tls) => Pin::new(tls).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        match self.get_mut() {
            Stream::Plain(tcp) => Pin::new(tcp).poll_write(cx, bytes),
            Stream::Tls(tls) => Pin::new(tls).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        match self.get_mut() {
            Stream::Plain(tcp) => Pin::new(tcp).poll_flush(cx),
            Stream::Tls(tls) => Pin::new(tls).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        match self.get_mut() {
            Stream::Plain(tcp) => Pin::new(tcp).poll_shutdown(cx),
            Stream::Tls(tls) => Pin::new(tls).poll_shutdown(cx),
        }
    }
}

/// TLS settings that make every server do the same work: X25519 only, no certificate check
/// (checking would only make the generator dearer).
fn tls_config(resumption: Resumption) -> Result<ClientConfig> {
    let provider = CryptoProvider { kx_groups: vec![aws_lc_rs::kx_group::X25519], ..aws_lc_rs::default_provider() };
    let mut config = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AcceptAny))
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config.resumption = match resumption {
        Resumption::On => rustls::client::Resumption::store(Arc::new(Tickets::default())),
        Resumption::Off => rustls::client::Resumption::disabled(),
    };
    Ok(config)
}

#[derive(Debug)]
struct AcceptAny;

impl ServerCertVerifier for AcceptAny {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        aws_lc_rs::default_provider().signature_verification_algorithms.supported_schemes()
    }
}
