//! Pure: what the record layer promises: by RFC 8448's vectors, by a mirror of itself, and with rustls as the peer.

use super::direction::Direction;
use super::messages::OUR_KEY_UPDATE;
use super::*;

mod peer;

const SUITES: [Suite; 3] = [Suite::Aes128GcmSha256, Suite::Aes256GcmSha384, Suite::ChaCha20Poly1305Sha256];

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
    digits.chunks(2).map(|two| u8::from_str_radix(std::str::from_utf8(two).unwrap(), 16).unwrap()).collect()
}

fn pair(suite: Suite) -> (Session, Session) {
    Session::pair(suite)
}

/// The records of `data`.
fn seal(session: &mut Session, data: &[u8]) -> Vec<u8> {
    let mut out = vec![0; 2 * data.len() + 1000];
    let sealed = session.seal(data, &mut out).unwrap();
    assert_eq!(sealed.taken, data.len());
    out.truncate(sealed.bytes);
    out
}

/// A record of any kind, with padding, sealed as `session` would.
fn odd(session: &mut Session, kind: u8, content: &[u8], padding: usize) -> Vec<u8> {
    let mut plain = content.to_vec();
    plain.push(kind);
    plain.resize(content.len() + 1 + padding, 0);
    let last = plain.pop().unwrap();
    let length = u16::try_from(plain.len() + 17).unwrap().to_be_bytes();
    let header = [23, 3, 3, length[0], length[1]];
    let (mut out, mut end) = (vec![0; plain.len()], [0; 17]);
    let suite = session.suite();
    session.directions().0.seal(suite, header, (&plain, last), (&mut out, &mut end)).unwrap();
    [&header[..], &out, &end].concat()
}

fn open(session: &mut Session, record: &[u8]) -> Result<(Opened, Vec<u8>), Fault> {
    let mut out = vec![0; record.len().saturating_sub(UNSEALED)];
    let opened = session.open(record, &mut out)?;
    out.truncate(if let Opened::Data(n) = opened { n } else { 0 });
    Ok((opened, out))
}

/// Opens all records of a stream.
fn open_all(session: &mut Session, mut stream: &[u8]) -> Result<Vec<u8>, Fault> {
    let mut data = Vec::new();
    while let Some(length) = record_bytes(stream)? {
        data.extend(open(session, &stream[..length])?.1);
        stream = &stream[length..];
    }
    Ok(data)
}

fn update(session: &mut Session) -> Vec<u8> {
    let mut out = vec![0; 100];
    let n = session.seal_owed(&mut out).unwrap();
    out.truncate(n);
    out
}

// --- RFC 8448 section 3 ------------------------------------------------------------------------------------

const CLIENT: &str = "9e40646ce79a7f9dc05af8889bce6552875afa0b06df0087f792ebb7c17504a5";
const SERVER: &str = "a11af9f05531f856ad47116b45a950328204b4f44bfb6b3a4b4f1f3fcb631643";

#[test]
fn keys_are_those_of_rfc_8448() {
    for (secret, key, iv) in [
        (SERVER, "9f02283b6c9c07efc26bb9f2ac92e356", "cf782b88dd83549aadf1e984"),
        (CLIENT, "17422dda596ed5d9acd890e3c63f5051", "5b78923dee08579033e523d9"),
    ] {
        let direction = Direction::of(Suite::Aes128GcmSha256, &Secret::of(&bytes(secret)).unwrap()).unwrap();
        let (is_key, is_iv) = direction.key_and_iv(Suite::Aes128GcmSha256);
        assert_eq!((is_key, &is_iv[..]), (&bytes(key)[..], &bytes(iv)[..]));
    }
}

