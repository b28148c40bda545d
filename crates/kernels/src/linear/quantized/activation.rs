//! Rows of `x` as integers of eight bits.

use std::marker::PhantomData;
use std::ops::Range;

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

impl Group {
    const ZERO: Self = Self {
        quants: [[0; 64]; GROUP / 64],
        scales: [0.0; LANES],
        starts: [0; LANES],
        second_starts: [0; LANES],
        sums: [0.0; LANES],
    };
}

/// Rows of the tallest strip of many rows.
pub(super) const STRIP: usize = 6;
/// Fours of elements of a block.
pub(super) const FOURS: usize = BLOCK / 4;

/// Up to `N` blocks, side by side.
#[repr(align(32))]
#[derive(Clone)]
pub(super) struct Strip<const N: usize> {
    /// Integers with signs.
    pub(super) quants: [[[u8; 4]; N]; FOURS],
    /// As those of a [`Group`].
    pub(super) scales: [f32; N],
    pub(super) starts: [i32; N],
    pub(super) second_starts: [i32; N],
    pub(super) sums: [f32; N],
}

impl<const N: usize> Strip<N> {
    const ZERO: Self = Self {
        quants: [[[0; 4]; N]; FOURS],
        scales: [0.0; N],
        starts: [0; N],
        second_starts: [0; N],
        sums: [0.0; N],
    };

    /// Takes a block of a row, so many blocks after the first.
    fn put(&mut self, at: usize, group: &Group, block: usize) {
        let (fours, _) = group.quants[block / 2][block % 2 * BLOCK..].as_chunks::<4>();
        for (to, four) in self.quants.iter_mut().zip(fours) {
            to[at] = *four;
        }
        self.scales[at] = group.scales[block];
        self.starts[at] = group.starts[block];
        self.second_starts[at] = group.second_starts[block];
        self.sums[at] = group.sums[block];
    }
}

/// Rows of an [`Eight`].
pub(super) const EIGHT: usize = 8;
/// Pairs of blocks of a group.
pub(super) const PAIRS: usize = LANES / 2;

/// Two blocks of each of eight rows, a block of a row to each lane; what is no row is zero.
#[repr(align(64))]
#[derive(Clone)]
pub(super) struct Eight(pub(super) Strip<LANES>);

impl Eight {
    const ZERO: Self = Self(Strip::ZERO);

    /// Takes two blocks of a row.
    fn put(&mut self, row: usize, group: &Group, pair: usize) {
        for block in 0..2 {
            self.0.put(2 * row + block, group, 2 * pair + block);
        }
    }
}

/// The order of blocks that puts those together that are added up together: every sixteenth.
#[derive(Clone, Copy)]
pub(super) struct Order {
    pub(super) num_blocks: usize,
}

impl Order {
    pub(super) fn new(num_blocks: usize) -> Self {
        Self { num_blocks }
    }

    /// Returns where the blocks of a sum are.
    #[inline(always)]
    pub(super) fn run(self, lane: usize) -> Range<usize> {
        let start =
            |lane: usize| self.num_blocks / LANES * lane + lane.min(self.num_blocks % LANES);
        start(lane)..start(lane + 1)
    }

    /// Returns where a block is.
    #[inline(always)]
    pub(super) fn at(self, block: usize) -> usize {
        self.run(block % LANES).start + block / LANES
    }
}

/// Rows of `x`.
pub(super) struct Activations {
    rows: usize,
    layout: Layout,
}

/// How rows lie.
enum Layout {
    /// One after the other, so many groups each.
    Rows(Vec<Group>, usize),
    /// In strips of so many rows, whose blocks are in an [`Order`].
    Strips(Vec<Strip<STRIP>>, usize),
    /// In eights, so many pairs of blocks to a row.
    Eights(Vec<Eight>, usize),
}

impl Activations {
    /// Has every row rounded, on all threads.
    pub(super) fn rows_of(
        x: &[f32],
        width: usize,
        round: impl Fn(&[f32], &mut [Group]) + Sync,
    ) -> Self {
        let (rows, per_row) = (x.len() / width, width.div_ceil(GROUP));
        let mut groups = vec![Group::ZERO; rows * per_row];
        let pieces = (chunks(x, width), chunks_mut(&mut groups, per_row));
        for_each(pieces, TASK.div_ceil(width), |_, (x, to)| round(x, to));
        Self { rows, layout: Layout::Rows(groups, per_row) }
    }

