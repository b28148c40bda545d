//! The phases of an answer.

use std::time::Instant;

use anyhow::{Result, ensure};
use engine::{Batch, Event, Prompt, Session};
use model::{Footprint, NoTap, Tensor};
use sequence::{AttentionPolicy, Layout, Role, TokenId};

use super::measure::{Row, row, seconds};
use crate::args::BenchArgs;
use crate::runtime::Runtime;

/// A prompt of an image and a question, and a model to answer it.
pub(super) struct Inference<'r> {
    runtime: &'r Runtime,
    pixels: Tensor,
    prompt: Prompt,
    new_tokens: usize,
    batch: usize,
    repeat: usize,
}

impl<'r> Inference<'r> {
    /// Makes up a prompt: what the time depends on is its length and not what it says.
    pub(super) fn new(runtime: &'r Runtime, args: &BenchArgs) -> Result<Self> {
        let size = runtime.config.image_size;
        let gradient = (0..3 * size * size).map(|i| (i % size) as f32 / size as f32 - 0.5);
        let pixels =
            Tensor::from_vec(gradient.collect(), (1, 3, size, size), runtime.aki.device())?;
        let before = args.text_tokens / 3;
        let question = args.text_tokens - before - 1;
        let layout = Layout::new()
            .text(Role::System, before)
            .image(runtime.config.num_vision_tokens)
            .text(Role::User, question)
            .reply_mark();
        runtime.check_length(layout.len() + args.new_tokens)?;
        let word =
            |i: usize| TokenId((100 + 7 * i as u32) % runtime.config.initial_tokenizer_len as u32);
        let mut ids: Vec<TokenId> = (0..before).map(word).collect();
        ids.push(runtime.special.image);
        ids.extend((before..before + question).map(word));
        ids.push(runtime.special.assistant);
        let features = vec![runtime.aki.see(&pixels, &mut NoTap)?.squeeze(0)?];
        let prompt = Prompt { ids, layout, features, policy: AttentionPolicy::ModalityMutual };
        let (new_tokens, batch, repeat) = (args.new_tokens, args.batch, args.repeat);
        Ok(Self { runtime, pixels, prompt, new_tokens, batch, repeat })
    }

    /// Measures the vision encoder and the connector.
    pub(super) fn image(&self) -> Result<Row> {
        let row = row("image", (1, "images/s"), self.repeat, || {
            seconds(|| Ok(self.runtime.aki.see(&self.pixels, &mut NoTap)?))
        })?;
        // The connector's rows are few of the encoder's.
        let patches = self.runtime.config.vision.num_patches();
        Ok(row.computing(2 * self.runtime.aki.footprint().vision.elements * patches))
    }

    /// Measures reading the prompt.
    pub(super) fn prefill(&self) -> Result<Row> {
        let len = self.prompt.layout.len();
        let row = row(format!("prefill of {len}"), (len, "tokens/s"), self.repeat, || {
            let mut session = Session::new(&self.runtime.aki)?;
            seconds(|| Ok(session.prefill(&self.prompt)?))
        })?;
        let Footprint { layers, head, .. } = self.runtime.aki.footprint();
        // Only the last row has logits.
        Ok(row.computing(2 * (layers.elements * len + head.elements)))
    }

    /// Measures the time to the first token when nothing is known of the image.
    pub(super) fn first(&self) -> Result<Row> {
        row("first token", (1, "questions/s"), self.repeat, || {
            seconds(|| {
                let features = self.runtime.aki.see(&self.pixels, &mut NoTap)?.squeeze(0)?;
                let prompt = Prompt { features: vec![features], ..self.prompt.clone() };
                Ok(Session::new(&self.runtime.aki)?.prefill(&prompt)?)
            })
        })
    }

    /// Measures the time to the first token of another question on an image that was seen: as it
    /// reads the question, all of the prompt from the image on is computed anew.
    pub(super) fn second(&self) -> Result<Row> {
        let mut other = self.prompt.clone();
        if let Some(word) = other.ids.iter_mut().rev().nth(1) {
            *word = TokenId(word.0 ^ 1);
        }
        let mut session = Session::new(&self.runtime.aki)?;
        row("first token, image seen", (1, "questions/s"), self.repeat, || {
            session.prefill(&self.prompt)?;
            seconds(|| Ok(session.prefill(&other)?))
        })
    }

    /// Measures the tokens that follow the prompt.
    pub(super) fn decode(&self) -> Result<Row> {
        let count = self.new_tokens;
        let mut session = Session::new(&self.runtime.aki)?;
        let row = row(format!("decode of {count}"), (count, "tokens/s"), self.repeat, || {
            session.prefill(&self.prompt)?;
            seconds(|| {
                (0..count)
                    .try_for_each(|i| session.decode(TokenId(100 + i as u32 % 64)).map(drop))?;
                Ok(())
            })
        })?;
        Ok(row.reading(self.bytes_of_steps(count, 1)?))
    }

    /// Returns the bytes of weights, keys and values that steps of replies side by side read.
    fn bytes_of_steps(&self, steps: usize, replies: usize) -> Result<usize> {
        let Footprint { layers, head, .. } = self.runtime.aki.footprint();
        let per_position = self.runtime.aki.new_cache(1)?.num_bytes();
        let positions: usize = (1..=steps).map(|step| self.prompt.layout.len() + step).sum();
        Ok(steps * (layers.bytes + head.bytes) + replies * positions * per_position)
    }

    /// Measures several replies at once.
    pub(super) fn batch(&self) -> Result<Row> {
        let count = self.batch * self.new_tokens;
        // Nothing stops a reply early, and the first ones begin while other prompts are read.
        let limit = self.new_tokens + 2 * self.batch;
        self.runtime.check_length(self.prompt.layout.len() + limit)?;
        let name = format!("decode of {} x {}", self.batch, self.new_tokens);
        let row = row(name, (count, "tokens/s"), self.repeat, || {
            let mut batch = Batch::new(&self.runtime.aki, self.batch);
            for _ in 0..self.batch {
                let (sampling, cancel) = (engine::Sampling::greedy(), engine::CancelToken::new());
                let limits = (limit, cancel);
                let request = self.runtime.request(self.prompt.clone(), sampling, limits);
                batch.add(engine::Request { stop: Vec::new(), ..request })?;
            }
            let mut read = 0;
            while num_tokens(&batch.step()?) < self.batch {
                read += 1;
                ensure!(read <= 2 * self.batch, "{} replies do not run side by side", self.batch);
            }
            let start = Instant::now();
            for _ in 0..self.new_tokens {
                let tokens = num_tokens(&batch.step()?);
                ensure!(tokens == self.batch, "{tokens} of {} replies run", self.batch);
            }
            Ok(start.elapsed().as_secs_f64())
        })?;
        let Footprint { layers, head, .. } = self.runtime.aki.footprint();
        let operations = 2 * (layers.elements + head.elements) * count;
        Ok(row.reading(self.bytes_of_steps(self.new_tokens, self.batch)?).computing(operations))
    }
}

fn num_tokens(events: &[Event]) -> usize {
    events.iter().filter(|event| matches!(event, Event::Token { .. })).count()
}
