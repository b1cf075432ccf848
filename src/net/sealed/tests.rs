//! What a socket under our own record layer promises: the data as it was written, however the records are cut, and the
//! ends and errors that a stream of rustls has. The peer is the record layer itself, by hand.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream as Blocking;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use super::*;
use crate::record::{Sealed as Records, Suite};

const SUITE: Suite = Suite::Aes128GcmSha256;

/// Our stream, and its peer: a session with a bare socket.
fn pair() -> (Sealed, Session, Blocking) {
    let (near, far) = Blocking::pair().unwrap();
    near.set_nonblocking(true).unwrap();
    far.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let (server, client) = Session::pair(SUITE);
    (Sealed::new(Socket::from(UnixStream::from_std(near).unwrap()), server, Vec::new(), false), client, far)
}

fn records(session: &mut Session, data: &[u8]) -> Vec<u8> {
    let mut out = vec![0; data.len() * 2 + 1000];
    let Records { taken, bytes } = session.seal(data, &mut out).unwrap();
    assert_eq!(taken, data.len());
    out.truncate(bytes);
    out
}

fn end(session: &mut Session, alert: Alert) -> Vec<u8> {
    let mut out = vec![0; 100];
    let n = session.seal_end(alert, &mut out).unwrap();
    out.truncate(n);
    out
}

/// The next record at the peer.
fn next(session: &mut Session, far: &mut Blocking) -> Result<(Opened, Vec<u8>), Fault> {
    let mut record = vec![0; 5];
    far.read_exact(&mut record).unwrap();
    let whole = record_bytes(&record).unwrap().unwrap();
    record.resize(whole, 0);
    far.read_exact(&mut record[5..]).unwrap();
    let mut data = vec![0; whole];
    let opened = session.open(&record, &mut data)?;
    data.truncate(if let Opened::Data(n) = opened { n } else { 0 });
    Ok((opened, data))
}

fn pattern(size: usize) -> Vec<u8> {
    (0..size).map(|n| u8::try_from(n % 249).unwrap()).collect()
}

#[tokio::test]
async fn records_cut_at_every_byte_are_read() {
    let (mut ours, mut peer, mut far) = pair();
    let data = pattern(60);
    let stream = [records(&mut peer, &data[..20]), records(&mut peer, &data[20..25]), records(&mut peer, &data[25..])].concat();
    let write = std::thread::spawn(move || {
        for byte in stream {
            far.write_all(&[byte]).unwrap();
            std::thread::yield_now();
        }
        far
    });
    let mut read = vec![0; 60];
    ours.read_exact(&mut read).await.unwrap();
    assert_eq!(read, data);
    assert!(ours.waiting.is_none(), "nothing is held");
    write.join().unwrap();
}

#[tokio::test]
async fn one_cut_at_any_place_is_read() {
    for cut in 0..300 {
        let (mut ours, mut peer, mut far) = pair();
        let stream: Vec<u8> = (0..8).flat_map(|n| records(&mut peer, &pattern(n * 7 + 1))).collect();
        let data: Vec<u8> = (0..8).flat_map(|n| pattern(n * 7 + 1)).collect();
        let cut = cut.min(stream.len());
        far.write_all(&stream[..cut]).unwrap();
        let mut read = Vec::new();
        let mut buf = vec![0; 1 << 18];
        while let Ok(n) = tokio::time::timeout(Duration::from_millis(1), ours.read(&mut buf)).await {
            read.extend_from_slice(&buf[..n.unwrap()]);
        }
        far.write_all(&stream[cut..]).unwrap();
        while read.len() < data.len() {
            let n = ours.read(&mut buf).await.unwrap();
            read.extend_from_slice(&buf[..n]);
        }
        assert_eq!(read, data);
    }
}

#[tokio::test]
async fn readers_with_room_for_less_than_a_record_get_all_of_it() {
    for room in [1, 2, 16, 100, 16_383, 16_384, 16_385, 40_000] {
        let (mut ours, mut peer, mut far) = pair();
        let data = pattern(70_000);
        let mut stream = records(&mut peer, &data);
        stream.extend(end(&mut peer, Alert::CloseNotify));
        let write = std::thread::spawn(move || {
            far.write_all(&stream).unwrap();
            far
        });
        let (mut read, mut buf) = (Vec::new(), vec![0; room]);
        loop {
            let n = ours.read(&mut buf).await.unwrap();
            if n == 0 {
                break;
            }
            read.extend_from_slice(&buf[..n]);
        }
        assert!(read == data, "with room for {room}");
        assert!(ours.waiting.is_none());
        write.join().unwrap();
    }
}

#[tokio::test]
async fn what_rustls_had_not_read_is_read_first() {
    let (near, mut far) = Blocking::pair().unwrap();
    near.set_nonblocking(true).unwrap();
    let (server, mut peer) = Session::pair(SUITE);
    let stream = [records(&mut peer, b"first"), records(&mut peer, b"second"), records(&mut peer, b"third")].concat();
    let (held, rest) = stream.split_at(70);
    let mut ours = Sealed::new(Socket::from(UnixStream::from_std(near).unwrap()), server, held.to_vec(), false);
    let mut buf = vec![0; 1 << 16];
    assert_eq!(ours.read(&mut buf).await.unwrap(), 11);
    far.write_all(rest).unwrap();
    assert_eq!(ours.read(&mut buf).await.unwrap(), 5);
    assert_eq!(&buf[..5], b"third");
}

