//! Decoders of Hugging Face's, tiny and random, in the extended vocabulary; see `fixtures/families.py`.

use std::path::PathBuf;

use checkpoint::Checkpoint;
use model::{Aki, AkiConfig, KvCache, LoadOptions, NoTap, Sequence, Tensor};
use sequence::{AttentionPlan, AttentionPolicy, Layout, Role, TokenId};
use serde_json::{Value, json};

use crate::support::{self, Tensors, f32s, i64s, token_ids};
use crate::synthetic::{assert_close, checkpoint_of, f32_tensor, random_tensors};

fn fixture(name: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures")).join(name)
}

const TOLERANCE: f32 = 1e-5;

struct Family {
    aki: Aki,
    weights: Tensors,
    config: AkiConfig,
    ids: Vec<TokenId>,
    logits: Vec<f32>,
}

impl Family {
    /// Loads a decoder behind the golden encoder's shape.
    fn load(name: &str) -> Self {
        let text = std::fs::read_to_string(fixture(&format!("{name}.json"))).expect("a fixture");
        let mut config: Value =
            serde_json::from_str(&support::config_json("base")).expect("it is JSON");
        config["text_config"] = serde_json::from_str(&text).expect("it is JSON");
        config["initial_tokenizer_len"] = json!(61);
        let config = AkiConfig::from_json(&config.to_string()).expect("the family is known");
        let file = Checkpoint::open(fixture(&format!("{name}.safetensors"))).expect("a fixture");
        let is_text = |name: &&str| name.starts_with("lang_model.");
        // Whatever the decoder asks for beyond the file's tensors is missing, not made up.
        let mut weights = random_tensors(&config, 1);
        weights.retain(|name, _| !name.starts_with("lang_model."));
        for name in file.names().filter(is_text) {
            weights.insert(name.to_owned(), file.tensor(name).expect("it is listed").clone());
        }
        let checkpoint = checkpoint_of(&weights);
        assert_eq!(config.unused_tensors(&checkpoint), Vec::<&str>::new());
        let aki = Aki::load(config.clone(), &checkpoint, LoadOptions::default());
        let aki = aki.expect("the weights are complete");
        let ids = token_ids(&i64s(&file, "input_ids"));
        Self { aki, weights, config, ids, logits: f32s(&file, "logits") }
    }

    fn embeddings(&self) -> Tensor {
        let layout = Layout::new().text(Role::User, self.ids.len());
        self.aki.embed(&self.ids, &layout, &[]).expect("ids and layout fit")
    }
}

fn assert_family(name: &str) {
    let family = Family::load(name);
    let plan = AttentionPlan::causal(family.ids.len());
    let found = family.aki.logits_of(&family.embeddings(), &plan).expect("the plan fits");
    assert_close(name, &found, &family.logits, TOLERANCE);
}

#[test]
fn llama_with_grouped_queries_and_scaled_rope_is_transformers() {
    assert_family("llama");
}

#[test]
fn llama_with_tied_embeddings_biases_and_wide_heads_is_transformers() {
    assert_family("llama-tied");
}

#[test]
fn qwen2_is_transformers() {
    assert_family("qwen2");
}

#[test]
fn qwen2_with_tied_embeddings_is_transformers() {
    assert_family("qwen2-tied");
}

#[test]
fn every_family_decodes_row_by_row_as_it_prefills() {
    for name in ["llama", "llama-tied", "qwen2", "qwen2-tied"] {
        let family = Family::load(name);
        let layout = Layout::new().text(Role::User, family.ids.len());
        let embeddings = family.embeddings();
        let mut cache: KvCache = family.aki.new_cache(0).unwrap();
        let mut rows = Vec::new();
        for row in 0..family.ids.len() {
            let plan = AttentionPolicy::Causal.plan_rows(&layout, row..row + 1);
            let mut batch = [Sequence { plan: &plan, cache: Some(&mut cache) }];
            let input = embeddings.narrow(0, row, 1).unwrap();
            let hidden = family.aki.forward(&input, &mut batch, &mut NoTap).unwrap();
            rows.push(family.aki.logits(&hidden).unwrap());
        }
        assert_close(name, &Tensor::cat(&rows, 0).unwrap(), &family.logits, TOLERANCE);
    }
}

#[test]
fn a_tied_head_is_the_embedding_whatever_the_file_says() {
    let mut family = Family::load("qwen2-tied");
    let table = family.weights["lang_model.model.embed_tokens.weight"].clone();
    let zeros = f32_tensor(&table.shape, vec![0.0; 70 * 32]);
    family.weights.insert("lang_model.lm_head.weight".to_owned(), zeros);
    let weights = checkpoint_of(&family.weights);
    assert_eq!(family.config.unused_tensors(&weights), ["lang_model.lm_head.weight"]);
    family.aki = Aki::load(family.config.clone(), &weights, LoadOptions::default()).unwrap();
    let plan = AttentionPlan::causal(family.ids.len());
    let found = family.aki.logits_of(&family.embeddings(), &plan).unwrap();
    assert_close("logits", &found, &family.logits, TOLERANCE);
}
