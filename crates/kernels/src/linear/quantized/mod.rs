//! The linear layer over blocks of few bits.
//!
//! Rows of `x` become integers of eight bits, 32 elements to a scale, so that a product is a sum of
//! exact integer products, one for each block, times the scales. The blocks of a row are counted
//! off by sixteen: those with the same count are added up in order, and so are then the sixteen
//! sums. Few rows of `x` are multiplied with the blocks as they lie, a sum in each lane of a vector;
//! of some rows each has lanes of its own; for many rows blocks of some columns are unpacked side by
//! side first, a column in each lane. The order of the additions is the same.

mod activation;
#[cfg(target_arch = "x86_64")]
mod avx2;
mod dots;
mod eights;
mod format;
mod many;
#[cfg(target_arch = "aarch64")]
mod neon;
mod one;
#[cfg(target_arch = "x86_64")]
mod vnni;

use self::activation::{Activations, Round};
use self::dots::dispatch_at;
use self::format::{Format, Q4_0, Q4K, Q5K, Q6K, Q8_0};
use crate::Level;
use crate::blocks::{BlockFormat, Blocks};
use crate::parallel::{Scatter, chunks, for_each, num_threads};

/// Elements that a vector of sixteen sums takes up.
const GROUP: usize = 512;
/// Elements of a block of `x`; those of weights have one scale, or one for each half.
const BLOCK: usize = 32;
/// Blocks of a group, and columns that lie side by side.
const LANES: usize = 16;
/// Bytes of a group of the format that has most.
const MOST_BYTES: usize = GROUP / 32 * 34;
/// Multiply-adds below which a second thread costs more than it saves.
const SERIAL: usize = 1 << 16;
/// Tasks for every thread, so that a slow core does not hold up the others.
const TASKS_PER_THREAD: usize = 4;
/// Columns of a task are a multiple of this where they are unpacked.
const GRAIN: usize = 32;

/// The most rows that are multiplied one by one.
const FEW: usize = 4;
/// The most rows of which each takes a lane.
const SOME: usize = 32;
/// Likewise of formats with minima in vectors of AVX-512, where lanes for eight rows more, however few of
/// them there are, cost more than columns side by side.
const SOME_WITH_MINIMA: usize = 16;

/// Writes `x weight^T + bias` to `out`; the caller has checked the lengths in elements.
pub(super) fn linear(
    x: &[f32],
    weight: Blocks<'_>,
    bias: Option<&[f32]>,
    width: usize,
    out: &mut [f32],
) {
    let Blocks { format, bytes } = weight;
    let out_width = weight.len() / width;
    assert_eq!(bytes.len(), out_width * format.num_bytes(width), "bytes of {format:?}");
    let call = Call { x, weight: bytes, bias, width, out_width, out: Scatter::new(out) };
    match format {
        BlockFormat::Q8_0 => run::<Q8_0>(&call),
        BlockFormat::Q4_0 => run::<Q4_0>(&call),
        BlockFormat::Q4K => run::<Q4K>(&call),
        BlockFormat::Q5K => run::<Q5K>(&call),
        BlockFormat::Q6K => run::<Q6K>(&call),
    }
}

/// The operands of a call.
struct Call<'a> {
    x: &'a [f32],
    weight: &'a [u8],
    bias: Option<&'a [f32]>,
    width: usize,
    out_width: usize,
    out: Scatter,
}

impl Call<'_> {
    /// Writes a product.
    ///
    /// # Safety
    /// Nobody else may access the element at the same time.
    #[inline(always)]
    unsafe fn set(&self, row: usize, column: usize, product: f32) {
        let bias = self.bias.map_or(0.0, |bias| bias[column]);
        // SAFETY: the caller vouches for it.
        unsafe { self.out.set(row * self.out_width + column, product + bias) }
    }
}

/// Columns of a call.
struct Part<'a> {
    call: &'a Call<'a>,
    activations: &'a Activations,
    /// The weights of these columns.
    weight: &'a [u8],
    /// The first of the columns.
    first: usize,
}

fn run<F: Format>(call: &Call<'_>) {
    let rows = call.x.len() / call.width;
    // One level for all: it decides how the weights' integers are counted.
    let level = Level::current();
    let is_wide = F::HAS_MIN && level.has_blocks_of_bytes();
    let some = if is_wide { SOME_WITH_MINIMA } else { SOME };
    let round = |x: &[f32], to: &mut [_]| dispatch_at(level, Round::<F>::new(x, to));
    let activations = if rows <= FEW {
        Activations::rows_of(call.x, call.width, round)
    } else if rows <= some {
        Activations::eights_of(call.x, call.width, round)
    } else {
        Activations::strips_of(call.x, call.width, round)
    };
    let is_small = rows * call.out_width * call.width <= SERIAL;
    let tasks = if is_small { 1 } else { TASKS_PER_THREAD * num_threads() };
    let grain = if rows <= FEW { 1 } else { GRAIN };
    let columns = call.out_width.div_ceil(tasks).next_multiple_of(grain);
    let row_bytes = F::row_bytes(call.width);
    let activations = &activations;
    for_each(chunks(call.weight, columns * row_bytes), 1, |task, weight| {
        let part = Part { call, activations, weight, first: task * columns };
        if rows <= FEW {
            dispatch_at(level, one::Few::<F>::new(&part));
        } else if rows <= some {
            dispatch_at(level, eights::Eights::<F>::new(&part));
        } else {
            dispatch_at(level, many::Many::<F>::new(&part));
        }
    });
}
