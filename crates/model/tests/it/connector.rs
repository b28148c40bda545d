//! The second connector, and what both have in common.

use std::collections::BTreeMap;

use model::{Aki, AkiConfig, LoadOptions, NoTap, Tap, Tensor};
use sequence::{AttentionPolicy, Layout, Role};
use serde_json::{Value, json};

use crate::support::{self, token_ids};
use crate::synthetic::{Noise, assert_close, checkpoint_of, message, random_tensors, values};

fn with(change: impl FnOnce(&mut Value)) -> Result<AkiConfig, String> {
    let mut config: Value =
        serde_json::from_str(&support::config_json("base")).expect("it is JSON");
    change(&mut config);
    AkiConfig::from_json(&config.to_string()).map_err(|error| message(&error))
}

fn mlp() -> AkiConfig {
    let config = with(|config| {
        config["connector"] = json!({ "type": "mlp" });
        config["num_vision_tokens"] = Value::Null;
    });
    config.expect("the projector is a connector")
}

#[derive(Default)]
struct Trace(BTreeMap<String, Tensor>);

impl Tap for Trace {
    fn tensor(&mut self, name: &str, value: &Tensor) {
        self.0.insert(name.to_owned(), value.clone());
    }
}

/// The error function by its series, to f64 accuracy for the small arguments here.
fn erf(x: f64) -> f64 {
    let mut term = x;
    let mut sum = x;
    for n in 1..60 {
        term *= -x * x / f64::from(n);
        sum += term / f64::from(2 * n + 1);
    }
    2.0 / std::f64::consts::PI.sqrt() * sum
}

fn linear(x: &[f64], weight: &[f32], bias: &[f32]) -> Vec<f64> {
    let row = |(row, bias): (&[f32], &f32)| {
        row.iter().zip(x).map(|(w, x)| f64::from(*w) * x).sum::<f64>() + f64::from(*bias)
    };
    weight.chunks_exact(x.len()).zip(bias).map(row).collect()
}

#[test]
fn the_projector_makes_a_token_of_every_patch() {
    let config = mlp();
    assert_eq!((config.num_vision_tokens, config.vision.num_patches()), (16, 16));
    let tensors = random_tensors(&config, 11);
    let weights = checkpoint_of(&tensors);
    let aki = Aki::load(config, &weights, LoadOptions::default()).unwrap();
    let mut trace = Trace::default();
    let tokens = aki.see(&Noise::new(12).tensor(&[2, 3, 56, 56]), &mut trace).unwrap();
    assert_eq!(tokens.dims(), [2, 16, 64]);

    let of = |name: &str| tensors[&format!("vision_tokenizer.{name}")].to_f32_vec().unwrap();
    let [w0, b0, w2, b2] = ["0.weight", "0.bias", "2.weight", "2.bias"].map(of);
    let features = values(&trace.0["vision.output"]);
    let expected: Vec<f32> = features
        .chunks_exact(48)
        .flat_map(|patch| {
            let patch: Vec<f64> = patch.iter().copied().map(f64::from).collect();
            let inner = linear(&patch, &w0, &b0);
            let inner: Vec<f64> =
                inner.iter().map(|x| 0.5 * x * (1.0 + erf(x / 2_f64.sqrt()))).collect();
            linear(&inner, &w2, &b2).into_iter().map(|value| value as f32)
        })
        .collect();
    assert_close("tokens", &tokens, &expected, 1e-5);
}

#[test]
fn a_model_with_the_projector_answers() {
    let config = mlp();
    let weights = checkpoint_of(&random_tensors(&config, 13));
    let aki = Aki::load(config, &weights, LoadOptions::default()).unwrap();
    let seen = aki.see(&Noise::new(14).tensor(&[1, 3, 56, 56]), &mut NoTap).unwrap();
    let layout = Layout::new().text(Role::System, 2).image(16).text(Role::User, 2).reply_mark();
    let ids = token_ids(&[1, 2, 501, 3, 4, 490]);
    let embeddings = aki.embed(&ids, &layout, &[seen.get(0).unwrap()]).unwrap();
    let logits =
        aki.logits_of(&embeddings, &AttentionPolicy::ModalityMutual.plan(&layout)).unwrap();
    assert_eq!(logits.dims(), [21, 503]);
    assert!(values(&logits).iter().all(|value| value.is_finite()));
}

#[test]
fn the_projectors_configuration_survives_being_written() {
    let config = mlp();
    let again = AkiConfig::from_json(&config.to_json()).unwrap();
    assert_eq!(again, config);
    assert_eq!(again.connector.name(), "mlp");
}

#[test]
fn the_published_perceiver_can_be_spelled_out() {
    let silent = with(|_| ()).unwrap();
    let spelled = with(|config| {
        config["connector"] =
            json!({ "type": "perceiver", "num_layers": 6, "heads": 8, "head_dim": 64 });
    });
    let spelled = spelled.unwrap();
    assert_eq!(spelled.connector, silent.connector);
    assert_eq!(spelled.connector.to_json()["heads"], 8);
    let other = with(|config| {
        config["connector"] =
            json!({ "type": "perceiver", "num_layers": 2, "heads": 4, "head_dim": 32 });
    });
    let other = other.unwrap();
    assert_ne!(other.connector, silent.connector);
    let weights = checkpoint_of(&random_tensors(&other, 15));
    let aki = Aki::load(other, &weights, LoadOptions::default()).unwrap();
    let seen = aki.see(&Noise::new(16).tensor(&[1, 3, 56, 56]), &mut NoTap).unwrap();
    assert_eq!(seen.dims(), [1, 8, 64]);
}

#[test]
fn a_connector_that_does_not_fit_is_refused() {
    let refused = |connector: Value| with(|config| config["connector"] = connector).unwrap_err();
    let expected = "`connector.type` is `qformer`, expected one of `perceiver`, `mlp`";
    assert_eq!(refused(json!({ "type": "qformer" })), expected);
    let expected = "`connector.type` is ``, expected one of `perceiver`, `mlp`";
    assert_eq!(refused(json!({ "heads": 8 })), expected);
    let expected = "`num_vision_tokens` is `8`, expected `16`, what the `mlp` connector makes";
    assert_eq!(refused(json!({ "type": "mlp" })), expected);
    let expected = "`connector` is malformed: missing field `heads`";
    assert_eq!(refused(json!({ "type": "perceiver", "num_layers": 1 })), expected);
    let no_heads = json!({ "type": "perceiver", "num_layers": 1, "heads": 0, "head_dim": 8 });
    let expected = "`connector.heads` is `0`, expected at least 1 and at most 4096";
    assert_eq!(refused(no_heads), expected);
}
