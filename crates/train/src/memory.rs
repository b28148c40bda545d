//! What a step needs of memory, predicted from shapes.

use model::AkiConfig;

use crate::recipe::{Phase, Precision, Recipe};

const F32: u64 = 4;

/// What a step needs, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Footprint {
    /// Elements of trained tensors.
    pub trained: u64,
    /// Elements of frozen tensors.
    pub frozen: u64,
    /// The trained weights, rounded ones too.
    pub weights: u64,
    /// The sums of their gradients.
    pub gradients: u64,
    /// The moments of the optimizer.
    pub moments: u64,
    /// What the forward pass of the largest micro-batch keeps for the backward pass.
    pub activations: u64,
}

impl Footprint {
    /// Predicts what the phase that needs most needs. Frozen weights lie in the mapped file, and
    /// are no part of it; nor are the rounded copies of those in f32 where products round.
    pub fn predict(config: &AkiConfig, recipe: &Recipe, phases: &[Phase]) -> Self {
        let (mut trained, mut frozen) = (0, 0);
        for (name, shape) in config.tensor_shapes() {
            let len = shape.iter().product::<usize>() as u64;
            let adapter = recipe.lora.as_ref().filter(|lora| lora.is_adapted(&name));
            if let (Some(lora), [out_width, width]) = (adapter, shape.as_slice()) {
                frozen += len;
                trained += (lora.rank * (out_width + width)) as u64;
            } else if recipe.is_trained(&name) {
                trained += len;
            } else {
                frozen += len;
            }
        }
        // A copy of each weight, rounded for the linear layers.
        let rounded = if recipe.compute.precision == Precision::Bf16 { 2 } else { 0 };
        let of_phase = |phase: &Phase| activations(config, recipe, phase);
        Self {
            trained,
            frozen,
            weights: trained * (F32 + rounded),
            gradients: trained * F32,
            moments: 2 * trained * F32,
            activations: phases.iter().map(of_phase).max().unwrap_or(0),
        }
    }

    /// Returns the sum.
    pub fn total(&self) -> u64 {
        self.weights + self.gradients + self.moments + self.activations
    }
}

/// Returns the bytes of a phase's activations, for samples of an image and the longest text.
fn activations(config: &AkiConfig, recipe: &Recipe, phase: &Phase) -> u64 {
    let recompute = recipe.compute.recompute;
    let text = &config.text;
    let samples = phase.batch.micro_batch as u64;
    let labels = samples * phase.stage.max_text_tokens() as u64;
    let positions = labels + samples * config.num_vision_tokens as u64;
    let hidden = text.hidden_size as u64;
    let query = (text.num_attention_heads * text.head_dim) as u64;
    let key_value = (text.num_key_value_heads * text.head_dim) as u64;
    let inner = text.intermediate_size as u64;
    // The two norms and the two sums, q, k, v and the attention's output, gate, up and product.
    let block = 4 * hidden + 2 * (query + key_value) + 3 * inner;
    let layers = text.num_hidden_layers as u64;
    // The largest block's gradients exist beside what was kept.
    let decoder = if recompute { layers * hidden + 2 * block } else { (layers + 1) * block };
    let logits = labels * config.vocab_size() as u64;
    F32 * (positions * decoder + logits + samples * image(config, recipe))
}

/// Returns the numbers that the vision encoder and the connector keep of an image.
fn image(config: &AkiConfig, recipe: &Recipe) -> u64 {
    let vision = &config.vision;
    let (width, inner) = (vision.hidden_size as u64, vision.intermediate_size as u64);
    let patches = vision.num_patches() as u64;
    let shapes = config.tensor_shapes();
    let is_encoder = |name: &str| name.starts_with("vision_encoder.");
    let is_trained = shapes.iter().any(|(name, _)| is_encoder(name) && recipe.is_trained(name));
    // The norms and sums, q, k, v and the attention's output; what is inside before and after gelu.
    let layer = 8 * width + 2 * inner;
    let kept = if is_trained { vision.num_hidden_layers as u64 } else { 1 };
    let tokens = patches + config.num_vision_tokens as u64;
    let connector = shapes.iter().filter(|(name, _)| name.starts_with("vision_tokenizer."));
    let outputs = connector.filter(|(_, shape)| shape.len() == 2).map(|(_, shape)| shape[0] as u64);
    patches * layer * kept + tokens * outputs.sum::<u64>()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn predict(settings: &[&str]) -> Footprint {
        let text = r#"
            model = { init = "" }
            stage = { kind = "captions", attention = "causal" }
            batch = { micro_batch = 4 }
            schedule = { lr = 1.0, steps = 1 }
            data = [{ name = "kale" }]
        "#;
        let settings: Vec<_> = settings.iter().map(|&setting| setting.to_owned()).collect();
        let recipe = Recipe::parse(text, "recipe.toml", &settings).unwrap();
        let (recipe, phases) = recipe.resolve().unwrap();
        Footprint::predict(&AkiConfig::preset("tiny").unwrap(), &recipe, &phases)
    }

    #[test]
    fn what_is_trained_takes_four_numbers_of_four_bytes() {
        let footprint = predict(&[]);
        let Footprint { trained, weights, gradients, moments, activations, .. } = footprint;
        assert_eq!([weights, gradients, moments], [4 * trained, 4 * trained, 8 * trained]);
        assert_eq!(footprint.total(), 16 * trained + activations);
    }

    #[test]
    fn settings_change_what_they_should() {
        let plain = predict(&[]);
        let adapted = predict(&[r#"lora={ rank = 1, alpha = 1.0, targets = ["*_proj"] }"#]);
        assert!(adapted.trained < plain.trained && adapted.frozen > plain.frozen);
        assert!(predict(&["compute.recompute=true"]).activations < plain.activations);
        assert!(predict(&["batch.micro_batch=8"]).activations == 2 * plain.activations);
        let whole = predict(&["model.frozen=[]"]);
        assert_eq!((whole.frozen, whole.trained), (0, plain.trained + plain.frozen));
        assert!(whole.activations > plain.activations);
    }
}