    /// Has every row rounded and put into strips, on all threads.
    pub(super) fn strips_of(
        x: &[f32],
        width: usize,
        round: impl Fn(&[f32], &mut [Group]) + Sync,
    ) -> Self {
        let rows = x.len() / width;
        let order = Order::new(width / BLOCK);
        let num_strips = rows.div_ceil(STRIP);
        // Strips of the same height rather than whole ones and a rest.
        let height = rows.div_ceil(num_strips.max(1)).max(1);
        let mut strips = vec![Strip::ZERO; num_strips * order.num_blocks];
        let pieces = (chunks(x, height * width), chunks_mut(&mut strips, order.num_blocks));
        for_each(pieces, TASK.div_ceil(height * width), |_, (x, to)| {
            let mut groups = vec![Group::ZERO; width.div_ceil(GROUP)];
            for (row, x) in x.chunks_exact(width).enumerate() {
                round(x, &mut groups);
                for block in 0..order.num_blocks {
                    to[order.at(block)].put(row, &groups[block / LANES], block % LANES);
                }
            }
        });
        Self { rows, layout: Layout::Strips(strips, height) }
    }

    /// Has every row rounded and put into eights, on all threads.
    pub(super) fn eights_of(
        x: &[f32],
        width: usize,
        round: impl Fn(&[f32], &mut [Group]) + Sync,
    ) -> Self {
        let rows = x.len() / width;
        let num_groups = width.div_ceil(GROUP);
        let mut eights = vec![Eight::ZERO; rows.div_ceil(EIGHT) * num_groups * PAIRS];
        // Groups rather than rows, which may be too few for all threads.
        for_each(chunks_mut(&mut eights, PAIRS), TASK.div_ceil(EIGHT * GROUP), |index, to| {
            let (eight, at) = (index / num_groups, index % num_groups * GROUP);
            let mut group = [Group::ZERO];
            for (row, x) in x.chunks_exact(width).skip(eight * EIGHT).take(EIGHT).enumerate() {
                round(&x[at..(at + GROUP).min(width)], &mut group);
                for (pair, to) in to.iter_mut().enumerate() {
                    to.put(row, &group[0], pair);
                }
            }
        });
        Self { rows, layout: Layout::Eights(eights, num_groups * PAIRS) }
    }

    /// Returns a row; the rows must not be in strips.
    #[inline(always)]
    pub(super) fn row(&self, row: usize) -> &[Group] {
        match &self.layout {
            Layout::Rows(groups, per_row) => &groups[row * per_row..][..*per_row],
            _ => &[],
        }
    }

    /// Returns the strips, one after the other, and their rows; none if the rows are not in strips.
    #[inline(always)]
    pub(super) fn strips(&self) -> (&[Strip<STRIP>], usize) {
        match &self.layout {
            Layout::Strips(strips, height) => (strips, *height),
            _ => (&[], 1),
        }
    }

    /// Returns the eights, and how many pairs of blocks a row has; none if the rows are not in eights.
    #[inline(always)]
    pub(super) fn eights(&self) -> (&[Eight], usize) {
        match &self.layout {
            Layout::Eights(eights, per_row) => (eights, *per_row),
            _ => (&[], PAIRS),
        }
    }

    /// Returns the number of rows.
    pub(super) fn rows(&self) -> usize {
        self.rows
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
    // The bits of positive numbers are in the order of the numbers, and those of what is no finite
    // number come after them all.
    let largest = x.iter().fold(0, |largest, x| x.abs().to_bits().max(largest));
    let largest = f32::from_bits(largest);
    let (scale, inverse) = if largest < LEAST {
        (0.0, 0.0)
    } else if largest.is_finite() {
        (largest / MOST, MOST / largest)
    } else {
        (f32::NAN, 0.0)
    };
    let mut sums = [0; 2];
    let (halves, _) = x.as_chunks::<16>();
    let (to, _) = quants.as_chunks_mut::<16>();
    for ((half, to), sum) in halves.iter().zip(to).zip(&mut sums) {
        let mut bits = [0; 16];
        for i in 0..16 {
            bits[i] = (half[i] * inverse + ROUNDER).to_bits();
        }
        for i in 0..16 {
            to[i] = bits[i] as u8;
            *sum += i32::from((bits[i] as u8).cast_signed());
        }
    }
    (scale, sums)
}
