//! The bookkeeping of a beam search, without a model.

use sequence::TokenId;

use super::{BeamOptions, EarlyStopping, Hypothesis};
use crate::sampler::{check, largest, log_softmax};
use crate::{Error, FinishReason};

/// A reply that is not finished.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Beam {
    /// Its tokens.
    pub(super) ids: Vec<TokenId>,
    /// The sum of their log-probabilities.
    pub(super) sum: f32,
    /// Which beam of the step before it continues.
    pub(super) parent: usize,
}

/// The beams, and the finished replies: what Hugging Face's `BeamSearchScorer` keeps for one prompt.
#[derive(Debug)]
pub(super) struct Search {
    options: BeamOptions,
    stop: Vec<TokenId>,
    /// The longest reply.
    limit: usize,
    beams: Vec<Beam>,
    /// At most `width` of them, in the order they came.
    finished: Vec<Hypothesis>,
    /// Whether no beam can improve on the finished replies.
    done: bool,
}

impl Search {
    /// Returns the search for replies of up to `limit` tokens.
    pub(super) fn new(options: BeamOptions, stop: Vec<TokenId>, limit: usize) -> Self {
        let beams = vec![Beam { ids: Vec::new(), sum: 0.0, parent: 0 }];
        Self { options, stop, limit, beams, finished: Vec::new(), done: false }
    }

    /// Returns the beams whose next logits [`Self::step`] needs, the best first.
    pub(super) fn beams(&self) -> &[Beam] {
        &self.beams
    }

    /// Returns whether the search is over.
    pub(super) fn is_done(&self) -> bool {
        let full = |beam: &Beam| beam.ids.len() >= self.limit;
        self.done || self.beams.first().is_none_or(full)
    }

    /// Continues every beam, given the logits of its next token.
    pub(super) fn step(&mut self, logits: &[Vec<f32>]) -> Result<(), Error> {
        let candidates = self.candidates(logits)?;
        let best_sum = candidates.first().map_or(f32::NEG_INFINITY, |beam| beam.sum);
        let width = self.options.width;
        let mut beams = Vec::with_capacity(width);
        for (rank, candidate) in candidates.into_iter().enumerate() {
            if candidate.ids.last().is_some_and(|id| self.stop.contains(id)) {
                // A reply that ends outside the best `width` is not worth keeping.
                if rank < width {
                    self.keep(candidate, FinishReason::Stop);
                }
            } else {
                beams.push(candidate);
            }
            if beams.len() == width {
                break;
            }
        }
        let len = self.beams.first().map_or(0, |beam| beam.ids.len()) + 1;
        self.beams = beams;
        self.done = self.cannot_improve(best_sum, len);
        Ok(())
    }

    /// Returns the likeliest continuations, best first, enough that `width` of them do not stop.
    fn candidates(&self, logits: &[Vec<f32>]) -> Result<Vec<Beam>, Error> {
        let count = self.options.width * (1 + self.stop.len());
        let (mut sums, mut origins) = (Vec::new(), Vec::new());
        for (parent, (beam, logits)) in self.beams.iter().zip(logits).enumerate() {
            check(logits)?;
            let logprobs = log_softmax(logits);
            for index in largest(&logprobs, count) {
                sums.push(beam.sum + logprobs[index]);
                origins.push((parent, TokenId(index as u32)));
            }
        }
        let best = largest(&sums, count).into_iter().filter(|i| sums[*i] > f32::NEG_INFINITY);
        Ok(best
            .map(|index| {
                let (parent, id) = origins[index];
                let ids = [self.beams[parent].ids.as_slice(), &[id]].concat();
                Beam { ids, sum: sums[index], parent }
            })
            .collect())
    }

    /// Keeps a reply if it is one of the best so far.
    fn keep(&mut self, beam: Beam, finish: FinishReason) {
        let score = self.score(beam.sum, beam.ids.len());
        let full = self.finished.len() >= self.options.width;
        if full && self.worst().is_none_or(|(_, worst)| score <= worst) {
            return;
        }
        self.finished.push(Hypothesis { new_ids: beam.ids, score, finish });
        if full && let Some((index, _)) = self.worst() {
            self.finished.remove(index);
        }
    }

    fn worst(&self) -> Option<(usize, f32)> {
        let scores = self.finished.iter().map(|hypothesis| hypothesis.score).enumerate();
        scores.min_by(|(_, a), (_, b)| a.total_cmp(b))
    }

    fn score(&self, sum: f32, len: usize) -> f32 {
        (f64::from(sum) / (len.max(1) as f64).powf(f64::from(self.options.length_penalty))) as f32
    }

    /// Returns whether the best beam, of `len` tokens, can no longer end better than the worst of
    /// enough finished replies.
    fn cannot_improve(&self, best_sum: f32, len: usize) -> bool {
        let Some((_, worst)) = self.worst() else { return false };
        if self.finished.len() < self.options.width {
            return false;
        }
        let len = match self.options.early_stopping {
            EarlyStopping::Full => return true,
            // Sums are negative: with a positive penalty the longest reply scores best.
            EarlyStopping::Never if self.options.length_penalty > 0.0 => self.limit,
            EarlyStopping::Heuristic | EarlyStopping::Never => len,
        };
        worst >= self.score(best_sum, len)
    }

    /// Returns the best replies, best first. Unless no beam could have improved on them, the beams
    /// count as replies that ended for the reason `cut`.
    pub(super) fn finish(mut self, cut: FinishReason) -> Vec<Hypothesis> {
        if !self.done {
            for beam in std::mem::take(&mut self.beams) {
                self.keep(beam, cut);
            }
        }
        let mut replies = self.finished;
        replies.sort_by(|a, b| b.score.total_cmp(&a.score));
        replies
    }
}

#[cfg(test)]
mod tests;
