//! Pure: both directions of a session, and what the peers of one owe each other: updates of keys, alerts, an end.

#[cfg(test)]
use super::Secret;
use super::direction::{Direction, Extracted};
use super::messages::{Messages, OUR_KEY_UPDATE};
use super::{APPLICATION_DATA, Alert, Fault, HEADER_BYTES, MOST_PLAIN, OVERHEAD, Suite, TAG_BYTES, UNSEALED, record_bytes};

const ALERT: u8 = 21;
const HANDSHAKE: u8 = 22;

/// `user_canceled`: a word about the `close_notify` that follows it (section 6.1).
const USER_CANCELED: u8 = 90;

/// How many records may come one after the other that carry no data and still cost something to read: empty ones, updates
/// of a key, `user_canceled`. As many as rustls allows.
const MOST_FRUITLESS: u8 = 32;

/// Which of the two we are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Toward a backend.
    Client,
    /// Toward a client.
    Server,
}

/// What was in a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opened {
    /// So many bytes of data, at least one.
    Data(usize),
    /// Nothing for whoever reads.
    Nothing,
    /// The peer's `close_notify`: nothing that comes behind it is to be read.
    Closed,
}

/// What became of a piece of data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sealed {
    /// How much of it is in records now.
    pub taken: usize,
    /// How long those records are, all together.
    pub bytes: usize,
}

/// A TLS 1.3 connection after its handshake.
#[derive(Debug)]
pub struct Session {
    ours: Direction,
    theirs: Direction,
    messages: Messages,
    suite: Suite,
    side: Side,
    fruitless: u8,
    /// The peer asked us to update our key, and we have not.
    owes_update: bool,
    said_end: bool,
    heard_end: bool,
}

impl Session {
    /// Goes on in the place of the record layer that these were extracted from. `None` where secrets and keys do not
    /// belong together.
    pub fn go_on(suite: Suite, side: Side, ours: &Extracted<'_>, theirs: &Extracted<'_>) -> Option<Self> {
        Some(Self::over(suite, side, Direction::go_on(suite, ours)?, Direction::go_on(suite, theirs)?))
    }

    /// One that is over before it has begun: it has no keys, and opens and seals nothing.
    pub fn failed() -> Self {
        let suite = Suite::Aes128GcmSha256;
        let session = Self::over(suite, Side::Server, Direction::without_keys(), Direction::without_keys());
        Self { said_end: true, heard_end: true, ..session }
    }

    pub(super) fn over(suite: Suite, side: Side, ours: Direction, theirs: Direction) -> Self {
        let messages = Messages::default();
        Self { ours, theirs, messages, suite, side, fruitless: 0, owes_update: false, said_end: false, heard_end: false }
    }

    /// The peer's `close_notify` has been read already.
    pub fn hear_end(&mut self) {
        self.heard_end = true;
    }

    /// Whether the peer's direction is over: by `close_notify`, or by a fault.
    pub fn has_heard_end(&self) -> bool {
        self.heard_end
    }

    /// Whether ours is.
    pub fn has_said_end(&self) -> bool {
        self.said_end
    }

    /// Whether [`Session::seal_owed`] has something to say.
    pub fn owes(&self) -> bool {
        self.owes_update && !self.said_end
    }

    /// Opens one whole record. `out` has room for all of it but [`UNSEALED`] bytes; what is in it beyond the data that
    /// is told, or after an error, means nothing. After an error the session is over.
    pub fn open(&mut self, record: &[u8], out: &mut [u8]) -> Result<Opened, Fault> {
        if self.heard_end {
            return Ok(Opened::Closed);
        }
        let opened = self.open_live(record, out);
        self.heard_end = !matches!(opened, Ok(Opened::Data(_) | Opened::Nothing));
        if let Err(Fault::Theirs(_)) = opened {
            self.said_end = true; // section 6.2: after a fatal alert neither side sends anything
        }
        opened
    }

    fn open_live(&mut self, record: &[u8], out: &mut [u8]) -> Result<Opened, Fault> {
        if record_bytes(record)? != Some(record.len()) {
            return Err(Alert::InternalError.into());
        }
        let (header, sealed) = record.split_first_chunk::<HEADER_BYTES>().ok_or(Alert::InternalError)?;
        let inner = record.len().checked_sub(UNSEALED).ok_or(Alert::BadRecordMac)?;
        let inner = out.get_mut(..inner).ok_or(Alert::InternalError)?;
        self.theirs.open(self.suite, *header, sealed, inner)?;
        // The type is the last byte that is not zero: behind it is padding.
        let end = inner.iter().rposition(|byte| *byte != 0).ok_or(Alert::UnexpectedMessage)?;
        let (content, kind) = inner.split_at_checked(end).ok_or(Alert::InternalError)?;
        if inner.len() > MOST_PLAIN + 1 {
            return Err(Alert::RecordOverflow.into());
        }
        if self.messages.is_within() && kind.first() != Some(&HANDSHAKE) {
            return Err(Alert::UnexpectedMessage.into());
        }
        match kind.first() {
            Some(&APPLICATION_DATA) if content.is_empty() => self.fruitless(),
            Some(&APPLICATION_DATA) => {
                self.fruitless = 0;
                Ok(Opened::Data(content.len()))
            }
            Some(&HANDSHAKE) if !content.is_empty() => self.handshake(content),
            Some(&ALERT) if !content.is_empty() => self.alert(content),
            _ => Err(Alert::UnexpectedMessage.into()),
        }
    }

