//! Where a model looks: the attention between words and the patches of images.

use std::ops::Range;

use candle_core::Tensor;
use model::{Aki, Attended, Sequence, Tap};
use sequence::AttentionPlan;

use crate::{Error, Job};

/// A word: a token of text, and where it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Word {
    /// The position of the token.
    pub position: usize,
    /// The row that looks on its behalf: of a question's word its own, of a reply's word that
    /// before it, which chose it.
    pub reader: usize,
}

/// Where the words of a sequence look.
#[derive(Clone, Debug, PartialEq)]
pub struct Lens {
    /// How many layers the decoder has.
    pub num_layers: usize,
    /// Each image, in order.
    pub images: Vec<ImageLens>,
}

/// What lies between words and one image. All of it are means over heads.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ImageLens {
    /// How many vision tokens the image has.
    pub num_tokens: usize,
    /// How many patches it has.
    pub num_patches: usize,
    /// How much each word looks at each vision token. `// [layers, words, tokens]`
    pub reads: Vec<f32>,
    /// How much each vision token looks at each word. `// [layers, words, tokens]`
    pub is_read: Vec<f32>,
    /// How much of each vision token comes from each patch, the mean over the connector's layers.
    /// `// [tokens, patches]`
    pub patches: Vec<f32>,
}

/// Computes where `words` of a job's sequence look.
pub(crate) fn look(aki: &Aki, job: &Job, words: &[Word]) -> Result<Lens, Error> {
    let size = aki.config().vision.image_size;
    let num_patches = aki.config().vision.num_patches();
    let (mut features, mut images) = (Vec::new(), Vec::new());
    for image in &job.images {
        let pixels = Tensor::from_slice(&image.pixels, (1, 3, size, size), aki.device())?;
        let mut seen = Seen { num_patches, sum: Vec::new(), num_layers: 0 };
        let tokens = aki.see(&pixels, &mut seen)?.squeeze(0)?;
        let num_tokens = tokens.dim(0)?;
        let patches = seen.mean(num_tokens);
        images.push(ImageLens { num_tokens, num_patches, patches, ..ImageLens::default() });
        features.push(tokens);
    }
    let prompt = crate::Prompt {
        ids: job.ids.clone(),
        layout: job.layout.clone(),
        features,
        policy: job.policy,
    };
    prompt.validate(aki.max_positions())?;
    let plan: AttentionPlan = prompt.policy.plan(&prompt.layout);
    let embeddings = aki.embed(&prompt.ids, &prompt.layout, &prompt.features)?;
    let places = prompt.layout.images().collect();
    let mut watch = Watch { words, places, images, num_layers: 0 };
    aki.forward(&embeddings, &mut [Sequence { plan: &plan, cache: None }], &mut watch)?;
    Ok(Lens { num_layers: watch.num_layers, images: watch.images })
}

/// Adds up what the connector's layers take from the patches.
struct Seen {
    num_patches: usize,
    sum: Vec<f32>, // [tokens, patches]
    num_layers: usize,
}

impl Tap for Seen {
    fn tensor(&mut self, _name: &str, _value: &Tensor) {}

    fn attention(&mut self, _name: &str, call: &Attended<'_>) -> Result<(), model::Error> {
        self.sum.resize(call.num_rows() * self.num_patches, 0.0);
        let rows: Vec<usize> = (0..call.num_rows()).collect();
        let weights = call.weights(&rows)?;
        let of_tokens = weights.chunks_exact(call.num_columns());
        for (sum, weights) in self.sum.chunks_exact_mut(self.num_patches).zip(of_tokens) {
            // The patches come first, then the vision tokens themselves.
            sum.iter_mut().zip(weights).for_each(|(sum, weight)| *sum += weight);
        }
        self.num_layers += 1;
        Ok(())
    }
}

impl Seen {
    /// Returns the mean over the layers; a connector without attention takes each token from its
    /// own patch.
    fn mean(mut self, num_tokens: usize) -> Vec<f32> {
        if self.num_layers == 0 {
            let width = self.num_patches;
            let own = |at: usize| at % width * num_tokens / width == at / width;
            return (0..num_tokens * width).map(|at| f32::from(u8::from(own(at)))).collect();
        }
        self.sum.iter_mut().for_each(|sum| *sum /= self.num_layers as f32);
        self.sum
    }
}

/// Writes down what the decoder's layers look at.
struct Watch<'a> {
    words: &'a [Word],
    places: Vec<Range<usize>>,
    images: Vec<ImageLens>,
    num_layers: usize,
}

impl Tap for Watch<'_> {
    fn tensor(&mut self, _name: &str, _value: &Tensor) {}

    fn attention(&mut self, _name: &str, call: &Attended<'_>) -> Result<(), model::Error> {
        self.num_layers += 1;
        let readers: Vec<usize> = self.words.iter().map(|word| word.reader).collect();
        let weights = call.weights(&readers)?;
        for (image, place) in self.images.iter_mut().zip(&self.places) {
            for row in weights.chunks_exact(call.num_columns()) {
                image.reads.extend(&row[place.clone()]);
            }
        }
        for (image, place) in self.images.iter_mut().zip(&self.places) {
            let rows: Vec<usize> = place.clone().collect();
            let weights = call.weights(&rows)?;
            for word in self.words {
                let rows = weights.chunks_exact(call.num_columns());
                image.is_read.extend(rows.map(|row| row[word.position]));
            }
        }
        Ok(())
    }
}
