//! From the logits of one position to a token.

use std::collections::{BTreeMap, BTreeSet};

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use sequence::TokenId;

use crate::{Error, Sampling, SamplingOptions, TokenLogprobs};

/// The random numbers and the history of one request.
#[derive(Debug)]
pub(crate) struct Sampler {
    sampling: Sampling,
    rng: ChaCha8Rng,
    /// The tokens that the repetition penalty applies to; not kept where there is none.
    seen: BTreeSet<TokenId>,
    /// How often the reply has each token; not kept where nothing depends on it.
    counts: BTreeMap<TokenId, usize>,
}

impl Sampler {
    /// Returns the sampler of a request whose prompt has these ids.
    pub(crate) fn new(sampling: Sampling, prompt: &[TokenId]) -> Self {
        let rng = ChaCha8Rng::seed_from_u64(sampling.options().seed);
        let mut sampler = Self { sampling, rng, seen: BTreeSet::new(), counts: BTreeMap::new() };
        sampler.remember(prompt);
        sampler
    }

    /// Chooses a token.
    pub(crate) fn sample(&mut self, mut scores: Vec<f32>) -> Result<TokenId, Error> {
        check(&scores)?;
        let options = *self.sampling.options();
        self.penalise(&mut scores, options.repetition_penalty);
        let index = if self.sampling.is_greedy() {
            argmax(&scores)
        } else {
            filter(&mut scores, &options);
            self.draw(&scores)
        };
        let id = TokenId(index as u32);
        self.remember(&[id]);
        if self.sampling.counts_tokens() {
            *self.counts.entry(id).or_default() += 1;
        }
        Ok(id)
    }

    fn remember(&mut self, ids: &[TokenId]) {
        if self.sampling.is_penalised() {
            self.seen.extend(ids);
        }
    }

    fn penalise(&self, scores: &mut [f32], penalty: f32) {
        for id in &self.seen {
            if let Some(score) = scores.get_mut(id.0 as usize) {
                *score = if *score < 0.0 { *score * penalty } else { *score / penalty };
            }
        }
        let SamplingOptions { presence_penalty, frequency_penalty, .. } = *self.sampling.options();
        for (id, count) in &self.counts {
            if let Some(score) = scores.get_mut(id.0 as usize) {
                *score -= presence_penalty + frequency_penalty * *count as f32;
            }
        }
    }

    /// Draws an index with the probabilities `softmax(scores)`.
    fn draw(&mut self, scores: &[f32]) -> usize {
        let weights = weights(scores, max(scores));
        let total: f64 = weights.iter().sum();
        let mut left = self.rng.random::<f64>() * total;
        let mut last = 0;
        for (index, weight) in weights.iter().enumerate() {
            if *weight > 0.0 {
                last = index;
                left -= weight;
                if left < 0.0 {
                    break;
                }
            }
        }
        last
    }
}

/// Rules out logits that no arithmetic can go on with.
pub(crate) fn check(logits: &[f32]) -> Result<(), Error> {
    let bad = |value: &f32| value.is_nan() || *value == f32::INFINITY;
    if let Some(index) = logits.iter().position(bad) {
        return Err(Error::BadLogit { id: TokenId(index as u32), value: logits[index] });
    }
    if logits.iter().all(|logit| *logit == f32::NEG_INFINITY) {
        return Err(Error::NoPossibleToken);
    }
    Ok(())
}

/// Returns `log(softmax(logits))`, summed in f64.
pub(crate) fn log_softmax(logits: &[f32]) -> Vec<f32> {
    let max = max(logits);
    let total: f64 = logits.iter().map(|logit| f64::from(logit - max).exp()).sum();
    let log_total = total.ln() + f64::from(max);
    logits.iter().map(|logit| (f64::from(*logit) - log_total) as f32).collect()
}

