//! Products of matrices of bf16, and of blocks of few bits as bytes, by the processor's unit for them
//! or by dot products in vectors.
//!
//! One matrix is packed once, by all threads, 32 of its lines to a panel; the other is read as it lies
//! (numbers of f32 rounded first) wherever its elements follow each other in the depth, 32 of its lines at
//! a time, which meet one panel after the other. Both come from the second cache; asking memory for rows of
//! bf16 that come next takes more time than it saves, for rows of blocks, which are fewer bytes, it does not.
//!
//! Every element is summed step by step, or of bytes group by group, over the whole depth, from what is there
//! or from zero, however the product is cut: it depends on its own row and column and on nothing else.

mod bytes;
mod copy;
mod lines;
mod minima;
mod panels;
mod tiles;
mod unit;
mod unpack;
mod vectors;

use std::arch::x86_64::{
    __m512i, _mm512_add_ps, _mm512_castsi512_ps, _mm512_loadu_si512, _mm512_mask_storeu_ps,
    _mm512_maskz_loadu_epi32, _mm512_maskz_loadu_ps, _mm512_set1_ps, _mm512_setzero_si512,
    _mm512_storeu_si512,
};
use std::ops::Range;

use half::bf16;

use self::bytes::{ByteLines, BytePanels};
use self::copy::copy_lines;
use self::panels::{Panels, RoundedRows};
use self::unit::SIDE;
use super::{SERIAL, TASKS_PER_THREAD, Target, View};
use crate::Level;
use crate::aligned::Scratch;
use crate::blocks::{Blocks, LARGE};
use crate::parallel;
use crate::simd::x86::transpose_sixteen;

pub(crate) use self::copy::stride_of;
pub(crate) use self::panels::{pack_panel, put_rounded};
pub(crate) use self::unit::{BLOCK, Block, Rows, STEP, Unit};

/// Rows of `a` above which columns of `b` are packed.
const MANY: usize = 1024;
/// Bytes of panels that stay in the second cache, and, where vectors take longer for each, in the third.
const CACHED: usize = 1500 << 10;
const CACHED_FOR_VECTORS: usize = 4 << 20;
/// Bytes of a packed line after which sums are put where they belong if the panels are too many; of whole
/// blocks.
const DEPTH: usize = 4096;

/// `a b`, written or added to a part of a result. The level must have
/// [blocks of bf16](crate::Level::has_blocks_of_bf16).
#[derive(Clone, Copy)]
pub(super) struct Products<'a> {
    pub(super) a: View<'a, bf16>,
    pub(super) b: View<'a, bf16>,
    pub(super) size: (usize, usize, usize),
    pub(super) target: Target,
    pub(super) accumulate: bool,
}

impl Products<'_> {
    /// Multiplies on all threads.
    ///
    /// # Safety
    /// Nobody else may access the target's elements at the same time.
    pub(super) unsafe fn run(self) {
        let Self { a, b, size: (rows, columns, depth), target, accumulate } = self;
        let b = View { data: b.data, strides: (b.strides.1, b.strides.0) };
        let (a_lies, b_lies) = (a.strides.1 == 1, b.strides.1 == 1);
        // What lies need not be packed.
        let is_across = b_lies && (!a_lies || rows <= columns.min(MANY));
        let (read, packed) = if is_across { (b, a) } else { (a, b) };
        let counts = if is_across { (columns, rows) } else { (rows, columns) };
        // SAFETY: the caller vouches for it.
        unsafe {
            let pair = Pair::Short(Read::Lines(read), &Panels::of(packed, counts.1, depth));
            Call { pair, counts, is_across, depth, target, accumulate, bias: None }.run();
        }
    }
}

/// `x weight^T`, of numbers that are rounded to bf16, or with blocks to bytes. The level must
/// have [blocks of bf16](crate::Level::has_blocks_of_bf16), or [of bytes](crate::Level::has_blocks_of_bytes).
pub(super) struct ProductsOfRows<'a> {
    /// `// [rows, width]`
    pub(super) x: &'a [f32],
    /// `// [out_width, width]`
    pub(super) weight: Weight<'a>,
    pub(super) width: usize,
    pub(super) target: Target,
    /// What is added to every row of the result. `// [out_width]`
    pub(super) bias: Option<&'a [f32]>,
}

