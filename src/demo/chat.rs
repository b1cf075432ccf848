//! The chat: one room, what is said in it goes to all, the last messages to whoever comes.
//!
//! Bounded everywhere: message size, history, the queue between room and sockets (one for all), the pace
//! of a speaker, the patience with a reader. Not durable, and nobody is who they say they are.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::broadcast::{self, error::RecvError};
use tokio::time::{Instant, sleep_until};
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};

use super::socket::{End, Event, Socket};
use super::traffic::{Present, Traffic, now_ms};
use crate::base::Shutdown;

/// The largest frame from a visitor: a text of `TEXT` characters, each escaped in JSON, fits.
pub(super) const MAX: usize = 16 << 10;
/// How long one message may take to leave for a visitor before that one is dropped.
pub(super) const WRITE_TIME: Duration = Duration::from_secs(5);
/// Messages kept for newcomers.
const HISTORY: usize = 50;
/// Messages a socket may be behind. They are shared by all sockets, not copied for each.
const QUEUE: usize = 64;
const NAME: usize = 32;
const TEXT: usize = 1000;
/// A speaker may say this many at once, then one per `STEP`; what comes faster waits in its own socket.
const BURST: u32 = 20;
const STEP: Duration = Duration::from_millis(100);

/// One message as it is sent: `{"id", "name", "text", "at"}`, `at` in milliseconds since 1970.
#[derive(Clone, Debug)]
pub(super) struct Said {
    /// Counts up from 1.
    pub(super) id: u64,
    /// The JSON.
    pub(super) json: Utf8Bytes,
}

/// The room.
#[derive(Debug)]
pub(super) struct Room {
    // Said under the lock, so that history and queue agree on what comes after what.
    history: Mutex<VecDeque<Said>>,
    news: broadcast::Sender<Said>,
    count: AtomicU64,
    guests: AtomicU64,
}

impl Room {
    pub(super) fn new() -> Self {
        Self {
            history: Mutex::new(VecDeque::with_capacity(HISTORY)),
            news: broadcast::Sender::new(QUEUE),
            count: AtomicU64::new(0),
            guests: AtomicU64::new(0),
        }
    }

    /// Says something to all.
    pub(super) fn say(&self, name: &str, text: &str) {
        let mut history = self.lock();
        let id = self.count.fetch_add(1, Relaxed) + 1;
        let json = serde_json::json!({ "id": id, "name": name, "text": text, "at": now_ms() }).to_string();
        let said = Said { id, json: json.into() };
        if history.len() == HISTORY {
            history.pop_front();
        }
        history.push_back(said.clone());
        // An error says that the room is empty.
        self.news.send(said).ok();
    }

    /// What was said after message `after` (as far as it is remembered), and all that will be said from now on.
    pub(super) fn listen(&self, after: u64) -> (Vec<Said>, broadcast::Receiver<Said>) {
        let history = self.lock();
        (history.iter().filter(|said| said.id > after).cloned().collect(), self.news.subscribe())
    }

