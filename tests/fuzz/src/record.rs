//! Records of TLS 1.3 after a handshake. Input: a byte for suite and side, then steps. A step begins with a byte: from 0xf0
//! bytes as they are, from 0xe0 data of ours, else a record with that byte for its type: its length, its padding, its
//! content, sealed as the peer would, so that the fuzzer stands behind the cipher.

use aws_lc_rs::{aead, hkdf};
use spliceway::record::{Alert, Extracted, Fault, Opened, Secret, Session, Side, Suite, UNSEALED, record_bytes};

/// A direction by the model's reading of sections 5.2, 5.3, 7.1 to 7.3.
struct Keys {
    aead: &'static aead::Algorithm,
    hash: hkdf::Algorithm,
    secret: Vec<u8>,
    key: Vec<u8>,
    iv: Vec<u8>,
    number: u64,
}

struct Length(usize);

impl hkdf::KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

impl Keys {
    fn of(suite: Suite, byte: u8) -> Self {
        let (aead, hash, length) = match suite {
            Suite::Aes128GcmSha256 => (&aead::AES_128_GCM, hkdf::HKDF_SHA256, 32),
            Suite::Aes256GcmSha384 => (&aead::AES_256_GCM, hkdf::HKDF_SHA384, 48),
            Suite::ChaCha20Poly1305Sha256 => (&aead::CHACHA20_POLY1305, hkdf::HKDF_SHA256, 32),
        };
        let mut keys = Self { aead, hash, secret: vec![byte; length], key: Vec::new(), iv: Vec::new(), number: 0 };
        keys.begin();
        keys
    }

    fn expand(&self, label: &str, length: usize) -> Vec<u8> {
        let label = format!("tls13 {label}");
        let mut info = u16::try_from(length).expect("short").to_be_bytes().to_vec();
        info.push(u8::try_from(label.len()).expect("short"));
        info.extend(label.bytes());
        info.push(0);
        let mut out = vec![0; length];
        let prk = hkdf::Prk::new_less_safe(self.hash, &self.secret);
        prk.expand(&[&info], Length(length)).expect("short").fill(&mut out).expect("as long");
        out
    }

    fn begin(&mut self) {
        (self.key, self.iv, self.number) = (self.expand("key", self.aead.key_len()), self.expand("iv", 12), 0);
    }

    fn update(&mut self) {
        self.secret = self.expand("traffic upd", self.secret.len());
        self.begin();
    }

    fn next(&mut self) -> (aead::LessSafeKey, aead::Nonce) {
        let number = u128::from(self.number).to_be_bytes();
        let nonce: Vec<u8> = self.iv.iter().zip(&number[4..]).map(|(one, other)| one ^ other).collect();
        self.number += 1;
        let key = aead::UnboundKey::new(self.aead, &self.key).expect("a key's length");
        (aead::LessSafeKey::new(key), aead::Nonce::try_assume_unique_for_key(&nonce).expect("12 bytes"))
    }

    fn seal(&mut self, mut inner: Vec<u8>) -> Vec<u8> {
        let length = u16::try_from(inner.len() + 16).expect("short").to_be_bytes();
        let header = [23, 3, 3, length[0], length[1]];
        let (key, nonce) = self.next();
        key.seal_in_place_append_tag(nonce, aead::Aad::from(header), &mut inner).expect("sealed");
        [&header[..], &inner].concat()
    }

    /// What is inside, its type last.
    fn open(&mut self, record: &[u8]) -> Vec<u8> {
        let (key, nonce) = self.next();
        let mut inner = record[5..].to_vec();
        key.open_in_place(nonce, aead::Aad::from(&record[..5]), &mut inner).expect("ours is right").to_vec()
    }
}

/// What a peer may say, by a second reading: all of the messages so far at once.
#[derive(Default)]
struct Model {
    messages: Vec<u8>,
    fruitless: u32,
    asked: bool,
}

