//! Pure: one direction of a session: its secret, the key and nonces made of it, its number of records.

use std::fmt;

use aws_lc_rs::aead::{Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::constant_time;
use aws_lc_rs::error::Unspecified;
use zeroize::Zeroize;

use super::expanded::{Expanded, Ticket};
use super::secret::{MOST_SECRET, Secret, expand_label};
use super::{Alert, HEADER_BYTES, Suite, TAG_BYTES};

/// The longest key.
const MOST_KEY: usize = 32;

/// How many updates of a key may have gone before a session is taken over. rustls lets a peer that sends no data have 32.
const MOST_UPDATES: usize = 32;

/// What rustls tells of a direction.
pub struct Extracted<'a> {
    /// The first secret of it, as the handshake made it.
    pub secret: &'a Secret,
    /// The key in use.
    pub key: &'a [u8],
    /// The nonce of record 0.
    pub iv: &'a [u8],
    /// The number of the next record.
    pub number: u64,
}

impl fmt::Debug for Extracted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Extracted").field("number", &self.number).finish_non_exhaustive()
    }
}

/// One direction, as it rests. Wiped when dropped.
///
/// The key is kept beside the secret that it is made of, for busy sockets of which there are more than the cache has
/// places: it takes two of the three HMACs. The nonces' beginning is not: so idle ones are 24 bytes smaller.
pub(super) struct Direction {
    secret: [u8; MOST_SECRET],
    key: [u8; MOST_KEY],
    number: u64,
    ticket: Ticket,
}

impl Direction {
    /// A place for keys. Nothing may be sealed with it.
    pub(super) fn without_keys() -> Self {
        Self { secret: [0; MOST_SECRET], key: [0; MOST_KEY], number: 0, ticket: Ticket::new() }
    }

    /// The direction that begins with this secret.
    pub(super) fn of(suite: Suite, secret: &Secret) -> Result<Self, Alert> {
        let mut direction = Self::without_keys();
        let bytes = secret.bytes();
        let place = direction.secret.get_mut(..suite.secret_bytes()).filter(|place| place.len() == bytes.len());
        place.ok_or(Alert::InternalError)?.copy_from_slice(bytes);
        direction.derive(suite)?;
        Ok(direction)
    }

    /// Goes on where another record layer left off. The secret is followed through the updates of its key that have
    /// been; `None` where it does not lead to the key in use.
    pub(super) fn go_on(suite: Suite, extracted: &Extracted<'_>) -> Option<Self> {
        let mut direction = Self::of(suite, extracted.secret).ok()?;
        let is = |ours: &[u8], theirs: &[u8]| constant_time::verify_slices_are_equal(ours, theirs).is_ok();
        for _ in 0..=MOST_UPDATES {
            if is(direction.key(suite), extracted.key) && is(&iv(suite, direction.secret(suite)).ok()?, extracted.iv) {
                direction.number = extracted.number;
                return Some(direction);
            }
            direction.update(suite).ok()?;
        }
        None
    }

    fn key(&self, suite: Suite) -> &[u8] {
        self.key.get(..suite.aead().key_len()).unwrap_or_default()
    }

    fn secret(&self, suite: Suite) -> &[u8] {
        self.secret.get(..suite.secret_bytes()).unwrap_or_default()
    }

    /// The key of the secret (section 7.3).
    fn derive(&mut self, suite: Suite) -> Result<(), Alert> {
        let secret = self.secret.get(..suite.secret_bytes()).unwrap_or_default();
        let key = self.key.get_mut(..suite.aead().key_len()).unwrap_or_default();
        expand_label(suite, secret, b"key", key)
    }

    /// The next secret (section 7.2), and with it everything anew.
    pub(super) fn update(&mut self, suite: Suite) -> Result<(), Alert> {
        let mut next = [0; MOST_SECRET];
        let bytes = next.get_mut(..suite.secret_bytes()).unwrap_or_default();
        expand_label(suite, self.secret(suite), b"traffic upd", bytes)?;
        self.secret.copy_from_slice(&next);
        next.zeroize();
        self.number = 0;
        self.ticket = Ticket::new(); // the old one takes its expanded key with it
        self.derive(suite)
    }

    /// How many records there have been with this key.
    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// Has the next record sealed or opened. From here on its number is used, whatever comes of it.
    fn next<T>(
        &mut self,
        suite: Suite,
        work: impl FnOnce(&LessSafeKey, Nonce) -> Result<T, Unspecified>,
    ) -> Result<Result<T, Unspecified>, Alert> {
        let number = self.number;
        self.number = number.checked_add(1).ok_or(Alert::InternalError)?;
        let key = self.key.get(..suite.aead().key_len()).unwrap_or_default();
        let secret = self.secret.get(..suite.secret_bytes()).unwrap_or_default();
        let expand = || {
            let key = LessSafeKey::new(UnboundKey::new(suite.aead(), key).ok()?);
            Some(Expanded { key, iv: iv(suite, secret).ok()? })
        };
        self.ticket.with(expand, |expanded| work(&expanded.key, nonce(expanded.iv, number))).ok_or(Alert::InternalError)
    }

    /// Seals `plain` and the byte `kind` behind `header`: as much ciphertext as plaintext into `out`, the rest into `end`.
    pub(super) fn seal(
        &mut self,
        suite: Suite,
        header: [u8; HEADER_BYTES],
        (plain, kind): (&[u8], u8),
        (out, end): (&mut [u8], &mut [u8; 1 + TAG_BYTES]),
    ) -> Result<(), Alert> {
        let sealed =
            self.next(suite, |key, nonce| key.seal_out_of_place_scatter(nonce, Aad::from(header), plain, out, &[kind], end));
        sealed?.map_err(|_| Alert::InternalError)
    }

    /// Opens `sealed`, which ends with its tag, into `out`, which is as long as it is without.
    pub(super) fn open(&mut self, suite: Suite, header: [u8; HEADER_BYTES], sealed: &[u8], out: &mut [u8]) -> Result<(), Alert> {
        let (sealed, tag) = sealed.split_last_chunk::<TAG_BYTES>().ok_or(Alert::BadRecordMac)?;
        let opened = self.next(suite, |key, nonce| key.open_separate_gather(nonce, Aad::from(header), sealed, tag, out));
        opened?.map_err(|_| Alert::BadRecordMac)
    }

    #[cfg(test)]
    pub(super) fn set_number(&mut self, number: u64) {
        self.number = number;
    }

    #[cfg(test)]
    pub(super) fn ticket(&self) -> &Ticket {
        &self.ticket
    }

    #[cfg(test)]
    pub(super) fn key_and_iv(&self, suite: Suite) -> (&[u8], [u8; NONCE_LEN]) {
        (self.key(suite), iv(suite, self.secret(suite)).unwrap())
    }
}

/// The nonce of record 0 (section 7.3).
fn iv(suite: Suite, secret: &[u8]) -> Result<[u8; NONCE_LEN], Alert> {
    let mut iv = [0; NONCE_LEN];
    expand_label(suite, secret, b"iv", &mut iv)?;
    Ok(iv)
}

/// The nonce of a record (section 5.3).
fn nonce(mut iv: [u8; NONCE_LEN], number: u64) -> Nonce {
    for (byte, number) in iv.iter_mut().skip(NONCE_LEN - 8).zip(number.to_be_bytes()) {
        *byte ^= number;
    }
    Nonce::assume_unique_for_key(iv)
}

impl Drop for Direction {
    fn drop(&mut self) {
        self.secret.zeroize();
        self.key.zeroize();
    }
}

impl fmt::Debug for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Direction").field("number", &self.number).finish_non_exhaustive()
    }
}
