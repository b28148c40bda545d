//! The families of decoders.
//!
//! A family is a description: what its tensors are called, which linear layers are fused, and
//! which have a bias. A further one is a file here that ends in a [`Description`], and its line in
//! [`FAMILIES`].

mod llama;
mod phi3;
mod qwen2;

use std::fmt;

use crate::DecoderConfig;

/// Every family.
static FAMILIES: [&Description; 3] = [&phi3::FAMILY, &llama::FAMILY, &qwen2::FAMILY];

/// What is particular to a family of decoders.
pub(crate) struct Description {
    /// The `model_type` of Hugging Face configurations.
    model_type: &'static str,
    /// Names the linear layers of a block.
    projections: fn(&DecoderConfig) -> Projections,
    /// The fields of the configuration that add biases; others of them must be false.
    bias_fields: &'static [&'static str],
}

/// The linear layers of a block.
pub(crate) struct Projections {
    /// What makes q, k and v, in this order.
    pub(crate) qkv: Vec<Projection>,
    /// What follows the attention.
    pub(crate) o: Projection,
    /// What makes the gates and the ups, in this order.
    pub(crate) gate_up: Vec<Projection>,
    /// What follows the gates.
    pub(crate) down: Projection,
}

/// One linear layer, by its name in the checkpoint.
pub(crate) struct Projection {
    pub(crate) name: &'static str,
    pub(crate) width: usize,
    pub(crate) out_width: usize,
    pub(crate) has_bias: bool,
}

/// A family of decoders, by the `model_type` of its configuration.
#[derive(Clone, Copy)]
pub struct Family(&'static Description);

impl Family {
    /// Returns every family.
    pub fn all() -> impl Iterator<Item = Self> {
        FAMILIES.into_iter().map(Self)
    }

    /// Returns the `model_type` of Hugging Face configurations.
    pub fn model_type(self) -> &'static str {
        self.0.model_type
    }

    /// Returns the linear layers of a block.
    pub(crate) fn projections(self, config: &DecoderConfig) -> Projections {
        (self.0.projections)(config)
    }

    /// Returns whether a field of the configuration that asks for biases is supported.
    pub(crate) fn has_bias_field(self, field: &str) -> bool {
        self.0.bias_fields.contains(&field)
    }
}

impl Projections {
    /// Returns all of them.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Projection> {
        let outs = [&self.o, &self.down];
        self.qkv.iter().chain(&self.gate_up).chain(outs)
    }
}

impl Projection {
    fn new(name: &'static str, [width, out_width]: [usize; 2]) -> Self {
        Self { name, width, out_width, has_bias: false }
    }

    fn with_bias(self, has_bias: bool) -> Self {
        Self { has_bias, ..self }
    }
}

impl DecoderConfig {
    /// Returns the widths of all query heads together, and of all key heads.
    fn head_widths(&self) -> (usize, usize) {
        (self.num_attention_heads * self.head_dim, self.num_key_value_heads * self.head_dim)
    }
}

impl PartialEq for Family {
    fn eq(&self, other: &Self) -> bool {
        self.model_type() == other.model_type()
    }
}

impl Eq for Family {}

impl fmt::Debug for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Family({})", self.model_type())
    }
}
