//! Resizes images of a raw file, to compare with another implementation:
//! `cargo run --release -p prompt --example resize_raw -- INPUT OUTPUT`.
//!
//! Each entry is four little-endian u32 (width, height, new width, new height) and the pixels. The
//! output is the resized pixels, one after the other; the time taken goes to the terminal.
#![allow(clippy::print_stdout, reason = "printing is what this program is for")]

use std::time::Instant;

use prompt::{RgbImage, resize};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let usage = "usage: resize_raw INPUT OUTPUT";
    let (input, output) = (arguments.next().ok_or(usage)?, arguments.next().ok_or(usage)?);
    let file = std::fs::read(input)?;
    let mut rest = file.as_slice();
    let mut resized = Vec::new();
    while let Some((header, pixels)) = rest.split_at_checked(16) {
        let size: Vec<usize> = header
            .chunks_exact(4)
            .map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]) as usize)
            .collect();
        let (pixels, next) = pixels.split_at(3 * size[0] * size[1]);
        let image = RgbImage::new(size[0], size[1], pixels.to_vec()).ok_or("a wrong size")?;
        let start = Instant::now();
        let result = resize(&image, size[2], size[3]);
        if pixels.len() > 1 << 20 {
            println!("{size:?}: {:.2} ms", start.elapsed().as_secs_f64() * 1e3);
        }
        resized.extend_from_slice(result.pixels());
        rest = next;
    }
    std::fs::write(output, resized)?;
    Ok(())
}