#[test]
fn records_are_those_of_rfc_8448() {
    let suite = Suite::Aes128GcmSha256;
    let direction = |secret| Direction::of(suite, &Secret::of(&bytes(secret)).unwrap()).unwrap();
    let mut server = Session::over(suite, Side::Server, direction(SERVER), direction(CLIENT));
    let mut client = Session::over(suite, Side::Client, direction(CLIENT), direction(SERVER));
    let of_client = bytes(
        "17030300 43 a2 3f 70 54 b6 2c 94 d0 af fa fe 82 28 ba 55 cb ef ac ea 42 f9 14 aa 66 bc ab 3f 2b 98 19 a8 a5 b4 6b
         39 5b d5 4a 9a 20 44 1e 2b 62 97 4e 1f 5a 62 92 a2 97 70 14 bd 1e 3d ea e6 3a ee bb 21 69 49 15 e4",
    );
    let of_server = bytes(
        "17030300 43 2e 93 7e 11 ef 4a c7 40 e5 38 ad 36 00 5f c4 a4 69 32 fc 32 25 d0 5f 82 aa 1b 36 e3 0e fa f9 7d 90 e6
         df fc 60 2d cb 50 1a 59 a8 fc c4 9c 4b f2 e5 f0 a2 1c 00 47 c2 ab f3 32 54 0d d0 32 e1 67 c2 95 5d",
    );
    let data: Vec<u8> = (0..50).collect();
    assert_eq!(seal(&mut client, &data), of_client);
    assert_eq!(open(&mut server, &of_client).unwrap(), (Opened::Data(50), data.clone()));
    // The server's record 0 was a ticket.
    server.directions().0.set_number(1);
    client.directions().1.set_number(1);
    assert_eq!(seal(&mut server, &data), of_server);
    assert_eq!(open(&mut client, &of_server).unwrap(), (Opened::Data(50), data));
    let (mut one, mut other) = (client, server);
    for record in [
        "1703030013 c9 87 27 60 65 56 66 b7 4d 7f f1 15 3e fd 6d b6 d0 b0 e3",
        "1703030013 b5 8f d6 71 66 eb f5 99 d2 47 20 cf be 7e fa 7a 88 64 a9",
    ] {
        let mut out = [0; 24];
        assert_eq!(one.seal_end(Alert::CloseNotify, &mut out).unwrap(), 24);
        assert_eq!(out.to_vec(), bytes(record));
        assert_eq!(open(&mut other, &out).unwrap().0, Opened::Closed);
        std::mem::swap(&mut one, &mut other);
    }
}

// --- data --------------------------------------------------------------------------------------------------

#[test]
fn data_of_any_size_arrives_in_as_few_records_as_may_be() {
    for suite in SUITES {
        let (mut server, mut client) = pair(suite);
        for size in [1, 2, 125, MOST_PLAIN - 1, MOST_PLAIN, MOST_PLAIN + 1, 3 * MOST_PLAIN, 300_000] {
            let data: Vec<u8> = (0..size).map(|n| u8::try_from(n * 7 % 251).unwrap()).collect();
            let records = seal(&mut server, &data);
            assert_eq!(records.len(), size + size.div_ceil(MOST_PLAIN) * OVERHEAD);
            assert!(open_all(&mut client, &records).unwrap() == data);
        }
    }
}

#[test]
fn what_has_no_room_is_left() {
    let (mut server, mut client) = pair(Suite::Aes128GcmSha256);
    for room in 0..100 {
        let mut out = vec![0; room];
        let sealed = server.seal(&[7; 50], &mut out).unwrap();
        assert_eq!(sealed.taken, room.saturating_sub(OVERHEAD).min(50));
        assert_eq!(open_all(&mut client, &out[..sealed.bytes]).unwrap(), vec![7; sealed.taken]);
    }
}

#[test]
fn padding_is_taken_away() {
    let (mut server, mut client) = pair(Suite::Aes256GcmSha384);
    let record = odd(&mut client, 23, b"hello\0", 1000);
    assert_eq!(open(&mut server, &record).unwrap().1, b"hello\0");
}

#[test]
fn a_record_that_was_touched_anywhere_is_refused_and_ends_the_session() {
    for suite in SUITES {
        let (_, mut client) = pair(suite);
        let record = seal(&mut client, b"hello");
        for at in 0..record.len() {
            let (mut server, _) = pair(suite);
            let mut touched = record.clone();
            touched[at] ^= 1;
            let fault = open(&mut server, &touched).unwrap_err();
            if matches!(at, 1 | 2) || at > 4 {
                assert_eq!(fault, Fault::Ours(Alert::BadRecordMac));
            }
            assert_eq!(open(&mut server, &record), Ok((Opened::Closed, Vec::new())), "it is over");
        }
    }
}

#[test]
fn a_record_is_opened_once_and_in_its_turn() {
    let (mut server, mut client) = pair(Suite::ChaCha20Poly1305Sha256);
    let (first, second) = (seal(&mut client, b"first"), seal(&mut client, b"second"));
    open(&mut server, &first).unwrap();
    assert_eq!(open(&mut server, &first).unwrap_err(), Fault::Ours(Alert::BadRecordMac));
    let (mut server, _) = pair(Suite::ChaCha20Poly1305Sha256);
    assert_eq!(open(&mut server, &second).unwrap_err(), Fault::Ours(Alert::BadRecordMac));
}

// --- records that have no place ----------------------------------------------------------------------------

