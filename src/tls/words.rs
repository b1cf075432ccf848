//! rustls's errors in plain words, from where we stand: as the server of a client, as a client of a backend.

use std::io;
use std::time::Duration;

use rustls::{AlertDescription, CertificateError, Error, PeerIncompatible};
use rustls_pki_types::UnixTime;

use super::ConnectFault;

/// The TLS error inside an I/O error, as tokio-rustls wraps it.
pub(super) fn tls(error: &io::Error) -> Option<&Error> {
    error.get_ref()?.downcast_ref()
}

/// Whether the error is none of the peer's.
pub(super) fn ours(error: &Error) -> bool {
    matches!(error, Error::General(_) | Error::FailedToGetRandomBytes | Error::FailedToGetCurrentTime | Error::EncryptError)
}

/// What a client did that ended the handshake.
pub(super) fn of_client(error: &Error) -> String {
    match error {
        Error::InvalidMessage(_) | Error::InappropriateMessage { .. } | Error::InappropriateHandshakeMessage { .. } => {
            format!("what the client sent is no TLS handshake ({error})")
        }
        Error::PeerIncompatible(why) => match incompatible(why) {
            Some(text) => format!("the client and we have {text}"),
            // RFC 5246, 7.4.1.4.1: the extension came with TLS 1.2, so it is older clients that lack it.
            None if *why == PeerIncompatible::SignatureAlgorithmsExtensionRequired => {
                "the client names no signature algorithms, like those of TLS 1.1 and older; 1.2 or 1.3 is needed".to_owned()
            }
            None => format!("the client lacks something that TLS needs: {why:?}"),
        },
        Error::AlertReceived(alert) => match refusal(*alert) {
            Some(why) => format!("the client refused our certificate: {why}"),
            None => format!("the client ended the handshake with the alert {alert:?}"),
        },
        Error::NoApplicationProtocol => "the client speaks neither h2 nor http/1.1 (ALPN)".to_owned(),
        Error::PeerMisbehaved(why) => format!("the client broke the rules of TLS: {why:?}"),
        other => format!("the handshake failed: {other}"),
    }
}

/// What was wrong with a backend that was called `host`.
pub(super) fn of_backend(error: &Error, host: &str) -> (ConnectFault, String) {
    match error {
        Error::InvalidCertificate(why) => (ConnectFault::Certificate, certificate(why, host)),
        Error::NoCertificatesPresented => (ConnectFault::Certificate, "the backend has no certificate".to_owned()),
        Error::InvalidMessage(_) => {
            (ConnectFault::NotTls, "the backend does not speak TLS there: is it http instead of https?".to_owned())
        }
        Error::PeerIncompatible(why) => match incompatible(why) {
            Some(text) => (ConnectFault::Refused, format!("the backend and we have {text}")),
            None => (ConnectFault::Refused, format!("the backend lacks something that TLS needs: {why:?}")),
        },
        Error::AlertReceived(alert) => (ConnectFault::Refused, alert_of_backend(*alert)),
        Error::NoApplicationProtocol => {
            (ConnectFault::Refused, "the backend speaks none of the HTTP versions offered (ALPN)".to_owned())
        }
        Error::PeerMisbehaved(why) => (ConnectFault::Refused, format!("the backend broke the rules of TLS: {why:?}")),
        other if ours(other) => (ConnectFault::Ours, format!("the TLS handshake failed: {other}")),
        other => (ConnectFault::Refused, format!("the TLS handshake failed: {other}")),
    }
}

fn alert_of_backend(alert: AlertDescription) -> String {
    match alert {
        AlertDescription::NoApplicationProtocol => "the backend speaks none of the HTTP versions offered (ALPN)".to_owned(),
        AlertDescription::UnrecognisedName => "the backend knows no site of this name (SNI)".to_owned(),
        AlertDescription::HandshakeFailure => "the backend found nothing in common with us (alert handshake_failure)".to_owned(),
        AlertDescription::ProtocolVersion => "the backend and we have no TLS version in common (1.2 or 1.3)".to_owned(),
        AlertDescription::CertificateRequired => "the backend wants a certificate of ours, and we have none".to_owned(),
        other => format!("the backend ended the handshake with the alert {other:?}"),
    }
}

