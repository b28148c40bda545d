//! Image files to 8-bit colours, with the choices that Pillow's `convert("RGB")` makes.

use std::io::Cursor;

use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageError, ImageFormat, ImageReader};

use super::RgbImage;
use super::gif::FirstFrame;
use crate::Error;

/// What every PNG starts with.
const PNG_SIGNATURE: &[u8] = b"\x89PNG\r\n\x1A\n";

/// How large an image may be, so that a small file cannot exhaust the memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImageLimits {
    /// Pixels of the image, as its header states them.
    pub max_pixels: u64,
    /// Bytes that decoding may allocate.
    pub max_bytes: u64,
}

impl Default for ImageLimits {
    /// Returns twice the 89,478,485 pixels at which Pillow warns, where it refuses, and 2 GiB.
    fn default() -> Self {
        Self { max_pixels: 2 * 89_478_485, max_bytes: 2 << 30 }
    }
}

impl ImageLimits {
    fn check_size(&self, (width, height): (u32, u32)) -> Result<(), Error> {
        if u64::from(width) * u64::from(height) > self.max_pixels {
            return Err(Error::TooLarge { width, height, limit: self.max_pixels });
        }
        Ok(())
    }
}

impl RgbImage {
    /// Decodes an image file within the default limits.
    ///
    /// The format is told by the content. An orientation in the file's metadata is applied. Alpha
    /// is dropped, not blended; of 16-bit colours the upper byte is kept; 16-bit gray without
    /// alpha saturates at 255, because that is what Pillow does.
    ///
    /// # Errors
    /// If the file is empty, not an image, too large, truncated or damaged.
    pub fn decode(bytes: &[u8]) -> Result<Self, Error> {
        Self::decode_within(bytes, ImageLimits::default())
    }

    /// Decodes an image file as [`Self::decode`], within other limits.
    ///
    /// # Errors
    /// As [`Self::decode`].
    pub fn decode_within(bytes: &[u8], limits: ImageLimits) -> Result<Self, Error> {
        Self::decode_turned(bytes, limits, true)
    }

    /// Decodes an image file as [`Self::decode`], but leaves it turned as it is stored, whatever its
    /// metadata says: that is what Pillow's `open` does, and so what evaluation scripts see.
    ///
    /// # Errors
    /// As [`Self::decode`].
    pub fn decode_as_stored(bytes: &[u8]) -> Result<Self, Error> {
        Self::decode_turned(bytes, ImageLimits::default(), false)
    }

    fn decode_turned(bytes: &[u8], limits: ImageLimits, upright: bool) -> Result<Self, Error> {
        let (format, name) = format_of(bytes)?;
        let broken = |source: ImageError| {
            if ends_early(&source) || is_cut(bytes, format) {
                Error::TruncatedImage { format: name }
            } else {
                Error::BrokenImage { format: name, source }
            }
        };
        let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
        let mut allocation = image::Limits::no_limits();
        allocation.max_alloc = Some(limits.max_bytes);
        reader.limits(allocation);
        if let Some(size) = png_size(bytes) {
            limits.check_size(size)?;
        }
        let mut decoder = reader.into_decoder().map_err(broken)?;
        limits.check_size(decoder.dimensions())?;
        let num_bytes = decoder.total_bytes();
        if num_bytes > limits.max_bytes {
            return Err(Error::TooManyBytes { num_bytes, limit: limits.max_bytes });
        }
        if is_cut(bytes, format) {
            return Err(Error::TruncatedImage { format: name });
        }
        let orientation = orientation_of(&mut decoder, format);
        let decoded = DynamicImage::from_decoder(decoder).map_err(broken)?;
        let mut colors = to_rgb(decoded, is_gray_png(bytes));
        if format == ImageFormat::Gif
            && let Some(frame) = FirstFrame::find(bytes)
        {
            let width = colors.width() as usize;
            frame.fill_around(width, &mut colors);
        }
        let mut turned = DynamicImage::ImageRgb8(colors);
        if upright {
            turned.apply_orientation(orientation);
        }
        let turned = turned.into_rgb8();
        let (width, height) = (turned.width() as usize, turned.height() as usize);
        Ok(Self { width, height, pixels: turned.into_raw() })
    }
}

/// Returns the format of a file by its first bytes.
fn format_of(bytes: &[u8]) -> Result<(ImageFormat, &'static str), Error> {
    if bytes.is_empty() {
        return Err(Error::EmptyImage);
    }
    let format = image::guess_format(bytes).map_err(|_| Error::NotAnImage)?;
    let name = match format {
        ImageFormat::Jpeg => "JPEG",
        ImageFormat::Png => "PNG",
        ImageFormat::WebP => "WebP",
        ImageFormat::Gif => "GIF",
        ImageFormat::Bmp => "BMP",
        ImageFormat::Tiff => "TIFF",
        _ => return Err(Error::NotAnImage),
    };
    Ok((format, name))
}

/// Returns the width and height in a PNG's first chunk, which is known before anything else is
/// read.
fn png_size(bytes: &[u8]) -> Option<(u32, u32)> {
    if !bytes.starts_with(PNG_SIGNATURE) || bytes.get(12..16)? != b"IHDR" {
        return None;
    }
    let number = |at: usize| Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
    Some((number(16)?, number(20)?))
}

