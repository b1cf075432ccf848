//! Pure: when whose time has come: one wheel for all tunnels of a thread, told the time in milliseconds.
//!
//! A hashed timing wheel in levels (Varghese and Lauck): setting and clearing take the same few steps however many
//! there are. A level has 64 slots, each as long as the whole level below; what stands in a slot of a higher level
//! is put into the lower ones when its slot begins. Six levels hold two years; what is later waits in the last slot
//! and is put back.

/// Slots of a level, as a power of two.
const BITS: u32 = 6;
const SLOTS: usize = 1 << BITS;
const LEVELS: usize = 6;
/// How long a slot of the last level is, as a power of two.
const LAST_SHIFT: u32 = BITS * 5;
/// No key.
const NONE: u32 = u32::MAX;

/// Times by key; keys are small numbers, those of a slab.
#[derive(Debug)]
pub(super) struct Wheel {
    /// Everything before this has been told.
    now: u64,
    /// The first key of each slot.
    heads: [[u32; SLOTS]; LEVELS],
    /// Which slots of a level have any.
    taken: [u64; LEVELS],
    links: Vec<Link>,
}

/// A key's place: the list of a slot goes both ways.
#[derive(Clone, Copy, Debug)]
struct Link {
    at: u64,
    before: u32,
    behind: u32,
    /// Level and slot; `NONE`: nowhere.
    place: u32,
}

const UNSET: Link = Link { at: u64::MAX, before: NONE, behind: NONE, place: NONE };

impl Wheel {
    /// Gives back the room for keys, where none is set.
    pub(super) fn shrink(&mut self) {
        if self.taken.iter().all(|taken| *taken == 0) {
            self.links = Vec::new();
        }
    }

    pub(super) fn new(now: u64) -> Self {
        Self { now, heads: [[NONE; SLOTS]; LEVELS], taken: [0; LEVELS], links: Vec::new() }
    }

    /// What a key is set for; `u64::MAX`: nothing.
    #[inline]
    pub(super) fn at(&self, key: u32) -> u64 {
        self.links.get(key as usize).map_or(u64::MAX, |link| link.at)
    }

    /// Sets a key, also one that was set, for this time; `u64::MAX` clears it.
    pub(super) fn set(&mut self, key: u32, at: u64) {
        let index = key as usize;
        if index >= self.links.len() {
            if at == u64::MAX {
                return;
            }
            self.links.resize(index + 1, UNSET);
        }
        self.take_out(key);
        if at != u64::MAX {
            self.put(key, at);
        }
    }

    /// Takes out one whose time has come, if there is any.
    pub(super) fn expired(&mut self, now: u64) -> Option<u32> {
        loop {
            let (level, slot, begins) = self.first()?;
            if begins > now {
                return None;
            }
            self.now = self.now.max(begins);
            let key = *self.heads.get(level)?.get(slot)?;
            let at = self.at(key);
            self.take_out(key);
            if at <= self.now.max(begins) {
                return Some(key);
            }
            self.put(key, at); // into a lower level, now that its slot has begun
        }
    }

    /// When to look again; never later than the first time that is set.
    pub(super) fn next(&self) -> Option<u64> {
        self.first().map(|(.., begins)| begins)
    }

    /// The first slot with keys: level, slot, and when it begins.
    fn first(&self) -> Option<(usize, usize, u64)> {
        let slots = self.taken.iter().enumerate().filter(|(_, taken)| **taken != 0).map(|(level, taken)| {
            let shift = BITS * u32::try_from(level).unwrap_or(0);
            let current = self.now >> shift;
            let ahead = taken.rotate_right(u32::try_from(current % SLOTS as u64).unwrap_or(0)).trailing_zeros();
            let begins = (current + u64::from(ahead)) << shift;
            let slot = (current + u64::from(ahead)) % SLOTS as u64;
            (level, usize::try_from(slot).unwrap_or(0), begins.max(self.now))
        });
        // Of two that begin together the higher level goes first: it may hold something for the lower one.
        slots.min_by_key(|(level, _, begins)| (*begins, LEVELS - level))
    }

