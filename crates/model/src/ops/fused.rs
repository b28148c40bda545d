//! The operations over the CPU kernels.

use candle_core::{Result, Tensor};
use kernels::{AttentionShape, KeyValues, Visible};
use sequence::AttentionPlan;

use super::Heads;
use super::elements::{apart, applied, elements, stored, written};

pub(super) fn layer_norm(x: &Tensor, weight: &Tensor, bias: &Tensor, eps: f64) -> Result<Tensor> {
    let (weight, bias) = (weight.contiguous()?, bias.contiguous()?);
    let (weight, bias) = (elements(&weight)?, elements(&bias)?);
    applied(x, x.shape(), |x, out| kernels::layer_norm(x, &weight, &bias, eps as f32, out))
}

pub(super) fn rms_norm(x: &Tensor, weight: &Tensor, eps: f64) -> Result<Tensor> {
    let weight = weight.contiguous()?;
    let weight = elements(&weight)?;
    applied(x, x.shape(), |x, out| kernels::rms_norm(x, &weight, eps as f32, out))
}

pub(super) fn gelu_tanh(x: &Tensor) -> Result<Tensor> {
    applied(x, x.shape(), kernels::gelu_tanh)
}

pub(super) fn gelu_erf(x: &Tensor) -> Result<Tensor> {
    applied(x, x.shape(), kernels::gelu_erf)
}

pub(super) fn silu_gate(gate_up: &Tensor) -> Result<Tensor> {
    let mut dims = gate_up.dims().to_vec();
    let width = dims.last().map_or(0, |last| last / 2);
    if let Some(last) = dims.last_mut() {
        *last = width;
    }
    applied(gate_up, dims, |x, out| kernels::silu_gate(x, width, out))
}

pub(super) fn rope(x: &Tensor, cos: &Tensor, sin: &Tensor) -> Result<Tensor> {
    let head_dim = 2 * cos.dim(1)?;
    let (cos, sin) = (cos.contiguous()?, sin.contiguous()?);
    let (cos, sin) = (elements(&cos)?, elements(&sin)?);
    let x = if x.stride().last() == Some(&1) { x.clone() } else { x.contiguous()? };
    let apart = apart(&x)?;
    let rows = apart.rows()?;
    written(x.shape(), |out| kernels::rope(rows, (&cos, &sin), head_dim, out))
}

pub(super) fn attention(
    q: &Tensor,
    keys: &Tensor,
    values: &Tensor,
    plan: &AttentionPlan,
    heads: Heads,
) -> Result<Tensor> {
    let q = q.contiguous()?;
    let (keys, values) = (stored(keys)?, stored(values)?);
    let kv = key_values(keys.matrix()?, values.matrix()?, heads);
    let run = |q: &[f32], out: &mut [f32]| {
        kernels::attention(q, kv, visible(plan), shape(heads), out);
    };
    let queries = elements(&q)?;
    written(q.shape(), |out| run(&queries, out))
}

/// Returns keys and values `[keys, key_value heads * dim]` as the kernels take them.
pub(crate) fn key_values<'a>(
    keys: kernels::Matrix<'a>,
    values: kernels::Matrix<'a>,
    heads: Heads,
) -> KeyValues<'a> {
    KeyValues { keys, values, head_stride: heads.dim, key_stride: heads.key_value * heads.dim }
}

/// Returns a plan as the kernels take it.
pub(crate) fn visible(plan: &AttentionPlan) -> Visible<'_> {
    Visible { ranges: plan.ranges(), row_starts: plan.row_starts() }
}

/// Returns heads as the kernels take them.
pub(crate) fn shape(heads: Heads) -> AttentionShape {
    let Heads { query, key_value, dim } = heads;
    let scale = (dim as f32).powf(-0.5);
    AttentionShape { heads: query, kv_heads: key_value, head_dim: dim, scale }
}
