//! Gradients of the linear layer.

use super::Matrix;
use crate::blocks::dequantize;
use crate::gemm::{Product, Target, View};
use crate::parallel::{Scatter, chunks_mut, for_each};
use crate::simd::{Element, Kernel, Simd, dispatch, load_some, store_some};

/// Columns of a task of a sum of rows.
const COLUMNS: usize = 64;
/// Rows that are summed before they are added to the total, which keeps more digits.
const ROWS: usize = 64;

/// Writes `dy weight` to `dx`, the gradient of `x` in [`linear`](crate::linear()).
///
/// `dy` is `[rows, out_width]` in f32 or bf16, `weight` `[out_width, width]`, `dx` `[rows, width]`.
/// Both are multiplied as they are: of fewer bits, they are widened.
///
/// # Panics
/// If the lengths do not fit, or `dy` is of another type.
pub fn linear_grad_input(dy: Matrix<'_>, weight: Matrix<'_>, width: usize, dx: &mut [f32]) {
    match dy {
        Matrix::F32(dy) => grad_input_of(dy, weight, width, dx),
        Matrix::Bf16(dy) => grad_input_of(dy, weight, width, dx),
        Matrix::F16(_) | Matrix::Blocks(_) => panic!("a gradient in f32 or bf16"),
    }
}

fn grad_input_of<A: Element>(dy: &[A], weight: Matrix<'_>, width: usize, dx: &mut [f32]) {
    match weight {
        Matrix::F32(weight) => grad_input(dy, weight, width, dx),
        Matrix::Bf16(weight) => grad_input(dy, weight, width, dx),
        Matrix::F16(weight) => grad_input(dy, weight, width, dx),
        Matrix::Blocks(weight) => {
            let mut widened = vec![0.0; weight.len()];
            dequantize(weight, &mut widened);
            grad_input(dy, &widened, width, dx);
        }
    }
}

fn grad_input<A: Element, B: Element>(dy: &[A], weight: &[B], width: usize, dx: &mut [f32]) {
    if dx.is_empty() {
        return;
    }
    let (rows, out_width) = (dx.len() / width, weight.len() / width);
    assert_eq!(dx.len(), rows * width, "gradient of rows of {width}");
    assert_eq!(weight.len(), out_width * width, "weights of rows of {width}");
    assert_eq!(dy.len(), rows * out_width, "gradient of {rows} rows of {out_width}");
    let product = Product {
        a: View { data: dy, strides: (out_width, 1) },
        b: View { data: weight, strides: (width, 1) },
        size: (rows, width, out_width),
        target: Target { out: Scatter::new(dx), at: 0, stride: width },
        accumulate: false,
    };
    // SAFETY: `dx` is borrowed mutably for all of it.
    unsafe { product.run() }
}

/// Writes `dy^T x` to `dw`, the gradient of the weights in [`linear`](crate::linear()), or adds it
/// to what is there.
///
/// `dy` is `[rows, out_width]`, `x` `[rows, width]`, both in f32 or both in bf16, `dw`
/// `[out_width, width]`.
///
/// # Panics
/// If the lengths or types do not fit.
pub fn linear_grad_weight(
    dy: Matrix<'_>,
    x: Matrix<'_>,
    width: usize,
    dw: &mut [f32],
    accumulate: bool,
) {
    match (dy, x) {
        (Matrix::F32(dy), Matrix::F32(x)) => grad_weight(dy, x, width, dw, accumulate),
        (Matrix::Bf16(dy), Matrix::Bf16(x)) => grad_weight(dy, x, width, dw, accumulate),
        _ => panic!("a gradient and an input both in f32 or both in bf16"),
    }
}

fn grad_weight<E: Element>(dy: &[E], x: &[E], width: usize, dw: &mut [f32], accumulate: bool) {
    if dw.is_empty() {
        return;
    }
    let (rows, out_width) = (x.len() / width, dw.len() / width);
    assert_eq!(x.len(), rows * width, "input of rows of {width}");
    assert_eq!(dw.len(), out_width * width, "gradient of rows of {width}");
    assert_eq!(dy.len(), rows * out_width, "gradient of {rows} rows of {out_width}");
    let product = Product {
        a: View { data: dy, strides: (1, out_width) },
        b: View { data: x, strides: (width, 1) },
        size: (out_width, width, rows),
        target: Target { out: Scatter::new(dw), at: 0, stride: width },
        accumulate,
    };
    // SAFETY: `dw` is borrowed mutably for all of it.
    unsafe { product.run() }
}

/// Writes the sum of the rows of `dy` to `db`, the gradient of a bias, or adds it to what is
/// there.
///
/// `dy` is `[rows, out_width]` in f32 or bf16, `db` `[out_width]`.
///
/// # Panics
/// If the lengths do not fit, or `dy` is of another type.
pub fn linear_grad_bias(dy: Matrix<'_>, db: &mut [f32], accumulate: bool) {
    match dy {
        Matrix::F32(dy) => sum_of_rows(dy, db, accumulate),
        Matrix::Bf16(dy) => sum_of_rows(dy, db, accumulate),
        Matrix::F16(_) | Matrix::Blocks(_) => panic!("a gradient in f32 or bf16"),
    }
}

/// Writes the sum of rows to `out`, or adds it to what is there.
pub(crate) fn sum_of_rows<E: Element>(rows: &[E], out: &mut [f32], accumulate: bool) {
    let width = out.len();
    if width == 0 {
        return;
    }
    assert_eq!(rows.len() % width, 0, "rows of {width}");
    for_each(chunks_mut(out, COLUMNS), 1, |task, out| {
        dispatch(SumOfRows { rows, width, at: task * COLUMNS, out, accumulate });
    });
}

/// Sums some columns of rows.
struct SumOfRows<'a, E> {
    rows: &'a [E],
    width: usize,
    at: usize,
    out: &'a mut [f32],
    accumulate: bool,
}

impl<E: Element> Kernel for SumOfRows<'_, E> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self { rows, width, at, out, accumulate } = self;
        if !accumulate {
            out.fill(0.0);
        }
        for rows in rows.chunks(ROWS * width) {
            for start in (0..out.len()).step_by(S::LANES) {
                let mut sum = simd.splat(0.0);
                for row in rows.chunks_exact(width) {
                    let row = &row[at..at + out.len()];
                    sum = simd.add(sum, load_some(simd, &row[start..]));
                }
                let out = &mut out[start..];
                store_some(simd, simd.add(load_some(simd, out), sum), out);
            }
        }
    }
}