enum Verdict {
    Data(Vec<u8>),
    Nothing,
    Updated,
    Closed,
    Fault(Fault),
}

impl Model {
    fn judge(&mut self, side: Side, inner: &[u8]) -> Verdict {
        let bad = |alert| Verdict::Fault(Fault::Ours(alert));
        let Some(end) = inner.iter().rposition(|byte| *byte != 0) else { return bad(Alert::UnexpectedMessage) };
        let (content, kind) = (&inner[..end], inner[end]);
        if !self.messages.is_empty() && kind != 22 {
            return bad(Alert::UnexpectedMessage);
        }
        match (kind, content) {
            (23, []) | (21, [_, 90]) => self.wasted(Verdict::Nothing),
            (23, data) => {
                self.fruitless = 0;
                Verdict::Data(data.to_vec())
            }
            (21, [_, 0]) => Verdict::Closed,
            (21, [_, number]) => Verdict::Fault(Fault::Theirs(*number)),
            (21, [_, ..]) => bad(Alert::DecodeError),
            (22, [_, ..]) => {
                self.messages.extend(content);
                self.handshake(side)
            }
            _ => bad(Alert::UnexpectedMessage),
        }
    }

    fn wasted(&mut self, otherwise: Verdict) -> Verdict {
        self.fruitless += 1;
        if self.fruitless > 32 { Verdict::Fault(Fault::Ours(Alert::UnexpectedMessage)) } else { otherwise }
    }

    fn handshake(&mut self, side: Side) -> Verdict {
        let bad = |alert| Verdict::Fault(Fault::Ours(alert));
        loop {
            let messages = self.messages.clone();
            let Some(kind) = messages.first() else { return Verdict::Nothing };
            if *kind != 24 && (*kind != 4 || side == Side::Server) {
                return bad(Alert::UnexpectedMessage);
            }
            let [_, a, b, c, body @ ..] = &messages[..] else { return Verdict::Nothing };
            let length = usize::from(*a) << 16 | usize::from(*b) << 8 | usize::from(*c);
            if *kind == 4 {
                if length > 131_338 {
                    return bad(Alert::DecodeError);
                }
                if body.len() < length {
                    return Verdict::Nothing;
                }
                self.messages.drain(..4 + length);
                continue;
            }
            match (length, body) {
                (1, []) => return Verdict::Nothing,
                (1, [0 | 1]) => {
                    self.asked |= body == [1];
                    self.messages.clear();
                    return self.wasted(Verdict::Updated);
                }
                (1, [0 | 1, ..]) => return bad(Alert::UnexpectedMessage),
                (1, _) => return bad(Alert::IllegalParameter),
                _ => return bad(Alert::DecodeError),
            }
        }
    }
}

pub fn target(input: &[u8]) {
    let Some((first, mut rest)) = input.split_first() else { return };
    let suite = [Suite::Aes128GcmSha256, Suite::Aes256GcmSha384, Suite::ChaCha20Poly1305Sha256][usize::from(first / 2 % 3)];
    let side = if first % 2 == 0 { Side::Server } else { Side::Client };
    let (mut ours, mut theirs, mut model) = (Keys::of(suite, 1), Keys::of(suite, 2), Model::default());
    let secret = |keys: &Keys| Secret::of(&keys.secret).expect("a hash's length");
    let (our_secret, their_secret) = (secret(&ours), secret(&theirs));
    let extracted = |keys, secret| {
        let Keys { key, iv, .. }: &Keys = keys;
        Extracted { secret, key, iv, number: 0 }
    };
    let going_on = Session::go_on(suite, side, &extracted(&ours, &our_secret), &extracted(&theirs, &their_secret));
    let mut session = going_on.expect("keys of the secrets");
    let mut take = |most: usize| {
        let (taken, behind) = rest.split_at(most.min(rest.len()));
        rest = behind;
        taken
    };
    while let Some(step) = take(1).first().copied() {
        let length = usize::from(take(1).first().copied().unwrap_or_default());
        if step >= 0xf0 {
            raw(&mut session, take(length));
        } else if step >= 0xe0 {
            say(&mut session, &mut ours, &mut model, length * 200);
        } else {
            let padding = usize::from(take(1).first().copied().unwrap_or_default());
            let inner = [take(length), &[step], &vec![0; padding]].concat();
            hear(&mut session, side, &inner, &mut theirs, &mut model);
        }
        assert_eq!(session.owes(), model.asked && !session.has_said_end());
        if session.has_heard_end() {
            break;
        }
    }
    finish(session, &mut ours);
}

