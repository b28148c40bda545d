//! Products of small matrices, a tile of the result at a time.
//!
//! An element is summed in the order of the depth, whatever the tile it is in and however the depth
//! is cut.

use std::ops::Range;

use super::Visible;
use crate::aligned::LINE;
use crate::simd::{Kernel, Simd};

/// `R` rows of the left matrix of a product.
pub(super) trait Left<const R: usize>: Copy {
    /// Returns how many columns they have.
    fn depth(self) -> usize;
    /// Returns an element.
    fn element(self, r: usize, k: usize) -> f32;
}

/// Rows that are contiguous, of the same length.
#[derive(Clone, Copy)]
pub(super) struct Rows<'a, const R: usize> {
    rows: [&'a [f32]; R],
    depth: usize,
}

impl<'a, const R: usize> Rows<'a, R> {
    #[inline(always)]
    pub(super) fn new(rows: [&'a [f32]; R]) -> Self {
        let depth = rows[0].len();
        // So that the compiler knows it of all of them.
        let mut cut = rows;
        for r in 0..R {
            cut[r] = &rows[r][..depth];
        }
        Self { rows: cut, depth }
    }
}

impl<const R: usize> Left<R> for Rows<'_, R> {
    #[inline(always)]
    fn depth(self) -> usize {
        self.depth
    }
    #[inline(always)]
    fn element(self, r: usize, k: usize) -> f32 {
        self.rows[r][k]
    }
}

/// Rows whose columns are contiguous, each `stride` after the one before it.
#[derive(Clone, Copy)]
pub(super) struct Columns<'a> {
    pub(super) data: &'a [f32],
    pub(super) stride: usize,
    pub(super) depth: usize,
}

impl<const R: usize> Left<R> for Columns<'_> {
    #[inline(always)]
    fn depth(self) -> usize {
        self.depth
    }
    #[inline(always)]
    fn element(self, r: usize, k: usize) -> f32 {
        self.data[k * self.stride + r]
    }
}

/// Where the rows of a product go, each `stride` after the one before it.
pub(super) struct To<'a> {
    pub(super) data: &'a mut [f32],
    pub(super) stride: usize,
    /// Whether the product is added to what is there.
    pub(super) accumulate: bool,
}

/// Writes or adds so many vectors of the product of `R` rows and `b`.
pub(super) struct Multiply<'a, L, const R: usize> {
    pub(super) a: L,
    /// The right matrix and the stride of its rows.
    pub(super) b: (&'a [f32], usize),
    pub(super) vectors: usize,
    pub(super) to: To<'a>,
}

impl<L: Left<R>, const R: usize> Kernel for Multiply<'_, L, R> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self { a, b: (b, stride), vectors, mut to } = self;
        let mut at = 0;
        while at < vectors {
            // Tiles of about the same breadth rather than broad ones and a rest.
            let left = vectors - at;
            let some = left.div_ceil(left.div_ceil(S::TILE.1));
            let b = (&b[at * S::LANES..], stride);
            match some {
                1 => tile::<S, L, R, 1>(simd, a, b, at, &mut to),
                2 => tile::<S, L, R, 2>(simd, a, b, at, &mut to),
                3 => tile::<S, L, R, 3>(simd, a, b, at, &mut to),
                _ => tile::<S, L, R, 4>(simd, a, b, at, &mut to),
            }
            at += some;
        }
    }
}

