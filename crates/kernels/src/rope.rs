//! Rotary position embedding.

use crate::parallel::{chunks_mut, for_each};

/// Elements below which a second thread costs more than it saves.
const SERIAL: usize = 1 << 14;

/// Rotates every head of `x` in place, halves against each other (`rotate_half`).
///
/// `x` is `[rows, heads, head_dim]`; `cos` and `sin` are `[rows, head_dim / 2]`. With `a` and `b`
/// the halves of a head: `a' = a cos - b sin`, `b' = b cos + a sin`.
///
/// # Panics
/// If the lengths do not fit.
pub fn rope(x: &mut [f32], cos: &[f32], sin: &[f32], head_dim: usize) {
    rotate(x, cos, sin, head_dim, 1.0);
}

/// Turns the gradient of the output of [`rope`] into that of its input, in place: the rotation by
/// the negated angles.
///
/// # Panics
/// If the lengths do not fit.
pub fn rope_grad(dx: &mut [f32], cos: &[f32], sin: &[f32], head_dim: usize) {
    rotate(dx, cos, sin, head_dim, -1.0);
}

fn rotate(x: &mut [f32], cos: &[f32], sin: &[f32], head_dim: usize, sign: f32) {
    let half = head_dim / 2;
    let rows = cos.len() / half;
    if rows == 0 {
        return;
    }
    let width = x.len() / rows;
    let at_once = SERIAL / width.max(1) + 1;
    for_each(chunks_mut(&mut x[..rows * width], width), at_once, |row, x| {
        let (cos, sin) = (&cos[row * half..][..half], &sin[row * half..][..half]);
        for head in x.chunks_exact_mut(head_dim) {
            let (a, b) = head.split_at_mut(half);
            for i in 0..half {
                let (x, y, sin) = (a[i], b[i], sign * sin[i]);
                a[i] = x * cos[i] - y * sin;
                b[i] = y * cos[i] + x * sin;
            }
        }
    });
}
