use std::ops::Range;

use kernels::{
    AttentionForward, AttentionGrad, AttentionInput, AttentionOut, AttentionShape, KeyValues,
    Matrix, Visible, attention, attention_grad, attention_with_lse,
};

use crate::support::{Random, assert_close, at_every_level, on_threads};

/// Operands of a call and the gradient of its result.
struct Case {
    shape: AttentionShape,
    ranges: Vec<Range<u32>>,
    row_starts: Vec<u32>,
    columns: usize,
    q: Vec<f32>,
    keys: Vec<f32>,
    values: Vec<f32>,
    dout: Vec<f32>,
}

/// Result, logarithms, and gradients of queries, keys and values.
type Found = [Vec<f32>; 5];

impl Case {
    /// Draws a case: some rows see nothing, some several ranges.
    fn draw(random: &mut Random, rows: usize, columns: usize) -> Self {
        let kv_heads = 1 + random.below(3);
        let heads = kv_heads * (1 + random.below(3));
        let head_dim = 2 * (1 + random.below(40));
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
        let shape = AttentionShape { heads, kv_heads, head_dim, scale: 0.3 };
        let (wide, narrow) = (rows * heads * head_dim, columns * kv_heads * head_dim);
        let (q, dout) = (random.floats(wide), random.floats(wide));
        let (keys, values) = (random.floats(narrow), random.floats(narrow));
        Self { shape, ranges, row_starts, columns, q, keys, values, dout }
    }

    fn visible(&self) -> Visible<'_> {
        Visible { ranges: &self.ranges, row_starts: &self.row_starts }
    }

    fn kv(&self) -> KeyValues<'_> {
        let AttentionShape { kv_heads, head_dim, .. } = self.shape;
        let (keys, values) = (Matrix::F32(&self.keys), Matrix::F32(&self.values));
        KeyValues { keys, values, head_stride: head_dim, key_stride: kv_heads * head_dim }
    }

    fn found(&self) -> Found {
        let rows = self.row_starts.len() - 1;
        let mut out = vec![f32::NAN; self.q.len()];
        let mut lse = vec![f32::NAN; rows * self.shape.heads];
        let result = AttentionOut { out: &mut out, lse: &mut lse };
        attention_with_lse(&self.q, self.kv(), self.visible(), self.shape, result);
        let mut dq = vec![f32::NAN; self.q.len()];
        let mut dk = vec![f32::NAN; self.keys.len()];
        let mut dv = vec![f32::NAN; self.keys.len()];
        let grad = AttentionGrad { dq: &mut dq, dkeys: &mut dk, dvalues: &mut dv };
        let (visible, shape) = (self.visible(), self.shape);
        let input = AttentionInput { q: &self.q, kv: self.kv(), visible, shape };
        let forward = AttentionForward { out: &out, lse: &lse };
        attention_grad(input, forward, &self.dout, grad);
        [out, lse, dq, dk, dv]
    }

    fn expected(&self) -> [Vec<f64>; 4] {
        let AttentionShape { heads, kv_heads, head_dim, scale } = self.shape;
        let scale = f64::from(scale);
        let mut lse = Vec::new();
        let mut dq = vec![0.0; self.q.len()];
        let (mut dk, mut dv) = (vec![0.0; self.keys.len()], vec![0.0; self.keys.len()]);
        for index in 0..(self.row_starts.len() - 1) * heads {
            let (row, head) = (index / heads, index % heads);
            let of_row = self.row_starts[row] as usize..self.row_starts[row + 1] as usize;
            let seen: Vec<usize> =
                self.ranges[of_row].iter().cloned().flatten().map(|c| c as usize).collect();
            let at = |column: usize| (column * kv_heads + head / (heads / kv_heads)) * head_dim;
            let dot = |a: &[f32], b: &[f32], column: usize| -> f64 {
                let (a, b) = (&a[index * head_dim..][..head_dim], &b[at(column)..][..head_dim]);
                a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
            };
            let weights: Vec<f64> =
                seen.iter().map(|c| (dot(&self.q, &self.keys, *c) * scale).exp()).collect();
            let total: f64 = weights.iter().sum();
            lse.push(total.ln());
            let dp: Vec<f64> = seen.iter().map(|c| dot(&self.dout, &self.values, *c)).collect();
            let mean: f64 = weights.iter().zip(&dp).map(|(w, dp)| w / total * dp).sum();
            for ((column, weight), dp) in seen.iter().zip(&weights).zip(&dp) {
                let p = weight / total;
                let ds = p * (dp - mean) * scale;
                for d in 0..head_dim {
                    let (own, other) = (index * head_dim + d, at(*column) + d);
                    dq[own] += ds * f64::from(self.keys[other]);
                    dk[other] += ds * f64::from(self.q[own]);
                    dv[other] += p * f64::from(self.dout[own]);
                }
            }
        }
        [lse, dq, dk, dv]
    }
}

