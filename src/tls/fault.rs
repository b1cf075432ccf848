//! What can be wrong with the files of TLS, in sentences that name the file and the remedy.

use std::fmt;
use std::path::{Path, PathBuf};

/// Why a file cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadError {
    /// Which file. Empty where it is not about one.
    pub file: PathBuf,
    /// What is wrong with it.
    pub fault: Fault,
}

/// What can be wrong with a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It does not exist.
    Missing,
    /// It is a directory.
    Directory,
    /// This user may not read it.
    NoPermission,
    /// It could not be read for another reason.
    Unreadable(String),
    /// There is no PEM in it.
    NotPem {
        /// It looks like bare DER.
        der: bool,
    },
    /// There is PEM in it that is broken.
    BrokenPem(String),
    /// There is PEM in it, but no certificate.
    NoCertificate {
        /// There is a private key instead.
        has_key: bool,
    },
    /// There is PEM in it, but no private key.
    NoKey {
        /// There is a certificate instead.
        has_certificate: bool,
    },
    /// The key needs a passphrase.
    EncryptedKey,
    /// A certificate in it is none inside.
    BadCertificate {
        /// Which one, from 1.
        number: usize,
        /// What the parser said.
        why: String,
    },
    /// The key is none inside, or of a kind that is not supported.
    BadKey(String),
    /// The key does not belong to the first certificate of the chain.
    KeyOfAnother {
        /// The chain.
        chain: PathBuf,
        /// The certificate of the chain that it does belong to, from 1.
        belongs_to: Option<usize>,
    },
    /// No certificate was named.
    NoneGiven,
    /// The system's authorities could not be found.
    NoSystemRoots(String),
    /// No verifier or configuration could be made.
    Refused(String),
}

impl LoadError {
    pub(super) fn new(file: &Path, fault: Fault) -> Self {
        Self { file: file.to_owned(), fault }
    }
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let file = self.file.display();
        if !self.file.as_os_str().is_empty() {
            write!(f, "{file}: ")?;
        }
        match &self.fault {
            Fault::Missing => f.write_str("there is no such file"),
            Fault::Directory => f.write_str("this is a directory, not a PEM file"),
            Fault::NoPermission => f.write_str("this user may not read it; change its owner or mode"),
            Fault::Unreadable(why) => write!(f, "it cannot be read: {why}"),
            Fault::NotPem { der: false } => f.write_str("there is no PEM inside (no line begins with -----BEGIN)"),
            Fault::NotPem { der: true } => {
                write!(
                    f,
                    "this is DER, not PEM; `openssl x509 -inform DER -in {file}` (for a key: `openssl pkey …`) writes it as PEM"
                )
            }
            Fault::BrokenPem(why) => write!(f, "the PEM inside is broken: {why}"),
            Fault::NoCertificate { has_key: true } => {
                f.write_str("there is a private key inside, but no certificate; are `chain` and `key` exchanged?")
            }
            Fault::NoCertificate { has_key: false } => f.write_str("there is PEM inside, but no certificate"),
            Fault::NoKey { has_certificate: true } => {
                f.write_str("there is a certificate inside, but no private key; are `chain` and `key` exchanged?")
            }
            Fault::NoKey { has_certificate: false } => f.write_str("there is PEM inside, but no private key"),
            Fault::EncryptedKey => {
                write!(
                    f,
                    "the private key is encrypted, and nobody is there to type its passphrase; `openssl pkey -in {file}` writes it without"
                )
            }
            Fault::BadCertificate { number, why } => write!(f, "certificate {number} in it is damaged: {why}"),
            Fault::BadKey(why) => {
                write!(
                    f,
                    "the private key is damaged, or of a kind that is not supported (RSA from 2048 bits, ECDSA P-256, P-384, P-521, Ed25519): {why}"
                )
            }
            Fault::KeyOfAnother { chain, belongs_to: None } => {
                write!(f, "this is the key of another certificate than that in {}", chain.display())
            }
            Fault::KeyOfAnother { chain, belongs_to: Some(number) } => write!(
                f,
                "this is the key of certificate {number} in {}, which must stand first there, with its issuers after it",
                chain.display()
            ),
            Fault::NoneGiven => f.write_str("a TLS listener needs at least one certificate"),
            Fault::NoSystemRoots(why) => write!(
                f,
                "the system has no authorities to trust ({why}); install its CA certificates (`ca-certificates`), \
                 or name a PEM file with the `ca` of the backend"
            ),
            Fault::Refused(why) => write!(f, "TLS cannot be set up: {why}"),
        }
    }
}

impl std::error::Error for LoadError {}

/// Something that clients will stumble over, though it can be served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// The chain it is about.
    pub file: PathBuf,
    /// What it is.
    pub kind: WarningKind,
}

/// What clients will stumble over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WarningKind {
    /// A certificate of the chain has expired.
    Expired {
        /// Which one, from 1.
        number: usize,
        /// When.
        on: String,
    },
    /// A certificate of the chain is not valid yet.
    NotYetValid {
        /// Which one, from 1.
        number: usize,
        /// From when on it is.
        from: String,
    },
    /// The certificate names nobody: it has no subjectAltName (RFC 6125, RFC 9525).
    NoNames,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.file.display())?;
        match &self.kind {
            WarningKind::Expired { number, on } => {
                write!(f, "certificate {number} in it EXPIRED on {on}: it is served, and clients refuse it")
            }
            WarningKind::NotYetValid { number, from } => {
                write!(f, "certificate {number} in it is NOT VALID before {from}: it is served, and clients refuse it")
            }
            WarningKind::NoNames => f.write_str(
                "the certificate has no subjectAltName, so it is valid for no name: it is served, and clients refuse it; \
                 nor can it be chosen by SNI",
            ),
        }
    }
}
