//! Operations away from the CPU by the framework's own, in f32, with gradients written out.
//!
//! The framework's gradients would compute every operation again and add columns up one element
//! at a time; here sums over rows and columns are products with ones, which devices are good at.

use candle_core::{D, Device, Result, Tensor};
use candle_nn::ops::{layer_norm, rms_norm};
use candle_nn::rotary_emb::rope_thd;

use super::Tape;
use crate::Error;
use crate::weights::Weight;

/// `sqrt(2 / pi)` and the weight of the cube in the approximation of GELU by tanh.
const TANH: (f64, f64) = (0.797_884_560_802_865_4, 0.044_715);

/// Returns rows one after the other. `// [.., width] -> [rows, width]`
fn rows_of(x: &Tensor) -> Result<Tensor> {
    let width = x.dim(D::Minus1)?;
    x.contiguous()?.reshape(((), width))
}

fn filled(shape: (usize, usize), value: f32, device: &Device) -> Result<Tensor> {
    Tensor::full(value, shape, device)
}

/// Returns the mean of every row. `// [rows, width] -> [rows, 1]`
fn row_means(x: &Tensor) -> Result<Tensor> {
    let width = x.dim(1)?;
    x.matmul(&filled((width, 1), 1.0 / width as f32, x.device())?)
}

/// Returns the sum of every column. `// [rows, width] -> [width]`
pub(crate) fn column_sums(x: &Tensor) -> Result<Tensor> {
    let (rows, width) = x.dims2()?;
    filled((1, rows), 1.0, x.device())?.matmul(x)?.reshape(width)
}

impl Tape {
    /// Normalises rows and scales them, and shifts them if there is a bias.
    ///
    /// With a bias rows get a mean of zero first, as layer normalisation does it; without one only
    /// their size counts.
    pub(super) fn dense_norm(
        &self,
        x: &Tensor,
        (weight, bias): (&Weight, Option<&Weight>),
        eps: f64,
    ) -> std::result::Result<Tensor, Error> {
        let is_centered = bias.is_some();
        let rows = rows_of(x)?;
        let values = weight.tensor()?;
        let out = match bias {
            Some(bias) => layer_norm(&rows, &values, &bias.tensor()?, eps as f32)?,
            None => rms_norm(&rows, &values, eps as f32)?,
        };
        let out = out.reshape(x.shape())?;
        let trained = [Some(weight), bias].map(|it| it.and_then(Weight::parameter).cloned());
        let parameters = trained.iter().flatten().cloned().collect();
        let shape = x.shape().clone();
        self.record_one(&[x], parameters, &out, move |gradients, dout| {
            let dout = rows_of(&dout)?;
            let mut centered = rows;
            if is_centered {
                centered = centered.broadcast_sub(&row_means(&centered)?)?;
            }
            let scale = (row_means(&centered.sqr()?)? + eps)?.sqrt()?.recip()?; // [rows, 1]
            let [weight, bias] = &trained;
            if let Some(parameter) = weight {
                let sums = scale.t()?.matmul(&(&dout * &centered)?)?;
                gradients.add_tensor(parameter, &sums)?;
            }
            if let Some(parameter) = bias {
                gradients.add_tensor(parameter, &column_sums(&dout)?)?;
            }
            let dnormed = dout.broadcast_mul(&values)?;
            let along = (row_means(&(&dnormed * &centered)?)? * scale.sqr()?)?;
            let mut dx = (&dnormed - centered.broadcast_mul(&along)?)?;
            if is_centered {
                dx = dx.broadcast_sub(&row_means(&dnormed)?)?;
            }
            Ok(vec![Some(dx.broadcast_mul(&scale)?.reshape(&shape)?)])
        });
        Ok(out)
    }

    /// Rotates heads by their positions' angles. `// [tokens, heads * dim]`, angles `[tokens, dim / 2]`
    pub(super) fn dense_rope(
        &self,
        x: &Tensor,
        (cos, sin): &(Tensor, Tensor),
    ) -> std::result::Result<Tensor, Error> {
        let rotated = |x: &Tensor, cos: &Tensor, sin: &Tensor| {
            let (tokens, width) = x.dims2()?;
            let dim = 2 * cos.dim(1)?;
            let heads = x.contiguous()?.reshape((1, tokens, width / dim, dim))?;
            rope_thd(&heads, cos, sin)?.reshape((tokens, width))
        };
        let out = rotated(x, cos, sin)?;
        let (cos, sin) = (cos.clone(), sin.clone());
        self.record_one(&[x], Vec::new(), &out, move |_, dout| {
            // The transposed rotation is that by the negated angles.
            Ok(vec![Some(rotated(&dout, &cos, &sin.neg()?)?)])
        });
        Ok(out)
    }

    /// Gaussian error linear unit in the approximation by tanh.
    pub(super) fn dense_gelu_tanh(&self, x: &Tensor) -> std::result::Result<Tensor, Error> {
        let (root, cube) = TANH;
        let out = x.gelu()?;
        let input = x.clone();
        self.record_one(&[x], Vec::new(), &out, move |_, dout| {
            let square = input.sqr()?;
            let tanh = (&input * square.affine(root * cube, root)?)?.tanh()?;
            let steep = tanh.sqr()?.affine(-0.5, 0.5)?;
            let inner = square.affine(3.0 * root * cube, root)?;
            let slope = (tanh.affine(0.5, 0.5)? + ((&input * steep)? * inner)?)?;
            Ok(vec![Some((dout * slope)?)])
        });
        Ok(out)
    }

    /// Gaussian error linear unit, exact.
    pub(super) fn dense_gelu_erf(&self, x: &Tensor) -> std::result::Result<Tensor, Error> {
        let half_root = std::f64::consts::FRAC_1_SQRT_2;
        let density = half_root * std::f64::consts::FRAC_2_SQRT_PI / 2.0;
        let out = x.gelu_erf()?;
        let input = x.clone();
        self.record_one(&[x], Vec::new(), &out, move |_, dout| {
            let below = (&input * half_root)?.erf()?.affine(0.5, 0.5)?;
            let bell = (input.sqr()? * -0.5)?.exp()?;
            let slope = (below + ((&input * bell)? * density)?)?;
            Ok(vec![Some((dout * slope)?)])
        });
        Ok(out)
    }

    /// Gates. `// [.., 2 width] -> [.., width]`
    pub(super) fn dense_silu_gate(&self, gate_up: &Tensor) -> std::result::Result<Tensor, Error> {
        let width = gate_up.dim(D::Minus1)? / 2;
        let gate = gate_up.narrow(D::Minus1, 0, width)?.contiguous()?;
        let up = gate_up.narrow(D::Minus1, width, width)?.contiguous()?;
        let sigmoid = (gate.neg()?.exp()? + 1.0)?.recip()?;
        let silu = (&gate * &sigmoid)?;
        let out = (&silu * &up)?;
        self.record_one(&[gate_up], Vec::new(), &out, move |_, dout| {
            // s + g s (1 - s)
            let slope = (&sigmoid + (&silu * sigmoid.affine(-1.0, 1.0)?)?)?;
            let dgate = ((&dout * &up)? * slope)?;
            Ok(vec![Some(Tensor::cat(&[&dgate, &(dout * &silu)?], D::Minus1)?)])
        });
        Ok(out)
    }
}
