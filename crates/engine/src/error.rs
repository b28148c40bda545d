//! What can go wrong between a request and its answer.

use sequence::TokenId;

/// What can go wrong between a request and its answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An option is outside its limits.
    #[error("`{field}` is {value}, expected {expected}")]
    OutOfRange {
        /// The option.
        field: &'static str,
        /// What was given.
        value: f64,
        /// The limits, in words.
        expected: &'static str,
    },
    /// A prompt has no tokens.
    #[error("the prompt is empty, expected at least one token")]
    EmptyPrompt,
    /// A prompt does not fit into the model's context.
    #[error("the prompt has {tokens} tokens, expected at most {limit}, the model's context")]
    PromptTooLong {
        /// The prompt's length, vision tokens included.
        tokens: usize,
        /// The longest sequence that the model can read.
        limit: usize,
    },
    /// The layout of a prompt is not that of its ids.
    #[error("the layout has {expected} tokens, an image counted once, but there are {found} ids")]
    IdCount {
        /// How many ids the layout takes.
        expected: usize,
        /// How many there are.
        found: usize,
    },
    /// The layout of a prompt is not that of its images.
    #[error("the layout has {expected} images, but there are features of {found}")]
    ImageCount {
        /// How many images the layout has.
        expected: usize,
        /// How many features there are.
        found: usize,
    },
    /// A logit is not a number, or is infinitely high.
    #[error("the logit of token `{}` is {value}, expected a finite number", id.0)]
    BadLogit {
        /// The token.
        id: TokenId,
        /// Its logit.
        value: f32,
    },
    /// Every token has been ruled out.
    #[error("every logit is minus infinity, expected at least one possible token")]
    NoPossibleToken,
    /// A reply cannot be held to its constraint.
    #[error("the reply cannot be held to its constraint: {reason}")]
    Constraint {
        /// What about the constraint cannot be followed.
        reason: String,
    },
    /// A step was asked for before anything was read.
    #[error("nothing has been prefilled, expected a prompt before the first decoded token")]
    NothingPrefilled,
    /// The sequence is as long as the model's context.
    #[error("the sequence has {limit} tokens, the model's context, and cannot grow")]
    ContextFull {
        /// The longest sequence that the model can read.
        limit: usize,
    },
    /// More requests wait than are taken.
    #[error("{limit} requests are running or waiting, the most that are taken; try again later")]
    QueueFull {
        /// How many there may be.
        limit: usize,
    },
    /// A request took longer than it was given.
    #[error("the request was not done within its time")]
    DeadlineExceeded,
    /// No more requests are taken.
    #[error("the engine is shutting down and takes no more requests")]
    Stopped,
    /// The thread of the engine could not be started.
    #[error("cannot start the engine's thread")]
    Thread {
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The model could not compute a step.
    #[error("the model cannot compute this step")]
    Model {
        /// Why.
        #[from]
        source: model::Error,
    },
    /// A tensor operation failed.
    #[error("a tensor operation of the engine failed")]
    Tensor {
        /// Why.
        #[from]
        source: candle_core::Error,
    },
}
