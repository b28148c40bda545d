//! `AdamW` with decay groups.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::learner::ParameterSpec;
use crate::{Error, pattern};

/// What `AdamW` is set to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AdamWConfig {
    /// The share of the old first and second moments that a step keeps.
    pub betas: [f64; 2],
    /// What is added to the root of the second moment.
    pub eps: f64,
    /// How much of a weight a step of learning rate 1 takes away.
    pub weight_decay: f64,
    /// Which parameters are not decayed.
    pub no_weight_decay: Vec<String>,
    /// The most that the norm of all gradients together may be; 0 does not clip.
    pub clip_norm: f64,
    /// What the learning rate of some parameters is multiplied with, by pattern; where several match,
    /// with all of them.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub lr_scale: BTreeMap<String, f64>,
}

impl Default for AdamWConfig {
    fn default() -> Self {
        Self {
            betas: [0.9, 0.999],
            eps: 1e-8,
            weight_decay: 0.01,
            no_weight_decay: vec!["lang_model.model.embed_tokens.*".to_owned()],
            clip_norm: 1.0,
            lr_scale: BTreeMap::new(),
        }
    }
}

impl AdamWConfig {
    /// Refuses a rate of its own for what is not there, which a misspelled name would be.
    pub(crate) fn check(&self, trained: &[ParameterSpec]) -> Result<(), Error> {
        let is_unknown =
            |pattern: &&String| !trained.iter().any(|of| pattern::matches(pattern, &of.name));
        let Some(pattern) = self.lr_scale.keys().find(is_unknown) else { return Ok(()) };
        Err(Error::Recipe {
            message: format!(
                "`optimizer.lr_scale` has `{pattern}`, which no tensor that is trained matches; `aki \
                 inspect` lists names, `*` stands for any characters"
            ),
        })
    }

    /// Returns what the learning rate of a parameter is multiplied with.
    fn lr_scale_of(&self, name: &str) -> f64 {
        let matching = self.lr_scale.iter().filter(|(pattern, _)| pattern::matches(pattern, name));
        matching.map(|(_, scale)| scale).product()
    }
}

/// The running moments of one parameter.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Moments {
    /// How many steps they have seen; a parameter that no gradient reached is left out of a step.
    pub steps: u64,
    /// The mean of the gradients.
    pub first: Vec<f32>,
    /// The mean of their squares.
    pub second: Vec<f32>,
}

/// Which of a parameter's moments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// The mean of the gradients.
    First,
    /// The mean of their squares.
    Second,
}

impl Moments {
    /// Returns one of the two.
    pub fn values(&self, moment: Moment) -> &[f32] {
        match moment {
            Moment::First => &self.first,
            Moment::Second => &self.second,
        }
    }
}

/// Where the moments of a checkpoint are taken from.
pub trait MomentSource {
    /// Returns how many steps the moments of each parameter have seen and how many they are, in the
    /// order of names.
    fn specs(&self) -> Vec<(String, u64, usize)>;

    /// Returns the moments of a parameter.
    ///
    /// # Errors
    /// If there are none, or the process that has them is gone.
    fn values(&mut self, name: &str, moment: Moment) -> Result<Cow<'_, [f32]>, Error>;
}

impl MomentSource for &AdamW {
    fn specs(&self) -> Vec<(String, u64, usize)> {
        let all = self.moments.iter();
        all.map(|(name, moments)| (name.clone(), moments.steps, moments.first.len())).collect()
    }

    fn values(&mut self, name: &str, moment: Moment) -> Result<Cow<'_, [f32]>, Error> {
        let Some(moments) = self.moments.get(name) else {
            return Err(Error::NoParameter { name: name.to_owned() });
        };
        Ok(Cow::Borrowed(moments.values(moment)))
    }
}

/// `AdamW` as `torch.optim.AdamW` computes it.
#[derive(Clone, Debug)]
pub struct AdamW {
    config: AdamWConfig,
    moments: BTreeMap<String, Moments>,
}

impl AdamW {
    /// Returns an optimizer that has seen nothing.
    pub fn new(config: AdamWConfig) -> Self {
        Self { config, moments: BTreeMap::new() }
    }

    /// Returns the settings.
    pub fn config(&self) -> &AdamWConfig {
        &self.config
    }

    /// Returns the moments by parameter, in the order of names.
    pub fn moments(&self) -> &BTreeMap<String, Moments> {
        &self.moments
    }

    /// Continues with moments of an earlier run.
    pub fn restore(&mut self, moments: BTreeMap<String, Moments>) {
        self.moments = moments;
    }

    /// Changes the values of one parameter by its gradient, multiplied by `scale`.
    pub fn update(
        &mut self,
        name: &str,
        values: &mut [f32],
        (grad, scale, lr): (&[f32], f32, f64),
    ) {
        let config = &self.config;
        let decayed = !pattern::matches_any(&config.no_weight_decay, name);
        let moments = self.moments.entry(name.to_owned()).or_default();
        moments.first.resize(values.len(), 0.0);
        moments.second.resize(values.len(), 0.0);
        moments.steps += 1;
        let options = kernels::AdamW {
            lr: lr * config.lr_scale_of(name),
            beta1: config.betas[0],
            beta2: config.betas[1],
            eps: config.eps,
            weight_decay: if decayed { config.weight_decay } else { 0.0 },
            grad_scale: scale,
        };
        let steps = moments.steps;
        let moments = kernels::Moments { first: &mut moments.first, second: &mut moments.second };
        kernels::adamw(options, steps, values, grad, moments);
    }
}
