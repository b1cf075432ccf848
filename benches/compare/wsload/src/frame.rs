//! WebSocket framing (RFC 6455, section 5), reduced to what a load generator needs.

use anyhow::{Result, bail};

pub const TEXT: u8 = 0x1;
pub const BINARY: u8 = 0x2;
pub const CLOSE: u8 = 0x8;
pub const PING: u8 = 0x9;
pub const PONG: u8 = 0xA;

const FIN: u8 = 0x80;
const MASKED: u8 = 0x80;
const LONGEST_HEADER: usize = 14;

/// Appends a frame header; `mask` is given by clients and absent for servers.
pub fn put_header(out: &mut Vec<u8>, opcode: u8, payload_len: u64, mask: Option<[u8; 4]>) {
    let masked = if mask.is_some() { MASKED } else { 0 };
    out.push(FIN | opcode);
    match payload_len {
        0..=125 => out.push(masked | payload_len as u8),
        126..=0xFFFF => {
            out.push(masked | 126);
            out.extend_from_slice(&(payload_len as u16).to_be_bytes());
        }
        _ => {
            out.push(masked | 127);
            out.extend_from_slice(&payload_len.to_be_bytes());
        }
    }
    if let Some(mask) = mask {
        out.extend_from_slice(&mask);
    }
}

/// XORs `data` with `mask`; `offset` is the position of `data` in its payload.
pub fn apply_mask(data: &mut [u8], mask: [u8; 4], offset: usize) {
    let key: [u8; 8] = std::array::from_fn(|i| mask[(offset + i) % 4]);
    let wide = u64::from_ne_bytes(key);
    let mut chunks = data.chunks_exact_mut(8);
    for chunk in &mut chunks {
        let word = u64::from_ne_bytes((&*chunk).try_into().expect("chunks of 8")) ^ wide;
        chunk.copy_from_slice(&word.to_ne_bytes());
    }
    for (byte, key) in chunks.into_remainder().iter_mut().zip(key) {
        *byte ^= key;
    }
}

/// What the decoder found, in order: one `Start`, any number of `Data`, one `End` for each frame.
#[derive(Debug, PartialEq)]
pub enum Event<'a> {
    Start { opcode: u8, len: u64 },
    Data(&'a [u8]),
    End,
}

/// Streaming decoder: takes bytes as they come and keeps only an unfinished header.
#[derive(Default)]
pub struct Decoder {
    header: [u8; LONGEST_HEADER],
    header_len: usize,
    in_payload: bool,
    remaining: u64,
    offset: usize,
    mask: Option<[u8; 4]>,
}

impl Decoder {
    /// Decodes `bytes`, unmasking them in place.
    pub fn feed(&mut self, mut bytes: &mut [u8], mut on_event: impl FnMut(Event<'_>) -> Result<()>) -> Result<()> {
        while !bytes.is_empty() {
            if !self.in_payload {
                let used = self.take_header(bytes)?;
                bytes = &mut bytes[used..];
                if !self.in_payload {
                    return Ok(());
                }
                on_event(Event::Start { opcode: self.header[0] & 0x0F, len: self.remaining })?;
            }
            let take = self.remaining.min(bytes.len() as u64) as usize;
            let (data, rest) = bytes.split_at_mut(take);
            if take > 0 {
                if let Some(mask) = self.mask {
                    apply_mask(data, mask, self.offset);
                }
                self.offset += take;
                self.remaining -= take as u64;
                on_event(Event::Data(data))?;
            }
            if self.remaining == 0 {
                self.in_payload = false;
                self.header_len = 0;
                on_event(Event::End)?;
            }
            bytes = rest;
        }
        Ok(())
    }

    /// Takes header bytes from the front of `bytes`; `in_payload` is set once it is complete.
    fn take_header(&mut self, bytes: &[u8]) -> Result<usize> {
        let mut used = 0;
        loop {
            let wanted = self.header_size();
            if self.header_len == wanted {
                break;
            }
            let take = (wanted - self.header_len).min(bytes.len() - used);
            if take == 0 {
                return Ok(used);
            }
            self.header[self.header_len..self.header_len + take].copy_from_slice(&bytes[used..used + take]);
            self.header_len += take;
            used += take;
        }
        if self.header[0] & 0xF0 != FIN {
            bail!("corrupt stream: fragmented frame or reserved bits, 0x{:02x}", self.header[0]);
        }
        let (length_bytes, mask_at) = match self.header[1] & 0x7F {
            126 => (&self.header[2..4], 4),
            127 => (&self.header[2..10], 10),
            _ => (&self.header[1..2], 2),
        };
        let length = length_bytes.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte));
        self.remaining = if mask_at == 2 { length & 0x7F } else { length };
        self.mask = (self.header[1] & MASKED != 0).then(|| std::array::from_fn(|i| self.header[mask_at + i]));
        self.offset = 0;
        self.in_payload = true;
        Ok(used)
    }

    /// Size of the header as far as it can be told from the bytes seen so far.
    fn header_size(&self) -> usize {
        if self.header_len < 2 {
            return 2;
        }
        let length_size = match self.header[1] & 0x7F {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        let mask_size = if self.header[1] & MASKED != 0 { 4 } else { 0 };
        2 + length_size + mask_size
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Decodes `stream` in pieces of `step` bytes to (opcode, payload) pairs.
    fn decode(stream: &[u8], step: usize) -> Vec<(u8, Vec<u8>)> {
        let mut decoder = Decoder::default();
        let mut frames = Vec::new();
        let mut current = (0, Vec::new());
        for piece in stream.to_vec().chunks_mut(step) {
            decoder
                .feed(piece, |event| {
                    match event {
                        Event::Start { opcode, .. } => current = (opcode, Vec::new()),
                        Event::Data(data) => current.1.extend_from_slice(data),
                        Event::End => frames.push(current.clone()),
                    }
                    Ok(())
                })
                .unwrap();
        }
        frames
    }

    #[test]
    fn frames_of_every_length_form_survive_any_split() {
        let mask = [1, 2, 3, 4];
        let sizes = [0, 1, 125, 126, 65535, 65536];
        let mut stream = Vec::new();
        let mut expected = Vec::new();
        for size in sizes {
            let payload: Vec<u8> = (0..size).map(|i| i as u8).collect();
            put_header(&mut stream, BINARY, size as u64, Some(mask));
            let start = stream.len();
            stream.extend_from_slice(&payload);
            apply_mask(&mut stream[start..], mask, 0);
            put_header(&mut stream, TEXT, size as u64, None);
            stream.extend_from_slice(&payload);
            expected.push((BINARY, payload.clone()));
            expected.push((TEXT, payload));
        }
        for step in [1, 2, 3, 7, 13, 1000, stream.len()] {
            assert_eq!(decode(&stream, step), expected, "step {step}");
        }
    }

    #[test]
    fn reserved_bits_are_refused() {
        let mut decoder = Decoder::default();
        assert!(decoder.feed(&mut [0xC2, 0x00], |_| Ok(())).is_err());
    }
}
