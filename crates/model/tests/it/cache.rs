//! What is cached gives the same as computing everything anew.

use model::{Aki, KvCache, KvType, LoadOptions, NoTap, Sequence, Tensor};
use sequence::{AttentionPolicy, Layout, Role};

use crate::support::{self, Prompt, SETS, VISION_TOKENS};

const TOLERANCE: f32 = 1e-5;
const REPLY: [i64; 7] = [300, 465, 284, 365, 455, 424, 2];

/// A model with the embeddings and the layout of a prompt and its reply.
struct Scene {
    aki: Aki,
    layout: Layout,
    embeddings: Tensor,
    policy: AttentionPolicy,
}

impl Scene {
    fn new(set: &str, policy: AttentionPolicy) -> Self {
        Self::keeping(set, policy, None)
    }

    /// Keeps keys and values in a type.
    fn keeping(set: &str, policy: AttentionPolicy, kv_type: Option<KvType>) -> Self {
        let options = LoadOptions { kv_type, ..LoadOptions::default() };
        let aki = Aki::load(support::config(set), &support::open(set, "model"), options);
        let aki = aki.expect("the golden is sound");
        let prompt = Prompt::of(set).reply(&REPLY);
        let embeddings = prompt.embed(&aki);
        Self { aki, layout: prompt.layout, embeddings, policy }
    }

    fn len(&self) -> usize {
        self.layout.len()
    }

    fn prompt_len(&self) -> usize {
        self.len() - REPLY.len()
    }

    /// Returns the hidden states of all positions, computed at once without a cache.
    fn uncached(&self) -> Vec<f32> {
        let plan = self.policy.plan(&self.layout);
        let mut batch = [Sequence { plan: &plan, cache: None }];
        let hidden = self.aki.forward(&self.embeddings, &mut batch, &mut NoTap);
        support::elements(&hidden.expect("the plan fits"))
    }

    /// Returns the hidden states of the positions up to `end` that are not cached.
    fn extend(&self, cache: &mut KvCache, end: usize) -> Vec<f32> {
        let start = cache.len();
        let plan = self.policy.plan_rows(&self.first(end), start..end);
        let new = self.embeddings.narrow(0, start, end - start).expect("there are as many");
        let mut batch = [Sequence { plan: &plan, cache: Some(cache) }];
        let hidden = self.aki.forward(&new, &mut batch, &mut NoTap).expect("the plan fits");
        support::elements(&hidden)
    }

    /// Returns the layout of the first positions.
    fn first(&self, len: usize) -> Layout {
        let mut layout = Layout::new();
        for (kind, positions) in self.layout.placed() {
            layout.push(kind, positions.end.min(len).saturating_sub(positions.start));
        }
        layout
    }

    /// Caches the prompt and then every token of the reply by itself.
    fn step_by_step(&self, cache: &mut KvCache) -> Vec<f32> {
        let mut found = self.extend(cache, self.prompt_len());
        for end in self.prompt_len() + 1..=self.len() {
            found.extend(self.extend(cache, end));
        }
        found
    }
}

fn new_cache(aki: &Aki, capacity: usize) -> KvCache {
    aki.new_cache(capacity).expect("there is memory")
}

#[test]
fn a_reply_written_token_by_token_is_the_one_computed_at_once() {
    for set in SETS {
        for policy in AttentionPolicy::ALL {
            let scene = Scene::new(set, policy);
            let mut cache = new_cache(&scene.aki, scene.len());
            let error = support::relative_error(&scene.step_by_step(&mut cache), &scene.uncached());
            assert!(error < TOLERANCE, "{set}, {}: {error:e} off", policy.name());
            assert_eq!(cache.len(), scene.len());
        }
    }
}

#[test]
fn a_causal_prompt_may_come_in_chunks_of_any_size() {
    for set in ["base", "gqa"] {
        let scene = Scene::new(set, AttentionPolicy::Causal);
        let expected = scene.uncached();
        for size in [1, 7, 33] {
            let mut cache = new_cache(&scene.aki, 0);
            let mut found = Vec::new();
            while cache.len() < scene.len() {
                let end = scene.len().min(cache.len() + size);
                found.extend(scene.extend(&mut cache, end));
            }
            let error = support::relative_error(&found, &expected);
            assert!(error < TOLERANCE, "{set} in chunks of {size}: {error:e} off");
        }
    }
}

