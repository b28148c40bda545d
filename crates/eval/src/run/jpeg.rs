//! Images as the paper's code saw them: compressed once more.

use jpeg_encoder::{ColorType, Encoder, SamplingFactor};
use prompt::{RgbImage, resize};

use crate::endpoint::data_url;

/// Pillow's default.
const QUALITY: u8 = 75;

/// Returns a small copy of an image file as an address that holds it; none if it is no image.
pub fn thumbnail(file: &[u8], size: usize) -> Option<String> {
    let image = RgbImage::decode(file).ok()?;
    let (width, height) = (image.width(), image.height());
    let longest = width.max(height);
    let small = if longest > size {
        let scaled = |side: usize| (side * size / longest).max(1);
        resize(&image, scaled(width), scaled(height))
    } else {
        image
    };
    Some(data_url(&encode(&small)?))
}

/// Returns the image as a JPEG file of Pillow's default quality; none if it is too large for one.
pub(super) fn encode(image: &RgbImage) -> Option<Vec<u8>> {
    let (width, height) = (u16::try_from(image.width()).ok()?, u16::try_from(image.height()).ok()?);
    let mut bytes = Vec::new();
    let mut encoder = Encoder::new(&mut bytes, QUALITY);
    encoder.set_sampling_factor(SamplingFactor::F_2_2);
    encoder.encode(image.pixels(), width, height, ColorType::Rgb).ok()?;
    Some(bytes)
}
