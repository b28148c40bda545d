//! The linear layer by packed panels, for many rows.

use super::{Matrix, check, linear, round_to_bf16};
#[cfg(target_arch = "x86_64")]
use crate::Level;
use crate::gemm::{Product, Target, View};
#[cfg(target_arch = "x86_64")]
use crate::gemm::{Weight, multiply_rounded};
use crate::parallel::{Scatter, chunks_mut, for_each};
use crate::simd::Element;

/// Elements of a task that copies.
const TASK: usize = 1 << 14;

/// Writes `x weight^T + bias` to `out`, faster than [`linear`](crate::linear()) where there are many
/// rows, as in prompts and in training.
///
/// Operands and rounding are those of [`linear`](crate::linear()), but for blocks of few bits under levels that
/// [multiply bytes](crate::Level::has_blocks_of_bytes): there 256 elements have one scale, of `x` and of the weights alike. Those of
/// `x` are rounded to integers from -127 to 127 times a 127th of their largest magnitude, and each of the
/// weights to one that is at most 0.63 of a 127th of the most that the blocks of its 256 can hold away from
/// it. A row does not depend on the others here either, but it is summed in another order than there.
///
/// # Panics
/// If the lengths do not fit.
pub fn linear_packed(
    x: &[f32],
    weight: Matrix<'_>,
    bias: Option<&[f32]>,
    width: usize,
    out: &mut [f32],
) {
    match weight {
        Matrix::F32(weight) => run((x, width), weight, bias, out),
        Matrix::F16(weight) => run((x, width), weight, bias, out),
        #[cfg(target_arch = "x86_64")]
        Matrix::Blocks(blocks) if Level::current().has_blocks_of_bytes() => {
            check(x.len(), blocks.len(), bias, width, out);
            rounded(x, Weight::Blocks(blocks), bias, width, out);
        }
        #[cfg(target_arch = "x86_64")]
        Matrix::Bf16(weight) if Level::current().has_blocks_of_bf16() => {
            check(x.len(), weight.len(), bias, width, out);
            rounded(x, Weight::Bf16(weight), bias, width, out);
        }
        Matrix::Blocks(_) => linear(x, weight, bias, width, out),
        Matrix::Bf16(weight) => run((&round_to_bf16(x), width), weight, bias, out),
    }
}

fn run<A: Element, B: Element>(
    (x, width): (&[A], usize),
    weight: &[B],
    bias: Option<&[f32]>,
    out: &mut [f32],
) {
    let (rows, out_width) = check(x.len(), weight.len(), bias, width, out);
    if out.is_empty() {
        return;
    }
    begin(out, out_width, bias);
    let product = Product {
        a: View { data: x, strides: (width, 1) },
        b: View { data: weight, strides: (1, width) },
        size: (rows, out_width, width),
        target: Target { out: Scatter::new(out), at: 0, stride: out_width },
        accumulate: bias.is_some(),
    };
    // SAFETY: `out` is borrowed mutably for all of it.
    unsafe { product.run() }
}

/// Likewise with both operands rounded; the lengths fit.
#[cfg(target_arch = "x86_64")]
pub(super) fn rounded(
    x: &[f32],
    weight: Weight<'_>,
    bias: Option<&[f32]>,
    width: usize,
    out: &mut [f32],
) {
    if !out.is_empty() {
        // SAFETY: this is for levels that have blocks of the weights' elements.
        unsafe { multiply_rounded((x, weight), width, bias, out) }
    }
}

/// Writes the bias to every row of the output if there is one.
fn begin(out: &mut [f32], out_width: usize, bias: Option<&[f32]>) {
    if let Some(bias) = bias {
        let at_once = TASK / out_width + 1;
        for_each(chunks_mut(out, out_width), at_once, |_, row| row.copy_from_slice(bias));
    }
}
