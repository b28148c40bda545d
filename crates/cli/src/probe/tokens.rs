//! Whether one of the image's tokens knows that what it shows is counted.
//!
//! `How many red stars are there?` about a crowd of things that share few kinds and few colours: a linear rule reads
//! from a single token whether what it lies on is one of them. The same token of the same picture has to
//! say yes to one question and no to another, so where an image cannot read the question, the rule can do
//! little better than guess: what is most numerous is asked for most.

use anyhow::Result;
use miniature::{Object, Scene, Split};
use sequence::image_grid;

use super::ridge::weights;
use super::{Asking, PENALTIES, SEED, features};
use crate::runtime::Runtime;

/// A picture and what is asked about it.
struct Case {
    scene: Scene,
    counted: Object,
}

impl Case {
    /// Returns whether a thing is one of those that are asked for.
    fn counts(&self, object: &Object) -> bool {
        object.kind == self.counted.kind && object.color == self.counted.color
    }

    /// Returns for every token of a grid whether what it lies on is counted, none for those on nothing.
    fn labels(&self, count: usize) -> Vec<Option<bool>> {
        let (height, width) = image_grid(count);
        let middle = |at: usize, of: usize| (at as f32 + 0.5) / of as f32;
        let label = |token: usize| {
            let (x, y) = (middle(token % width, width), middle(token / width, height));
            let covers = |object: &&Object| {
                let b = object.bounds;
                (b.x..b.x + b.width).contains(&x) && (b.y..b.y + b.height).contains(&y)
            };
            // What is in front comes last.
            self.scene.objects.iter().rev().find(covers).map(|object| self.counts(object))
        };
        (0..height * width).map(label).collect()
    }
}

/// Makes the cases: crowds of which some things are counted and others are not.
fn cases(count: usize) -> Vec<Case> {
    let case = |index: u64| {
        // So that a token has a thing to itself, or a part of one.
        let scene = Scene::crowd(Split::Test, SEED, index, true);
        let counted = scene.objects.get(index as usize % scene.objects.len().max(1))?.clone();
        let case = Case { scene, counted };
        let is_mixed = case.scene.objects.iter().any(|object| !case.counts(object));
        is_mixed.then_some(case)
    };
    (0..).filter_map(case).take(count).collect()
}

/// The tokens of some pictures: their features, and whether what they lie on is counted.
#[derive(Default)]
struct Tokens {
    rows: Vec<Vec<f32>>,
    labels: Vec<f64>,
    /// Those of the pictures that are learned from.
    learned: usize,
}

/// Returns for every layer how often, of 1, a token on what is counted has a higher value than one on
/// something else: the area under the curve of hits and false alarms.
///
/// # Errors
/// If the model cannot compute, or its numbers are none.
pub(super) fn probe(runtime: &Runtime, asking: Asking) -> Result<Vec<f64>> {
    let learned = asking.pictures.max(10);
    let mut layers: Vec<Tokens> = Vec::new();
    for (number, case) in cases(learned + learned.div_ceil(4)).iter().enumerate() {
        let Case { scene, counted } = case;
        let (color, kind) = (counted.color.word(), counted.kind.plural());
        let question = format!("How many {color} {kind} are there?");
        let found = features(runtime, (scene, &question), asking)?;
        layers.resize_with(found.len(), Tokens::default);
        for ((_, row), tokens) in found.into_iter().zip(&mut layers) {
            let labels = case.labels(runtime.config.num_vision_tokens);
            for (row, label) in row.chunks(row.len() / labels.len().max(1)).zip(labels) {
                let Some(label) = label else { continue };
                tokens.rows.push(row.to_vec());
                tokens.labels.push(f64::from(u8::from(label)));
                tokens.learned += usize::from(number < learned);
            }
        }
    }
    layers.into_iter().map(Tokens::read).collect()
}

