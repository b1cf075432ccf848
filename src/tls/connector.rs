//! Our side as a client: the handshake with a backend, and whom to trust. The time it takes is the caller's.

use std::fmt;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use tokio_rustls::TlsConnector;

use super::fault::{Fault, LoadError};
use super::secrets::{Catcher, catching};
use super::{Alpn, ClientAlpn, ClientSettings, ConnectError, RecordLayer, load, provider};
use crate::net::{Socket, Stream, WholeRecords};

/// Makes the handshake with the servers of a backend. Sessions are resumed across its clones.
#[derive(Clone)]
pub struct Connector {
    pub(super) tls: TlsConnector,
    record_layer: RecordLayer,
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connector").finish_non_exhaustive()
    }
}

impl Connector {
    /// Trusts the authorities of the settings, else the system's (which are read once per process).
    pub fn new(settings: &ClientSettings) -> Result<Self, LoadError> {
        let verifier: Arc<dyn ServerCertVerifier> = match &settings.ca {
            Some(file) => given(file)?,
            None => web_pki(system_roots()?, Path::new(""))?,
        };
        Ok(Self { tls: Arc::new(config(verifier)).into(), record_layer: settings.record_layer })
    }

    /// Makes the handshake with the backend that is called `host`: a DNS name, or an IP address (IPv6
    /// without brackets), which its certificate must be for.
    pub async fn connect(&self, socket: Socket, host: &str, alpn: ClientAlpn) -> Result<(Stream, Alpn), ConnectError> {
        let bare = host.strip_suffix('.').unwrap_or(host);
        let name = ServerName::try_from(bare.to_owned()).map_err(|_| ConnectError::name(host))?;
        let handshake = self.tls.clone().with_alpn(alpn.names()).connect(name, WholeRecords::of(socket));
        let (done, secrets) = match self.record_layer {
            RecordLayer::Own => catching(handshake).await,
            RecordLayer::Rustls => (handshake.await, None),
        };
        match done {
            Ok(tls) => {
                let agreed = Alpn::of(tls.get_ref().1.alpn_protocol());
                let secrets = secrets.filter(|_| agreed != Alpn::H2); // its tunnels are streams among others
                Ok((Stream::of_backend(tls, secrets), agreed))
            }
            Err(error) => Err(ConnectError::of(&error, host)),
        }
    }
}

fn config(verifier: Arc<dyn ServerCertVerifier>) -> ClientConfig {
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(rustls::ALL_VERSIONS)
        .expect("the provider has suites for both versions")
        .dangerous() // a verifier of our own; see `Given`
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    // For the record layer of our tunnels; see `secrets`.
    config.key_log = Arc::new(Catcher);
    config.enable_secret_extraction = true;
    config
}

/// The system's authorities. What is wrong with single ones among them is only of interest when none is left.
fn system_roots() -> Result<Arc<RootCertStore>, LoadError> {
    static ROOTS: OnceLock<Result<Arc<RootCertStore>, String>> = OnceLock::new();
    let roots = ROOTS.get_or_init(|| {
        let found = rustls_native_certs::load_native_certs();
        let mut roots = RootCertStore::empty();
        let (added, _) = roots.add_parsable_certificates(found.certs);
        if added > 0 {
            return Ok(Arc::new(roots));
        }
        let errors: Vec<String> = found.errors.iter().map(ToString::to_string).collect();
        Err(if errors.is_empty() { "none were found".to_owned() } else { errors.join("; ") })
    });
    roots.clone().map_err(|why| LoadError::new(Path::new(""), Fault::NoSystemRoots(why)))
}

fn web_pki(roots: Arc<RootCertStore>, file: &Path) -> Result<Arc<WebPkiServerVerifier>, LoadError> {
    WebPkiServerVerifier::builder_with_provider(roots, provider())
        .build()
        .map_err(|error| LoadError::new(file, Fault::Refused(error.to_string())))
}

/// A verifier that trusts the certificates of a PEM file, and nothing else.
fn given(file: &Path) -> Result<Arc<Given>, LoadError> {
    let certificates = load::read_chain(file)?;
    let mut roots = RootCertStore::empty();
    for (number, certificate) in (1..).zip(&certificates) {
        let bad = |error: Error| LoadError::new(file, Fault::BadCertificate { number, why: error.to_string() });
        roots.add(certificate.clone()).map_err(bad)?;
    }
    Ok(Arc::new(Given { certificates, web_pki: web_pki(Arc::new(roots), file)? }))
}

/// The usual rules, and one more: a server may show the very certificate that was given to be trusted.
///
/// `openssl req -x509` makes self-signed certificates that call themselves an authority (CA:TRUE). Clients
/// built on OpenSSL take such a one from a server when it was given to them as `ca`; webpki refuses an
/// authority as a server, whatever is trusted. Only that one refusal is lifted, only for a certificate that
/// is byte for byte one of the given. Its dates webpki has judged before it came to that refusal (a test
/// holds it), its names are judged here, and that the server has the key is proved by the signature over
/// the handshake, which is left to webpki.
#[derive(Debug)]
struct Given {
    certificates: Vec<CertificateDer<'static>>,
    web_pki: Arc<WebPkiServerVerifier>,
}

impl Given {
    fn is_the_given(&self, end_entity: &CertificateDer<'_>, refused: &Error) -> bool {
        let Error::InvalidCertificate(CertificateError::Other(other)) = refused else { return false };
        // webpki's own type is not within reach through rustls; were it renamed, all would be refused.
        other.0.to_string() == "CaUsedAsEndEntity" && self.certificates.contains(end_entity)
    }
}

impl ServerCertVerifier for Given {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        match self.web_pki.verify_server_cert(end_entity, intermediates, name, ocsp, now) {
            Err(refused) if self.is_the_given(end_entity, &refused) => {
                rustls::client::verify_server_name(&ParsedCertificate::try_from(end_entity)?, name)?;
                Ok(ServerCertVerified::assertion())
            }
            verdict => verdict,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.web_pki.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.web_pki.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.web_pki.supported_verify_schemes()
    }
}
