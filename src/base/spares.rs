//! Blocks of the heap that a thread of ours keeps for what it needs next: an allocator in front of the system's.
//!
//! glibc's own cache takes 7 blocks of a size, and none above 1,032 bytes. A thread that has 64 requests at hand holds 64
//! of each, and hyper's buffers are 8 KiB: nearly all went the long way, which was a tenth of what a request cost us in
//! user space, and a quarter of a handshake. The general allocators that do better (jemalloc, mimalloc) were measured, and
//! cost a kilobyte more for each idle socket. This keeps glibc's sizes exactly, so that a block that lives long is no
//! larger, and keeps nothing on a thread that has not asked for it ([`keep_spares`]).

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::ptr::null_mut;

/// The allocator of the binary. On threads that keep no spares, and for large blocks, the system's.
#[derive(Debug, Clone, Copy, Default)]
pub struct Heap;

/// A thread keeps no more than so many bytes. 64 requests at once needed some 600 KiB, as many handshakes twice that, when an
/// exchange was twice as large as now.
const MOST_BYTES: usize = 1 << 20;
/// Nor so many bytes of one size, but so many blocks in any case.
const MOST_OF_A_SIZE: usize = 64 << 10;
const BLOCKS_OF_A_SIZE: usize = 128;

/// Sizes up to this one step by 16 bytes, as glibc's do; of those, 8 are its own.
const FINE: usize = 1_032;
/// Larger ones step by so many, up to [`LARGEST`].
const COARSE: usize = 256;
/// Buffers of hyper are 8,192 bytes, and the state of a handshake is a little larger.
const LARGEST: usize = FINE + 36 * COARSE;

const FINE_SIZES: usize = FINE / 16 + 1;
const PLAIN_SIZES: usize = FINE_SIZES + (LARGEST - FINE) / COARSE;

/// tokio's tasks and its state for a socket begin where a cache line's pair begins, at multiples of this. Their sizes are
/// such multiples too.
const WIDE: usize = 128;
const WIDE_SIZES: usize = 10_240 / WIDE;
const WIDEST: usize = WIDE_SIZES * WIDE;
const SIZES: usize = PLAIN_SIZES + WIDE_SIZES;

/// Spare blocks of one size: the first; in each, the address of the next.
struct Pile {
    top: Cell<*mut u8>,
    count: Cell<usize>,
}

struct Spares {
    /// How many bytes may still be put here.
    room: Cell<usize>,
    piles: [Pile; SIZES],
}

thread_local! {
    // Without a destructor, for which an allocator may be too early or too late: `free_spares` empties it.
    static SPARES: Spares = const {
        Spares {
            room: Cell::new(0),
            piles: [const { Pile { top: Cell::new(null_mut()), count: Cell::new(0) } }; SIZES],
        }
    };
}

/// From now on this thread keeps spares, until [`free_spares`], which it has to call before it ends.
pub fn keep_spares() {
    free_spares();
    SPARES.with(|spares| spares.room.set(MOST_BYTES));
}

/// Frees what this thread keeps, and lets it keep no more.
pub fn free_spares() {
    SPARES.with(|spares| {
        spares.room.set(0);
        for (number, pile) in spares.piles.iter().enumerate() {
            while let Some(block) = pile.take() {
                #[allow(unsafe_code)]
                // SAFETY: the block lay in the pile of its own size, so it came from `System` with this layout, and nobody
                // else has it.
                unsafe {
                    System.dealloc(block, layout_of(number));
                }
            }
        }
    });
}

impl Pile {
    fn take(&self) -> Option<*mut u8> {
        let top = self.top.get();
        if top.is_null() {
            return None;
        }
        #[allow(unsafe_code, clippy::cast_ptr_alignment)]
        // SAFETY: what is in a pile belongs to it alone, is at least 24 bytes and aligned to 16, and holds the address of the
        // next at its start.
        let next = unsafe { top.cast::<*mut u8>().read() };
        self.top.set(next);
        self.count.set(self.count.get().wrapping_sub(1));
        Some(top)
    }

    /// The block is free, and of this pile's size.
    fn put(&self, block: *mut u8) {
        #[allow(unsafe_code, clippy::cast_ptr_alignment)]
        // SAFETY: whoever frees a block gives it to us; it is at least 24 bytes and aligned to 16.
        unsafe {
            block.cast::<*mut u8>().write(self.top.get());
        }
        self.top.set(block);
        self.count.set(self.count.get().wrapping_add(1));
    }
}