/// Writes or adds `C` vectors from vector `at` on.
#[inline(always)]
fn tile<S: Simd, L: Left<R>, const R: usize, const C: usize>(
    simd: S,
    a: L,
    (b, stride): (&[f32], usize),
    at: usize,
    to: &mut To<'_>,
) {
    let mut sums = [[simd.splat(0.0); C]; R];
    if to.accumulate {
        for (r, sums) in sums.iter_mut().enumerate() {
            let row = &to.data[r * to.stride + at * S::LANES..][..C * S::LANES];
            for c in 0..C {
                sums[c] = simd.load(&row[c * S::LANES..]);
            }
        }
    }
    for k in 0..a.depth() {
        let row = &b[k * stride..][..C * S::LANES];
        let mut vectors = [simd.splat(0.0); C];
        for c in 0..C {
            vectors[c] = simd.load(&row[c * S::LANES..]);
        }
        for (r, sums) in sums.iter_mut().enumerate() {
            let a = simd.splat(a.element(r, k));
            for c in 0..C {
                sums[c] = simd.mul_add(a, vectors[c], sums[c]);
            }
        }
    }
    for (r, sums) in sums.iter().enumerate() {
        let row = &mut to.data[r * to.stride + at * S::LANES..][..C * S::LANES];
        for (c, sum) in sums.iter().enumerate() {
            simd.store(*sum, &mut row[c * S::LANES..]);
        }
    }
}

/// Rows of a block at most, a multiple of the rows of every tile.
pub(super) const ROWS: usize = 48;
/// Values that all rows of a block take before any takes the next: they stay in the first cache.
const VALUES: usize = 128;

/// Returns the rows of a block of so many scores that are so far apart.
#[inline(always)]
pub(super) fn rows_of_block<const R: usize>(scores: usize, stride: usize) -> usize {
    ((scores / stride.max(1)).min(ROWS) / R * R).max(R)
}

/// The columns that the rows of a block see, by tiles of `R` rows.
pub(super) struct Seen<const R: usize> {
    pub(super) rows: Range<usize>,
    /// Of all rows, those between them included.
    pub(super) hull: Range<usize>,
    /// Likewise, of each tile.
    pub(super) tiles: [Range<usize>; ROWS / 2],
}

impl<const R: usize> Seen<R> {
    pub(super) fn new(visible: &Visible<'_>, rows: Range<usize>) -> Self {
        let mut tiles = [const { 0..0 }; ROWS / 2];
        let mut hull: Range<usize> = 0..0;
        for (seen, row) in tiles.iter_mut().zip(rows.clone().step_by(R)) {
            *seen = visible.hull(row..rows.end.min(row + R));
            if hull.is_empty() {
                hull = seen.clone();
            } else if seen.start < seen.end {
                hull = hull.start.min(seen.start)..hull.end.max(seen.end);
            }
        }
        Self { rows, hull, tiles }
    }

    /// Returns the first row of each tile, counted from the block's first, and what its rows see.
    pub(super) fn tiles(&self) -> impl Iterator<Item = (usize, &Range<usize>)> {
        let num_tiles = self.rows.len().div_ceil(R);
        self.tiles[..num_tiles].iter().enumerate().map(|(i, seen)| (i * R, seen))
    }

    /// Returns the rows, counted likewise, from the first to the last tile that sees any of some
    /// columns.
    pub(super) fn rows_that_see(&self, columns: Range<usize>) -> Range<usize> {
        let sees = |seen: &Range<usize>| seen.start < columns.end && columns.start < seen.end;
        let mut tiles = self.tiles().filter(|(_, seen)| sees(seen)).map(|(row, _)| row);
        let Some(first) = tiles.next() else { return 0..0 };
        first..(tiles.last().unwrap_or(first) + R).min(self.rows.len())
    }
}

