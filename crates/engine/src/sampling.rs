//! How the next token is chosen: options as given, and options that are known to be valid.

use crate::Error;

/// Sampling options as a user gives them; the default is greedy decoding.
///
/// Every option has a neutral value that switches it off. They apply in the order of Hugging
/// Face's `generate`: repetition penalty, temperature, top-k, top-p, min-p.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SamplingOptions {
    /// What the logits are divided by; 0 is greedy decoding, which ignores the three filters.
    pub temperature: f32,
    /// Keeps the `top_k` most likely tokens, and those as likely as the last of them; 0 is off.
    pub top_k: usize,
    /// Keeps the fewest most likely tokens that together have this probability; 1 is off.
    pub top_p: f32,
    /// Keeps the tokens at least this likely, relative to the most likely one; 0 is off.
    pub min_p: f32,
    /// Divides the positive logits, and multiplies the negative ones, of tokens that the prompt or
    /// the reply has; 1 is off.
    pub repetition_penalty: f32,
    /// Taken from the logits of tokens that the reply has; 0 is off.
    pub presence_penalty: f32,
    /// Taken from the logits of tokens for every time that the reply has them; 0 is off.
    pub frequency_penalty: f32,
    /// The seed of the random numbers: equal requests with equal seeds have equal replies.
    pub seed: u64,
}

impl Default for SamplingOptions {
    fn default() -> Self {
        Self {
            temperature: 0.0,
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
            repetition_penalty: 1.0,
            presence_penalty: 0.0,
            frequency_penalty: 0.0,
            seed: 0,
        }
    }
}

/// Sampling options within their limits, made by [`Sampling::try_from`]; greedy by default.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Sampling {
    options: SamplingOptions,
}

impl Sampling {
    /// Returns greedy decoding: always the most likely token, the lowest id among equals.
    pub fn greedy() -> Self {
        Self::default()
    }

    /// Returns the options.
    pub fn options(&self) -> &SamplingOptions {
        &self.options
    }

    /// Returns whether the most likely token is always taken.
    pub fn is_greedy(&self) -> bool {
        self.options.temperature == 0.0
    }

    /// Returns whether the tokens so far have a part in the choice.
    pub(crate) fn is_penalised(&self) -> bool {
        (self.options.repetition_penalty - 1.0).abs() > 0.0
    }

    /// Returns whether the tokens of the reply have a part in the choice.
    pub(crate) fn counts_tokens(&self) -> bool {
        self.options.presence_penalty != 0.0 || self.options.frequency_penalty != 0.0
    }
}

impl TryFrom<SamplingOptions> for Sampling {
    type Error = Error;

    /// Checks the limits.
    ///
    /// # Errors
    /// If an option is outside its limits, or not a number.
    fn try_from(options: SamplingOptions) -> Result<Self, Error> {
        let check = |field, value: f32, ok: bool, expected| {
            if ok {
                Ok(())
            } else {
                Err(Error::OutOfRange { field, value: widen(value), expected })
            }
        };
        let SamplingOptions { temperature, top_p, min_p, repetition_penalty, .. } = options;
        let ok = (0.0..=100.0).contains(&temperature);
        check("temperature", temperature, ok, "a number from 0 to 100")?;
        let ok = top_p > 0.0 && top_p <= 1.0;
        check("top_p", top_p, ok, "a number above 0 and at most 1")?;
        let ok = (0.0..=1.0).contains(&min_p);
        check("min_p", min_p, ok, "a number from 0 to 1")?;
        let ok = repetition_penalty > 0.0 && repetition_penalty <= 100.0;
        check("repetition_penalty", repetition_penalty, ok, "a number above 0 and at most 100")?;
        for (field, value) in [
            ("presence_penalty", options.presence_penalty),
            ("frequency_penalty", options.frequency_penalty),
        ] {
            check(field, value, (-10.0..=10.0).contains(&value), "a number from -10 to 10")?;
        }
        Ok(Self { options })
    }
}

/// Returns the f64 that prints as `value` does: 1.2, not 1.2000000476837158.
pub(crate) fn widen(value: f32) -> f64 {
    value.to_string().parse().unwrap_or(f64::from(value))
}