/// Returns whether an error means that the file ended too early.
fn ends_early(error: &ImageError) -> bool {
    if let ImageError::IoError(error) = error {
        return error.kind() == std::io::ErrorKind::UnexpectedEof;
    }
    let mut cause: Option<&dyn std::error::Error> = Some(error);
    while let Some(error) = cause {
        let io = error.downcast_ref::<std::io::Error>();
        if io.is_some_and(|error| error.kind() == std::io::ErrorKind::UnexpectedEof) {
            return true;
        }
        cause = error.source();
    }
    false
}

/// Returns whether a file ends before its format says that it does.
fn is_cut(bytes: &[u8], format: ImageFormat) -> bool {
    match format {
        ImageFormat::Jpeg => !has_end_of_jpeg(bytes),
        ImageFormat::WebP => {
            let size = bytes.get(4..8).and_then(|size| size.try_into().ok());
            size.is_none_or(|size| (bytes.len() as u64) < 8 + u64::from(u32::from_le_bytes(size)))
        }
        _ => false,
    }
}

/// Returns whether a JPEG's last scan is followed by the marker that ends an image; the decoder
/// fills missing rows with gray, where Pillow refuses.
fn has_end_of_jpeg(bytes: &[u8]) -> bool {
    let mut at = 2;
    loop {
        // A marker is 0xFF, any number of fill bytes 0xFF, and its code; other bytes are a scan's.
        let Some(found) = bytes.get(at..).and_then(|rest| rest.iter().position(|b| *b == 0xFF))
        else {
            return false;
        };
        at += found + 1;
        match bytes.get(at) {
            None => return false,
            Some(0xD9) => return true,
            // Fill, a byte 0xFF of a scan, and the marks inside a scan.
            Some(0xFF) => {}
            Some(0x00 | 0x01 | 0xD0..=0xD8) => at += 1,
            Some(_) => {
                let len = bytes.get(at + 1..at + 3).map(|len| [len[0], len[1]]);
                at += 1 + usize::from(len.map_or(0, u16::from_be_bytes));
            }
        }
    }
}

/// Returns how the image must be turned, from its Exif data or else its XMP data.
fn orientation_of(decoder: &mut impl ImageDecoder, format: ImageFormat) -> Orientation {
    if format == ImageFormat::Tiff {
        return decoder.orientation().unwrap_or(Orientation::NoTransforms);
    }
    let exif = decoder.exif_metadata().ok().flatten();
    let exif = exif.as_deref().map(|exif| exif.strip_prefix(b"Exif\0\0").unwrap_or(exif));
    exif.and_then(Orientation::from_exif_chunk)
        .or_else(|| orientation_in_xmp(&decoder.xmp_metadata().ok().flatten()?))
        .unwrap_or(Orientation::NoTransforms)
}

/// Returns the orientation that XMP data states, as an attribute or as an element.
fn orientation_in_xmp(xmp: &[u8]) -> Option<Orientation> {
    const NAME: &[u8] = b"tiff:Orientation";
    let at = xmp.windows(NAME.len()).position(|window| window == NAME)?;
    let value = &xmp[at + NAME.len()..];
    let digit = value.strip_prefix(b"=\"").or_else(|| value.strip_prefix(b">"))?.first()?;
    Orientation::from_exif(digit.wrapping_sub(b'0'))
}

/// Returns whether the file is a PNG of gray without alpha. A transparent level in it becomes alpha
/// in the decoder, but not in Pillow.
fn is_gray_png(bytes: &[u8]) -> bool {
    const COLOR_TYPE: usize = 25;
    bytes.starts_with(PNG_SIGNATURE) && bytes.get(COLOR_TYPE) == Some(&0)
}

/// Returns 8-bit colours.
fn to_rgb(image: DynamicImage, is_gray_png: bool) -> image::RgbImage {
    let (width, height) = (image.width(), image.height());
    let saturated = |level: u16| level.min(255) as u8;
    let pixels: Vec<u8> = match image {
        DynamicImage::ImageRgb8(image) => return image,
        DynamicImage::ImageRgba8(image) => {
            image.as_raw().chunks_exact(4).flat_map(|p| [p[0], p[1], p[2]]).collect()
        }
        DynamicImage::ImageLuma8(image) => image.as_raw().iter().flat_map(|l| [*l; 3]).collect(),
        DynamicImage::ImageLumaA8(image) => {
            image.as_raw().chunks_exact(2).flat_map(|p| [p[0]; 3]).collect()
        }
        DynamicImage::ImageLuma16(image) => {
            image.as_raw().iter().flat_map(|level| [saturated(*level); 3]).collect()
        }
        DynamicImage::ImageLumaA16(image) => {
            let level = |v: u16| if is_gray_png { saturated(v) } else { (v >> 8) as u8 };
            image.as_raw().chunks_exact(2).flat_map(|p| [level(p[0]); 3]).collect()
        }
        DynamicImage::ImageRgb16(image) => image.as_raw().iter().map(|v| (v >> 8) as u8).collect(),
        DynamicImage::ImageRgba16(image) => image
            .as_raw()
            .chunks_exact(4)
            .flat_map(|p| [p[0], p[1], p[2]].map(|v| (v >> 8) as u8))
            .collect(),
        other => return other.to_rgb8(),
    };
    image::RgbImage::from_raw(width, height, pixels)
        .expect("every pixel of the image gave three levels")
}
