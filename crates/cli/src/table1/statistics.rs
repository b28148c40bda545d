//! Means with their intervals, and tests on pairs.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// How often signs are turned at random.
const TURNS: usize = 10_000;

/// The 97.5 % points of Student's distribution, by degrees of freedom from 1 on.
const STUDENT: [f64; 30] = [
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160,
    2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056,
    2.052, 2.048, 2.045, 2.042,
];
/// The same for more.
const NORMAL: f64 = 1.960;

/// A mean of several runs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Mean {
    pub(super) mean: f64,
    /// Half of the interval that has the mean of all runs with 95 %, if runs are normal; none of a
    /// single run.
    pub(super) interval: Option<f64>,
}

/// Returns the mean of numbers; none of nothing.
pub(super) fn mean(values: &[f64]) -> Option<Mean> {
    let count = values.len();
    if count == 0 {
        return None;
    }
    let mean = values.iter().sum::<f64>() / count as f64;
    let interval = (count > 1).then(|| {
        let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
        let error = (squares / (count - 1) as f64 / count as f64).sqrt();
        STUDENT.get(count - 2).copied().unwrap_or(NORMAL) * error
    });
    Some(Mean { mean, interval })
}

/// Returns how often turning the signs of differences at random makes as large a sum: the
/// probability of so large a difference by chance.
pub(super) fn by_chance(differences: &[f64]) -> f64 {
    let observed = differences.iter().sum::<f64>().abs();
    let mut random = ChaCha8Rng::seed_from_u64(0);
    let mut as_large = 1_u32;
    for _ in 0..TURNS {
        let mut sum = 0.0;
        for part in differences.chunks(64) {
            let signs: u64 = random.random();
            for (at, value) in part.iter().enumerate() {
                sum += if signs >> at & 1 == 1 { *value } else { -value };
            }
        }
        as_large += u32::from(sum.abs() >= observed - 1e-9);
    }
    f64::from(as_large) / (TURNS + 1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_is_that_of_student() {
        let found = mean(&[10.0, 12.0, 14.0]).unwrap();
        // Deviation 2, error 2 / sqrt(3), two degrees of freedom.
        assert!((found.mean - 12.0).abs() < 1e-12);
        assert!((found.interval.unwrap() - 4.303 * 2.0 / 3.0_f64.sqrt()).abs() < 1e-9);
        assert_eq!(mean(&[5.0]).unwrap().interval, None);
        assert_eq!(mean(&[]), None);
    }

    #[test]
    fn differences_of_one_sign_are_no_chance_and_those_of_both_are() {
        assert!(by_chance(&[1.0; 20]) < 0.001);
        assert!(by_chance(&[1.0, -1.0, 1.0, -1.0, 0.0]) > 0.5);
        assert!((by_chance(&[0.0; 10]) - 1.0).abs() < 1e-12);
    }
}
