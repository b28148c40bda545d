use std::ops::Range;

use half::{bf16, f16};
use kernels::{
    AttentionShape, BlockFormat, Blocks, KeyValues, Matrix, Visible, attention, dequantize,
    quantize,
};

use crate::support::{Random, assert_close, at_every_level};

struct Case {
    shape: AttentionShape,
    rows: usize,
    columns: usize,
    ranges: Vec<Range<u32>>,
    row_starts: Vec<u32>,
}

impl Case {
    /// Draws a case: some rows see nothing, some several ranges.
    fn draw(random: &mut Random, rows: usize) -> Self {
        let kv_heads = 1 + random.below(3);
        let heads = kv_heads * (1 + random.below(3));
        let head_dim = 2 * (1 + random.below(60));
        // More than a block of values where there is more than one of rows.
        let columns = 1 + random.below(if rows > 48 { 400 } else { 150 });
        let (mut ranges, mut row_starts) = (Vec::new(), vec![0]);
        for _ in 0..rows {
            let mut at = 0;
            for _ in 0..random.below(4) {
                let start = at + random.below(columns);
                let end = start + 1 + random.below(columns);
                if start < columns {
                    ranges.push(start as u32..end.min(columns) as u32);
                }
                at = end + 1;
            }
            row_starts.push(ranges.len() as u32);
        }
        let scale = (head_dim as f32).powf(-0.5);
        let shape = AttentionShape { heads, kv_heads, head_dim, scale };
        Self { shape, rows, columns, ranges, row_starts }
    }

    fn expected(&self, q: &[f32], keys: &[f32], values: &[f32]) -> Vec<f64> {
        let AttentionShape { heads, kv_heads, head_dim, scale } = self.shape;
        let mut out = Vec::new();
        for row in 0..self.rows {
            let seen =
                &self.ranges[self.row_starts[row] as usize..self.row_starts[row + 1] as usize];
            for head in 0..heads {
                let q = &q[(row * heads + head) * head_dim..][..head_dim];
                let entry = |of: &[f32], column: u32, d: usize| {
                    let at = column as usize * kv_heads + head / (heads / kv_heads);
                    f64::from(of[at * head_dim + d])
                };
                let scores: Vec<(u32, f64)> = seen
                    .iter()
                    .cloned()
                    .flatten()
                    .map(|column| {
                        let dot: f64 =
                            (0..head_dim).map(|d| f64::from(q[d]) * entry(keys, column, d)).sum();
                        (column, (dot * f64::from(scale)).exp())
                    })
                    .collect();
                let total: f64 = scores.iter().map(|(_, score)| score).sum();
                for d in 0..head_dim {
                    let sum: f64 =
                        scores.iter().map(|(c, score)| score * entry(values, *c, d)).sum();
                    out.push(if total > 0.0 { sum / total } else { 0.0 });
                }
            }
        }
        out
    }
}

#[test]
fn every_type_equals_the_formula_at_every_level_for_few_rows_and_for_many() {
    let mut random = Random(4);
    for rows in [1, 2, 3, 4, 5, 6, 7, 12, 19, 40, 49, 101].repeat(4) {
        let case = Case::draw(&mut random, rows);
        let width = case.shape.kv_heads * case.shape.head_dim;
        let q: Vec<f32> = random
            .floats(rows * case.shape.heads * case.shape.head_dim)
            .iter()
            .map(|q| q * 4.0)
            .collect();
        let keys = random.floats(case.columns * width);
        let values = random.floats(case.columns * width);
        let shorter = |x: &[f32]| x.iter().map(|x| bf16::from_f32(*x)).collect::<Vec<_>>();
        let halved = |x: &[f32]| x.iter().map(|x| f16::from_f32(*x)).collect::<Vec<_>>();
        let (keys_b, values_b) = (shorter(&keys), shorter(&values));
        let (keys_h, values_h) = (halved(&keys), halved(&values));
        let widen = |x: &[bf16]| x.iter().map(|x| x.to_f32()).collect::<Vec<_>>();
        let widen_h = |x: &[f16]| x.iter().map(|x| x.to_f32()).collect::<Vec<_>>();
        // What blocks of bf16 give, but for the weights, which are rounded as well.
        let rounded = |q: &f32| bf16::from_f32(q * case.shape.scale).to_f32() / case.shape.scale;
        let rounded: Vec<f32> = q.iter().map(rounded).collect();
        let expected_of_rounded = case.expected(&rounded, &widen(&keys_b), &widen(&values_b));
        at_every_level(|level| {
            for (keys, values, expected) in [
                (Matrix::F32(&keys), Matrix::F32(&values), case.expected(&q, &keys, &values)),
                (
                    Matrix::Bf16(&keys_b),
                    Matrix::Bf16(&values_b),
                    case.expected(&q, &widen(&keys_b), &widen(&values_b)),
                ),
                (
                    Matrix::F16(&keys_h),
                    Matrix::F16(&values_h),
                    case.expected(&q, &widen_h(&keys_h), &widen_h(&values_h)),
                ),
            ] {
                let head_stride = case.shape.head_dim;
                let kv = KeyValues { keys, values, head_stride, key_stride: width };
                let visible = Visible { ranges: &case.ranges, row_starts: &case.row_starts };
                let mut out = vec![f32::NAN; q.len()];
                attention(&q, kv, visible, case.shape, &mut out);
                let what = format!("{level:?} {rows} rows, {:?}", case.shape);
                if level.has_blocks_of_bf16() && rows >= 16 && matches!(keys, Matrix::Bf16(_)) {
                    assert_close(&out, &expected_of_rounded, 3e-3, &what);
                } else {
                    assert_close(&out, &expected, 4e-6, &what);
                }
            }
        });
    }
}

