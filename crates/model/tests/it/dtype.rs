//! Weights, and with them keys and values, of other types than f32.

use checkpoint::Dtype;
use model::{Aki, AkiConfig, Error, LoadOptions, NoTap, Sequence};
use sequence::AttentionPolicy;

use crate::support::{self, Prompt, SETS};

fn logits(aki: &Aki, set: &str) -> Vec<f32> {
    let prompt = Prompt::of(set);
    let plan = AttentionPolicy::ModalityMutual.plan(&prompt.layout);
    let logits = aki.logits_of(&prompt.embed(aki), &plan);
    support::elements(&logits.expect("the plan fits"))
}

/// Loads a golden model whose file has been converted.
fn converted(set: &str, dtype: Dtype) -> Aki {
    let mut tensors = support::tensors(set);
    for tensor in tensors.values_mut() {
        *tensor = tensor.to_dtype(dtype).expect("floats become floats");
    }
    let (_directory, checkpoint) = support::save(&tensors);
    Aki::load(support::config(set), &checkpoint, LoadOptions::default()).expect("it is sound")
}

/// Loads a golden model and converts it while loading.
fn overridden(set: &str, dtype: Dtype) -> Result<Aki, Error> {
    let options = LoadOptions { dtype: Some(dtype), ..LoadOptions::default() };
    Aki::load(support::config(set), &support::open(set, "model"), options)
}

fn assert_logits_within(dtype: Dtype, bound: f32) {
    for set in SETS {
        let expected = support::f32s(&support::open(set, "trace.safetensors"), "mutual.logits");
        let error = support::relative_error(&logits(&converted(set, dtype), set), &expected);
        assert!(error < bound, "{set} in {dtype}: {error:e} off");
        assert!(error > 1e-5, "{set} in {dtype}: as exact as f32, so nothing was converted");
    }
}

#[test]
fn bf16_weights_give_logits_of_bf16_accuracy() {
    // Twice the largest error of the three, 3.2e-2 in `longrope`.
    assert_logits_within(Dtype::Bf16, 6.5e-2);
}

#[test]
fn f16_weights_give_logits_of_f16_accuracy() {
    // Twice the largest error of the three, 4.7e-3 in `longrope`.
    assert_logits_within(Dtype::F16, 9.5e-3);
}

#[test]
fn converting_while_loading_is_converting_the_file() {
    for set in SETS {
        for dtype in [Dtype::Bf16, Dtype::F16] {
            let expected = logits(&converted(set, dtype), set);
            assert_eq!(logits(&overridden(set, dtype).unwrap(), set), expected, "{set} in {dtype}");
        }
        let expected = logits(&support::golden_model(set), set);
        assert_eq!(logits(&overridden(set, Dtype::F32).unwrap(), set), expected, "{set}");
    }
}

#[test]
fn a_type_that_the_model_cannot_compute_with_is_refused() {
    let message = overridden("base", Dtype::I64).unwrap_err().to_string();
    let expected = "the model cannot compute with weights of dtype I64, expected F32, F16 or BF16";
    assert_eq!(message, expected);
    assert!(matches!(overridden("base", Dtype::F64), Err(Error::Dtype { found: Dtype::F64 })));
}

#[test]
fn keys_and_values_have_the_type_of_the_weights() {
    for (dtype, size) in [(Dtype::F32, 4), (Dtype::Bf16, 2), (Dtype::F16, 2)] {
        for set in SETS {
            let aki = overridden(set, dtype).unwrap();
            let bytes = aki.new_cache(10).unwrap().num_bytes();
            assert_eq!(bytes, 10 * bytes_per_position(aki.config(), size), "{set} in {dtype}");
        }
    }
    let published = AkiConfig::preset("aki-4b").unwrap();
    assert_eq!(bytes_per_position(&published, 2), 393_216);
}

/// Returns the memory of a position's keys and values in all layers.
fn bytes_per_position(config: &AkiConfig, size: usize) -> usize {
    let text = &config.text;
    2 * text.num_hidden_layers * text.num_key_value_heads * text.head_dim * size
}

#[test]
fn a_bf16_cache_changes_nothing() {
    let aki = converted("gqa", Dtype::Bf16);
    let prompt = Prompt::of("gqa");
    let embeddings = prompt.embed(&aki);
    let plan = AttentionPolicy::ModalityMutual.plan(&prompt.layout);
    let mut cache = aki.new_cache(plan.num_rows()).unwrap();
    let mut batch = [Sequence { plan: &plan, cache: Some(&mut cache) }];
    let cached = aki.forward(&embeddings, &mut batch, &mut NoTap).unwrap();
    let mut batch = [Sequence { plan: &plan, cache: None }];
    let uncached = aki.forward(&embeddings, &mut batch, &mut NoTap).unwrap();
    assert_eq!(support::elements(&cached), support::elements(&uncached));
}
