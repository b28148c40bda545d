//! The whole model.

use std::cell::RefCell;

use candle_core::{DType, Device, Tensor};
use checkpoint::{Checkpoint, Dtype};
use sequence::{Layout, SpanKind, TokenId};

use crate::connector::{self, Connector};
use crate::decoder::{Decoder, Sequence};
use crate::parameter::Parameters;
use crate::siglip::Siglip;
use crate::tape::Tape;
use crate::training::Trained;
use crate::vocabulary::Vocabulary;
use crate::weights::Weights;
use crate::{AkiConfig, Error, Footprint, KvCache, KvType, NoTap, Quantization, RopeRegime, Tap};

/// Where and how a model is loaded.
#[derive(Clone, Debug)]
pub struct LoadOptions {
    /// The device that computes.
    pub device: Device,
    /// The type to convert the weights to; none keeps what is stored, in the mapped file.
    pub dtype: Option<Dtype>,
    /// What the matrices become on the CPU, which are then in memory of their own; none leaves them.
    pub quantization: Option<Quantization>,
    /// How keys and values are kept; none for f32 under decoder weights of f32, f16 under f16, bf16
    /// under others.
    pub kv_type: Option<KvType>,
}

impl Default for LoadOptions {
    fn default() -> Self {
        Self { device: Device::Cpu, dtype: None, quantization: None, kv_type: None }
    }
}

/// A vision encoder, a connector and a decoder.
#[derive(Debug)]
pub struct Aki {
    config: AkiConfig,
    pub(crate) vision: Siglip,
    pub(crate) connector: Box<dyn Connector>,
    pub(crate) vocabulary: Vocabulary,
    pub(crate) decoder: Decoder,
    footprint: Footprint,
    device: Device,
}

impl Aki {
    /// Loads a model whose tensors have the names and shapes of `config`.
    ///
    /// # Errors
    /// If a tensor is missing or has another shape or type, or the device has no cache of the type.
    pub fn load(
        config: AkiConfig,
        checkpoint: &Checkpoint,
        options: LoadOptions,
    ) -> Result<Self, Error> {
        let LoadOptions { device, dtype, quantization, kv_type } = options;
        let weights = Weights::new(checkpoint, &device, checked(dtype)?).quantized(quantization);
        Self::of(config, &weights, kv_type)
    }