    fn put(&mut self, key: u32, at: u64) {
        let due = at.max(self.now);
        let apart = due ^ self.now;
        let level = ((u64::BITS - apart.leading_zeros()).saturating_sub(1) / BITS) as usize;
        let (level, slot) = if level < LEVELS {
            (level, (due >> (BITS * u32::try_from(level).unwrap_or(0))) % SLOTS as u64)
        } else {
            // Beyond this turn of the last level. Its slot comes in this turn or the next, and it is put back until it
            // is the right one; the slot of now, which has begun, is the one before.
            let (slot, current) = (due >> LAST_SHIFT, self.now >> LAST_SHIFT);
            (LEVELS - 1, if (slot ^ current) % SLOTS as u64 == 0 { slot.wrapping_sub(1) } else { slot } % SLOTS as u64)
        };
        let slot = usize::try_from(slot).unwrap_or(0);
        let (Some(heads), Some(taken)) = (self.heads.get_mut(level), self.taken.get_mut(level)) else { return };
        let Some(head) = heads.get_mut(slot) else { return };
        let behind = std::mem::replace(head, key);
        *taken |= 1 << slot;
        if let Some(link) = self.links.get_mut(behind as usize) {
            link.before = key;
        }
        if let Some(link) = self.links.get_mut(key as usize) {
            *link = Link { at, before: NONE, behind, place: u32::try_from(level * SLOTS + slot).unwrap_or(NONE) };
        }
    }

    fn take_out(&mut self, key: u32) {
        let Some(link) = self.links.get_mut(key as usize) else { return };
        let Link { before, behind, place, .. } = std::mem::replace(link, UNSET);
        if place == NONE {
            return;
        }
        if let Some(link) = self.links.get_mut(behind as usize) {
            link.before = before;
        }
        if let Some(link) = self.links.get_mut(before as usize) {
            link.behind = behind;
            return;
        }
        let (level, slot) = (place as usize / SLOTS, place as usize % SLOTS);
        if let Some(head) = self.heads.get_mut(level).and_then(|heads| heads.get_mut(slot)) {
            *head = behind;
        }
        if behind == NONE
            && let Some(taken) = self.taken.get_mut(level)
        {
            *taken &= !(1 << slot);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    #[test]
    fn what_is_far_off_comes_at_its_time() {
        let mut wheel = Wheel::new(1_000_003);
        for (key, far) in [(1, 1u64 << 37), (2, 1 << 20), (3, 1 << 45)] {
            wheel.set(key, 1_000_003 + far);
        }
        let mut told = Vec::new();
        while told.len() < 3 {
            let now = wheel.next().expect("some are set");
            while let Some(key) = wheel.expired(now) {
                told.push((key, now));
            }
        }
        assert_eq!(told, [(2, 1_000_003 + (1 << 20)), (1, 1_000_003 + (1 << 37)), (3, 1_000_003 + (1 << 45))]);
        wheel.shrink();
        assert!(wheel.links.capacity() == 0 && wheel.at(2) == u64::MAX);
        wheel.set(2, 2 << 45);
        wheel.shrink();
        assert_eq!(wheel.at(2), 2 << 45);
    }

    proptest! {
        #[test]
        fn each_is_told_at_its_time_and_once(
            start in 0..1u64 << 40,
            steps in prop::collection::vec((0..40u32, prop_oneof![0..200u64, 0..100_000u64, 0..1u64 << 34, Just(u64::MAX)], 0..5000u64), 1..200),
        ) {
            let mut wheel = Wheel::new(start);
            let mut model: BTreeMap<u32, u64> = BTreeMap::new();
            let mut now = start;
            for (key, after, pass) in steps {
                let at = if after == u64::MAX { after } else { now + after };
                wheel.set(key, at);
                model.insert(key, at);
                prop_assert_eq!(wheel.at(key), at);
                let first = model.values().copied().min().filter(|at| *at != u64::MAX);
                prop_assert_eq!(wheel.next().is_some(), first.is_some());
                prop_assert!(wheel.next().is_none_or(|next| next <= first.unwrap_or(0).max(now)));
                now += pass;
                let mut told = Vec::new();
                while let Some(key) = wheel.expired(now) {
                    told.push(key);
                }
                told.sort_unstable();
                let due: Vec<u32> = model.iter().filter(|(_, at)| **at <= now).map(|(key, _)| *key).collect();
                prop_assert_eq!(told, due);
                model.retain(|_, at| *at > now);
            }
        }
    }
}
