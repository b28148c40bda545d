//! Attention over keys and values as a cache keeps them.

use std::borrow::Cow;

use candle_core::{CpuStorage, DType, InplaceOp2, Layout, Result, Tensor, bail};
use kernels::{BlockFormat, Blocks, KeyValues, Matrix, Rows};
use sequence::AttentionPlan;

use super::elements::{elements, written};
use super::{Heads, attention, shape, visible};
use crate::KvType;

const FORMAT: BlockFormat = BlockFormat::Q8_0;

/// Keys and values of some positions.
pub(crate) enum Kept<'a> {
    /// `// [positions, kv_heads * head_dim]`
    Numbers(Tensor, Tensor),
    /// Rows of blocks, every head beginning with a new one.
    Blocks(Cow<'a, [u8]>, Cow<'a, [u8]>),
}

impl Kept<'_> {
    /// Returns keys and values as a cache of the type would keep them.
    pub(crate) fn of(
        keys: &Tensor,
        values: &Tensor,
        (kv_type, heads): (KvType, Heads),
    ) -> Result<Self> {
        Ok(match kv_type.numbers() {
            Some(dtype) => {
                let of = |x: &Tensor| x.to_dtype(dtype)?.contiguous();
                Self::Numbers(of(keys)?, of(values)?)
            }
            None => Self::Blocks(in_blocks(keys, heads)?.into(), in_blocks(values, heads)?.into()),
        })
    }

    /// Attends as [`attention`] does.
    pub(crate) fn attend(&self, q: &Tensor, plan: &AttentionPlan, heads: Heads) -> Result<Tensor> {
        match self {
            Self::Numbers(keys, values) => attention(q, keys, values, plan, heads),
            Self::Blocks(keys, values) => attention_over_blocks(q, [keys, values], plan, heads),
        }
    }

    /// Returns the keys as f32, those of the first positions. `// [positions, kv_heads * head_dim]`
    pub(crate) fn keys(&self, num_positions: usize, heads: Heads) -> Result<Vec<f32>> {
        match self {
            Self::Numbers(keys, _) => {
                let keys = keys.narrow(0, 0, num_positions.min(keys.dim(0)?))?;
                keys.to_dtype(DType::F32)?.flatten_all()?.to_vec1()
            }
            Self::Blocks(keys, _) => {
                let bytes = &keys[..num_positions * row_bytes(heads)];
                let mut padded = vec![0.0; Blocks { format: FORMAT, bytes }.len()];
                kernels::dequantize(Blocks { format: FORMAT, bytes }, &mut padded);
                let rows = padded.chunks_exact(padded_dim(heads));
                Ok(rows.flat_map(|row| &row[..heads.dim]).copied().collect())
            }
        }
    }
}

/// Writes rows into a tensor of the same width, from one on, in its type.
pub(crate) fn write_rows(to: &Tensor, first: usize, rows: &Tensor) -> Result<()> {
    if to.device().is_cpu() && to.dtype() == DType::BF16 && rows.dim(0)? > 0 {
        return to.inplace_op2(rows, &RoundInto { first });
    }
    to.slice_set(&rows.to_dtype(to.dtype())?.contiguous()?, 0, first)
}

/// Rounds rows of f32 to bf16, on all threads, and writes them from a row on.
struct RoundInto {
    first: usize,
}

impl InplaceOp2 for RoundInto {
    fn name(&self) -> &'static str {
        "round-into"
    }

    fn cpu_fwd(
        &self,
        to: &mut CpuStorage,
        to_layout: &Layout,
        from: &CpuStorage,
        from_layout: &Layout,
    ) -> Result<()> {
        let (rows, width) = from_layout.shape().dims2()?;
        let start = to_layout.start_offset() + self.first * width;
        match (to, from, from_layout.stride()) {
            (CpuStorage::BF16(to), CpuStorage::F32(from), [stride, 1])
                if to_layout.is_contiguous()
                    && to_layout.shape().dims2()?.1 == width
                    && self.first + rows <= to_layout.shape().dims2()?.0 =>
            {
                let data = &from[from_layout.start_offset()..];
                let to = &mut to[start..start + rows * width];
                kernels::round_rows_to_bf16(Rows { data, stride: *stride }, width, to);
                Ok(())
            }
            _ => bail!("{rows} rows of {width} after {} do not fit {to_layout:?}", self.first),
        }
    }
}

/// Returns the elements of a head in whole blocks.
fn padded_dim(heads: Heads) -> usize {
    heads.dim.next_multiple_of(FORMAT.block_len())
}

/// Returns the bytes of the blocks of one position.
pub(crate) fn row_bytes(heads: Heads) -> usize {
    FORMAT.num_bytes(heads.key_value * padded_dim(heads))
}

/// Returns rows of keys or values in blocks. `// [rows, kv_heads * head_dim]`
pub(crate) fn in_blocks(x: &Tensor, heads: Heads) -> Result<Vec<u8>> {
    let x = x.contiguous()?;
    let x = elements(&x)?;
    let padded_dim = padded_dim(heads);
    let mut padded = Vec::new();
    let x: &[f32] = if padded_dim == heads.dim {
        &x
    } else {
        padded.resize(x.len() / heads.dim * padded_dim, 0.0);
        for (to, from) in padded.chunks_exact_mut(padded_dim).zip(x.chunks_exact(heads.dim)) {
            to[..heads.dim].copy_from_slice(from);
        }
        &padded
    };
    let mut bytes = vec![0; FORMAT.num_bytes(x.len())];
    kernels::quantize(FORMAT, x, &mut bytes);
    Ok(bytes)
}

fn attention_over_blocks(
    q: &Tensor,
    [keys, values]: [&[u8]; 2],
    plan: &AttentionPlan,
    heads: Heads,
) -> Result<Tensor> {
    let rows = (plan.num_rows(), heads.query * heads.dim);
    let seen = plan.ranges().iter().map(|range| range.end as usize).max().unwrap_or(0);
    let num_keys = keys.len().min(values.len()) / row_bytes(heads);
    if q.dims2()? != rows || seen > num_keys {
        bail!(
            "attention: q {:?} and {num_keys} keys do not fit {heads:?} under {plan:?}",
            q.dims()
        );
    }
    let q = q.contiguous()?;
    let queries = elements(&q)?;
    let blocks = |bytes| Matrix::Blocks(Blocks { format: FORMAT, bytes });
    let head_stride = padded_dim(heads);
    let kv = KeyValues {
        keys: blocks(keys),
        values: blocks(values),
        head_stride,
        key_stride: heads.key_value * head_stride,
    };
    written(q.shape(), |out| {
        kernels::attention(&queries, kv, visible(plan), shape(heads), out);
    })
}
