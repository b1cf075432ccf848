//! Many tunnels in one task: a slab of them over a poller of their own, and one wheel for all their clocks.
//!
//! An idle tunnel is its state and a few words; an event finds it by number. What a tunnel does with its turn is not
//! known here, nor what it is counted under.

use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use slab::Slab;
use tokio::time::{Sleep, sleep_until};

use super::task::let_others;
use super::watch::Side;
use super::wheel::Wheel;
use super::{Next, Report, Traffic, Tunnel, Word};
use crate::base::{Moment, Shutdown, Tasks, instant};
use crate::net::{EVENTS, Pipe, Poller, Readiness, Woken, outbox};

/// How often the kernel is asked for more events in one turn, before other tasks of the thread get theirs.
const TURN_BATCHES: usize = 4;

/// The room of a crowd of more than so many is given back, so many milliseconds after the last has left: those who were
/// cut off come again within seconds.
const MANY: usize = 1024;
const KEPT_TIME: u64 = 60_000;

/// Who a tunnel belongs to.
pub trait Owner: Send + 'static {
    /// Where its bytes are counted.
    fn traffic(&self) -> &Traffic;
    /// It is over, and its streams are closed. An owner that is dropped instead had a tunnel that panicked.
    fn over(self, report: Report);
}

/// The way to the engines of a process, one for each thread of it.
#[derive(Debug)]
pub struct Engines<O>(Arc<[Arc<Door<O>>]>);

impl<O> Clone for Engines<O> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

/// What an engine shows to others.
#[derive(Debug)]
struct Door<O> {
    poller: Arc<Poller>,
    inbox: Mutex<Inbox<O>>,
    /// How many tunnels it has, those in the inbox among them.
    alive: AtomicUsize,
}

#[derive(Debug)]
struct Inbox<O> {
    tunnels: Vec<(Tunnel, O)>,
    waker: Option<Waker>,
}

impl<O> Door<O> {
    fn inbox(&self) -> MutexGuard<'_, Inbox<O>> {
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<O: Owner> Engines<O> {
    /// So many. Each has to be driven by a task, see [`Engines::engine`].
    pub fn new(count: usize) -> io::Result<Self> {
        let door = |_| {
            let inbox = Mutex::new(Inbox { tunnels: Vec::new(), waker: None });
            Ok(Arc::new(Door { poller: Arc::new(Poller::new()?), inbox, alive: AtomicUsize::new(0) }))
        };
        (0..count.max(1)).map(door).collect::<io::Result<_>>().map(Self)
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// The future that drives one of them; inside the runtime that is to drive it. Runs until `shutdown` is through its
    /// grace and all its tunnels are over. A panic in a tunnel ends that tunnel, and is told to `tasks`.
    pub fn engine(&self, number: usize, shutdown: &Shutdown, tasks: Tasks) -> io::Result<Engine<O>> {
        let door = self.0.get(number % self.0.len()).cloned().ok_or(io::ErrorKind::NotFound)?;
        let (draining, ended) = (shutdown.clone(), shutdown.clone());
        let now = Moment::new().now();
        Ok(Engine {
            events: Woken::new(door.poller.clone())?,
            door,
            tunnels: Slab::new(),
            wheel: Wheel::new(now),
            again: VecDeque::new(),
            batch: Vec::with_capacity(EVENTS),
            sleep: Box::pin(sleep_until(instant(now))),
            empty_since: None,
            word: Word::Live,
            draining: Box::pin(async move { draining.draining().await }),
            ended: Box::pin(async move { ended.ended().await }),
            tasks,
        })
    }

    /// Gives a tunnel to the engine with the fewest, or to the one with this number if that has `NEAR_MORE` more at most.
    /// It comes back where it does not stand on sockets alone.
    pub fn adopt(&self, tunnel: Tunnel, owner: O, near: usize) -> Result<(), Box<(Tunnel, O)>> {
        if !tunnel.has_sockets() {
            return Err(Box::new((tunnel, owner)));
        }
        let load = |door: &Arc<Door<O>>| door.alive.load(Ordering::Relaxed);
        let Some(least) = self.0.iter().min_by_key(|door| load(door)) else { return Err(Box::new((tunnel, owner))) };
        let door = self.0.get(near).filter(|door| load(door) <= load(least) + NEAR_MORE).unwrap_or(least);
        door.alive.fetch_add(1, Ordering::Relaxed);
        let mut inbox = door.inbox();
        inbox.tunnels.push((tunnel, owner));
        let waker = inbox.waker.take();
        drop(inbox);
        if let Some(waker) = waker {
            waker.wake();
        }
        Ok(())
    }
}

/// How many more tunnels the near engine may have than the one with the fewest: a tunnel whose bytes are warm in this
/// thread's cache is worth a little imbalance, and 64 busy sockets are not to be spread by chance.
const NEAR_MORE: usize = 1;

/// One engine, as a future.
pub struct Engine<O> {
    events: Woken,
    door: Arc<Door<O>>,
    tunnels: Slab<Entry<O>>,
    wheel: Wheel,
    /// Those with bytes left to move.
    again: VecDeque<u32>,
    /// A batch of events; empty between turns.
    batch: Vec<(u64, Readiness)>,
    sleep: Pin<Box<Sleep>>,
    /// Since when there is none, where there were many; in milliseconds.
    empty_since: Option<u64>,
    word: Word,
    draining: Pin<Box<dyn Future<Output = ()> + Send>>,
    ended: Pin<Box<dyn Future<Output = ()> + Send>>,
    tasks: Tasks,
}

impl<O> std::fmt::Debug for Engine<O> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").field("tunnels", &self.tunnels.len()).finish_non_exhaustive()
    }
}

