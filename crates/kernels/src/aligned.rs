//! Buffers whose start is the start of a line of the cache.

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
