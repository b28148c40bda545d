//! How close a model in fewer bits comes to itself in f32.

use std::fmt::Write;

use ::miniature::Quiz;
use anyhow::{Context, Result};
use engine::{Prompt, Session};
use model::{KvType, Quantization};
use prompt::{ChatTemplate, Message, Part, RgbImage};
use sequence::{AttentionPolicy, TokenId};
use serde::Serialize;

use crate::args::{BenchArgs, DtypeArg, KvCacheArg, QuantizeArg};
use crate::environment::Environment;
use crate::progress;
use crate::runtime::Runtime;

/// The width and height of the pictures, those of `aki miniature`.
const PICTURE: usize = 384;
/// What decides the pictures, which are kept for tests.
const SEED: u64 = 0;
const QUESTION: &str = "Describe the image.";
/// Of a hundred tokens, how many are below the second worst figure.
const BELOW: usize = 99;

/// The logits after every token of some replies.
struct Logits {
    rows: Vec<Vec<f32>>,
    /// The tokens that followed, of every reply.
    replies: Vec<Vec<TokenId>>,
    weight_bytes: usize,
}

/// How close one form of a model comes.
#[derive(Debug, Serialize)]
pub(super) struct Quality {
    /// The type of the weights, or the mix of types.
    weights: &'static str,
    /// The type of keys and values.
    kv_cache: &'static str,
    /// The bytes of all matrices.
    weight_bytes: usize,
    /// Bits of an element of a matrix, the mean over all.
    bits_per_weight: f64,
    /// The divergence of the distribution of the next token from that in f32, in nats: its mean, what
    /// 99 of 100 tokens are below, and the largest.
    mean_kl: f64,
    p99_kl: f64,
    max_kl: f64,
    /// How often the likeliest token is the same.
    top1_agreement: f64,
    /// How many tokens were compared.
    tokens: usize,
}

/// A form of a model.
struct Form {
    weights: &'static str,
    dtype: DtypeArg,
    quantize: Option<QuantizeArg>,
    kv_cache: KvCacheArg,
}

/// Compares every form with f32: the types of numbers, the mixes of blocks, and the types of keys and
/// values under weights of f32.
///
/// # Errors
/// If the model cannot be loaded or computed.
pub(super) fn rows(args: &BenchArgs, environment: &Environment) -> Result<Vec<Quality>> {
    let whole =
        Form { weights: "f32", dtype: DtypeArg::F32, quantize: None, kv_cache: KvCacheArg::F32 };
    let forms = forms();
    let bar = progress::things("comparing", forms.len() as u64 + 1);
    let expected = logits(args, environment, (&whole, None))?;
    bar.inc(1);
    let mut found = Vec::with_capacity(forms.len());
    for form in &forms {
        let logits = logits(args, environment, (form, Some(&expected.replies)))?;
        found.push(compared(form, &logits, &expected));
        bar.inc(1);
    }
    bar.finish_and_clear();
    Ok(found)
}

fn forms() -> Vec<Form> {
    let floats = [("bf16", DtypeArg::Bf16), ("f16", DtypeArg::F16)];
    let floats = floats.map(|(weights, dtype)| Form {
        weights,
        dtype,
        quantize: None,
        kv_cache: KvCacheArg::F32,
    });
    let blocks = [
        QuantizeArg::Q8_0,
        QuantizeArg::Q6K,
        QuantizeArg::Q5K,
        QuantizeArg::Q4K,
        QuantizeArg::Q4_0,
    ];
    let blocks = blocks.map(|quantize| Form {
        weights: quantize.quantization().name(),
        dtype: DtypeArg::Auto,
        quantize: Some(quantize),
        kv_cache: KvCacheArg::F32,
    });
    let caches = [KvCacheArg::Bf16, KvCacheArg::F16, KvCacheArg::Q8_0];
    let caches = caches.map(|kv_cache| Form {
        weights: "f32",
        dtype: DtypeArg::F32,
        quantize: None,
        kv_cache,
    });
    let usual = Form {
        weights: Quantization::Q4K.name(),
        dtype: DtypeArg::Auto,
        quantize: Some(QuantizeArg::Q4K),
        kv_cache: KvCacheArg::Q8_0,
    };
    floats.into_iter().chain(blocks).chain(caches).chain([usual]).collect()
}

/// Computes the logits along the given replies, or along the likeliest ones.
fn logits(
    args: &BenchArgs,
    environment: &Environment,
    (form, replies): (&Form, Option<&[Vec<TokenId>]>),
) -> Result<Logits> {
    let compute = crate::args::ComputeArgs {
        dtype: form.dtype,
        quantize: form.quantize,
        kv_cache: form.kv_cache,
        device: args.compute.device,
        hardware: args.compute.hardware.clone(),
    };
    let runtime = Runtime::load(&args.model.model, &compute, environment)?;
    let mut found = Logits {
        rows: Vec::new(),
        replies: Vec::new(),
        weight_bytes: runtime.aki.footprint().all().bytes,
    };
    for index in 0..args.repeat {
        let mut session = Session::new(&runtime.aki)?;
        let mut row = session.prefill(&prompt(&runtime, index as u64)?)?.logits;
        let mut reply = Vec::with_capacity(args.new_tokens);
        for at in 0..args.new_tokens {
            let next = match replies {
                Some(replies) => replies[index][at],
                None => TokenId(likeliest(&row) as u32),
            };
            reply.push(next);
            found.rows.push(row);
            row = session.decode(next)?;
        }
        found.replies.push(reply);
    }
    Ok(found)
}

