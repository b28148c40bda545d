//! Learning rates over the steps of a phase.

use serde::{Deserialize, Serialize};

/// The form of the way down after warm-up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Decay {
    /// A half cosine from the highest rate to the lowest.
    #[default]
    Cosine,
    /// A straight line from the highest rate to the lowest.
    Linear,
    /// The highest rate to the end.
    Constant,
}

/// Warm-up from the lowest rate to the highest, then a way down to the lowest.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Schedule {
    /// The form of the way down.
    #[serde(default)]
    pub decay: Decay,
    /// The highest learning rate.
    pub lr: f64,
    /// The lowest, at the first step and at the end.
    #[serde(default)]
    pub min_lr: f64,
    /// The steps of the way up.
    #[serde(default)]
    pub warmup_steps: u64,
    /// The optimizer steps of the whole phase.
    pub steps: u64,
}

impl Schedule {
    /// Returns the learning rate of a step, counted from 0.
    ///
    /// `lr * ((1 - delta) + delta * m)` with `delta = (lr - min_lr) / lr`, where `m` goes from 0 to
    /// 1 in warm-up and from 1 to 0 after it.
    pub fn lr_at(&self, step: u64) -> f64 {
        let delta = (self.lr - self.min_lr) / self.lr;
        let m = if step < self.warmup_steps {
            step as f64 / self.warmup_steps as f64
        } else {
            let rest = self.steps.saturating_sub(self.warmup_steps).max(1);
            let progress = (step - self.warmup_steps) as f64 / rest as f64;
            match self.decay {
                Decay::Cosine => 0.5 * (1.0 + (std::f64::consts::PI * progress.min(1.0)).cos()),
                Decay::Linear => (1.0 - progress).max(0.0),
                Decay::Constant => 1.0,
            }
        };
        self.lr * ((1.0 - delta) + delta * m)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule(decay: Decay) -> Schedule {
        Schedule { decay, lr: 1e-3, min_lr: 1e-4, warmup_steps: 10, steps: 110 }
    }

    #[test]
    fn warm_up_starts_at_the_floor_and_ends_at_the_highest_rate() {
        for decay in [Decay::Cosine, Decay::Linear, Decay::Constant] {
            let schedule = schedule(decay);
            assert!((schedule.lr_at(0) - 1e-4).abs() < 1e-15);
            assert!((schedule.lr_at(5) - 5.5e-4).abs() < 1e-15);
            assert!((schedule.lr_at(10) - 1e-3).abs() < 1e-15);
        }
    }

    #[test]
    fn every_way_down_ends_where_it_should() {
        let middle = |decay| schedule(decay).lr_at(60);
        let end = |decay| schedule(decay).lr_at(110);
        assert!((middle(Decay::Cosine) - 5.5e-4).abs() < 1e-15);
        assert!((middle(Decay::Linear) - 5.5e-4).abs() < 1e-15);
        assert!((middle(Decay::Constant) - 1e-3).abs() < 1e-15);
        assert!((end(Decay::Cosine) - 1e-4).abs() < 1e-15);
        assert!((end(Decay::Linear) - 1e-4).abs() < 1e-15);
        assert!((end(Decay::Constant) - 1e-3).abs() < 1e-15);
        let quarter = 1e-4 + 9e-4 * 0.5 * (1.0 + std::f64::consts::FRAC_PI_4.cos());
        assert!((schedule(Decay::Cosine).lr_at(35) - quarter).abs() < 1e-15);
    }

    #[test]
    fn without_warm_up_the_first_step_has_the_highest_rate() {
        let schedule = Schedule { warmup_steps: 0, ..schedule(Decay::Cosine) };
        assert!((schedule.lr_at(0) - 1e-3).abs() < 1e-15);
    }
}
