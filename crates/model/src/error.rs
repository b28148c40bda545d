//! What can go wrong between a checkpoint and its logits.

use checkpoint::Dtype;

/// What can go wrong between a checkpoint and its logits.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The configuration is not JSON of the expected form.
    #[error("configuration is malformed")]
    Json {
        /// What the parser says.
        #[from]
        source: serde_json::Error,
    },
    /// A section of the configuration lacks a field, or has one of the wrong type.
    #[error("`{field}` is malformed")]
    Section {
        /// The section; `config` is the whole file.
        field: String,
        /// What the parser says.
        source: serde_json::Error,
    },
    /// A field of the configuration has a value that is not supported.
    #[error("`{field}` is `{found}`, expected {expected}")]
    Config {
        /// The field, with the fields around it.
        field: String,
        /// Its value.
        found: String,
        /// What is supported.
        expected: String,
    },
    /// A tensor is not in the checkpoint.
    #[error("tensor `{name}` of shape {expected:?} is missing from the checkpoint")]
    MissingTensor {
        /// Its name.
        name: String,
        /// The shape that the configuration asks for.
        expected: Vec<usize>,
    },
    /// A tensor has another shape than the configuration asks for.
    #[error("tensor `{name}` has shape {found:?}, expected {expected:?}")]
    TensorShape {
        /// Its name.
        name: String,
        /// The shape in the checkpoint.
        found: Vec<usize>,
        /// The shape that the configuration asks for.
        expected: Vec<usize>,
    },
    /// The latents are as many as another number of vision tokens.
    #[error(
        "tensor `{name}` holds {found} latents, but `num_vision_tokens` in the configuration is {expected}"
    )]
    NumLatents {
        /// The name of the latents.
        name: String,
        /// Latents in the checkpoint.
        found: usize,
        /// Vision tokens of the configuration.
        expected: usize,
    },
    /// A tensor's elements are not floats that the model computes with.
    #[error("tensor `{name}` has dtype {found}, expected F32, F16 or BF16")]
    TensorDtype {
        /// Its name.
        name: String,
        /// Its type.
        found: Dtype,
    },
    /// The model cannot be converted to a type.
    #[error("the model cannot compute with weights of dtype {found}, expected F32, F16 or BF16")]
    Dtype {
        /// The type asked for.
        found: Dtype,
    },
    /// The device has no kernel that reads keys and values of a type.
    #[error("the device keeps no keys and values in {found}, expected f32, f16 or bf16")]
    KvType {
        /// The type asked for.
        found: &'static str,
    },
    /// An id is not in the vocabulary.
    #[error("token id {id} is outside the vocabulary of {vocab_size}")]
    TokenId {
        /// The id.
        id: u32,
        /// The number of ids.
        vocab_size: usize,
    },
    /// Ids, layout and images do not belong together.
    #[error("the layout needs {expected} {what}, found {found}")]
    Inputs {
        /// What is counted.
        what: &'static str,
        /// How many the layout needs.
        expected: usize,
        /// How many there are.
        found: usize,
    },
    /// There is nothing to learn from.
    #[error("no position of the batch has a label")]
    NoLabels,
    /// The framework failed: out of memory, a device error.
    #[error("tensor computation failed")]
    Tensor {
        /// What the framework says.
        #[from]
        source: candle_core::Error,
    },
}
