//! What a run shows: a bar with losses, lines where there is no terminal, answers on the way.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use engine::{CancelToken, Prompt, Session};
use indicatif::{HumanDuration, ProgressBar};
use model::{Aki, AkiConfig, NoTap, Tensor};
use prompt::{ChatTemplate, Message, Preprocessor, RgbImage, SpecialTokens, Tokenizer};
use sequence::AttentionPolicy;
use train::memory::Footprint;
use train::recipe::SamplesRecipe;
use train::run::{StepMetrics, chart, sparkline};
use train::trainer::{Answer, Observer, ObserverError, Outcome};

use super::preview;
use super::request::Request;
use crate::{input, load, output, progress};

/// The losses that the bar draws.
const SPARKS: usize = 24;
/// Columns and rows of the plot at the end.
const PLOT: (usize, usize) = (64, 8);
/// The longest silence where there is no terminal.
const SILENCE: Duration = Duration::from_mins(1);

/// Watches a run for the user.
pub(crate) struct Watch<'r> {
    request: &'r Request,
    bar: ProgressBar,
    cancel: CancelToken,
    /// Whether there is no bar, but lines.
    is_plain: bool,
    first_step: u64,
    total: u64,
    started: Instant,
    spoke: Instant,
    losses: Vec<f64>,
    speaker: Option<Speaker>,
}

/// What answers are made with.
struct Speaker {
    images: Vec<(PathBuf, RgbImage)>,
    tokenizer: Tokenizer,
    special: SpecialTokens,
    preprocessor: Preprocessor,
    num_vision_tokens: usize,
}

impl<'r> Watch<'r> {
    /// Returns what watches a run, until the token is cancelled.
    ///
    /// # Errors
    /// If an image to answer about cannot be read.
    pub(crate) fn new(
        request: &'r Request,
        (config, tokenizer): (&AkiConfig, &Tokenizer),
        cancel: CancelToken,
    ) -> Result<Self> {
        let speaker = match &request.recipe.samples {
            None => None,
            Some(samples) => {
                let read = |path: &PathBuf| Ok((path.clone(), input::image(path)?));
                let images = samples.images.iter().map(read).collect::<Result<_>>();
                Some(Speaker {
                    images: images.context("an image of `samples` cannot be used")?,
                    tokenizer: tokenizer.clone(),
                    special: SpecialTokens::find(tokenizer)?,
                    preprocessor: load::preprocessor(config),
                    num_vision_tokens: config.num_vision_tokens,
                })
            }
        };
        let is_plain = !std::io::stderr().is_terminal();
        let (started, spoke) = (Instant::now(), Instant::now());
        let (first_step, total, losses) = (0, 0, Vec::new());
        let bar = progress::steps();
        Ok(Self {
            request,
            bar,
            cancel,
            is_plain,
            first_step,
            total,
            started,
            spoke,
            losses,
            speaker,
        })
    }

    /// Returns the bar, above which others may write.
    pub(crate) fn bar(&self) -> ProgressBar {
        self.bar.clone()
    }

    /// Says what is about to happen.
    pub(crate) fn announce(&self, config: &AkiConfig) {
        let Request { recipe, phases, directory } = self.request;
        let footprint = Footprint::predict(config, recipe, phases);
        let figures = preview::describe(&footprint).replace("# ", "");
        output::note(&format!("directory    {}\n{}", directory.display(), figures.trim_end()));
    }

    /// Takes the bar away.
    pub(crate) fn finish(&self) {
        self.bar.finish_and_clear();
    }

    fn say(&mut self, line: &str) {
        self.spoke = Instant::now();
        self.bar.suspend(|| output::note(line));
    }

    /// Returns the time that the rest of the run takes at the speed so far.
    fn remaining(&self, step: u64) -> Duration {
        let done = step.saturating_sub(self.first_step).max(1);
        let left = self.total.saturating_sub(step) as f64 / done as f64;
        Duration::try_from_secs_f64(self.started.elapsed().as_secs_f64() * left)
            .unwrap_or(Duration::MAX)
    }
}

