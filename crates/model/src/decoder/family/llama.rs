//! Llama 2, 3, 3.1 and 3.2: every layer is its own; biases where the configuration says so.

use super::{Description, Projection, Projections};
use crate::DecoderConfig;

pub(super) static FAMILY: Description =
    Description { model_type: "llama", projections, bias_fields: &["attention_bias", "mlp_bias"] };

fn projections(config: &DecoderConfig) -> Projections {
    let (hidden, inner) = (config.hidden_size, config.intermediate_size);
    let (query, key_value) = config.head_widths();
    let attention = |name, widths| Projection::new(name, widths).with_bias(config.attention_bias);
    let mlp = |name, widths| Projection::new(name, widths).with_bias(config.mlp_bias);
    Projections {
        qkv: vec![
            attention("self_attn.q_proj", [hidden, query]),
            attention("self_attn.k_proj", [hidden, key_value]),
            attention("self_attn.v_proj", [hidden, key_value]),
        ],
        o: attention("self_attn.o_proj", [query, hidden]),
        gate_up: vec![mlp("mlp.gate_proj", [hidden, inner]), mlp("mlp.up_proj", [hidden, inner])],
        down: mlp("mlp.down_proj", [inner, hidden]),
    }
}
