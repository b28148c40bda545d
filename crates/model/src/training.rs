//! The loss of a batch and its gradients.
//!
//! ```
//! use checkpoint::Checkpoint;
//! use model::training::{Images, StepOptions, Trained, TrainingSequence};
//! use model::{Aki, AkiConfig, DType, LoadOptions, Tensor};
//! use sequence::{AttentionPolicy, Layout, Role, TokenId};
//!
//! # let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../goldens/base/model");
//! # let config = AkiConfig::from_json(&std::fs::read_to_string(format!("{folder}/config.json"))?)?;
//! # let checkpoint = Checkpoint::open(folder)?;
//! let trained = Trained::of(&|name| !name.starts_with("vision_encoder."));
//! let (aki, parameters) =
//!     Aki::load_trainable(config, &checkpoint, LoadOptions::default(), &trained)?;
//!
//! let layout = Layout::new().image(8).text(Role::User, 2);
//! let plan = AttentionPolicy::Causal.plan(&layout);
//! let ids = [501, 20, 21].map(TokenId);
//! let mut labels = vec![None; 8]; // nothing is predicted where the image is
//! labels.extend([Some(20), Some(21)]);
//! let batch = [TrainingSequence { ids: &ids, layout: &layout, plan: &plan, labels: &labels }];
//! let pixels = Tensor::zeros((1, 3, 56, 56), DType::F32, aki.device())?;
//! let mut names = Vec::new();
//! let mut sink = |name: &str, _gradient: Vec<f32>| {
//!     names.push(name.to_owned());
//!     Ok(())
//! };
//! let loss =
//!     aki.gradients(&batch, Images::Pixels(&pixels), StepOptions::default(), &mut sink)?;
//! assert_eq!((loss.num_labels, names.len()), (2, parameters.len()));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use candle_core::Tensor;
use sequence::{AttentionPlan, Layout, SpanKind, TokenId};

use crate::aki::count;
use crate::tape::{Gradients, Tape};
use crate::{Aki, Error, Lora, NoTap};

/// What of a model is trained.
pub struct Trained<'a> {
    /// Returns whether the tensor of a name is.
    pub is_trained: &'a dyn Fn(&str) -> bool,
    /// Adapters, if there are any.
    pub lora: Option<Lora<'a>>,
}

impl<'a> Trained<'a> {
    /// Returns that some tensors are trained, without adapters.
    pub fn of(is_trained: &'a dyn Fn(&str) -> bool) -> Self {
        Self { is_trained, lora: None }
    }
}

impl std::fmt::Debug for Trained<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Trained").field("lora", &self.lora).finish_non_exhaustive()
    }
}

/// One sequence to learn from.
#[derive(Clone, Copy, Debug)]
pub struct TrainingSequence<'a> {
    /// One id for every position that is not an image's, and one for every image.
    pub ids: &'a [TokenId],
    /// What the positions are.
    pub layout: &'a Layout,
    /// Who reads whom.
    pub plan: &'a AttentionPlan,
    /// For each position the id to be predicted there, by the row before it.
    pub labels: &'a [Option<u32>],
}

/// The images of all sequences, in order.
#[derive(Clone, Copy, Debug)]
pub enum Images<'a> {
    /// Their pixels. `// [images, 3, size, size]`
    Pixels(&'a Tensor),
    /// What the vision encoder makes of them. `// [images, patches, width]`
    Features(&'a Tensor),
}

/// What of an image shows a region of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RegionsOf {
    /// The patches, as the vision encoder makes them.
    Patches,
    /// The vision tokens, as the connector makes them of all patches.
    VisionTokens,
}

/// What is shown where, in images.
#[derive(Clone, Copy, Debug)]
pub struct RegionLabels<'a> {
    /// By what.
    pub of: RegionsOf,
    /// For each image, and each patch or vision token of it, the id of a token that names it.
    pub images: &'a [&'a [Option<u32>]],
}

/// The number type that linear layers multiply in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Precision {
    /// 32 bits.
    #[default]
    F32,
    /// Operands are rounded to bfloat16; sums, and everything else, are f32.
    Bf16,
}

/// How a step computes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StepOptions {
    /// Whether activations inside a block are computed again instead of kept.
    pub recompute: bool,
    /// The number type of linear layers.
    pub precision: Precision,
}

/// The loss of a batch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Loss {
    /// The mean cross-entropy of all labelled positions.
    pub mean: f32,
    /// How many those are.
    pub num_labels: usize,
}

/// Takes the gradient of a parameter, by name.
pub type GradientSink<'a> = dyn FnMut(&str, Vec<f32>) -> Result<(), Error> + 'a;

