//! The clocks of a tunnel: when a side is pinged or lost, when the tunnel is idle or too old, when a paused
//! direction goes on. It says when the first of them is due, and whoever drives the tunnel comes back then; that
//! time is not moved while bytes move.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::direction::Direction;
use super::passage::Seen;
use super::probe::{self, Probe, Queue};
use super::{How, RoundTrips, Settings};
use crate::base::{Moment, millis, unforeseen};
use crate::net::{Stream, may_stay_shut, notice_loss_of};

/// How long a side may take nothing before its TCP is looked at: well under `TCP_USER_TIMEOUT`, which would end
/// a peer that lives and just keeps its window shut.
const STALL_TIME: u64 = 60_000;

/// How old a tunnel is when its backend's TCP is told to notice a loss. Most of those that end at once never are: that
/// takes five system calls, and the first of the kernel's probes would come after a minute. The client's socket has it
/// from its listener.
const SETTLED_TIME: u64 = 10_000;

/// How many round trips are kept.
const ROUND_TRIPS: usize = 63;

/// One end of a tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Client,
    Backend,
}

/// What is due.
#[derive(Debug)]
pub(super) enum Due {
    /// To ping a side.
    Ping(Side, [u8; 8]),
    /// A side is lost.
    Lost(Side),
    /// To end the tunnel, with this code.
    End(How, u16),
}

/// What the clocks look at.
pub(super) struct View<'a> {
    pub(super) client: &'a Stream,
    pub(super) backend: &'a Stream,
    pub(super) up: &'a Direction,
    pub(super) down: &'a Direction,
}

impl View<'_> {
    /// The way from a side, and the send queue toward it.
    fn of(&self, side: Side) -> (bool, Queue) {
        let (from, to, stream) = match side {
            Side::Client => (self.up, self.down, self.client),
            Side::Backend => (self.down, self.up, self.backend),
        };
        let (written, waiting) = to.progress();
        let deaf = from.is_stalled() || from.paused().is_some() || from.passage.lost_track().is_some();
        (deaf, Queue { written, unsent: (waiting + stream.unsent()) as u64 })
    }
}

/// All clocks of one tunnel.
#[derive(Debug)]
pub(super) struct Watch {
    settings: Arc<Settings>,
    /// When the client last spoke, where its probe was not told.
    heard: u64,
    client: Option<Probe>,
    backend: Option<Box<Probe>>,
    /// When a data frame last moved.
    data_at: u64,
    /// When it is too old.
    ends_at: u64,
    /// When it is old enough for [`SETTLED_TIME`]; `u64::MAX`: it was.
    settles_at: u64,
    /// Since when each side takes nothing; 0: it does.
    stalled: [u64; 2],
    /// Whether its TCP may stay as it is.
    patient: [bool; 2],
    /// Nothing is due before. 0: to be looked at once.
    armed: u64,
    trips: Option<Box<Trips>>,
}

#[derive(Debug)]
struct Trips {
    pinged: Instant,
    /// In microseconds, the last ones.
    last: Vec<u32>,
    next: usize,
    min: u32,
    max: u32,
}

impl Watch {
    /// `framed`: the streams have frames, so that Pings can be put in.
    pub(super) fn new(settings: Arc<Settings>, framed: bool, now: u64) -> Self {
        let probe = |after: Option<Duration>| {
            after.filter(|_| framed).map(|after| Probe::new(millis(after), millis(settings.pong_timeout), unforeseen(), now))
        };
        let ends_at = settings.max_age.map_or(u64::MAX, |age| {
            let jitter = millis(age.jitter.min(age.time));
            now.saturating_add(millis(age.time)).saturating_sub(u64::from_ne_bytes(unforeseen()) % jitter.saturating_add(1))
        });
        Self {
            heard: now,
            client: probe(settings.ping),
            backend: probe(settings.ping_backend).map(Box::new),
            data_at: now,
            ends_at,
            settles_at: now.saturating_add(SETTLED_TIME),
            stalled: [0; 2],
            patient: [false; 2],
            armed: 0,
            trips: None,
            settings,
        }
    }

