//! A reply while it is being written.

use std::time::{Duration, Instant};

use sequence::TokenId;

use crate::sampler::{Sampler, logprobs};
use crate::{
    CancelToken, Constraint, Error, FinishReason, Generated, Request, Timings, TokenLogprobs,
};

/// A reply while it is being written: what a [`Request`] asks for, and what there is of it.
#[derive(Debug)]
pub(crate) struct Reply {
    sampler: Sampler,
    stop: Vec<TokenId>,
    /// The longest reply that the request and the model's context allow.
    limit: usize,
    top_logprobs: Option<usize>,
    bias: Vec<(TokenId, f32)>,
    constraint: Option<Box<dyn Constraint>>,
    /// Whether the constraint lets nothing follow.
    complete: bool,
    cancel: CancelToken,
    new_ids: Vec<TokenId>,
    logprobs: Vec<TokenLogprobs>,
    started: Instant,
    /// When the first and the last token were chosen, counted from the start.
    first: Duration,
    last: Duration,
    prompt_tokens: usize,
    cached_tokens: usize,
}

impl Reply {
    /// Returns the empty reply to a request whose prompt fits into `context` positions.
    pub(crate) fn new(request: &Request, context: usize) -> Self {
        let prompt_tokens = request.prompt.layout.len();
        Self {
            sampler: Sampler::new(request.sampling, &request.prompt.ids),
            stop: request.stop.clone(),
            limit: request.max_new_tokens.min(context.saturating_sub(prompt_tokens)),
            top_logprobs: request.top_logprobs,
            bias: request.bias.clone(),
            constraint: request.constraint.clone(),
            complete: false,
            cancel: request.cancel.clone(),
            new_ids: Vec::new(),
            logprobs: Vec::new(),
            started: Instant::now(),
            first: Duration::ZERO,
            last: Duration::ZERO,
            prompt_tokens,
            cached_tokens: 0,
        }
    }

    /// Returns the longest reply that is possible.
    pub(crate) fn limit(&self) -> usize {
        self.limit
    }

    /// Returns whether somebody has cancelled the reply.
    pub(crate) fn is_cancelled(&self) -> bool {
        self.cancel.is_cancelled()
    }

    /// Cancels the reply, whatever its request says.
    pub(crate) fn cancel(&mut self) {
        self.cancel = CancelToken::cancelled();
    }

    /// Starts the clock, with `cached_tokens` of the prompt at hand.
    pub(crate) fn start(&mut self, cached_tokens: usize) {
        self.started = Instant::now();
        self.cached_tokens = cached_tokens;
    }

    /// Says how many of the prompt's tokens are at hand after all.
    pub(crate) fn found(&mut self, cached_tokens: usize) {
        self.cached_tokens = cached_tokens;
    }

    /// Chooses the next token from its logits.
    pub(crate) fn accept(&mut self, logits: Vec<f32>) -> Result<TokenId, Error> {
        let own = self.top_logprobs.map(|count| (logits.clone(), count));
        let id = self.choose(logits)?;
        if let Some((logits, count)) = own {
            self.logprobs.push(logprobs(&logits, id, count));
        }
        self.last = self.started.elapsed();
        if self.new_ids.is_empty() {
            self.first = self.last;
        }
        self.new_ids.push(id);
        Ok(id)
    }

    fn choose(&mut self, mut logits: Vec<f32>) -> Result<TokenId, Error> {
        for (id, bias) in &self.bias {
            if let Some(logit) = logits.get_mut(id.0 as usize) {
                *logit += bias;
            }
        }
        let Some(constraint) = &mut self.constraint else { return self.sampler.sample(logits) };
        let failed = |reason| Error::Constraint { reason };
        constraint.rule_out(&mut logits).map_err(failed)?;
        let id = self.sampler.sample(logits)?;
        self.complete = constraint.accept(id).map_err(failed)?;
        Ok(id)
    }

    /// Returns the log-probabilities of the last token, if they were asked for.
    pub(crate) fn last_logprobs(&self) -> Option<&TokenLogprobs> {
        self.logprobs.last()
    }

    /// Returns why the reply ends here, if it does.
    pub(crate) fn finished(&self) -> Option<FinishReason> {
        if self.complete || self.new_ids.last().is_some_and(|id| self.stop.contains(id)) {
            Some(FinishReason::Stop)
        } else if self.new_ids.len() >= self.limit {
            Some(FinishReason::Length)
        } else {
            self.is_cancelled().then_some(FinishReason::Cancelled)
        }
    }

    /// Returns the reply as it is.
    pub(crate) fn finish(self, finish: FinishReason) -> Generated {
        let timings = Timings {
            prefill: self.first,
            decode: self.last.saturating_sub(self.first),
            prompt_tokens: self.prompt_tokens,
            cached_tokens: self.cached_tokens,
            new_tokens: self.new_ids.len(),
        };
        Generated { new_ids: self.new_ids, logprobs: self.logprobs, finish, timings }
    }
}
