//! Promises of TLS, over loopback sockets and certificates made on the spot.

mod client;
mod files;
mod server;
mod takeover;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rcgen::{
    BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, PKCS_ECDSA_P256_SHA256, SignatureAlgorithm, date_time_ymd,
};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;

use super::*;
use crate::net::Socket;

/// Long enough for a slow machine; no test waits for it to pass.
const AMPLE: Duration = Duration::from_secs(20);

/// When the certificates of these tests are valid: all of 2020 to 2039.
const FROM: i32 = 2020;
const TO: i32 = 2040;

/// An authority, and the folder that its certificates are written to.
struct Authority {
    folder: tempfile::TempDir,
    issuer: Issuer<'static, KeyPair>,
    der: CertificateDer<'static>,
    file: PathBuf,
}

impl Authority {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(rcgen::DnType::CommonName, folder.path().display().to_string());
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        let file = folder.path().join("ca.pem");
        std::fs::write(&file, certificate.pem()).unwrap();
        Self { folder, der: certificate.der().clone(), issuer: Issuer::new(params, key), file }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A file of the folder, whole.
    fn write(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    /// Issues a certificate for `names`; its files are called after the first, or `no-names`.
    fn issue(&self, names: &[&str]) -> CertificateFiles {
        self.issue_with(names, &PKCS_ECDSA_P256_SHA256, |_| {})
    }

    fn issue_with(
        &self,
        names: &[&str],
        algorithm: &'static SignatureAlgorithm,
        change: impl FnOnce(&mut CertificateParams),
    ) -> CertificateFiles {
        let mut params = CertificateParams::new(names.iter().map(ToString::to_string).collect::<Vec<_>>()).unwrap();
        params.not_before = date_time_ymd(FROM, 1, 1);
        params.not_after = date_time_ymd(TO, 1, 1);
        change(&mut params);
        let key = KeyPair::generate_for(algorithm).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let name = names.first().unwrap_or(&"no-names").replace('*', "any");
        CertificateFiles {
            chain: self.write(&format!("{name}.pem"), certificate.pem()),
            key: self.write(&format!("{name}.key"), key.serialize_pem()),
        }
    }

    /// A client that trusts this authority alone.
    fn client(&self, versions: &[&'static SupportedProtocolVersion]) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(self.der.clone()).unwrap();
        let config = ClientConfig::builder_with_provider(provider()).with_protocol_versions(versions).unwrap();
        let mut config = config.with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = ClientAlpn::Both.names();
        Arc::new(config)
    }
}

/// A time within or without the certificates' validity.
fn year(year: i32) -> SystemTime {
    let since = date_time_ymd(year, 1, 1) - date_time_ymd(1970, 1, 1);
    UNIX_EPOCH + Duration::from_secs(since.whole_seconds().unsigned_abs())
}

fn settings(certificates: &[CertificateFiles]) -> ServerSettings {
    ServerSettings { certificates: certificates.to_vec() }
}

fn certificates(files: &[CertificateFiles]) -> Certificates {
    let (certificates, warnings) = Certificates::load(&settings(files), year(2030)).unwrap();
    assert_eq!(warnings, []);
    certificates
}

/// Both ends of a TCP connection over loopback.
async fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (client, server) = tokio::join!(TcpStream::connect(listener.local_addr().unwrap()), listener.accept());
    (client.unwrap(), server.unwrap().0)
}

type ClientStream = tokio_rustls::client::TlsStream<TcpStream>;

/// A handshake of `client` with `acceptor`, asking for `name`: both ends, or both errors.
async fn handshake(
    acceptor: &Acceptor,
    client: Arc<ClientConfig>,
    name: &str,
) -> (Result<Secured, AcceptError>, std::io::Result<ClientStream>) {
    let (near, far) = pair().await;
    let name = ServerName::try_from(name.to_owned()).unwrap();
    tokio::join!(acceptor.accept(Socket::from(far), AMPLE, RecordLayer::Own), TlsConnector::from(client).connect(name, near))
}

fn der(file: &Path) -> Vec<u8> {
    let found = pem::read(&std::fs::read(file).unwrap()).unwrap();
    found.certificates.first().unwrap().to_vec()
}
