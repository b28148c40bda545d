//! Rotary position embedding.

use crate::Rows;
use crate::parallel::{chunks_mut, for_each};

/// Elements below which a second thread costs more than it saves.
const SERIAL: usize = 1 << 14;

/// Writes `x` with every head rotated, halves against each other (`rotate_half`).
///
/// `x` is rows of heads of `head_dim`, `out` `[rows, heads, head_dim]`; `cos` and `sin` are
/// `[rows, head_dim / 2]`. With `a` and `b` the halves of a head: `a' = a cos - b sin`, `b' = b cos + a sin`.
/// The gradient of `x` is that of `out` rotated by the negated angles.
///
/// # Panics
/// If the lengths do not fit.
pub fn rope(x: Rows<'_>, (cos, sin): (&[f32], &[f32]), head_dim: usize, out: &mut [f32]) {
    let half = head_dim / 2;
    let rows = cos.len() / half;
    if rows == 0 {
        return;
    }
    let width = out.len() / rows;
    let at_once = SERIAL / width.max(1) + 1;
    for_each(chunks_mut(&mut out[..rows * width], width), at_once, |row, out| {
        let (cos, sin) = (&cos[row * half..][..half], &sin[row * half..][..half]);
        let heads = x.row(row, width).chunks_exact(head_dim);
        for (head, out) in heads.zip(out.chunks_exact_mut(head_dim)) {
            let ((a, b), (c, d)) = (head.split_at(half), out.split_at_mut(half));
            for i in 0..half {
                c[i] = a[i] * cos[i] - b[i] * sin[i];
                d[i] = b[i] * cos[i] + a[i] * sin[i];
            }
        }
    });
}