fn incompatible(why: &PeerIncompatible) -> Option<&'static str> {
    Some(match why {
        PeerIncompatible::NoCipherSuitesInCommon => "no cipher suite in common",
        PeerIncompatible::NoKxGroupsInCommon | PeerIncompatible::NamedGroupsExtensionRequired => {
            "no key exchange group in common"
        }
        PeerIncompatible::NoSignatureSchemesInCommon => "no signature scheme in common that the certificate's key can do",
        PeerIncompatible::Tls12NotOffered
        | PeerIncompatible::Tls12NotOfferedOrEnabled
        | PeerIncompatible::ServerDoesNotSupportTls12Or13
        | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig
        | PeerIncompatible::SupportedVersionsExtensionRequired => "no TLS version in common (1.2 or 1.3)",
        _ => return None,
    })
}

/// The alerts by which a client refuses a certificate (RFC 8446, 6.2).
fn refusal(alert: AlertDescription) -> Option<&'static str> {
    Some(match alert {
        AlertDescription::UnknownCA => "it does not know the authority that signed it",
        AlertDescription::CertificateExpired => "it has expired or is not valid yet",
        AlertDescription::BadCertificate => "it is not for the name asked for, or damaged",
        AlertDescription::CertificateUnknown => "it does not trust it",
        AlertDescription::UnsupportedCertificate => "it is of a kind that the client does not support",
        AlertDescription::CertificateRevoked => "it was revoked",
        _ => return None,
    })
}

fn certificate(why: &CertificateError, host: &str) -> String {
    let what = match why {
        CertificateError::ExpiredContext { time, not_after } => format!("expired {} ago", between(*not_after, *time)),
        CertificateError::Expired => "has expired".to_owned(),
        CertificateError::NotValidYetContext { time, not_before } => {
            format!("is valid only in {} from now (is the clock right?)", between(*time, *not_before))
        }
        CertificateError::NotValidYet => "is not valid yet".to_owned(),
        CertificateError::UnknownIssuer => {
            "is signed by no authority that we trust (its own PEM, or that of its authority, can be given as `ca`)".to_owned()
        }
        CertificateError::NotValidForNameContext { presented, .. } if presented.is_empty() => {
            format!("is not for {host}: it has no names (subjectAltName) at all")
        }
        CertificateError::NotValidForNameContext { presented, .. } => {
            format!("is not for {host}, but for {}", presented.iter().map(|name| bare(name)).collect::<Vec<_>>().join(", "))
        }
        CertificateError::NotValidForName => format!("is not for {host}"),
        CertificateError::BadEncoding => "is damaged".to_owned(),
        CertificateError::BadSignature => {
            "is not signed by the authority it names (another of the same name is trusted, or it was changed)".to_owned()
        }
        CertificateError::Revoked => "was revoked".to_owned(),
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            "is not meant for servers (extendedKeyUsage)".to_owned()
        }
        other => format!("cannot be trusted: {other}"),
    };
    format!("the backend's certificate {what}")
}

/// webpki presents names as `DnsName("example.com")`; people know them bare.
fn bare(presented: &str) -> &str {
    let inner = presented.split_once('(').and_then(|(_, rest)| rest.strip_suffix(')')).unwrap_or(presented);
    inner.trim_matches('"')
}

fn between(earlier: UnixTime, later: UnixTime) -> String {
    let seconds = Duration::from_secs(later.as_secs().saturating_sub(earlier.as_secs())).as_secs();
    match seconds {
        0..=7_199 => format!("{} minutes", seconds / 60),
        7_200..=172_799 => format!("{} hours", seconds / 3600),
        _ => format!("{} days", seconds / 86400),
    }
}