#[test]
fn a_batch_gives_what_its_sequences_give_alone() {
    for set in SETS {
        let aki = support::golden_model(set);
        let layouts = [
            Layout::new().text(Role::User, 5).reply_mark(),
            Layout::new().image(VISION_TOKENS).text(Role::User, 50).reply_mark(),
            Layout::new().text(Role::User, 1),
            Layout::new().image(9).text(Role::User, 3).padding(4),
        ];
        let policies = [
            AttentionPolicy::Causal,
            AttentionPolicy::ModalityMutual,
            AttentionPolicy::Prefix,
            AttentionPolicy::ConcentricCausal,
        ];
        let plans: Vec<_> =
            layouts.iter().zip(policies).map(|(layout, policy)| policy.plan(layout)).collect();
        let all = Prompt::of(set).embed(&aki);
        let parts: Vec<_> = layouts
            .iter()
            .map(|layout| all.narrow(0, 70 - layout.len(), layout.len()).unwrap())
            .collect();

        let mut caches: Vec<_> = layouts.iter().map(|_| new_cache(&aki, 0)).collect();
        let mut batch: Vec<_> = plans
            .iter()
            .zip(&mut caches)
            .map(|(plan, cache)| Sequence { plan, cache: Some(cache) })
            .collect();
        let together =
            aki.forward(&Tensor::cat(&parts, 0).unwrap(), &mut batch, &mut NoTap).unwrap();

        let mut start = 0;
        for ((plan, part), cache) in plans.iter().zip(&parts).zip(&caches) {
            let mut batch = [Sequence { plan, cache: None }];
            let alone = aki.forward(part, &mut batch, &mut NoTap).unwrap();
            let found = together.narrow(0, start, plan.num_rows()).unwrap();
            let error =
                support::relative_error(&support::elements(&found), &support::elements(&alone));
            assert!(error == 0.0, "{set}, {} positions: {error:e} off", plan.num_rows());
            assert_eq!(cache.len(), plan.num_rows());
            start += plan.num_rows();
        }
    }
}

#[test]
fn a_truncated_cache_is_used_as_if_the_rest_had_never_been() {
    let scene = Scene::new("gqa", AttentionPolicy::ModalityMutual);
    let mut cache = new_cache(&scene.aki, scene.len());
    let first = scene.step_by_step(&mut cache);
    cache.truncate(scene.prompt_len());
    assert_eq!(cache.len(), scene.prompt_len());
    // Longer than what is cached: nothing happens.
    cache.truncate(scene.len());
    assert_eq!(cache.len(), scene.prompt_len());

    // Another reply, and then the first one again.
    let other = scene.embeddings.narrow(0, 0, 1).unwrap();
    let end = scene.prompt_len() + 1;
    let plan = scene.policy.plan_rows(&scene.first(end), end - 1..end);
    let mut batch = [Sequence { plan: &plan, cache: Some(&mut cache) }];
    scene.aki.forward(&other, &mut batch, &mut NoTap).unwrap();
    cache.truncate(scene.prompt_len());
    let again: Vec<_> = (end..=scene.len()).flat_map(|end| scene.extend(&mut cache, end)).collect();
    assert_eq!(again, first[first.len() - again.len()..]);
}

#[test]
fn more_room_keeps_what_is_cached() {
    let scene = Scene::new("base", AttentionPolicy::ModalityMutual);
    let expected = scene.step_by_step(&mut new_cache(&scene.aki, scene.len()));

    let mut cache = new_cache(&scene.aki, 0);
    assert!(cache.is_empty());
    assert_eq!((cache.capacity(), cache.num_bytes()), (0, 0));
    let mut found = scene.extend(&mut cache, scene.prompt_len());
    assert!(cache.capacity() >= scene.prompt_len());
    cache.reserve(200).unwrap();
    assert_eq!((cache.len(), cache.capacity()), (scene.prompt_len(), 200));
    cache.reserve(10).unwrap();
    assert_eq!((cache.len(), cache.capacity()), (scene.prompt_len(), 200));
    for end in scene.prompt_len() + 1..=scene.len() {
        found.extend(scene.extend(&mut cache, end));
    }
    assert_eq!(cache.capacity(), 200);
    assert_eq!(found, expected);
}