/// The number of the size that a block gets: the smallest that holds it. `None`: the system's own, whatever it is.
#[inline]
fn number_of(layout: Layout) -> Option<usize> {
    match (layout.align(), layout.size()) {
        (..=16, ..=24) => Some(1), // glibc makes none smaller
        (..=16, size @ ..=FINE) => Some((size + 7) / 16),
        (..=16, size @ ..=LARGEST) => Some(FINE_SIZES + (size - FINE - 1) / COARSE),
        (WIDE, size @ 1..=WIDEST) => Some(PLAIN_SIZES + (size - 1) / WIDE),
        _ => None,
    }
}

/// The bytes of a size.
#[inline]
const fn size_of_number(number: usize) -> usize {
    match number {
        ..FINE_SIZES => number * 16 + 8,
        FINE_SIZES..PLAIN_SIZES => FINE + (number - FINE_SIZES + 1) * COARSE,
        _ => (number - PLAIN_SIZES + 1) * WIDE,
    }
}

/// How many blocks of a size are kept at most.
#[inline]
const fn most_of(number: usize) -> usize {
    let most = MOST_OF_A_SIZE / size_of_number(number);
    if most > BLOCKS_OF_A_SIZE { most } else { BLOCKS_OF_A_SIZE }
}

/// What the system is asked for, for a size: with one layout whoever asks, so that a block can be freed with it.
#[inline]
fn layout_of(number: usize) -> Layout {
    let align = if number < PLAIN_SIZES { 16 } else { WIDE };
    Layout::from_size_align(size_of_number(number), align).unwrap_or(Layout::new::<u64>())
}

