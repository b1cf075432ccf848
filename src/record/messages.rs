//! Pure: handshake messages after the handshake (RFC 8446 section 4.6). There are two: `KeyUpdate`, and to clients
//! `NewSessionTicket`, which is skipped: whoever wants to resume learns its tickets before the tunnel.
//!
//! Nothing of them is held but the four bytes of a header, however they are cut into records.

use super::{Alert, Side};

const NEW_SESSION_TICKET: u8 = 4;
const KEY_UPDATE: u8 = 24;

/// `KeyUpdate` with `update_not_requested`, whole.
pub(super) const OUR_KEY_UPDATE: [u8; 5] = [KEY_UPDATE, 0, 0, 1, 0];

/// The longest that section 4.6.1 has room for: two numbers, a nonce, a ticket, extensions, each with its length.
const MOST_TICKET: u32 = 4 + 4 + (1 + 0xff) + (2 + 0xffff) + (2 + 0xffff);

/// The peer has another key from the next record on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct KeyUpdate {
    /// And wants one of us.
    pub(super) requested: bool,
}

/// Where in the messages we are.
#[derive(Debug, Default)]
pub(super) struct Messages {
    header: [u8; 4],
    /// Bytes of the header that are there.
    have: u8,
    /// Bytes of a ticket that are still to come.
    skip: u32,
}

impl Messages {
    /// Whether a message has begun and not ended: no record of another kind may come now (section 5.1).
    pub(super) fn is_within(&self) -> bool {
        self.have > 0 || self.skip > 0
    }

    /// Takes a record's content. `side`: ours.
    pub(super) fn take(&mut self, side: Side, mut bytes: &[u8]) -> Result<Option<KeyUpdate>, Alert> {
        while let Some((&byte, rest)) = bytes.split_first() {
            if self.skip > 0 {
                let here = self.skip.min(u32::try_from(bytes.len()).unwrap_or(u32::MAX));
                self.skip -= here;
                bytes = bytes.get(here as usize..).unwrap_or_default();
            } else if let Some(place) = self.header.get_mut(usize::from(self.have)) {
                *place = byte;
                self.have += 1;
                bytes = rest;
                self.judge(side)?;
            } else {
                // The one byte of a KeyUpdate. What follows it in this record would be of another key.
                let requested = match byte {
                    0 => false,
                    1 => true,
                    _ => return Err(Alert::IllegalParameter),
                };
                self.have = 0;
                return if rest.is_empty() { Ok(Some(KeyUpdate { requested })) } else { Err(Alert::UnexpectedMessage) };
            }
        }
        Ok(None)
    }

    /// Judges the header as soon as it can be.
    fn judge(&mut self, side: Side) -> Result<(), Alert> {
        let [kind, length @ ..] = self.header;
        let length = length.iter().fold(0, |sum, byte| sum << 8 | u32::from(*byte));
        match (kind, side) {
            (KEY_UPDATE, _) | (NEW_SESSION_TICKET, Side::Client) if self.have < 4 => Ok(()),
            (KEY_UPDATE, _) if length == 1 => Ok(()),
            (NEW_SESSION_TICKET, Side::Client) if length <= MOST_TICKET => {
                (self.have, self.skip) = (0, length);
                Ok(())
            }
            (KEY_UPDATE, _) | (NEW_SESSION_TICKET, Side::Client) => Err(Alert::DecodeError),
            _ => Err(Alert::UnexpectedMessage),
        }
    }
}