/// Asks for a description of a picture of the miniature world.
fn prompt(runtime: &Runtime, index: u64) -> Result<Prompt> {
    let drawn = Quiz::make(SEED, index).scene.draw(PICTURE).into_raw();
    let picture = RgbImage::new(PICTURE, PICTURE, drawn)
        .context("a picture has three values for every pixel")?;
    let content = vec![Part::Image, Part::Text(QUESTION.to_owned())];
    let template = ChatTemplate::default();
    let num_vision_tokens = runtime.config.num_vision_tokens;
    let encoded =
        template.encode(&runtime.tokenizer, &[Message::user(content)], num_vision_tokens)?;
    Ok(Prompt {
        ids: encoded.ids,
        layout: encoded.layout,
        features: vec![runtime.see(&picture)?],
        policy: AttentionPolicy::ModalityMutual,
    })
}

fn compared(form: &Form, found: &Logits, expected: &Logits) -> Quality {
    let pairs = || found.rows.iter().zip(&expected.rows);
    let mut divergences: Vec<f64> = pairs().map(|(q, p)| divergence(p, q)).collect();
    divergences.sort_by(f64::total_cmp);
    let tokens = divergences.len();
    let same = pairs().filter(|(q, p)| likeliest(q) == likeliest(p)).count();
    // Both hold the same elements; those of the expected have four bytes each.
    let elements = expected.weight_bytes / size_of::<f32>();
    let kv_cache = form.kv_cache.kv_type().map_or("auto", KvType::name);
    Quality {
        weights: form.weights,
        kv_cache,
        weight_bytes: found.weight_bytes,
        bits_per_weight: 8.0 * found.weight_bytes as f64 / elements.max(1) as f64,
        mean_kl: divergences.iter().sum::<f64>() / tokens.max(1) as f64,
        p99_kl: divergences.get(tokens * BELOW / 100).copied().unwrap_or(0.0),
        max_kl: divergences.last().copied().unwrap_or(0.0),
        top1_agreement: same as f64 / tokens.max(1) as f64,
        tokens,
    }
}

fn likeliest(logits: &[f32]) -> usize {
    (0..logits.len()).max_by(|a, b| logits[*a].total_cmp(&logits[*b])).unwrap_or(0)
}

/// Returns the divergence of the distribution of `q` from that of `p`, both logits: the sum of
/// `p ln(p / q)`.
fn divergence(p: &[f32], q: &[f32]) -> f64 {
    let log_total = |logits: &[f32]| {
        let largest = logits.iter().fold(f32::NEG_INFINITY, |l, v| l.max(*v));
        let total: f64 = logits.iter().map(|v| f64::from(v - largest).exp()).sum();
        f64::from(largest) + total.ln()
    };
    let (of_p, of_q) = (log_total(p), log_total(q));
    let terms = p.iter().zip(q).map(|(p, q)| {
        let (p, q) = (f64::from(*p) - of_p, f64::from(*q) - of_q);
        p.exp() * (p - q)
    });
    // Rounding can make that of equal distributions negative.
    terms.sum::<f64>().max(0.0)
}

/// Writes the figures down.
pub(super) fn table(rows: &[Quality]) -> String {
    let mut text = String::from(
        "\nweights  kv cache  bits        GB    mean KL     99 % KL      max KL  same likeliest\n",
    );
    for row in rows {
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "{:<8} {:<8} {:>5.2} {:>9.3} {:>10.2e} {:>11.2e} {:>11.2e} {:>14.1}%",
            row.weights,
            row.kv_cache,
            row.bits_per_weight,
            row.weight_bytes as f64 / 1e9,
            row.mean_kl,
            row.p99_kl,
            row.max_kl,
            100.0 * row.top1_agreement,
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_divergence_is_that_of_the_distributions() {
        let close = |found: f64, expected: f64| (found - expected).abs() < 1e-6;
        assert!(close(divergence(&[1.0, 2.0, 3.0], &[1.0, 2.0, 3.0]), 0.0));
        // What is added to all logits changes nothing.
        assert!(close(divergence(&[1.0, 2.0, 3.0], &[101.0, 102.0, 103.0]), 0.0));
        // A half and a half against a fifth and four fifths.
        let expected = 0.5 * (0.5_f64 / 0.2).ln() + 0.5 * (0.5_f64 / 0.8).ln();
        assert!(close(divergence(&[0.0, 0.0], &[0.0, 4.0_f32.ln()]), expected));
        assert_eq!(likeliest(&[0.1, 0.7, 0.2]), 1);
    }

    #[test]
    fn every_mix_is_compared() {
        let forms = forms();
        for mix in Quantization::ALL {
            assert!(forms.iter().any(|form| form.weights == mix.name()), "{mix:?}");
        }
        for kv in KvType::ALL {
            assert!(forms.iter().any(|form| form.kv_cache.kv_type() == Some(kv)), "{kv:?}");
        }
    }
}