/// Weights of bf16, or in blocks, which become bytes.
pub(crate) enum Weight<'a> {
    Bf16(&'a [bf16]),
    Blocks(Blocks<'a>),
}

impl ProductsOfRows<'_> {
    /// Multiplies on all threads.
    ///
    /// # Safety
    /// As for [`Products::run`].
    pub(super) unsafe fn run(self) {
        let Self { x, weight, width, target, bias } = self;
        let rows = x.len() / width;
        let (depth, accumulate) = (width, false);
        // SAFETY: the caller vouches for it, and whoever made this product for the instructions.
        unsafe {
            match weight {
                Weight::Blocks(blocks) => {
                    let pair = Pair::Bytes((blocks, width), &BytePanels::of(x, width));
                    let counts = (blocks.len() / width, rows);
                    Call { pair, counts, is_across: true, depth, target, accumulate, bias }.run();
                }
                Weight::Bf16(data) => {
                    let (out_width, weight) =
                        (data.len() / width, View { data, strides: (width, 1) });
                    // A large matrix takes long to pack; but of many rows writing the result, of which
                    // packed rows are written some elements at a time, takes longer still.
                    let is_across = rows <= out_width.min(MANY);
                    let (rounded, panels);
                    let (pair, counts) = if is_across {
                        panels = Panels::rounded(x, width);
                        (Pair::Short(Read::Lines(weight), &panels), (out_width, rows))
                    } else {
                        rounded = RoundedRows::of(x, width);
                        panels = Panels::of(weight, out_width, width);
                        (Pair::Short(Read::Rounded(&rounded), &panels), (rows, out_width))
                    };
                    Call { pair, counts, is_across, depth, target, accumulate, bias }.run();
                }
            }
        }
    }
}

/// The matrices of a product: the one that is read, and the packed one.
enum Pair<'a> {
    Short(Read<'a>, &'a Panels),
    /// Blocks, the width of their rows, and what meets them as bytes.
    Bytes((Blocks<'a>, usize), &'a BytePanels),
}

impl Pair<'_> {
    /// Returns the bytes of an element while it is multiplied.
    fn element(&self) -> usize {
        match self {
            Self::Short(..) => size_of::<bf16>(),
            Self::Bytes(..) => 1,
        }
    }
}

/// A matrix of bf16 that is not packed.
enum Read<'a> {
    Lines(View<'a, bf16>),
    Rounded(&'a RoundedRows),
}

/// The products of all lines of one matrix and all lines of another.
struct Call<'a> {
    pair: Pair<'a>,
    /// Lines of either.
    counts: (usize, usize),
    /// Whether a row of the result is that of a packed line.
    is_across: bool,
    depth: usize,
    target: Target,
    accumulate: bool,
    bias: Option<&'a [f32]>,
}

impl Call<'_> {
    /// Multiplies on all threads.
    ///
    /// # Safety
    /// As for [`Products::run`].
    unsafe fn run(&self) {
        let (count, num_packed) = self.counts;
        let is_small = count * num_packed * self.depth <= SERIAL;
        let threads = if is_small { 1 } else { parallel::num_threads() };
        let tasks = if threads == 1 { 1 } else { TASKS_PER_THREAD * threads };
        let part = |of: usize, parts: usize| of.div_ceil(parts).next_multiple_of(BLOCK).max(BLOCK);
        // Parts of the same size rather than large ones and a rest.
        let even = |of: usize, part: usize| of.div_ceil(of.div_ceil(part.max(1)).max(1)).max(1);
        let element = self.pair.element();
        let bytes = |depth: usize| BLOCK * depth * element;
        let (depth, panels) = (self.depth.max(1), num_packed.div_ceil(BLOCK));
        let cached = if Level::current() == Level::Amx { CACHED } else { CACHED_FOR_VECTORS };
        let fits = panels * bytes(depth) <= cached;
        let deep = if fits { depth } else { even(depth, DEPTH / element).next_multiple_of(LARGE) };
        let tall = part(count, tasks);
        let down = count.div_ceil(tall).max(1);
        let broad = (even(panels, cached / bytes(deep)) * BLOCK)
            .min(part(num_packed, tasks.div_ceil(down)));
        for start in (0..depth).step_by(deep) {
            let of_depth = start..self.depth.min(start + deep);
            // A thread's next task has the same panels, which are in its cache.
            parallel::run(down * num_packed.div_ceil(broad), &|task| {
                let (first, first_packed) = (task % down * tall, task / down * broad);
                let lines = first..count.min(first + tall);
                let packed = first_packed..num_packed.min(first_packed + broad);
                // SAFETY: no task runs another, their parts of the target are disjoint, and the caller
                // vouches for it and for the instructions.
                unsafe {
                    Task { call: self, unit: &Unit::new() }.run(lines, packed, of_depth.clone());
                }
            });
        }
    }
}

/// What a task computes with.
struct Task<'a> {
    call: &'a Call<'a>,
    unit: &'a Unit,
}

/// The sums of a block: of a line in each row, and of a packed one in each column.
type Sums = [[f32; BLOCK]; BLOCK];