#[test]
fn a_header_is_judged_as_soon_as_it_can_be() {
    assert_eq!(record_bytes(&[]), Ok(None));
    assert_eq!(record_bytes(&[23, 3, 3, 0x41]), Ok(None));
    assert_eq!(record_bytes(&[23, 3, 3, 0x41, 0]), Ok(Some(MOST_RECORD)));
    assert_eq!(record_bytes(&[23, 3, 3, 0x41, 1]), Err(Alert::RecordOverflow));
    for kind in (0..=255).filter(|kind| *kind != 23) {
        assert_eq!(record_bytes(&[kind]), Err(Alert::UnexpectedMessage), "of a type that is not protected: {kind}");
        assert_eq!(record_bytes(&[kind, 3, 3, 0, 1]), Err(Alert::UnexpectedMessage));
    }
}

#[test]
fn a_record_that_is_too_short_is_refused() {
    for length in 0..=16u8 {
        let (mut server, _) = pair(Suite::Aes128GcmSha256);
        let record = [&[23, 3, 3, 0, length][..], &vec![0; usize::from(length)]].concat();
        assert_eq!(open(&mut server, &record).unwrap_err(), Fault::Ours(Alert::BadRecordMac));
    }
}

#[test]
fn a_record_may_carry_16_kib_and_no_more() {
    let (mut server, mut client) = pair(Suite::Aes128GcmSha256);
    let most = odd(&mut client, 23, &vec![1; MOST_PLAIN], 0);
    assert_eq!(open(&mut server, &most).unwrap().0, Opened::Data(MOST_PLAIN));
    for (size, padding) in [(MOST_PLAIN + 1, 0), (MOST_PLAIN, 1), (1, MOST_PLAIN)] {
        let (mut server, mut client) = pair(Suite::Aes128GcmSha256);
        let more = odd(&mut client, 23, &vec![1; size], padding);
        assert_eq!(open(&mut server, &more).unwrap_err(), Fault::Ours(Alert::RecordOverflow));
    }
}

#[test]
fn what_has_no_place_inside_is_refused() {
    use Alert::{DecodeError, IllegalParameter, UnexpectedMessage};
    let rows: [(u8, &[u8], Alert); 15] = [
        (0, &[], UnexpectedMessage),                    // nothing but padding
        (20, &[1], UnexpectedMessage),                  // a change of the cipher
        (21, &[], UnexpectedMessage),                   // an empty alert
        (21, &[1], DecodeError),                        // half of one
        (21, &[1, 0, 0], DecodeError),                  // more than one
        (22, &[], UnexpectedMessage),                   // an empty message
        (22, &[1, 0, 0, 0], UnexpectedMessage),         // a ClientHello
        (22, &[4, 0, 0, 1, 0], UnexpectedMessage),      // a ticket, from a client
        (22, &[20, 0, 0, 0], UnexpectedMessage),        // a Finished
        (22, &[24, 0, 0, 1, 2], IllegalParameter),      // an update of neither kind
        (22, &[24, 0, 0, 2, 0, 0], DecodeError),        // a longer one
        (22, &[24, 0, 0, 0], DecodeError),              // a shorter one
        (22, &[24, 0, 0, 1, 0, 24], UnexpectedMessage), // something behind one, of another key
        (24, &[1], UnexpectedMessage),                  // a heartbeat
        (255, &[1], UnexpectedMessage),
    ];
    for (kind, content, alert) in rows {
        let (mut server, mut client) = pair(Suite::Aes128GcmSha256);
        let record = odd(&mut client, kind, content, 3);
        assert_eq!(open(&mut server, &record).unwrap_err(), Fault::Ours(alert), "{kind} {content:?}");
    }
}

#[test]
fn records_without_data_are_bounded_but_data_gives_back() {
    let fruitless: [(u8, &[u8]); 3] = [(23, &[]), (21, &[1, 90]), (22, &OUR_KEY_UPDATE)];
    for (kind, content) in fruitless {
        let (mut server, mut client) = pair(Suite::Aes128GcmSha256);
        let mut one = || {
            let record = odd(&mut client, kind, content, 0);
            if kind == 22 {
                client.directions().0.update(Suite::Aes128GcmSha256).unwrap();
            }
            record
        };
        for _ in 0..32 {
            assert_eq!(open(&mut server, &one()).unwrap().0, Opened::Nothing);
        }
        assert_eq!(open(&mut server, &one()).unwrap_err(), Fault::Ours(Alert::UnexpectedMessage));
    }
    let (mut server, mut client) = pair(Suite::Aes128GcmSha256);
    for n in 0..200 {
        let content: &[u8] = if n % 30 == 0 { b"data" } else { b"" };
        let record = odd(&mut client, 23, content, 0);
        open(&mut server, &record).unwrap();
    }
}

