//! The golden models, and prompts for them.

use std::fs;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::OnceLock;

use candle_core::{Device, Tensor};
use checkpoint::Checkpoint;
use engine::{Batch, Event, Generated, Prompt, Request, RequestId, Session};
use model::{Aki, AkiConfig, LoadOptions, NoTap};
use sequence::{AttentionPolicy, Layout, Role, SpanKind, TokenId};
use serde_json::Value;

/// A golden model and what the reference does with it.
pub(crate) struct Golden {
    pub(crate) aki: Aki,
    pub(crate) samples: Vec<Sample>,
    /// The vision tokens of the samples' images.
    pub(crate) features: Vec<Tensor>,
    image: TokenId,
    mark: TokenId,
    pub(crate) stop: Vec<TokenId>,
}

/// A prompt of one turn with an image at its beginning, and the reference's reply.
pub(crate) struct Sample {
    pub(crate) prompt_ids: Vec<TokenId>,
    pub(crate) new_ids: Vec<TokenId>,
}

pub(crate) fn base() -> &'static Golden {
    static GOLDEN: OnceLock<Golden> = OnceLock::new();
    GOLDEN.get_or_init(|| Golden::load("base"))
}

pub(crate) fn gqa() -> &'static Golden {
    static GOLDEN: OnceLock<Golden> = OnceLock::new();
    GOLDEN.get_or_init(|| Golden::load("gqa"))
}

pub(crate) fn longrope() -> &'static Golden {
    static GOLDEN: OnceLock<Golden> = OnceLock::new();
    GOLDEN.get_or_init(|| Golden::load("longrope"))
}

impl Golden {
    fn load(variant: &str) -> Self {
        let folder = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../goldens"));
        let folder = folder.join(variant);
        let read = |name: &str| fs::read_to_string(folder.join(name)).unwrap();
        let config = AkiConfig::from_json(&read("model/config.json")).unwrap();
        let weights = Checkpoint::open(folder.join("model")).unwrap();
        let options = LoadOptions::default();
        let aki = Aki::load(config, &weights, options).unwrap();
        let tokenizer: Value = serde_json::from_str(&read("model/tokenizer.json")).unwrap();
        let added = tokenizer["added_tokens"].as_array().unwrap();
        let id_of = |text: &str| {
            let token = added.iter().find(|token| token["content"] == text).unwrap();
            TokenId(token["id"].as_u64().unwrap() as u32)
        };
        let generate: Value = serde_json::from_str(&read("generate.json")).unwrap();
        let generate = generate.as_array().unwrap();
        let pixels = Checkpoint::open(folder.join("preprocess.safetensors")).unwrap();
        let see = |sample: &Value| {
            let name = format!("{}.56", sample["image"].as_str().unwrap());
            let values = pixels.tensor(&name).unwrap().to_f32_vec().unwrap();
            let pixels = Tensor::from_vec(values, (1, 3, 56, 56), &Device::Cpu).unwrap();
            aki.see(&pixels, &mut NoTap).unwrap().get(0).unwrap()
        };
        let features = generate.iter().map(see).collect();
        let ids = |value: &Value| {
            value
                .as_array()
                .unwrap()
                .iter()
                .map(|id| TokenId(id.as_u64().unwrap() as u32))
                .collect()
        };
        let sample = |sample: &Value| Sample {
            prompt_ids: ids(&sample["prompt_ids"]),
            new_ids: ids(&sample["new_ids"]),
        };
        Self {
            samples: generate.iter().map(sample).collect(),
            features,
            image: id_of("<image>"),
            mark: id_of("<|assistant|>"),
            stop: vec![id_of("<|end|>"), id_of("<|endoftext|>")],
            aki,
        }
    }

    /// Returns the prompt of a sample.
    pub(crate) fn prompt(&self, index: usize, policy: AttentionPolicy) -> Prompt {
        let ids = &self.samples[index].prompt_ids;
        let at = ids.iter().position(|id| *id == self.image).unwrap();
        let mut talk = self.talk(policy);
        talk.push(SpanKind::Text(Role::System), &ids[..at]);
        talk.image(&self.features[index]);
        talk.push(SpanKind::Text(Role::User), &ids[at + 1..ids.len() - 1]);
        talk.mark();
        talk.prompt
    }

