//! Certificates and keys out of files: every fault by file and name, and what is odd but can be served.
//!
//! Nothing is judged here that a client judges (trust, names, purpose), but for what surely breaks all.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use rustls::sign::{CertifiedKey, SigningKey};
use rustls_pki_types::CertificateDer;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use super::fault::{Fault, LoadError, Warning, WarningKind};
use super::settings::CertificateFiles;
use super::{pem, provider};

/// A certificate with its key and the DNS names that it is for.
#[derive(Debug)]
pub(super) struct Loaded {
    pub(super) key: Arc<CertifiedKey>,
    /// As in its subjectAltName; may begin with `*.`.
    pub(super) names: Vec<String>,
}

/// Loads one chain and its key. All faults of both files at once.
pub(super) fn load(files: &CertificateFiles, now: SystemTime, warnings: &mut Vec<Warning>) -> Result<Loaded, Vec<LoadError>> {
    let chain = read_chain(&files.chain);
    let key = read_key(&files.key);
    let (chain, key) = match (chain, key) {
        (Ok(chain), Ok(key)) => (chain, key),
        (chain, key) => {
            let mut errors: Vec<LoadError> = chain.err().into_iter().chain(key.err()).collect();
            errors.dedup(); // both may be one file
            return Err(errors);
        }
    };
    pair(chain, key, files, now, warnings).map_err(|error| vec![error])
}

/// The certificates of a PEM file, each of them parsed once to see that it is one.
pub(super) fn read_chain(file: &Path) -> Result<Vec<CertificateDer<'static>>, LoadError> {
    let found = read_pem(file)?;
    if found.certificates.is_empty() {
        let has_key = found.key.is_some() || found.encrypted_key;
        return Err(LoadError::new(file, Fault::NoCertificate { has_key }));
    }
    for (number, der) in (1..).zip(&found.certificates) {
        parse(der).map_err(|why| LoadError::new(file, Fault::BadCertificate { number, why }))?;
    }
    Ok(found.certificates)
}

fn read_key(file: &Path) -> Result<Arc<dyn SigningKey>, LoadError> {
    let found = read_pem(file)?;
    let failed = |fault| LoadError::new(file, fault);
    match found.key {
        Some(key) => provider().key_provider.load_private_key(key).map_err(|e| failed(Fault::BadKey(e.to_string()))),
        None if found.encrypted_key => Err(failed(Fault::EncryptedKey)),
        None => Err(failed(Fault::NoKey { has_certificate: !found.certificates.is_empty() })),
    }
}

fn read_pem(file: &Path) -> Result<pem::Found, LoadError> {
    let failed = |fault| LoadError::new(file, fault);
    let text = fs::read(file).map_err(|error| {
        failed(match error.kind() {
            io::ErrorKind::NotFound => Fault::Missing,
            io::ErrorKind::IsADirectory => Fault::Directory,
            io::ErrorKind::PermissionDenied => Fault::NoPermission,
            _ => Fault::Unreadable(error.to_string()),
        })
    })?;
    if !pem::looks_like_pem(&text) {
        // 0x30 0x8x: a DER SEQUENCE of more than 127 bytes, as every certificate and most keys are.
        let der = matches!(text.as_slice(), [0x30, 0x80..=0x84, ..]);
        return Err(failed(Fault::NotPem { der }));
    }
    pem::read(&text).map_err(|why| failed(Fault::BrokenPem(why)))
}

/// Puts a chain and a key together, when they are of one another.
fn pair(
    chain: Vec<CertificateDer<'static>>,
    key: Arc<dyn SigningKey>,
    files: &CertificateFiles,
    now: SystemTime,
    warnings: &mut Vec<Warning>,
) -> Result<Loaded, LoadError> {
    // A damaged one would have been refused by `read_chain`.
    let parsed: Vec<X509Certificate<'_>> = chain.iter().filter_map(|der| parse(der).ok()).collect();
    if let Some(ours) = key.public_key() {
        let belongs_to = (1..).zip(&parsed).find(|(_, certificate)| certificate.public_key().raw == ours.as_ref());
        if belongs_to.as_ref().map(|found| found.0) != Some(1) {
            let fault = Fault::KeyOfAnother { chain: files.chain.clone(), belongs_to: belongs_to.map(|found| found.0) };
            return Err(LoadError::new(&files.key, fault));
        }
    }
    let names = parsed.first().map(dns_names).unwrap_or_default();
    let found = parsed.first().into_iter().filter_map(no_names).chain((1..).zip(&parsed).filter_map(|(n, c)| dates(n, c, now)));
    warnings.extend(found.map(|kind| Warning { file: files.chain.clone(), kind }));
    drop(parsed);
    Ok(Loaded { key: Arc::new(CertifiedKey::new(chain, key)), names })
}

fn parse(der: &[u8]) -> Result<X509Certificate<'_>, String> {
    match X509Certificate::from_der(der) {
        Ok(([], certificate)) => Ok(certificate),
        Ok(_) => Err("there are bytes behind its end".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

/// The DNS names of a certificate's subjectAltName.
fn dns_names(certificate: &X509Certificate<'_>) -> Vec<String> {
    let Ok(Some(names)) = certificate.subject_alternative_name() else { return Vec::new() };
    let dns = names.value.general_names.iter().filter_map(|name| match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        _ => None,
    });
    dns.collect()
}

fn no_names(certificate: &X509Certificate<'_>) -> Option<WarningKind> {
    let named = certificate.subject_alternative_name().is_ok_and(|names| names.is_some());
    (!named).then_some(WarningKind::NoNames)
}

fn dates(number: usize, certificate: &X509Certificate<'_>, now: SystemTime) -> Option<WarningKind> {
    let now = now.duration_since(UNIX_EPOCH).map_or(0, |since| i64::try_from(since.as_secs()).unwrap_or(i64::MAX));
    let validity = certificate.validity();
    if validity.not_after.timestamp() < now {
        Some(WarningKind::Expired { number, on: validity.not_after.to_string() })
    } else if validity.not_before.timestamp() > now {
        Some(WarningKind::NotYetValid { number, from: validity.not_before.to_string() })
    } else {
        None
    }
}
