//! What can be said of TLS. Plain data: paths, not keys.

use std::path::PathBuf;

/// A certificate chain and its key, as PEM files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFiles {
    /// The leaf first, then the intermediates.
    pub chain: PathBuf,
    /// PKCS#8, PKCS#1 or SEC1.
    pub key: PathBuf,
}

/// TLS of one listener.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServerSettings {
    /// Chosen by SNI; the first is for clients that name nothing we have. Never empty.
    pub certificates: Vec<CertificateFiles>,
}

/// TLS toward one backend.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientSettings {
    /// A PEM file with the authorities to trust instead of the system's.
    pub ca: Option<PathBuf>,
    /// Who carries its tunnels.
    pub record_layer: RecordLayer,
}

/// Who carries what is under TLS 1.3 once it is a tunnel. Everything else is rustls's anyway.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RecordLayer {
    /// Our own record layer, in which an idle tunnel costs some hundred bytes: secrets are kept for it from the handshake on.
    #[default]
    Own,
    /// rustls, to the end. Nobody but rustls ever has a secret.
    Rustls,
}
