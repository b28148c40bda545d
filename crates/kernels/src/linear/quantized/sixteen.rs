//! Sixteen columns of weights side by side.

use super::LANES;
use super::format::Format;
use crate::memory::prefetch_second;

/// Bytes of a line of a cache.
const LINE: usize = 64;
/// Steps of [`Ahead`] for unpacking the scales of a group, by the time that it takes.
pub(super) const SCALE_STEPS: usize = 4;

/// Weights that come next, asked for a few lines at a time so that memory is read all the while.
pub(super) struct Ahead<'a> {
    bytes: &'a [u8],
    at_once: usize,
}

impl<'a> Ahead<'a> {
    /// Asks for everything within so many steps.
    pub(super) fn new(bytes: &'a [u8], steps: usize) -> Self {
        Self { bytes, at_once: bytes.len().div_ceil(steps.max(1)).next_multiple_of(LINE) }
    }

    /// Takes a step.
    #[inline(always)]
    pub(super) fn ask_for_some(&mut self) {
        let some = self.at_once.min(self.bytes.len());
        for line in (0..some).step_by(LINE) {
            prefetch_second(self.bytes, line);
        }
        self.bytes = &self.bytes[some..];
    }
}

/// Sixteen columns of weights in whole groups.
#[derive(Clone, Copy)]
pub(super) struct Sixteen<'a> {
    pub(super) bytes: &'a [u8],
    /// Bytes from one column to the next.
    pub(super) stride: usize,
}

impl<'a> Sixteen<'a> {
    /// Takes columns as they lie, or, if they are fewer or no whole groups, filled up with zeros.
    pub(super) fn new<F: Format>(
        weight: &'a [u8],
        row_bytes: usize,
        padded: &'a mut Vec<u8>,
    ) -> Self {
        if weight.len() == LANES * row_bytes && row_bytes.is_multiple_of(F::BYTES) {
            return Self { bytes: weight, stride: row_bytes };
        }
        let stride = row_bytes.next_multiple_of(F::BYTES);
        padded.clear();
        padded.resize(LANES * stride, 0);
        for (row, to) in weight.chunks_exact(row_bytes).zip(padded.chunks_exact_mut(stride)) {
            to[..row_bytes].copy_from_slice(row);
        }
        Self { bytes: padded, stride }
    }

    /// Returns a group of a column.
    #[inline(always)]
    pub(super) fn group<F: Format>(&self, column: usize, group: usize) -> &'a [u8] {
        &self.bytes[column * self.stride + group * F::BYTES..][..F::BYTES]
    }
}
