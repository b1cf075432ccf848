//! TLS on both sides: certificates chosen by SNI and swapped while running; the connector to backends.
//!
//! The only room besides `net` that names TLS types. Knows neither HTTP nor routes.

mod acceptor;
mod alpn;
mod certificates;
mod connector;
mod error;
mod fault;
mod hello;
mod load;
mod pem;
mod secrets;
mod self_signed;
mod settings;
#[cfg(test)]
mod tests;
mod words;

pub use acceptor::{Acceptor, Secured};
pub use alpn::{Alpn, ClientAlpn};
pub use certificates::Certificates;
pub use connector::Connector;
pub use error::{AcceptError, AcceptFault, ConnectError, ConnectFault};
pub use fault::{Fault, LoadError, Warning, WarningKind};
pub use hello::Hello;

pub use self_signed::{SelfSigned, SelfSignedError};
pub use settings::{CertificateFiles, ClientSettings, RecordLayer, ServerSettings};

use std::sync::Arc;

use rustls::crypto::CryptoProvider;

/// The cryptography of both sides. Its key exchange groups stay as they are: X25519MLKEM768 first.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}
