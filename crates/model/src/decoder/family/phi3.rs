//! Phi-3 and Phi-3.5: `qkv_proj` and `gate_up_proj` are fused, nothing has a bias.

use super::{Description, Projection, Projections};
use crate::DecoderConfig;

pub(super) static FAMILY: Description =
    Description { model_type: "phi3", projections, bias_fields: &[] };

fn projections(config: &DecoderConfig) -> Projections {
    let (hidden, inner) = (config.hidden_size, config.intermediate_size);
    let (query, key_value) = config.head_widths();
    Projections {
        qkv: vec![Projection::new("self_attn.qkv_proj", [hidden, query + 2 * key_value])],
        o: Projection::new("self_attn.o_proj", [query, hidden]),
        gate_up: vec![Projection::new("mlp.gate_up_proj", [hidden, 2 * inner])],
        down: Projection::new("mlp.down_proj", [inner, hidden]),
    }
}
