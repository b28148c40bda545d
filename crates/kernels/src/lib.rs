//! CPU kernels of the hot operations, on plain slices.
//!
//! Every kernel computes what its doc comment's formula says, in f32, whatever the instruction
//! set; the fastest implementation that the processor runs is chosen at run time. Work is spread
//! over the `rayon` pool that the caller runs in.
#![allow(unsafe_code, reason = "SIMD intrinsics; each use has a SAFETY comment and a test")]

mod activation;
mod attention;
mod linear;
mod norm;
mod rope;

pub use activation::{gelu_erf, gelu_tanh, silu_gate};
pub use attention::{AttentionShape, KeyValues, Visible, attention};
pub use linear::{Matrix, linear};
pub use norm::{layer_norm, rms_norm};
pub use rope::rope;