    /// Bytes came from a side. Whether a Ping that still waits for it is not needed any more.
    #[inline]
    pub(super) fn heard(&mut self, side: Side, at: &Moment) -> bool {
        match (side, &self.client, &self.backend) {
            (Side::Client, Some(probe), _) if probe.is_quiet() => {
                self.heard = at.now();
                false
            }
            (Side::Client, None, _) | (Side::Backend, _, None) => false,
            _ => self.heard_at_once(side, at.now()),
        }
    }

    fn heard_at_once(&mut self, side: Side, now: u64) -> bool {
        self.armed = 0; // the next Ping may be due before the verdict would have been
        self.probe(side).is_some_and(|probe| probe.heard(now))
    }

    /// A part of a data frame has passed, either way.
    #[inline]
    pub(super) fn saw_data(&mut self, at: &Moment) {
        if self.settings.idle.is_some() {
            self.data_at = at.now();
        }
    }

    /// What else was seen in the direction from a side.
    pub(super) fn saw(&mut self, side: Side, seen: Seen, view: &View<'_>, now: u64) {
        let (_, queue) = if seen.our_ping { view.of(side.other()) } else { (false, Queue::default()) };
        if let Some(probe) = self.probe(side) {
            if seen.pong {
                probe.answered_other();
            }
            let mut known = false;
            for _ in 0..seen.our_pongs {
                known = probe.answered();
            }
            if known && side == Side::Client {
                self.round_trip();
            }
        }
        if let Some(probe) = self.probe(side.other()) {
            if seen.ping {
                probe.pinged_by_other();
            }
            if seen.our_ping {
                probe.sent(now, queue);
                self.armed = 0;
                if side.other() == Side::Client {
                    self.pinged();
                }
            }
        }
    }

    /// What a Pong of a side has to carry to be the answer to our Ping.
    pub(super) fn expected(&mut self, side: Side) -> Option<[u8; 8]> {
        self.probe(side).and_then(|probe| probe.expected())
    }

    fn probe(&mut self, side: Side) -> Option<&mut Probe> {
        match side {
            Side::Client => self.client.as_mut(),
            Side::Backend => self.backend.as_deref_mut(),
        }
    }

    fn pinged(&mut self) {
        let pinged = Instant::now();
        match &mut self.trips {
            Some(trips) => trips.pinged = pinged,
            None => self.trips = Some(Box::new(Trips { pinged, last: Vec::new(), next: 0, min: u32::MAX, max: 0 })),
        }
    }

    fn round_trip(&mut self) {
        let Some(trips) = &mut self.trips else { return };
        let micros = u32::try_from(trips.pinged.elapsed().as_micros()).unwrap_or(u32::MAX);
        (trips.min, trips.max) = (trips.min.min(micros), trips.max.max(micros));
        match trips.last.get_mut(trips.next) {
            Some(place) => *place = micros,
            None => trips.last.push(micros),
        }
        trips.next = (trips.next + 1) % ROUND_TRIPS;
    }

    /// The round trips so far.
    pub(super) fn round_trips(&self) -> Option<RoundTrips> {
        let trips = self.trips.as_ref()?;
        let mut sorted = trips.last.clone();
        sorted.sort_unstable();
        let median = *sorted.get(sorted.len() / 2)?;
        let time = |micros: u32| Duration::from_micros(u64::from(micros));
        Some(RoundTrips { min: time(trips.min), median: time(median), max: time(trips.max) })
    }

    /// A side takes bytes, or does not.
    #[inline]
    pub(super) fn stalls(&mut self, up: bool, down: bool, at: &Moment) {
        if up || down || self.stalled != [0; 2] {
            self.stalls_now(up, down, at.now());
        }
    }

