//! From a recipe to one stream of samples.

use std::sync::Arc;
use std::time::Instant;

use prompt::{ChatTemplate, Preprocessor, Tokenizer};
use rayon::prelude::*;

use super::instruct::{self, InstructionMaker, InstructionStream};
use super::mixture::check_weight;
use super::rng::mix;
use super::shards::{StoreOptions, expand};
use super::{
    Augment, CaptionKind, CaptionMaker, Encoder, EncoderConfig, Error, Mixed, Mixture, Part,
    RegionMaker, Shards, ShuffleConfig, Source, WebDataset, WebDatasetConfig, webdataset,
};
use crate::recipe::{DataRecipe, Stage, StageKind};

/// The caption sets, and where the caption is in the text beside a picture.
const CAPTION_SETS: [(&str, CaptionKind); 4] = [
    ("captions", CaptionKind::Plain),
    ("kale", CaptionKind::Plain),
    ("ocr", CaptionKind::Ocr),
    ("grounding", CaptionKind::Grounding),
];

/// What ends a text, the first that a vocabulary has: the published model's, and Llama's.
const ENDS: [&str; 2] = ["<|endoftext|>", "</s>"];

/// What a stream needs beside the recipe.
#[derive(Clone, Debug)]
pub struct SourceContext {
    /// Makes ids of text.
    pub tokenizer: Tokenizer,
    /// The instructions before a question.
    pub template: ChatTemplate,
    /// Makes pixel values of pictures.
    pub preprocessor: Preprocessor,
    /// How many positions an image takes.
    pub num_vision_tokens: usize,
    /// Of how many patches of an image the vision encoder makes features; 0 where no regions are
    /// learned.
    pub num_patches: usize,
    /// The token that ends a text.
    pub end: String,
    /// How stores of shards are spoken to.
    pub store: StoreOptions,
    /// The buffer that shuffles the samples of shards.
    pub shuffle: ShuffleConfig,
    /// The seed of the order; that of choices within samples is the loader's.
    pub seed: u64,
    /// Which part of the samples this stream has. Where processes share one stream in the loader,
    /// that is all of them.
    pub part: Part,
}

impl SourceContext {
    /// Returns a context with the end of a text that the vocabulary has, shards that need no
    /// keys, and all samples.
    pub fn new(
        tokenizer: Tokenizer,
        template: ChatTemplate,
        preprocessor: Preprocessor,
        num_vision_tokens: usize,
        seed: u64,
    ) -> Self {
        let end = ENDS.into_iter().find(|end| tokenizer.id_of(end).is_some());
        let end = end.unwrap_or(ENDS[0]).to_owned();
        Self {
            tokenizer,
            template,
            preprocessor,
            num_vision_tokens,
            num_patches: 0,
            end,
            store: StoreOptions::new(),
            shuffle: ShuffleConfig::default(),
            seed,
            part: Part::default(),
        }
    }

    fn encoder(&self, stage: &Stage) -> Result<Encoder, Error> {
        let config = EncoderConfig {
            num_vision_tokens: self.num_vision_tokens,
            max_text_tokens: stage.max_text_tokens(),
            order: stage.order,
            end: self.end.clone(),
        };
        Encoder::new(self.tokenizer.clone(), self.template.clone(), config)
    }
}

/// Opens the data of a phase as one endless stream: the sets chosen at random by their weights,
/// captions out of shards in the order of shuffled epochs, instructions at random with replacement.
///
/// Files are read side by side, one thread for each set.
///
/// # Errors
/// If a set is not one of those of the stage, a file is missing or not what it should be, or a
/// setting cannot work.
pub fn open_source(
    data: &[DataRecipe],
    stage: &Stage,
    context: &SourceContext,
) -> Result<Box<dyn Source>, Error> {
    let view = if stage.augment {
        match stage.kind {
            StageKind::Captions => Augment::captions(),
            StageKind::Instructions => Augment::instructions(),
            StageKind::Regions | StageKind::TokenRegions => {
                return Err(Error::Setting {
                    setting: "augment",
                    found: "true".to_owned(),
                    expected: "false where regions are learned, whose boxes do not move",
                });
            }
        }
    } else {
        Augment::default()
    };
    let augment = Augment { boxes: stage.augment_boxes, ..view };
    let opener = Opener { encoder: context.encoder(stage)?, augment, context };
    let opened: Vec<_> = data
        .par_iter()
        .enumerate()
        .map(|(index, recipe)| {
            check_turns(recipe, stage.kind)?;
            let source = match stage.kind {
                StageKind::Captions => opener.captions(recipe, index)?,
                StageKind::Regions | StageKind::TokenRegions => {
                    opener.regions(recipe, (stage.kind, index))?
                }
                StageKind::Instructions => opener.instructions(recipe, index)?,
            };
            Ok(Mixed { name: recipe.name.clone(), weight: recipe.weight, source })
        })
        .collect();
    // The first error of the recipe, whichever came first.
    let parts = opened.into_iter().collect::<Result<Vec<_>, Error>>()?;
    let seed = mix(context.seed, context.part.index as u64);
    Ok(Box::new(Mixture::new(parts, seed)?))
}