// --- tickets, updates, ends --------------------------------------------------------------------------------

#[test]
fn tickets_of_a_server_are_skipped_however_they_are_cut() {
    let ticket = [&[4, 0, 0, 50][..], &[24; 50]].concat();
    let messages = [ticket.clone(), ticket].concat();
    for size in 1..messages.len() {
        let (mut server, mut client) = pair(Suite::Aes128GcmSha256);
        for piece in messages.chunks(size) {
            let record = odd(&mut server, 22, piece, 0);
            assert_eq!(open(&mut client, &record).unwrap().0, Opened::Nothing);
        }
        let record = seal(&mut server, b"data");
        assert_eq!(open(&mut client, &record).unwrap().1, b"data");
    }
}

#[test]
fn nothing_may_come_between_the_parts_of_a_message() {
    for part in [&[4][..], &[4, 0, 0, 50], &[4, 0, 0, 50, 1], &[24, 0, 0], &[24, 0, 0, 1]] {
        let (mut server, mut client) = pair(Suite::Aes128GcmSha256);
        let record = odd(&mut server, 22, part, 0);
        assert_eq!(open(&mut client, &record).unwrap().0, Opened::Nothing);
        let record = seal(&mut server, b"data");
        assert_eq!(open(&mut client, &record).unwrap_err(), Fault::Ours(Alert::UnexpectedMessage));
    }
}

#[test]
fn an_update_is_answered_once_and_before_the_next_data() {
    for suite in SUITES {
        let (mut server, mut client) = pair(suite);
        for _ in 0..3 {
            let record = odd(&mut client, 22, &[24, 0, 0, 1, 1], 0);
            client.directions().0.update(suite).unwrap();
            assert_eq!(open(&mut server, &record).unwrap().0, Opened::Nothing);
        }
        assert!(server.owes());
        let records = seal(&mut server, b"data");
        assert!(!server.owes());
        assert_eq!(record_bytes(&records), Ok(Some(OVERHEAD + 5)), "the update is first");
        assert_eq!(open_all(&mut client, &records).unwrap(), b"data");
        assert!(!client.owes(), "ours asks for nothing");
        let back = seal(&mut client, b"back");
        assert_eq!(open_all(&mut server, &back).unwrap(), b"back");
        assert!(update(&mut server).is_empty());
    }
}

#[test]
fn an_update_is_answered_without_data_too() {
    let (mut server, mut client) = pair(Suite::Aes256GcmSha384);
    let record = odd(&mut client, 22, &[24, 0, 0, 1, 1], 0);
    client.directions().0.update(Suite::Aes256GcmSha384).unwrap();
    open(&mut server, &record).unwrap();
    let answer = update(&mut server);
    assert_eq!(open(&mut client, &answer).unwrap().0, Opened::Nothing);
    let record = seal(&mut server, b"data");
    assert_eq!(open(&mut client, &record).unwrap().1, b"data");
}

#[test]
fn our_key_is_updated_before_it_has_sealed_too_much() {
    for (suite, most) in [(Suite::Aes128GcmSha256, 1 << 24), (Suite::Aes256GcmSha384, 1 << 24), (SUITES[2], 1 << 48)] {
        let (mut server, mut client) = pair(suite);
        server.directions().0.set_number(most - 3);
        client.directions().1.set_number(most - 3);
        let data = vec![9; 5 * MOST_PLAIN];
        let records = seal(&mut server, &data);
        assert_eq!(records.len(), data.len() + 6 * OVERHEAD + 5);
        assert!(open_all(&mut client, &records).unwrap() == data);
        assert_eq!(server.directions().0.number(), 3, "two with the old key, which then sealed its own update");
    }
}

#[test]
fn a_number_is_never_used_again() {
    let (mut server, mut client) = pair(SUITES[2]);
    client.directions().0.set_number(u64::MAX);
    assert_eq!(client.seal_end(Alert::CloseNotify, &mut [0; 50]), Err(Fault::Ours(Alert::InternalError)));
    let record = seal(&mut pair(SUITES[2]).1, b"data");
    server.directions().1.set_number(u64::MAX);
    assert_eq!(open(&mut server, &record).unwrap_err(), Fault::Ours(Alert::InternalError));
}

