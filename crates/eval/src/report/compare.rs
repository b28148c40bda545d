//! Two runs, question by question.

use std::collections::BTreeMap;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::score::rating::Mean;
use crate::score::{Item, Scored};

/// How often grades are exchanged.
const EXCHANGES: usize = 10_000;

/// How two runs differ.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// The first run.
    pub first: String,
    /// The second run.
    pub second: String,
    /// The benchmarks that both have.
    pub benchmarks: Vec<Difference>,
}

/// How the answers to one benchmark differ.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Difference {
    /// The benchmark.
    pub benchmark: String,
    /// The first run's mean score over the questions that both answered, of 100.
    pub first: f64,
    /// The second run's.
    pub second: f64,
    /// How many questions both answered.
    pub pairs: usize,
    /// Where the first run is better.
    pub better_first: usize,
    /// Where the second run is better.
    pub better_second: usize,
    /// The probability of so large a difference by chance.
    pub p: f64,
    /// The questions whose scores differ, with both scores.
    pub changed: Vec<(String, f64, f64)>,
    /// The categories in order of their names.
    #[serde(default)]
    pub categories: Vec<CategoryDifference>,
}

/// How the answers to the questions of a category differ.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CategoryDifference {
    /// The category.
    pub name: String,
    /// The first run's mean score, of 100.
    pub first: f64,
    /// The second run's.
    pub second: f64,
    /// How many questions both answered.
    pub pairs: usize,
}

/// Compares the benchmarks that two runs have in common.
pub fn compare(
    (first, scored_first): (&str, &[Scored]),
    (second, scored_second): (&str, &[Scored]),
) -> Comparison {
    let same = |a: &Scored| scored_second.iter().find(|b| b.name == a.name);
    let benchmarks = scored_first
        .iter()
        .filter_map(|a| difference(&a.name, &a.items, &same(a)?.items))
        .collect();
    Comparison { first: first.to_owned(), second: second.to_owned(), benchmarks }
}

fn difference(name: &str, first: &[Item], second: &[Item]) -> Option<Difference> {
    let of_second: BTreeMap<&str, f64> =
        second.iter().map(|item| (item.index.as_str(), item.score)).collect();
    let pairs: Vec<(&str, f64, f64)> = first
        .iter()
        .filter_map(|item| {
            Some((item.index.as_str(), item.score, *of_second.get(item.index.as_str())?))
        })
        .collect();
    if pairs.is_empty() {
        return None;
    }
    let mean = |score: fn(&(&str, f64, f64)) -> f64| {
        100.0 * pairs.iter().map(score).sum::<f64>() / pairs.len() as f64
    };
    let better_first = pairs.iter().filter(|(_, a, b)| a > b).count();
    let better_second = pairs.iter().filter(|(_, a, b)| b > a).count();
    let is_mark = |score: f64| score == 0.0 || (score - 1.0).abs() < f64::EPSILON;
    let p = if pairs.iter().all(|(_, a, b)| is_mark(*a) && is_mark(*b)) {
        mcnemar(better_first, better_second)
    } else {
        exchange(&pairs.iter().map(|(_, a, b)| b - a).collect::<Vec<_>>())
    };
    let changed = pairs.iter().filter(|(_, a, b)| (a - b).abs() > 1e-9);
    Some(Difference {
        benchmark: name.to_owned(),
        first: mean(|(_, a, _)| *a),
        second: mean(|(_, _, b)| *b),
        pairs: pairs.len(),
        better_first,
        better_second,
        p,
        changed: changed.map(|(index, a, b)| ((*index).to_owned(), *a, *b)).collect(),
        categories: categories(first, &of_second),
    })
}

fn categories(first: &[Item], second: &BTreeMap<&str, f64>) -> Vec<CategoryDifference> {
    let mut means: BTreeMap<&str, (Mean, Mean)> = BTreeMap::new();
    for item in first {
        if let Some(other) = second.get(item.index.as_str()) {
            let (a, b) = means.entry(&item.category).or_default();
            a.add(item.score);
            b.add(*other);
        }
    }
    let difference = |(name, (a, b)): (&str, (Mean, Mean))| CategoryDifference {
        name: name.to_owned(),
        first: a.percent().unwrap_or_default(),
        second: b.percent().unwrap_or_default(),
        pairs: a.count(),
    };
    means.into_iter().filter(|(name, _)| !name.is_empty()).map(difference).collect()
}

/// Returns the probability that fair coins fall at least as unevenly: the exact test of `McNemar`.
fn mcnemar(a: usize, b: usize) -> f64 {
    let (total, few) = (a + b, a.min(b));
    if total == 0 {
        return 1.0;
    }
    // Logarithms of binomial coefficients: the numbers themselves are too large.
    let mut log_choose = 0.0;
    let mut sum = 0.0;
    for k in 0..=few {
        if k > 0 {
            log_choose += ((total - k + 1) as f64 / k as f64).ln();
        }
        sum += (log_choose - total as f64 * std::f64::consts::LN_2).exp();
    }
    (2.0 * sum).min(1.0)
}

/// Returns how often exchanging the two grades of questions at random makes as large a difference.
fn exchange(differences: &[f64]) -> f64 {
    let observed = differences.iter().sum::<f64>().abs();
    let mut random = ChaCha8Rng::seed_from_u64(0);
    let mut as_large = 1;
    for _ in 0..EXCHANGES {
        let sum: f64 =
            differences.iter().map(|value| if random.random() { *value } else { -value }).sum();
        as_large += usize::from(sum.abs() >= observed - 1e-9);
    }
    f64::from(as_large as u32) / (EXCHANGES + 1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_test_of_mcnemar_is_the_sum_of_both_tails() {
        // By hand: 2 * (1 + 10 + 45) / 1024.
        assert!((mcnemar(2, 8) - 112.0 / 1024.0).abs() < 1e-12);
        assert!((mcnemar(0, 0) - 1.0).abs() < 1e-12);
        assert!((mcnemar(5, 5) - 1.0).abs() < 1e-12);
        assert!(mcnemar(100, 9900) < 1e-12);
    }

    #[test]
    fn grades_that_always_rise_are_no_chance() {
        assert!(exchange(&[0.1; 20]) < 0.001);
        assert!(exchange(&[0.1, -0.1, 0.2, -0.2]) > 0.9);
    }
}