/// Which tunnel's socket has this name.
fn place(token: u64) -> (usize, Side) {
    ((token >> 1) as usize, if token & 1 == 0 { Side::Client } else { Side::Backend })
}

struct Entry<O> {
    tunnel: Tunnel,
    owner: O,
    /// It is among those of `again`.
    queued: bool,
}

// Nothing in it is pinned in place: what has to be is boxed.
impl<O> Unpin for Engine<O> {}

impl<O: Owner> Future for Engine<O> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        this.take_in(cx);
        this.hear_word(cx);
        let more = this.take_events(cx);
        this.go_on(cx);
        this.tell_time(cx);
        if this.word == Word::Now && this.tunnels.is_empty() {
            return Poll::Ready(());
        }
        if more || !this.again.is_empty() {
            let_others(cx);
        }
        Poll::Pending
    }
}

impl<O: Owner> Engine<O> {
    /// New tunnels. Each has its first turn at once: bytes may stand in front of its streams.
    fn take_in(&mut self, cx: &mut Context<'_>) {
        let mut inbox = self.door.inbox();
        if inbox.waker.as_ref().is_none_or(|waker| !waker.will_wake(cx.waker())) {
            inbox.waker = Some(cx.waker().clone());
        }
        if inbox.tunnels.is_empty() {
            return;
        }
        let tunnels = std::mem::take(&mut inbox.tunnels);
        drop(inbox);
        self.empty_since = None;
        for (tunnel, owner) in tunnels {
            let entry = self.tunnels.vacant_entry();
            let key = entry.key();
            let entry = entry.insert(Entry { tunnel, owner, queued: false });
            // One that cannot be watched (the kernel has no memory for it) ends as if both sides were lost.
            if entry.tunnel.watch(&self.door.poller, key as u64).is_err() {
                entry.tunnel.give_up();
            }
            self.turn(key, &Moment::new(), cx);
        }
    }

    /// The end of the process concerns all.
    fn hear_word(&mut self, cx: &mut Context<'_>) {
        let before = self.word;
        if self.word == Word::Live && self.draining.as_mut().poll(cx).is_ready() {
            self.word = Word::Drain;
        }
        if self.word == Word::Drain && self.ended.as_mut().poll(cx).is_ready() {
            self.word = Word::Now;
        }
        if self.word != before {
            let keys: Vec<usize> = self.tunnels.iter().map(|(key, _)| key).collect();
            for key in keys {
                self.turn(key, &Moment::new(), cx);
            }
        }
    }

