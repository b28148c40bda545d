//! The linear layer with its gradients.

use std::sync::Arc;

use candle_core::{D, Tensor};
use half::bf16;
use kernels::Matrix;

use super::{Tape, column_sums};
use crate::Error;
use crate::ops::{applied, elements, plain, written};
use crate::weights::{Storage, Weight};

/// Multiply-adds from which on the kernel for many rows is the faster one.
const MANY_ROWS: usize = 8;

/// The operands of a layer besides its input.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LinearWeights<'a> {
    /// `// [out_width, width]`
    pub(crate) weight: &'a Storage,
    /// `// [out_width]`
    pub(crate) bias: Option<&'a Weight>,
    pub(crate) width: usize,
    pub(crate) out_width: usize,
}

impl Tape {
    /// Returns `x weight^T + bias` over the last dimension.
    pub(crate) fn linear(&self, x: &Tensor, layer: LinearWeights<'_>) -> Result<Tensor, Error> {
        let LinearWeights { weight, bias, width, out_width } = layer;
        let mut shape = x.dims().to_vec();
        if shape.pop() != Some(width) {
            let message = format!("linear: rows of {width} elements do not fit {:?}", x.dims());
            return Err(candle_core::Error::Msg(message).into());
        }
        shape.push(out_width);
        if !x.device().is_cpu() {
            return if self.rounds() {
                self.composed_linear(x, layer, shape)
            } else {
                self.dense_linear(x, layer, &shape)
            };
        }
        let x = x.contiguous()?;
        let rows = x.elem_count() / width.max(1);
        let by_panels = self.has_many_rows && (!self.is_training() || rows >= MANY_ROWS);
        let bias_values = bias.map(Weight::tensor).transpose()?;
        let bias_values = bias_values.as_ref().map(elements).transpose()?;
        let out = weight.with_matrix(self.rounds(), |weight| {
            let run = if by_panels { kernels::linear_packed } else { kernels::linear };
            applied(&x, shape, |x, out| run(x, weight, bias_values.as_deref(), width, out))
        })?;
        let parameters = [weight.parameter(), bias.and_then(Weight::parameter)];
        let parameters = parameters.into_iter().flatten().cloned().collect();
        let rounds = self.rounds();
        let needs_dx = self.tracks(&x);
        let (weight, bias) = (weight.clone(), bias.and_then(Weight::parameter).cloned());
        self.record_one(&[&x.clone()], parameters, &out, move |gradients, dout| {
            let dout = dout.contiguous()?;
            let (dy, mut rounded) = (elements(&dout)?, Vec::new());
            let dy = operand(&dy, &mut rounded, rounds);
            if let Some(parameter) = weight.parameter() {
                let (x, mut rounded) = (elements(&x)?, Vec::new());
                let x = operand(&x, &mut rounded, rounds);
                gradients.add(parameter, |dw, accumulate| {
                    kernels::linear_grad_weight(dy, x, width, dw, accumulate);
                });
            }
            if let Some(parameter) = &bias {
                gradients.add(parameter, |db, accumulate| {
                    kernels::linear_grad_bias(dy, db, accumulate);
                });
            }
            if !needs_dx {
                return Ok(vec![None]);
            }
            let dx = weight.with_matrix(rounds, |weight| {
                written(x.shape(), |dx| kernels::linear_grad_input(dy, weight, width, dx))
            })?;
            Ok(vec![Some(dx)])
        });
        Ok(out)
    }

