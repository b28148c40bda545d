//! Every operation as a composition of the framework's own, on any device and with gradients.

use candle_core::{D, DType, Result, Tensor};
use sequence::AttentionPlan;

use super::Heads;

/// Multiplies by the transposed weight and adds the bias. `// [rows, width] -> [rows, out_width]`
///
/// # Errors
/// If the shapes do not fit.
pub fn linear(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    let out = x.matmul(&weight.t()?)?;
    match bias {
        Some(bias) => out.broadcast_add(bias),
        None => Ok(out),
    }
}

/// See [`super::layer_norm`].
///
/// # Errors
/// If the shapes do not fit.
pub fn layer_norm(x: &Tensor, weight: &Tensor, bias: &Tensor, eps: f64) -> Result<Tensor> {
    let dtype = x.dtype();
    let x = x.to_dtype(DType::F32)?;
    let x = x.broadcast_sub(&x.mean_keepdim(D::Minus1)?)?;
    let variance = x.sqr()?.mean_keepdim(D::Minus1)?;
    let x = x.broadcast_div(&(variance + eps)?.sqrt()?)?.to_dtype(dtype)?;
    x.broadcast_mul(weight)?.broadcast_add(bias)
}

/// See [`super::rms_norm`].
///
/// # Errors
/// If the shapes do not fit.
pub fn rms_norm(x: &Tensor, weight: &Tensor, eps: f64) -> Result<Tensor> {
    let dtype = x.dtype();
    let x = x.to_dtype(DType::F32)?;
    let mean = x.sqr()?.mean_keepdim(D::Minus1)?;
    x.broadcast_div(&(mean + eps)?.sqrt()?)?.to_dtype(dtype)?.broadcast_mul(weight)
}

/// See [`super::gelu_tanh`].
///
/// # Errors
/// If the framework fails.
pub fn gelu_tanh(x: &Tensor) -> Result<Tensor> {
    x.gelu()
}

/// See [`super::gelu_erf`].
///
/// # Errors
/// If the framework fails.
pub fn gelu_erf(x: &Tensor) -> Result<Tensor> {
    x.gelu_erf()
}

/// See [`super::silu_gate`].
///
/// # Errors
/// If the width is odd.
pub fn silu_gate(gate_up: &Tensor) -> Result<Tensor> {
    let halves = gate_up.chunk(2, D::Minus1)?;
    halves[0].silu()?.mul(&halves[1])
}

/// See [`super::rope`].
///
/// # Errors
/// If the shapes do not fit.
pub fn rope(x: &Tensor, cos: &Tensor, sin: &Tensor) -> Result<Tensor> {
    let (tokens, width) = x.dims2()?;
    let half = cos.dim(1)?;
    let dtype = x.dtype();
    let heads = x.to_dtype(DType::F32)?.reshape((tokens, width / (2 * half), 2 * half))?;
    let (a, b) = (heads.narrow(2, 0, half)?, heads.narrow(2, half, half)?);
    let (cos, sin) = (cos.unsqueeze(1)?, sin.unsqueeze(1)?); // [tokens, 1, half]
    let left = (a.broadcast_mul(&cos)? - b.broadcast_mul(&sin)?)?;
    let right = (b.broadcast_mul(&cos)? + a.broadcast_mul(&sin)?)?;
    Tensor::cat(&[left, right], 2)?.reshape((tokens, width))?.to_dtype(dtype)
}

/// See [`super::attention`].
///
/// # Errors
/// If the shapes do not fit.
pub fn attention(
    q: &Tensor,
    keys: &Tensor,
    values: &Tensor,
    plan: &AttentionPlan,
    heads: Heads,
) -> Result<Tensor> {
    let rows = plan.num_rows();
    // A plan may have columns that are yet to come, and a cache room for them; nobody sees those.
    let columns = plan.num_columns().min(keys.dim(0)?);
    let split = |x: &Tensor, len: usize, count: usize| -> Result<Tensor> {
        let x = x.narrow(0, 0, len)?.to_dtype(DType::F32)?.reshape((len, count, heads.dim))?;
        let group = heads.query / count;
        let x = x.unsqueeze(2)?.expand((len, count, group, heads.dim))?;
        x.reshape((len, heads.query, heads.dim))?.transpose(0, 1)?.contiguous() // [heads, len, dim]
    };
    let (k, v) = (split(keys, columns, heads.key_value)?, split(values, columns, heads.key_value)?);
    let dense = plan.to_dense();
    let bias: Vec<f32> = dense.iter().map(|seen| if *seen { 0.0 } else { f32::MIN }).collect();
    let open: Vec<f32> = dense.iter().map(|seen| f32::from(*seen)).collect();
    let mask = |cells: Vec<f32>| {
        Tensor::from_vec(cells, (1, rows, plan.num_columns()), q.device())?.narrow(2, 0, columns)
    };
    let (bias, open) = (mask(bias)?, mask(open)?);
    let scale = (heads.dim as f64).powf(-0.5);
    let scores = (split(q, rows, heads.query)?.matmul(&k.transpose(1, 2)?.contiguous()?)? * scale)?;
    let scores = scores.broadcast_add(&bias)?;
    let scores = scores.broadcast_sub(&scores.max_keepdim(D::Minus1)?)?.exp()?;
    // A row that sees nothing has the same score everywhere; closing it again makes it zero.
    let scores = scores.broadcast_mul(&open)?;
    // Its total would be zero, which nothing can be divided by, nor a gradient.
    let blind: Vec<f32> = (0..rows).map(|row| f32::from(plan.visible(row).is_empty())).collect();
    let blind = Tensor::from_vec(blind, (1, rows, 1), q.device())?;
    let total = scores.sum_keepdim(D::Minus1)?.broadcast_add(&blind)?;
    let out = scores.broadcast_div(&total)?.matmul(&v)?; // [heads, rows, dim]
    out.transpose(0, 1)?.reshape((rows, heads.query * heads.dim))?.to_dtype(q.dtype())
}