impl Tokens {
    /// Learns what is counted from some pictures' tokens, and tests it on the others'.
    fn read(mut self) -> Result<f64> {
        super::center(&mut self.rows, self.learned);
        let (seen, kept) = self.rows.split_at(self.learned);
        let (known, truth) = self.labels.split_at(self.learned);
        // The penalty is chosen without the pictures that are kept.
        let part = seen.len() * 4 / 5;
        let mut best = (f64::NEG_INFINITY, PENALTIES[0]);
        for penalty in PENALTIES {
            let rule = weights(&seen[..part], &known[..part], penalty)?;
            let area = area(&values(&seen[part..], &rule), &known[part..]);
            if area > best.0 {
                best = (area, penalty);
            }
        }
        Ok(area(&values(kept, &weights(seen, known, best.1)?), truth))
    }
}

fn values(rows: &[Vec<f32>], rule: &[f64]) -> Vec<f64> {
    let value = |row: &Vec<f32>| row.iter().zip(rule).map(|(x, w)| f64::from(*x) * w).sum();
    rows.iter().map(value).collect()
}

/// Returns the share of pairs of a one and a zero in which the one has the higher value; equal values
/// count half.
fn area(values: &[f64], labels: &[f64]) -> f64 {
    let mut order: Vec<(f64, f64)> = values.iter().copied().zip(labels.iter().copied()).collect();
    order.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (mut zeros, mut ones, mut pairs) = (0.0, 0.0, 0.0);
    for equal in order.chunk_by(|a, b| a.0.total_cmp(&b.0).is_eq()) {
        let high = equal.iter().map(|(_, label)| label).sum::<f64>();
        let low = equal.len() as f64 - high;
        pairs += high * (zeros + low / 2.0);
        (zeros, ones) = (zeros + low, ones + high);
    }
    if ones * zeros > 0.0 { pairs / (ones * zeros) } else { 0.5 }
}

#[cfg(test)]
mod tests {
    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    #[test]
    fn an_area_is_the_share_of_pairs_in_order() {
        assert!((area(&[0.1, 0.4, 0.35, 0.8], &[0.0, 0.0, 1.0, 1.0]) - 0.75).abs() < 1e-12);
        assert!((area(&[1.0, 1.0, 1.0], &[0.0, 1.0, 1.0]) - 0.5).abs() < 1e-12);
        assert!((area(&[3.0, 2.0], &[0.0, 1.0]) - 0.0).abs() < 1e-12);
        assert!((area(&[], &[]) - 0.5).abs() < 1e-12);
    }

    #[test]
    fn tokens_lie_on_what_is_counted_on_what_is_not_and_on_nothing() {
        for case in cases(40) {
            assert_eq!(case.scene.split(), Split::Test);
            let labels = case.labels(48);
            assert_eq!(labels.len(), 48);
            for (token, label) in labels.iter().enumerate() {
                let (x, y) =
                    ((token % 8) as f32 / 8.0 + 0.0625, (token / 8) as f32 / 6.0 + 1.0 / 12.0);
                let inside = |object: &Object| {
                    let [cx, cy] = object.bounds.middle();
                    (x - cx).abs() < object.bounds.width / 2.0
                        && (y - cy).abs() < object.bounds.height / 2.0
                };
                let on: Vec<bool> = case
                    .scene
                    .objects
                    .iter()
                    .filter(|object| inside(object))
                    .map(|object| case.counts(object))
                    .collect();
                assert_eq!(*label, on.last().copied(), "token {token}");
            }
        }
    }

    #[test]
    fn a_rule_finds_what_tokens_hold_and_nothing_that_they_do_not() {
        let tokens = |signal: f32| {
            let mut random = ChaCha8Rng::seed_from_u64(1);
            let mut tokens = Tokens { learned: 480, ..Tokens::default() };
            for _ in 0..600 {
                let label = random.random_bool(0.3);
                let mut row: Vec<f32> = (0..3).map(|_| random.random_range(-0.5..0.5)).collect();
                row[1] += if label { signal } else { 0.0 };
                tokens.rows.push(row);
                tokens.labels.push(f64::from(u8::from(label)));
            }
            tokens
        };
        assert!(tokens(2.0).read().unwrap() > 0.99);
        assert!((tokens(0.0).read().unwrap() - 0.5).abs() < 0.15);
    }
}
