//! The words of RFC 6455 for tests: offers, answers, frames. Made by hand, apart from the proxy's own code.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha1::{Digest, Sha1};

use super::{Conn, Head};

/// The sample key of RFC 6455 section 1.3.
pub const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

/// What a server answers to a key (RFC 6455 section 4.2.2).
pub fn accept_for(key: &str) -> String {
    STANDARD.encode(Sha1::digest(format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11")))
}

/// An offer as text: a correct one, changed line by line.
#[derive(Clone, Debug)]
pub struct Offer {
    first: String,
    lines: Vec<String>,
}

impl Offer {
    /// The offer of RFC 6455 section 1.3, without its options.
    pub fn new() -> Self {
        let lines = [
            "Host: server.example.com",
            "Upgrade: websocket",
            "Connection: Upgrade",
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
            "Sec-WebSocket-Version: 13",
        ];
        Self { first: "GET /chat HTTP/1.1".to_owned(), lines: lines.map(str::to_owned).into() }
    }

    /// Nothing but these lines.
    pub fn of(first: &str, lines: &[&str]) -> Self {
        Self { first: first.to_owned(), lines: lines.iter().map(|&line| line.to_owned()).collect() }
    }

    /// With another request line.
    #[must_use]
    pub fn first(mut self, first: &str) -> Self {
        first.clone_into(&mut self.first);
        self
    }

    /// With these lines in the place of the one that has the first one's name.
    #[must_use]
    pub fn replace(mut self, name: &str, lines: &[&str]) -> Self {
        let named = |line: &String| line.split(':').next().unwrap_or_default().eq_ignore_ascii_case(name);
        let at = self.lines.iter().position(named).unwrap_or_else(|| panic!("the offer has no {name}"));
        self.lines.splice(at..=at, lines.iter().map(|&line| line.to_owned()));
        self
    }

    /// Without this field.
    #[must_use]
    pub fn without(self, name: &str) -> Self {
        self.replace(name, &[])
    }

    /// With one more line.
    #[must_use]
    pub fn line(mut self, line: &str) -> Self {
        self.lines.push(line.to_owned());
        self
    }

    /// Its lines.
    pub fn lines(&self) -> Vec<&str> {
        self.lines.iter().map(String::as_str).collect()
    }

    /// As it stands on the wire: each character below U+0100 is a byte.
    pub fn bytes(&self) -> Vec<u8> {
        let lines = self.lines.iter().fold(self.first.clone(), |text, line| text + "\r\n" + line) + "\r\n\r\n";
        lines.chars().map(|c| u8::try_from(c).expect("Latin-1")).collect()
    }

    /// As it stands on the wire, with bytes behind it in the same segment.
    pub fn with_early(&self, early: impl AsRef<[u8]>) -> Vec<u8> {
        [self.bytes().as_slice(), early.as_ref()].concat()
    }
}

/// The plain valid answer to an offer.
pub fn answer_101(offer: &Head) -> String {
    let key = offer.value("sec-websocket-key").unwrap_or_else(|| panic!("an offer without a key:\n{offer}"));
    let accept = accept_for(key);
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n\r\n"
    )
}

/// Accepts an offer, then sends every byte back; a FIN as a FIN. The end of its peer at any time ends it.
pub(super) fn echo(conn: &mut Conn) {
    let Ok(offer) = conn.try_read_head() else { return };
    if conn.try_send(answer_101(&offer)).is_err() {
        return;
    }
    send_back(conn);
}

fn send_back(conn: &mut Conn) {
    let (reader, mut writer) = conn.both();
    let mut gone = false;
    reader.pour(|bytes| gone = gone || writer.try_send(bytes).is_err());
    conn.fin();
}

/// A final frame as RFC 6455 section 5.2 writes it; masked with a fixed key if it is a client's.
pub fn frame(opcode: u8, payload: &[u8], masked: bool) -> Vec<u8> {
    const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d]; // that of the RFC's examples
    let bit = if masked { 0x80 } else { 0 };
    let mut out = vec![0x80 | opcode];
    match payload.len() {
        short @ 0..=125 => out.push(bit | u8::try_from(short).unwrap()),
        middle @ 126..=0xffff => {
            out.push(bit | 0x7e);
            out.extend(u16::try_from(middle).unwrap().to_be_bytes());
        }
        long => {
            out.push(bit | 0x7f);
            out.extend((long as u64).to_be_bytes());
        }
    }
    if masked {
        out.extend(MASK);
        out.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    } else {
        out.extend(payload);
    }
    out
}

impl Conn {
    /// One whole frame comes: its first byte, and its payload, unmasked.
    #[track_caller]
    pub fn read_frame(&mut self) -> (u8, Vec<u8>) {
        let head = self.read_exact(2);
        let length = match head[1] & 0x7f {
            126 => self.read_exact(2).iter().fold(0, |n, &byte| n << 8 | usize::from(byte)),
            127 => self.read_exact(8).iter().fold(0, |n, &byte| n << 8 | usize::from(byte)),
            short => usize::from(short),
        };
        let key = if head[1] & 0x80 == 0 { vec![0; 4] } else { self.read_exact(4) };
        let payload = self.read_exact(length);
        (head[0], payload.iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key).collect())
    }

    /// A Close with this code comes; nothing is said of its reason.
    #[track_caller]
    pub fn expect_close(&mut self, code: u16) {
        let (first, payload) = self.read_frame();
        let found = payload.first_chunk().map(|&code| u16::from_be_bytes(code));
        assert_eq!((first, found), (0x88, Some(code)), "a Close with {code}, but it was {first:#x} {payload:x?}");
    }

    /// A Close with this code comes, and then FIN.
    #[track_caller]
    pub fn expect_close_and_fin(&mut self, code: u16) {
        self.expect_close(code);
        self.expect_fin();
    }
}

/// So many bytes in which no part looks like another: what is lost, doubled or out of order shows.
pub fn pattern(count: usize) -> Vec<u8> {
    (0..=u32::MAX).flat_map(|n| n.wrapping_mul(2_654_435_761).to_be_bytes()).take(count).collect()
}