/// Returns the indices of the `count` largest values, largest first, the lower index first among
/// equals.
pub(crate) fn largest(values: &[f32], count: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    let rank = |a: &usize, b: &usize| values[*b].total_cmp(&values[*a]).then(a.cmp(b));
    if count < order.len() {
        order.select_nth_unstable_by(count, rank);
        order.truncate(count);
    }
    order.sort_unstable_by(rank);
    order
}

/// Returns the log-probability of `id` and of the `count` most likely tokens.
pub(crate) fn logprobs(logits: &[f32], id: TokenId, count: usize) -> TokenLogprobs {
    let all = log_softmax(logits);
    let top = largest(&all, count).into_iter().map(|i| (TokenId(i as u32), all[i])).collect();
    TokenLogprobs { logprob: all[id.0 as usize], top }
}

/// Returns the index of the largest score, the lowest among equals.
fn argmax(scores: &[f32]) -> usize {
    let mut best = 0;
    for (index, score) in scores.iter().enumerate() {
        if *score > scores[best] {
            best = index;
        }
    }
    best
}

fn max(scores: &[f32]) -> f32 {
    scores.iter().copied().fold(f32::NEG_INFINITY, f32::max)
}

/// Applies the temperature, and sets the scores of the tokens that are filtered out to minus
/// infinity.
fn filter(scores: &mut [f32], options: &SamplingOptions) {
    // Shifting the largest to zero first changes no probability, and no temperature overflows.
    let shift = max(scores);
    for score in scores.iter_mut() {
        *score = (*score - shift) / options.temperature;
    }
    if options.top_k > 0 && options.top_k < scores.len() {
        keep_top_k(scores, options.top_k);
    }
    if options.top_p < 1.0 {
        keep_top_p(scores, options.top_p);
    }
    if options.min_p > 0.0 {
        for score in scores.iter_mut().filter(|score| score.exp() < options.min_p) {
            *score = f32::NEG_INFINITY;
        }
    }
}

fn keep_top_k(scores: &mut [f32], k: usize) {
    let mut sorted = scores.to_vec();
    let (_, threshold, _) = sorted.select_nth_unstable_by(k - 1, |a, b| b.total_cmp(a));
    let threshold = *threshold;
    for score in scores.iter_mut().filter(|score| **score < threshold) {
        *score = f32::NEG_INFINITY;
    }
}

/// Returns `exp(score - shift)`, of which most are exact zeros where tokens are ruled out.
fn weights(scores: &[f32], shift: f32) -> Vec<f64> {
    let weight = |score: &f32| match *score {
        f32::NEG_INFINITY => 0.0,
        score => f64::from(score - shift).exp(),
    };
    scores.iter().map(weight).collect()
}

/// Rules out the least likely tokens whose probabilities add up to at most `1 - p`.
///
/// Tokens below an even share of that may all go, as together they have at most all of it: only
/// those above are sorted, which of a vocabulary are few.
fn keep_top_p(scores: &mut [f32], p: f32) {
    let weights = weights(scores, 0.0);
    let limit = (1.0 - f64::from(p)) * weights.iter().sum::<f64>();
    let share = limit / weights.len() as f64;
    let mut above: Vec<usize> = (0..weights.len()).filter(|i| weights[*i] > share).collect();
    if above.is_empty() {
        // All are equal.
        above = (0..weights.len()).collect();
    }
    let rank = |a: &usize, b: &usize| scores[*b].total_cmp(&scores[*a]).then(a.cmp(b));
    above.sort_unstable_by(rank);
    let mut tail = 0.0;
    if above.len() < weights.len() {
        for (score, weight) in scores.iter_mut().zip(&weights).filter(|(_, w)| **w <= share) {
            tail += weight;
            *score = f32::NEG_INFINITY;
        }
    }
    for &index in above[1..].iter().rev() {
        tail += weights[index];
        if tail > limit {
            break;
        }
        scores[index] = f32::NEG_INFINITY;
    }
}

#[cfg(test)]
mod tests;
