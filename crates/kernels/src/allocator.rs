//! Large buffers that start a line of the cache.

use std::alloc::{GlobalAlloc, Layout, System};
use std::ptr::null_mut;

use crate::memory::LINE;

/// Bytes from which on a buffer starts a line.
const LARGE: usize = 16 << 10;
/// Bytes from which on a buffer is kept in large pages, where the system has some. One that begins as
/// zeros is not: the system has pages of zeros, and not all of it may ever be written.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const HUGE: usize = 4 << 20;
/// Bytes before a large buffer: the distance to where the system's begins, and what is skipped.
const ROOM: usize = LINE + size_of::<usize>();

/// The system's allocator, but that large buffers start a line of the cache.
///
/// Of a buffer that does not, each vector of 64 bytes lies in two lines, which takes up to three times
/// as long to write. The system, asked for such a place, cuts its
/// memory into pieces of which it finds no use later, so it is asked for somewhat more instead.
///
/// A program takes it as its own:
///
/// ```
/// #[global_allocator]
/// static ALLOCATOR: kernels::LineAllocator = kernels::LineAllocator;
/// ```
#[derive(Debug, Clone, Copy)]
pub struct LineAllocator;

/// Returns what is asked of the system for a layout, if it is for a large buffer: the same for the
/// same, and nothing for what no system has.
fn widened(layout: Layout) -> Option<Layout> {
    let is_large = layout.size() >= LARGE && layout.align() <= LINE;
    let size = layout.size().checked_add(ROOM)?;
    if is_large { Layout::from_size_align(size, align_of::<usize>()).ok() } else { None }
}

/// Returns the start of the buffer in memory of the system, or null.
///
/// # Safety
/// The memory must have the layout of [`widened`].
unsafe fn begin(memory: *mut u8) -> *mut u8 {
    if memory.is_null() {
        return memory;
    }
    // SAFETY: before the buffer is room for the number.
    unsafe {
        let start = line_in(memory);
        let room = start.sub(size_of::<usize>()).cast::<[u8; size_of::<usize>()]>();
        room.write((start.addr() - memory.addr()).to_ne_bytes());
        start
    }
}

/// Returns where the first line of the cache begins that has room for a number before it.
///
/// # Safety
/// As for [`begin`], and the memory must be there.
unsafe fn line_in(memory: *mut u8) -> *mut u8 {
    // SAFETY: at most `ROOM` bytes are skipped.
    let room_over = unsafe { memory.add(size_of::<usize>()) };
    room_over.map_addr(|address| address.next_multiple_of(LINE))
}

/// Asks the system for large pages for what will be written: of small ones a processor spends much of
/// its time looking up where they are, and the system much on handing them out.
///
/// # Safety
/// The memory must be the caller's.
unsafe fn in_large_pages(memory: *mut u8, size: usize) {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    if size >= HUGE && !memory.is_null() {
        const PAGE: usize = 4096;
        let skipped = memory.addr().next_multiple_of(PAGE) - memory.addr();
        let len = (size - skipped) / PAGE * PAGE;
        // SAFETY: the pages lie in the caller's memory, and the advice does not change what they hold. A
        // system without large pages, or with other small ones, refuses it.
        unsafe { libc::madvise(memory.add(skipped).cast(), len, libc::MADV_HUGEPAGE) };
    }
    #[cfg(not(all(target_os = "linux", target_env = "gnu")))]
    let _ = (memory, size);
}

/// Returns the bytes that were skipped before a buffer.
///
/// # Safety
/// It must be from [`begin`].
unsafe fn skipped(start: *mut u8) -> usize {
    // SAFETY: it was written there.
    let bytes = unsafe { start.sub(size_of::<usize>()).cast::<[u8; size_of::<usize>()]>().read() };
    usize::from_ne_bytes(bytes)
}

