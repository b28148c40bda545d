//! CPU kernels of the hot operations, on plain slices.
//!
//! Every kernel computes what its doc comment's formula says, in f32, whatever the instruction
//! set; the fastest [`Level`] that the processor runs is chosen at run time. Work is spread over
//! the threads of [`parallel`].
//!
//! A row of a result depends neither on the other rows of the call nor on the number of threads,
//! to the last bit; between levels results differ by the order of summation.
//!
//! ```
//! let x = [1.0, 2.0, 3.0, 4.0]; // two rows
//! let weight = [1.0, 1.0, 1.0, -1.0]; // two outputs
//! let mut out = [0.0; 4];
//! kernels::linear(&x, kernels::Matrix::F32(&weight), None, 2, &mut out);
//! assert_eq!(out, [3.0, -1.0, 7.0, -1.0]);
//! ```
#![allow(
    clippy::inline_always,
    reason = "a generic kernel gets the instructions of a level only by being inlined into it"
)]
#![allow(unsafe_code, reason = "SIMD intrinsics; each use has a SAFETY comment and a test")]

mod activation;
mod activation_grad;
mod aligned;
mod allocator;
mod attention;
mod blocks;
mod ceilings;
mod cross_entropy;
#[cfg(feature = "cuda")]
mod cuda;
mod gemm;
mod level;
mod linear;
mod memory;
mod norm;
mod norm_grad;
mod optimizer;
pub mod parallel;
mod rope;
mod rows;
mod simd;

pub use activation::{gelu_erf, gelu_tanh, silu_gate};
pub use activation_grad::{gelu_erf_grad, gelu_tanh_grad, silu_gate_grad};
pub use allocator::LineAllocator;
pub use attention::{
    AttentionForward, AttentionGrad, AttentionInput, AttentionOut, AttentionShape, KeyValues,
    Visible, attention, attention_grad, attention_with_lse,
};
pub use blocks::{BlockFormat, Blocks, dequantize, quantize};
pub use ceilings::{operations_per_second, read_bytes_per_second};
pub use cross_entropy::{cross_entropy, cross_entropy_grad};
#[cfg(feature = "cuda")]
pub use cuda::keep_freed_memory_of;
pub use level::{Level, UnknownLevel, set_level};
pub use linear::{
    Matrix, linear, linear_grad_bias, linear_grad_input, linear_grad_weight, linear_packed,
    round_rows_to_bf16, round_to_bf16,
};
pub use memory::{keep_freed_memory, unwritten, unwritten_bf16};
pub use norm::{layer_norm, rms_norm};
pub use norm_grad::{NormGrad, layer_norm_grad, rms_norm_grad};
pub use optimizer::{AdamW, Moments, adamw, sum_of_squares};
pub use rope::rope;
pub use rows::Rows;