impl<const R: usize> Seen<R> {
    /// Writes the products of the rows, which begin with `row(0)`, and columns in panels, where the
    /// tiles see. A row that is missing in the last tile is asked for as well.
    #[inline(always)]
    pub(super) fn times_panels<'a, S: Simd>(
        &self,
        simd: S,
        row: impl Fn(usize) -> &'a [f32],
        (panels, packed): (Panels, &[f32]),
        (to, stride): (&mut [f32], usize),
    ) {
        let broad = panels.broad;
        for first in (self.hull.start / broad * broad..self.hull.end).step_by(broad) {
            for (at, seen) in self.tiles() {
                let end = seen.end.min(first + broad);
                if first + broad <= seen.start || end <= first {
                    continue;
                }
                let rows: [&[f32]; R] = std::array::from_fn(|r| row(at + r));
                let (b, data) = (panels.from(packed, first), &mut to[at * stride + first..]);
                let to = To { data, stride, accumulate: false };
                let vectors = (end - first).div_ceil(S::LANES);
                simd.apart(Multiply { a: Rows::new(rows), b, vectors, to });
            }
        }
    }

    /// Writes the products of weights and values `// [columns, width]`, where the tiles see.
    #[inline(always)]
    pub(super) fn times_values<S: Simd>(
        &self,
        simd: S,
        (weights, stride): (&[f32], usize),
        (values, width): (&[f32], usize),
        to: &mut [f32],
    ) {
        for first in (self.hull.start..self.hull.end).step_by(VALUES) {
            for (at, seen) in self.tiles() {
                let columns = seen.start.max(first)..seen.end.min(first + VALUES);
                if columns.is_empty() {
                    continue;
                }
                let rows: [&[f32]; R] = std::array::from_fn(|r| {
                    &weights[(at + r) * stride + columns.start..][..columns.len()]
                });
                let b = (&values[columns.start * width..], width);
                let accumulate = columns.start > seen.start;
                let to = To { data: &mut to[at * width..], stride: width, accumulate };
                simd.apart(Multiply { a: Rows::new(rows), b, vectors: width / S::LANES, to });
            }
        }
    }
}

/// Columns that are transposed at once.
const SQUARE: usize = 16;

/// A matrix whose columns lie in panels of four vectors. `// [panels, depth, 4 * S::LANES]`
#[derive(Clone, Copy)]
pub(super) struct Panels {
    /// Rows of a panel: the depth, and what squares have beyond it.
    tall: usize,
    broad: usize,
    columns: usize,
}

impl Panels {
    #[inline(always)]
    pub(super) fn new<S: Simd>(depth: usize, columns: usize) -> Self {
        let broad = 4 * S::LANES;
        Self { tall: depth.next_multiple_of(SQUARE), broad, columns }
    }

    /// Returns the columns of a panel.
    pub(super) fn broad(self) -> usize {
        self.broad
    }

    /// Returns how many numbers they are, and how many more [`Panels::pack`] needs.
    pub(super) fn lens(self) -> [usize; 2] {
        [self.columns.next_multiple_of(self.broad) * self.tall, SQUARE * self.tall]
    }

    /// Writes the columns, each of which `column` writes into as many numbers as a panel is tall.
    #[inline(always)]
    pub(super) fn pack<S: Simd>(
        self,
        simd: S,
        to: &mut [f32],
        room: &mut [f32],
        column: impl Fn(S, usize, &mut [f32]),
    ) {
        let Self { tall, broad, columns } = self;
        for first in (0..columns.next_multiple_of(broad)).step_by(SQUARE) {
            for (i, room) in room.chunks_exact_mut(tall.max(1)).enumerate() {
                if first + i < columns {
                    column(simd, first + i, room);
                } else {
                    room.fill(0.0);
                }
            }
            let panel = &mut to[first / broad * broad * tall + first % broad..];
            for k in (0..tall).step_by(SQUARE) {
                let square = std::array::from_fn(|i| &room[i * tall + k..][..SQUARE]);
                simd.transpose(&square, &mut panel[k * broad..], broad);
            }
        }
    }

    /// Returns the panels from a column on, which is the first of one, and the stride of their rows.
    fn from(self, panels: &[f32], column: usize) -> (&[f32], usize) {
        (&panels[column * self.tall..], self.broad)
    }
}

/// Cuts parts of so many numbers off, the first of each at the start of a line of the cache.
pub(super) fn cut<const N: usize>(mut from: &mut [f32], lens: [usize; N]) -> [&mut [f32]; N] {
    lens.map(|len| {
        let (part, rest) = std::mem::take(&mut from).split_at_mut(len.next_multiple_of(LINE));
        from = rest;
        part
    })
}

/// Returns how many numbers [`cut`] needs.
pub(super) fn room_for<const N: usize>(lens: [usize; N]) -> usize {
    lens.iter().map(|len| len.next_multiple_of(LINE)).sum()
}
