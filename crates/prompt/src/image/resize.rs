//! Bicubic resizing on 8-bit pixels that equals Pillow's to the last bit.
//!
//! Two passes, first along the rows and then along the columns, each with 22-bit fixed-point
//! weights and a result rounded to 8 bits. All sums are of integers, so any order of adding gives
//! the same result and the loops can be as wide as the processor.

use pulp::Arch;
use rayon::prelude::*;

use super::RgbImage;

/// Fractional bits of the weights: 8 bits of the pixel and 2 of head room are left of 32.
const PRECISION: u32 = 32 - 8 - 2;
/// One half, which makes the final shift round.
const HALF: i32 = 1 << (PRECISION - 1);
/// How far the bicubic kernel reaches on either side.
const SUPPORT: f64 = 2.0;
/// The kernel's free parameter.
const A: f64 = -0.5;
/// Values summed side by side along a row: whole pixels and whole vector registers.
const LANES: usize = 24;
/// Rows that one task resizes.
const ROWS_PER_TASK: usize = 16;

/// Resizes with Pillow's `BICUBIC`, antialiased when shrinking.
pub fn resize(image: &RgbImage, width: usize, height: usize) -> RgbImage {
    if image.pixels.is_empty() || width == 0 || height == 0 {
        return RgbImage { width, height, pixels: vec![0; 3 * width * height] };
    }
    let columns = (width != image.width).then(|| Weights::new(image.width, width));
    let rows = (height != image.height).then(|| Weights::new(image.height, height));
    // Only the rows that the second pass reads are made by the first.
    let (first, last) = rows.as_ref().map_or((0, image.height), Weights::range);
    let source = &image.pixels[3 * image.width * first..3 * image.width * last];
    let across = match &columns {
        Some(weights) => resize_rows(source, image.width, weights),
        None => source.to_vec(),
    };
    let pixels = match &rows {
        Some(weights) => resize_columns(&across, 3 * width, first, weights),
        None => across,
    };
    RgbImage { width, height, pixels }
}

/// The weights of every output pixel along one axis.
struct Weights {
    /// The first input pixel of each output pixel.
    starts: Vec<usize>,
    /// How many input pixels each output pixel reads.
    lens: Vec<usize>,
    /// The weights, `stride` for each output pixel, zero after its `len`.
    values: Vec<i32>,
    stride: usize,
}

impl Weights {
    fn new(input: usize, output: usize) -> Self {
        let scale = input as f64 / output as f64;
        let stretch = scale.max(1.0);
        let support = SUPPORT * stretch;
        let stride = support.ceil() as usize * 2 + 1;
        let mut weights = Self {
            starts: Vec::with_capacity(output),
            lens: Vec::with_capacity(output),
            values: vec![0; stride * output],
            stride,
        };
        let mut exact = Vec::with_capacity(stride);
        for (index, values) in weights.values.chunks_exact_mut(stride).enumerate() {
            let centre = (index as f64 + 0.5) * scale;
            // Truncation towards zero, then clamping: what a C cast of a negative value gives.
            let start = (centre - support + 0.5).max(0.0) as usize;
            let end = ((centre + support + 0.5) as usize).min(input);
            exact.clear();
            exact.extend(
                (start..end).map(|at| bicubic((at as f64 - centre + 0.5) * (1.0 / stretch))),
            );
            let sum: f64 = exact.iter().sum();
            for (value, exact) in values.iter_mut().zip(&exact) {
                let exact = if sum == 0.0 { *exact } else { exact / sum };
                let scaled = exact * f64::from(1 << PRECISION);
                *value = if exact < 0.0 { (scaled - 0.5) as i32 } else { (scaled + 0.5) as i32 };
            }
            weights.starts.push(start);
            weights.lens.push(end - start);
        }
        weights
    }

    /// Returns the input pixels that are read at all.
    fn range(&self) -> (usize, usize) {
        let last = self.starts.len() - 1;
        (self.starts[0], self.starts[last] + self.lens[last])
    }

    fn of(&self, index: usize) -> &[i32] {
        &self.values[self.stride * index..][..self.lens[index]]
    }
}

/// Returns the bicubic kernel at `x`.
fn bicubic(x: f64) -> f64 {
    let x = x.abs();
    if x < 1.0 {
        ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0
    } else if x < 2.0 {
        (((x - 5.0) * x + 8.0) * x - 4.0) * A
    } else {
        0.0
    }
}

