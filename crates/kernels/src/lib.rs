//! CPU kernels of the hot operations, on plain slices.
//!
//! Every kernel computes what its doc comment's formula says, in f32, whatever the instruction
//! set; the fastest [`Level`] that the processor runs is chosen at run time. Work is spread over
//! the `rayon` pool that the caller runs in.
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
mod aligned;
mod attention;
mod level;
mod linear;
mod norm;
mod parallel;
mod rope;
mod simd;

pub use activation::{gelu_erf, gelu_tanh, silu_gate};
pub use attention::{AttentionShape, KeyValues, Visible, attention};
pub use level::{Level, UnknownLevel, set_level};
pub use linear::{Matrix, linear};
pub use norm::{layer_norm, rms_norm};
pub use rope::rope;