/// Puts every head of `width` elements into blocks of its own; returns them, and what they hold.
fn eight_bits(heads: &[f32], width: usize) -> (Vec<u8>, Vec<f32>) {
    let (format, padded) = (BlockFormat::Q8_0, width.next_multiple_of(32));
    let mut rows = vec![0.0; heads.len() / width * padded];
    for (row, head) in rows.chunks_exact_mut(padded).zip(heads.chunks_exact(width)) {
        row[..width].copy_from_slice(head);
    }
    let mut bytes = vec![0; format.num_bytes(rows.len())];
    quantize(format, &rows, &mut bytes);
    dequantize(Blocks { format, bytes: &bytes }, &mut rows);
    let held = rows.chunks_exact(padded).flat_map(|row| row[..width].to_vec()).collect();
    (bytes, held)
}

#[test]
fn keys_and_values_of_eight_bits_equal_what_they_hold_at_every_level() {
    let mut random = Random(7);
    for rows in [1, 2, 3, 4, 5, 12, 19].repeat(4) {
        let case = Case::draw(&mut random, rows);
        let AttentionShape { heads, kv_heads, head_dim, .. } = case.shape;
        let len = case.columns * kv_heads * head_dim;
        let q = random.floats(rows * heads * head_dim);
        let (keys, held_keys) = eight_bits(&random.floats(len), head_dim);
        let (values, held_values) = eight_bits(&random.floats(len), head_dim);
        let expected = case.expected(&q, &held_keys, &held_values);
        let blocks = |bytes| Matrix::Blocks(Blocks { format: BlockFormat::Q8_0, bytes });
        let visible = Visible { ranges: &case.ranges, row_starts: &case.row_starts };
        let run = |keys, values, head_stride| {
            let kv = KeyValues { keys, values, head_stride, key_stride: kv_heads * head_stride };
            let mut out = vec![f32::NAN; q.len()];
            attention(&q, kv, visible, case.shape, &mut out);
            out
        };
        at_every_level(|level| {
            let found = run(blocks(&keys), blocks(&values), head_dim.next_multiple_of(32));
            let what = format!("{level:?} {rows} rows, {:?}", case.shape);
            assert_close(&found, &expected, 4e-6, &what);
            // To the bit what the same numbers in f32 give.
            let wide = run(Matrix::F32(&held_keys), Matrix::F32(&held_values), head_dim);
            assert_eq!(found, wide, "{what}");
        });
    }
}

#[test]
fn keys_that_no_row_sees_do_not_matter() {
    let shape = AttentionShape { heads: 1, kv_heads: 1, head_dim: 4, scale: 0.5 };
    let mut random = Random(5);
    let q = random.floats(5 * 4);
    let mut keys = random.floats(9 * 4);
    let values = random.floats(9 * 4);
    let (ranges, row_starts) = ([0..3, 0..3, 0..3, 0..3, 0..3], [0, 1, 2, 3, 4, 5]);
    let visible = Visible { ranges: &ranges, row_starts: &row_starts };
    at_every_level(|level| {
        let attend = |keys: &[f32]| {
            let (keys, values) = (Matrix::F32(keys), Matrix::F32(&values));
            let mut out = vec![0.0; q.len()];
            let kv = KeyValues { keys, values, head_stride: 4, key_stride: 4 };
            attention(&q, kv, visible, shape, &mut out);
            out
        };
        let before = attend(&keys);
        keys[3 * 4..].fill(f32::NAN);
        assert_eq!(attend(&keys), before, "{level:?}");
    });
}

#[test]
fn what_is_not_a_number_is_not_hidden() {
    let shape = AttentionShape { heads: 1, kv_heads: 1, head_dim: 4, scale: 0.5 };
    let mut random = Random(6);
    let keys = random.floats(9 * 4);
    let keys_b: Vec<bf16> = keys.iter().map(|x| bf16::from_f32(*x)).collect();
    for rows in [1, 8, 40] {
        let mut q = random.floats(rows * 4);
        q[2] = f32::NAN;
        let ranges = vec![0..9; rows];
        let row_starts: Vec<u32> = (0..=rows as u32).collect();
        at_every_level(|level| {
            for kv in [Matrix::F32(&keys), Matrix::Bf16(&keys_b)] {
                let kv = KeyValues { keys: kv, values: kv, head_stride: 4, key_stride: 4 };
                let visible = Visible { ranges: &ranges, row_starts: &row_starts };
                let mut out = vec![0.0; q.len()];
                attention(&q, kv, visible, shape, &mut out);
                assert!(out[..4].iter().all(|v| v.is_nan()), "{level:?}: {out:?}");
                assert!(out[4..].iter().all(|v| v.is_finite()), "{level:?}: {out:?}");
            }
        });
    }
}
