//! Certificates for tests, made on the spot: an authority, leaves with any names and times, client configs.

use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose, date_time_ymd};
use rustls::client::Resumption;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, RootCertStore, ServerConfig};

/// When a certificate is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Validity {
    /// Now.
    Now,
    /// It was.
    Expired,
    /// It will be.
    NotYet,
}

/// Someone who signs, and whom clients may trust.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

/// A certificate with its key.
pub struct Identity {
    /// The leaf, PEM.
    pub chain_pem: String,
    /// Its key, PEM.
    pub key_pem: String,
    chain: CertificateDer<'static>,
    key: Vec<u8>,
}

impl Authority {
    /// A new one.
    #[allow(clippy::new_without_default)]
    pub fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.distinguished_name.push(DnType::CommonName, "spliceway test authority");
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        Self { issuer }
    }

    /// A certificate for these names (or addresses), good now.
    pub fn identity(&self, names: &[&str]) -> Identity {
        self.identity_valid(names, Validity::Now)
    }

    /// A certificate for these names, good then.
    pub fn identity_valid(&self, names: &[&str], validity: Validity) -> Identity {
        let mut params = CertificateParams::new(names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>()).unwrap();
        params.distinguished_name.push(DnType::CommonName, names.first().copied().unwrap_or("nobody"));
        let (from, to) = match validity {
            Validity::Now => (2020, 2090),
            Validity::Expired => (2020, 2021),
            Validity::NotYet => (2089, 2090),
        };
        params.not_before = date_time_ymd(from, 1, 1);
        params.not_after = date_time_ymd(to, 1, 1);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Identity {
            chain_pem: certificate.pem(),
            key_pem: key.serialize_pem(),
            chain: certificate.der().clone(),
            key: key.serialize_der(),
        }
    }

    /// Its own certificate, PEM: what a `ca` key takes.
    pub fn pem(&self) -> String {
        self.issuer.pem()
    }

    /// A client that trusts it, offering these protocols by ALPN.
    pub fn client(&self, alpn: &[&str]) -> Arc<ClientConfig> {
        self.client_of(&[&TLS12, &TLS13], alpn)
    }

    /// A client that speaks TLS 1.2 only.
    pub fn client_tls12(&self, alpn: &[&str]) -> Arc<ClientConfig> {
        self.client_of(&[&TLS12], alpn)
    }

    fn client_of(&self, versions: &[&'static rustls::SupportedProtocolVersion], alpn: &[&str]) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(self.issuer.der().clone()).unwrap();
        let builder = ClientConfig::builder_with_provider(provider()).with_protocol_versions(versions).unwrap();
        let mut config = builder.with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_owned()).collect();
        config.resumption = Resumption::in_memory_sessions(8);
        Arc::new(config)
    }
}

impl Identity {
    /// A server with it.
    pub fn server_config(&self) -> Arc<ServerConfig> {
        self.server_config_alpn(&[])
    }

    /// A server with it that takes these protocols by ALPN.
    pub fn server_config_alpn(&self, alpn: &[&str]) -> Arc<ServerConfig> {
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.key.clone()));
        let builder = ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions().unwrap();
        let mut config = builder.with_no_client_auth().with_single_cert(vec![self.chain.clone()], key).unwrap();
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_owned()).collect();
        Arc::new(config)
    }

    /// The certificate, to compare with what a server showed.
    pub fn certificate(&self) -> &CertificateDer<'static> {
        &self.chain
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}
