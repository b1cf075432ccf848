//! TLS for the relays that can terminate it.

use anyhow::Result;
use clap::Args;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use std::path::PathBuf;
use std::sync::Arc;
use tokio_rustls::TlsAcceptor;

#[derive(Clone, Args)]
pub struct TlsOptions {
    /// Terminate TLS with this certificate
    #[arg(long, requires = "key")]
    cert: Option<PathBuf>,
    #[arg(long, requires = "cert")]
    key: Option<PathBuf>,
}

impl TlsOptions {
    pub fn acceptor(&self) -> Result<Option<TlsAcceptor>> {
        let (Some(cert), Some(key)) = (&self.cert, &self.key) else {
            return Ok(None);
        };
        let chain = CertificateDer::pem_file_iter(cert)?.collect::<Result<_, _>>()?;
        let mut config =
            rustls::ServerConfig::builder().with_no_client_auth().with_single_cert(chain, PrivateKeyDer::from_pem_file(key)?)?;
        // Stateless tickets: resumption without memory for each session.
        config.ticketer = rustls::crypto::aws_lc_rs::Ticketer::new()?;
        Ok(Some(TlsAcceptor::from(Arc::new(config))))
    }
}
