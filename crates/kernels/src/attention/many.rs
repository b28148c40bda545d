//! All rows of one head: keys and values are unpacked once, rows are taken several at a time.

use std::ops::Range;

use super::entries::Entries;
use super::one::{exponentials, largest};
use super::{Call, HeadOut};
use crate::simd::{Kernel, Simd};

/// Columns of a matrix are filled up with zeros to a multiple of this: whole tiles at every level.
const PADDING: usize = 64;

/// All rows of one head.
pub(super) struct Head<'a, K> {
    pub(super) call: Call<'a, K>,
    pub(super) out: HeadOut,
}

/// A matrix whose rows are filled up with zeros.
struct Padded {
    data: Vec<f32>,
    stride: usize,
}

impl Padded {
    fn new(rows: usize, columns: usize, multiple: usize) -> Self {
        let stride = columns.next_multiple_of(multiple);
        Self { data: vec![0.0; rows * stride], stride }
    }
}

impl<K: Entries> Kernel for Head<'_, K> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self { call, out } = self;
        let rows = call.visible.num_rows();
        let columns = call.visible.hull(0..rows).end;
        let keys = self.transposed_keys(simd, columns);
        let values = self.values(simd, columns);
        let (tall, _) = S::TILE;
        let mut scores = Padded::new(tall, columns, PADDING);
        let mut results = Padded::new(tall, call.shape.head_dim, PADDING);
        let mut row = 0;
        while row < rows {
            let height = tall.min(rows - row);
            let hull = call.visible.hull(row..row + height);
            let queries: Vec<&[f32]> =
                (row..row + height).map(|row| call.query(row, out.head)).collect();
            // Whole vectors of columns; what is outside the hull is not looked at.
            let from = hull.start - hull.start % S::LANES;
            product(simd, &queries, (&keys.data, keys.stride), from..hull.end, &mut scores);
            let mut totals = [0.0; 8];
            for (r, total) in totals[..height].iter_mut().enumerate() {
                let scores = &mut scores.data[r * scores.stride..][..hull.end];
                let largest;
                (largest, *total) = weights(simd, &call, row + r, &hull, scores);
                out.set_lse(row + r, largest, *total);
            }
            let weights: Vec<&[f32]> =
                scores.data.chunks(scores.stride).take(height).map(|r| &r[hull.clone()]).collect();
            let seen = (&values.data[hull.start * values.stride..], values.stride);
            product(simd, &weights, seen, 0..call.shape.head_dim, &mut results);
            for (r, total) in totals[..height].iter().enumerate() {
                let inverse = if *total > 0.0 { 1.0 / total } else { 0.0 };
                let result = &mut results.data[r * results.stride..][..call.shape.head_dim];
                for value in result.iter_mut() {
                    *value *= inverse;
                }
                out.set(row + r, result);
            }
            row += height;
        }
    }
}

impl<K: Entries> Head<'_, K> {
    /// Returns the scaled keys as columns. `// [head_dim, columns]`
    #[inline(always)]
    fn transposed_keys<S: Simd>(&self, simd: S, columns: usize) -> Padded {
        let shape = self.call.shape;
        let mut keys = Padded::new(shape.head_dim, columns, PADDING);
        let mut row = vec![0.0; shape.head_dim.next_multiple_of(S::LANES)];
        for column in 0..columns {
            let key = self.call.entry(self.call.keys, self.out.head, column);
            widen::<S, K>(simd, key, shape.head_dim, &mut row);
            for (d, value) in row[..shape.head_dim].iter().enumerate() {
                keys.data[d * keys.stride + column] = value * shape.scale;
            }
        }
        keys
    }

    /// Returns the values. `// [columns, head_dim]`
    #[inline(always)]
    fn values<S: Simd>(&self, simd: S, columns: usize) -> Padded {
        let width = self.call.shape.head_dim;
        let mut values = Padded::new(columns, width, S::LANES);
        for (column, row) in values.data.chunks_exact_mut(values.stride).enumerate() {
            let value = self.call.entry(self.call.values, self.out.head, column);
            widen::<S, K>(simd, value, width, row);
        }
        values
    }
}

