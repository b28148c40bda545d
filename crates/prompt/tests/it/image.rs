//! Image files and resizing, against Pillow 13.

use prompt::{Error, ImageLimits, RgbImage, resize};
use proptest::prelude::*;

use crate::support::{Raw, fixture, golden, safetensors};

fn image_of(raw: &Raw) -> RgbImage {
    RgbImage::new(raw.shape[1], raw.shape[0], raw.bytes.clone()).unwrap()
}

#[test]
fn resized_images_equal_pillows_to_the_last_bit() {
    let fixture = safetensors(fixture("images.safetensors"));
    let mut num_cases = 0;
    for (name, from) in &fixture {
        let Some(case) = name.strip_suffix(".from") else { continue };
        let to = &fixture[&format!("{case}.to")];
        let resized = resize(&image_of(from), to.shape[1], to.shape[0]);
        assert!(resized == image_of(to), "{case}: {:?} to {:?}", from.shape, to.shape);
        num_cases += 1;
    }
    assert!(num_cases >= 30);
}

#[test]
fn decoded_files_equal_pillows() {
    let fixture = safetensors(fixture("images.safetensors"));
    let mut wrong = Vec::new();
    for (name, file) in &fixture {
        let Some(name) = name.strip_suffix(".file") else { continue };
        let expected = &fixture[&format!("{name}.rgb")];
        let found = match RgbImage::decode(&file.bytes) {
            Ok(found) => found,
            Err(error) => {
                wrong.push(format!("{name}: {error:?}"));
                continue;
            }
        };
        if (found.width(), found.height()) != (expected.shape[1], expected.shape[0]) {
            wrong.push(format!("{name}: {found:?} instead of {:?}", expected.shape));
            continue;
        }
        let apart = |(a, b): (&u8, &u8)| a.abs_diff(*b);
        let worst = found.pixels().iter().zip(&expected.bytes).map(apart).max().unwrap();
        // Decoders of lossy formats may round differently, and more so between fewer chroma values.
        let allowed = match name {
            "subsampled.jpg" | "progressive.jpg" => 8,
            "cmyk.tif" => 1,
            name if name.ends_with(".jpg") || name == "lossy.webp" => 3,
            _ => 0,
        };
        if worst > allowed {
            wrong.push(format!("{name}: {worst} levels apart"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn as_it_is_stored_an_image_is_not_turned() {
    let fixture = safetensors(fixture("images.safetensors"));
    let file = |orientation: usize| &fixture[&format!("orientation{orientation}.jpg.file")].bytes;
    // The same pixels with another orientation each.
    let stored = RgbImage::decode(file(1)).unwrap();
    for orientation in 1..=8 {
        assert_eq!(RgbImage::decode_as_stored(file(orientation)).unwrap(), stored, "{orientation}");
    }
    assert_ne!(RgbImage::decode(file(6)).unwrap(), stored);
}

#[test]
fn bad_files_are_refused_with_a_reason() {
    let message = |bytes: &[u8]| {
        let error = RgbImage::decode(bytes).unwrap_err();
        let cause = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
        (error.to_string(), cause)
    };
    assert_eq!(message(b"").0, "the image is empty: it has zero bytes");
    let not_an_image = "not an image: expected JPEG, PNG, WebP, GIF, BMP or TIFF";
    assert_eq!(message(b"hello, I am a text").0, not_an_image);
    assert_eq!(message(b"\0\0\0\0").0, not_an_image);

    for (file, name) in [("coffee.png", "PNG"), ("cat.jpg", "JPEG"), ("cat.webp", "WebP")] {
        let whole = std::fs::read(golden("images").join(file)).unwrap();
        for len in [whole.len() / 2, whole.len() - 100, 40] {
            let (error, cause) = message(&whole[..len]);
            let truncated = format!("the {name} image is truncated");
            assert_eq!(error, truncated, "{file} cut to {len}: {cause}");
        }
    }
    for (name, file) in safetensors(fixture("images.safetensors")) {
        // Half of an animation has a whole first frame.
        if name.ends_with(".file") && name != "animated.gif.file" {
            let half = file.bytes.len() / 2;
            assert!(RgbImage::decode(&file.bytes[..half]).is_err(), "half of {name}");
        }
    }
}

#[test]
fn an_image_of_60000_x_60000_is_refused_by_its_header() {
    let mut png = std::fs::read(golden("images").join("one_pixel.png")).unwrap();
    png[16..20].copy_from_slice(&60_000_u32.to_be_bytes());
    png[20..24].copy_from_slice(&60_000_u32.to_be_bytes());
    // The header's checksum, of the 17 bytes before it.
    let checksum = crc32(&png[12..29]);
    png[29..33].copy_from_slice(&checksum.to_be_bytes());
    let start = std::time::Instant::now();
    let error = RgbImage::decode(&png).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the image is 60000 x 60000, 3600000000 pixels; the limit is 178956970"
    );
    let error = RgbImage::decode(&png[..33]).unwrap_err();
    assert!(matches!(error, Error::TooLarge { .. }), "even without any pixels: {error}");
    // A BMP's header: its size, where the pixels start, and a header of 40 bytes with 24-bit colours.
    let mut bmp = b"BM\0\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0".to_vec();
    bmp.extend(60_000_u32.to_le_bytes().repeat(2));
    bmp.extend(b"\x01\0\x18\0");
    bmp.extend([0; 24]);
    let error = RgbImage::decode(&bmp).unwrap_err();
    assert!(matches!(error, Error::TooLarge { width: 60_000, height: 60_000, .. }), "{error}");
    assert!(start.elapsed().as_secs() < 1, "the header is enough to refuse it");
}

#[test]
fn limits_are_the_callers_to_choose() {
    let bytes = std::fs::read(golden("images").join("coffee.png")).unwrap();
    let image = RgbImage::decode(&bytes).unwrap();
    let num_pixels = (image.width() * image.height()) as u64;
    let limits = |max_pixels| ImageLimits { max_pixels, ..ImageLimits::default() };
    assert_eq!(RgbImage::decode_within(&bytes, limits(num_pixels)).unwrap(), image);
    let error = RgbImage::decode_within(&bytes, limits(num_pixels - 1)).unwrap_err();
    assert!(matches!(error, Error::TooLarge { .. }), "{error}");
    let little = ImageLimits { max_bytes: 1000, ..ImageLimits::default() };
    let error = RgbImage::decode_within(&bytes, little).unwrap_err();
    let num_bytes = 3 * num_pixels;
    let expected = format!("the image takes {num_bytes} bytes of memory; the limit is 1000");
    assert_eq!(error.to_string(), expected);
}

/// Returns the checksum of PNG chunks.
fn crc32(bytes: &[u8]) -> u32 {
    let step = |crc: u32, byte: &u8| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            if crc & 1 == 1 { (crc >> 1) ^ 0xEDB8_8320 } else { crc >> 1 }
        })
    };
    !bytes.iter().fold(u32::MAX, step)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn random_bytes_never_panic(
        start in prop::sample::select(vec![
            &b""[..], b"\xFF\xD8\xFF", b"\x89PNG\r\n\x1A\n", b"GIF89a", b"BM", b"II*\0", b"MM\0*",
            b"RIFF\x20\0\0\0WEBPVP8 ", b"RIFF\x20\0\0\0WEBPVP8L", b"RIFF\x20\0\0\0WEBPVP8X",
        ]),
        rest in prop::collection::vec(any::<u8>(), 0..300),
    ) {
        let limits = ImageLimits { max_pixels: 1 << 20, max_bytes: 1 << 24 };
        let _ = RgbImage::decode_within(&[start, &rest].concat(), limits);
    }

    #[test]
    fn damaged_files_never_panic(
        index in any::<prop::sample::Index>(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        len in any::<prop::sample::Index>(),
        cut in any::<bool>(),
    ) {
        let files = files();
        let mut file = index.get(files).clone();
        for (at, value) in damage {
            let at = at.index(file.len());
            file[at] = value;
        }
        if cut {
            file.truncate(len.index(file.len()));
        }
        let limits = ImageLimits { max_pixels: 1 << 20, max_bytes: 1 << 24 };
        let _ = RgbImage::decode_within(&file, limits);
    }
}

/// Returns the files of the fixture.
fn files() -> &'static [Vec<u8>] {
    static FILES: std::sync::LazyLock<Vec<Vec<u8>>> = std::sync::LazyLock::new(|| {
        let fixture = safetensors(fixture("images.safetensors"));
        let files = fixture.into_iter().filter(|(name, _)| name.ends_with(".file"));
        files.map(|(_, file)| file.bytes).collect()
    });
    &FILES
}
