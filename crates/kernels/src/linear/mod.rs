//! The linear layer: `out = x weight^T + bias`.
//!
//! Weights are read where they are, row by row: an element of the result is a dot product of two
//! contiguous rows, and a tile of such products shares what it loads. Every product sums its
//! elements in the same order, whatever the tile.

mod dot;
#[cfg(target_arch = "x86_64")]
mod dot_bf16;
mod grad;
mod packed;
mod quantized;
mod round;

use half::{bf16, f16};

#[cfg(target_arch = "x86_64")]
use crate::Level;
use crate::aligned::{Aligned, LINE};
use crate::blocks::Blocks;
#[cfg(target_arch = "x86_64")]
use crate::gemm::Weight;
use crate::parallel::{Scatter, chunks, chunks_mut, for_each, num_threads};
use crate::simd::{Element, dispatch};

pub(crate) use grad::sum_of_rows;
pub use grad::{linear_grad_bias, linear_grad_input, linear_grad_weight};
pub use packed::linear_packed;
pub use round::{round_rows_to_bf16, round_to_bf16};

/// Bytes of `x` that a pass over the weights keeps in a cache: of a core where every few rows of
/// weights read them all, of the processor where many do.
#[cfg(target_arch = "x86_64")]
const CACHED: usize = 1 << 20;
const CACHED_WIDENED: usize = 1 << 22;
/// Multiply-adds below which a second thread costs more than it saves.
const SERIAL: usize = 1 << 15;
/// Tasks for every thread, so that a slow core does not hold up the others.
const TASKS_PER_THREAD: usize = 4;
/// Rows of weights of a task are a multiple of this, which every tile's height divides.
const GRAIN: usize = 12;

