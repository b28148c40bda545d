//! Rotary position embeddings: angles in f64, rounded once.

use candle_core::{Device, Tensor};

use crate::Error;

/// Which factors a sequence's rotary embedding uses. Keys made under one are wrong under another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RopeRegime {
    /// The sequence fits into the original context.
    Short,
    /// It does not, and the decoder has other factors for that case.
    Long,
}

/// How positions become angles.
#[derive(Clone, Debug, PartialEq)]
pub struct RopeConfig {
    /// The base of the geometric row of wave lengths.
    pub theta: f64,
    /// How the wave lengths are changed for long contexts.
    pub scaling: RopeScaling,
}

/// How wave lengths are changed for long contexts.
#[derive(Clone, Debug, PartialEq)]
pub enum RopeScaling {
    /// Not at all.
    None,
    /// `LongRoPE` (arXiv 2402.13753): a factor for every wave length, of two sets.
    LongRope {
        /// Factors of sequences that fit into the original context.
        short_factor: Vec<f64>,
        /// Factors of longer ones.
        long_factor: Vec<f64>,
        /// The original context.
        original_max_positions: usize,
        /// What cosine and sine are multiplied with, always.
        attention_factor: f64,
    },
    /// Llama 3.1's: long waves are slowed down, short ones kept, those between blended.
    Llama3 {
        /// How much long waves are slowed down.
        factor: f64,
        /// Waves longer than the original context divided by this are long.
        low_freq_factor: f64,
        /// Waves shorter than the original context divided by this are short.
        high_freq_factor: f64,
        /// The original context.
        original_max_positions: usize,
    },
}

impl RopeConfig {
    /// Returns which factors a sequence of `len` positions uses.
    pub fn regime(&self, len: usize) -> RopeRegime {
        match &self.scaling {
            RopeScaling::LongRope { original_max_positions, .. }
                if len > *original_max_positions =>
            {
                RopeRegime::Long
            }
            _ => RopeRegime::Short,
        }
    }

    /// Returns the angle per position of every pair of elements. `// [head_dim / 2]`
    fn frequencies(&self, head_dim: usize, regime: RopeRegime) -> Vec<f64> {
        (0..head_dim / 2)
            .map(|i| {
                let plain = self.theta.powf(-2.0 * i as f64 / head_dim as f64);
                match &self.scaling {
                    RopeScaling::None => plain,
                    RopeScaling::LongRope { short_factor, long_factor, .. } => match regime {
                        RopeRegime::Short => plain / short_factor[i],
                        RopeRegime::Long => plain / long_factor[i],
                    },
                    scaling @ RopeScaling::Llama3 { .. } => scaling.slow_down(plain),
                }
            })
            .collect()
    }

    /// Returns the cosines and sines of positions. `// [positions, head_dim / 2]`
    pub(crate) fn tables(
        &self,
        positions: &[u32],
        regime: RopeRegime,
        head_dim: usize,
        device: &Device,
    ) -> Result<(Tensor, Tensor), Error> {
        let frequencies = self.frequencies(head_dim, regime);
        let scale = match &self.scaling {
            RopeScaling::LongRope { attention_factor, .. } => *attention_factor,
            _ => 1.0,
        };
        let angles = positions
            .iter()
            .flat_map(|position| frequencies.iter().map(|f| f64::from(*position) * f));
        let (sin, cos): (Vec<f32>, Vec<f32>) =
            angles.map(|a| ((a.sin() * scale) as f32, (a.cos() * scale) as f32)).unzip();
        let shape = (positions.len(), head_dim / 2);
        Ok((Tensor::from_vec(cos, shape, device)?, Tensor::from_vec(sin, shape, device)?))
    }
}

impl RopeScaling {
    fn slow_down(&self, plain: f64) -> f64 {
        let Self::Llama3 { factor, low_freq_factor, high_freq_factor, original_max_positions } =
            self
        else {
            return plain;
        };
        let original = *original_max_positions as f64;
        let wave = 2.0 * std::f64::consts::PI / plain;
        if wave < original / high_freq_factor {
            plain
        } else if wave > original / low_freq_factor {
            plain / factor
        } else {
            let blend = (original / wave - low_freq_factor) / (high_freq_factor - low_freq_factor);
            (1.0 - blend) * plain / factor + blend * plain
        }
    }
}
