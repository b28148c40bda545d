//! Low-rank adapters of linear layers (`LoRA`, arXiv 2106.09685).

use candle_core::Tensor;

use crate::Error;
use crate::tape::{LinearWeights, Tape};
use crate::weights::Storage;

/// Which linear layers get an adapter, and of what size.
pub struct Lora<'a> {
    /// The inner width of an adapter.
    pub rank: usize,
    /// What is divided by the rank to give the factor of an adapter's output.
    pub alpha: f64,
    /// Where the random start of the adapters comes from.
    pub seed: u64,
    /// Returns whether the layer of a name, without `.weight`, gets one.
    pub is_target: &'a dyn Fn(&str) -> bool,
}

impl Lora<'_> {
    pub(crate) fn scale(&self) -> f64 {
        self.alpha / self.rank as f64
    }
}

impl std::fmt::Debug for Lora<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lora").field("rank", &self.rank).field("alpha", &self.alpha).finish()
    }
}

/// `scale x a^T b^T`, which is added to the output of a layer.
#[derive(Clone, Debug)]
pub(crate) struct Adapter {
    /// `// [rank, width]`
    pub(crate) a: Storage,
    /// `// [out_width, rank]`
    pub(crate) b: Storage,
    pub(crate) rank: usize,
    pub(crate) scale: f64,
}

impl Adapter {
    /// Adds to the output `out` of a layer for the input `x`.
    pub(crate) fn forward(&self, tape: &Tape, x: &Tensor, out: &Tensor) -> Result<Tensor, Error> {
        let (width, out_width) = (x.dim(x.rank() - 1)?, out.dim(out.rank() - 1)?);
        let a = LinearWeights { weight: &self.a, bias: None, width, out_width: self.rank };
        let b = LinearWeights { weight: &self.b, bias: None, width: self.rank, out_width };
        let low = tape.linear(x, a)?;
        tape.add_scaled(out, &tape.linear(&low, b)?, self.scale)
    }
}

/// Returns the start of `a`: uniform within one over the root of its width, as the reference
/// initialises it (Kaiming's rule with the slope `sqrt(5)`); each tensor from its name and the seed.
pub(crate) fn uniform(seed: u64, name: &str, len: usize, width: usize) -> Vec<f32> {
    let bound = (width as f64).powf(-0.5);
    // FNV-1a tells the names apart, SplitMix64 makes the numbers.
    let mut state = name.bytes().fold(seed ^ 0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let mut next = || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) >> 11
    };
    (0..len).map(|_| ((next() as f64 / (1_u64 << 52) as f64 - 1.0) * bound) as f32).collect()
}
