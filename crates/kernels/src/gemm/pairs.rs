//! Products of matrices of bf16 by the processor's dot products of pairs.
//!
//! What a lane multiplies is a pair of elements that follow each other in the depth. The smaller
//! matrix is packed once, by all threads, the rows of `a` into panels as tall as a tile or the columns
//! of `b` into panels as wide as one. A task then takes a block of the result and packs what it needs
//! of the other matrix: columns of one tile after the other, all rows being multiplied with each
//! while the next come from memory, or some rows, which stay in the second cache while they are
//! multiplied with all columns.

use std::arch::x86_64::{
    __m512, __m512bh, __m512i, __mmask16, _mm256_maskz_loadu_epi16, _mm512_add_ps,
    _mm512_cvtepu16_epi32, _mm512_dpbf16_ps, _mm512_loadu_ps, _mm512_loadu_si512,
    _mm512_mask_storeu_ps, _mm512_maskz_loadu_epi16, _mm512_maskz_loadu_ps, _mm512_or_si512,
    _mm512_set1_ps, _mm512_setzero_ps, _mm512_setzero_si512, _mm512_slli_epi32,
    _mm512_storeu_si512,
};
use std::cell::Cell;
use std::mem::transmute;
use std::ops::Range;

use half::bf16;

use super::{TASKS_PER_THREAD, Target, View, grid_of_tiles};
use crate::aligned::{Aligned, LINE};
use crate::memory::{prefetch, prefetch_second};
use crate::parallel::{self, chunks_mut, for_each};
use crate::simd::x86::transpose_sixteen;

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
/// Pairs of a tile after which it asks for some of them.
const STEP: usize = 32;
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

thread_local! {
    /// The panels that this thread packed last, whose memory is used again.
    static SCRATCH: Cell<Option<Aligned>> = const { Cell::new(None) };
}

/// Lends memory for so many numbers to `work`.
fn with_scratch(len: usize, work: impl FnOnce(&mut [f32])) {
    let kept = SCRATCH.take().filter(|kept| kept.len() >= len);
    let mut scratch = kept.unwrap_or_else(|| Aligned::new(len));
    work(&mut scratch[..len]);
    SCRATCH.set(Some(scratch));
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
            with_scratch(DEPTH * BROAD, |scratch| {
                let block = Block { product: &self, panels: (panels, panel_len), scratch };
                // SAFETY: the tasks' parts of the target are disjoint, and the caller vouches for
                // it and for the instructions.
                unsafe { block.run(rows, columns) }
            });
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
            with_scratch(HEIGHT / TALL * (TALL * DEPTH + LINE), |scratch| {
                let block = Block { product: &self, panels: (panels, panel_len), scratch };
                // SAFETY: the tasks' rows of the target are disjoint, and the caller vouches for it
                // and for the instructions.
                unsafe { block.run_rows(rows) }
            });
        });
    }
}

/// Rows of `a` or columns of `b`, over a part of the depth.
struct Lines<'a> {
    data: &'a [bf16],
    /// Elements from one line to the next, and from one element of a line to the next; one of them
    /// is one.
    strides: (usize, usize),
    count: usize,
    depth: usize,
}

impl<'a> Lines<'a> {
    fn of_rows(a: View<'a, bf16>, rows: Range<usize>, depth: Range<usize>) -> Self {
        Self::new(a.data, a.strides, rows, depth)
    }

    #[inline(always)]
    fn of_columns(b: View<'a, bf16>, columns: Range<usize>, depth: Range<usize>) -> Self {
        Self::new(b.data, (b.strides.1, b.strides.0), columns, depth)
    }

    #[inline(always)]
    fn new(
        data: &'a [bf16],
        strides: (usize, usize),
        lines: Range<usize>,
        depth: Range<usize>,
    ) -> Self {
        let start = lines.start * strides.0 + depth.start * strides.1;
        // A product of no depth has no elements, and nothing follows the last columns.
        let data = data.get(start..).unwrap_or_default();
        Self { data, strides, count: lines.len(), depth: depth.len() }
    }
}

impl Lines<'_> {
    /// Asks for one of the first [`AHEAD`] lines of the cache that packing reads.
    #[inline(always)]
    fn prefetch(&self, line: usize) {
        let (of_lines, of_depth) = self.strides;
        let element = if of_depth == 1 {
            line % (AHEAD / BROAD) * (2 * LANES) + line / (AHEAD / BROAD) * of_lines
        } else {
            line * of_depth
        };
        prefetch_second(self.data, element);
    }
}

