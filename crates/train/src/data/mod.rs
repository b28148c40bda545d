//! From files to samples: streams, decoding on a pool of threads, batches in a fixed order.
//!
//! A [`Source`] names what comes next, cheaply and in order; what it yields is a [`Task`] that any
//! thread can turn into a [`Sample`]. Text becomes ids and labels by an [`Encoder`], pictures become
//! pixel values by an [`Augmentation`]. [`open_source`] does all of it from a recipe.
//!
//! Invariant: what comes out depends on the files, the settings and the seed alone, never on the
//! number of threads; and from a saved position it comes out again.

pub mod augment;
pub mod captions;
pub mod encode;
mod error;
pub mod instruct;
mod loader;
mod mixture;
mod open;
mod regions;
mod rng;
pub mod shards;
mod shuffle;
pub mod webdataset;

use sequence::{Layout, TokenId};

pub use self::augment::{Augment, Augmentation, BoxHandling, Crop};
pub use self::captions::CaptionKind;
pub use self::encode::{EncodedText, Encoder, EncoderConfig, SegmentOrder};
pub use self::error::Error;
pub use self::loader::{Batch, Loader, LoaderConfig, Share, furthest};
pub use self::mixture::{Mixed, Mixture};
pub use self::open::{SourceContext, check_data, open_source};
pub use self::regions::RegionMaker;
pub use self::rng::SampleRng;
pub use self::shards::Shards;
pub use self::shuffle::ShuffleConfig;
pub use self::webdataset::{CaptionMaker, Part, RawSample, WebDataset, WebDatasetConfig};

/// What the labels of a sample say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Target {
    /// The next token of the text.
    #[default]
    Text,
    /// What a patch of the picture shows: the first position has no label, and those behind it
    /// are the patches, row by row.
    Regions,
    /// What a vision token shows, as with patches: they share the picture as a grid does.
    TokenRegions,
}

/// One sequence to learn from.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// What it is called in logs: its dataset and its key there.
    pub key: String,
    /// One id for every position that is not an image's, and one for every image.
    pub ids: Vec<TokenId>,
    /// What the positions are.
    pub layout: Layout,
    /// For each position of the layout the id to be predicted there, if it is to be learned.
    pub labels: Vec<Option<u32>>,
    /// The pixel values of each image. `// [3, size, size]`
    pub pixels: Vec<Vec<f32>>,
    /// What the labels say.
    pub target: Target,
}

impl Sample {
    /// Puts a sample together.
    ///
    /// Pixels of images that were cut off with the text are left out.
    pub fn new(key: impl Into<String>, text: EncodedText, mut pixels: Vec<Vec<f32>>) -> Self {
        let EncodedText { ids, layout, labels } = text;
        pixels.truncate(layout.num_images());
        Self { key: key.into(), ids, layout, labels, pixels, target: Target::Text }
    }

    /// Returns how many positions have a label that a row before them predicts.
    pub fn num_labels(&self) -> usize {
        self.labels.iter().skip(1).flatten().count()
    }
}

/// A sample that cannot be used; the run goes on with another one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{key}`: {why}")]
pub struct BadSample {
    /// What it is called: its dataset and its key there.
    pub key: String,
    /// Why it cannot be used.
    pub why: String,
}

impl BadSample {
    /// Returns the bad sample `key`.
    pub fn new(key: impl Into<String>, why: impl Into<String>) -> Self {
        Self { key: key.into(), why: why.into() }
    }

    /// Returns the bad sample `key` with an error and its causes as the reason.
    pub fn from_error(key: impl Into<String>, error: &dyn std::error::Error) -> Self {
        let mut why = error.to_string();
        let mut cause = error.source();
        while let Some(error) = cause {
            why = format!("{why}: {error}");
            cause = error.source();
        }
        Self::new(key, why)
    }
}

/// Everything that it takes to make one sample, on any thread.
///
/// The choices it makes come from the given source of them alone.
pub type Task = Box<dyn FnOnce(&mut SampleRng) -> Result<Sample, BadSample> + Send>;

/// An endless stream of tasks in an order that is fixed by its settings and seed.
pub trait Source: Send {
    /// Returns the next task. It should be cheap: files may be read, nothing is decoded.
    ///
    /// # Errors
    /// If the stream cannot go on. One sample that cannot be used is a task that says so.
    fn next(&mut self) -> Result<Task, Error>;

    /// Returns where the stream is: what [`Self::seek`] needs for the same tasks to follow again.
    fn position(&self) -> serde_json::Value;

    /// Goes to a position.
    ///
    /// # Errors
    /// If it is not a position of this stream.
    fn seek(&mut self, position: &serde_json::Value) -> Result<(), Error>;
}
