//! Our side as a server: the handshake with a client, by certificates that can be swapped meanwhile.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{ProtocolVersion, ServerConfig};
use tokio_rustls::TlsAcceptor;

use super::alpn::server_names;
use super::secrets::{Catcher, catching};
use super::{AcceptError, AcceptFault, Alpn, Certificates, RecordLayer, provider};
use crate::net::{Socket, Stream, WholeRecords};

/// A connection on which TLS is spoken.
#[derive(Debug)]
pub struct Secured {
    /// The bytes inside.
    pub stream: Stream,
    /// Which HTTP was agreed on.
    pub alpn: Alpn,
    /// The name the client asked for.
    pub sni: Option<Arc<str>>,
    /// `TLSv1.2` or `TLSv1.3`, as nginx and OpenSSL write it.
    pub version: &'static str,
}

/// Makes the handshake with clients. Clones share their certificates.
#[derive(Clone)]
pub struct Acceptor {
    tls: TlsAcceptor,
    chosen: Arc<Chosen>,
}

impl fmt::Debug for Acceptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Acceptor").field("chosen", &self.chosen).finish_non_exhaustive()
    }
}

impl Acceptor {
    /// TLS 1.2 and 1.3, ALPN `h2` and `http/1.1`, resumption by tickets.
    pub fn new(certificates: Certificates) -> Self {
        let chosen = Arc::new(Chosen(ArcSwap::from_pointee(certificates)));
        Self { tls: Arc::new(config(chosen.clone())).into(), chosen }
    }

    /// New handshakes get these certificates. Live connections and tickets given before stay good: a
    /// client that resumes is not shown a certificate at all.
    pub fn swap(&self, certificates: Certificates) {
        self.chosen.0.store(Arc::new(certificates));
    }

    /// Makes the handshake within `time`. When it fails, the client has been sent the alert that says
    /// why; the socket comes back in the error, for closing it in a way that lets the alert arrive.
    pub async fn accept(&self, socket: Socket, time: Duration, layer: RecordLayer) -> Result<Secured, AcceptError> {
        let handshake = self.tls.accept(WholeRecords::of(socket)).into_fallible();
        let handshake = async {
            match layer {
                RecordLayer::Own => catching(handshake).await,
                RecordLayer::Rustls => (handshake.await, None),
            }
        };
        match tokio::time::timeout(time, handshake).await {
            Ok((Ok(tls), secrets)) => {
                let session = tls.get_ref().1;
                let alpn = Alpn::of(session.alpn_protocol());
                let sni = session.server_name().map(Arc::from);
                let version = version(session.protocol_version());
                let secrets = secrets.filter(|_| alpn != Alpn::H2); // a tunnel of h2 is a stream among others
                Ok(Secured { stream: Stream::of_client(tls, secrets), alpn, sni, version })
            }
            Ok((Err((error, below)), _)) => Err(AcceptError::of(&error, below.into_socket())),
            Err(_) => Err(AcceptError::new(AcceptFault::Time, "the client did not finish the handshake in time".to_owned())),
        }
    }
}

fn config(chosen: Arc<Chosen>) -> ServerConfig {
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(rustls::ALL_VERSIONS)
        .expect("the provider has suites for both versions")
        .with_no_client_auth()
        .with_cert_resolver(chosen);
    config.alpn_protocols = server_names();
    // For the record layer of our tunnels; see `secrets`.
    config.key_log = Arc::new(Catcher);
    config.enable_secret_extraction = true;
    // Tickets hold the session at the client, so no number of clients fills our memory. Without random
    // bytes there are none, and rustls's own store of 256 sessions remains.
    if let Ok(tickets) = rustls::crypto::aws_lc_rs::Ticketer::new() {
        config.ticketer = tickets;
    }
    config
}

fn version(version: Option<ProtocolVersion>) -> &'static str {
    match version {
        Some(ProtocolVersion::TLSv1_2) => "TLSv1.2",
        _ => "TLSv1.3",
    }
}

/// The certificates of the moment.
#[derive(Debug)]
struct Chosen(ArcSwap<Certificates>);

impl ResolvesServerCert for Chosen {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.load().choose(hello.server_name(), hello.signature_schemes()))
    }
}
