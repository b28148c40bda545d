//! Qwen2 and Qwen2.5: as Llama, with biases on q, k and v and nowhere else.

use super::{Description, Projection, Projections};
use crate::DecoderConfig;

pub(super) static FAMILY: Description =
    Description { model_type: "qwen2", projections, bias_fields: &[] };

fn projections(config: &DecoderConfig) -> Projections {
    let (hidden, inner) = (config.hidden_size, config.intermediate_size);
    let (query, key_value) = config.head_widths();
    let biased = |name, widths| Projection::new(name, widths).with_bias(true);
    Projections {
        qkv: vec![
            biased("self_attn.q_proj", [hidden, query]),
            biased("self_attn.k_proj", [hidden, key_value]),
            biased("self_attn.v_proj", [hidden, key_value]),
        ],
        o: Projection::new("self_attn.o_proj", [query, hidden]),
        gate_up: vec![
            Projection::new("mlp.gate_proj", [hidden, inner]),
            Projection::new("mlp.up_proj", [hidden, inner]),
        ],
        down: Projection::new("mlp.down_proj", [inner, hidden]),
    }
}