#[allow(unsafe_code)] // an allocator is
// SAFETY: a block of a size comes from `System` with that size's layout, and is freed with it; it is in use or in one pile,
// never both. All others are passed on as they are. What a pile hands out is as large and as aligned as was asked for
// (`number_of`, `layout_of`). Nothing here allocates or panics.
unsafe impl GlobalAlloc for Heap {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let Some(number) = number_of(layout) else {
            // SAFETY: as we were called.
            return unsafe { System.alloc(layout) };
        };
        let spare = SPARES.with(|spares| {
            let block = spares.piles.get(number)?.take()?;
            spares.room.set(spares.room.get() + size_of_number(number));
            Some(block)
        });
        // SAFETY: the layout is not empty.
        spare.unwrap_or_else(|| unsafe { System.alloc(layout_of(number)) })
    }

    #[inline]
    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        let Some(number) = number_of(layout) else {
            // SAFETY: as we were called.
            return unsafe { System.dealloc(block, layout) };
        };
        let is_kept = SPARES.with(|spares| {
            let Some(pile) = spares.piles.get(number) else { return false };
            let Some(room) = spares.room.get().checked_sub(size_of_number(number)) else { return false };
            if pile.count.get() >= most_of(number) {
                return false;
            }
            pile.put(block);
            spares.room.set(room);
            true
        });
        if !is_kept {
            // SAFETY: a block of this number came from `System` with this layout.
            unsafe { System.dealloc(block, layout_of(number)) }
        }
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if number_of(layout).is_none() {
            // SAFETY: as we were called.
            return unsafe { System.alloc_zeroed(layout) };
        }
        // SAFETY: as we were called; what comes is null or as large as was asked for.
        unsafe {
            let block = self.alloc(layout);
            if !block.is_null() {
                block.write_bytes(0, layout.size());
            }
            block
        }
    }

    #[inline]
    unsafe fn realloc(&self, block: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        // SAFETY: the caller answers for the size, and the alignment is the block's.
        let new_layout = unsafe { Layout::from_size_align_unchecked(new_size, layout.align()) };
        match (number_of(layout), number_of(new_layout)) {
            // SAFETY: neither is ours: as we were called.
            (None, None) => unsafe { System.realloc(block, layout, new_size) },
            (old, new) if old == new => block,
            // SAFETY: two blocks that do not overlap, of at least the sizes named; the old one is freed as it was made.
            _ => unsafe {
                let moved = self.alloc(new_layout);
                if !moved.is_null() {
                    block.copy_to_nonoverlapping(moved, layout.size().min(new_size));
                    self.dealloc(block, layout);
                }
                moved
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(size: usize) -> Layout {
        Layout::from_size_align(size, 8).unwrap()
    }

    #[test]
    fn a_size_holds_what_gets_it_and_the_next_smaller_one_would_not() {
        for size in 1..=LARGEST {
            let number = number_of(layout(size)).unwrap();
            assert!(number < SIZES && layout_of(number).size() >= size, "{size}");
            assert!(number == 1 || layout_of(number - 1).size() < size, "{size}");
            let waste = if size <= FINE { 16 } else { COARSE };
            assert!(size < 24 || layout_of(number).size() - size < waste, "{size}");
        }
        assert_eq!(number_of(layout(LARGEST + 1)), None);
        assert_eq!(number_of(Layout::from_size_align(64, 64).unwrap()), None);
        for size in 1..=WIDEST {
            let number = number_of(Layout::from_size_align(size, WIDE).unwrap()).unwrap();
            let layout = layout_of(number);
            assert!(number < SIZES && layout.align() == WIDE && (size..size + WIDE).contains(&layout.size()), "{size}");
        }
        assert_eq!(number_of(Layout::from_size_align(WIDEST + 1, WIDE).unwrap()), None);
    }

    #[test]
    fn up_to_a_kilobyte_a_block_is_as_large_as_glibc_makes_it() {
        let glibc = |size: usize| ((size + 8).next_multiple_of(16)).max(32) - 8;
        for size in 24..=FINE {
            assert_eq!(layout_of(number_of(layout(size)).unwrap()).size(), glibc(size), "{size}");
        }
    }

    /// Takes and frees blocks in an order that chance gives, and looks whether one was given out twice or lost its bytes.
    fn exercise(rounds: u64) {
        let mut alive: Vec<(*mut u8, Layout, u8)> = Vec::new();
        let mut state = 88_172_645_463_325_252_u64;
        for round in 0..rounds {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            let size = 1 + usize::try_from(state >> 20).unwrap() % [40, 700, 9_000, 20_000][usize::try_from(state & 3).unwrap()];
            let mark = u8::try_from(round % 251).unwrap();
            #[allow(unsafe_code)]
            // SAFETY: layouts are not empty, each block is freed once with the layout that it was made with, and only the
            // bytes that were asked for are touched.
            unsafe {
                if alive.len() < 300 && state & 4 == 0 {
                    let align = if state & 32 == 0 { 8 } else { 128 };
                    let layout = Layout::from_size_align(size, align).unwrap();
                    let block = if state & 8 == 0 { Heap.alloc(layout) } else { Heap.alloc_zeroed(layout) };
                    assert!(!block.is_null() && block.addr().is_multiple_of(align.max(16)));
                    if state & 8 != 0 {
                        assert!(std::slice::from_raw_parts(block, size).iter().all(|byte| *byte == 0));
                    }
                    block.write_bytes(mark, size);
                    alive.push((block, layout, mark));
                } else if !alive.is_empty() {
                    let at = usize::try_from(state >> 8).unwrap() % alive.len();
                    let (mut block, mut old, mark) = alive.swap_remove(at);
                    if state & 16 == 0 {
                        block = Heap.realloc(block, old, size);
                        let new = Layout::from_size_align(size, old.align()).unwrap();
                        old = layout(size.min(old.size()));
                        let kept = std::slice::from_raw_parts(block, old.size());
                        assert!(kept.iter().all(|byte| *byte == mark));
                        Heap.dealloc(block, new);
                        continue;
                    }
                    assert!(std::slice::from_raw_parts(block, old.size()).iter().all(|byte| *byte == mark));
                    Heap.dealloc(block, old);
                }
            }
        }
        for (block, layout, _) in alive {
            #[allow(unsafe_code)]
            // SAFETY: as above.
            unsafe {
                Heap.dealloc(block, layout);
            }
        }
    }

    fn kept() -> (usize, usize) {
        SPARES.with(|spares| {
            let bytes = spares.piles.iter().enumerate();
            let bytes = bytes.map(|(number, pile)| size_of_number(number) * pile.count.get()).sum();
            (bytes, spares.room.get())
        })
    }

    #[test]
    fn a_block_is_given_to_one_at_a_time_and_keeps_its_bytes() {
        exercise(20_000);
        assert_eq!(kept(), (0, 0), "on a thread that did not ask for it nothing is kept");
        keep_spares();
        exercise(100_000);
        let (bytes, room) = kept();
        assert!(bytes > 0 && bytes + room == MOST_BYTES, "{bytes} {room}");
        free_spares();
        assert_eq!(kept(), (0, 0));
    }

    #[test]
    fn a_thread_keeps_no_more_than_it_may() {
        keep_spares();
        let blocks = |size: usize| {
            #[allow(unsafe_code)]
            // SAFETY: layouts are not empty, and each block is freed as it was made.
            unsafe {
                let blocks: Vec<_> = (0..1000).map(|_| Heap.alloc(layout(size))).collect();
                for block in blocks {
                    Heap.dealloc(block, layout(size));
                }
            }
        };
        blocks(100);
        assert_eq!(kept().0, 104 * (65_536 / 104));
        for size in (1_000..9_000).step_by(500) {
            blocks(size);
        }
        assert!(kept().0 <= MOST_BYTES && kept().1 < 9_000, "{:?}", kept());
        free_spares();
    }
}