/// The elements of a matrix as they are stored, row-major.
#[derive(Clone, Copy, Debug)]
pub enum Matrix<'a> {
    /// 32-bit floats.
    F32(&'a [f32]),
    /// bfloat16.
    Bf16(&'a [bf16]),
    /// IEEE half precision.
    F16(&'a [f16]),
    /// Blocks of few bits.
    Blocks(Blocks<'a>),
}

impl Matrix<'_> {
    /// Returns the number of elements.
    pub fn len(&self) -> usize {
        match self {
            Self::F32(data) => data.len(),
            Self::Bf16(data) => data.len(),
            Self::F16(data) => data.len(),
            Self::Blocks(blocks) => blocks.len(),
        }
    }

    /// Returns whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Writes `x weight^T + bias` to `out`.
///
/// `x` is `[rows, width]`, `weight` `[out_width, width]`, `bias` `[out_width]`, `out`
/// `[rows, out_width]`, with `rows = x.len() / width`. Accumulation is in f32. Under bf16 weights
/// the elements of `x` are rounded to bf16 first, at every level; under others they are not.
/// bf16 products of the processor take subnormal numbers as zero. Under blocks each 32 elements
/// of `x` are rounded to integers from -127 to 127 times a scale, and rows must be whole blocks.
///
/// # Panics
/// If the lengths do not fit.
pub fn linear(x: &[f32], weight: Matrix<'_>, bias: Option<&[f32]>, width: usize, out: &mut [f32]) {
    check(x.len(), weight.len(), bias, width, out);
    if out.is_empty() {
        return;
    }
    match weight {
        Matrix::Blocks(weight) => quantized::linear(x, weight, bias, width, out),
        Matrix::F32(weight) => {
            let x = &copied(x, width, |x| x);
            run(
                &Call { x, x_stride: stride(width), weight, bias, width },
                out,
                CACHED_WIDENED,
                wide,
            );
        }
        Matrix::F16(weight) => {
            let x = &copied(x, width, |x| x);
            run(
                &Call { x, x_stride: stride(width), weight, bias, width },
                out,
                CACHED_WIDENED,
                wide,
            );
        }
        Matrix::Bf16(weight) => {
            #[cfg(target_arch = "x86_64")]
            if Level::current() == Level::Amx {
                packed::rounded(x, Weight::Bf16(weight), bias, width, out);
                return;
            }
            #[cfg(target_arch = "x86_64")]
            if Level::current() == Level::Avx512Bf16 {
                let mut room = Vec::new();
                let (x, x_stride) = round::rows_of_lines(x, width, &mut room);
                run(&Call { x, x_stride, weight, bias, width }, out, CACHED, dot_bf16::run);
                return;
            }
            let x = &copied(x, width, |x| bf16::from_f32(x).to_f32());
            run(
                &Call { x, x_stride: stride(width), weight, bias, width },
                out,
                CACHED_WIDENED,
                wide,
            );
        }
    }
}

/// Returns the rows of so many inputs and the width of the output of so many weights.
///
/// # Panics
/// If the lengths do not fit.
fn check(
    inputs: usize,
    weights: usize,
    bias: Option<&[f32]>,
    width: usize,
    out: &[f32],
) -> (usize, usize) {
    let (rows, out_width) = (inputs / width, weights / width);
    assert_eq!(inputs, rows * width, "input of rows of {width}");
    assert_eq!(weights, out_width * width, "weights of rows of {width}");
    assert_eq!(out.len(), rows * out_width, "output of {rows} rows of {out_width}");
    assert!(bias.is_none_or(|bias| bias.len() == out_width), "bias of {out_width}");
    (rows, out_width)
}

/// Returns the distance of copied rows of `x`.
fn stride(width: usize) -> usize {
    width.next_multiple_of(LINE)
}

/// Copies rows so that each starts a line of the cache, and rounds them as the caller likes.
fn copied(x: &[f32], width: usize, round: impl Fn(f32) -> f32 + Sync) -> Aligned {
    let mut copy = Aligned::new(x.len() / width * stride(width));
    let rows = (chunks_mut(&mut copy, stride(width)), chunks(x, width));
    for_each(rows, SERIAL / width + 1, |_, (to, from)| {
        for (to, from) in to.iter_mut().zip(from) {
            *to = round(*from);
        }
    });
    copy
}

/// The operands of a call.
pub(crate) struct Call<'a, X, W> {
    x: &'a [X],
    /// Elements from one row of `x` to the next.
    x_stride: usize,
    weight: &'a [W],
    bias: Option<&'a [f32]>,
    width: usize,
}

/// A part of a call: some rows of `x` times some rows of the weights.
pub(crate) struct Part<'a, X, W> {
    x: &'a [X],
    /// Elements from one row of `x` to the next.
    x_stride: usize,
    weight: &'a [W],
    bias: Option<&'a [f32]>,
    width: usize,
    /// Where the part's first element is in the result, and the result's width.
    at: usize,
    out_width: usize,
    out: Scatter,
}

impl<X, W> Part<'_, X, W> {
    /// Returns the number of rows of `x`.
    #[inline(always)]
    fn rows(&self) -> usize {
        self.x.len() / self.x_stride
    }

    /// Writes the product of a row of `x` and a row of the weights, both of this part.
    #[inline(always)]
    fn set(&self, row: usize, column: usize, product: f32) {
        let bias = self.bias.map_or(0.0, |bias| bias[column]);
        // SAFETY: parts of a call have disjoint elements, and `run` holds the result meanwhile.
        unsafe { self.out.set(self.at + row * self.out_width + column, product + bias) }
    }
}

/// Multiplies in vectors of f32.
fn wide<W: Element>(part: &Part<'_, f32, W>) {
    dispatch(dot::Dot { part });
}

/// Cuts a call into parts and runs them on all threads.
fn run<X: Sync, W: Sync>(
    call: &Call<'_, X, W>,
    out: &mut [f32],
    cached: usize,
    work: impl Fn(&Part<'_, X, W>) + Sync,
) {
    let (width, x_stride) = (call.width, call.x_stride);
    let (rows, out_width) = (call.x.len() / x_stride, call.weight.len() / width);
    let tasks =
        if rows * call.weight.len() <= SERIAL { 1 } else { TASKS_PER_THREAD * num_threads() };
    let columns = out_width.div_ceil(tasks).next_multiple_of(GRAIN);
    let block = (cached / (width * size_of::<X>())).max(GRAIN);
    let out = Scatter::new(out);
    for_each(chunks(call.weight, columns * width), 1, |task, weight| {
        let column = task * columns;
        let bias = call.bias.map(|bias| &bias[column..column + weight.len() / width]);
        for (index, x) in call.x.chunks(block * x_stride).enumerate() {
            let at = index * block * out_width + column;
            work(&Part { x, x_stride, weight, bias, width, at, out_width, out });
        }
    });
}
