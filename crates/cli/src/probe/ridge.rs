//! Ridge regression with many features and few examples: the linear probe.

use anyhow::{Result, ensure};
use rayon::prelude::*;

/// Weights of examples, from which a prediction is a sum over inner products.
#[derive(Clone, Debug)]
pub(super) struct Ridge {
    /// `[examples, targets]`
    weights: Vec<f64>,
    num_targets: usize,
    means: Vec<f64>,
}

impl Ridge {
    /// Fits targets to examples of which the inner products are known: `(K + penalty) w = y`, where
    /// the penalty is a share of the mean of K's diagonal.
    ///
    /// # Errors
    /// If the matrix is not positive, which the penalty makes impossible for numbers.
    pub(super) fn fit(
        products: &[f64], // [examples, examples]
        targets: &[f64],  // [examples, targets]
        num_examples: usize,
        penalty: f64,
    ) -> Result<Self> {
        let n = num_examples;
        let num_targets = targets.len() / n.max(1);
        let means: Vec<f64> = (0..num_targets)
            .map(|t| (0..n).map(|i| targets[i * num_targets + t]).sum::<f64>() / n as f64)
            .collect();
        let matrix = penalised(products.to_vec(), n, penalty)?;
        let mut weights: Vec<f64> =
            targets.iter().enumerate().map(|(at, value)| value - means[at % num_targets]).collect();
        solve(&matrix, &mut weights, (n, num_targets));
        Ok(Self { weights, num_targets, means })
    }

    /// Predicts the targets of an example by its inner products with those that were learned.
    pub(super) fn predict(&self, products: &[f64]) -> Vec<f64> {
        let mut out = self.means.clone();
        for (product, weights) in products.iter().zip(self.weights.chunks(self.num_targets)) {
            for (out, weight) in out.iter_mut().zip(weights) {
                *out += product * weight;
            }
        }
        out
    }
}

/// Fits one target to many examples with few features, `(X' X + penalty) w = X' y`, where the penalty is
/// a share of the mean of the diagonal; a target's mean has no part in the rule.
///
/// # Errors
/// As for [`Ridge::fit`].
pub(super) fn weights(rows: &[Vec<f32>], targets: &[f64], penalty: f64) -> Result<Vec<f64>> {
    let width = rows.first().map_or(0, Vec::len);
    let mean = targets.iter().sum::<f64>() / targets.len().max(1) as f64;
    let column = |at: usize| -> Vec<f32> { rows.iter().map(|row| row[at]).collect() };
    let columns: Vec<Vec<f32>> = (0..width).map(column).collect();
    let matrix = penalised(products(&columns, &columns), width, penalty)?;
    let with_target = |column: &Vec<f32>| {
        column.iter().zip(targets).map(|(x, y)| f64::from(*x) * (y - mean)).sum()
    };
    let mut found: Vec<f64> = columns.iter().map(with_target).collect();
    solve(&matrix, &mut found, (width, 1));
    Ok(found)
}

/// Adds a share of the mean of a matrix's diagonal to it, and returns the Cholesky factor.
fn penalised(mut matrix: Vec<f64>, n: usize, penalty: f64) -> Result<Vec<f64>> {
    let trace: f64 = (0..n).map(|i| matrix[i * n + i]).sum();
    for i in 0..n {
        matrix[i * n + i] += penalty * trace / n as f64 + 1e-9;
    }
    cholesky(&mut matrix, n)?;
    Ok(matrix)
}