    fn stalls_now(&mut self, up: bool, down: bool, now: u64) {
        for ((since, patient), stalled) in self.stalled.iter_mut().zip(self.patient).zip([down, up]) {
            match (*since, stalled) {
                (0, true) => {
                    *since = now;
                    if self.armed > now + STALL_TIME {
                        self.armed = 0;
                    }
                }
                (1.., false) => {
                    *since = 0;
                    if patient {
                        self.armed = 0;
                    }
                }
                _ => {}
            }
        }
    }

    /// What is due now, if anything is.
    #[inline]
    pub(super) fn take_due(&mut self, view: &View<'_>, at: &Moment, fired: bool) -> Option<Due> {
        let paused = view.up.paused().unwrap_or(u64::MAX).min(view.down.paused().unwrap_or(u64::MAX));
        if self.armed != 0 && !fired && self.armed <= paused {
            return None;
        }
        self.look(at.now(), view, paused)
    }

    /// When to come back, whatever happens until then; `u64::MAX`: no need.
    #[inline]
    pub(super) fn next_look(&self) -> u64 {
        self.armed
    }

    /// Looks at every clock, and says when it is to be done next.
    fn look(&mut self, now: u64, view: &View<'_>, paused: u64) -> Option<Due> {
        let heard = self.heard;
        if let Some(client) = self.client.as_mut().filter(|probe| probe.is_quiet()) {
            client.spoke_at(heard);
        }
        if let Some(due) = self.due(now, view) {
            self.armed = 0; // there may be more than one
            return Some(due);
        }
        self.armed = self.next().min(paused).max(now + 1); // what is due now was looked at now
        None
    }

    fn due(&mut self, now: u64, view: &View<'_>) -> Option<Due> {
        if now >= self.ends_at {
            return Some(Due::End(How::Age, self.settings.max_age.map_or(1001, |age| age.code)));
        }
        if self.settings.idle.is_some_and(|idle| now >= self.data_at + millis(idle)) {
            return Some(Due::End(How::Idle, 1001));
        }
        if now >= self.settles_at {
            self.settles_at = u64::MAX;
            notice_loss_of(view.backend);
        }
        self.look_at_stalls(now, view);
        for side in [Side::Client, Side::Backend] {
            let Some(probe) = self.probe(side) else { continue };
            if probe.next().is_none_or(|next| now < next) {
                continue;
            }
            let (deaf, queue) = view.of(side);
            match probe.due(now, deaf, queue) {
                probe::Due::Nothing => {}
                probe::Due::Ping(payload) => return Some(Due::Ping(side, payload)),
                probe::Due::Lost => return Some(Due::Lost(side)),
            }
        }
        None
    }

    /// A peer that has kept its window shut for long may do so: it lives, as it answers the kernel's probes. One
    /// that acknowledges nothing is left to `TCP_USER_TIMEOUT`.
    fn look_at_stalls(&mut self, now: u64, view: &View<'_>) {
        let sides = self.stalled.iter_mut().zip(&mut self.patient).zip([view.client, view.backend]);
        for ((since, patient), stream) in sides {
            let long = *since > 0 && now >= *since + STALL_TIME;
            if long {
                *since = now; // looked at again after as long
            }
            if long != *patient && (long || *since == 0) {
                *patient = may_stay_shut(stream, long);
            }
        }
    }

    /// When something is due, as far as is known now.
    fn next(&self) -> u64 {
        let idle = self.settings.idle.map(|idle| self.data_at + millis(idle));
        let probes = [self.client.as_ref(), self.backend.as_deref()].map(|probe| probe.and_then(Probe::next));
        let stalls = self.stalled.map(|since| (since > 0).then(|| since + STALL_TIME));
        let others = probes.into_iter().chain(stalls).flatten().chain(idle);
        others.fold(self.ends_at.min(self.settles_at), u64::min)
    }
}

impl Side {
    fn other(self) -> Self {
        match self {
            Self::Client => Self::Backend,
            Self::Backend => Self::Client,
        }
    }
}
