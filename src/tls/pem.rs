//! PEM text into DER: the one file that uses `rustls-pemfile`.
//!
//! That crate is not maintained any more (RUSTSEC-2025-0134: archived, no known fault). It is a thin
//! layer over `rustls_pki_types::pem`, so leaving it is a change of this file alone.

use rustls_pemfile::{Item, read_one_from_slice};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

/// What was found in a PEM text.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// In the order of the text.
    pub(super) certificates: Vec<CertificateDer<'static>>,
    /// The first private key, as with every other server.
    pub(super) key: Option<PrivateKeyDer<'static>>,
    /// There is a private key that needs a passphrase.
    pub(super) encrypted_key: bool,
}

/// Reads a PEM text. What stands between the sections is passed over, and so are sections of other
/// kinds (parameters, requests). `Err` says which section is broken, and how.
pub(super) fn read(text: &[u8]) -> Result<Found, String> {
    // Some editors put a byte order mark in front, which would hide the first section.
    let mut rest = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
    // The old form says so in a header line inside the section, which the parser takes for bad base64.
    let old_encrypted = holds(text, b"Proc-Type: 4,ENCRYPTED");
    let mut found =
        Found { encrypted_key: old_encrypted || holds(text, b"-----BEGIN ENCRYPTED PRIVATE KEY-----"), ..Found::default() };
    loop {
        match read_one_from_slice(rest) {
            Ok(Some((item, after))) => {
                found.take(item);
                rest = after;
            }
            Ok(None) => return Ok(found),
            Err(rustls_pemfile::Error::Base64Decode(_)) if old_encrypted => return Ok(found),
            Err(error) => return Err(words(&error)),
        }
    }
}

/// Whether there is anything that looks like PEM at all.
pub(super) fn looks_like_pem(text: &[u8]) -> bool {
    holds(text, b"-----BEGIN ")
}

impl Found {
    fn take(&mut self, item: Item) {
        let key: PrivateKeyDer<'static> = match item {
            Item::X509Certificate(certificate) => return self.certificates.push(certificate),
            Item::Pkcs1Key(key) => key.into(),
            Item::Pkcs8Key(key) => key.into(),
            Item::Sec1Key(key) => key.into(),
            _ => return,
        };
        self.key.get_or_insert(key);
    }
}

fn holds(text: &[u8], part: &[u8]) -> bool {
    memchr::memmem::find(text, part).is_some()
}

fn words(error: &rustls_pemfile::Error) -> String {
    match error {
        rustls_pemfile::Error::MissingSectionEnd { end_marker } => {
            format!("the line -----END {}----- is missing: the file is cut short", String::from_utf8_lossy(end_marker))
        }
        rustls_pemfile::Error::IllegalSectionStart { line } => {
            format!("the line {:?} begins a section but does not end in five hyphens", String::from_utf8_lossy(line).trim())
        }
        rustls_pemfile::Error::Base64Decode(_) => "what stands between BEGIN and END is not base64".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn no_text_breaks_the_reader(parts in proptest::collection::vec(
            prop_oneof![
                Just("-----BEGIN CERTIFICATE-----\n".to_owned()),
                Just("-----END CERTIFICATE-----\n".to_owned()),
                Just("-----BEGIN RSA PRIVATE KEY-----\n".to_owned()),
                Just("-----END RSA PRIVATE KEY-----".to_owned()),
                Just("Proc-Type: 4,ENCRYPTED\n".to_owned()),
                "[A-Za-z0-9+/=]{0,70}\n",
                ".{0,20}",
            ],
            0..12,
        )) {
            let text = parts.concat();
            let begins = text.matches("-----BEGIN CERTIFICATE-----").count();
            if let Ok(found) = read(text.as_bytes()) {
                prop_assert!(found.certificates.len() <= begins, "more certificates than sections");
            }
        }
    }
}
