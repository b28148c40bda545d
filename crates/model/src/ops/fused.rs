//! The operations as single nodes over the CPU kernels.

use candle_core::{
    CpuStorage, CustomOp1, CustomOp3, DType, Error, Layout, Result, Shape, Tensor, WithDType,
};
use kernels::{AttentionShape, KeyValues, Matrix, Visible};
use sequence::AttentionPlan;

use super::Heads;

/// A kernel from one slice of f32 to another.
struct Kernel<F> {
    name: &'static str,
    shape: Shape,
    run: F,
}

impl<F: Fn(&[f32], &mut [f32])> CustomOp1 for Kernel<F> {
    fn name(&self) -> &'static str {
        self.name
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let x = elements::<f32>(storage, layout, self.name)?;
        let mut out = vec![0.0; self.shape.elem_count()];
        (self.run)(x, &mut out);
        Ok((CpuStorage::F32(out), self.shape.clone()))
    }
}

/// Returns the elements of a contiguous tensor.
fn elements<'a, T: WithDType>(
    storage: &'a CpuStorage,
    layout: &Layout,
    op: &'static str,
) -> Result<&'a [T]> {
    let (start, end) = layout.contiguous_offsets().ok_or(Error::RequiresContiguous { op })?;
    Ok(&storage.as_slice::<T>()?[start..end])
}

/// Runs a kernel over a tensor of f32.
pub(crate) fn apply(
    x: &Tensor,
    name: &'static str,
    shape: impl Into<Shape>,
    run: impl Fn(&[f32], &mut [f32]),
) -> Result<Tensor> {
    x.contiguous()?.apply_op1_no_bwd(&Kernel { name, shape: shape.into(), run })
}

/// Copies a small tensor, the weight of a norm or the angles of a rotation.
fn values(x: &Tensor) -> Result<Vec<f32>> {
    x.flatten_all()?.to_vec1::<f32>()
}

pub(super) fn layer_norm(x: &Tensor, weight: &Tensor, bias: &Tensor, eps: f64) -> Result<Tensor> {
    let (weight, bias) = (values(weight)?, values(bias)?);
    apply(x, "layer-norm", x.shape(), |x, out| {
        kernels::layer_norm(x, &weight, &bias, eps as f32, out);
    })
}

pub(super) fn rms_norm(x: &Tensor, weight: &Tensor, eps: f64) -> Result<Tensor> {
    let weight = values(weight)?;
    apply(x, "rms-norm", x.shape(), |x, out| kernels::rms_norm(x, &weight, eps as f32, out))
}

pub(super) fn gelu_tanh(x: &Tensor) -> Result<Tensor> {
    apply(x, "gelu-tanh", x.shape(), kernels::gelu_tanh)
}

pub(super) fn gelu_erf(x: &Tensor) -> Result<Tensor> {
    apply(x, "gelu-erf", x.shape(), kernels::gelu_erf)
}

pub(super) fn silu_gate(gate_up: &Tensor) -> Result<Tensor> {
    let mut dims = gate_up.dims().to_vec();
    let width = dims.last().map_or(0, |last| last / 2);
    if let Some(last) = dims.last_mut() {
        *last = width;
    }
    apply(gate_up, "silu-gate", dims, |x, out| kernels::silu_gate(x, width, out))
}

pub(super) fn rope(x: &Tensor, cos: &Tensor, sin: &Tensor) -> Result<Tensor> {
    let head_dim = 2 * cos.dim(1)?;
    let (cos, sin) = (values(cos)?, values(sin)?);
    apply(x, "rope", x.shape(), |x, out| {
        out.copy_from_slice(x);
        kernels::rope(out, &cos, &sin, head_dim);
    })
}

pub(super) fn attention(
    q: &Tensor,
    keys: &Tensor,
    values: &Tensor,
    plan: &AttentionPlan,
    heads: Heads,
) -> Result<Tensor> {
    q.contiguous()?.apply_op3_no_bwd(keys, values, &Attention { plan, heads })
}

struct Attention<'a> {
    plan: &'a AttentionPlan,
    heads: Heads,
}

impl CustomOp3 for Attention<'_> {
    fn name(&self) -> &'static str {
        "attention"
    }

    fn cpu_fwd(
        &self,
        q: &CpuStorage,
        q_layout: &Layout,
        keys: &CpuStorage,
        keys_layout: &Layout,
        values: &CpuStorage,
        values_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let Heads { query, key_value, dim } = self.heads;
        let q = elements::<f32>(q, q_layout, self.name())?;
        let kv = KeyValues {
            keys: matrix(keys, keys_layout, self.name())?,
            values: matrix(values, values_layout, self.name())?,
            head_stride: dim,
            key_stride: key_value * dim,
        };
        let visible = Visible { ranges: self.plan.ranges(), row_starts: self.plan.row_starts() };
        let scale = (dim as f32).powf(-0.5);
        let shape = AttentionShape { heads: query, kv_heads: key_value, head_dim: dim, scale };
        let mut out = vec![0.0; q.len()];
        kernels::attention(q, kv, visible, shape, &mut out);
        Ok((CpuStorage::F32(out), q_layout.shape().clone()))
    }
}

fn matrix<'a>(storage: &'a CpuStorage, layout: &Layout, op: &'static str) -> Result<Matrix<'a>> {
    Ok(match storage {
        CpuStorage::F32(_) => Matrix::F32(elements(storage, layout, op)?),
        CpuStorage::BF16(_) => Matrix::Bf16(elements(storage, layout, op)?),
        CpuStorage::F16(_) => Matrix::F16(elements(storage, layout, op)?),
        _ => Err(Error::UnsupportedDTypeForOp(DType::U8, op))?,
    })
}