#[test]
fn a_plan_that_does_not_follow_the_cache_is_refused() {
    let scene = Scene::new("base", AttentionPolicy::Causal);
    let (end, len) = (scene.prompt_len(), scene.len());
    let mut cache = new_cache(&scene.aki, len);
    scene.extend(&mut cache, end);
    let mut message = |start: usize, rows: usize, cached: bool| {
        let plan = scene.policy.plan_rows(&scene.layout, start..len);
        let new = scene.embeddings.narrow(0, 0, rows).unwrap();
        let cache = cached.then_some(&mut cache);
        let mut batch = [Sequence { plan: &plan, cache }];
        scene.aki.forward(&new, &mut batch, &mut NoTap).unwrap_err().to_string()
    };
    assert_eq!(message(end - 1, 8, true), "the layout needs 69 cached positions, found 70");
    assert_eq!(message(end + 1, 6, true), "the layout needs 71 cached positions, found 70");
    assert_eq!(message(end, 7, false), "the layout needs 70 cached positions, found 0");
    assert_eq!(message(end, 6, true), "the layout needs 7 embeddings, found 6");
    assert_eq!(cache.len(), end);
    // Refusing has changed nothing.
    let found = scene.extend(&mut cache, len);
    let expected = scene.uncached();
    let error = support::relative_error(&found, &expected[expected.len() - found.len()..]);
    assert!(error < TOLERANCE, "{error:e} off");
}

#[test]
fn every_type_of_cache_changes_nothing_but_the_numbers_it_keeps() {
    for set in SETS {
        for kv_type in KvType::ALL {
            let scene = Scene::keeping(set, AttentionPolicy::ModalityMutual, Some(kv_type));
            let mut cache = new_cache(&scene.aki, 0);
            assert_eq!(cache.kv_type(), kv_type);
            // At once, a cache changes no bit; step by step the order of sums does.
            let whole = scene.extend(&mut cache, scene.len());
            assert_eq!(whole, scene.uncached(), "{set} in {}", kv_type.name());
            let roomy = scene.step_by_step(&mut new_cache(&scene.aki, scene.len()));
            // Rounding may fall to the other side where sums differ in their last bits.
            let error = support::relative_error(&roomy, &whole);
            assert!(error < 2e-2, "{set} in {}: {error:e} off", kv_type.name());
            // Growing and forgetting keep what is cached.
            cache.truncate(0);
            cache.reserve(scene.len() + 13).unwrap();
            let mut growing = new_cache(&scene.aki, 0);
            assert_eq!(scene.step_by_step(&mut growing), roomy, "{set} in {}", kv_type.name());
            assert_eq!(scene.step_by_step(&mut cache), roomy, "{set} in {}", kv_type.name());
        }
    }
}

#[test]
fn keys_and_values_of_fewer_bits_stay_close_to_those_in_f32() {
    // No further off than weights of these types, or of bf16.
    let bounds = [(KvType::F16, 9.5e-3), (KvType::Bf16, 6.5e-2), (KvType::Q8_0, 6.5e-2)];
    for set in SETS {
        let policy = AttentionPolicy::ModalityMutual;
        let expected = Scene::new(set, policy).uncached();
        for (kv_type, bound) in bounds {
            let scene = Scene::keeping(set, policy, Some(kv_type));
            let found = scene.step_by_step(&mut new_cache(&scene.aki, 0));
            let error = support::relative_error(&found, &expected);
            assert!(error < bound, "{set} in {}: {error:e} off", kv_type.name());
            assert!(error > 1e-5, "{set} in {}: nothing was rounded", kv_type.name());
        }
    }
}

#[test]
fn a_cache_of_eight_bits_takes_a_block_for_every_head() {
    let policy = AttentionPolicy::ModalityMutual;
    for set in SETS {
        let scene = Scene::keeping(set, policy, Some(KvType::Q8_0));
        let text = &scene.aki.config().text;
        // Heads of 16 elements, each in a block of 32 integers and a scale.
        let row = text.num_key_value_heads * text.head_dim.div_ceil(32) * 34;
        let bytes = new_cache(&scene.aki, 10).num_bytes();
        assert_eq!(bytes, 2 * 10 * text.num_hidden_layers * row, "{set}");
    }
}