    /// Returns a request for a sample's reply.
    pub(crate) fn request(&self, index: usize) -> Request {
        let prompt = self.prompt(index, AttentionPolicy::ModalityMutual);
        Request { stop: self.stop.clone(), ..Request::new(prompt, 40) }
    }

    /// Goes on with a prompt.
    pub(crate) fn resume(&self, prompt: Prompt) -> Talk<'_> {
        Talk { golden: self, prompt }
    }

    /// Starts an empty prompt.
    pub(crate) fn talk(&self, policy: AttentionPolicy) -> Talk<'_> {
        let (ids, layout, features) = (Vec::new(), Layout::new(), Vec::new());
        self.resume(Prompt { ids, layout, features, policy })
    }

    /// Returns the prompt of a question without an image: `len` tokens in all.
    pub(crate) fn question(&self, len: usize) -> Prompt {
        let mut talk = self.talk(AttentionPolicy::ModalityMutual);
        talk.push(SpanKind::Text(Role::User), &words(7, len - 1));
        talk.mark();
        talk.prompt
    }
}

/// A conversation being written.
pub(crate) struct Talk<'g> {
    golden: &'g Golden,
    pub(crate) prompt: Prompt,
}

impl Talk<'_> {
    pub(crate) fn push(&mut self, kind: SpanKind, ids: &[TokenId]) {
        self.prompt.ids.extend(ids);
        self.prompt.layout.push(kind, ids.len());
    }

    pub(crate) fn user(&mut self, ids: &[TokenId]) {
        self.push(SpanKind::Text(Role::User), ids);
    }

    pub(crate) fn reply(&mut self, ids: &[TokenId]) {
        self.push(SpanKind::Text(Role::Assistant), ids);
    }

    pub(crate) fn image(&mut self, features: &Tensor) {
        self.prompt.ids.push(self.golden.image);
        self.prompt.layout.push(SpanKind::Image, features.dim(0).unwrap());
        self.prompt.features.push(features.clone());
    }

    pub(crate) fn mark(&mut self) {
        self.prompt.ids.push(self.golden.mark);
        self.prompt.layout.push(SpanKind::ReplyMark, 1);
    }
}

/// Returns `count` ids of plain words.
pub(crate) fn words(seed: u32, count: usize) -> Vec<TokenId> {
    (0..count as u32).map(|i| TokenId(260 + (seed * 31 + i * i * 7 + i * 13) % 220)).collect()
}

/// Lets a reply go on.
pub(crate) fn go_on(_: TokenId) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

/// Returns the logits of a fresh prefill.
pub(crate) fn fresh(golden: &Golden, prompt: &Prompt) -> Vec<f32> {
    let prefilled = Session::new(&golden.aki).unwrap().prefill(prompt).unwrap();
    assert_eq!(prefilled.cached_tokens, 0);
    prefilled.logits
}

/// Asserts that logits are the same within 1e-5 of the largest.
#[track_caller]
pub(crate) fn assert_close(found: &[f32], expected: &[f32]) {
    assert_eq!(found.len(), expected.len());
    let scale = expected.iter().fold(0.0_f32, |max, x| max.max(x.abs()));
    let difference = |(a, b): (&f32, &f32)| (a - b).abs();
    let worst = found.iter().zip(expected).map(difference).fold(0.0, f32::max);
    assert!(worst <= 1e-5 * scale, "differ by {worst} of {scale}");
}

/// Runs a batch until it is idle; returns the replies in the order of the requests' names.
pub(crate) fn drain(batch: &mut Batch<'_>) -> Vec<(RequestId, Generated)> {
    let mut replies = Vec::new();
    while !batch.is_idle() {
        for event in batch.step().unwrap() {
            if let Event::Finished { request, reply } = event {
                replies.push((request, reply));
            }
        }
    }
    replies.sort_by_key(|(request, _)| *request);
    replies
}
