//! The families of decoders.
//!
//! A further family is a variant of [`Family`] with its line in each method here.

use crate::DecoderConfig;

/// What the tensors of a decoder are called, and which of them are fused or have a bias.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// Phi-3 and Phi-3.5: `qkv_proj` and `gate_up_proj` are fused.
    Phi3,
    /// Llama 2, 3, 3.1 and 3.2.
    Llama,
    /// Qwen2 and Qwen2.5: as Llama, with biases on q, k and v.
    Qwen2,
}

/// A linear layer that may be stored in parts: the name, width and bias of each.
pub(crate) struct Part {
    pub(crate) name: &'static str,
    pub(crate) out_width: usize,
    pub(crate) has_bias: bool,
}

impl Family {
    /// Every family.
    pub const ALL: [Self; 3] = [Self::Phi3, Self::Llama, Self::Qwen2];

    /// Returns the `model_type` of Hugging Face configurations.
    pub fn model_type(self) -> &'static str {
        match self {
            Self::Phi3 => "phi3",
            Self::Llama => "llama",
            Self::Qwen2 => "qwen2",
        }
    }

    /// Returns the parts that make q, k and v, in this order.
    pub(crate) fn qkv(self, config: &DecoderConfig) -> Vec<Part> {
        let query = config.num_attention_heads * config.head_dim;
        let key_value = config.num_key_value_heads * config.head_dim;
        let has_bias = self == Self::Qwen2 || config.attention_bias;
        match self {
            Self::Phi3 => {
                let out_width = query + 2 * key_value;
                vec![Part { name: "qkv_proj", out_width, has_bias }]
            }
            Self::Llama | Self::Qwen2 => {
                [("q_proj", query), ("k_proj", key_value), ("v_proj", key_value)]
                    .map(|(name, out_width)| Part { name, out_width, has_bias })
                    .into()
            }
        }
    }

    /// Returns the parts that make the gates and the ups, in this order.
    pub(crate) fn gate_up(self, config: &DecoderConfig) -> Vec<Part> {
        let inner = config.intermediate_size;
        let part = |name, out_width| Part { name, out_width, has_bias: false };
        match self {
            Self::Phi3 => vec![part("gate_up_proj", 2 * inner)],
            Self::Llama | Self::Qwen2 => vec![part("gate_proj", inner), part("up_proj", inner)],
        }
    }
}
