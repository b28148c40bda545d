//! Beam search: the likeliest reply among many.

mod search;

use std::time::Instant;

use model::Aki;
use sequence::{Role, SpanKind, TokenId};

use crate::context::{Context, advance, advance_one};
use crate::sampling::widen;
use crate::{CancelToken, Error, FinishReason, Prompt, Session, Timings};
use search::{Beam, Search};

/// When a beam search has seen enough; the semantics are those of Hugging Face's `early_stopping`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum EarlyStopping {
    /// As soon as there are as many finished replies as beams.
    Full,
    /// When no beam, ended now, would beat the worst of the finished replies.
    #[default]
    Heuristic,
    /// When no beam, however long it may grow, can beat the worst of the finished replies.
    Never,
}

/// The options of a beam search.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BeamOptions {
    /// How many replies are followed at once.
    pub width: usize,
    /// A reply's score is the sum of its log-probabilities divided by its length to this power.
    pub length_penalty: f32,
    /// When to end.
    pub early_stopping: EarlyStopping,
}

impl Default for BeamOptions {
    fn default() -> Self {
        Self { width: 4, length_penalty: 1.0, early_stopping: EarlyStopping::default() }
    }
}

impl BeamOptions {
    /// Checks the limits.
    ///
    /// # Errors
    /// If an option is outside its limits, or not a number.
    pub fn validate(&self) -> Result<(), Error> {
        if !(1..=64).contains(&self.width) {
            let (field, value) = ("width", self.width as f64);
            return Err(Error::OutOfRange { field, value, expected: "a number from 1 to 64" });
        }
        if !(-10.0..=10.0).contains(&self.length_penalty) {
            let (field, value) = ("length_penalty", widen(self.length_penalty));
            return Err(Error::OutOfRange { field, value, expected: "a number from -10 to 10" });
        }
        Ok(())
    }
}

/// A prompt and how to look for its likeliest continuations.
#[derive(Clone, Debug)]
pub struct BeamRequest {
    /// What to continue.
    pub prompt: Prompt,
    /// How to search.
    pub options: BeamOptions,
    /// The tokens that end a reply.
    pub stop: Vec<TokenId>,
    /// The longest reply, its stop token counted.
    pub max_new_tokens: usize,
    /// Stops the search from another thread.
    pub cancel: CancelToken,
}

/// One of the replies that a beam search found.
#[derive(Clone, Debug, PartialEq)]
pub struct Hypothesis {
    /// The new tokens, a stop token included.
    pub new_ids: Vec<TokenId>,
    /// The sum of the log-probabilities over the length to the power of the length penalty.
    pub score: f32,
    /// Why it ended.
    pub finish: FinishReason,
}

/// What a beam search found.
#[derive(Clone, Debug, PartialEq)]
pub struct BeamReply {
    /// As many replies as beams, if there are so many, the best first.
    pub hypotheses: Vec<Hypothesis>,
    /// Where the time went; the new tokens are those of the best reply.
    pub timings: Timings,
}

impl Session<'_> {
    /// Looks for the likeliest replies.
    ///
    /// Every beam has a cache of its own for as long as the search runs; those of the others than
    /// the first read the prompt in the second step, in one pass.
    ///
    /// # Errors
    /// If an option is outside its limits, the prompt is empty, does not fit together or into the
    /// model's context, or the model cannot compute a step.
    pub fn beam_search(&mut self, request: &BeamRequest) -> Result<BeamReply, Error> {
        request.options.validate()?;
        let (model, context) = self.parts();
        let longest = model.max_positions();
        request.prompt.validate(longest)?;
        let prompt_tokens = request.prompt.layout.len();
        let limit = request.max_new_tokens.min(longest - prompt_tokens);
        let mut search = Search::new(request.options, request.stop.clone(), limit);
        let started = Instant::now();
        let mut timings = Timings { prompt_tokens, ..Timings::default() };
        let mut cut = FinishReason::Length;
        if !search.is_done() {
            timings.cached_tokens = context.begin(model, request.prompt.clone());
            context.reserve(limit)?;
            search.step(&[advance_one(model, context)?])?;
            timings.prefill = started.elapsed();
        }
        let mut followers = Followers::new(model, context);
        while !search.is_done() {
            if request.cancel.is_cancelled() {
                cut = FinishReason::Cancelled;
                break;
            }
            search.step(&followers.follow(&request.prompt, search.beams())?)?;
        }
        timings.decode = started.elapsed().saturating_sub(timings.prefill);
        let hypotheses = search.finish(cut);
        timings.new_tokens = hypotheses.first().map_or(0, |best| best.new_ids.len());
        Ok(BeamReply { hypotheses, timings })
    }
}

/// The contexts that follow the beams of one search, and who follows whom.
struct Followers<'a> {
    model: &'a Aki,
    first: &'a mut Context,
    others: Vec<Context>,
    /// Which context follows each beam of the step before: 0 is `first`.
    of_beam: Vec<usize>,
}

impl<'a> Followers<'a> {
    /// Returns the followers of a single beam.
    fn new(model: &'a Aki, first: &'a mut Context) -> Self {
        Self { model, first, others: Vec::new(), of_beam: vec![0] }
    }

    /// Computes the logits after every beam.
    ///
    /// A beam keeps the context of the one that it continues. Of several that continue the same
    /// one, all but the first take over contexts that are free: what these have in common with
    /// their new beam stays cached, and the rest is computed again together with the new tokens.
    fn follow(&mut self, prompt: &Prompt, beams: &[Beam]) -> Result<Vec<Vec<f32>>, Error> {
        while self.others.len() + 1 < beams.len() {
            self.others.push(Context::new(self.model)?);
        }
        self.of_beam = self.reassign(beams);
        let mut contexts: Vec<Option<&mut Context>> =
            std::iter::once(&mut *self.first).chain(&mut self.others).map(Some).collect();
        let mut chosen = Vec::with_capacity(beams.len());
        for (beam, index) in beams.iter().zip(&self.of_beam) {
            if let Some(context) = contexts[*index].take() {
                context.begin(self.model, continued(prompt, &beam.ids));
                let pending = context.pending(self.model)?;
                chosen.push((context, pending));
            }
        }
        advance(self.model, &mut chosen)
    }

    /// Returns which context follows each of `beams`, no two the same.
    fn reassign(&self, beams: &[Beam]) -> Vec<usize> {
        let mut taken = vec![false; self.others.len() + 1];
        let mut kept = Vec::with_capacity(beams.len());
        for beam in beams {
            let context = self.of_beam.get(beam.parent).copied().filter(|index| !taken[*index]);
            if let Some(index) = context {
                taken[index] = true;
            }
            kept.push(context);
        }
        let mut free = (0..taken.len()).filter(|index| !taken[*index]);
        kept.into_iter().filter_map(|context| context.or_else(|| free.next())).collect()
    }
}

/// Returns the prompt with a reply after it.
fn continued(prompt: &Prompt, reply: &[TokenId]) -> Prompt {
    let mut prompt = prompt.clone();
    prompt.ids.extend(reply);
    prompt.layout.push(SpanKind::Text(Role::Assistant), reply.len());
    prompt
}
