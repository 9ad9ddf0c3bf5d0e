//! An allocator that counts, so that the octets that a value keeps can be told exactly.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

/// The system's allocator, which counts the octets that each thread has taken and not given back.
/// What another thread gives back is counted there.
pub(crate) struct Counting;

thread_local! {
    static LIVE: Cell<isize> = const { Cell::new(0) };
}

/// Octets that this thread has taken and not given back, as they were asked for: the allocator's
/// own overhead, 8 octets and rounding to 16 with glibc, is not among them.
#[must_use]
pub(crate) fn live() -> isize {
    LIVE.get()
}

fn count(change: isize) {
    // A thread that is ending may have lost its counter; nobody asks it any more.
    let _ = LIVE.try_with(|live| live.set(live.get().wrapping_add(change)));
}

// SAFETY: every method hands its arguments to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size().cast_signed());
        // SAFETY: the caller's promises are those that are asked here.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size().cast_signed());
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        count(-layout.size().cast_signed());
        // SAFETY: as above.
        unsafe { System.dealloc(block, layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        count(new_size.cast_signed() - layout.size().cast_signed());
        // SAFETY: as above.
        unsafe { System.realloc(block, layout, new_size) }
    }
}
