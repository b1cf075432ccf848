//! HTTP/2 frame by frame, for what a proper client never does. Knows frame headers and no more.

use std::net::SocketAddr;

use super::{Conn, End};

/// RFC 9113 section 3.4.
const PREFACE: &str = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Types of frames (RFC 9113 section 6).
pub mod kind {
    pub const DATA: u8 = 0;
    pub const HEADERS: u8 = 1;
    pub const RST_STREAM: u8 = 3;
    pub const SETTINGS: u8 = 4;
    pub const PING: u8 = 6;
    pub const GOAWAY: u8 = 7;
    pub const WINDOW_UPDATE: u8 = 8;
    pub const CONTINUATION: u8 = 9;
}

/// One frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

/// A client that sends what it is told to.
pub struct Frames(pub Conn);

impl Frames {
    /// With the preface and empty settings sent. Nothing is acknowledged, nor answered, by itself.
    pub fn connect(address: SocketAddr) -> Self {
        let mut conn = Conn::connect(address);
        conn.send(PREFACE);
        let mut frames = Self(conn);
        frames.send(kind::SETTINGS, 0, 0, b"");
        frames
    }

    /// Sends one.
    #[track_caller]
    pub fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        self.0.send(frame(kind, flags, stream, payload));
    }

    /// GET / with `END_STREAM`, its head whole, by the static table of HPACK (RFC 7541 appendix A).
    #[track_caller]
    pub fn get(&mut self, stream: u32) {
        self.send(kind::HEADERS, 0x5, stream, b"\x82\x86\x84\x41\x01x");
    }

    /// The next one, or how the other side ended.
    #[track_caller]
    pub fn read(&mut self) -> Result<Frame, End> {
        let head = self.0.try_read_exact(9)?;
        let number = |bytes: &[u8]| bytes.iter().fold(0u32, |n, &byte| n << 8 | u32::from(byte));
        let payload = self.0.try_read_exact(number(&head[..3]) as usize)?;
        Ok(Frame { kind: head[3], flags: head[4], stream: number(&head[5..]), payload })
    }

    /// The next one of this kind; others are passed over.
    #[track_caller]
    pub fn read_kind(&mut self, kind: u8) -> Frame {
        loop {
            match self.read() {
                Ok(frame) if frame.kind == kind => return frame,
                Ok(_) => {}
                Err(end) => panic!("{end:?} instead of a frame of kind {kind}"),
            }
        }
    }

    /// Passes over every frame until the other side ends; the kinds that came, and the end.
    #[track_caller]
    pub fn read_to_end(&mut self) -> (Vec<u8>, End) {
        let mut kinds = Vec::new();
        loop {
            match self.read() {
                Ok(frame) => kinds.push(frame.kind),
                Err(end) => return (kinds, end),
            }
        }
    }
}

/// A frame's bytes.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}