/// Checks that the data of a phase can be there, without reading it: names, weights, files, folders
/// and the patterns of shards, but not the shards themselves.
///
/// # Errors
/// As [`open_source`], where that can be seen without reading.
pub fn check_data(data: &[DataRecipe], kind: StageKind) -> Result<(), Error> {
    for recipe in data {
        check_weight(&recipe.name, recipe.weight)?;
        check_turns(recipe, kind)?;
        match kind {
            StageKind::Instructions => instruct::check(recipe)?,
            StageKind::Captions | StageKind::Regions | StageKind::TokenRegions => {
                if kind == StageKind::Captions {
                    caption_kind(recipe)?;
                } else {
                    check_regions(recipe)?;
                }
                for pattern in &recipe.shards {
                    expand(pattern)?;
                }
            }
        }
    }
    Ok(())
}

/// Checks that conversations are of questions.
fn check_turns(recipe: &DataRecipe, kind: StageKind) -> Result<(), Error> {
    let expected = match (recipe.turns, kind) {
        (0, _) => "at least 1",
        (1, _) | (_, StageKind::Instructions) => return Ok(()),
        _ => "1 where no questions are learned",
    };
    Err(Error::Setting { setting: "turns", found: recipe.turns.to_string(), expected })
}

/// Checks that a set says where in its pictures things are.
fn check_regions(recipe: &DataRecipe) -> Result<(), Error> {
    match caption_kind(recipe)? {
        CaptionKind::Grounding => Ok(()),
        _ => Err(Error::UnknownSet { name: recipe.name.clone(), known: vec!["grounding"] }),
    }
}

/// Returns where a caption set has its captions.
fn caption_kind(recipe: &DataRecipe) -> Result<CaptionKind, Error> {
    let known = CAPTION_SETS.iter().find(|(name, _)| *name == recipe.name);
    let Some((_, kind)) = known else {
        let known = CAPTION_SETS.iter().map(|(name, _)| *name).collect();
        return Err(Error::UnknownSet { name: recipe.name.clone(), known });
    };
    if recipe.shards.is_empty() {
        return Err(Error::MissingShards { name: recipe.name.clone() });
    }
    Ok(*kind)
}

/// Opens single data sets.
struct Opener<'a> {
    encoder: Encoder,
    augment: Augment,
    context: &'a SourceContext,
}

impl Opener<'_> {
    fn captions(&self, recipe: &DataRecipe, index: usize) -> Result<Box<dyn Source>, Error> {
        let kind = caption_kind(recipe)?;
        let make = CaptionMaker {
            encoder: self.encoder.clone(),
            preprocessor: self.context.preprocessor,
            augment: self.augment,
            kind,
        };
        self.shards(recipe, index, make.into_make())
    }

    fn regions(
        &self,
        recipe: &DataRecipe,
        (kind, index): (StageKind, usize),
    ) -> Result<Box<dyn Source>, Error> {
        check_regions(recipe)?;
        let SourceContext { tokenizer, preprocessor, num_patches, num_vision_tokens, .. } =
            self.context;
        let make = if kind == StageKind::Regions {
            RegionMaker::new(tokenizer.clone(), *preprocessor, *num_patches)?
        } else {
            RegionMaker::of_vision_tokens(tokenizer.clone(), *preprocessor, *num_vision_tokens)?
        };
        self.shards(recipe, index, make.into_make())
    }

    /// Opens the shards of a set.
    fn shards(
        &self,
        recipe: &DataRecipe,
        index: usize,
        make: Arc<webdataset::Make>,
    ) -> Result<Box<dyn Source>, Error> {
        let shards = Shards::find(&recipe.shards, self.context.store.clone())?;
        tracing::info!(name = recipe.name, shards = shards.len(), "opened a caption set");
        let config = WebDatasetConfig {
            name: recipe.name.clone(),
            seed: mix(self.context.seed, index as u64),
            shuffle: self.context.shuffle,
            part: self.context.part,
            ..WebDatasetConfig::default()
        };
        Ok(Box::new(WebDataset::new(shards, config, make)?))
    }

    fn instructions(&self, recipe: &DataRecipe, index: usize) -> Result<Box<dyn Source>, Error> {
        let start = Instant::now();
        let set = instruct::open(recipe)?;
        let (examples, seconds) = (set.num_examples(), start.elapsed().as_secs_f64());
        tracing::info!(name = recipe.name, examples, seconds, "opened an instruction set");
        let maker = InstructionMaker {
            encoder: self.encoder.clone(),
            preprocessor: self.context.preprocessor,
            augment: self.augment,
        };
        let seed = mix(mix(self.context.seed, index as u64), self.context.part.index as u64);
        Ok(Box::new(InstructionStream::new(
            &recipe.name,
            set,
            Arc::new(maker),
            recipe.turns,
            seed,
        )?))
    }
}
