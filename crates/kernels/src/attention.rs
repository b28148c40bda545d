//! Attention that walks the visible ranges of a plan.

use std::ops::Range;

use crate::Matrix;

/// Which keys each query row sees, in compressed rows: row `r` sees
/// `ranges[row_starts[r]..row_starts[r + 1]]`, ascending and disjoint.
#[derive(Clone, Copy, Debug)]
pub struct Visible<'a> {
    /// The ranges of all rows.
    pub ranges: &'a [Range<u32>],
    /// Where each row's ranges start, and one more entry for the end.
    pub row_starts: &'a [u32],
}

/// Keys and values of all heads: element `d` of key `j` of head `h` is at
/// `h * head_stride + j * key_stride + d`.
#[derive(Clone, Copy, Debug)]
pub struct KeyValues<'a> {
    /// The keys.
    pub keys: Matrix<'a>,
    /// The values.
    pub values: Matrix<'a>,
    /// Elements from one head to the next.
    pub head_stride: usize,
    /// Elements from one key to the next.
    pub key_stride: usize,
}

/// The sizes of one call.
#[derive(Clone, Copy, Debug)]
pub struct AttentionShape {
    /// Query heads.
    pub heads: usize,
    /// Key/value heads, a divisor of `heads`; query head `h` reads head `h / (heads / kv_heads)`.
    pub kv_heads: usize,
    /// Width of a head.
    pub head_dim: usize,
    /// What the dot products are multiplied with before the softmax.
    pub scale: f32,
}

/// Writes `softmax(scale q k^T) v` over the visible keys of each row to `out`.
///
/// `q` and `out` are `[rows, heads, head_dim]`. A row that sees nothing becomes zero.
///
/// # Panics
/// If the lengths do not fit or a range goes past the keys.
pub fn attention(
    q: &[f32],
    kv: KeyValues<'_>,
    visible: Visible<'_>,
    shape: AttentionShape,
    out: &mut [f32],
) {
    let AttentionShape { heads, kv_heads, head_dim, scale } = shape;
    let rows = visible.row_starts.len() - 1;
    assert_eq!(q.len(), rows * heads * head_dim, "queries of {rows} rows");
    assert_eq!(out.len(), q.len(), "output of {rows} rows");
    for row in 0..rows {
        let ranges =
            &visible.ranges[visible.row_starts[row] as usize..visible.row_starts[row + 1] as usize];
        for head in 0..heads {
            let at = (row * heads + head) * head_dim;
            let base = head / (heads / kv_heads) * kv.head_stride;
            let mut scores = Vec::new();
            for j in ranges.iter().cloned().flatten() {
                let key = base + j as usize * kv.key_stride;
                let dot: f32 = (0..head_dim).map(|d| q[at + d] * kv.keys.at(key + d)).sum();
                scores.push((j as usize, dot * scale));
            }
            let max = scores.iter().fold(f32::NEG_INFINITY, |max, (_, s)| max.max(*s));
            let total: f32 = scores.iter().map(|(_, s)| (s - max).exp()).sum();
            let result = &mut out[at..at + head_dim];
            result.fill(0.0);
            for (j, score) in scores {
                let weight = (score - max).exp() / total;
                let value = base + j * kv.key_stride;
                for (d, result) in result.iter_mut().enumerate() {
                    *result += weight * kv.values.at(value + d);
                }
            }
        }
    }
}
