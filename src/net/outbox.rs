//! What is written while a batch of events is dealt with waits for the batch's end, and is sent then in one go: a
//! processor that does one thing many times has its code at hand, and peers that sleep are woken together
//! (benches/README.md). One for each thread; who opens it sends what is in it. Not here: what a socket does with bytes
//! that the kernel did not take after all, but for keeping them.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io;

/// The largest write that waits. A copy of more costs more than is won.
const LARGEST: usize = 4 << 10;
/// So many are sent together at most, and so many bytes: the first is not to wait for long.
const LETTERS: usize = 32;
const BYTES: usize = 32 << 10;

thread_local! {
    static OUTBOX: RefCell<Outbox> = RefCell::default();
}

#[derive(Debug, Default)]
struct Outbox {
    open: bool,
    batch: Batch,
    kept: HashMap<u32, Kept>,
}

/// Bytes to be sent, for sockets by their numbers.
#[derive(Debug, Default)]
pub struct Batch {
    bytes: Vec<u8>,
    /// The number, and where its bytes end.
    letters: Vec<(u32, usize)>,
}

/// What the kernel did not take of a socket's bytes, or what it said instead.
#[derive(Debug, Default)]
pub(super) struct Kept {
    pub(super) bytes: Vec<u8>,
    pub(super) error: Option<io::Error>,
}

/// From now on small writes of this thread's raw sockets wait for [`send`].
pub fn open() {
    OUTBOX.with_borrow_mut(|outbox| outbox.open = true);
}

/// Whether it is time to send.
pub fn is_full() -> bool {
    OUTBOX.with_borrow(|outbox| outbox.batch.letters.len() >= LETTERS || outbox.batch.bytes.len() >= BYTES)
}

/// Closes it, and has `send` send each write that waits, in order, to the socket of that number.
pub fn send(mut send: impl FnMut(u32, &[u8])) {
    let mut batch = OUTBOX.with_borrow_mut(|outbox| {
        outbox.open = false;
        std::mem::take(&mut outbox.batch)
    });
    let mut from = 0;
    for (number, to) in batch.letters.drain(..) {
        let bytes = batch.bytes.get(from..to).unwrap_or_default();
        from = to;
        if number != WITHDRAWN {
            send(number, bytes);
        }
    }
    batch.bytes.clear();
    OUTBOX.with_borrow_mut(|outbox| outbox.batch = batch); // its room is used again
}

/// The number of what was withdrawn, and of sockets that have none.
pub(super) const WITHDRAWN: u32 = u32::MAX;

/// Has a write wait, if it may.
#[inline]
pub(super) fn put(number: u32, bytes: &[u8]) -> bool {
    OUTBOX.with_borrow_mut(|outbox| {
        let takes = outbox.open && bytes.len() <= LARGEST && number != WITHDRAWN;
        if takes {
            outbox.batch.bytes.extend_from_slice(bytes);
            outbox.batch.letters.push((number, outbox.batch.bytes.len()));
        }
        takes
    })
}

/// Takes out what waits for a socket, which is then sent before its time, or not at all.
pub(super) fn withdraw(number: u32) -> Vec<u8> {
    OUTBOX.with_borrow_mut(|outbox| {
        let Batch { bytes, letters } = &mut outbox.batch;
        let (mut own, mut from) = (Vec::new(), 0);
        for letter in letters {
            if letter.0 == number {
                letter.0 = WITHDRAWN;
                own.extend_from_slice(bytes.get(from..letter.1).unwrap_or_default());
            }
            from = letter.1;
        }
        own
    })
}

/// How many bytes wait for a socket.
pub(super) fn waiting(number: u32) -> usize {
    OUTBOX.with_borrow(|outbox| {
        let mut from = 0;
        let lengths = outbox.batch.letters.iter().map(|(owner, to)| {
            let length = to - std::mem::replace(&mut from, *to);
            if *owner == number { length } else { 0 }
        });
        lengths.sum::<usize>() + outbox.kept.get(&number).map_or(0, |kept| kept.bytes.len())
    })
}

/// What is kept for a socket, to be looked at and changed. Nothing is left of it where `with` leaves neither bytes nor an
/// error. Of a socket that leaves its thread it is lost: none does.
pub(super) fn kept<T>(number: u32, with: impl FnOnce(&mut Kept) -> T) -> T {
    OUTBOX.with_borrow_mut(|outbox| {
        let kept = outbox.kept.entry(number).or_default();
        let done = with(kept);
        if kept.bytes.is_empty() && kept.error.is_none() {
            outbox.kept.remove(&number);
        }
        done
    })
}