/// Writes pair `k` of line `l` to `to[k * width + l]`, zeros where there are none. What is written
/// for lines beyond the width is written over by the next pair; the last one's is left behind.
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn pack(lines: &Lines<'_>, to: &mut [f32], width: usize) {
    for first in (0..width).step_by(LANES) {
        let count = lines.count.saturating_sub(first).min(LANES);
        if lines.strides.1 == 1 {
            pack_contiguous(lines, first..first + count, &mut to[first..], width);
        } else {
            pack_strided(lines, first..first + count, &mut to[first..], width);
        }
    }
}

/// Packs at most sixteen lines whose elements follow each other.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn pack_contiguous(lines: &Lines<'_>, some: Range<usize>, to: &mut [f32], width: usize) {
    let pairs = lines.depth.div_ceil(2);
    let whole = if some.len() == LANES { lines.depth / (2 * LANES) * LANES } else { 0 };
    for k in (0..whole).step_by(LANES) {
        pack_square(lines, (some.start, k), to, width);
    }
    for k in (whole..pairs).step_by(LANES) {
        let left = (lines.depth - 2 * k).min(2 * LANES);
        let mask = u32::MAX >> (2 * LANES - left);
        let mut square = [_mm512_setzero_si512(); LANES];
        for (line, square) in some.clone().zip(&mut square) {
            let from = &lines.data[line * lines.strides.0 + 2 * k..][..left];
            // SAFETY: the mask has a bit for each element, and others are not touched.
            *square = unsafe { _mm512_maskz_loadu_epi16(mask, from.as_ptr().cast()) };
        }
        transpose_sixteen(&mut square);
        for (i, pairs) in square.iter().enumerate().take(pairs - k) {
            put_lane_pairs(*pairs, &mut to[(k + i) * width..]);
        }
    }
}

/// Packs sixteen pairs, from pair `k` on, of sixteen lines whose elements follow each other.
#[inline]
#[target_feature(enable = "avx512f")]
fn pack_square(lines: &Lines<'_>, (line, k): (usize, usize), to: &mut [f32], width: usize) {
    let stride = lines.strides.0;
    let from = &lines.data[line * stride + 2 * k..][..(LANES - 1) * stride + 2 * LANES];
    let to = &mut to[k * width..][..(LANES - 1) * width + LANES];
    let mut square = [_mm512_setzero_si512(); LANES];
    for (i, pairs) in square.iter_mut().enumerate() {
        // Lines side by side are too many for the processor to notice where each goes on.
        prefetch_second(from, (LANES + i) * stride);
        // SAFETY: line `i` starts so many elements after the first and has a vector of them.
        *pairs = unsafe { _mm512_loadu_si512(from.as_ptr().add(i * stride).cast()) };
    }
    transpose_sixteen(&mut square);
    for (i, pairs) in square.into_iter().enumerate() {
        // SAFETY: there is room for sixteen pairs so many elements after the first.
        unsafe { _mm512_storeu_si512(to.as_mut_ptr().add(i * width).cast(), pairs) }
    }
}

/// Packs at most sixteen lines that lie side by side.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn pack_strided(lines: &Lines<'_>, some: Range<usize>, to: &mut [f32], width: usize) {
    let mask = u16::MAX.checked_shr((LANES - some.len()) as u32).unwrap_or(0);
    let load = |k: usize| {
        if k >= lines.depth || some.is_empty() {
            return _mm512_setzero_si512();
        }
        let from = &lines.data[k * lines.strides.1 + some.start..][..some.len()];
        // SAFETY: the mask has a bit for each element, and others are not touched.
        _mm512_cvtepu16_epi32(unsafe { _mm256_maskz_loadu_epi16(mask, from.as_ptr().cast()) })
    };
    for k in 0..lines.depth.div_ceil(2) {
        let (first, second) = (load(2 * k), load(2 * k + 1));
        let pairs = _mm512_or_si512(first, _mm512_slli_epi32::<16>(second));
        put_lane_pairs(pairs, &mut to[k * width..]);
    }
}

