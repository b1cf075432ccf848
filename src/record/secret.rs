//! Pure: traffic secrets and what is made of them by HKDF-Expand-Label (RFC 8446 section 7.1).

use std::fmt;

use aws_lc_rs::hkdf;
use zeroize::Zeroize;

use super::{Alert, Suite};

/// The longest: SHA-384's length.
pub(super) const MOST_SECRET: usize = 48;

/// A traffic secret (section 7.1). Wiped when dropped.
pub struct Secret {
    bytes: [u8; MOST_SECRET],
    length: u8,
}

impl Secret {
    /// A copy; `None` where it is as long as no hash in use.
    pub fn of(bytes: &[u8]) -> Option<Self> {
        let length = u8::try_from(bytes.len()).ok().filter(|length| matches!(length, 32 | 48))?;
        let mut secret = Self { bytes: [0; MOST_SECRET], length };
        secret.bytes.get_mut(..bytes.len())?.copy_from_slice(bytes);
        Some(secret)
    }

    pub(super) fn bytes(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.length)).unwrap_or_default()
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        self.bytes.zeroize();
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

/// What a handshake came to: `client_application_traffic_secret_0` and the server's.
#[derive(Debug)]
pub struct Secrets {
    /// Of what the client sends.
    pub client: Secret,
    /// Of what the server sends.
    pub server: Secret,
}

/// HKDF-Expand-Label with an empty context, which is the only one after a handshake.
pub(super) fn expand_label(suite: Suite, secret: &[u8], label: &[u8], out: &mut [u8]) -> Result<(), Alert> {
    const PREFIX: &[u8] = b"tls13 ";
    let failed = Alert::InternalError;
    let length = u16::try_from(out.len()).map_err(|_| failed)?.to_be_bytes();
    let label_bytes = u8::try_from(PREFIX.len() + label.len()).map_err(|_| failed)?;
    let info: [&[u8]; 5] = [&length, &[label_bytes], PREFIX, label, &[0]];
    let secret = hkdf::Prk::new_less_safe(suite.hkdf(), secret);
    let made = secret.expand(&info, Length(out.len())).and_then(|okm| okm.fill(out));
    made.map_err(|_| failed)
}

struct Length(usize);

impl hkdf::KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}
