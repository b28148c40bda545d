//! Numbers and checkpoints made up on the spot, and comparisons.

use std::error::Error as _;

use checkpoint::{Bytes, Checkpoint, Dtype};
use model::{AkiConfig, Device, Error, Tensor};

use crate::support::{self, Tensors, relative_error};

pub(crate) fn values(tensor: &Tensor) -> Vec<f32> {
    support::elements(&tensor.to_dtype(model::DType::F32).expect("the elements are floats"))
}

#[track_caller]
pub(crate) fn assert_close(name: &str, found: &Tensor, expected: &[f32], tolerance: f32) {
    let error = relative_error(&values(found), expected);
    assert!(error <= tolerance, "{name}: {error:e}, at most {tolerance:e}");
}

#[track_caller]
pub(crate) fn assert_same(found: &Tensor, expected: &Tensor) {
    assert_eq!(found.dims(), expected.dims());
    assert_eq!(values(found), values(expected));
}

/// A generator of numbers that are the same in every run.
pub(crate) struct Noise(u64);

impl Noise {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(crate) fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 33) as usize % end
    }

    /// Returns numbers between -1 and 1.
    pub(crate) fn vec(&mut self, len: usize) -> Vec<f32> {
        (0..len).map(|_| self.below(20_001) as f32 / 10_000.0 - 1.0).collect()
    }

    pub(crate) fn tensor(&mut self, shape: &[usize]) -> Tensor {
        let len = shape.iter().product();
        Tensor::from_vec(self.vec(len), shape, &Device::Cpu).expect("the shape fits")
    }
}

/// Returns random tensors of a configuration's every name and shape.
pub(crate) fn random_tensors(config: &AkiConfig, seed: u64) -> Tensors {
    let mut noise = Noise::new(seed);
    let mut tensors = Tensors::new();
    for (name, shape) in config.tensor_shapes() {
        let scale = 1.0 / (*shape.last().expect("no scalars") as f32).sqrt();
        let values = noise.vec(shape.iter().product());
        tensors.insert(name, f32_tensor(&shape, values.into_iter().map(|value| value * scale)));
    }
    tensors
}

pub(crate) fn f32_tensor(
    shape: &[usize],
    values: impl IntoIterator<Item = f32>,
) -> checkpoint::Tensor {
    let bytes: Vec<u8> = values.into_iter().flat_map(f32::to_le_bytes).collect();
    checkpoint::Tensor { dtype: Dtype::F32, shape: shape.to_vec(), bytes: Bytes::from(bytes) }
}

/// Returns a checkpoint of these tensors.
pub(crate) fn checkpoint_of(tensors: &Tensors) -> Checkpoint {
    // The map stays valid when the file has no name any more.
    support::save(tensors).1
}

/// Returns the message and its causes on one line.
pub(crate) fn message(error: &Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
