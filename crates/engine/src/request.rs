//! What the engine is asked, and what it answers.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use candle_core::Tensor;
use sequence::{AttentionPolicy, Layout, TokenId};

use crate::{Constraint, Error, Sampling};

/// A sequence to be continued: token ids, where its images are, and who may read whom.
#[derive(Clone, Debug)]
pub struct Prompt {
    /// The token ids, one `<image>` id for each image.
    pub ids: Vec<TokenId>,
    /// The layout, vision tokens expanded.
    pub layout: Layout,
    /// For each image the resampler's output, `[num_vision_tokens, hidden]`.
    ///
    /// Keep these tensors and pass clones of them: an image is recognised as the one that is
    /// cached by the tensor's [`candle_core::TensorId`], not by its values.
    pub features: Vec<Tensor>,
    /// Who may read whom.
    pub policy: AttentionPolicy,
}

impl Prompt {
    /// Checks that the ids and the features are those of the layout.
    pub(crate) fn validate(&self, limit: usize) -> Result<(), Error> {
        let (expected, found) = (self.layout.num_ids(), self.ids.len());
        let (images, tokens) = (self.layout.num_images(), self.layout.len());
        if tokens == 0 {
            return Err(Error::EmptyPrompt);
        }
        if found != expected {
            return Err(Error::IdCount { expected, found });
        }
        if self.features.len() != images {
            return Err(Error::ImageCount { expected: images, found: self.features.len() });
        }
        if tokens > limit {
            return Err(Error::PromptTooLong { tokens, limit });
        }
        Ok(())
    }
}

/// A prompt and how to continue it.
#[derive(Clone, Debug)]
pub struct Request {
    /// What to continue.
    pub prompt: Prompt,
    /// How each token is chosen.
    pub sampling: Sampling,
    /// The tokens that end the reply.
    pub stop: Vec<TokenId>,
    /// The longest reply, its stop token counted.
    pub max_new_tokens: usize,
    /// How many of the most likely tokens to report for each new one: none without `Some`, and
    /// with `Some(0)` the log-probability of the new token alone.
    pub top_logprobs: Option<usize>,
    /// What is added to the logits of some tokens before one is chosen.
    pub bias: Vec<(TokenId, f32)>,
    /// What the tokens are held to, if anything.
    pub constraint: Option<Box<dyn Constraint>>,
    /// Whose request it is: those of one client share its turns with those of the others.
    pub client: u64,
    /// Stops the reply from another thread.
    pub cancel: CancelToken,
}

impl Request {
    /// Returns a greedy request for up to `max_new_tokens` tokens without a stop token.
    pub fn new(prompt: Prompt, max_new_tokens: usize) -> Self {
        Self {
            prompt,
            sampling: Sampling::greedy(),
            stop: Vec::new(),
            max_new_tokens,
            top_logprobs: None,
            bias: Vec::new(),
            constraint: None,
            client: 0,
            cancel: CancelToken::new(),
        }
    }
}

/// A switch, shared by its clones, that stops a reply before its next token.
#[derive(Clone, Debug, Default)]
pub struct CancelToken {
    cancelled: Arc<AtomicBool>,
}

impl CancelToken {
    /// Returns a switch that is off.
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns a switch that is on.
    pub(crate) fn cancelled() -> Self {
        let token = Self::new();
        token.cancel();
        token
    }

    /// Stops everything that holds a clone of this switch.
    pub fn cancel(&self) {
        self.cancelled.store(true, Ordering::Relaxed);
    }

    /// Returns whether somebody has cancelled.
    pub fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Relaxed)
    }
}

/// Why a reply ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FinishReason {
    /// A stop token was generated, or the reply's constraint lets nothing follow.
    Stop,
    /// The reply is as long as was asked for, or the sequence as long as the model's context.
    Length,
    /// The caller stopped it.
    Cancelled,
}

/// The log-probability of a new token, and the most likely tokens in its place.
///
/// These are the model's own, before the repetition penalty, the temperature and the filters.
#[derive(Clone, Debug, PartialEq)]
pub struct TokenLogprobs {
    /// The log-probability of the new token.
    pub logprob: f32,
    /// The most likely tokens, the likeliest first.
    pub top: Vec<(TokenId, f32)>,
}

/// Where the time of a reply went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timings {
    /// From the start to the first new token.
    pub prefill: Duration,
    /// From the first new token to the last.
    pub decode: Duration,
    /// The prompt's length, vision tokens included.
    pub prompt_tokens: usize,
    /// How many of the prompt's tokens were cached already.
    pub cached_tokens: usize,
    /// The reply's length.
    pub new_tokens: usize,
}

/// A reply.
#[derive(Clone, Debug, PartialEq)]
pub struct Generated {
    /// The new tokens, a stop token included.
    pub new_ids: Vec<TokenId>,
    /// For each new token its log-probability, if the request asked for it.
    pub logprobs: Vec<TokenLogprobs>,
    /// Why the reply ended.
    pub finish: FinishReason,
    /// Where the time went.
    pub timings: Timings,
}
