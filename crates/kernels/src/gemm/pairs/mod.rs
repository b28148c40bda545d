//! Products of matrices of bf16 by the processor's dot products of pairs.
//!
//! What a lane multiplies is a pair of elements that follow each other in the depth. The smaller
//! matrix is packed once, by all threads, the rows of `a` into panels as tall as a tile or the columns
//! of `b` into panels as wide as one. A task then takes a block of the result and packs what it needs
//! of the other matrix: columns of one tile after the other, all rows being multiplied with each
//! while the next come from memory, or some rows, which stay in the second cache while they are
//! multiplied with all columns. Of such rows whole tiles whose elements follow each other are not
//! packed but read as they lie.

pub(super) mod lines;
mod tile;

use std::ops::Range;

use half::bf16;

use self::lines::{Lines, pack};
use self::tile::{Lying, Tile, To};
use super::{TASKS_PER_THREAD, Target, View, grid_of_tiles};
use crate::aligned::{Aligned, LINE, Scratch};
use crate::parallel::{self, chunks_mut, for_each};

/// Pairs that are summed before they are added to the result.
const DEPTH: usize = 384;
/// Columns of `b` that are packed together at most.
const BREADTH: usize = 256;
/// Rows of a tile.
const TALL: usize = 14;
/// Rows that are packed together at most.
const HEIGHT: usize = 16 * TALL;
/// Columns of a tile: two vectors.
const BROAD: usize = 2 * LANES;
/// Pairs of a vector.
const LANES: usize = 16;
/// Lines of the cache in the columns of a tile, over the depth that is packed at once.
const AHEAD: usize = DEPTH * BROAD / LANES;
/// Pairs of a task that packs rows.
const TASK: usize = 1 << 13;
/// Multiply-adds below which a second thread costs more than it saves.
const SERIAL: usize = 1 << 17;

/// `a b`, written or added to a part of a result. The processor must have the instructions of
/// [`Level::Avx512Bf16`](crate::Level).
#[derive(Clone, Copy)]
pub(super) struct Pairs<'a> {
    pub(super) a: View<'a, bf16>,
    pub(super) b: View<'a, bf16>,
    pub(super) size: (usize, usize, usize),
    pub(super) target: Target,
    pub(super) accumulate: bool,
}

impl Pairs<'_> {
    /// Multiplies on all threads.
    ///
    /// # Safety
    /// Nobody else may access the target's elements at the same time.
    pub(super) unsafe fn run(self) {
        let (rows, columns, depth) = self.size;
        let threads = if rows * columns * depth <= SERIAL { 1 } else { parallel::num_threads() };
        // SAFETY: the caller vouches for it.
        unsafe {
            if rows > HEIGHT && rows > columns {
                self.run_by_rows(threads);
            } else {
                self.run_by_columns(threads);
            }
        }
    }

    /// Packs all rows first.
    ///
    /// # Safety
    /// As for [`Pairs::run`].
    unsafe fn run_by_columns(self, threads: usize) {
        let (rows, columns, depth) = self.size;
        let pairs = depth.div_ceil(2);
        // Room for the lanes of the last row that belong to none.
        let panel_len = (TALL * pairs + LANES).next_multiple_of(LINE);
        let mut panels = Aligned::unwritten(rows.div_ceil(TALL) * panel_len);
        let at_once = if threads == 1 { rows } else { TASK.div_ceil(TALL * pairs.max(1)) };
        for_each(chunks_mut(&mut panels, panel_len), at_once, |index, panel| {
            let row = index * TALL;
            let lines = Lines::of_rows(self.a, row..rows.min(row + TALL), 0..depth);
            // SAFETY: whoever made this product vouches for the instructions.
            unsafe { pack(&lines, panel, TALL) }
        });
        let (tall, broad) = grid_of_tiles((rows, columns), (TALL, BROAD), threads);
        let across = columns.div_ceil(broad).max(1);
        let panels = &panels;
        parallel::run(rows.div_ceil(tall) * across, &|task| {
            let (row, column) = (task / across * tall, task % across * broad);
            let rows = row..rows.min(row + tall);
            let columns = column..columns.min(column + broad);
            let scratch = &mut Scratch::of(DEPTH * BROAD);
            let block = Block { product: &self, panels: (panels, panel_len), scratch };
            // SAFETY: the tasks' parts of the target are disjoint, and the caller vouches for it
            // and for the instructions.
            unsafe { block.run(rows, columns) }
        });
    }

    /// Packs all columns first.
    ///
    /// # Safety
    /// As for [`Pairs::run`].
    unsafe fn run_by_rows(self, threads: usize) {
        let (rows, columns, depth) = self.size;
        let panel_len = BROAD * depth.div_ceil(2);
        let mut panels = Aligned::unwritten(columns.div_ceil(BROAD) * panel_len);
        // Even a product of no depth is written, for which nothing is packed.
        for_each(chunks_mut(&mut panels, panel_len.max(1)), 1, |index, panel| {
            let column = index * BROAD;
            let lines = Lines::of_columns(self.b, column..columns.min(column + BROAD), 0..depth);
            // SAFETY: whoever made this product vouches for the instructions.
            unsafe { pack(&lines, panel, BROAD) }
        });
        let tasks = if threads == 1 { 1 } else { TASKS_PER_THREAD * threads };
        let tall = rows.div_ceil(tasks).next_multiple_of(TALL).min(HEIGHT);
        let panels = &panels;
        parallel::run(rows.div_ceil(tall), &|task| {
            let rows = task * tall..rows.min((task + 1) * tall);
            let scratch = &mut Scratch::of(HEIGHT / TALL * (TALL * DEPTH + LINE));
            let block = Block { product: &self, panels: (panels, panel_len), scratch };
            // SAFETY: the tasks' rows of the target are disjoint, and the caller vouches for it
            // and for the instructions.
            unsafe { block.run_rows(rows) }
        });
    }
}