impl Aki {
    /// Returns the loss of a batch, and hands the gradient of every parameter that has one to
    /// `sink`: once, and as soon as it is final, while the rest is still being computed.
    ///
    /// # Errors
    /// If ids, layout, plan, labels and images do not belong together, no position has a label, or
    /// the sink fails.
    pub fn gradients(
        &self,
        batch: &[TrainingSequence<'_>],
        images: Images<'_>,
        options: StepOptions,
        sink: &mut GradientSink<'_>,
    ) -> Result<Loss, Error> {
        let tape = Tape::on(options);
        let predictions = self.predictions(&tape, batch, images)?;
        self.descend(tape, predictions, sink)
    }

    /// Returns the loss of naming what patches or vision tokens show, and its gradients as
    /// [`Self::gradients`] does.
    ///
    /// Each is read as if the decoder had no layers: it goes through the connector's projection and
    /// the final norm to the head, which should give its label. Patches are read as if they were
    /// vision tokens, past the rest of the connector. This teaches a vision encoder, and then a
    /// connector, that know nothing yet, long before captions do.
    /// `// pixels [images, 3, size, size], labels [images][patches or vision tokens]`
    ///
    /// # Errors
    /// If labels and images do not belong together, nothing has a label, or the sink fails.
    pub fn region_gradients(
        &self,
        labels: RegionLabels<'_>,
        images: Images<'_>,
        options: StepOptions,
        sink: &mut GradientSink<'_>,
    ) -> Result<Loss, Error> {
        let tape = Tape::on(options);
        let predictions = self.region_predictions(&tape, labels, images)?;
        self.descend(tape, predictions, sink)
    }

    /// Returns the same loss as [`Self::region_gradients`] without gradients.
    ///
    /// # Errors
    /// As [`Self::region_gradients`].
    pub fn region_loss(
        &self,
        labels: RegionLabels<'_>,
        images: Images<'_>,
        options: StepOptions,
    ) -> Result<Loss, Error> {
        let tape = Tape::forward_only(options);
        let (hidden, targets) = self.region_predictions(&tape, labels, images)?;
        let (sum, _) = self.vocabulary.loss(&tape, &hidden, &targets, None)?;
        Ok(mean(sum, targets.len()))
    }

    /// Returns the loss of predictions and hands out the gradients.
    fn descend(
        &self,
        tape: Tape,
        (hidden, targets): (Tensor, Vec<u32>),
        sink: &mut GradientSink<'_>,
    ) -> Result<Loss, Error> {
        let mut forward = |name: &str, gradient| sink(name, gradient);
        let mut gradients = Gradients::new(&mut forward);
        let head = self.vocabulary.head_parameters();
        gradients.expect(tape.parameters());
        gradients.expect(head.iter().cloned());
        let scale = 1.0 / targets.len() as f32;
        let (sum, dhidden) =
            self.vocabulary.loss(&tape, &hidden, &targets, Some((&mut gradients, scale)))?;
        gradients.done(&head)?;
        if let Some(dhidden) = dhidden {
            tape.unwind(&mut gradients, (&hidden, dhidden), &[])?;
        }
        gradients.finish()?;
        Ok(mean(sum, targets.len()))
    }

    /// Returns the same loss without gradients.
    ///
    /// # Errors
    /// As [`Self::gradients`].
    pub fn loss(
        &self,
        batch: &[TrainingSequence<'_>],
        images: Images<'_>,
        options: StepOptions,
    ) -> Result<Loss, Error> {
        let tape = Tape::forward_only(options);
        let (hidden, targets) = self.predictions(&tape, batch, images)?;
        let (sum, _) = self.vocabulary.loss(&tape, &hidden, &targets, None)?;
        Ok(mean(sum, targets.len()))
    }

    /// Returns the hidden states of the rows that predict a labelled position, and the labels.
    fn predictions(
        &self,
        tape: &Tape,
        batch: &[TrainingSequence<'_>],
        images: Images<'_>,
    ) -> Result<(Tensor, Vec<u32>), Error> {
        let (rows, targets) = labelled(batch)?;
        let embeddings = self.assemble(tape, batch, images)?;
        let plans: Vec<_> = batch.iter().map(|sequence| sequence.plan).collect();
        let hidden = self.decoder.forward_whole(tape, &embeddings, &plans)?;
        Ok((tape.select_rows(&hidden, rows)?, targets))
    }

    /// Returns the hidden states of the patches or vision tokens that have a label, and the labels.
    fn region_predictions(
        &self,
        tape: &Tape,
        labels: RegionLabels<'_>,
        images: Images<'_>,
    ) -> Result<(Tensor, Vec<u32>), Error> {
        let features = self.features(tape, images, labels.images.len())?;
        let (projected, what) = match labels.of {
            RegionsOf::Patches => {
                (self.connector.project(tape, &features)?, "labels of an image's patches")
            }
            RegionsOf::VisionTokens => (
                self.connector.forward(tape, &features, &mut NoTap)?,
                "labels of an image's vision tokens",
            ),
        };
        let (images, num, hidden) = projected.dims3()?;
        let (mut rows, mut targets) = (Vec::new(), Vec::new());
        for (image, labels) in labels.images.iter().enumerate() {
            count(what, num, labels.len())?;
            for (at, label) in labels.iter().enumerate() {
                if let Some(label) = label {
                    rows.push((image * num + at) as u32);
                    targets.push(*label);
                }
            }
        }
        if rows.is_empty() {
            return Err(Error::NoLabels);
        }
        let projected = tape.reshape(&projected, &[images * num, hidden])?;
        let hidden = self.decoder.norm(tape, &tape.select_rows(&projected, rows)?)?;
        Ok((hidden, targets))
    }

    /// Returns the decoder's input of a whole batch. `// [positions, hidden]`
    fn assemble(
        &self,
        tape: &Tape,
        batch: &[TrainingSequence<'_>],
        images: Images<'_>,
    ) -> Result<Tensor, Error> {
        let num_images = batch.iter().map(|sequence| sequence.layout.num_images()).sum();
        let tokens = self.vision_tokens(tape, images, num_images)?;
        let num_tokens = self.config().num_vision_tokens;
        let num_text: usize =
            batch.iter().map(|it| it.layout.num_ids() - it.layout.num_images()).sum();
        // The rows of all texts, then those of all images; each position says which it is.
        let (mut text, mut image) = (0, num_text);
        let (mut ids, mut rows) = (Vec::with_capacity(num_text), Vec::new());
        for sequence in batch {
            count("ids", sequence.layout.num_ids(), sequence.ids.len())?;
            for slot in sequence.layout.slots() {
                let len = slot.positions.len();
                let next = if slot.kind == SpanKind::Image {
                    count("vision tokens of an image", len, num_tokens)?;
                    &mut image
                } else {
                    ids.extend_from_slice(&sequence.ids[slot.ids]);
                    &mut text
                };
                rows.extend((*next..*next + len).map(|row| row as u32));
                *next += len;
            }
        }
        let texts = self.vocabulary.embed(tape, &ids)?;
        match tokens {
            Some(tokens) => tape.select_rows(&tape.cat(&[&texts, &tokens], 0)?, rows),
            None => Ok(texts),
        }
    }

    /// Returns the vision tokens of all images. `// [images * tokens, hidden]`
    fn vision_tokens(
        &self,
        tape: &Tape,
        images: Images<'_>,
        num_images: usize,
    ) -> Result<Option<Tensor>, Error> {
        if num_images == 0 {
            let (Images::Pixels(given) | Images::Features(given)) = images;
            count("images", 0, given.dim(0)?)?;
            return Ok(None);
        }
        let features = self.features(tape, images, num_images)?;
        let tokens = self.connector.forward(tape, &features, &mut NoTap)?;
        let (images, len, hidden) = tokens.dims3()?;
        Ok(Some(tape.reshape(&tokens, &[images * len, hidden])?))
    }

    /// Returns what the vision encoder makes of all images. `// [images, patches, width]`
    fn features(
        &self,
        tape: &Tape,
        images: Images<'_>,
        num_images: usize,
    ) -> Result<Tensor, Error> {
        let (Images::Pixels(given) | Images::Features(given)) = images;
        count("images", num_images, given.dim(0)?)?;
        let given = given.to_device(self.device())?;
        if let Images::Pixels(_) = images {
            self.check_pixels(&given)?;
            return self.vision.forward(tape, &given, &mut NoTap);
        }
        let (_, patches, width) = given.dims3()?;
        count("patches of an image", self.config().vision.num_patches(), patches)?;
        count("elements of a feature", self.config().vision.hidden_size, width)?;
        Ok(given)
    }
}

/// Returns the rows that predict a labelled position, and the labels.
fn labelled(batch: &[TrainingSequence<'_>]) -> Result<(Vec<u32>, Vec<u32>), Error> {
    let (mut rows, mut targets) = (Vec::new(), Vec::new());
    let mut start = 0;
    for TrainingSequence { layout, plan, labels, .. } in batch {
        count("labels", layout.len(), labels.len())?;
        count("rows of the plan", layout.len(), plan.num_rows())?;
        for (row, label) in labels.iter().skip(1).enumerate() {
            if let Some(label) = label {
                rows.push((start + row) as u32);
                targets.push(*label);
            }
        }
        start += labels.len();
    }
    if rows.is_empty() { Err(Error::NoLabels) } else { Ok((rows, targets)) }
}

fn mean(sum: f64, num_labels: usize) -> Loss {
    Loss { mean: (sum / num_labels as f64) as f32, num_labels }
}