/// Replaces the lower half of a symmetric matrix by its Cholesky factor.
fn cholesky(matrix: &mut [f64], n: usize) -> Result<()> {
    for row in 0..n {
        let (above, rest) = matrix.split_at_mut(row * n);
        let current = &mut rest[..n];
        for column in 0..row {
            let other = &above[column * n..=column * n + column];
            let sum = dot(&current[..column], &other[..column]);
            current[column] = (current[column] - sum) / other[column];
        }
        let rest = current[row] - dot(&current[..row], &current[..row]);
        ensure!(rest > 0.0, "the products of the probe's features are no numbers");
        current[row] = rest.sqrt();
    }
    Ok(())
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn divide(values: &mut [f64], by: f64) {
    for value in values {
        *value /= by;
    }
}

/// Solves `L L' x = b` in place, for several right sides at once.
fn solve(factor: &[f64], values: &mut [f64], (n, m): (usize, usize)) {
    for row in 0..n {
        let (done, rest) = values.split_at_mut(row * m);
        let current = &mut rest[..m];
        for (column, known) in done.chunks(m).enumerate() {
            let weight = factor[row * n + column];
            current.iter_mut().zip(known).for_each(|(value, known)| *value -= weight * known);
        }
        divide(current, factor[row * n + row]);
    }
    for row in (0..n).rev() {
        let (rest, done) = values.split_at_mut((row + 1) * m);
        let current = &mut rest[row * m..];
        for (below, known) in done.chunks(m).enumerate() {
            let weight = factor[(row + 1 + below) * n + row];
            current.iter_mut().zip(known).for_each(|(value, known)| *value -= weight * known);
        }
        divide(current, factor[row * n + row]);
    }
}

/// Sums that run side by side, so that they become vectors.
const LANES: usize = 16;

/// Returns the inner products of rows with other rows, `[a, b]`.
pub(super) fn products(a: &[Vec<f32>], b: &[Vec<f32>]) -> Vec<f64> {
    a.par_iter().flat_map_iter(|left| b.iter().map(move |right| product(left, right))).collect()
}

fn product(a: &[f32], b: &[f32]) -> f64 {
    let (a_lanes, a_rest) = a.as_chunks::<LANES>();
    let (b_lanes, b_rest) = b.as_chunks::<LANES>();
    let mut sums = [0.0_f32; LANES];
    for (x, y) in a_lanes.iter().zip(b_lanes) {
        for (sum, (x, y)) in sums.iter_mut().zip(x.iter().zip(y)) {
            *sum += x * y;
        }
    }
    let rest: f32 = a_rest.iter().zip(b_rest).map(|(x, y)| x * y).sum();
    f64::from(sums.iter().sum::<f32>() + rest)
}

/// Takes the mean of some rows from all rows: what is left is what tells examples apart.
pub(super) fn center(rows: &mut [Vec<f32>], num_learned: usize) {
    let Some(width) = rows.first().map(Vec::len) else { return };
    let mut mean = vec![0.0_f64; width];
    for row in &rows[..num_learned] {
        mean.iter_mut().zip(row).for_each(|(mean, value)| *mean += f64::from(*value));
    }
    for row in rows {
        let scale = 1.0 / num_learned as f64;
        row.iter_mut().zip(&mean).for_each(|(value, mean)| *value -= (mean * scale) as f32);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_linear_rule_is_found_from_more_features_than_it_needs() {
        // y = 2 a - b + 3, and two features that say nothing.
        let row = |at: usize| {
            let value = |k: usize| ((at * 7919 + k * 104_729) % 97) as f32 / 97.0 - 0.5;
            vec![value(1), value(2), value(3), value(4)]
        };
        let mut rows: Vec<Vec<f32>> = (0..60).map(row).collect();
        let rule = |row: &Vec<f32>| f64::from(2.0 * row[0] - row[1] + 3.0);
        let targets: Vec<f64> = rows.iter().map(rule).collect();
        center(&mut rows, 40);
        let (learned, kept) = rows.split_at(40);
        let fit = Ridge::fit(&products(learned, learned), &targets[..40], 40, 1e-6).unwrap();
        for (at, products) in products(kept, learned).chunks(40).enumerate() {
            assert!((fit.predict(products)[0] - targets[40 + at]).abs() < 1e-3);
        }
    }

    #[test]
    fn features_that_are_all_the_same_predict_the_mean() {
        let rows = vec![vec![0.0_f32; 3]; 4];
        let targets = [1.0, 2.0, 3.0, 4.0];
        let fit = Ridge::fit(&products(&rows, &rows), &targets, 4, 0.1).unwrap();
        assert!((fit.predict(&[0.0; 4])[0] - 2.5).abs() < 1e-9);
    }

    #[test]
    fn what_is_no_number_is_refused() {
        let rows = vec![vec![f32::NAN; 2]; 3];
        assert!(Ridge::fit(&products(&rows, &rows), &[1.0; 3], 3, 0.1).is_err());
    }
}
