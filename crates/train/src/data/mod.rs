//! From files to samples: streams, decoding on a pool of threads, batches in a fixed order.

use sequence::{Layout, TokenId};

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
}