impl Observer for Watch<'_> {
    fn started(&mut self, step: u64, total: u64) {
        (self.first_step, self.total, self.started) = (step, total, Instant::now());
        self.bar.set_length(total);
        self.bar.set_position(step);
        if step > 0 {
            self.say(&format!("going on after step {step} of {total}"));
        }
    }

    fn step(&mut self, metrics: &StepMetrics) {
        let StepMetrics { step, training_loss: loss, learning_rate: lr, .. } = *metrics;
        self.losses.push(loss);
        let eta = HumanDuration(self.remaining(step));
        let speed = metrics.tokens_per_second;
        let figures = format!(
            "loss {loss:.4}, lr {lr:.2e}, norm {:.3}, {speed:.0} tokens/s, {eta} left",
            metrics.gradient_norm
        );
        self.bar.set_position(step);
        let recent = &self.losses[self.losses.len().saturating_sub(8 * SPARKS)..];
        self.bar.set_message(format!("{} {figures}", sparkline(recent, SPARKS)));
        let every = (self.total / 100).max(1);
        if self.is_plain && (step.is_multiple_of(every) || self.spoke.elapsed() > SILENCE) {
            self.say(&format!("step {step} of {}: {figures}", self.total));
        }
    }

    fn validated(&mut self, step: u64, loss: f64) {
        self.say(&format!("step {step}: validation loss {loss:.4}"));
    }

    fn saved(&mut self, path: &Path) {
        if self.is_plain {
            self.say(&format!("wrote {}", path.display()));
        }
    }

    fn is_interrupted(&mut self) -> bool {
        self.cancel.is_cancelled()
    }

    fn answers(
        &mut self,
        model: &Aki,
        policy: AttentionPolicy,
        what: &SamplesRecipe,
    ) -> std::result::Result<Vec<Answer>, ObserverError> {
        let Some(speaker) = &self.speaker else { return Ok(Vec::new()) };
        let answers = speaker.answer(model, policy, what)?;
        for Answer { image, answer, .. } in &answers {
            let line = format!("{}: {}", image.display(), answer.trim());
            self.bar.suspend(|| output::note(&line));
        }
        Ok(answers)
    }
}

impl Speaker {
    fn answer(
        &self,
        model: &Aki,
        policy: AttentionPolicy,
        what: &SamplesRecipe,
    ) -> Result<Vec<Answer>> {
        let size = self.preprocessor.image_size;
        let mut answers = Vec::with_capacity(self.images.len());
        for (path, image) in &self.images {
            let values = self.preprocessor.preprocess(image);
            let pixels = Tensor::from_vec(values, (1, 3, size, size), model.device())?;
            let features = vec![model.see(&pixels, &mut NoTap)?.squeeze(0)?];
            let question = Message::user(prompt::parse_question(&what.question, 1)?);
            let template = ChatTemplate::default();
            let encoded = template.encode(&self.tokenizer, &[question], self.num_vision_tokens)?;
            let prompt = Prompt { ids: encoded.ids, layout: encoded.layout, features, policy };
            let mut request = engine::Request::new(prompt, what.max_new_tokens);
            request.stop = self.special.stops().to_vec();
            let generated =
                Session::new(model)?.generate(&request, |_| std::ops::ControlFlow::Continue(()))?;
            answers.push(Answer {
                image: path.clone(),
                question: what.question.clone(),
                answer: self.tokenizer.decode(&generated.new_ids, true),
            });
        }
        Ok(answers)
    }
}

/// Returns how a run went, with a plot of its losses.
pub(crate) fn summary(outcome: &Outcome) -> String {
    let mut text = chart(&outcome.losses, PLOT);
    let (first, last) = (outcome.losses.first(), outcome.losses.last());
    if let (Some(first), Some(last)) = (first, last) {
        let line = format!("{} steps, loss {first:.4} -> {last:.4}\n", outcome.step);
        text.push_str(&line);
    }
    if let Some(path) = &outcome.checkpoint {
        let line = format!("checkpoint {}\n", path.display());
        text.push_str(&line);
    }
    text
}