#[test]
fn gradients_equal_the_formula_with_holes_and_rows_that_see_nothing() {
    let mut random = Random(71);
    for (rows, columns) in
        [(1, 1), (1, 40), (3, 9), (5, 150), (20, 31), (84, 84), (90, 200), (100, 700), (200, 30)]
    {
        for _ in 0..3 {
            let case = Case::draw(&mut random, rows, columns);
            let [lse, dq, dk, dv] = case.expected();
            at_every_level(|level| {
                let what = format!("{level:?} {rows}x{columns}, {:?}", case.shape);
                let found = on_threads(1, || case.found());
                let mut out = vec![0.0; case.q.len()];
                attention(&case.q, case.kv(), case.visible(), case.shape, &mut out);
                assert_eq!(found[0], out, "{what}");
                for (found, expected) in found[1].iter().zip(&lse) {
                    // The difference of two infinities is none.
                    let same = f64::from(*found).to_bits() == expected.to_bits();
                    assert!(same || (f64::from(*found) - expected).abs() < 2e-6, "{what}: {found}");
                }
                for (found, expected) in found[2..].iter().zip([&dq, &dk, &dv]) {
                    // Gradients are differences: of a row that sees one key they cancel.
                    let largest = expected.iter().fold(1e-3, |all: f64, d| all.max(d.abs()));
                    let bound = 4e-6 * (1.0 / largest).max(1.0);
                    assert_close(found, expected, bound, &what);
                }
                assert!(on_threads(3, || case.found()) == found, "{what}");
            });
        }
    }
}

#[test]
fn keys_that_no_row_sees_have_no_gradient_and_do_not_matter() {
    let mut random = Random(72);
    let mut case = Case::draw(&mut random, 12, 90);
    let width = case.shape.kv_heads * case.shape.head_dim;
    case.ranges = vec![0..3; 12];
    case.row_starts = (0..=12).collect();
    at_every_level(|level| {
        let before = case.found();
        assert!(before[3][3 * width..].iter().chain(&before[4][3 * width..]).all(|d| *d == 0.0));
        let mut spoilt = Case { keys: case.keys.clone(), ..Case::draw(&mut Random(72), 12, 90) };
        spoilt.ranges.clone_from(&case.ranges);
        spoilt.row_starts.clone_from(&case.row_starts);
        spoilt.keys[3 * width..].fill(f32::NAN);
        assert!(spoilt.found() == before, "{level:?}");
    });
}

#[test]
fn what_is_not_a_number_reaches_every_gradient_that_depends_on_it() {
    let mut random = Random(73);
    let mut case = Case::draw(&mut random, 6, 20);
    case.shape = AttentionShape { heads: 1, kv_heads: 1, head_dim: 4, scale: 0.5 };
    for data in [&mut case.q, &mut case.dout] {
        *data = random.floats(6 * 4);
    }
    (case.keys, case.values) = (random.floats(20 * 4), random.floats(20 * 4));
    case.ranges = vec![0..20; 6];
    case.row_starts = (0..=6).collect();
    case.q[5] = f32::NAN;
    at_every_level(|level| {
        let [_, lse, dq, dk, dv] = case.found();
        assert!(lse[1].is_nan() && lse[0].is_finite(), "{level:?}");
        assert!(dq[4..8].iter().chain(&dk).chain(&dv).all(|d| d.is_nan()), "{level:?}");
        assert!(dq[..4].iter().chain(&dq[8..]).all(|d| d.is_finite()), "{level:?}");
    });
}

#[test]
fn no_rows_and_no_columns_are_fine() {
    let mut case = Case::draw(&mut Random(74), 2, 5);
    (case.ranges, case.row_starts) = (vec![], vec![0, 0, 0]);
    at_every_level(|_| {
        let [out, lse, dq, dk, dv] = case.found();
        assert!(out.iter().chain(&dq).chain(&dk).chain(&dv).all(|d| *d == 0.0));
        assert!(lse.iter().all(|lse| *lse == f32::NEG_INFINITY));
    });
    assert_eq!(case.columns, 5);
    (case.row_starts, case.q, case.dout) = (vec![0], vec![], vec![]);
    at_every_level(|_| assert!(case.found()[3].iter().all(|d| *d == 0.0)));
}