/// Forgets what is kept for a socket.
pub(super) fn forget(number: u32) {
    OUTBOX.with_borrow_mut(|outbox| drop(outbox.kept.remove(&number)));
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::unix::net::UnixStream;
    use std::task::Poll;

    use super::super::raw::{Poller, Raw};
    use super::*;

    /// A socket of that number, and its peer.
    fn pair(poller: &Poller, number: u32) -> (Raw, UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        theirs.set_nonblocking(true).unwrap();
        let mut raw = Raw::new(ours.into(), false);
        raw.watch(poller, number.into()).unwrap();
        (raw, theirs)
    }

    fn read(peer: &mut UnixStream) -> Vec<u8> {
        let mut bytes = Vec::new();
        peer.read_to_end(&mut bytes).ok(); // until it would block, or the end
        bytes
    }

    fn write(raw: &mut Raw, bytes: &[u8]) {
        assert!(matches!(raw.poll_write(bytes), Poll::Ready(Ok(n)) if n == bytes.len()));
    }

    /// What is sent to which number.
    fn sent() -> Vec<(u32, Vec<u8>)> {
        let mut all = Vec::new();
        send(|number, bytes| all.push((number, bytes.to_vec())));
        all
    }

    #[test]
    fn small_writes_wait_for_the_end_of_the_batch_and_keep_their_order() {
        let poller = Poller::new().unwrap();
        let ((mut one, mut one_peer), (mut two, mut two_peer)) = (pair(&poller, 1), pair(&poller, 2));
        write(&mut one, b"before ");
        open();
        write(&mut one, b"a");
        write(&mut two, b"b");
        write(&mut one, b"c");
        assert_eq!((read(&mut one_peer), one.held_back(), two.held_back()), (b"before ".to_vec(), 2, 1));
        send(|number, bytes| assert!(!if number == 1 { &mut one } else { &mut two }.send_late(bytes)));
        assert_eq!((read(&mut one_peer), read(&mut two_peer), one.held_back()), (b"ac".to_vec(), b"b".to_vec(), 0));
        write(&mut one, b"after");
        assert_eq!(read(&mut one_peer), b"after");
        assert!(sent().is_empty());
    }

    #[test]
    fn a_large_write_an_end_and_a_close_come_behind_what_waits() {
        let poller = Poller::new().unwrap();
        let large = vec![b'x'; LARGEST + 1];
        for last in 0..3 {
            let (mut raw, mut peer) = pair(&poller, 1);
            open();
            write(&mut raw, b"small ");
            match last {
                0 => write(&mut raw, &large),
                1 => assert!(matches!(raw.poll_shutdown(), Poll::Ready(Ok(())))),
                _ => drop(raw),
            }
            let right = if last == 0 { [b"small ".as_slice(), &large].concat() } else { b"small ".to_vec() };
            assert_eq!(read(&mut peer), right);
            assert!(sent().is_empty(), "nothing is sent twice");
        }
    }

    #[test]
    fn what_the_kernel_does_not_take_is_kept_and_comes_first() {
        let poller = Poller::new().unwrap();
        let (mut raw, mut peer) = pair(&poller, 1);
        let piece = [b'x'; LARGEST];
        let mut written = 0;
        loop {
            open();
            write(&mut raw, &piece);
            written += piece.len();
            let mut kept = false;
            send(|_, bytes| kept = raw.send_late(bytes));
            if kept {
                break;
            }
        }
        assert!(raw.held_back() > 0 && raw.poll_flush().is_pending() && raw.poll_write(b"y").is_pending());
        let mut came = read(&mut peer);
        raw.writable = true; // as an event would say
        while raw.poll_flush().is_pending() {
            came.extend(read(&mut peer));
            raw.writable = true;
        }
        write(&mut raw, b"y");
        came.extend(read(&mut peer));
        assert_eq!((came.len(), came.last(), raw.held_back()), (written + 1, Some(&b'y'), 0));
    }

    #[test]
    fn an_error_is_told_by_the_next_flush_and_once() {
        let poller = Poller::new().unwrap();
        let (mut raw, peer) = pair(&poller, 1);
        open();
        write(&mut raw, b"x");
        drop(peer);
        send(|_, bytes| assert!(raw.send_late(bytes)));
        assert!(matches!(raw.poll_flush(), Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::BrokenPipe));
        assert!(matches!(raw.poll_flush(), Poll::Ready(Ok(()))) && raw.held_back() == 0);
    }
}
