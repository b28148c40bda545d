//! The operations that the model is written in.
//!
//! On the CPU each is one node over a kernel; elsewhere it is the composition in [`plain`], which
//! is also what the tests compare the kernels with. Besides loading, no
//! other code asks where a tensor lives.

mod elements;
mod fused;
pub(crate) mod kept;
pub mod plain;
pub(crate) mod rows;

use candle_core::{Result, Tensor, bail};
use sequence::AttentionPlan;

pub(crate) use self::elements::{applied, elements, written};
pub(crate) use self::fused::{key_values, shape, visible};

/// How many heads there are and how wide they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heads {
    /// Query heads.
    pub query: usize,
    /// Key and value heads, a divisor of the query heads.
    pub key_value: usize,
    /// Width of a head.
    pub dim: usize,
}

/// Normalises rows to zero mean and unit variance, then scales and shifts. `// [.., width]`
///
/// # Errors
/// If the shapes do not fit.
pub fn layer_norm(x: &Tensor, weight: &Tensor, bias: &Tensor, eps: f64) -> Result<Tensor> {
    last_dim("layer norm", x, weight.dims1()?)?;
    last_dim("layer norm", x, bias.dims1()?)?;
    if x.device().is_cpu() {
        fused::layer_norm(x, weight, bias, eps)
    } else {
        plain::layer_norm(x, weight, bias, eps)
    }
}

/// Divides rows by their root mean square, then scales. `// [.., width]`
///
/// # Errors
/// If the shapes do not fit.
pub fn rms_norm(x: &Tensor, weight: &Tensor, eps: f64) -> Result<Tensor> {
    last_dim("rms norm", x, weight.dims1()?)?;
    if x.device().is_cpu() {
        fused::rms_norm(x, weight, eps)
    } else {
        plain::rms_norm(x, weight, eps)
    }
}

/// Gaussian error linear unit, in the approximation by tanh.
///
/// # Errors
/// If the framework fails.
pub fn gelu_tanh(x: &Tensor) -> Result<Tensor> {
    if x.device().is_cpu() { fused::gelu_tanh(x) } else { plain::gelu_tanh(x) }
}

/// Gaussian error linear unit, exact.
///
/// # Errors
/// If the framework fails.
pub fn gelu_erf(x: &Tensor) -> Result<Tensor> {
    if x.device().is_cpu() { fused::gelu_erf(x) } else { plain::gelu_erf(x) }
}

/// Gates: `silu(gate) * up` of rows that hold the gates, then the ups. `// [.., 2 width] -> [.., width]`
///
/// # Errors
/// If the width is odd.
pub fn silu_gate(gate_up: &Tensor) -> Result<Tensor> {
    let width = gate_up.dims().last().copied().unwrap_or(0);
    if !width.is_multiple_of(2) {
        bail!("silu gate: {width} gates and ups are not two halves");
    }
    if gate_up.device().is_cpu() { fused::silu_gate(gate_up) } else { plain::silu_gate(gate_up) }
}

/// Rotates heads by their positions' angles. `// [tokens, heads * dim]`, angles `[tokens, dim / 2]`
///
/// # Errors
/// If the shapes do not fit.
pub fn rope(x: &Tensor, cos: &Tensor, sin: &Tensor) -> Result<Tensor> {
    let (tokens, width) = x.dims2()?;
    let (rows, half) = cos.dims2()?;
    if rows != tokens || sin.dims2()? != (rows, half) || !width.is_multiple_of(2 * half) {
        bail!("rope: angles {:?} and {:?} do not fit {:?}", cos.dims(), sin.dims(), x.dims());
    }
    if x.device().is_cpu() { fused::rope(x, cos, sin) } else { plain::rope(x, cos, sin) }
}

/// Attends under a plan. `// q [rows, heads * dim], k and v [>= columns, kv_heads * dim] -> [rows, heads * dim]`
///
/// Keys and values may be stored in a shorter type than the queries. A row that sees nothing
/// becomes zero.
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
    let rows = (plan.num_rows(), heads.query * heads.dim);
    let (num_keys, width) = keys.dims2()?;
    let seen = plan.ranges().iter().map(|range| range.end as usize).max().unwrap_or(0);
    if q.dims2()? != rows
        || values.dims2()? != (num_keys, width)
        || width != heads.key_value * heads.dim
        || !heads.query.is_multiple_of(heads.key_value)
        || seen > num_keys
    {
        bail!(
            "attention: q {:?}, keys {:?} and values {:?} do not fit {heads:?} under {plan:?}",
            q.dims(),
            keys.dims(),
            values.dims()
        );
    }
    if q.device().is_cpu() {
        fused::attention(q, keys, values, plan, heads)
    } else {
        plain::attention(q, keys, values, plan, heads)
    }
}

/// Checks the last dimension of an operation's input.
fn last_dim(op: &'static str, x: &Tensor, width: usize) -> Result<()> {
    if x.dims().last() != Some(&width) {
        bail!("{op}: rows of {width} elements do not fit {:?}", x.dims());
    }
    Ok(())
}