    /// Loads a model of which some tensors are trained, in f32; the others stay in the mapped file,
    /// as they are, and cost no gradient.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub fn load_trainable(
        config: AkiConfig,
        checkpoint: &Checkpoint,
        options: LoadOptions,
        trained: &Trained<'_>,
    ) -> Result<(Self, Parameters), Error> {
        let LoadOptions { device, dtype, quantization, kv_type } = options;
        let parameters = RefCell::default();
        let weights = Weights::new(checkpoint, &device, checked(dtype)?).quantized(quantization);
        let aki = Self::of(config, &weights.training(trained, &parameters), kv_type)?;
        Ok((aki, parameters.into_inner()))
    }

    fn of(
        config: AkiConfig,
        weights: &Weights<'_>,
        kv_type: Option<KvType>,
    ) -> Result<Self, Error> {
        let text = weights.pp("lang_model");
        Ok(Self {
            vision: Siglip::load(&config.vision, &weights.pp("vision_encoder"))?,
            connector: connector::load(&config, &weights.pp("vision_tokenizer"))?,
            vocabulary: Vocabulary::load(&config, &text)?,
            decoder: Decoder::load(&config.text, &text.pp("model"), kv_type)?,
            footprint: weights.footprint(),
            device: weights.device().clone(),
            config,
        })
    }

    /// Returns the configuration.
    pub fn config(&self) -> &AkiConfig {
        &self.config
    }

    /// Returns the device that computes.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Returns how much of the model's matrices there is.
    pub fn footprint(&self) -> &Footprint {
        &self.footprint
    }

    /// Returns the number of token ids.
    pub fn vocab_size(&self) -> usize {
        self.vocabulary.len()
    }

    /// Returns the longest sequence that the decoder was made for.
    pub fn max_positions(&self) -> usize {
        self.config.text.max_position_embeddings
    }

    /// Returns which rotary factors a sequence of `len` positions uses.
    pub fn rope_regime(&self, len: usize) -> RopeRegime {
        self.config.text.rope.regime(len)
    }

    /// Returns an empty cache with room for `capacity` positions.
    ///
    /// # Errors
    /// If the device's memory is exhausted.
    pub fn new_cache(&self, capacity: usize) -> Result<KvCache, Error> {
        self.decoder.new_cache(capacity)
    }

    /// Returns the vision tokens of images. `// [images, 3, size, size] -> [images, tokens, hidden]`
    ///
    /// # Errors
    /// If the pixels have another shape.
    pub fn see(&self, pixels: &Tensor, tap: &mut dyn Tap) -> Result<Tensor, Error> {
        self.check_pixels(pixels)?;
        if pixels.dim(0)? == 0 {
            let shape = (0, self.config.num_vision_tokens, self.config.text.hidden_size);
            return Ok(Tensor::zeros(shape, DType::F32, &self.device)?);
        }
        let tape = &Tape::of_prompts();
        let features = self.vision.forward(tape, pixels, tap)?;
        let tokens = self.connector.forward(tape, &features, tap)?;
        tap.tensor("resampler.output", &tokens);
        Ok(tokens)
    }

    /// Returns the features of every patch, what the connector reads. `// [images, 3, size, size] ->
    /// [images, patches, width]`
    ///
    /// # Errors
    /// If the pixels have another shape.
    pub fn encode(&self, pixels: &Tensor) -> Result<Tensor, Error> {
        self.check_pixels(pixels)?;
        self.vision.forward(&Tape::of_prompts(), pixels, &mut NoTap)
    }

    pub(crate) fn check_pixels(&self, pixels: &Tensor) -> Result<(), Error> {
        let (_, channels, height, width) = pixels.dims4()?;
        let size = self.config.vision.image_size;
        for (what, expected, found) in [
            ("pixel channels", self.config.vision.num_channels, channels),
            ("pixel rows", size, height),
            ("pixel columns", size, width),
        ] {
            if expected != found {
                return Err(Error::Inputs { what, expected, found });
            }
        }
        Ok(())
    }

    /// Returns the decoder's input: embeddings of the ids, with vision tokens where the layout has
    /// an image. `// [positions, hidden]`
    ///
    /// `ids` hold one id for every position that is not an image's and one for every image,
    /// `features` one `[tokens, hidden]` for every image.
    ///
    /// # Errors
    /// If ids, layout and features do not belong together, or an id is not in the vocabulary.
    pub fn embed(
        &self,
        ids: &[TokenId],
        layout: &Layout,
        features: &[Tensor],
    ) -> Result<Tensor, Error> {
        count("ids", layout.num_ids(), ids.len())?;
        count("images", layout.num_images(), features.len())?;
        let mut images = features.iter();
        let mut parts = Vec::new();
        let mut rest = ids;
        for span in layout.spans() {
            let (here, later) =
                rest.split_at(if span.kind == SpanKind::Image { 1 } else { span.len });
            rest = later;
            if span.kind != SpanKind::Image {
                parts.push(self.vocabulary.embed(&Tape::off(), here)?);
            } else if let Some(image) = images.next() {
                let (len, width) = image.dims2()?;
                count("vision tokens of an image", span.len, len)?;
                count("elements of a vision token", self.config.text.hidden_size, width)?;
                parts.push(image.clone());
            }
        }
        if parts.is_empty() {
            return Ok(Tensor::zeros((0, self.config.text.hidden_size), DType::F32, &self.device)?);
        }
        Ok(Tensor::cat(&parts, 0)?)
    }

    /// Returns the hidden states of a batch's new rows after the final norm.
    ///
    /// The rows of all sequences are one after the other. `// [tokens, hidden] -> [tokens, hidden]`
    ///
    /// A sequence gets what it gets alone, to the last bit, if either all sequences of the batch go
    /// on by one row each or none does: the kernels for many rows sum in another order than those
    /// for few.
    ///
    /// # Errors
    /// If the rows are not as many as the plans say, or do not follow what is cached.
    pub fn forward(
        &self,
        embeddings: &Tensor,
        batch: &mut [Sequence<'_>],
        tap: &mut dyn Tap,
    ) -> Result<Tensor, Error> {
        self.decoder.forward(embeddings, batch, tap)
    }

    /// Returns what [`Self::forward`] does of every sequence's last new row, and caches as much: the last
    /// layer is spared for the other rows, of which nothing but keys and values is needed any more.
    /// `// [tokens, hidden] -> [sequences, hidden]`
    ///
    /// # Errors
    /// As [`Self::forward`], or if a sequence has no new row.
    pub fn forward_to_last(
        &self,
        embeddings: &Tensor,
        batch: &mut [Sequence<'_>],
    ) -> Result<Tensor, Error> {
        self.decoder.forward_to_last(embeddings, batch)
    }

    /// Returns the logits of hidden states. `// [rows, hidden] -> [rows, ids]`
    ///
    /// # Errors
    /// If the framework fails.
    pub fn logits(&self, hidden: &Tensor) -> Result<Tensor, Error> {
        Ok(self.vocabulary.logits(hidden)?.to_dtype(DType::F32)?)
    }

    /// Returns the logits of one prompt, without a cache. `// [positions, ids]`
    ///
    /// # Errors
    /// As [`Self::embed`] and [`Self::forward`].
    pub fn logits_of(
        &self,
        embeddings: &Tensor,
        plan: &sequence::AttentionPlan,
    ) -> Result<Tensor, Error> {
        let mut batch = [Sequence { plan, cache: None }];
        self.logits(&self.forward(embeddings, &mut batch, &mut NoTap)?)
    }
}

fn checked(dtype: Option<Dtype>) -> Result<Option<Dtype>, Error> {
    match dtype {
        Some(found) if !matches!(found, Dtype::F32 | Dtype::F16 | Dtype::Bf16) => {
            Err(Error::Dtype { found })
        }
        dtype => Ok(dtype),
    }
}

pub(crate) fn count(what: &'static str, expected: usize, found: usize) -> Result<(), Error> {
    if expected == found { Ok(()) } else { Err(Error::Inputs { what, expected, found }) }
}
