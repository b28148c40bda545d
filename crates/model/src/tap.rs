//! Looking at what a model computes on its way.

use candle_core::Tensor;

/// Takes intermediate results, by the names of the trace format.
pub trait Tap {
    /// Takes one result.
    fn tensor(&mut self, name: &str, value: &Tensor);
}

/// Takes nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoTap;

impl Tap for NoTap {
    fn tensor(&mut self, _name: &str, _value: &Tensor) {}
}