    fn handshake(&mut self, content: &[u8]) -> Result<Opened, Fault> {
        let Some(update) = self.messages.take(self.side, content)? else { return Ok(Opened::Nothing) };
        let opened = self.fruitless()?;
        self.theirs.update(self.suite)?;
        self.owes_update |= update.requested;
        Ok(opened)
    }

    fn alert(&mut self, content: &[u8]) -> Result<Opened, Fault> {
        match content {
            [_, 0] => Ok(Opened::Closed),
            [_, USER_CANCELED] => self.fruitless(),
            [_, number] => Err(Fault::Theirs(*number)),
            _ => Err(Alert::DecodeError.into()),
        }
    }

    fn fruitless(&mut self) -> Result<Opened, Fault> {
        self.fruitless += 1;
        if self.fruitless > MOST_FRUITLESS { Err(Alert::UnexpectedMessage.into()) } else { Ok(Opened::Nothing) }
    }

    /// Seals as much of `data` as there is room for in `out`, behind an update of our key where one is due.
    pub fn seal(&mut self, data: &[u8], out: &mut [u8]) -> Result<Sealed, Fault> {
        let mut sealed = Sealed { taken: 0, bytes: 0 };
        while let Some(rest) = data.get(sealed.taken..).filter(|rest| !rest.is_empty()) {
            let room = out.get_mut(sealed.bytes..).unwrap_or_default();
            if self.owes_update || self.ours.number() + 1 >= self.suite.most_records() {
                if room.len() < OUR_KEY_UPDATE.len() + OVERHEAD {
                    break;
                }
                sealed.bytes += self.seal_update(room)?;
                continue;
            }
            let Some(most) = room.len().checked_sub(OVERHEAD).filter(|most| *most > 0) else { break };
            let piece = rest.get(..most.min(MOST_PLAIN)).unwrap_or(rest);
            sealed.bytes += self.seal_record(APPLICATION_DATA, piece, room)?;
            sealed.taken += piece.len();
        }
        Ok(sealed)
    }

    /// Seals the update of our key that the peer has asked for, if it has. How long the record is.
    pub fn seal_owed(&mut self, out: &mut [u8]) -> Result<usize, Fault> {
        if self.owes() { self.seal_update(out) } else { Ok(0) }
    }

    /// Seals an alert, behind which there is nothing more: `close_notify`, or the one of a [`Fault`]. How long the record
    /// is; nothing where there has been one.
    pub fn seal_end(&mut self, alert: Alert, out: &mut [u8]) -> Result<usize, Fault> {
        if self.said_end {
            return Ok(0);
        }
        let bytes = self.seal_record(ALERT, &alert.bytes(), out)?;
        self.said_end = true;
        Ok(bytes)
    }

    fn seal_update(&mut self, out: &mut [u8]) -> Result<usize, Fault> {
        let bytes = self.seal_record(HANDSHAKE, &OUR_KEY_UPDATE, out)?;
        self.ours.update(self.suite)?;
        self.owes_update = false;
        Ok(bytes)
    }

    fn seal_record(&mut self, kind: u8, content: &[u8], out: &mut [u8]) -> Result<usize, Fault> {
        if self.said_end {
            return Err(Alert::CloseNotify.into());
        }
        let length = u16::try_from(content.len() + 1 + TAG_BYTES).map_err(|_| Alert::InternalError)?;
        let [high, low] = length.to_be_bytes();
        let header = [APPLICATION_DATA, 3, 3, high, low];
        let (place, out) = out.split_first_chunk_mut::<HEADER_BYTES>().ok_or(Alert::InternalError)?;
        let (out, end) = out.split_at_mut_checked(content.len()).ok_or(Alert::InternalError)?;
        let end = end.first_chunk_mut().ok_or(Alert::InternalError)?;
        *place = header;
        self.ours.seal(self.suite, header, (content, kind), (out, end))?;
        Ok(content.len() + OVERHEAD)
    }
}

#[cfg(test)]
impl Session {
    /// A server and a client that are each other's peer.
    pub(crate) fn pair(suite: Suite) -> (Self, Self) {
        let secret = |byte| Secret::of(&[byte; 48][..suite.secret_bytes()]).unwrap();
        let direction = |byte| Direction::of(suite, &secret(byte)).unwrap();
        let server = Self::over(suite, Side::Server, direction(1), direction(2));
        (server, Self::over(suite, Side::Client, direction(2), direction(1)))
    }

    /// An update of our key that asks for one of the peer's: what we never say.
    pub(crate) fn ask_for_update(&mut self) -> Vec<u8> {
        let mut record = vec![0; 5 + OVERHEAD];
        self.seal_record(HANDSHAKE, &[24, 0, 0, 1, 1], &mut record).unwrap();
        self.ours.update(self.suite).unwrap();
        record
    }

    pub(super) fn suite(&self) -> Suite {
        self.suite
    }

    /// Has our key updated with the next data.
    pub(super) fn wear_out(&mut self) {
        self.owes_update = true;
    }

    pub(super) fn directions(&mut self) -> (&mut Direction, &mut Direction) {
        (&mut self.ours, &mut self.theirs)
    }
}
