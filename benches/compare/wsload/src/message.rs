//! Test messages: a sequence number followed by a fixed pattern, so that every byte can be checked.

use crate::frame;
use anyhow::{Result, bail};
use std::sync::Arc;

/// Clients must mask; one fixed key costs a proxy as much as a random one.
const MASK: [u8; 4] = [0x37, 0xFA, 0x21, 0x3D];

/// The fixed pattern of `len` bytes used for messages and for HTTP bodies.
pub fn pattern(len: usize) -> Vec<u8> {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    })
    .flatten()
    .take(len)
    .collect()
}

/// A message of one size, ready to be sent over and over with a new sequence number.
pub struct Template {
    plain: Vec<u8>,
    client_frame: Vec<u8>,
    server_frame: Vec<u8>,
}

impl Template {
    pub fn new(size: usize) -> Arc<Self> {
        let plain = pattern(size);
        let mut server_frame = Vec::new();
        frame::put_header(&mut server_frame, frame::BINARY, size as u64, None);
        server_frame.extend_from_slice(&plain);

        let mut client_frame = Vec::new();
        frame::put_header(&mut client_frame, frame::BINARY, size as u64, Some(MASK));
        let start = client_frame.len();
        client_frame.extend_from_slice(&plain);
        frame::apply_mask(&mut client_frame[start..], MASK, 0);

        Arc::new(Self { plain, client_frame, server_frame })
    }

    pub fn size(&self) -> usize {
        self.plain.len()
    }

    fn numbered(&self) -> usize {
        self.size().min(8)
    }

    /// Appends message `number` as a masked client frame.
    pub fn put_client_frame(&self, out: &mut Vec<u8>, number: u64) {
        out.extend_from_slice(&self.client_frame);
        let start = out.len() - self.size();
        let slot = &mut out[start..start + self.numbered()];
        slot.copy_from_slice(&number.to_le_bytes()[..slot.len()]);
        frame::apply_mask(slot, MASK, 0);
    }

    /// Appends message `number` as a server frame.
    pub fn put_server_frame(&self, out: &mut Vec<u8>, number: u64) {
        out.extend_from_slice(&self.server_frame);
        let start = out.len() - self.size();
        let slot = &mut out[start..start + self.numbered()];
        slot.copy_from_slice(&number.to_le_bytes()[..slot.len()]);
    }
}

pub fn put_client_close(out: &mut Vec<u8>) {
    let mut payload = 1000_u16.to_be_bytes();
    frame::put_header(out, frame::CLOSE, payload.len() as u64, Some(MASK));
    frame::apply_mask(&mut payload, MASK, 0);
    out.extend_from_slice(&payload);
}

/// Checks a stream of messages: right size, right order, right content.
pub struct Checker {
    template: Arc<Template>,
    next: u64,
    offset: usize,
}

impl Checker {
    pub fn new(template: Arc<Template>) -> Self {
        Self { template, next: 0, offset: 0 }
    }

    /// Number of messages seen whole.
    pub fn messages(&self) -> u64 {
        self.next
    }

    pub fn start(&mut self, opcode: u8, len: u64) -> Result<()> {
        let size = self.template.size() as u64;
        if opcode != frame::BINARY || len != size {
            bail!("corrupt stream: frame of opcode {opcode} and {len} bytes, expected {size} bytes");
        }
        self.offset = 0;
        Ok(())
    }

    pub fn data(&mut self, data: &[u8]) -> Result<()> {
        let number = self.next.to_le_bytes();
        let numbered = self.template.numbered();
        let head = numbered.saturating_sub(self.offset).min(data.len());
        let end = self.offset + data.len();
        if data[..head] != number[self.offset.min(numbered)..][..head]
            || data[head..] != self.template.plain[self.offset + head..end]
        {
            bail!("corrupt stream: message {} differs from what was sent", self.next);
        }
        self.offset = end;
        Ok(())
    }

    pub fn end(&mut self) {
        self.next += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{Decoder, Event};

    fn check(checker: &mut Checker, stream: &mut [u8], step: usize) -> Result<()> {
        let mut decoder = Decoder::default();
        for piece in stream.chunks_mut(step) {
            decoder.feed(piece, |event| match event {
                Event::Start { opcode, len } => checker.start(opcode, len),
                Event::Data(data) => checker.data(data),
                Event::End => {
                    checker.end();
                    Ok(())
                }
            })?;
        }
        Ok(())
    }

    fn stream_of(size: usize, messages: u64) -> Vec<u8> {
        let template = Template::new(size);
        let mut stream = Vec::new();
        for number in 0..messages {
            template.put_client_frame(&mut stream, number);
        }
        stream
    }

    #[test]
    fn what_was_sent_is_accepted_in_any_split() {
        for size in [0, 3, 8, 9, 64, 1000] {
            for step in [1, 5, 64, 4096] {
                let mut checker = Checker::new(Template::new(size));
                check(&mut checker, &mut stream_of(size, 20), step).unwrap();
                assert_eq!(checker.messages(), 20);
            }
        }
    }

    #[test]
    fn every_changed_payload_byte_is_noticed() {
        let clean = stream_of(64, 2);
        let header = 6;
        for at in (header..header + 64).chain(2 * header + 64..clean.len()) {
            let mut stream = clean.clone();
            stream[at] ^= 1;
            let mut checker = Checker::new(Template::new(64));
            assert!(check(&mut checker, &mut stream, 4096).is_err(), "byte {at}");
        }
    }
}
