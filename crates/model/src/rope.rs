//! Rotary position embeddings: angles in f64, rounded once.

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

    /// Appends the cosines and sines of positions. `// [positions, head_dim / 2]`
    pub(crate) fn extend_tables(
        &self,
        positions: &[u32],
        regime: RopeRegime,
        head_dim: usize,
        (cos, sin): (&mut Vec<f32>, &mut Vec<f32>),
    ) {
        let frequencies = self.frequencies(head_dim, regime);
        let scale = match &self.scaling {
            RopeScaling::LongRope { attention_factor, .. } => *attention_factor,
            _ => 1.0,
        };
        for position in positions {
            for frequency in &frequencies {
                let (s, c) = (f64::from(*position) * frequency).sin_cos();
                cos.push((c * scale) as f32);
                sin.push((s * scale) as f32);
            }
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD_DIM: usize = 96;
    const POSITIONS: [u32; 8] = [0, 1, 2, 300, 4095, 4096, 70_000, 131_071];

    fn assert_tables(
        config: &RopeConfig,
        regime: RopeRegime,
        expected: impl Fn(u32, usize) -> (f64, f64),
    ) {
        let (mut cos, mut sin) = (Vec::new(), Vec::new());
        config.extend_tables(&POSITIONS, regime, HEAD_DIM, (&mut cos, &mut sin));
        let (cos, sin): (Vec<_>, Vec<_>) =
            (cos.chunks(HEAD_DIM / 2).collect(), sin.chunks(HEAD_DIM / 2).collect());
        for (row, position) in POSITIONS.into_iter().enumerate() {
            for i in 0..HEAD_DIM / 2 {
                let (expected_cos, expected_sin) = expected(position, i);
                for (found, expected) in [(cos[row][i], expected_cos), (sin[row][i], expected_sin)]
                {
                    // Half a unit in the last place of a number up to 1.2; the two ways of
                    // computing an angle differ by far less.
                    assert!((f64::from(found) - expected).abs() < 1.3e-7, "{position}, {i}");
                }
            }
        }
    }

    /// `theta^(-2i / head_dim)` by repeated multiplication.
    fn plain(theta: f64, i: usize) -> f64 {
        let ratio = (-theta.ln() * 2.0 / HEAD_DIM as f64).exp();
        (0..i).fold(1.0, |frequency, _| frequency * ratio)
    }

    #[test]
    fn plain_angles_are_exact_far_out() {
        let config = RopeConfig { theta: 10_000.0, scaling: RopeScaling::None };
        assert_tables(&config, RopeRegime::Short, |position, i| {
            let angle = f64::from(position) * plain(10_000.0, i);
            (angle.cos(), angle.sin())
        });
        assert_eq!(config.regime(1 << 20), RopeRegime::Short);
    }

    #[test]
    fn longrope_scales_every_sequence_and_slows_it_by_its_length() {
        let short: Vec<f64> = (0..48).map(|i| 1.0 + 0.04 * f64::from(i)).collect();
        let long: Vec<f64> = (0..48).map(|i| 1.0 + 1.3 * f64::from(i)).collect();
        let config = RopeConfig {
            theta: 10_000.0,
            scaling: RopeScaling::LongRope {
                short_factor: short.clone(),
                long_factor: long.clone(),
                original_max_positions: 4096,
                attention_factor: 1.190_238_07,
            },
        };
        for (regime, factors) in [(RopeRegime::Short, short), (RopeRegime::Long, long)] {
            assert_tables(&config, regime, |position, i| {
                let angle = f64::from(position) * plain(10_000.0, i) / factors[i];
                (angle.cos() * 1.190_238_07, angle.sin() * 1.190_238_07)
            });
        }
        assert_eq!(
            (config.regime(4096), config.regime(4097)),
            (RopeRegime::Short, RopeRegime::Long)
        );
    }

    #[test]
    fn llama3_keeps_short_waves_slows_long_ones_and_blends_between() {
        let config = RopeConfig {
            theta: 500_000.0,
            scaling: RopeScaling::Llama3 {
                factor: 8.0,
                low_freq_factor: 1.0,
                high_freq_factor: 4.0,
                original_max_positions: 8192,
            },
        };
        let mut kinds = [0; 3];
        for i in 0..HEAD_DIM / 2 {
            let frequency = plain(500_000.0, i);
            // Turns within the original context: at least four of them, at most one, or between.
            let turns = 8192.0 * frequency / std::f64::consts::TAU;
            let share = ((turns - 1.0) / 3.0).clamp(0.0, 1.0);
            kinds[if share >= 1.0 {
                0
            } else if share <= 0.0 {
                1
            } else {
                2
            }] += 1;
        }
        assert!(kinds.iter().all(|count| *count > 2), "{kinds:?}");
        assert_tables(&config, RopeRegime::Short, |position, i| {
            let frequency = plain(500_000.0, i);
            let turns = 8192.0 * frequency / std::f64::consts::TAU;
            let share = ((turns - 1.0) / 3.0).clamp(0.0, 1.0);
            let angle = f64::from(position) * frequency * (share + (1.0 - share) / 8.0);
            (angle.cos(), angle.sin())
        });
    }
}