#[tokio::test]
async fn a_peer_that_takes_nothing_holds_the_writer_back() {
    let (mut ours, mut peer, mut far) = pair();
    let data = pattern(4 << 20);
    let mut sent = 0;
    while let Ok(n) = tokio::time::timeout(Duration::from_millis(20), ours.write(&data[sent..])).await {
        sent += n.unwrap();
    }
    assert!(sent < 2 << 20 && ours.unsent() <= scratch::SCRATCH_BYTES, "{sent} taken, {} held", ours.unsent());
    let reader = std::thread::spawn(move || {
        let mut read = Vec::new();
        while read.len() < 4 << 20 {
            read.extend(next(&mut peer, &mut far).unwrap().1);
        }
        read
    });
    ours.write_all(&data[sent..]).await.unwrap();
    ours.flush().await.unwrap();
    assert!(ours.waiting.is_none());
    assert!(reader.join().unwrap() == data);
}

#[tokio::test]
async fn an_update_is_answered_by_whoever_only_reads() {
    let (mut ours, mut peer, mut far) = pair();
    far.write_all(&peer.ask_for_update()).unwrap();
    far.write_all(&records(&mut peer, b"data")).unwrap();
    let mut buf = [0; 100];
    assert_eq!(ours.read(&mut buf).await.unwrap(), 4);
    assert_eq!(next(&mut peer, &mut far).unwrap().0, Opened::Nothing);
    ours.write_all(b"with the new key").await.unwrap();
    assert_eq!(next(&mut peer, &mut far).unwrap().1, b"with the new key");
}

#[tokio::test]
async fn the_halves_end_one_by_one_by_close_notify() {
    let (mut ours, mut peer, mut far) = pair();
    far.write_all(&[records(&mut peer, b"last"), end(&mut peer, Alert::CloseNotify), b"thrown away".to_vec()].concat()).unwrap();
    let mut buf = [0; 100];
    assert_eq!(ours.read(&mut buf).await.unwrap(), 4);
    for _ in 0..3 {
        assert_eq!(ours.read(&mut buf).await.unwrap(), 0);
    }
    ours.write_all(b"the other half lives").await.unwrap();
    assert_eq!(next(&mut peer, &mut far).unwrap().1, b"the other half lives");
    ours.shutdown().await.unwrap();
    ours.shutdown().await.unwrap();
    assert_eq!(next(&mut peer, &mut far).unwrap().0, Opened::Closed);
    assert_eq!(far.read(&mut [0; 10]).unwrap(), 0, "once, and then the FIN");
    assert_eq!(ours.write(b"more").await.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
}

#[tokio::test]
async fn an_end_without_close_notify_is_told_behind_the_data() {
    for part in [0, 3, 20] {
        let (mut ours, mut peer, mut far) = pair();
        far.write_all(&records(&mut peer, b"data")).unwrap();
        far.write_all(&records(&mut peer, b"cut short")[..part]).unwrap();
        drop(far);
        let mut buf = [0; 100];
        assert_eq!(ours.read(&mut buf).await.unwrap(), 4);
        for _ in 0..3 {
            assert_eq!(ours.read(&mut buf).await.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        }
    }
}

#[tokio::test]
async fn a_bad_record_is_told_behind_the_data_and_answered_by_its_alert() {
    let bad: [(Vec<u8>, u8); 4] = [
        ([&[23, 3, 3, 0, 30][..], &[0; 30]].concat(), 20),
        (vec![20, 3, 3, 0, 1, 1], 10),
        (vec![23, 3, 3, 0x41, 1], 22),
        (b"GET / HTTP/1.1\r\n\r\n".to_vec(), 10),
    ];
    for (bytes, alert) in bad {
        let (mut ours, mut peer, mut far) = pair();
        far.write_all(&[records(&mut peer, b"data"), bytes].concat()).unwrap();
        let mut buf = [0; 100];
        assert_eq!(ours.read(&mut buf).await.unwrap(), 4);
        for _ in 0..3 {
            assert_eq!(ours.read(&mut buf).await.unwrap_err().kind(), io::ErrorKind::InvalidData);
        }
        assert_eq!(ours.write(b"more").await.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
        assert_eq!(next(&mut peer, &mut far).unwrap_err(), Fault::Theirs(alert));
    }
}

#[tokio::test]
async fn an_alert_of_the_peers_is_an_error_and_not_answered() {
    let (mut ours, mut peer, mut far) = pair();
    far.write_all(&end(&mut peer, Alert::InternalError)).unwrap();
    let error = ours.read(&mut [0; 100]).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    assert!(error.to_string().contains("alert 80"), "{error}");
    ours.shutdown().await.unwrap();
    assert_eq!(far.read(&mut [0; 10]).unwrap(), 0);
}

#[tokio::test]
async fn without_keys_nothing_is_said_or_heard() {
    let (near, mut far) = Blocking::pair().unwrap();
    near.set_nonblocking(true).unwrap();
    let mut ours = Sealed::broken(Socket::from(UnixStream::from_std(near).unwrap()));
    assert_eq!(ours.read(&mut [0; 100]).await.unwrap_err().kind(), io::ErrorKind::InvalidData);
    assert!(ours.write(b"data").await.is_err());
    ours.shutdown().await.unwrap();
    assert_eq!(far.read(&mut [0; 10]).unwrap(), 0);
}

#[test]
fn at_rest_it_is_small() {
    assert!(size_of::<Sealed>() <= 280, "{} bytes", size_of::<Sealed>());
}