/// Writes sixteen pairs.
#[inline]
#[target_feature(enable = "avx512f")]
fn put_lane_pairs(pairs: __m512i, to: &mut [f32]) {
    let to = &mut to[..LANES];
    // SAFETY: there is room for sixteen.
    unsafe { _mm512_storeu_si512(to.as_mut_ptr().cast(), pairs) }
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
                            columns: of_tile.len(),
                            target: Target { at: target.at + row * target.stride + at, ..target },
                            accumulate,
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
            let tiles = rows.clone().step_by(TALL).zip(scratch.chunks_exact_mut(stride));
            for (row, panel) in tiles {
                let some = row..rows.end.min(row + TALL);
                pack(&Lines::of_rows(a, some, of_depth.clone()), panel, TALL);
            }
            for column in (0..columns).step_by(BROAD) {
                let b = &panels[column / BROAD * panel_len + start * BROAD..][..cells * BROAD];
                let tiles = rows.clone().step_by(TALL).zip(scratch.chunks_exact(stride));
                for (row, panel) in tiles {
                    let tile = Tile {
                        a: &panel[..cells * TALL],
                        b,
                        next: (&nothing, 0..0),
                        columns: BROAD.min(columns - column),
                        target: Target { at: target.at + row * target.stride + column, ..target },
                        accumulate: accumulate || start > 0,
                    };
                    // SAFETY: the caller vouches for it.
                    unsafe { tile.run(rows.end.min(row + TALL) - row) }
                }
            }
        }
    }
}

/// A panel of rows times one of columns.
struct Tile<'a> {
    a: &'a [f32],
    b: &'a [f32],
    /// What is to be packed next, and which of its lines of the cache this tile asks for.
    next: (&'a Lines<'a>, Range<usize>),
    columns: usize,
    target: Target,
    accumulate: bool,
}

impl Tile<'_> {
    /// Multiplies the first so many rows.
    ///
    /// # Safety
    /// As for [`Block::run`].
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
    unsafe fn run(self, rows: usize) {
        // SAFETY: the caller vouches for it.
        unsafe {
            match rows {
                1 => self.run_rows::<1>(),
                2 => self.run_rows::<2>(),
                3 => self.run_rows::<3>(),
                4 => self.run_rows::<4>(),
                5 => self.run_rows::<5>(),
                6 => self.run_rows::<6>(),
                7 => self.run_rows::<7>(),
                8 => self.run_rows::<8>(),
                9 => self.run_rows::<9>(),
                10 => self.run_rows::<10>(),
                11 => self.run_rows::<11>(),
                12 => self.run_rows::<12>(),
                13 => self.run_rows::<13>(),
                _ => self.run_rows::<TALL>(),
            }
        }
    }

    /// Multiplies the first `R` rows.
    ///
    /// # Safety
    /// As for [`Block::run`].
    #[inline(never)]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
    unsafe fn run_rows<const R: usize>(self) {
        let Self { target, columns, .. } = self;
        // SAFETY: the caller vouches that nobody else accesses the elements.
        let row = |r: usize| unsafe { target.out.slice(target.at + r * target.stride, columns) };
        for r in 0..R {
            prefetch(row(r), 0);
            prefetch(row(r), LANES);
        }
        let mut sums = [[_mm512_setzero_ps(); 2]; R];
        let (a, _) = self.a.as_chunks::<TALL>();
        let (b, _) = self.b.as_chunks::<BROAD>();
        let (next, mut lines) = self.next;
        let at_once = lines.len().div_ceil(DEPTH / STEP);
        for (a, b) in a.chunks(STEP).zip(b.chunks(STEP)) {
            for line in lines.by_ref().take(at_once) {
                next.prefetch(line);
            }
            for (a, b) in a.iter().zip(b) {
                // SAFETY: a tile's columns are two vectors.
                let b = unsafe {
                    let b = b.as_ptr();
                    [as_pairs(_mm512_loadu_ps(b)), as_pairs(_mm512_loadu_ps(b.add(LANES)))]
                };
                for r in 0..R {
                    let a = as_pairs(_mm512_set1_ps(a[r]));
                    for c in 0..2 {
                        sums[r][c] = _mm512_dpbf16_ps(sums[r][c], a, b[c]);
                    }
                }
            }
        }
        let mask = u32::MAX >> (BROAD - columns);
        let masks = [mask as __mmask16, (mask >> LANES) as __mmask16];
        for (r, sums) in sums.iter().enumerate() {
            for (c, sum) in sums.iter().enumerate() {
                let to = row(r).as_mut_ptr().wrapping_add(c * LANES);
                // SAFETY: the masks have a bit for each element of the row, others are not touched.
                unsafe {
                    let sum = if self.accumulate {
                        _mm512_add_ps(_mm512_maskz_loadu_ps(masks[c], to), *sum)
                    } else {
                        *sum
                    };
                    _mm512_mask_storeu_ps(to, masks[c], sum);
                }
            }
        }
    }
}

/// Returns the bits as pairs of bf16.
#[inline]
#[target_feature(enable = "avx512f")]
fn as_pairs(bits: __m512) -> __m512bh {
    // SAFETY: both types are 512 plain bits.
    unsafe { transmute(bits) }
}
