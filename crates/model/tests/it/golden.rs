//! Every intermediate result of one prompt, against the golden traces.

use std::collections::{BTreeMap, BTreeSet};

use model::{Aki, Sequence, Tap, Tensor};
use sequence::AttentionPolicy;

use crate::support::{self, Prompt, SETS};

const TOLERANCE: f32 = 1e-5;

/// Results that do not depend on the attention policy have no prefix in the goldens.
const SHARED: [&str; 3] = ["vision.", "resampler.", "text."];
/// What a golden trace holds besides results.
const INPUTS: [&str; 4] = ["input_ids", "pixel_values", "mutual.mask", "causal.mask"];

#[derive(Default)]
struct Trace(BTreeMap<String, Vec<f32>>);

impl Tap for Trace {
    fn tensor(&mut self, name: &str, value: &Tensor) {
        let before = self.0.insert(name.to_owned(), support::elements(value));
        assert!(before.is_none(), "`{name}` came twice");
    }
}

fn trace(aki: &Aki, prompt: &Prompt, policy: AttentionPolicy) -> Trace {
    let mut trace = Trace::default();
    let features = aki.see(&prompt.pixels, &mut trace).expect("the pixels fit");
    let features = [features.get(0).expect("there is one image")];
    let embeddings = aki.embed(&prompt.ids, &prompt.layout, &features).expect("all fit");
    trace.tensor("text.embeddings", &embeddings);
    let plan = policy.plan(&prompt.layout);
    let mut batch = [Sequence { plan: &plan, cache: None }];
    let hidden = aki.forward(&embeddings, &mut batch, &mut trace).expect("the plan fits");
    trace.tensor("logits", &aki.logits(&hidden).expect("the width fits"));
    trace
}

fn assert_follows_trace(set: &str, policy: AttentionPolicy) {
    let golden = support::open(set, "trace.safetensors");
    let prefix = format!("{}.", policy.name());
    let found = trace(&support::golden_model(set), &Prompt::of(set), policy);
    let mut compared = BTreeSet::new();
    for (name, values) in &found.0 {
        let is_shared = SHARED.iter().any(|part| name.starts_with(part));
        let name = if is_shared { name.clone() } else { format!("{prefix}{name}") };
        let error = support::relative_error(values, &support::f32s(&golden, &name));
        assert!(error < TOLERANCE, "{set}: `{name}` is {error:e} off");
        compared.insert(name);
    }
    let is_compared = |name: &&str| {
        let is_shared = SHARED.iter().any(|part| name.starts_with(part));
        !INPUTS.contains(name) && (is_shared || name.starts_with(&prefix))
    };
    let expected: BTreeSet<_> = golden.names().filter(is_compared).map(str::to_owned).collect();
    assert_eq!(compared, expected, "{set}: the names of the trace");
}

#[test]
fn every_result_under_mutual_attention_follows_the_reference() {
    for set in SETS {
        assert_follows_trace(set, AttentionPolicy::ModalityMutual);
    }
}

#[test]
fn every_result_under_causal_attention_follows_the_reference() {
    for set in SETS {
        assert_follows_trace(set, AttentionPolicy::Causal);
    }
}
