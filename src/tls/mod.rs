//! TLS on both sides: certificates chosen by SNI and swapped while running; the connector to backends.
//!
//! The only room besides `net` that names TLS types. Knows neither HTTP nor routes.

mod settings;

pub use settings::{CertificateFiles, ClientSettings, ServerSettings};
