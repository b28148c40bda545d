//! A model that is ready to run, and what a question needs of it.

use std::time::{Duration, Instant};

use anyhow::Result;
use engine::{CancelToken, Prompt, Request, Sampling, SamplingOptions};
use model::{Aki, AkiConfig, LoadOptions, NoTap, Tensor};
use prompt::{ChatTemplate, Preprocessor, RgbImage, SpecialTokens, Tokenizer};

use crate::args::{ComputeArgs, GenerationArgs, QuantizeArg};
use crate::environment::Environment;
use crate::load::{self, Model};
use crate::report::Failure;
use crate::{compute, progress};

/// A loaded model with its tokenizer.
#[derive(Debug)]
pub(crate) struct Runtime {
    pub(crate) config: AkiConfig,
    pub(crate) tokenizer: Tokenizer,
    pub(crate) special: SpecialTokens,
    pub(crate) aki: Aki,
    /// How long loading took.
    pub(crate) load_time: Duration,
    pub(crate) preprocessor: Preprocessor,
}

impl Runtime {
    /// Loads a model.
    ///
    /// # Errors
    /// If there is no such model or its files are not valid.
    pub(crate) fn load(
        name: &str,
        compute: &ComputeArgs,
        environment: &Environment,
    ) -> Result<Self> {
        // What an image or a prompt needs for a moment, the next one needs again.
        kernels::keep_freed_memory();
        compute::start(&compute.hardware, environment)?;
        let model = Model::locate(name, environment)?;
        let start = Instant::now();
        let spinner = progress::spinner("loading the model");
        let config = model.config()?;
        let tokenizer = model.tokenizer()?;
        let special = SpecialTokens::find(&tokenizer)?;
        let checkpoint = model.checkpoint()?;
        let options = LoadOptions {
            device: compute.device.open()?,
            dtype: compute.dtype.dtype(),
            quantization: compute.quantize.map(QuantizeArg::quantization),
            kv_type: compute.kv_cache.kv_type(),
        };
        let aki = Aki::load(config.clone(), &checkpoint, options)?;
        spinner.finish_and_clear();
        let preprocessor = load::preprocessor(&config);
        let load_time = start.elapsed();
        Ok(Self { config, tokenizer, special, aki, load_time, preprocessor })
    }

    /// Returns an image's pixel values. `// [3, size, size]`
    ///
    /// # Errors
    /// If they do not fit into memory.
    pub(crate) fn pixels(&self, image: &RgbImage) -> Result<Tensor> {
        self.tensor(self.preprocessor.preprocess(image))
    }

    fn tensor(&self, values: Vec<f32>) -> Result<Tensor> {
        let size = self.preprocessor.image_size;
        Ok(Tensor::from_vec(values, (3, size, size), self.aki.device())?)
    }

    /// Returns the vision tokens of an image. `// [num_vision_tokens, hidden]`
    ///
    /// # Errors
    /// If the model cannot compute them.
    pub(crate) fn see(&self, image: &RgbImage) -> Result<Tensor> {
        self.see_values(self.preprocessor.preprocess(image))
    }

    /// Returns the vision tokens of an image's pixel values, as [`Self::preprocessor`] makes them.
    /// `// [num_vision_tokens, hidden]`
    ///
    /// # Errors
    /// If the model cannot compute them.
    pub(crate) fn see_values(&self, values: Vec<f32>) -> Result<Tensor> {
        let pixels = self.tensor(values)?.unsqueeze(0)?;
        Ok(self.aki.see(&pixels, &mut NoTap)?.squeeze(0)?)
    }

    /// Refuses a prompt that is longer than the model's context, before any work is done for it.
    ///
    /// # Errors
    /// If it is too long.
    pub(crate) fn check_length(&self, len: usize) -> Result<()> {
        let limit = self.aki.max_positions();
        if len > limit {
            let message = format!("the prompt has {len} tokens, the model's context is {limit}");
            let hint = format!(
                "ask a shorter question or show fewer images; an image takes {} tokens",
                self.config.num_vision_tokens
            );
            return Err(Failure::new(message).hint(hint).into());
        }
        Ok(())
    }

    /// Returns a request for a reply.
    pub(crate) fn request(
        &self,
        prompt: Prompt,
        sampling: Sampling,
        (max_new_tokens, cancel): (usize, CancelToken),
    ) -> Request {
        let stop = self.special.stops().to_vec();
        Request { sampling, stop, cancel, ..Request::new(prompt, max_new_tokens) }
    }
}

/// Returns valid sampling options.
///
/// # Errors
/// If one is outside its limits.
pub(crate) fn sampling(args: &GenerationArgs) -> Result<Sampling> {
    let off = SamplingOptions::default();
    let options = SamplingOptions {
        temperature: args.temperature,
        top_k: args.top_k.unwrap_or(off.top_k),
        top_p: args.top_p.unwrap_or(off.top_p),
        min_p: args.min_p.unwrap_or(off.min_p),
        repetition_penalty: args.repetition_penalty.unwrap_or(off.repetition_penalty),
        seed: args.seed,
        ..off
    };
    Sampling::try_from(options).map_err(|error| Failure::usage(error.to_string()).into())
}

/// Returns the template with the user's instructions, if there are any; empty ones leave the
/// system's message out.
pub(crate) fn template(system: Option<&str>) -> ChatTemplate {
    match system {
        None => ChatTemplate::default(),
        Some(text) => {
            ChatTemplate { system: Some(text.to_owned()).filter(|text| !text.is_empty()) }
        }
    }
}
