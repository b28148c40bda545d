//! Buffers whose start is the start of a line of the cache.

use std::cell::Cell;
use std::ops::{Deref, DerefMut};

#[cfg(target_arch = "x86_64")]
use crate::memory::unwritten;

/// Numbers of a line of the cache: a vector that starts at a multiple of it touches one line only.
pub(crate) const LINE: usize = 16;

/// Numbers that start a line of the cache.
pub(crate) struct Aligned {
    buffer: Vec<f32>,
    start: usize,
    len: usize,
}

impl Aligned {
    /// Returns zeros.
    pub(crate) fn new(len: usize) -> Self {
        Self::of(vec![0.0; len + LINE], len)
    }

    /// Returns numbers that are whatever they are, as [`unwritten`] does.
    #[cfg(target_arch = "x86_64")]
    pub(crate) fn unwritten(len: usize) -> Self {
        Self::of(unwritten(len + LINE), len)
    }

    fn of(buffer: Vec<f32>, len: usize) -> Self {
        let start = buffer.as_ptr().align_offset(LINE * size_of::<f32>()).min(LINE);
        Self { buffer, start, len }
    }
}

impl Deref for Aligned {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        &self.buffer[self.start..self.start + self.len]
    }
}

impl DerefMut for Aligned {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut self.buffer[self.start..self.start + self.len]
    }
}

thread_local! {
    /// Memory that the last call on this thread has left.
    static SCRATCH: Cell<Option<Aligned>> = const { Cell::new(None) };
}

/// Memory of this thread for a call: of small matrices, asking the system for it would take as long as
/// multiplying them. What is in it is written before it is read.
pub(crate) struct Scratch {
    /// None only while it is being given back.
    kept: Option<Aligned>,
    len: usize,
}

impl Scratch {
    /// Borrows so many numbers.
    pub(crate) fn of(len: usize) -> Self {
        let kept = SCRATCH.take().filter(|kept| kept.len() >= len);
        Self { kept: Some(kept.unwrap_or_else(|| Aligned::new(len))), len }
    }
}

impl Deref for Scratch {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        self.kept.as_deref().map_or(&[], |kept| &kept[..self.len])
    }
}

impl DerefMut for Scratch {
    fn deref_mut(&mut self) -> &mut [f32] {
        self.kept.as_deref_mut().map_or(&mut [], |kept| &mut kept[..self.len])
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        SCRATCH.set(self.kept.take());
    }
}