/// Rounds a sum to a level.
fn to_level(sum: i32) -> u8 {
    (sum >> PRECISION).clamp(0, 255) as u8
}

/// Resizes every row of `source` from `width` pixels.
fn resize_rows(source: &[u8], width: usize, weights: &Weights) -> Vec<u8> {
    let out_len = 3 * weights.starts.len();
    let wide = WideWeights::new(weights, width);
    let mut resized = vec![0; source.len() / (3 * width) * out_len];
    resized
        .par_chunks_mut(out_len * ROWS_PER_TASK)
        .zip(source.par_chunks(3 * width * ROWS_PER_TASK))
        .for_each(|(resized, source)| {
            Arch::new().dispatch(|| {
                let rows = resized.chunks_exact_mut(out_len).zip(source.chunks_exact(3 * width));
                for (resized, source) in rows {
                    resize_row(source, weights, &wide, resized);
                }
            });
        });
    resized
}

/// Weights repeated for the three channels and filled up with zeros to whole [`LANES`].
struct WideWeights {
    values: Vec<i32>,
    stride: usize,
    /// The output pixels whose filled-up weights stay inside the row.
    num_inside: usize,
}

impl WideWeights {
    fn new(weights: &Weights, width: usize) -> Self {
        let longest = weights.lens.iter().max().map_or(0, |len| 3 * len);
        let stride = longest.next_multiple_of(LANES);
        let mut values = vec![0; stride * weights.starts.len()];
        for (index, values) in values.chunks_exact_mut(stride).enumerate() {
            for (values, weight) in values.chunks_exact_mut(3).zip(weights.of(index)) {
                values.fill(*weight);
            }
        }
        let inside = |start: &&usize| 3 * **start + stride <= 3 * width;
        Self { values, stride, num_inside: weights.starts.iter().take_while(inside).count() }
    }
}

#[inline(always)]
fn resize_row(source: &[u8], weights: &Weights, wide: &WideWeights, resized: &mut [u8]) {
    let (inside, border) = resized.split_at_mut(3 * wide.num_inside);
    let pixels = inside.chunks_exact_mut(3).zip(&weights.starts);
    for ((pixel, start), values) in pixels.zip(wide.values.chunks_exact(wide.stride)) {
        let mut sums = [0_i32; LANES];
        let source = &source[3 * start..][..wide.stride];
        for (levels, values) in source.chunks_exact(LANES).zip(values.chunks_exact(LANES)) {
            for ((sum, level), value) in sums.iter_mut().zip(levels).zip(values) {
                *sum += i32::from(*level) * value;
            }
        }
        for (channel, level) in pixel.iter_mut().enumerate() {
            let sum: i32 = sums.iter().skip(channel).step_by(3).sum();
            *level = to_level(HALF + sum);
        }
    }
    for (index, pixel) in (wide.num_inside..).zip(border.chunks_exact_mut(3)) {
        let mut sums = [HALF; 3];
        let source = &source[3 * weights.starts[index]..];
        for (levels, weight) in source.chunks_exact(3).zip(weights.of(index)) {
            for (sum, level) in sums.iter_mut().zip(levels) {
                *sum += i32::from(*level) * weight;
            }
        }
        for (level, sum) in pixel.iter_mut().zip(sums) {
            *level = to_level(sum);
        }
    }
}

/// Resizes every column of `source`, whose rows have `row_len` values and start at row `first` of
/// the image.
fn resize_columns(source: &[u8], row_len: usize, first: usize, weights: &Weights) -> Vec<u8> {
    let mut resized = vec![0; row_len * weights.starts.len()];
    resized.par_chunks_exact_mut(row_len).enumerate().for_each(|(index, resized)| {
        let source = &source[row_len * (weights.starts[index] - first)..];
        let mut sums = vec![HALF; row_len];
        Arch::new().dispatch(|| {
            for (levels, weight) in source.chunks_exact(row_len).zip(weights.of(index)) {
                for (sum, level) in sums.iter_mut().zip(levels) {
                    *sum += i32::from(*level) * weight;
                }
            }
            for (level, sum) in resized.iter_mut().zip(&sums) {
                *level = to_level(*sum);
            }
        });
    });
    resized
}
