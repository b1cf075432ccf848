//! What a backend says to a handshake. Input: a line of numbers, how many bytes come at a time (again and again), then
//! those bytes.

use spliceway::handshake::{Answer, AnswerError, AnswerReader, Heard};

use crate::text;

/// What came of it, and how many bytes had been read by then.
type Verdict = (Result<Option<Heard>, AnswerError>, usize);

pub fn target(input: &[u8]) {
    let (sizes, bytes) = text::pieces(input);
    let (whole, read) = read(bytes, &[bytes.len()], usize::MAX);
    judge(whole.as_ref().ok().and_then(Option::as_ref), &bytes[..read]);
    let (pieces, read) = self::read(bytes, &sizes, usize::MAX);
    judge(pieces.as_ref().ok().and_then(Option::as_ref), &bytes[..read]);
    match (whole, pieces) {
        (Ok(Some(one)), Ok(Some(other))) => {
            assert_eq!((&one.head, &one.answer.names), (&other.head, &other.answer.names), "the cuts changed the answer");
            assert_eq!(one.answer.headers, other.answer.headers, "the cuts changed the fields");
            assert!(one.behind.starts_with(&other.behind), "the cuts changed what came behind");
        }
        // A line is looked at once it has ended.
        (Err(_), Err(_) | Ok(None)) | (Ok(None), Ok(None)) => {}
        (whole, pieces) => panic!("at once: {whole:?}; by pieces: {pieces:?}"),
    }

    let most = sizes.iter().copied().max().unwrap_or(1);
    let (small, read) = self::read(bytes, &sizes, 64);
    assert!(read <= 64 + most, "{read} bytes were read where 64 were the bound");
    judge(small.ok().flatten().as_ref(), &bytes[..read]);
}

fn read(bytes: &[u8], sizes: &[usize], max_bytes: usize) -> Verdict {
    let mut reader = AnswerReader::new(max_bytes, 16);
    let (mut read, mut sizes) = (0, sizes.iter().cycle());
    while read < bytes.len() {
        let size = sizes.next().copied().unwrap_or(1).clamp(1, bytes.len() - read);
        reader.room().extend_from_slice(&bytes[read..read + size]);
        read += size;
        assert!(reader.has_begun());
        match reader.heard() {
            Ok(None) => {}
            done => return (done, read),
        }
    }
    (Ok(None), read)
}

/// No byte is lost and none is read twice; the head is one that reads the same again.
fn judge(heard: Option<&Heard>, read: &[u8]) {
    let Some(Heard { answer, head, behind }) = heard else { return };
    let both = [&head[..], &behind[..]].concat();
    assert!(read.ends_with(&both), "what was heard is not what was read");
    let informational = answer.status.is_informational() && answer.status.as_u16() != 101;
    assert!(!informational, "an informational answer is not the final one");
    let (again, length) = Answer::parse(head, 16).expect("a head that was read").expect("a whole head");
    assert_eq!((length, again.status, again.headers), (head.len(), answer.status, answer.headers.clone()));
    assert_eq!(answer.names.len(), answer.headers.len(), "each line has its name");
    assert!(answer.names.len() <= 16);
    // Nothing of the head is passed over but what came before it: other answers, whole.
    let mut before = &read[..read.len() - both.len()];
    while !before.is_empty() {
        let (passed, length) = Answer::parse(before, 16).expect("an answer before").expect("a whole one");
        assert!(passed.status.is_informational() && passed.status.as_u16() != 101);
        before = &before[length..];
    }
}
