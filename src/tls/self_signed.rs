//! A certificate made on the spot, for the demo. Not an authority, and nothing is written to disk.

use std::fmt;
use std::fmt::Write as _;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose, date_time_ymd};
use rustls::crypto::aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256;
use rustls::sign::CertifiedKey;
use rustls_pki_types::PrivateKeyDer;

use super::load::Loaded;
use super::{Certificates, provider};

/// How much earlier than now it is valid from: for clients whose clock is behind.
const BACKDATED: Duration = Duration::from_secs(3600);

/// A certificate that signs itself.
#[derive(Debug)]
pub struct SelfSigned {
    /// Ready to be served.
    pub certificates: Certificates,
    /// SHA-256 of the certificate as browsers and `openssl x509 -fingerprint -sha256` show it: `AB:CD:…`.
    pub fingerprint: String,
    /// The certificate (no key) as PEM, for clients that are to trust it: `curl --cacert`.
    pub pem: String,
}

/// Why it could not be made.
#[derive(Debug)]
pub struct SelfSignedError(String);

impl fmt::Display for SelfSignedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot make a certificate: {}", self.0)
    }
}

impl std::error::Error for SelfSignedError {}

impl Certificates {
    /// Makes a certificate (ECDSA P-256) for `names`, DNS names and IP addresses, valid from an hour ago
    /// for the time of `validity` from now.
    pub fn self_signed(names: &[&str], validity: Duration) -> Result<SelfSigned, SelfSignedError> {
        let failed = |error: rcgen::Error| SelfSignedError(error.to_string());
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let mut params = CertificateParams::new(names).map_err(failed)?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        params.not_before = date_time_ymd(1970, 1, 1) + now.saturating_sub(BACKDATED);
        params.not_after = date_time_ymd(1970, 1, 1) + now.saturating_add(validity);
        params.distinguished_name.push(DnType::CommonName, "spliceway demo");
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let key = KeyPair::generate().map_err(failed)?;
        let certificate = params.self_signed(&key).map_err(failed)?;

        let fingerprint = fingerprint(certificate.der());
        let pem = certificate.pem();
        let names = dns_names(&params);
        let key = PrivateKeyDer::try_from(key.serialize_der()).map_err(|why| SelfSignedError(why.to_owned()))?;
        let key = CertifiedKey::from_der(vec![certificate.into()], key, &provider())
            .map_err(|error| SelfSignedError(error.to_string()))?;
        let certificates = Certificates::new(vec![Loaded { key: key.into(), names }])
            .ok_or_else(|| SelfSignedError("there is none".to_owned()))?;
        Ok(SelfSigned { certificates, fingerprint, pem })
    }
}

fn dns_names(params: &CertificateParams) -> Vec<String> {
    let dns = params.subject_alt_names.iter().filter_map(|name| match name {
        rcgen::SanType::DnsName(name) => Some(name.as_str().to_owned()),
        _ => None,
    });
    dns.collect()
}

fn fingerprint(der: &[u8]) -> String {
    let Some(suite) = TLS13_AES_128_GCM_SHA256.tls13() else { return String::new() };
    let mut text = String::new();
    for (at, byte) in suite.common.hash_provider.hash(der).as_ref().iter().enumerate() {
        let colon = if at == 0 { "" } else { ":" };
        write!(text, "{colon}{byte:02X}").expect("writing to a string cannot fail");
    }
    text
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_fingerprint_is_sha256_as_openssl_writes_it() {
        // FIPS 180-4, the digest of "abc".
        let expected = "BA:78:16:BF:8F:01:CF:EA:41:41:40:DE:5D:AE:22:23:B0:03:61:A3:96:17:7A:9C:B4:10:FF:61:F2:00:15:AD";
        assert_eq!(super::fingerprint(b"abc"), expected);
    }
}
