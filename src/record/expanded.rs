//! Pure: keys as the cipher wants them, a few for each thread.
//!
//! An expanded AES key with its table for GHASH takes 600 bytes and 0.2 us to make, and the nonces' beginning that is kept
//! with it some HMACs. A busy socket must not make them for each message, and an idle one must not hold them: so each thread has a cache of some, directly mapped.
//!
//! Invariants: an entry is used by the direction and for the key that it was made for only (each key of the process has
//! a number of its own); a direction has an entry in one cache at most, and takes it away when its key changes, when
//! it is dropped, and when it is used on another thread. What wipes an entry is aws-lc: it frees no memory unwiped.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use aws_lc_rs::aead::{LessSafeKey, NONCE_LEN};
use zeroize::Zeroize;

/// Entries of a cache: both directions of 128 sockets that are busy at the same time; with 600 bytes each, 150 KiB.
const SLOTS: usize = 256;
/// Caches. Threads beyond so many share them, which costs them a wait now and then.
const CACHES: u8 = 64;
/// In no cache.
const NOWHERE: u8 = u8::MAX;
/// Where a ticket's number begins.
const NUMBER: u32 = 8;

/// What is made of a secret to be used.
#[derive(Debug)]
pub(super) struct Expanded {
    pub(super) key: LessSafeKey,
    /// The nonce of record 0.
    pub(super) iv: [u8; NONCE_LEN],
}

impl Drop for Expanded {
    fn drop(&mut self) {
        self.iv.zeroize();
    }
}

type Cache = Vec<Option<(u64, Expanded)>>;

/// One for each thread. Under locks, so that a direction can clear up behind itself wherever it is dropped; a thread's
/// own is free but for that.
static ALL: [Mutex<Cache>; CACHES as usize] = [const { Mutex::new(Vec::new()) }; CACHES as usize];

thread_local! {
    static MINE: u8 = {
        static NEXT: AtomicU8 = AtomicU8::new(0);
        NEXT.fetch_add(1, Ordering::Relaxed) % CACHES
    };
}

/// A key's number, and in the lowest byte the cache where it rests expanded: every idle tunnel has two of these.
#[derive(Debug)]
pub(super) struct Ticket(u64);

impl Ticket {
    /// For a key that was just made.
    pub(super) fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0); // 2^56 keys: at a million a second for two thousand years
        Self(NEXT.fetch_add(1, Ordering::Relaxed) << NUMBER | u64::from(NOWHERE))
    }

    pub(super) fn number(&self) -> u64 {
        self.0 >> NUMBER
    }

    /// The cache that has it, or `NOWHERE`.
    fn at(&self) -> u8 {
        self.0.to_le_bytes()[0]
    }

    fn rest_at(&mut self, at: u8) {
        self.0 = self.number() << NUMBER | u64::from(at);
    }

    /// Lends the expanded key, made by `expand` where it is not there. Not to be called from within `work`.
    pub(super) fn with<T>(&mut self, expand: impl FnOnce() -> Option<Expanded>, work: impl FnOnce(&Expanded) -> T) -> Option<T> {
        let mine = MINE.with(|mine| *mine);
        if self.at() != mine {
            self.clear();
        }
        let mut cache = lock(mine)?;
        if cache.is_empty() {
            cache.resize_with(SLOTS, || None);
        }
        let slot = cache.get_mut(slot(self.number()))?;
        if slot.as_ref().is_none_or(|(number, _)| *number != self.number()) {
            *slot = Some((self.number(), expand()?));
            self.rest_at(mine);
        }
        slot.as_ref().map(|(_, key)| work(key))
    }

    /// Takes the expanded key out of the cache where it is.
    fn clear(&mut self) {
        let at = self.at();
        self.rest_at(NOWHERE);
        if let Some(mut cache) = lock(at)
            && let Some(slot) = cache.get_mut(slot(self.number()))
        {
            slot.take_if(|(number, _)| *number == self.number());
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.clear();
    }
}

/// Keys that are made one after the other do not push each other out.
fn slot(number: u64) -> usize {
    usize::try_from(number % SLOTS as u64).unwrap_or_default()
}

/// A panic elsewhere leaves a cache of whole entries.
fn lock(at: u8) -> Option<MutexGuard<'static, Cache>> {
    ALL.get(usize::from(at)).map(|cache| cache.lock().unwrap_or_else(PoisonError::into_inner))
}

/// In how many caches a key is.
#[cfg(test)]
pub(super) fn copies(number: u64) -> usize {
    let is = |entry: &&(u64, Expanded)| entry.0 == number;
    (0..CACHES).map(|at| lock(at).unwrap().iter().flatten().filter(is).count()).sum()
}
