//! What a step needs of memory, predicted from shapes.

use model::AkiConfig;

use crate::recipe::{Phase, Recipe};

const F32: u64 = 4;

/// What a step needs, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Footprint {
    /// Elements of trained tensors.
    pub trained: u64,
    /// Elements of frozen tensors.
    pub frozen: u64,
    /// The trained weights.
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
    /// are no part of it.
    pub fn predict(config: &AkiConfig, recipe: &Recipe, phases: &[Phase]) -> Self {
        let (mut trained, mut frozen) = (0, 0);
        for (name, shape) in config.tensor_shapes() {
            let len = shape.iter().product::<usize>() as u64;
            let adapter = recipe.lora.as_ref().filter(|lora| lora.is_adapted(&name));
            if let (Some(lora), [out_width, width]) = (adapter, shape.as_slice()) {
                frozen += len;
                trained += (lora.rank * (out_width + width)) as u64;
            } else if recipe.model.is_trained(&name) {
                trained += len;
            } else {
                frozen += len;
            }
        }
        let of_phase = |phase: &Phase| activations(config, recipe.compute.recompute, phase);
        Self {
            trained,
            frozen,
            weights: trained * F32,
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
fn activations(config: &AkiConfig, recompute: bool, phase: &Phase) -> u64 {
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
    let vision = &config.vision;
    let features = samples * vision.num_patches() as u64;
    let encoder = features * (4 * vision.hidden_size + 2 * vision.intermediate_size) as u64;
    F32 * (positions * decoder + logits + encoder)
}