impl Task<'_> {
    /// Multiplies some lines with some packed ones, the first of which starts a panel, over a part of the
    /// depth.
    ///
    /// # Safety
    /// As for [`Products::run`], of these elements.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    unsafe fn run(self, lines: Range<usize>, packed: Range<usize>, depth: Range<usize>) {
        let panels = packed.len().div_ceil(BLOCK);
        let (sums_len, room) = (
            panels * BLOCK * BLOCK,
            match self.call.pair {
                Pair::Short(..) => BLOCK * stride_of(depth.len()),
                Pair::Bytes(..) => ByteLines::room(depth.len()),
            },
        );
        let mut scratch = Scratch::of(sums_len + room);
        let (sums, room) = scratch.split_at_mut(sums_len);
        let (sums, _) = sums.as_chunks_mut::<BLOCK>().0.as_chunks_mut::<BLOCK>();
        let is_first = depth.start == 0;
        let is_new = is_first && !self.call.accumulate;
        let bias = if is_first { self.call.bias } else { None };
        for first in lines.clone().step_by(BLOCK) {
            let block = (first..lines.end.min(first + BLOCK), packed.clone());
            // SAFETY: the caller vouches for it.
            unsafe {
                if !is_new {
                    self.get(block.clone(), sums);
                }
                self.multiply(block.clone(), depth.clone(), (&mut *sums, is_new), room);
                self.put(block, sums, bias);
            }
        }
    }

    /// Adds the products of at most 32 lines and some packed ones, over a part of the depth, to sums or
    /// to zeros.
    ///
    /// # Safety
    /// The processor must have the instructions.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    unsafe fn multiply(
        &self,
        (lines, packed): (Range<usize>, Range<usize>),
        depth: Range<usize>,
        (sums, mut is_new): (&mut [Sums], bool),
        room: &mut [f32],
    ) {
        let (read, panels) = match &self.call.pair {
            Pair::Short(read, panels) => (read, panels),
            Pair::Bytes((blocks, width), panels) => {
                if is_new {
                    sums.as_flattened_mut().as_flattened_mut().fill(0.0);
                }
                let bytes = ByteLines::new(room, depth.len(), self.unit);
                let (lines, packed) = ((lines, depth), (*panels, packed));
                // SAFETY: the caller vouches for the instructions.
                unsafe { bytes.multiply((blocks, *width), lines, packed, sums) }
                return;
            }
        };
        let panel_len = panels.len;
        let panels = &panels[packed.start / BLOCK * panel_len..];
        if depth.is_empty() && is_new {
            sums.as_flattened_mut().as_flattened_mut().fill(0.0);
        }
        let mut add = |rows: &Rows<'_>, start: usize| {
            let panels = panels.chunks_exact(panel_len).zip(&mut *sums);
            for (row, (panel, sums)) in packed.clone().step_by(BLOCK).zip(panels) {
                let columns = &panel[start * BLOCK / 2..][..rows.steps() * STEP * BLOCK / 2];
                let (numbers, are_few) = (sums.as_flattened_mut(), packed.end - row <= SIDE);
                let sums = Block { numbers, stride: BLOCK, is_new, are_few };
                // SAFETY: whoever made this product vouches for the instructions.
                unsafe { self.unit.multiply(rows, columns, sums) }
            }
            is_new = false;
        };
        match read {
            Read::Rounded(RoundedRows { numbers, stride }) => {
                let from = &numbers[lines.start * stride + depth.start / 2..];
                add(&Rows::new(from, *stride, depth.len().div_ceil(STEP)), depth.start);
            }
            Read::Lines(read) => {
                // Whole steps of as many lines are read as they lie, others are copied.
                let lies = read.strides.1 == 1 && lines.len() == BLOCK;
                let whole = if lies { depth.len() / STEP * STEP } else { 0 };
                if whole > 0 {
                    let from = &read.data[lines.start * read.strides.0 + depth.start..];
                    add(&Rows::new(from, read.strides.0, whole / STEP), depth.start);
                }
                let rest = depth.start + whole..depth.end;
                if !rest.is_empty() {
                    copy_lines(read, lines, rest.clone(), room);
                    let steps = rest.len().div_ceil(STEP);
                    add(&Rows::new(room, stride_of(rest.len()), steps), rest.start);
                }
            }
        }
    }

    /// Reads what is there of some blocks.
    ///
    /// # Safety
    /// As for [`Products::run`], of these elements.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    unsafe fn get(&self, blocks: (Range<usize>, Range<usize>), sums: &mut [Sums]) {
        for square in self.squares(blocks) {
            let mut vectors = [_mm512_setzero_si512(); SIDE];
            for (i, vector) in vectors.iter_mut().enumerate().take(self.height(&square)) {
                // SAFETY: the caller vouches for the elements, and the mask has a bit for each.
                unsafe {
                    let from = self.row(&square, i);
                    *vector = _mm512_maskz_loadu_epi32(bits(from.len()), from.as_ptr().cast());
                }
            }
            if self.call.is_across {
                transpose_sixteen(&mut vectors);
            }
            let (block, row, column) = square.at;
            for (vector, sums) in vectors.into_iter().zip(&mut sums[block][row..]) {
                let sums = &mut sums[column..column + SIDE];
                // SAFETY: there is room for sixteen.
                unsafe { _mm512_storeu_si512(sums.as_mut_ptr().cast(), vector) }
            }
        }
    }

    /// Writes some blocks where they belong, with the bias if it is to be added.
    ///
    /// # Safety
    /// As for [`Products::run`], of these elements.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    unsafe fn put(
        &self,
        blocks: (Range<usize>, Range<usize>),
        sums: &[Sums],
        bias: Option<&[f32]>,
    ) {
        for square in self.squares(blocks) {
            let of_columns = match bias {
                Some(bias) => {
                    let of = &bias[self.columns(&square)];
                    // SAFETY: the mask has a bit for each element.
                    unsafe { _mm512_maskz_loadu_ps(bits(of.len()), of.as_ptr()) }
                }
                // Adding it changes nothing, minus zero included.
                None => _mm512_set1_ps(-0.0),
            };
            let (block, row, column) = square.at;
            let sums = &sums[block][row..row + SIDE];
            // SAFETY: there are sixteen.
            let load = |i: usize| unsafe {
                _mm512_loadu_si512(sums[i][column..column + SIDE].as_ptr().cast())
            };
            // SAFETY: the caller vouches for the elements, and the mask has a bit for each.
            let store = |i: usize, vector: __m512i| unsafe {
                let to = self.row(&square, i);
                let vector = _mm512_add_ps(_mm512_castsi512_ps(vector), of_columns);
                _mm512_mask_storeu_ps(to.as_mut_ptr(), bits(to.len()), vector);
            };
            let height = self.height(&square);
            if self.call.is_across {
                let mut vectors = [_mm512_setzero_si512(); SIDE];
                for (i, vector) in vectors.iter_mut().enumerate() {
                    *vector = load(i);
                }
                transpose_sixteen(&mut vectors);
                for (i, vector) in vectors.into_iter().enumerate().take(height) {
                    store(i, vector);
                }
            } else {
                for i in 0..height {
                    store(i, load(i));
                }
            }
        }
    }

    /// Returns the squares of blocks side by side, each of at most 32 lines, in the order of the
    /// result's memory.
    fn squares(
        &self,
        (lines, packed): (Range<usize>, Range<usize>),
    ) -> impl Iterator<Item = Square> + use<> {
        let (down, across) = (lines.len().div_ceil(SIDE), packed.len().div_ceil(SIDE));
        let is_across = self.call.is_across;
        (0..down * across).map(move |i| {
            let at = if is_across { (i % down, i / down) } else { (i / across, i % across) };
            let (row, column) = (at.0 * SIDE, at.1 * SIDE);
            let (top, left) = (lines.start + row, packed.start + column);
            Square {
                lines: top..lines.end.min(top + SIDE),
                packed: left..packed.end.min(left + SIDE),
                at: (column / BLOCK, row, column % BLOCK),
            }
        })
    }

    /// Returns how many rows of the result a square has elements of.
    fn height(&self, Square { lines, packed, .. }: &Square) -> usize {
        if self.call.is_across { packed.len() } else { lines.len() }
    }

    /// Returns the columns of the result that a square has elements of.
    fn columns(&self, Square { lines, packed, .. }: &Square) -> Range<usize> {
        if self.call.is_across { lines.clone() } else { packed.clone() }
    }

    /// Returns the elements that a square has of one of these rows.
    ///
    /// # Safety
    /// As for [`Products::run`], of these elements, as long as the result lives.
    unsafe fn row<'b>(&self, square: &Square, i: usize) -> &'b mut [f32] {
        let Call { target, is_across, .. } = *self.call;
        let row = if is_across { square.packed.start } else { square.lines.start };
        let columns = self.columns(square);
        let start = target.at + (row + i) * target.stride + columns.start;
        // SAFETY: the caller vouches for it.
        unsafe { target.out.slice(start, columns.len()) }
    }
}

/// At most sixteen lines and as many packed ones.
struct Square {
    lines: Range<usize>,
    packed: Range<usize>,
    /// Which block it is in, and from which row and column on.
    at: (usize, usize, usize),
}

/// Returns a bit for each of the first so many of sixteen.
fn bits(count: usize) -> u16 {
    u16::MAX.checked_shr((SIDE - count) as u32).unwrap_or(0)
}
