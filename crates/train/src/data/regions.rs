//! What every patch of a picture, or every vision token, shows, out of grounding captions.

use std::sync::Arc;

use prompt::{Preprocessor, RgbImage, SpecialTokens, Tokenizer};
use sequence::{Layout, Role, TokenId};

use super::captions::{Region, regions};
use super::webdataset::Make;
use super::{BadSample, Error, RawSample, Sample, SampleRng, Target};

/// Makes samples whose labels are the patches of a picture, or its vision tokens, to each of which
/// a part of the picture is assigned, as on a grid.
///
/// A part that lies in several regions, or in part of one, has a label by chance: that of a random
/// point in it, and of what the frontmost region there shows a random token. Where there is no
/// region, the label is the token that ends a caption.
#[derive(Clone, Debug)]
pub struct RegionMaker {
    tokenizer: Tokenizer,
    preprocessor: Preprocessor,
    special: SpecialTokens,
    /// Parts side by side, and one below the other.
    grid: [usize; 2],
    target: Target,
}

impl RegionMaker {
    /// Returns a maker for pictures of so many patches.
    ///
    /// # Errors
    /// If the tokenizer lacks a token, or the patches are no square.
    pub fn new(
        tokenizer: Tokenizer,
        preprocessor: Preprocessor,
        num_patches: usize,
    ) -> Result<Self, Error> {
        let special = SpecialTokens::find(&tokenizer)?;
        let side = num_patches.isqrt();
        if side == 0 || side * side != num_patches {
            return Err(Error::Setting {
                setting: "num_patches",
                found: num_patches.to_string(),
                expected: "a square above 0",
            });
        }
        Ok(Self { tokenizer, preprocessor, special, grid: [side; 2], target: Target::Regions })
    }

    /// Returns a maker for so many vision tokens, of which each has a part of the picture: the grid
    /// is the one that [`sequence::image_grid`] makes of them.
    ///
    /// # Errors
    /// If the tokenizer lacks a token, or there is no vision token.
    pub fn of_vision_tokens(
        tokenizer: Tokenizer,
        preprocessor: Preprocessor,
        num_tokens: usize,
    ) -> Result<Self, Error> {
        let special = SpecialTokens::find(&tokenizer)?;
        if num_tokens == 0 {
            return Err(Error::Setting {
                setting: "num_vision_tokens",
                found: num_tokens.to_string(),
                expected: "at least 1",
            });
        }
        let (rows, columns) = sequence::image_grid(num_tokens);
        let grid = [columns, rows];
        Ok(Self { tokenizer, preprocessor, special, grid, target: Target::TokenRegions })
    }

    /// Makes a sample.
    ///
    /// # Errors
    /// If the picture or the text is missing or cannot be used.
    pub fn make(&self, raw: RawSample, rng: &mut SampleRng) -> Result<Sample, BadSample> {
        let RawSample { key, image, text } = raw;
        let (Some(image), Some(text)) = (image.as_ref(), text.as_ref()) else {
            let why = if image.is_none() { "it has no image" } else { "it has no text" };
            return Err(BadSample::new(key, why));
        };
        let bad = |error: &dyn std::error::Error| BadSample::from_error(key.as_str(), error);
        let regions = regions(text).map_err(|error| bad(&error))?;
        let mut named = Vec::with_capacity(regions.len());
        for region in regions {
            let tokens = self.tokens(&region.phrase).map_err(|error| bad(&error))?;
            if !tokens.is_empty() {
                named.push((region, tokens));
            }
        }
        let image = RgbImage::decode(image).map_err(|error| bad(&error))?;
        let mut labels = vec![None];
        let [columns, rows] = self.grid;
        for row in 0..rows {
            for column in 0..columns {
                labels.push(Some(self.label(&named, [column, row], rng).0));
            }
        }
        Ok(Sample {
            ids: vec![self.special.bos, self.special.image],
            layout: Layout::new().text(Role::User, 1).image(columns * rows),
            labels,
            pixels: vec![self.preprocessor.preprocess(&image)],
            target: self.target,
            key,
        })
    }

    /// Returns this as a stream takes it.
    pub fn into_make(self) -> Arc<Make> {
        Arc::new(move |raw, rng| self.make(raw, rng))
    }

    /// Returns the tokens of a phrase that are more than the space between words.
    fn tokens(&self, phrase: &str) -> Result<Vec<TokenId>, prompt::Error> {
        let mut tokens = self.tokenizer.encode_literal(phrase, true)?;
        let space = self.tokenizer.encode_literal(" ", true)?;
        tokens.retain(|token| !space.contains(token));
        Ok(tokens)
    }

    /// Returns what a patch shows, or another part of the picture.
    fn label(
        &self,
        regions: &[(Region, Vec<TokenId>)],
        part: [usize; 2],
        rng: &mut SampleRng,
    ) -> TokenId {
        let point = [0, 1].map(|axis| (part[axis] as f64 + rng.unit()) / self.grid[axis] as f64);
        let front = regions.iter().rev().find(|(region, _)| region.contains(point));
        match front {
            Some((_, tokens)) => tokens[rng.below(tokens.len())],
            None => self.special.end_of_chunk,
        }
    }
}