    /// The same by the framework's products, on any device.
    pub(super) fn dense_linear(
        &self,
        x: &Tensor,
        layer: LinearWeights<'_>,
        shape: &[usize],
    ) -> Result<Tensor, Error> {
        let LinearWeights { width, out_width, .. } = layer;
        let weight = layer.weight.as_weight()?;
        let values = weight.tensor()?.reshape((out_width, width))?;
        let bias = layer.bias.cloned();
        let rows = x.reshape(((), width))?;
        let bias_values = bias.as_ref().map(Weight::tensor).transpose()?;
        let out = plain::linear(&rows, &values, bias_values.as_ref())?.reshape(shape)?;
        let trained = [Some(&weight), bias.as_ref()];
        let trained = trained.map(|it| it.and_then(Weight::parameter).cloned());
        let parameters = trained.iter().flatten().cloned().collect();
        let (needs_dx, x_shape) = (self.tracks(x), x.shape().clone());
        self.record_one(&[x], parameters, &out, move |gradients, dout| {
            let dout = dout.contiguous()?.reshape(((), out_width))?;
            let [weight, bias] = trained;
            if let Some(parameter) = weight {
                gradients.add_tensor(&parameter, &dout.t()?.matmul(&rows)?)?;
            }
            if let Some(parameter) = bias {
                gradients.add_tensor(&parameter, &column_sums(&dout)?)?;
            }
            let dx = needs_dx.then(|| dout.matmul(&values)?.reshape(x_shape)).transpose()?;
            Ok(vec![dx])
        });
        Ok(out)
    }

    fn composed_linear(
        &self,
        x: &Tensor,
        layer: LinearWeights<'_>,
        shape: Vec<usize>,
    ) -> Result<Tensor, Error> {
        let weight = layer.weight.as_weight()?;
        let weights: Vec<_> = [&weight].into_iter().chain(layer.bias).collect();
        let out_width = layer.out_width;
        let dtype = self.rounds().then_some(candle_core::DType::BF16);
        self.composed(&[x], &weights, move |x, weights| {
            let x = &x[0];
            let rows = x.elem_count() / x.dim(D::Minus1)?.max(1);
            let round = |x: &Tensor| match dtype {
                Some(dtype) => x.to_dtype(dtype)?.to_dtype(x.dtype()),
                None => Ok(x.clone()),
            };
            let weight = weights[0].reshape((out_width, ()))?;
            let x = round(&x.reshape((rows, x.dim(D::Minus1)?))?)?;
            plain::linear(&x, &round(&weight)?, weights.get(1))?.reshape(shape.as_slice())
        })
    }
}

/// Lends what a layer multiplies with, rounded to bfloat16 if it does.
pub(crate) fn operand<'a>(x: &'a [f32], rounded: &'a mut Vec<bf16>, rounds: bool) -> Matrix<'a> {
    if !rounds {
        return Matrix::F32(x);
    }
    *rounded = kernels::round_to_bf16(x);
    Matrix::Bf16(rounded)
}

impl Storage {
    /// Lends the elements to a kernel, f32 rounded to bfloat16 if that is asked for: those of a
    /// parameter and, as in the frozen parts of a model in training, those of a file.
    pub(crate) fn with_matrix<T>(
        &self,
        rounds: bool,
        run: impl FnOnce(Matrix<'_>) -> candle_core::Result<T>,
    ) -> candle_core::Result<T> {
        match self {
            Self::Mapped { bytes, dtype, rounded } => match Self::as_matrix(bytes, *dtype)? {
                Matrix::F32(values) if rounds => {
                    run(Matrix::Bf16(rounded.get_or_init(|| kernels::round_to_bf16(values))))
                }
                matrix => run(matrix),
            },
            Self::Dense(tensor) => run(Matrix::F32(&elements(tensor)?)),
            Self::Trained(parameter) if rounds => run(Matrix::Bf16(&parameter.rounded())),
            Self::Trained(parameter) => run(Matrix::F32(&parameter.values())),
        }
    }

    /// Returns the parameter, if this is one.
    pub(crate) fn parameter(&self) -> Option<&Arc<crate::parameter::Parameter>> {
        match self {
            Self::Trained(parameter) => Some(parameter),
            Self::Mapped { .. } | Self::Dense(_) => None,
        }
    }

    /// Returns what the framework's operations work on.
    pub(crate) fn as_weight(&self) -> Result<Weight, Error> {
        match self {
            Self::Dense(tensor) => Ok(Weight::Fixed(tensor.clone())),
            Self::Trained(parameter) => Ok(Weight::Trained(Arc::clone(parameter))),
            Self::Mapped { .. } => {
                let message = "mapped weights on a device".to_owned();
                Err(candle_core::Error::Msg(message).into())
            }
        }
    }
}
