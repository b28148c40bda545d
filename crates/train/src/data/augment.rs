//! Random views of a picture, and where the boxes in it go.

use prompt::{Preprocessor, RgbImage};
use serde::{Deserialize, Serialize};

use super::SampleRng;

/// How often a crop is tried before the centre is taken.
const NUM_TRIES: usize = 10;
/// What part of a box a crop must keep for the box still to say the same.
const LEAST_KEPT: f64 = 0.5;

/// A box in fractions of the picture: left, top, right, bottom.
pub type FractionBox = [f64; 4];

/// What is done with the boxes of a picture that is augmented.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BoxHandling {
    /// They move with the picture and are clipped to it, and crops that lose them are not taken.
    #[default]
    Moved,
    /// They stay as they are, which is wrong and what the authors' code did.
    Reference,
}

/// Which part of a picture a random crop may be.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Crop {
    /// The least and the largest part of the area.
    pub scale: [f64; 2],
    /// The least and the largest ratio of width to height.
    pub ratio: [f64; 2],
}

/// Which random views are taken.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Augment {
    /// The probability of a mirrored picture. Texts that say left or right are not spared, as in
    /// the authors' code.
    pub flip: f64,
    /// The random crop, if there is one.
    pub crop: Option<Crop>,
    /// What is done with boxes.
    pub boxes: BoxHandling,
}

/// One view of one picture.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Augmentation {
    size: (usize, usize),
    window: Window,
    flip: bool,
    boxes: BoxHandling,
}

/// A part of a picture, in pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Window {
    left: usize,
    top: usize,
    width: usize,
    height: usize,
}

impl Default for Crop {
    /// Returns the paper's: half of the picture to all of it, of a ratio of 3/4 to 4/3.
    fn default() -> Self {
        Self { scale: [0.5, 1.0], ratio: [3.0 / 4.0, 4.0 / 3.0] }
    }
}

impl Augment {
    /// Returns the paper's for captions: mirrored half of the time.
    pub fn captions() -> Self {
        Self { flip: 0.5, ..Self::default() }
    }

    /// Returns the paper's for instructions: cropped, and mirrored half of the time.
    pub fn instructions() -> Self {
        Self { flip: 0.5, crop: Some(Crop::default()), ..Self::default() }
    }

    /// Chooses a view of a picture in which there are `boxes`.
    pub fn choose(
        &self,
        image: &RgbImage,
        boxes: &[FractionBox],
        rng: &mut SampleRng,
    ) -> Augmentation {
        let (width, height) = (image.width(), image.height());
        let whole = Augmentation {
            size: (width, height),
            window: Window { left: 0, top: 0, width, height },
            flip: false,
            boxes: self.boxes,
        };
        let view = match self.crop {
            Some(crop) if boxes.is_empty() || self.boxes == BoxHandling::Reference => {
                Augmentation { window: crop.choose(width, height, rng), ..whole }
            }
            Some(crop) => (0..NUM_TRIES)
                .map(|_| Augmentation { window: crop.choose(width, height, rng), ..whole })
                .find(|view| boxes.iter().all(|corners| view.keeps(corners)))
                .unwrap_or(whole),
            None => whole,
        };
        Augmentation { flip: rng.happens(self.flip), ..view }
    }
}

impl Crop {
    /// Chooses a part of the picture by torchvision's rule.
    fn choose(&self, width: usize, height: usize, rng: &mut SampleRng) -> Window {
        let area = (width * height) as f64;
        for _ in 0..NUM_TRIES {
            let area = area * rng.between(self.scale[0], self.scale[1]);
            let ratio = rng.between(self.ratio[0].ln(), self.ratio[1].ln()).exp();
            let (w, h) = (to_pixels((area * ratio).sqrt()), to_pixels((area / ratio).sqrt()));
            if (1..=width).contains(&w) && (1..=height).contains(&h) {
                let top = rng.below(height - h + 1);
                let left = rng.below(width - w + 1);
                return Window { left, top, width: w, height: h };
            }
        }
        let [least, largest] = self.ratio;
        let ratio = width as f64 / height as f64;
        let (w, h) = if ratio < least {
            (width, to_pixels(width as f64 / least).min(height))
        } else if ratio > largest {
            (to_pixels(height as f64 * largest).min(width), height)
        } else {
            (width, height)
        };
        Window { left: (width - w) / 2, top: (height - h) / 2, width: w, height: h }
    }
}

impl Augmentation {
    /// Returns the view's pixel values. `// [3, size, size]`
    pub fn pixels(&self, image: &RgbImage, preprocessor: &Preprocessor) -> Vec<f32> {
        let cut = self.window.cut(image);
        let mut pixels = preprocessor.preprocess(cut.as_ref().unwrap_or(image));
        if self.flip {
            // After the resizing, whose rounding a mirrored picture would change.
            pixels.chunks_exact_mut(preprocessor.image_size.max(1)).for_each(<[f32]>::reverse);
        }
        pixels
    }

    /// Returns where a box of the whole picture is in the view, clipped to it.
    pub fn place(&self, corners: FractionBox) -> FractionBox {
        if self.boxes == BoxHandling::Reference {
            return corners;
        }
        let [left, top, right, bottom] = self.unclipped(&corners).map(|at| at.clamp(0.0, 1.0));
        if self.flip { [1.0 - right, top, 1.0 - left, bottom] } else { [left, top, right, bottom] }
    }

    /// Returns whether the picture is mirrored.
    pub fn is_flipped(&self) -> bool {
        self.flip
    }

    /// Returns where a box of the whole picture is in the view before it is mirrored; it may reach
    /// outside.
    pub fn unclipped(&self, corners: &FractionBox) -> FractionBox {
        let Window { left, top, width, height } = self.window;
        let across = |at: f64| (at * self.size.0 as f64 - left as f64) / width.max(1) as f64;
        let down = |at: f64| (at * self.size.1 as f64 - top as f64) / height.max(1) as f64;
        [across(corners[0]), down(corners[1]), across(corners[2]), down(corners[3])]
    }

    /// Returns whether enough of a box is in the view.
    fn keeps(&self, corners: &FractionBox) -> bool {
        let area = |[left, top, right, bottom]: FractionBox| (right - left) * (bottom - top);
        let unclipped = self.unclipped(corners);
        area(unclipped.map(|at| at.clamp(0.0, 1.0))) >= LEAST_KEPT * area(unclipped)
    }
}

impl Window {
    /// Returns this part of a picture; none if that is all of it.
    fn cut(self, image: &RgbImage) -> Option<RgbImage> {
        if (self.width, self.height) == (image.width(), image.height()) {
            return None;
        }
        let rows = image.pixels().chunks_exact(3 * image.width().max(1));
        let part = 3 * self.left..3 * (self.left + self.width);
        let rows = rows.skip(self.top).take(self.height);
        let pixels = rows.flat_map(|row| row.get(part.clone()).unwrap_or_default()).copied();
        RgbImage::new(self.width, self.height, pixels.collect())
    }
}

/// Rounds as Python does, halves to even.
#[expect(clippy::cast_sign_loss, reason = "square roots and ratios are not negative")]
fn to_pixels(length: f64) -> usize {
    length.round_ties_even() as usize
}
