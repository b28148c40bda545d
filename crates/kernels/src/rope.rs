//! Rotary position embedding.

/// Rotates every head of `x` in place, halves against each other (`rotate_half`).
///
/// `x` is `[rows, heads, head_dim]`; `cos` and `sin` are `[rows, head_dim / 2]`. With `a` and `b`
/// the halves of a head: `a' = a cos - b sin`, `b' = b cos + a sin`.
///
/// # Panics
/// If the lengths do not fit.
pub fn rope(x: &mut [f32], cos: &[f32], sin: &[f32], head_dim: usize) {
    let half = head_dim / 2;
    let rows = cos.len() / half;
    if rows == 0 {
        return;
    }
    let width = x.len() / rows;
    for (row, x) in x.chunks_exact_mut(width).enumerate() {
        let (cos, sin) = (&cos[row * half..][..half], &sin[row * half..][..half]);
        for head in x.chunks_exact_mut(head_dim) {
            let (a, b) = head.split_at_mut(half);
            for i in 0..half {
                let (x, y) = (a[i], b[i]);
                a[i] = x * cos[i] - y * sin[i];
                b[i] = y * cos[i] + x * sin[i];
            }
        }
    }
}
