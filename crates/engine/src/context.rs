//! One sequence and what is cached of it.

use candle_core::{Tensor, TensorId};
use model::{Aki, KvCache, NoTap, RopeRegime, Sequence};
use sequence::{AttentionPlan, AttentionPolicy, Layout, Role, SpanKind, TokenId};

use crate::{Error, Prompt};

/// How many new tokens to make room for at first, however many a request allows.
const ROOM: usize = 1024;

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
        Ok(Self { prompt, cache, regime: model.rope_regime(0), num_positions: 0 })
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
        if self.cache.len() == 0 || model.rope_regime(num_positions(&plan)) != self.regime {
            return 0;
        }
        let equal = inputs(&self.prompt).zip(inputs(prompt)).take_while(|(a, b)| a == b).count();
        // The last row is always computed: its hidden state is not cached, and the logits need it.
        let limit = equal.min(self.cache.len()).min(prompt.layout.len().saturating_sub(1));
        self.prompt.policy.plan(&self.prompt.layout).reusable_prefix(&plan, limit)
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
        Ok(self.cache.reserve(self.len() + new_tokens.min(ROOM))?)
    }

    /// Returns a copy of the first `len` positions and of what is cached of them.
    pub(crate) fn fork(&self, len: usize) -> Self {
        let mut fork = Self {
            prompt: self.prompt.clone(),
            cache: self.cache.clone(),
            regime: self.regime,
            num_positions: self.num_positions,
        };
        fork.cache.truncate(len);
        fork
    }

    /// Forgets what is cached.
    pub(crate) fn forget(&mut self) {
        self.cache.truncate(0);
    }

    /// Plans the pending rows and embeds them.
    fn pending(&mut self, model: &Aki) -> Result<(AttentionPlan, Tensor), Error> {
        let regime = model.rope_regime(self.num_positions);
        if regime != self.regime {
            self.forget();
            self.regime = regime;
        }
        if self.cache.capacity() < self.len() {
            self.cache.reserve(self.len() + ROOM.min(self.len()))?;
        }
        let first = self.cache.len();
        let plan = self.prompt.policy.plan_rows(&self.prompt.layout, first..self.len());
        Ok((plan, embed_from(model, &self.prompt, first)?))
    }
}

/// Computes the pending rows of all `contexts` in one pass; returns the logits after each.
///
/// After an error nothing is cached of any of them.
pub(crate) fn advance(model: &Aki, contexts: &mut [&mut Context]) -> Result<Vec<Vec<f32>>, Error> {
    let result = try_advance(model, contexts);
    if result.is_err() {
        for context in contexts {
            context.forget();
        }
    }
    result
}

fn try_advance(model: &Aki, contexts: &mut [&mut Context]) -> Result<Vec<Vec<f32>>, Error> {
    let (mut plans, mut embeddings) = (Vec::new(), Vec::new());
    for context in contexts.iter_mut() {
        let (plan, rows) = context.pending(model)?;
        plans.push(plan);
        embeddings.push(rows);
    }
    let embeddings = match embeddings.as_slice() {
        [one] => one.clone(),
        many => Tensor::cat(many, 0)?, // [tokens, hidden]
    };
    let caches = contexts.iter_mut().map(|context| Some(&mut context.cache));
    let mut batch: Vec<_> =
        plans.iter().zip(caches).map(|(plan, cache)| Sequence { plan, cache }).collect();
    let hidden = model.forward(&embeddings, &mut batch, &mut NoTap)?; // [tokens, hidden]
    let ends = plans.iter().scan(0, |end, plan| {
        *end += plan.num_rows() as u32;
        Some(*end - 1)
    });
    let last = Tensor::from_iter(ends, hidden.device())?;
    Ok(model.logits(&hidden.index_select(&last, 0)?)?.to_vec2()?)
}

/// Embeds the positions of `prompt` from `first` on.
fn embed_from(model: &Aki, prompt: &Prompt, first: usize) -> Result<Tensor, Error> {
    let mut layout = Layout::new();
    let (mut num_ids, mut num_images, mut inside) = (0, 0, 0);
    for (kind, range) in prompt.layout.placed() {
        let before = first.min(range.end).saturating_sub(range.start);
        match kind {
            SpanKind::Image if before == range.len() => {
                (num_ids, num_images) = (num_ids + 1, num_images + 1);
            }
            // An image is embedded whole, then cut.
            SpanKind::Image => {
                inside += before;
                layout.push(kind, range.len());
            }
            _ => {
                num_ids += before;
                layout.push(kind, range.len() - before);
            }
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
    let (mut ids, mut features) = (prompt.ids.iter(), prompt.features.iter());
    prompt.layout.placed().flat_map(move |(kind, range)| -> Vec<Input> {
        match kind {
            SpanKind::Image => {
                ids.next();
                let image = features.next().map(Tensor::id);
                let image = image.into_iter();
                image
                    .flat_map(|features| {
                        (0..range.len()).map(move |offset| Input::Image { features, offset })
                    })
                    .collect()
            }
            _ => ids.by_ref().take(range.len()).map(|id| Input::Token(*id)).collect(),
        }
    })
}

fn num_positions(plan: &AttentionPlan) -> usize {
    plan.positions().iter().max().map_or(0, |position| *position as usize + 1)
}