    /// What the kernel has to tell. Whether there may be more.
    fn take_events(&mut self, cx: &mut Context<'_>) -> bool {
        for _ in 0..TURN_BATCHES {
            let mut events = std::mem::take(&mut self.batch);
            if self.events.poll_take(cx, &mut events).is_pending() {
                self.batch = events;
                return false;
            }
            let at = Moment::new();
            let several = events.len() > 1; // one has nobody to wait for
            for (token, readiness) in events.drain(..) {
                // A tunnel that ended earlier in this batch has left its number, and nobody has taken it yet.
                let (key, side) = place(token);
                if let Some(entry) = self.tunnels.get_mut(key) {
                    if several {
                        outbox::open();
                    }
                    entry.tunnel.note(side, readiness);
                    self.turn(key, &at, cx);
                    if outbox::is_full() {
                        self.send_out(cx);
                    }
                }
            }
            self.send_out(cx);
            self.batch = events;
        }
        true
    }

    /// Sends what was written within the batch.
    fn send_out(&mut self, cx: &mut Context<'_>) {
        let mut kept = Vec::new();
        outbox::send(|token, bytes| {
            let (key, side) = place(token.into());
            if let Some(entry) = self.tunnels.get_mut(key)
                && entry.tunnel.send_late(side, bytes)
            {
                kept.push(key);
            }
        });
        for key in kept {
            self.turn(key, &Moment::new(), cx);
        }
    }

    /// Those that had more to move than one turn may.
    fn go_on(&mut self, cx: &mut Context<'_>) {
        let at = Moment::new();
        for _ in 0..self.again.len() {
            let Some(key) = self.again.pop_front() else { return };
            if let Some(entry) = self.tunnels.get_mut(key as usize) {
                entry.queued = false;
                self.turn(key as usize, &at, cx);
            }
        }
    }

    /// Those whose time has come; then the timer is set for the next.
    fn tell_time(&mut self, cx: &mut Context<'_>) {
        loop {
            let room_goes = self.empty_since.map(|since| since + KEPT_TIME);
            let Some(next) = self.wheel.next().or(room_goes) else { return };
            let next = instant(next);
            if self.sleep.deadline() != next {
                self.sleep.as_mut().reset(next);
            }
            if self.sleep.as_mut().poll(cx).is_pending() {
                return;
            }
            let at = Moment::new();
            if room_goes.is_some_and(|time| time <= at.now()) {
                self.empty_since = None;
                self.tunnels.shrink_to_fit();
                self.wheel.shrink();
            }
            while let Some(key) = self.wheel.expired(at.now()) {
                self.turn_at(key as usize, &at, true, cx);
            }
        }
    }

    /// One tunnel's turn, whose time may have come as well.
    #[inline]
    fn turn(&mut self, key: usize, at: &Moment, cx: &mut Context<'_>) {
        #[allow(clippy::cast_possible_truncation)] // two sockets each: the kernel has no 2^33 descriptors
        let set = self.wheel.at(key as u32);
        self.turn_at(key, at, set != u64::MAX && at.now() >= set, cx);
    }

    /// One tunnel's turn. `fired`: it wanted to be polled at this time, or before.
    fn turn_at(&mut self, key: usize, at: &Moment, fired: bool, cx: &mut Context<'_>) {
        let Some(entry) = self.tunnels.get_mut(key) else { return };
        let word = self.word;
        #[allow(clippy::cast_possible_truncation)] // two sockets each: the kernel has no 2^33 descriptors
        let number = key as u32;
        let set = self.wheel.at(number);
        let step = || entry.tunnel.poll(cx, entry.owner.traffic(), at, fired, word);
        match self.tasks.contain("tunnel", step) {
            Some(Next::Over) => {
                let Entry { tunnel, owner, .. } = self.leave(key, number);
                owner.over(tunnel.into_report());
            }
            None => drop(self.leave(key, number)),
            Some(next) => {
                if next == Next::Again && !entry.queued {
                    entry.queued = true;
                    self.again.push_back(number);
                }
                let wake_at = entry.tunnel.wake_at();
                if wake_at != set {
                    self.wheel.set(number, wake_at);
                }
            }
        }
    }

    fn leave(&mut self, key: usize, number: u32) -> Entry<O> {
        self.wheel.set(number, u64::MAX);
        self.door.alive.fetch_sub(1, Ordering::Relaxed);
        let entry = self.tunnels.remove(key);
        if self.tunnels.is_empty() {
            Pipe::close_spare();
            if self.tunnels.capacity() > MANY {
                self.empty_since = Some(Moment::new().now());
            }
        }
        entry
    }
}
