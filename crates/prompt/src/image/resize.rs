//! Bicubic resizing on 8-bit pixels that equals Pillow's to the last bit.
//!
//! Two passes, first along the rows and then along the columns, each with 22-bit fixed-point
//! weights and a result rounded to 8 bits. All sums are of integers, so any order of adding gives
//! the same result and the loops can be as wide as the processor.
#![allow(clippy::inline_always, reason = "loops must be compiled for the processor they run on")]
#![allow(clippy::cast_sign_loss, reason = "positions are clamped to be positive before the cast")]

use std::borrow::Cow;
use std::hint::black_box;

use pulp::{Arch, Simd, WithSimd};
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
/// Values that are multiplied at once.
const REGISTER: usize = 8;
/// Rows that one task resizes.
const ROWS_PER_TASK: usize = 16;

/// Resizes with Pillow's `BICUBIC`, antialiased when shrinking.
///
/// The order of the passes shows in the result, since each rounds to 8 bits. It is Pillow 13's:
/// columns first if the image becomes lower by more than twice what it becomes narrower. Before
/// version 13 rows always came first.
pub fn resize(image: &RgbImage, width: usize, height: usize) -> RgbImage {
    if image.pixels.is_empty() || width == 0 || height == 0 {
        return RgbImage { width, height, pixels: vec![0; 3 * width * height] };
    }
    let columns_first =
        image.height > height && image.height - height > 2 * image.width.saturating_sub(width);
    let pixels = if columns_first {
        let lower = resize_columns(&image.pixels, image.width, image.height, height);
        resize_rows(&lower, image.width, width).into_owned()
    } else {
        let narrower = resize_rows(&image.pixels, image.width, width);
        resize_columns(&narrower, width, image.height, height).into_owned()
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
#[inline(always)]
fn to_level(sum: i32) -> u8 {
    (sum >> PRECISION).clamp(0, 255) as u8
}

/// Adds products to sums, one register of each.
#[inline(always)]
fn multiply_add(sums: &mut [i32; REGISTER], levels: &[u8; REGISTER], values: &[i32; REGISTER]) {
    for lane in 0..REGISTER {
        sums[lane] += i32::from(levels[lane]) * values[lane];
    }
}

/// Resizes every row of `source` from `width` pixels to `new_width`.
fn resize_rows(source: &[u8], width: usize, new_width: usize) -> Cow<'_, [u8]> {
    if new_width == width {
        return Cow::Borrowed(source);
    }
    let weights = Weights::new(width, new_width);
    let wide = WideWeights::new(&weights, width);
    let (len, new_len) = (3 * width, 3 * new_width);
    let mut resized = vec![0; source.len() / len * new_len];
    resized
        .par_chunks_mut(new_len * ROWS_PER_TASK)
        .zip(source.par_chunks(len * ROWS_PER_TASK))
        .for_each(|(resized, source)| {
            let rows = Rows { source, len, resized, new_len, weights: &weights, wide: &wide };
            Arch::new().dispatch(rows);
        });
    Cow::Owned(resized)
}

/// Resizes every column of `source`, an image of `width` pixels, from `height` pixels to
/// `new_height`.
fn resize_columns(source: &[u8], width: usize, height: usize, new_height: usize) -> Cow<'_, [u8]> {
    if new_height == height {
        return Cow::Borrowed(source);
    }
    let weights = Weights::new(height, new_height);
    let len = 3 * width;
    let mut resized = vec![0; len * new_height];
    resized.par_chunks_exact_mut(len).enumerate().for_each(|(index, resized)| {
        let source = &source[len * weights.starts[index]..];
        let sums = vec![HALF; len];
        Arch::new().dispatch(Column { source, weights: weights.of(index), sums, resized });
    });
    Cow::Owned(resized)
}

/// Weights repeated for the three channels and filled up with zeros to whole [`LANES`].
struct WideWeights {
    values: Vec<[i32; LANES]>,
    /// How many groups of lanes an output pixel has.
    stride: usize,
    /// The output pixels whose filled-up weights stay inside the row.
    num_inside: usize,
}

impl WideWeights {
    fn new(weights: &Weights, width: usize) -> Self {
        let longest = weights.lens.iter().max().map_or(0, |len| 3 * len);
        let stride = longest.div_ceil(LANES);
        let mut values = vec![[0; LANES]; stride * weights.starts.len()];
        for (index, values) in values.chunks_exact_mut(stride).enumerate() {
            let values = values.as_flattened_mut().chunks_exact_mut(3);
            for (values, weight) in values.zip(weights.of(index)) {
                values.fill(*weight);
            }
        }
        let inside = |start: &&usize| 3 * **start + stride * LANES <= 3 * width;
        Self { values, stride, num_inside: weights.starts.iter().take_while(inside).count() }
    }
}

/// Some rows to be resized, as work for the widest registers there are: plain loops, compiled once
/// for each kind of processor.
struct Rows<'a> {
    source: &'a [u8],
    len: usize,
    resized: &'a mut [u8],
    new_len: usize,
    weights: &'a Weights,
    wide: &'a WideWeights,
}

impl WithSimd for Rows<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Self { source, len, resized, new_len, weights, wide } = self;
        for (source, resized) in source.chunks_exact(len).zip(resized.chunks_exact_mut(new_len)) {
            let (inside, border) = resized.split_at_mut(3 * wide.num_inside);
            for (index, pixel) in inside.chunks_exact_mut(3).enumerate() {
                let values = &wide.values[index * wide.stride..][..wide.stride];
                let (levels, _) = source[3 * weights.starts[index]..].as_chunks::<LANES>();
                let mut sums = [[0; REGISTER]; LANES / REGISTER];
                for (levels, values) in levels.iter().zip(values) {
                    let (levels, _) = levels.as_chunks::<REGISTER>();
                    let (values, _) = values.as_chunks::<REGISTER>();
                    multiply_add(&mut sums[0], &levels[0], &values[0]);
                    multiply_add(&mut sums[1], &levels[1], &values[1]);
                    multiply_add(&mut sums[2], &levels[2], &values[2]);
                }
                // Keeps the compiler from arranging the loop above by what follows, in threes.
                let sums = black_box(sums);
                let mut pixel_sums = [HALF; 3];
                for sums in sums.as_flattened().as_chunks::<3>().0 {
                    for channel in 0..3 {
                        pixel_sums[channel] += sums[channel];
                    }
                }
                for channel in 0..3 {
                    pixel[channel] = to_level(pixel_sums[channel]);
                }
            }
            for (index, pixel) in (wide.num_inside..).zip(border.chunks_exact_mut(3)) {
                let mut sums = [HALF; 3];
                let levels = source[3 * weights.starts[index]..].chunks_exact(3);
                for (levels, weight) in levels.zip(weights.of(index)) {
                    for channel in 0..3 {
                        sums[channel] += i32::from(levels[channel]) * weight;
                    }
                }
                for channel in 0..3 {
                    pixel[channel] = to_level(sums[channel]);
                }
            }
        }
    }
}

/// One row to be made of the rows of `source`, as work for the widest registers there are.
struct Column<'a> {
    source: &'a [u8],
    weights: &'a [i32],
    sums: Vec<i32>,
    resized: &'a mut [u8],
}

impl WithSimd for Column<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Self { source, weights, mut sums, resized } = self;
        for (levels, weight) in source.chunks_exact(resized.len()).zip(weights) {
            for (sum, level) in sums.iter_mut().zip(levels) {
                *sum += i32::from(*level) * weight;
            }
        }
        for (level, sum) in resized.iter_mut().zip(&sums) {
            *level = to_level(*sum);
        }
    }
}
