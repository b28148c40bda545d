//! Images as the paper's code saw them: compressed once more.

use jpeg_encoder::{ColorType, Encoder, SamplingFactor};
use prompt::RgbImage;

/// Pillow's default.
const QUALITY: u8 = 75;

/// Returns the image as a JPEG file of Pillow's default quality; none if it is too large for one.
pub(super) fn encode(image: &RgbImage) -> Option<Vec<u8>> {
    let (width, height) = (u16::try_from(image.width()).ok()?, u16::try_from(image.height()).ok()?);
    let mut bytes = Vec::new();
    let mut encoder = Encoder::new(&mut bytes, QUALITY);
    encoder.set_sampling_factor(SamplingFactor::F_2_2);
    encoder.encode(image.pixels(), width, height, ColorType::Rgb).ok()?;
    Some(bytes)
}
