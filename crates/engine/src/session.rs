//! One conversation with its cache.

use std::ops::ControlFlow;

use model::Aki;
use sequence::{Layout, TokenId};

use crate::context::{Context, advance_one};
use crate::reply::Reply;
use crate::{Error, FinishReason, Generated, Prompt, Request};

/// One conversation: the sequence so far and its keys and values.
///
/// Every prompt is the whole conversation; what is cached of its beginning is not computed again.
/// Finished turns are kept. An image and the rest of its turn's prompt are computed in one pass,
/// because under modality-mutual attention the image reads the question; a second question on the
/// same image keeps what comes before the image, and its features.
#[derive(Debug)]
pub struct Session<'m> {
    model: &'m Aki,
    context: Context,
}

/// The end of a prefill.
#[derive(Clone, Debug, PartialEq)]
pub struct Prefilled {
    /// The logits of the next token, one for each id of the vocabulary.
    pub logits: Vec<f32>,
    /// How many of the prompt's tokens were cached already.
    pub cached_tokens: usize,
}

impl<'m> Session<'m> {
    /// Returns a conversation without a turn.
    ///
    /// # Errors
    /// If the model has no memory for a cache.
    pub fn new(model: &'m Aki) -> Result<Self, Error> {
        Ok(Self { model, context: Context::new(model)? })
    }

    /// Returns the layout of the sequence so far.
    pub fn layout(&self) -> &Layout {
        &self.context.prompt().layout
    }

    /// Returns the token ids of the sequence so far, one for each image.
    pub fn ids(&self) -> &[TokenId] {
        &self.context.prompt().ids
    }

    /// Returns how many positions are cached.
    pub fn num_cached(&self) -> usize {
        self.context.num_cached()
    }

    /// Reads a prompt, computing only what is not cached of it.
    ///
    /// # Errors
    /// If the prompt is empty, does not fit together or into the model's context, or the model
    /// cannot compute it.
    pub fn prefill(&mut self, prompt: &Prompt) -> Result<Prefilled, Error> {
        prompt.validate(self.model.max_positions())?;
        let cached_tokens = self.context.begin(self.model, prompt.clone());
        Ok(Prefilled { logits: self.advance()?, cached_tokens })
    }

    /// Appends a token to the reply and returns the logits of the next one.
    ///
    /// # Errors
    /// If nothing was read before, the sequence is as long as the model's context, or the model
    /// cannot compute the step.
    pub fn decode(&mut self, id: TokenId) -> Result<Vec<f32>, Error> {
        let limit = self.model.max_positions();
        if self.context.len() == 0 {
            return Err(Error::NothingPrefilled);
        }
        if self.context.len() >= limit {
            return Err(Error::ContextFull { limit });
        }
        self.context.push(id);
        self.advance()
    }

    /// Answers a request; `on_token` sees every new token as it comes and may stop the reply.
    ///
    /// # Errors
    /// If the prompt is empty, does not fit together or into the model's context, or the model
    /// cannot compute a step.
    pub fn generate(
        &mut self,
        request: &Request,
        mut on_token: impl FnMut(TokenId) -> ControlFlow<()>,
    ) -> Result<Generated, Error> {
        let limit = self.model.max_positions();
        request.prompt.validate(limit)?;
        let mut reply = Reply::new(request, limit);
        if let Some(reason) = reply.finished() {
            return Ok(reply.finish(reason));
        }
        reply.start(self.context.begin(self.model, request.prompt.clone()));
        self.context.reserve(reply.limit())?;
        loop {
            let logits = self.advance()?;
            if request.cancel.is_cancelled() {
                return Ok(reply.finish(FinishReason::Cancelled));
            }
            let id = reply.accept(logits)?;
            let flow = on_token(id);
            let stopped = flow.is_break().then_some(FinishReason::Cancelled);
            if let Some(reason) = reply.finished().or(stopped) {
                return Ok(reply.finish(reason));
            }
            self.context.push(id);
        }
    }

    /// Returns the model and the sequence.
    pub(crate) fn parts(&mut self) -> (&'m Aki, &mut Context) {
        (self.model, &mut self.context)
    }

    fn advance(&mut self) -> Result<Vec<f32>, Error> {
        advance_one(self.model, &mut self.context)
    }
}

/// Answers a single request, in a session of its own.
///
/// # Errors
/// As [`Session::generate`].
pub fn generate(
    model: &Aki,
    request: &Request,
    on_token: impl FnMut(TokenId) -> ControlFlow<()>,
) -> Result<Generated, Error> {
    Session::new(model)?.generate(request, on_token)
}