// SAFETY: what is given back to the system began where it gave it and has the layout that it was
// asked for, which follows from the buffer's own; a large buffer lies in it whole.
unsafe impl GlobalAlloc for LineAllocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller vouches for a size above zero.
        unsafe {
            match widened(layout) {
                Some(widened) => {
                    let memory = System.alloc(widened);
                    in_large_pages(memory, widened.size());
                    begin(memory)
                }
                None => System.alloc(layout),
            }
        }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as above.
        unsafe {
            match widened(layout) {
                Some(widened) => begin(System.alloc_zeroed(widened)),
                None => System.alloc_zeroed(layout),
            }
        }
    }

    unsafe fn dealloc(&self, start: *mut u8, layout: Layout) {
        // SAFETY: the caller vouches for a buffer of this layout.
        unsafe {
            match widened(layout) {
                Some(widened) => System.dealloc(start.sub(skipped(start)), widened),
                None => System.dealloc(start, layout),
            }
        }
    }

    unsafe fn realloc(&self, start: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller vouches for a size that a buffer can have.
        let new = unsafe { Layout::from_size_align_unchecked(size, layout.align()) };
        let kept = layout.size().min(size);
        // SAFETY: the caller vouches for a buffer of this layout and a size above zero. What the
        // system moves it moves with what was skipped, and the new buffer may begin elsewhere in it.
        unsafe {
            match (widened(layout), widened(new)) {
                (None, None) => System.realloc(start, layout, size),
                (Some(from), Some(to)) => {
                    let before = skipped(start);
                    let memory = System.realloc(start.sub(before), from, to.size());
                    if memory.is_null() {
                        return null_mut();
                    }
                    memory.add(before).copy_to(line_in(memory), kept);
                    begin(memory)
                }
                _ => {
                    let moved = self.alloc(new);
                    if !moved.is_null() {
                        start.copy_to_nonoverlapping(moved, kept);
                        self.dealloc(start, layout);
                    }
                    moved
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_buffers_start_a_line_and_keep_what_they_hold_when_they_grow_and_shrink() {
        let sizes =
            [1, 60, LARGE - 1, LARGE, LARGE + 7, 200 * LARGE, 3 * LARGE, LARGE, 100, 2 * LARGE, 2];
        for align in [1, 4, 16, 64, 4096] {
            let layout = |size| Layout::from_size_align(size, align).unwrap();
            let of = |i: usize| (i % 251) as u8;
            // SAFETY: every layout has a size above zero, what is read was written, and the memory
            // is given back with its layout.
            unsafe {
                let mut start = LineAllocator.alloc(layout(sizes[0]));
                start.write(of(0));
                for sizes in sizes.windows(2) {
                    start = LineAllocator.realloc(start, layout(sizes[0]), sizes[1]);
                    assert!(!start.is_null());
                    let at_least = if sizes[1] >= LARGE { align.max(LINE) } else { align };
                    assert!(start.addr().is_multiple_of(at_least), "{} bytes", sizes[1]);
                    let buffer = std::slice::from_raw_parts_mut(start, sizes[1]);
                    let kept = sizes[0].min(sizes[1]);
                    assert!(buffer[..kept].iter().enumerate().all(|(i, byte)| *byte == of(i)));
                    buffer.iter_mut().enumerate().for_each(|(i, byte)| *byte = of(i));
                }
                LineAllocator.dealloc(start, layout(sizes[sizes.len() - 1]));
                for size in sizes {
                    let start = LineAllocator.alloc_zeroed(layout(size));
                    let buffer = std::slice::from_raw_parts(start, size);
                    assert!(buffer.iter().all(|byte| *byte == 0));
                    LineAllocator.dealloc(start, layout(size));
                }
            }
        }
    }

    #[test]
    fn what_no_system_has_is_refused() {
        for size in [isize::MAX as usize - LINE, 1 << 60] {
            let layout = Layout::from_size_align(size, 4).unwrap();
            // SAFETY: the size is above zero. A compiler may take memory that nobody uses for there.
            assert!(std::hint::black_box(unsafe { LineAllocator.alloc(layout) }).is_null());
        }
    }
}
