//! Everything else: norms, activations, rotary embedding, sums, and what moves rows.

use std::sync::Arc;

use candle_core::{D, DType, IndexOp, Tensor};
use kernels::NormGrad;

use super::{Gradients, Tape};
use crate::Error;
use crate::ops::{self, elements, plain, rows, written};
use crate::parameter::Parameter;
use crate::weights::Weight;

/// The index of no row, which the framework takes for zeros.
pub(super) const NO_ROW: u32 = u32::MAX;

/// A kernel that gives the gradient of an input from the input and the gradient of the output.
type Slope = fn(&[f32], &[f32], &mut [f32]);

/// A kernel that gives the gradients of a norm from its input, weight, epsilon and the gradient of
/// its output.
type NormSlope = fn(&[f32], &[f32], f32, &[f32], NormGrad<'_>);

impl Tape {
    pub(crate) fn add(&self, a: &Tensor, b: &Tensor) -> Result<Tensor, Error> {
        let out = sum(a, b, 1.0)?;
        self.record_one(&[a, b], Vec::new(), &out, |_, dout| {
            Ok(vec![Some(dout.clone()), Some(dout)])
        });
        Ok(out)
    }

    /// Returns `x + factor y`.
    pub(crate) fn add_scaled(&self, x: &Tensor, y: &Tensor, factor: f64) -> Result<Tensor, Error> {
        let out = sum(x, y, factor)?;
        self.record_one(&[x, y], Vec::new(), &out, move |_, dout| {
            let dy = (&dout * factor)?;
            Ok(vec![Some(dout), Some(dy)])
        });
        Ok(out)
    }

    pub(crate) fn layer_norm(
        &self,
        x: &Tensor,
        [weight, bias]: [&Weight; 2],
        eps: f64,
    ) -> Result<Tensor, Error> {
        if is_dense(x) {
            return self.dense_norm(x, (weight, Some(bias)), eps);
        }
        if !x.device().is_cpu() {
            return self.composed(&[x], &[weight, bias], move |x, w| {
                plain::layer_norm(&x[0], &w[0], &w[1], eps)
            });
        }
        let x = x.contiguous()?;
        let out = ops::layer_norm(&x, &weight.tensor()?, &bias.tensor()?, eps)?;
        self.record_norm(&x, &out, [Some(weight), Some(bias)], (eps, kernels::layer_norm_grad));
        Ok(out)
    }

    pub(crate) fn rms_norm(&self, x: &Tensor, weight: &Weight, eps: f64) -> Result<Tensor, Error> {
        if is_dense(x) {
            return self.dense_norm(x, (weight, None), eps);
        }
        if !x.device().is_cpu() {
            return self.composed(&[x], &[weight], move |x, w| plain::rms_norm(&x[0], &w[0], eps));
        }
        let x = x.contiguous()?;
        let out = ops::rms_norm(&x, &weight.tensor()?, eps)?;
        self.record_norm(&x, &out, [Some(weight), None], (eps, kernels::rms_norm_grad));
        Ok(out)
    }

    fn record_norm(
        &self,
        x: &Tensor,
        out: &Tensor,
        [weight, bias]: [Option<&Weight>; 2],
        (eps, gradient): (f64, NormSlope),
    ) {
        let trained = [weight, bias].map(|it| it.and_then(Weight::parameter).cloned());
        let parameters = trained.iter().flatten().cloned().collect();
        let weight = weight.cloned();
        let input = x.clone();
        self.record_one(&[x], parameters, out, move |gradients, dout| {
            let Some(weight) = weight else { return Ok(Vec::new()) };
            let (weight, dout) = (weight.tensor()?, dout.contiguous()?);
            let (weight, dy, x) = (elements(&weight)?, elements(&dout)?, elements(&input)?);
            let mut sums =
                trained.each_ref().map(|it| it.as_ref().map(|_| vec![0.0; weight.len()]));
            let [dweight, dbias] = sums.each_mut().map(|sum| sum.as_deref_mut());
            let dx = written(input.shape(), |dx| {
                let grad = NormGrad { dx, dweight, dbias, accumulate: false };
                gradient(&x, &weight, eps as f32, &dy, grad);
            })?;
            for (parameter, sum) in trained.iter().zip(sums) {
                if let (Some(parameter), Some(sum)) = (parameter, sum) {
                    gradients.add_all(parameter, &sum);
                }
            }
            Ok(vec![Some(dx)])
        });
    }

    pub(crate) fn gelu_tanh(&self, x: &Tensor) -> Result<Tensor, Error> {
        if is_dense(x) {
            return self.dense_gelu_tanh(x);
        }
        if !x.device().is_cpu() {
            return self.composed(&[x], &[], |x, _| plain::gelu_tanh(&x[0]));
        }
        self.activation(x, ops::gelu_tanh, kernels::gelu_tanh_grad)
    }

    pub(crate) fn gelu_erf(&self, x: &Tensor) -> Result<Tensor, Error> {
        if is_dense(x) {
            return self.dense_gelu_erf(x);
        }
        if !x.device().is_cpu() {
            return self.composed(&[x], &[], |x, _| plain::gelu_erf(&x[0]));
        }
        self.activation(x, ops::gelu_erf, kernels::gelu_erf_grad)
    }

    fn activation(
        &self,
        x: &Tensor,
        forward: fn(&Tensor) -> candle_core::Result<Tensor>,
        slope: Slope,
    ) -> Result<Tensor, Error> {
        let x = x.contiguous()?;
        let out = forward(&x)?;
        self.record_one(&[&x.clone()], Vec::new(), &out, move |_, dout| {
            let dout = dout.contiguous()?;
            let (x_elements, dy) = (elements(&x)?, elements(&dout)?);
            Ok(vec![Some(written(x.shape(), |dx| slope(&x_elements, &dy, dx))?)])
        });
        Ok(out)
    }

    pub(crate) fn silu_gate(&self, gate_up: &Tensor) -> Result<Tensor, Error> {
        if is_dense(gate_up) {
            return self.dense_silu_gate(gate_up);
        }
        if !gate_up.device().is_cpu() {
            return self.composed(&[gate_up], &[], |x, _| plain::silu_gate(&x[0]));
        }
        let x = gate_up.contiguous()?;
        let out = ops::silu_gate(&x)?;
        let width = x.dim(D::Minus1)? / 2;
        self.record_one(&[&x.clone()], Vec::new(), &out, move |_, dout| {
            let dout = dout.contiguous()?;
            let (x_elements, dy) = (elements(&x)?, elements(&dout)?);
            let dx = written(x.shape(), |dx| kernels::silu_gate_grad(&x_elements, width, &dy, dx));
            Ok(vec![Some(dx?)])
        });
        Ok(out)
    }

    /// See [`ops::rope`].
    pub(crate) fn rope(&self, x: &Tensor, angles: &(Tensor, Tensor)) -> Result<Tensor, Error> {
        if is_dense(x) {
            return self.dense_rope(x, angles);
        }
        let (cos, sin) = angles;
        let out = ops::rope(x, cos, sin)?;
        let (cos, sin) = (cos.clone(), sin.clone());
        self.record_one(&[x], Vec::new(), &out, move |_, dout| {
            // The transposed rotation is that by the negated angles.
            Ok(vec![Some(ops::rope(&dout, &cos, &sin.neg()?)?)])
        });
        Ok(out)
    }

    /// Cuts the last dimension.
    pub(crate) fn split<const N: usize>(
        &self,
        x: &Tensor,
        widths: [usize; N],
    ) -> Result<[Tensor; N], Error> {
        let is_cpu = x.device().is_cpu();
        let outs = if is_cpu { rows::split(x, &widths)? } else { narrowed(x, &widths)? };
        let shapes: Vec<_> = outs.iter().map(|out| out.shape().clone()).collect();
        let (shape, dtype, device) = (x.shape().clone(), x.dtype(), x.device().clone());
        let outputs: Vec<&Tensor> = outs.iter().collect();
        self.record(&[x], Vec::new(), &outputs, move |_, douts| {
            if is_cpu {
                return Ok(vec![Some(rows::join(&douts, &widths, shape)?)]);
            }
            let parts = douts.into_iter().zip(shapes).map(|(dout, shape)| match dout {
                Some(dout) => Ok(dout),
                None => Tensor::zeros(shape, dtype, &device),
            });
            let parts = parts.collect::<candle_core::Result<Vec<_>>>()?;
            Ok(vec![Some(Tensor::cat(&parts, D::Minus1)?)])
        });
        exactly(outs)
    }

    /// Joins along a dimension.
    pub(crate) fn cat(&self, parts: &[&Tensor], dim: usize) -> Result<Tensor, Error> {
        if let [part] = parts {
            return Ok((*part).clone());
        }
        let out = Tensor::cat(parts, dim)?;
        let lens =
            parts.iter().map(|part| part.dim(dim)).collect::<candle_core::Result<Vec<_>>>()?;
        self.record_one(parts, Vec::new(), &out, move |_, dout| {
            let mut start = 0;
            let mut grads = Vec::with_capacity(lens.len());
            for len in lens {
                grads.push(Some(dout.narrow(dim, start, len)?.contiguous()?));
                start += len;
            }
            Ok(grads)
        });
        Ok(out)
    }

    /// Returns the elements in another shape.
    pub(crate) fn reshape(&self, x: &Tensor, shape: &[usize]) -> Result<Tensor, Error> {
        let out = x.reshape(shape)?;
        let shape = x.shape().clone();
        self.record_one(&[x], Vec::new(), &out, move |_, dout| {
            Ok(vec![Some(dout.reshape(&shape)?)])
        });
        Ok(out)
    }

    /// Returns some rows, each at most once. `// [rows, width] -> [selected, width]`
    pub(crate) fn select_rows(&self, x: &Tensor, rows: Vec<u32>) -> Result<Tensor, Error> {
        let shape = x.shape().clone();
        if x.device().is_cpu() {
            let out = rows::select(x, &rows)?;
            self.record_one(&[x], Vec::new(), &out, move |_, dout| {
                Ok(vec![Some(rows::place(&dout, &rows, &shape)?)])
            });
            return Ok(out);
        }
        self.gather_rows(x, rows)
    }

    /// The same by the framework's operations, on any device.
    pub(super) fn gather_rows(&self, x: &Tensor, rows: Vec<u32>) -> Result<Tensor, Error> {
        let (num_rows, count) = (x.dim(0)?, rows.len());
        // The gradient is gathered as well: adding rows up at their places is slow on a device.
        let mut origin = vec![NO_ROW; num_rows];
        for (from, to) in rows.iter().enumerate() {
            if let Some(origin) = origin.get_mut(*to as usize) {
                *origin = from as u32;
            }
        }
        let rows = Tensor::from_vec(rows, count, x.device())?;
        let out = x.contiguous()?.index_select(&rows, 0)?;
        let device = x.device().clone();
        self.record_one(&[x], Vec::new(), &out, move |_, dout| {
            let origin = Tensor::from_vec(origin, num_rows, &device)?;
            Ok(vec![Some(dout.contiguous()?.index_select(&origin, 0)?)])
        });
        Ok(out)
    }

    /// Adds a weight to every image. `// [images, rows, width] + [rows, width]`
    pub(crate) fn add_to_each(&self, x: &Tensor, weight: &Weight) -> Result<Tensor, Error> {
        let out = x.broadcast_add(&weight.tensor()?)?;
        let trained = weight.parameter().cloned();
        self.record_one(&[x], trained.iter().cloned().collect(), &out, move |gradients, dout| {
            if let Some(parameter) = &trained {
                add_images(gradients, parameter, &dout)?;
            }
            Ok(vec![Some(dout)])
        });
        Ok(out)
    }

    /// Returns a weight once for every image. `// [rows, width] -> [images, rows, width]`
    pub(crate) fn for_each(&self, weight: &Weight, images: usize) -> Result<Tensor, Error> {
        let values = weight.tensor()?;
        let (rows, width) = values.dims2()?;
        let out = values.unsqueeze(0)?.expand((images, rows, width))?.contiguous()?;
        if let Some(parameter) = weight.parameter().cloned() {
            self.record_one(&[], vec![Arc::clone(&parameter)], &out, move |gradients, dout| {
                add_images(gradients, &parameter, &dout)?;
                Ok(Vec::new())
            });
        }
        Ok(out)
    }

    /// Remembers that `out` holds rows of trained tables: the row of `out`, the table, its row.
    pub(crate) fn record_lookup(
        &self,
        out: &Tensor,
        tables: Vec<(Arc<Parameter>, Vec<[usize; 2]>)>,
    ) {
        let parameters = tables.iter().map(|(parameter, _)| Arc::clone(parameter)).collect();
        self.record_one(&[], parameters, out, move |gradients, dout| {
            let dout = dout.to_device(&candle_core::Device::Cpu)?.contiguous()?;
            let dy = elements(&dout)?;
            let width = dout.dim(D::Minus1)?;
            for (parameter, lookups) in &tables {
                gradients.add(parameter, |sum, accumulate| {
                    if !accumulate {
                        sum.fill(0.0);
                    }
                    for [row, entry] in lookups {
                        let dy = &dy[row * width..][..width];
                        for (sum, dy) in sum[entry * width..][..width].iter_mut().zip(dy) {
                            *sum += dy;
                        }
                    }
                });
            }
            Ok(Vec::new())
        });
    }
}

/// Returns whether gradients on a device are written out for a tensor.
fn is_dense(x: &Tensor) -> bool {
    !x.device().is_cpu() && x.dtype() == DType::F32
}

/// Returns `x + factor y`.
pub(super) fn sum(x: &Tensor, y: &Tensor, factor: f64) -> candle_core::Result<Tensor> {
    if x.device().is_cpu() && x.dtype() == DType::F32 && x.dims() == y.dims() {
        return rows::add_scaled(x, y, factor as f32);
    }
    x + (y * factor)?
}

/// Cuts the last dimension.
fn narrowed(x: &Tensor, widths: &[usize]) -> candle_core::Result<Vec<Tensor>> {
    rows::views(x, widths)?.iter().map(Tensor::contiguous).collect()
}

/// Cuts the last dimension where nobody learns: on the CPU, whose operations take them so, rows stay where they
/// lie.
pub(crate) fn parts<const N: usize>(x: &Tensor, widths: [usize; N]) -> Result<[Tensor; N], Error> {
    exactly(if x.device().is_cpu() { rows::views(x, &widths)? } else { narrowed(x, &widths)? })
}

fn exactly<const N: usize>(parts: Vec<Tensor>) -> Result<[Tensor; N], Error> {
    let found = parts.len();
    parts.try_into().map_err(|_| candle_core::Error::Msg(format!("{found} parts")).into())
}

/// Adds the sum over all images. `// [images, ..]`
fn add_images(
    gradients: &mut Gradients<'_>,
    parameter: &Parameter,
    dout: &Tensor,
) -> Result<(), Error> {
    if !dout.device().is_cpu() {
        return gradients.add_tensor(parameter, &dout.sum(0)?);
    }
    let mut sum = dout.i(0)?;
    for image in 1..dout.dim(0)? {
        sum = (sum + dout.i(image)?)?;
    }
    gradients.add_tensor(parameter, &sum)
}
