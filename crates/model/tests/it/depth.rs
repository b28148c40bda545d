//! How deep a decoder has to be for what its images read to matter.

use model::{Aki, AkiConfig, LoadOptions, Tensor};
use sequence::AttentionPolicy;
use serde_json::Value;

use crate::support::{self, Prompt, SETS};
use crate::synthetic::{checkpoint_of, random_tensors, values};

/// Returns the logits of a golden prompt's last position, from random weights.
fn last_logits(set: &str, layers: usize, policy: AttentionPolicy) -> Tensor {
    let mut json: Value = serde_json::from_str(&support::config_json(set)).expect("it is JSON");
    json["text_config"]["num_hidden_layers"] = layers.into();
    let config = AkiConfig::from_json(&json.to_string()).expect("layers may be few");
    let weights = checkpoint_of(&random_tensors(&config, 5));
    let aki = Aki::load(config, &weights, LoadOptions::default()).expect("the tensors are sound");
    let prompt = Prompt::of(set);
    let logits = aki.logits_of(&prompt.embed(&aki), &policy.plan(&prompt.layout));
    let logits = logits.expect("the plan is that of the prompt");
    logits.get(prompt.layout.len() - 1).expect("a prompt is not empty")
}

/// What an image reads changes its own rows, and text reads these from the next layer on. So with one
/// layer every model with modality-mutual attention is the causal one.
#[test]
fn what_an_image_reads_reaches_the_answer_from_the_second_layer_on() {
    for set in SETS {
        let of = |layers, policy| values(&last_logits(set, layers, policy));
        for layers in 1..4 {
            let causal = of(layers, AttentionPolicy::Causal);
            let mutual = of(layers, AttentionPolicy::ModalityMutual);
            assert_eq!(causal == mutual, layers == 1, "{set}, {layers} layers");
        }
    }
}
