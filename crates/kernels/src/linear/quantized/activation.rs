//! Rows of `x` as integers of eight bits.

use std::marker::PhantomData;

use super::dots::{Dots, Work};
use super::format::Format;
use super::{BLOCK, GROUP, LANES};
use crate::parallel::{chunks, chunks_mut, for_each};

/// Elements of a task.
const TASK: usize = 1 << 13;
/// The largest integer.
const MOST: f32 = 127.0;
/// Elements that are all smaller become zero: the inverse of their scale would be too large.
const LEAST: f32 = 1e-30;

/// A group of elements. Elements after the end of the row are zero.
#[repr(align(64))]
#[derive(Clone)]
pub(super) struct Group {
    /// Integers with signs. `// [blocks / 2]`, two blocks each
    pub(super) quants: [[u8; 64]; GROUP / 64],
    /// What each block is multiplied with.
    pub(super) scales: [f32; LANES],
    /// What is added to a block's sum of integer products, so that the weights' integers count from
    /// zero: of whole blocks, or of first halves.
    pub(super) starts: [i32; LANES],
    /// Likewise, of second halves.
    pub(super) second_starts: [i32; LANES],
    /// The sum of each block's elements, as rounded.
    pub(super) sums: [f32; LANES],
}

/// Rows of groups.
pub(super) struct Activations {
    groups: Vec<Group>,
    per_row: usize,
}

impl Activations {
    pub(super) fn new(rows: usize, width: usize) -> Self {
        let zero = Group {
            quants: [[0; 64]; GROUP / 64],
            scales: [0.0; LANES],
            starts: [0; LANES],
            second_starts: [0; LANES],
            sums: [0.0; LANES],
        };
        let per_row = width.div_ceil(GROUP);
        Self { groups: vec![zero; rows * per_row], per_row }
    }

    /// Has every row of `x` rounded, on all threads.
    pub(super) fn fill(&mut self, x: &[f32], round: impl Fn(&[f32], &mut [Group]) + Sync) {
        let width = x.len() / (self.groups.len() / self.per_row);
        let rows = (chunks(x, width), chunks_mut(&mut self.groups, self.per_row));
        for_each(rows, TASK.div_ceil(width), |_, (x, to)| round(x, to));
    }

    /// Returns a row.
    #[inline(always)]
    pub(super) fn row(&self, row: usize) -> &[Group] {
        &self.groups[row * self.per_row..][..self.per_row]
    }

    /// Returns the number of rows.
    pub(super) fn rows(&self) -> usize {
        self.groups.len() / self.per_row
    }
}

/// Rounds one row.
pub(super) struct Round<'a, F> {
    x: &'a [f32],
    to: &'a mut [Group],
    format: PhantomData<F>,
}

impl<'a, F> Round<'a, F> {
    pub(super) fn new(x: &'a [f32], to: &'a mut [Group]) -> Self {
        Self { x, to, format: PhantomData }
    }
}

impl<F: Format> Work for Round<'_, F> {
    #[inline(always)]
    fn run<D: Dots>(self, _: D) {
        let offset = F::offset::<D>();
        for (x, to) in self.x.chunks(GROUP).zip(self.to) {
            for (i, x) in x.as_chunks::<BLOCK>().0.iter().enumerate() {
                let quants = &mut to.quants[i / 2][i % 2 * BLOCK..][..BLOCK];
                let (scale, [first, second]) = round(x, quants);
                to.scales[i] = scale;
                to.sums[i] = scale * (first + second) as f32;
                if F::SPLIT {
                    to.starts[i] = -offset * first;
                    to.second_starts[i] = -offset * second;
                } else {
                    to.starts[i] = -offset * (first + second);
                }
            }
        }
    }
}

/// Writes the integers of a block; returns its scale and the sums of the integers of its halves.
#[inline(always)]
fn round(x: &[f32; BLOCK], quants: &mut [u8]) -> (f32, [i32; 2]) {
    /// Adding it leaves an integer in the low bits, rounded to nearest.
    const ROUNDER: f32 = 12_582_912.0;
    let mut largest = 0.0_f32;
    let mut nothing = 0.0;
    for x in x {
        largest = if x.abs() > largest { x.abs() } else { largest };
        // Nothing, unless an element is no finite number: then the scale is none either.
        nothing += x * 0.0;
    }
    let (scale, inverse) =
        if largest < LEAST { (nothing, 0.0) } else { (largest / MOST + nothing, MOST / largest) };
    let mut sums = [0; 2];
    for (half, (x, quants)) in x.chunks_exact(16).zip(quants.chunks_exact_mut(16)).enumerate() {
        let mut sum = 0;
        for (x, quant) in x.iter().zip(quants) {
            let bits = (x * inverse + ROUNDER).to_bits() as u8;
            *quant = bits;
            sum += i32::from(bits.cast_signed());
        }
        sums[half] = sum;
    }
    (scale, sums)
}