/// A part of a product.
struct Block<'a> {
    product: &'a Pairs<'a>,
    /// What was packed of the whole product, and the elements from one panel to the next.
    panels: (&'a [f32], usize),
    /// For what is packed of the other matrix.
    scratch: &'a mut [f32],
}

impl Block<'_> {
    /// Multiplies some rows, the first of which starts a panel, with some columns.
    ///
    /// # Safety
    /// Nobody else may access these elements of the target at the same time, and the processor must
    /// have the instructions of [`Level::Avx512Bf16`](crate::Level).
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
    unsafe fn run(self, rows: Range<usize>, columns: Range<usize>) {
        let Pairs { b, size: (_, _, depth), target, accumulate, .. } = *self.product;
        let Self { panels: (panels, panel_len), scratch, .. } = self;
        let pairs = depth.div_ceil(2);
        // Parts of the same breadth rather than broad ones and a rest.
        let parts = columns.len().div_ceil(BREADTH).max(1);
        let breadth = columns.len().div_ceil(parts).next_multiple_of(BROAD).max(BROAD);
        for column in columns.clone().step_by(breadth) {
            let some = column..columns.end.min(column + breadth);
            // Even a product of no depth is written.
            for start in (0..pairs.max(1)).step_by(DEPTH) {
                let cells = DEPTH.min(pairs - start);
                let of_depth = 2 * start..depth.min(2 * (start + cells));
                let accumulate = accumulate || start > 0;
                for at in some.clone().step_by(BROAD) {
                    let of_tile = at..some.end.min(at + BROAD);
                    pack(&Lines::of_columns(b, of_tile.clone(), of_depth.clone()), scratch, BROAD);
                    // What is packed next comes closer while this is multiplied.
                    let next = if at + BROAD < some.end {
                        (at + BROAD, of_depth.start)
                    } else if of_depth.end < depth {
                        (column, of_depth.end)
                    } else {
                        (some.end, 0)
                    };
                    let next = Lines::of_columns(b, next.0..next.0 + BROAD, next.1..depth);
                    for row in rows.clone().step_by(TALL) {
                        let a = &panels[row / TALL * panel_len + start * TALL..][..cells * TALL];
                        let of_lines = |row: usize| {
                            (row - rows.start) * AHEAD / rows.len().next_multiple_of(TALL)
                        };
                        let tile = Tile {
                            a,
                            b: &scratch[..BROAD * cells],
                            next: (&next, of_lines(row)..of_lines(row + TALL)),
                            to: To {
                                target: Target {
                                    at: target.at + row * target.stride + at,
                                    ..target
                                },
                                columns: of_tile.len(),
                                accumulate,
                            },
                        };
                        // SAFETY: the caller vouches for it.
                        unsafe { tile.run(rows.end.min(row + TALL) - row) }
                    }
                }
            }
        }
    }
}

impl Block<'_> {
    /// Multiplies some rows with all columns, which are packed.
    ///
    /// # Safety
    /// As for [`Block::run`].
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
    unsafe fn run_rows(self, rows: Range<usize>) {
        let Pairs { a, b, size: (_, columns, depth), target, accumulate } = *self.product;
        let Self { panels: (panels, panel_len), scratch, .. } = self;
        let pairs = depth.div_ceil(2);
        let nothing = Lines::of_columns(b, columns..columns, depth..depth);
        for start in (0..pairs.max(1)).step_by(DEPTH) {
            let cells = DEPTH.min(pairs - start);
            let of_depth = 2 * start..depth.min(2 * (start + cells));
            // Room for the lanes of the last pair that belong to none.
            let stride = TALL * cells + LINE;
            // Others than the rows of whole tiles and whole pairs are packed.
            let lies = a.strides.1 == 1 && of_depth.len().is_multiple_of(2);
            let is_read_as_it_lies = |row: usize| lies && row + TALL <= rows.end;
            let tiles = rows.clone().step_by(TALL).zip(scratch.chunks_exact_mut(stride));
            for (row, panel) in tiles.filter(|(row, _)| !is_read_as_it_lies(*row)) {
                let some = row..rows.end.min(row + TALL);
                pack(&Lines::of_rows(a, some, of_depth.clone()), panel, TALL);
            }
            for column in (0..columns).step_by(BROAD) {
                let b = &panels[column / BROAD * panel_len + start * BROAD..][..cells * BROAD];
                let tiles = rows.clone().step_by(TALL).zip(scratch.chunks_exact(stride));
                for (row, panel) in tiles {
                    let at = target.at + row * target.stride + column;
                    let to = To {
                        target: Target { at, ..target },
                        columns: BROAD.min(columns - column),
                        accumulate: accumulate || start > 0,
                    };
                    if is_read_as_it_lies(row) {
                        let stride = a.strides.0;
                        let (depth, a) = (of_depth.len(), &a.data[row * stride + of_depth.start..]);
                        // SAFETY: the caller vouches for it.
                        unsafe { Lying { a, stride, depth, b, to }.run() }
                    } else {
                        let a = &panel[..cells * TALL];
                        let tile = Tile { a, b, next: (&nothing, 0..0), to };
                        // SAFETY: the caller vouches for it.
                        unsafe { tile.run(rows.end.min(row + TALL) - row) }
                    }
                }
            }
        }
    }
}