    /// The number of the newest message.
    pub(super) fn newest(&self) -> u64 {
        self.count.load(Relaxed)
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Said>> {
        // Nothing in there can be half done: a poisoned lock is as good as any.
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One visitor's stay, until one side ends it.
pub(super) async fn converse<S>(socket: &mut Socket<S>, room: &Room, traffic: &Traffic, shutdown: &Shutdown) -> End
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let _present = Present::new(&traffic.people);
    let mut guest = Guest::new(room.guests.fetch_add(1, Relaxed) + 1);
    traffic.tell("chat", format_args!("{} joined, {} here", guest.name, traffic.people.load(Relaxed)));
    let (history, mut news) = room.listen(0);
    for said in history {
        if let Err(end) = socket.send(Message::Text(said.json)).await {
            return guest.leaves(traffic, end);
        }
    }
    loop {
        let sent = tokio::select! {
            event = socket.event(), if guest.may_speak() => match event {
                Event::Text(text) => {
                    guest.speaks(&text, room, traffic);
                    Ok(())
                }
                Event::Binary(_) => Err(End::Ours(CloseCode::Unsupported)),
                Event::Silence => socket.ping().await,
                Event::End(end) => Err(end),
            },
            () = sleep_until(guest.speaks_again()), if !guest.may_speak() => Ok(()),
            said = news.recv() => match said {
                Ok(said) => socket.send(Message::Text(said.json)).await,
                Err(RecvError::Lagged(_)) => Err(End::Slow),
                Err(RecvError::Closed) => Err(End::Ours(CloseCode::Away)),
            },
            () = shutdown.draining() => Err(End::Ours(CloseCode::Away)),
        };
        if let Err(end) = sent {
            return guest.leaves(traffic, end);
        }
    }
}

struct Guest {
    name: String,
    /// When the next message would be due at one per `STEP`; may run ahead of the clock by the burst.
    due: Instant,
}

impl Guest {
    fn new(number: u64) -> Self {
        Self { name: format!("guest {number}"), due: Instant::now() }
    }

    /// One text frame: `{"name", "text"}`, either may be missing; what is no such object is itself the text,
    /// so that a person with `websocat` can simply type.
    fn speaks(&mut self, frame: &str, room: &Room, traffic: &Traffic) {
        self.due = self.due.max(Instant::now()) + STEP;
        let spoken = serde_json::from_str(frame).ok().filter(serde_json::Value::is_object);
        let field = |key: &str| spoken.as_ref().and_then(|value| value.get(key)?.as_str());
        let name = cleaned(field("name").unwrap_or_default(), NAME);
        if !name.is_empty() && name != self.name {
            traffic.tell("chat", format_args!("{} is now {name}", self.name));
            self.name = name;
        }
        let text = cleaned(if spoken.is_some() { field("text").unwrap_or_default() } else { frame }, TEXT);
        if !text.is_empty() {
            traffic.messages.fetch_add(1, Relaxed);
            room.say(&self.name, &text);
            let (length, people) = (text.chars().count(), traffic.people.load(Relaxed));
            traffic.tell("chat", format_args!("{} said {length} characters to {people}", self.name));
        }
    }

    fn speaks_again(&self) -> Instant {
        self.due.checked_sub(STEP * (BURST - 1)).unwrap_or(self.due)
    }

    fn may_speak(&self) -> bool {
        self.speaks_again() <= Instant::now()
    }

    fn leaves(self, traffic: &Traffic, end: End) -> End {
        traffic.tell("chat", format_args!("{} left: {end}", self.name));
        end
    }
}

/// Trimmed, without control characters (they would reach terminals), at most `max` characters.
fn cleaned(text: &str, max: usize) -> String {
    let visible = text.trim().chars().map(|c| if c == '\n' || c == '\t' { ' ' } else { c });
    visible.filter(|c| !c.is_control()).take(max).collect()
}

#[cfg(test)]
mod unit {
    use super::*;
    use futures_util::StreamExt as _;
    use tokio_tungstenite::WebSocketStream;
    use tokio_tungstenite::tungstenite::protocol::Role;

    #[test]
    fn a_visitors_control_characters_reach_no_terminal() {
        assert_eq!(cleaned(" \x1b[31mred\u{9b}1m\r\nblue\x07 ", 100), "[31mred1m blue");
        assert_eq!(cleaned(&"ä".repeat(99), 3), "äää");
    }

    #[test]
    fn the_room_remembers_fifty() {
        let room = Room::new();
        for n in 0..120 {
            room.say("x", &n.to_string());
        }
        let ids: Vec<_> = room.listen(0).0.iter().map(|said| said.id).collect();
        assert_eq!(ids, (71..=120).collect::<Vec<_>>());
        assert_eq!(room.listen(118).0.len(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_speaker_has_a_burst_and_then_a_pace() {
        let (room, traffic, mut guest) = (Room::new(), Traffic::new(), Guest::new(1));
        let mut before_pause = 0;
        while guest.may_speak() {
            guest.speaks("hello", &room, &traffic);
            before_pause += 1;
        }
        assert_eq!(before_pause, BURST);
        tokio::time::advance(STEP).await;
        assert!(guest.may_speak());
        guest.speaks("hello", &room, &traffic);
        assert!(!guest.may_speak());
    }

    #[tokio::test(start_paused = true)]
    async fn a_reader_that_stops_is_dropped_after_its_time_and_holds_nobody_up() {
        let (room, traffic, shutdown) = (Room::new(), Traffic::new(), Shutdown::new());
        let started = Instant::now();
        let visit = async |io| {
            let mut socket = Socket::new(io, MAX, WRITE_TIME).await;
            (converse(&mut socket, &room, &traffic, &shutdown).await, started.elapsed())
        };
        let (stalled, _unread) = tokio::io::duplex(4 << 10);
        let (healthy, theirs) = tokio::io::duplex(4 << 10);
        let flood = async {
            let mut theirs = WebSocketStream::from_raw_socket(theirs, Role::Client, None).await;
            while traffic.people.load(Relaxed) < 2 {
                tokio::task::yield_now().await;
            }
            for said in 0..1000_u32 {
                room.say("flood", &"x".repeat(TEXT));
                assert!(matches!(theirs.next().await, Some(Ok(Message::Text(_)))), "{said}");
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            shutdown.drain();
            theirs // open until all is over
        };
        let ((stalled, stalled_end), (healthy, healthy_end), _) = tokio::join!(visit(stalled), visit(healthy), flood);
        assert_eq!(stalled, End::Slow);
        assert!(stalled_end >= WRITE_TIME && stalled_end < 2 * WRITE_TIME, "{stalled_end:?}");
        assert_eq!(healthy, End::Ours(CloseCode::Away));
        assert!(healthy_end >= 2 * WRITE_TIME, "{healthy_end:?}");
    }
}
