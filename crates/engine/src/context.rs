//! One sequence and what is cached of it.

use candle_core::{Tensor, TensorId};
use model::{Aki, KvCache, RopeRegime, Sequence};
use sequence::{AttentionPlan, AttentionPolicy, Layout, Role, SpanKind, TokenId};

use crate::{Error, Prompt};

/// How many new tokens to make room for at first, however many a request allows.
const ROOM: usize = 512;

/// How many positions a full cache grows by, at least; more if it is long, so that growing stays
/// a small part of the work.
const GROWTH: usize = 64;

/// One sequence, growing at its end, and the keys and values of a prefix of it.
///
/// Rows that are not cached are pending; [`advance`] computes them.
#[derive(Debug)]
pub(crate) struct Context {
    prompt: Prompt,
    cache: KvCache,
    /// Which rotary factors the cached keys were made with.
    regime: RopeRegime,
    /// The highest position id and one more.
    num_positions: usize,
    /// How many positions the sequence may come to have, where that is known.
    most: usize,
}

/// The rows of a sequence that are not cached.
#[derive(Debug)]
pub(crate) struct Pending {
    plan: AttentionPlan,
    embeddings: Tensor, // [rows, hidden]
}

/// What a position of an expanded sequence is made from.
#[derive(PartialEq)]
enum Input {
    Token(TokenId),
    Image { features: TensorId, offset: usize },
}

impl Context {
    /// Returns an empty sequence.
    pub(crate) fn new(model: &Aki) -> Result<Self, Error> {
        let (ids, layout, features) = (Vec::new(), Layout::new(), Vec::new());
        let prompt = Prompt { ids, layout, features, policy: AttentionPolicy::default() };
        let cache = model.new_cache(0)?;
        Ok(Self { prompt, cache, regime: model.rope_regime(0), num_positions: 0, most: usize::MAX })
    }

    /// Returns the sequence so far.
    pub(crate) fn prompt(&self) -> &Prompt {
        &self.prompt
    }

    /// Returns the number of positions, cached or pending.
    pub(crate) fn len(&self) -> usize {
        self.prompt.layout.len()
    }

    /// Returns how many leading positions are cached.
    pub(crate) fn num_cached(&self) -> usize {
        self.cache.len()
    }

    /// Returns how many cached positions have the keys and values that `prompt` would have.
    pub(crate) fn reusable(&self, model: &Aki, prompt: &Prompt) -> usize {
        let plan = prompt.policy.plan(&prompt.layout);
        if self.cache.is_empty() || model.rope_regime(num_positions(&plan)) != self.regime {
            return 0;
        }
        let equal = inputs(&self.prompt).zip(inputs(prompt)).take_while(|(a, b)| a == b).count();
        let limit = equal.min(self.cache.len());
        let kept = self.prompt.policy.plan(&self.prompt.layout).reusable_prefix(&plan, limit);
        // The last row is always computed: its hidden state is not cached, and the logits need it.
        // Rows that see it are kept all the same: it comes out as it was.
        kept.min(prompt.layout.len().saturating_sub(1))
    }

    /// Replaces the sequence by `prompt`, keeping what is cached of their common beginning;
    /// returns how much that is.
    pub(crate) fn begin(&mut self, model: &Aki, prompt: Prompt) -> usize {
        let kept = self.reusable(model, &prompt);
        self.cache.truncate(kept);
        self.num_positions = num_positions(&prompt.policy.plan(&prompt.layout));
        self.prompt = prompt;
        kept
    }

    /// Copies what another sequence has cached of this one, if that is more than is cached here;
    /// returns how much that is.
    pub(crate) fn adopt(&mut self, model: &Aki, other: &Self) -> Result<usize, Error> {
        let kept = other.reusable(model, &self.prompt);
        if kept > self.cache.len() {
            self.cache.copy_from(&other.cache, kept)?;
            self.regime = other.regime;
        }
        Ok(self.cache.len())
    }

    /// Appends a token of the reply.
    pub(crate) fn push(&mut self, id: TokenId) {
        let row = self.len();
        self.prompt.ids.push(id);
        self.prompt.layout.push(SpanKind::Text(Role::Assistant), 1);
        let plan = self.prompt.policy.plan_rows(&self.prompt.layout, row..row + 1);
        self.num_positions = self.num_positions.max(num_positions(&plan));
    }

    /// Makes room for `new_tokens` more, or for a first part of very many.
    pub(crate) fn reserve(&mut self, new_tokens: usize) -> Result<(), Error> {
        self.most = self.len() + new_tokens;
        Ok(self.cache.reserve(self.len() + new_tokens.min(ROOM))?)
    }

    /// Returns how many positions there is memory for.
    pub(crate) fn capacity(&self) -> usize {
        self.cache.capacity()
    }

    /// Returns how many positions there is memory for, or will be when the request is done.
    pub(crate) fn promised(&self) -> usize {
        self.capacity().max(if self.most == usize::MAX { self.len() } else { self.most })
    }

    /// Returns whether what is pending is the single next row of a sequence.
    pub(crate) fn is_step(&self) -> bool {
        !self.cache.is_empty() && self.len() - self.cache.len() == 1
    }

    /// Forgets what is cached.
    pub(crate) fn forget(&mut self) {
        self.cache.truncate(0);
    }

