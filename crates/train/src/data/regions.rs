//! What every patch of a picture shows, out of grounding captions.

use std::sync::Arc;

use prompt::{Preprocessor, RgbImage, SpecialTokens, Tokenizer};
use sequence::{Layout, Role, TokenId};

use super::captions::{Region, regions};
use super::webdataset::Make;
use super::{BadSample, Error, RawSample, Sample, SampleRng, Target};

/// Makes samples whose labels are the patches of a picture.
///
/// A patch that lies in several regions, or in part of one, has a label by chance: that of a random
/// point in it, and of what the frontmost region there shows a random token. Where there is no
/// region, the label is the token that ends a caption.
#[derive(Clone, Debug)]
pub struct RegionMaker {
    tokenizer: Tokenizer,
    preprocessor: Preprocessor,
    special: SpecialTokens,
    /// Patches in a row of the picture.
    grid: usize,
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
        let grid = num_patches.isqrt();
        if grid == 0 || grid * grid != num_patches {
            return Err(Error::Setting {
                setting: "num_patches",
                found: num_patches.to_string(),
                expected: "a square above 0",
            });
        }
        Ok(Self { tokenizer, preprocessor, special, grid })
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
        for row in 0..self.grid {
            for column in 0..self.grid {
                labels.push(Some(self.label(&named, [column, row], rng).0));
            }
        }
        let num_patches = self.grid * self.grid;
        Ok(Sample {
            ids: vec![self.special.bos, self.special.image],
            layout: Layout::new().text(Role::User, 1).image(num_patches),
            labels,
            pixels: vec![self.preprocessor.preprocess(&image)],
            target: Target::Regions,
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

    /// Returns what a patch shows.
    fn label(
        &self,
        regions: &[(Region, Vec<TokenId>)],
        patch: [usize; 2],
        rng: &mut SampleRng,
    ) -> TokenId {
        let point = patch.map(|at| (at as f64 + rng.unit()) / self.grid as f64);
        let front = regions.iter().rev().find(|(region, _)| region.contains(point));
        match front {
            Some((_, tokens)) => tokens[rng.below(tokens.len())],
            None => self.special.end_of_chunk,
        }
    }
}