#[test]
fn behind_an_end_there_is_nothing() {
    let (mut server, mut client) = pair(Suite::Aes128GcmSha256);
    let mut out = [0; 100];
    let n = client.seal_end(Alert::CloseNotify, &mut out).unwrap();
    assert_eq!(client.seal_end(Alert::CloseNotify, &mut [0; 100]), Ok(0), "once");
    assert_eq!(client.seal(b"more", &mut [0; 100]), Err(Fault::Ours(Alert::CloseNotify)));
    assert_eq!(open(&mut server, &out[..n]).unwrap().0, Opened::Closed);
    assert_eq!(open(&mut server, b"whatever").unwrap().0, Opened::Closed);
    let record = seal(&mut server, b"the other half lives");
    assert_eq!(open(&mut client, &record).unwrap().1, b"the other half lives");
}

#[test]
fn a_fatal_alert_of_the_peers_ends_both_directions() {
    for level in [1, 2] {
        let (mut server, mut client) = pair(Suite::Aes128GcmSha256);
        let record = odd(&mut client, 21, &[level, 80], 0);
        assert_eq!(open(&mut server, &record).unwrap_err(), Fault::Theirs(80));
        assert_eq!(server.seal_end(Alert::CloseNotify, &mut [0; 100]), Ok(0));
        assert!(server.has_said_end() && server.has_heard_end());
    }
}

// --- secrets -----------------------------------------------------------------------------------------------

#[test]
fn a_session_goes_on_where_another_was_also_after_updates() {
    for suite in SUITES {
        for updates in [0, 1, 32, 33] {
            let secret = Secret::of(&[5; 48][..suite.secret_bytes()]).unwrap();
            let mut before = Direction::of(suite, &secret).unwrap();
            (0..updates).for_each(|_| before.update(suite).unwrap());
            let (key, iv) = before.key_and_iv(suite);
            let after = Direction::go_on(suite, &Extracted { secret: &secret, key, iv: &iv, number: 77 });
            assert_eq!(after.map(|direction| direction.number()), (updates <= 32).then_some(77));
        }
    }
}

#[test]
fn keys_that_are_not_of_the_secret_are_refused() {
    let suite = Suite::Aes128GcmSha256;
    let secret = Secret::of(&[5; 32]).unwrap();
    let direction = Direction::of(suite, &secret).unwrap();
    let (key, iv) = direction.key_and_iv(suite);
    let of =
        |secret: &Secret, key: &[u8], iv: &[u8]| Direction::go_on(suite, &Extracted { secret, key, iv, number: 0 }).is_some();
    assert!(of(&secret, key, &iv));
    assert!(!of(&secret, &[1; 16], &iv) && !of(&secret, key, &[1; 12]) && !of(&secret, &key[..15], &iv));
    assert!(!of(&Secret::of(&[6; 32]).unwrap(), key, &iv) && !of(&Secret::of(&[5; 48]).unwrap(), key, &iv));
    assert!(Secret::of(&[5; 20]).is_none());
}

#[test]
fn nothing_shows_a_secret() {
    let (server, _) = pair(Suite::Aes256GcmSha384);
    let secret = || Secret::of(&[1; 48]).unwrap();
    let shown = format!("{server:?} {:?}", Secrets { client: secret(), server: secret() });
    assert!(!shown.contains("1, 1") && shown.contains("Secret"), "{shown}");
}

#[test]
fn an_expanded_key_rests_nowhere_once_its_owner_has_another_or_is_gone() {
    let suite = Suite::Aes128GcmSha256;
    let (mut server, _) = pair(suite);
    let cached = |session: &mut Session| expanded::copies(session.directions().0.ticket().number()) > 0;
    assert!(!cached(&mut server), "an idle one holds none");
    seal(&mut server, b"data");
    assert!(cached(&mut server));
    // Used on another thread, it leaves this one.
    let mut server = std::thread::spawn(move || {
        seal(&mut server, b"data");
        server
    })
    .join()
    .unwrap();
    let number = server.directions().0.ticket().number();
    assert_eq!(expanded::copies(number), 1);
    server.directions().0.update(suite).unwrap();
    assert_eq!(expanded::copies(number), 0);
    seal(&mut server, b"data");
    let number = server.directions().0.ticket().number();
    assert_eq!(expanded::copies(number), 1);
    drop(server);
    assert_eq!(expanded::copies(number), 0);
}

#[test]
fn an_entry_of_another_key_is_never_lent() {
    let suite = Suite::Aes128GcmSha256;
    let mut sessions: Vec<_> = (0..300).map(|_| pair(suite)).collect(); // more than there are slots
    for round in 0..3u8 {
        for (server, client) in &mut sessions {
            let record = seal(server, &[round; 20]);
            assert_eq!(open(client, &record).unwrap().1, vec![round; 20]);
        }
    }
}
