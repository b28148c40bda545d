//! From an image to the values that the vision encoder reads.

use super::{RgbImage, resize};
use crate::Error;

/// Resizes to a square, without keeping the aspect ratio, and normalises.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Preprocessor {
    /// The height and width that the vision encoder wants.
    pub image_size: usize,
    /// What is subtracted from each channel, after scaling to `0..=1`.
    pub mean: [f32; 3],
    /// What each channel is then divided by.
    pub std: [f32; 3],
}

impl Preprocessor {
    /// Decodes an image file within the default [`ImageLimits`](super::ImageLimits).
    ///
    /// # Errors
    /// As [`RgbImage::decode`].
    pub fn decode(bytes: &[u8]) -> Result<RgbImage, Error> {
        RgbImage::decode(bytes)
    }

    /// Returns the pixel values of an image. `// [3, image_size, image_size]`
    pub fn preprocess(&self, image: &RgbImage) -> Vec<f32> {
        let resized = resize(image, self.image_size, self.image_size);
        let mut values = Vec::with_capacity(resized.pixels().len());
        for channel in 0..3 {
            let table = self.table(channel);
            let channel = resized.pixels().iter().skip(channel).step_by(3);
            values.extend(channel.map(|level| table[usize::from(*level)]));
        }
        values
    }

    /// Returns the value of every level: the same three roundings as torchvision's `ToTensor` and
    /// `Normalize`, so that the results are equal.
    fn table(&self, channel: usize) -> [f32; 256] {
        std::array::from_fn(|level| (level as f32 / 255.0 - self.mean[channel]) / self.std[channel])
    }
}
