//! The linear layer over weights as they are stored.

use candle_core::{DType, Tensor};

use crate::Error;
use crate::lora::Adapter;
use crate::tape::{LinearWeights, Tape};
use crate::weights::{Storage, Weight, Weights, to_candle};

/// `x weight^T + bias`.
#[derive(Clone, Debug)]
pub(crate) struct Linear {
    weight: Storage,
    bias: Option<Weight>,
    out_width: usize,
    width: usize,
    adapter: Option<Adapter>,
}

impl Linear {
    /// Loads `weight` and, if wanted, `bias` of a part of a checkpoint.
    pub(crate) fn load(
        weights: &Weights<'_>,
        [width, out_width]: [usize; 2],
        has_bias: bool,
    ) -> Result<Self, Error> {
        let weight = weights.matrix("weight", &[out_width, width])?;
        let bias = has_bias.then(|| weights.tensor("bias", &[out_width])).transpose()?;
        let adapter = weights.adapter([width, out_width])?;
        Ok(Self { weight, bias, out_width, width, adapter })
    }

    /// Makes a layer of weights that are loaded already. `// [out_width, width]`
    pub(crate) fn new(
        weight: Storage,
        bias: Option<Weight>,
        [width, out_width]: [usize; 2],
    ) -> Self {
        Self { weight, bias, out_width, width, adapter: None }
    }

    /// Applies the layer to the last dimension.
    pub(crate) fn forward(&self, tape: &Tape, x: &Tensor) -> Result<Tensor, Error> {
        let out = tape.linear(x, self.weights())?;
        match &self.adapter {
            Some(adapter) => adapter.forward(tape, x, &out),
            None => Ok(out),
        }
    }

    /// Returns the operands besides the input, those of an adapter left out.
    pub(crate) fn weights(&self) -> LinearWeights<'_> {
        let Self { width, out_width, .. } = *self;
        LinearWeights { weight: &self.weight, bias: self.bias.as_ref(), width, out_width }
    }

    /// Returns weight and bias for the framework's operations.
    pub(crate) fn operands(&self) -> Result<(Weight, Option<Weight>), Error> {
        Ok((self.weight.as_weight()?, self.bias.clone()))
    }

    /// Returns the type of the stored weights.
    pub(crate) fn dtype(&self) -> DType {
        to_candle(self.weight.dtype())
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;
    use checkpoint::{Bytes, Dtype};

    use super::*;

    fn numbers(len: u16, step: f32) -> Vec<f32> {
        (0..len).map(|i| (f32::from(i) * step).sin()).collect()
    }

    #[test]
    fn mapped_weights_give_what_dense_ones_give() {
        let x = Tensor::from_vec(numbers(2 * 3 * 7, 0.7), (2, 3, 7), &Device::Cpu).unwrap();
        let weight = numbers(5 * 7, 0.3);
        let bytes = Bytes::from(weight.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<_>>());
        let bias = Tensor::from_vec(numbers(5, 0.9), 5, &Device::Cpu).unwrap();
        let dense = Tensor::from_vec(weight, (5, 7), &Device::Cpu).unwrap();
        for bias in [None, Some(Weight::Fixed(bias))] {
            let mapped = Storage::mapped(bytes.clone(), Dtype::F32);
            let mapped =
                Linear::new(mapped, bias.clone(), [7, 5]).forward(&Tape::off(), &x).unwrap();
            let dense = Linear::new(Storage::Dense(dense.clone()), bias, [7, 5]);
            let dense = dense.forward(&Tape::off(), &x).unwrap();
            assert_eq!(mapped.dims(), [2, 3, 5]);
            let difference = (mapped - dense).unwrap().abs().unwrap().max_all().unwrap();
            assert!(difference.to_scalar::<f32>().unwrap() < 1e-6);
        }
    }

    #[test]
    fn rows_of_another_width_are_refused() {
        let weight = Storage::mapped(Bytes::from(vec![0; 5 * 7 * 4]), Dtype::F32);
        let layer = Linear::new(weight, None, [7, 5]);
        let x = Tensor::zeros((2, 14), DType::F32, &Device::Cpu).unwrap();
        assert!(layer.forward(&Tape::off(), &x).is_err());
        let dense = Tensor::zeros((5, 7), DType::F32, &Device::Cpu).unwrap();
        assert!(
            Linear::new(Storage::Dense(dense), None, [7, 5]).forward(&Tape::off(), &x).is_err()
        );
    }
}
