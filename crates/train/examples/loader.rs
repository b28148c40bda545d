//! Measures how many captioned pictures a second the loader makes ready.
//!
//! ```text
//! cargo run --release -p train --example loader -- DIR TOKENIZER_DIR [THREADS] [SAMPLES]
//! ```
//!
//! `DIR` is a folder of shards; one that is not there is filled with generated pictures.
#![allow(clippy::print_stdout, reason = "a program that shows a figure")]
#![allow(clippy::cast_sign_loss, reason = "levels are clamped to be positive")]

use std::error::Error;
use std::fs::File;
use std::path::Path;
use std::time::Instant;

use image::codecs::jpeg::JpegEncoder;
use prompt::{ChatTemplate, Preprocessor, Tokenizer};
use train::data::shards::StoreOptions;
use train::data::{
    Augment, CaptionKind, CaptionMaker, Encoder, EncoderConfig, Loader, LoaderConfig, SampleRng,
    Shards, WebDataset, WebDatasetConfig,
};

const WIDTH: usize = 640;
const HEIGHT: usize = 480;
const NUM_SHARDS: usize = 4;
const SHARD_LEN: usize = 64;
const BATCH: usize = 24;

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<_> = std::env::args().skip(1).collect();
    let [dir, tokenizer, rest @ ..] = args.as_slice() else {
        return Err("usage: loader DIR TOKENIZER_DIR [THREADS] [SAMPLES]".into());
    };
    let number = |at: usize, default| rest.get(at).map_or(Ok(default), |text| text.parse());
    let (num_threads, num_samples) = (number(0, 4)?, number(1, 2000)?);
    if !Path::new(dir).exists() {
        generate(Path::new(dir))?;
    }
    let config = EncoderConfig::captions(144);
    let make = CaptionMaker {
        encoder: Encoder::new(Tokenizer::open(tokenizer)?, ChatTemplate::default(), config)?,
        preprocessor: Preprocessor { image_size: 384, mean: [0.5; 3], std: [0.5; 3] },
        augment: Augment::instructions(),
        kind: CaptionKind::Plain,
    };
    let shards = Shards::find(std::slice::from_ref(dir), StoreOptions::new())?;
    let source = WebDataset::new(shards, WebDatasetConfig::default(), make.into_make())?;
    let config = LoaderConfig { num_threads, ..LoaderConfig::default() };
    let mut loader = Loader::start(Box::new(source), config, None)?;
    // The first batches wait for the threads to start and the buffer to fill.
    let mut num_warm = 0;
    while num_warm < num_samples / 10 {
        num_warm += loader.next_batch(BATCH)?.samples.len();
    }
    let (start, mut num_made) = (Instant::now(), 0);
    while num_made < num_samples {
        num_made += loader.next_batch(BATCH)?.samples.len();
    }
    let rate = num_made as f64 / start.elapsed().as_secs_f64();
    println!("{num_threads} threads: {rate:.0} samples/s");
    Ok(())
}

/// Writes shards of pictures of waves and noise, about as hard to decode as photographs.
fn generate(dir: &Path) -> Result<(), Box<dyn Error>> {
    std::fs::create_dir_all(dir)?;
    for shard in 0..NUM_SHARDS {
        let mut builder = tar::Builder::new(File::create(dir.join(format!("{shard:05}.tar")))?);
        for number in 0..SHARD_LEN {
            let mut rng = SampleRng::new(shard as u64, number as u64);
            let mut jpeg = Vec::new();
            JpegEncoder::new_with_quality(&mut jpeg, 90).encode(
                &picture(&mut rng),
                WIDTH as u32,
                HEIGHT as u32,
                image::ExtendedColorType::Rgb8,
            )?;
            let caption = "The image captures a beautiful autumn day in a park. ".repeat(4);
            let key = format!("{shard:02}{number:04}");
            for (extension, contents) in [("jpg", jpeg.as_slice()), ("txt", caption.as_bytes())] {
                let mut header = tar::Header::new_gnu();
                header.set_size(contents.len() as u64);
                header.set_mode(0o644);
                builder.append_data(&mut header, format!("{key}.{extension}"), contents)?;
            }
        }
        builder.finish()?;
    }
    Ok(())
}

fn picture(rng: &mut SampleRng) -> Vec<u8> {
    let waves: [[f64; 3]; 3] = std::array::from_fn(|_| {
        [rng.between(0.005, 0.05), rng.between(0.005, 0.05), rng.between(0.0, 6.0)]
    });
    let mut pixels = Vec::with_capacity(3 * WIDTH * HEIGHT);
    for y in 0..HEIGHT {
        for x in 0..WIDTH {
            let noise = rng.between(-12.0, 12.0);
            for [across, down, phase] in waves {
                let wave = (x as f64 * across + y as f64 * down + phase).sin();
                pixels.push((128.0 + 90.0 * wave + noise).clamp(0.0, 255.0).round() as u8);
            }
        }
    }
    pixels
}