/// Writes an entry of `width` elements as f32; `to` has room for whole vectors.
#[inline(always)]
fn widen<S: Simd, K: Entries>(simd: S, entry: K::Entry, width: usize, to: &mut [f32]) {
    let whole = width - width % S::LANES;
    for at in (0..whole).step_by(S::LANES) {
        simd.store(K::load(simd, entry, at), &mut to[at..]);
    }
    if whole < width {
        simd.store(K::load_rest(simd, entry, whole), &mut to[whole..]);
    }
}

/// Turns the scores of one row into weights, zero where the row does not see, and returns the
/// largest score and the sum of the weights.
#[inline(always)]
fn weights<S: Simd, K: Entries>(
    simd: S,
    call: &Call<'_, K>,
    row: usize,
    hull: &Range<usize>,
    scores: &mut [f32],
) -> (f32, f32) {
    let ranges = call.visible.row(row);
    let mut most = f32::NEG_INFINITY;
    // No closure, whose code would not get the level's instructions.
    for range in ranges.clone() {
        most = most.max(largest(simd, &scores[range]));
    }
    let (mut total, mut seen) = (0.0, hull.start);
    for range in ranges {
        scores[seen..range.start].fill(0.0);
        seen = range.end;
        total += exponentials(simd, &mut scores[range], most);
    }
    scores[seen..hull.end].fill(0.0);
    (most, total)
}

/// Writes `a b` for some columns of `b`, whose stride is given with it, in whole vectors.
#[inline(always)]
fn product<S: Simd>(
    simd: S,
    a: &[&[f32]],
    b: (&[f32], usize),
    columns: Range<usize>,
    out: &mut Padded,
) {
    let stride = out.stride;
    match (S::TILE, a.len()) {
        ((6, 4), 6) => tile_rows::<S, 6, 4>(simd, a, b, columns, (&mut out.data, stride)),
        ((3, 3), 3) => tile_rows::<S, 3, 3>(simd, a, b, columns, (&mut out.data, stride)),
        ((2, 2), 2) => tile_rows::<S, 2, 2>(simd, a, b, columns, (&mut out.data, stride)),
        _ => {
            for (a, out) in a.iter().zip(out.data.chunks_exact_mut(stride)) {
                tile_rows::<S, 1, 4>(simd, &[*a], b, columns.clone(), (out, stride));
            }
        }
    }
}

/// Writes `R` rows of the product, `C` vectors at a time.
#[inline(always)]
fn tile_rows<S: Simd, const R: usize, const C: usize>(
    simd: S,
    a: &[&[f32]],
    b: (&[f32], usize),
    columns: Range<usize>,
    (out, out_stride): (&mut [f32], usize),
) {
    let a: [&[f32]; R] = std::array::from_fn(|r| a[r]);
    let mut at = columns.start;
    while at < columns.end {
        let vectors = (columns.end - at).div_ceil(S::LANES);
        if vectors >= C {
            tile::<S, R, C>(simd, a, b, at, (&mut *out, out_stride));
            at += C * S::LANES;
        } else if vectors >= 2 {
            tile::<S, R, 2>(simd, a, b, at, (&mut *out, out_stride));
            at += 2 * S::LANES;
        } else {
            tile::<S, R, 1>(simd, a, b, at, (&mut *out, out_stride));
            at += S::LANES;
        }
    }
}

#[inline(always)]
fn tile<S: Simd, const R: usize, const C: usize>(
    simd: S,
    a: [&[f32]; R],
    (b, stride): (&[f32], usize),
    at: usize,
    (out, out_stride): (&mut [f32], usize),
) {
    let mut sums = [[simd.splat(0.0); C]; R];
    let depth = a[0].len();
    let a: [&[f32]; R] = std::array::from_fn(|r| &a[r][..depth]);
    for k in 0..depth {
        let row = &b[k * stride + at..][..C * S::LANES];
        let mut b = [simd.splat(0.0); C];
        for c in 0..C {
            b[c] = simd.load(&row[c * S::LANES..]);
        }
        for r in 0..R {
            let a = simd.splat(a[r][k]);
            for c in 0..C {
                sums[r][c] = simd.mul_add(a, b[c], sums[r][c]);
            }
        }
    }
    for (r, sums) in sums.iter().enumerate() {
        for (c, sum) in sums.iter().enumerate() {
            simd.store(*sum, &mut out[r * out_stride + at + c * S::LANES..]);
        }
    }
}