/// What is not sealed with the key is never opened.
fn raw(session: &mut Session, bytes: &[u8]) {
    match record_bytes(bytes) {
        Ok(Some(length)) if length <= bytes.len() => {
            let mut out = vec![0; length.saturating_sub(UNSEALED)];
            assert_eq!(session.open(&bytes[..length], &mut out), Err(Fault::Ours(Alert::BadRecordMac)));
            assert!(session.has_heard_end());
        }
        Ok(_) => assert!(bytes.first().is_none_or(|kind| *kind == 23)),
        Err(alert) => assert!(bytes[0] != 23 || alert == Alert::RecordOverflow),
    }
}

fn hear(session: &mut Session, side: Side, inner: &[u8], theirs: &mut Keys, model: &mut Model) {
    let record = theirs.seal(inner.to_vec());
    assert_eq!(record_bytes(&record), Ok(Some(record.len())));
    let mut out = vec![0; record.len() - UNSEALED];
    let opened = session.open(&record, &mut out);
    match model.judge(side, inner) {
        Verdict::Data(data) => assert!(opened == Ok(Opened::Data(data.len())) && out.starts_with(&data)),
        Verdict::Nothing => assert_eq!(opened, Ok(Opened::Nothing)),
        Verdict::Updated => {
            assert_eq!(opened, Ok(Opened::Nothing));
            theirs.update();
        }
        Verdict::Closed => assert_eq!(opened, Ok(Opened::Closed)),
        Verdict::Fault(fault) => assert_eq!(opened, Err(fault)),
    }
    if opened.is_err() {
        model.asked = session.owes();
    }
}

/// Data of ours, behind the update that was asked for.
fn say(session: &mut Session, ours: &mut Keys, model: &mut Model, length: usize) {
    let data: Vec<u8> = (0..length).map(|n| u8::try_from(n % 251).expect("small")).collect();
    let mut out = vec![0; length + 200];
    let sealed = session.seal(&data, &mut out).expect("it may be said");
    assert_eq!(sealed.taken, length);
    let (mut records, mut heard) = (&out[..sealed.bytes], Vec::new());
    while let Ok(Some(end)) = record_bytes(records) {
        let mut inner = ours.open(&records[..end]);
        match inner.pop() {
            Some(23) => heard.extend(inner),
            Some(22) => {
                assert!(inner == [24, 0, 0, 1, 0] && model.asked && heard.is_empty());
                model.asked = false;
                ours.update();
            }
            kind => panic!("a record of type {kind:?}"),
        }
        records = &records[end..];
    }
    assert!(records.is_empty() && heard == data);
}

/// Nothing is sealed or opened behind an end.
fn finish(mut session: Session, ours: &mut Keys) {
    let mut out = [0; 100];
    let silent = session.has_said_end();
    let n = session.seal_end(Alert::CloseNotify, &mut out).expect("sealed");
    assert_eq!(n == 0, silent);
    if n > 0 {
        assert_eq!(ours.open(&out[..n]), [1, 0, 21]);
    }
    assert_eq!(session.seal_end(Alert::InternalError, &mut out), Ok(0));
    assert!(session.seal(b"more", &mut out).is_err() && session.seal_owed(&mut out) == Ok(0));
    if session.has_heard_end() {
        assert_eq!(session.open(&[23, 3, 3, 0, 20], &mut out), Ok(Opened::Closed));
    }
}
