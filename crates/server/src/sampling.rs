//! How a request wants its tokens chosen, and when to stop.

use engine::{Constraint, Sampling, SamplingOptions};
use sequence::{AttentionPolicy, TokenId};

use crate::error::ApiError;
use crate::fields::{Fields, expected};

/// The most replies to one request.
const MAX_CHOICES: i64 = 8;
/// The most stop strings.
const MAX_STOPS: usize = 16;
/// The longest reply if the request does not say.
const DEFAULT_TOKENS: usize = 1024;

/// What both kinds of requests have in common.
#[derive(Clone, Debug)]
pub(crate) struct Wishes {
    pub(crate) options: SamplingOptions,
    pub(crate) stops: Vec<String>,
    pub(crate) max_tokens: usize,
    pub(crate) choices: usize,
    pub(crate) stream: bool,
    pub(crate) stream_usage: bool,
    pub(crate) top_logprobs: Option<usize>,
    pub(crate) bias: Vec<(TokenId, f32)>,
    /// Whether the tokens that end a reply do not.
    pub(crate) endless: bool,
    pub(crate) constraint: Option<Box<dyn Constraint>>,
    pub(crate) policy: AttentionPolicy,
}

impl Wishes {
    /// Reads them; `top_logprobs` and `constraint` are the caller's affair.
    ///
    /// # Errors
    /// If a field has an impossible value.
    pub(crate) fn parse(fields: &Fields) -> Result<Self, ApiError> {
        let number = |name, low: f64, high: f64, usual: f32| {
            fields.number(name, low..=high).map(|found| found.map_or(usual, |x| x as f32))
        };
        let seed = fields.integer("seed", i64::MIN..=i64::MAX)?;
        let options = SamplingOptions {
            temperature: number("temperature", 0.0, 2.0, 1.0)?,
            top_k: usize::try_from(fields.integer("top_k", -1..=1_000_000)?.unwrap_or(0))
                .unwrap_or(0),
            top_p: number("top_p", 0.0, 1.0, 1.0)?.max(1e-6),
            min_p: number("min_p", 0.0, 1.0, 0.0)?,
            repetition_penalty: number("repetition_penalty", 0.01, 100.0, 1.0)?,
            presence_penalty: number("presence_penalty", -2.0, 2.0, 0.0)?,
            frequency_penalty: number("frequency_penalty", -2.0, 2.0, 0.0)?,
            seed: seed.unwrap_or_else(any_seed).cast_unsigned(),
        };
        Sampling::try_from(options)?;
        Ok(Self {
            options,
            stops: fields.texts("stop", MAX_STOPS)?,
            max_tokens: max_tokens(fields)?,
            choices: usize::try_from(fields.integer("n", 1..=MAX_CHOICES)?.unwrap_or(1))
                .unwrap_or(1),
            stream: fields.flag("stream")?,
            stream_usage: stream_usage(fields)?,
            top_logprobs: None,
            bias: bias(fields)?,
            endless: fields.flag("ignore_eos")?,
            constraint: None,
            policy: policy(fields)?,
        })
    }

    /// Returns how the tokens of a choice are drawn: each its own way, if they are drawn at all.
    ///
    /// # Errors
    /// If an option is outside its limits.
    pub(crate) fn sampling(&self, choice: usize) -> Result<Sampling, ApiError> {
        let seed = self.options.seed.wrapping_add(choice as u64);
        Ok(Sampling::try_from(SamplingOptions { seed, ..self.options })?)
    }
}

fn max_tokens(fields: &Fields) -> Result<usize, ApiError> {
    let newer = fields.integer("max_completion_tokens", 1..=i64::MAX)?;
    let older = fields.integer("max_tokens", 1..=i64::MAX)?;
    let tokens =
        newer.or(older).map_or(DEFAULT_TOKENS, |n| usize::try_from(n).unwrap_or(usize::MAX));
    // Many clients ask for more than any context holds; the engine cuts it down.
    Ok(tokens.min(1 << 30))
}

/// Reads what is added to the logits of tokens: ids, as texts, and numbers.
fn bias(fields: &Fields) -> Result<Vec<(TokenId, f32)>, ApiError> {
    let name = "logit_bias";
    let Some(value) = fields.get(name) else { return Ok(Vec::new()) };
    let wrong = || expected(name, value, "token ids with numbers from -100 to 100");
    let entries = value.as_object().ok_or_else(wrong)?.iter().map(|(id, bias)| {
        let id = id.parse().map(TokenId).map_err(|_| wrong())?;
        let bias = bias.as_f64().filter(|bias| (-100.0..=100.0).contains(bias));
        Ok((id, bias.ok_or_else(wrong)? as f32))
    });
    entries.collect()
}

fn stream_usage(fields: &Fields) -> Result<bool, ApiError> {
    let Some(options) = fields.get("stream_options") else { return Ok(false) };
    let options =
        options.as_object().ok_or_else(|| expected("stream_options", options, "an object"))?;
    match options.get("include_usage") {
        None | Some(serde_json::Value::Null) => Ok(false),
        Some(value) => value
            .as_bool()
            .ok_or_else(|| expected("stream_options.include_usage", value, "true or false")),
    }
}

/// Reads who may look at whom.
///
/// # Errors
/// If there is no such policy.
pub(crate) fn policy(fields: &Fields) -> Result<AttentionPolicy, ApiError> {
    let Some(name) = fields.text("attention")? else { return Ok(AttentionPolicy::default()) };
    AttentionPolicy::ALL.into_iter().find(|policy| policy.name() == name).ok_or_else(|| {
        let names: Vec<_> = AttentionPolicy::ALL.iter().map(|policy| policy.name()).collect();
        let message = format!("`attention` is not known, expected one of {}", names.join(", "));
        ApiError::invalid("attention", message)
    })
}

/// Returns a seed for a request without one: two such requests should differ.
fn any_seed() -> i64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(crate::reply::now()).cast_signed()
}