    /// Plans the pending rows and embeds them: all of them, if the cached keys were made with other
    /// rotary factors than a sequence of this length has.
    pub(crate) fn pending(&mut self, model: &Aki) -> Result<Pending, Error> {
        let regime = model.rope_regime(self.num_positions);
        if regime != self.regime {
            self.forget();
            self.regime = regime;
        }
        if self.cache.capacity() < self.len() {
            let roomy = self.len() + GROWTH.max(self.len() / 4);
            self.cache.reserve(roomy.min(self.most).max(self.len()))?;
        }
        let first = self.cache.len();
        let plan = self.prompt.policy.plan_rows(&self.prompt.layout, first..self.len());
        Ok(Pending { plan, embeddings: embed_from(model, &self.prompt, first)? })
    }

    /// Plans and embeds the first of the pending rows, about `max_rows` of them, such that none of
    /// them sees a later one; returns whether these are all.
    ///
    /// An image and what it reads stay together, so there may be more. One row alone is never left
    /// over: it would be computed as a step of a reply is, and differ in the last bits.
    pub(crate) fn pending_part(
        &mut self,
        model: &Aki,
        max_rows: usize,
    ) -> Result<(Pending, bool), Error> {
        let whole = self.pending(model)?;
        let (first, rows) = (whole.plan.first_row(), whole.plan.num_rows());
        let cut = cut_of(&whole.plan, max_rows.max(2));
        if cut + 1 >= rows {
            return Ok((whole, true));
        }
        let plan = self.prompt.policy.plan_rows(&self.prompt.layout, first..first + cut);
        if model.rope_regime(num_positions(&plan)) != self.regime {
            return Ok((whole, true));
        }
        Ok((Pending { plan, embeddings: whole.embeddings.narrow(0, 0, cut)? }, false))
    }
}

/// Returns the first number of rows from `max_rows` on after which a plan can be cut.
fn cut_of(plan: &AttentionPlan, max_rows: usize) -> usize {
    let mut seen = 0;
    for row in 0..plan.num_rows() {
        let end = plan.visible(row).last().map_or(0, |last| last.end as usize);
        seen = seen.max(end.saturating_sub(plan.first_row()));
        if row + 1 >= max_rows && seen <= row + 1 {
            return row + 1;
        }
    }
    plan.num_rows()
}

/// Computes the pending rows of several sequences in one pass; returns the logits after each.
///
/// After an error nothing is cached of any of them.
pub(crate) fn advance(
    model: &Aki,
    sequences: &mut [(&mut Context, Pending)],
) -> Result<Vec<Vec<f32>>, Error> {
    let result = try_advance(model, sequences);
    if result.is_err() {
        for (context, _) in sequences {
            context.forget();
        }
    }
    result
}

/// Computes the pending rows of a sequence; returns the logits after it.
pub(crate) fn advance_one(model: &Aki, context: &mut Context) -> Result<Vec<f32>, Error> {
    let pending = context.pending(model)?;
    let logits = advance(model, &mut [(context, pending)])?;
    Ok(logits.into_iter().next().unwrap_or_default())
}

fn try_advance(
    model: &Aki,
    sequences: &mut [(&mut Context, Pending)],
) -> Result<Vec<Vec<f32>>, Error> {
    let embeddings: Vec<_> = sequences.iter().map(|(_, rows)| rows.embeddings.clone()).collect();
    let embeddings = match embeddings.as_slice() {
        [one] => one.clone(),
        many => Tensor::cat(many, 0)?, // [tokens, hidden]
    };
    let mut batch: Vec<_> = sequences
        .iter_mut()
        .map(|(context, Pending { plan, .. })| Sequence { plan, cache: Some(&mut context.cache) })
        .collect();
    let last = model.forward_to_last(&embeddings, &mut batch)?; // [sequences, hidden]
    Ok(model.logits(&last)?.to_vec2()?)
}

/// Embeds the positions of `prompt` from `first` on.
fn embed_from(model: &Aki, prompt: &Prompt, first: usize) -> Result<Tensor, Error> {
    let mut layout = Layout::new();
    let (mut num_ids, mut num_images, mut inside) = (0, 0, 0);
    for slot in prompt.layout.slots() {
        let len = slot.positions.len();
        let before = first.min(slot.positions.end).saturating_sub(slot.positions.start);
        if slot.kind != SpanKind::Image {
            num_ids += before;
            layout.push(slot.kind, len - before);
        } else if before == len {
            num_ids += 1;
            num_images += 1;
        } else {
            // An image is embedded whole, then cut.
            inside += before;
            layout.push(slot.kind, len);
        }
    }
    let embeddings =
        model.embed(&prompt.ids[num_ids..], &layout, &prompt.features[num_images..])?;
    Ok(if inside == 0 {
        embeddings
    } else {
        embeddings.narrow(0, inside, layout.len() - inside)?
    })
}

/// Returns what every position of a sequence is made from.
fn inputs(prompt: &Prompt) -> impl Iterator<Item = Input> + '_ {
    let mut images = prompt.features.iter();
    prompt.layout.slots().flat_map(move |slot| -> Vec<Input> {
        let ids = &prompt.ids[slot.ids];
        if slot.kind != SpanKind::Image {
            return ids.iter().map(|id| Input::Token(*id)).collect();
        }
        let Some(features) = images.next().map(Tensor::id) else { return Vec::new() };
        (0..slot.positions.len()).map(|offset| Input::Image { features, offset }).collect()
    })
}

fn num_positions(plan: &AttentionPlan) -> usize {
    plan.positions().iter().max().map_or(0, |position| *position as usize + 1)
}
