//! The linear layer over weights as they are stored.

use candle_core::{D, DType, Tensor};

use crate::weights::{Storage, Weights, to_candle};
use crate::{Error, ops};

/// `x weight^T + bias`.
#[derive(Clone, Debug)]
pub(crate) struct Linear {
    weight: Storage,
    bias: Option<Tensor>,
    out_width: usize,
    width: usize,
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
        Ok(Self { weight, bias, out_width, width })
    }

    /// Makes a layer of weights that are loaded already. `// [out_width, width]`
    pub(crate) fn new(
        weight: Storage,
        bias: Option<Tensor>,
        [width, out_width]: [usize; 2],
    ) -> Self {
        Self { weight, bias, out_width, width }
    }

    /// Applies the layer to the last dimension.
    pub(crate) fn forward(&self, x: &Tensor) -> Result<Tensor, Error> {
        let mut shape = x.dims().to_vec();
        if let Some(last) = shape.last_mut() {
            *last = self.out_width;
        }
        match &self.weight {
            Storage::Mapped { bytes, dtype } => {
                let matrix = Storage::as_matrix(bytes, *dtype)?;
                let bias = self.bias.as_ref().map(Tensor::to_vec1::<f32>).transpose()?;
                Ok(ops::linear(x, matrix, bias.as_deref(), self.width, shape)?)
            }
            Storage::Dense(weight) => {
                let rows = x.elem_count() / x.dim(D::Minus1)?.max(1);
                let x = x.reshape((rows, x.dim(D::Minus1)?))?;
                Ok(ops::plain::linear(&x, weight, self.bias.as_ref())?.reshape(shape)?)
            }
        }
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
        for bias in [None, Some(bias)] {
            let mapped = Storage::Mapped { bytes: bytes.clone(), dtype: Dtype::F32 };
            let mapped = Linear::new(mapped, bias.clone(), [7, 5]).forward(&x).unwrap();
            let dense = Linear::new(Storage::Dense(dense.clone()), bias, [7, 5]);
            let dense = dense.forward(&x).unwrap();
            assert_eq!(mapped.dims(), [2, 3, 5]);
            let difference = (mapped - dense).unwrap().abs().unwrap().max_all().unwrap();
            assert!(difference.to_scalar::<f32>().unwrap() < 1e-6);
        }
    }

    #[test]
    fn rows_of_another_width_are_refused() {
        let weight = Storage::Mapped { bytes: Bytes::from(vec![0; 5 * 7 * 4]), dtype: Dtype::F32 };
        let layer = Linear::new(weight, None, [7, 5]);
        let x = Tensor::zeros((2, 14), DType::F32, &Device::Cpu).unwrap();
        assert!(layer.forward(&x).is_err());
        let dense = Tensor::zeros((5, 7), DType::F32, &Device::Cpu).unwrap();
        assert!(Linear::new(Storage::Dense(dense), None, [7, 5]).forward(&x).is_err());
    }
}
