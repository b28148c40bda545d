//! Examples at random, and how they become samples.

use std::sync::Arc;

use prompt::{Preprocessor, RgbImage};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Content, Example, InstructionSet};
use crate::data::{Augment, BadSample, Encoder, Error, Sample, SampleRng, Source, Task};

/// Instructions are made of examples by this.
#[derive(Clone, Debug)]
pub struct InstructionMaker {
    /// Makes ids of the text.
    pub encoder: Encoder,
    /// Makes pixel values of the picture.
    pub preprocessor: Preprocessor,
    /// The random view of the picture.
    pub augment: Augment,
}

/// An endless stream of the examples of one set, drawn at random with replacement.
///
/// The n-th example depends on the seed and n alone.
pub struct InstructionStream {
    name: String,
    set: Arc<dyn InstructionSet>,
    maker: Arc<InstructionMaker>,
    turns: usize,
    seed: u64,
    num_drawn: u64,
}

/// A place in the stream as it is saved.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Position {
    num_examples: usize,
    seed: u64,
    num_drawn: u64,
}

impl InstructionMaker {
    /// Makes a sample: reads the picture, takes a view of it, and encodes the text for that view.
    ///
    /// `further` are the later turns of the conversation, about the same picture.
    ///
    /// # Errors
    /// If the picture is missing or broken, or the examples do not fit together.
    pub fn make(
        &self,
        example: Example,
        further: Vec<Content>,
        rng: &mut SampleRng,
    ) -> Result<Sample, BadSample> {
        let Example { key, image, content } = example;
        let mut contents = vec![content];
        contents.extend(further);
        let bad = |error: &dyn std::error::Error| BadSample::from_error(key.as_str(), error);
        let picture = match &image {
            None => None,
            Some(path) => {
                let file = std::fs::read(path).map_err(|error| {
                    BadSample::new(
                        key.as_str(),
                        format!("cannot read `{}`: {error}", path.display()),
                    )
                })?;
                Some(RgbImage::decode(&file).map_err(|error| bad(&error))?)
            }
        };
        let corners = |content: &Content| match content {
            Content::Region { corners, .. } => Some(*corners),
            Content::Text { .. } | Content::Choice { .. } => None,
        };
        let boxes: Vec<_> = contents.iter().filter_map(corners).collect();
        let view = picture.as_ref().map(|picture| self.augment.choose(picture, &boxes, rng));
        let mut turns = Vec::with_capacity(contents.len());
        for (at, content) in contents.into_iter().enumerate() {
            let turn = content.render(at == 0, view.as_ref(), rng);
            turns.push(turn.map_err(|reason| BadSample::new(key.as_str(), reason))?);
        }
        let text = self.encoder.conversation(&turns, image.is_some());
        let text = text.map_err(|error| bad(&error))?;
        let pixels = picture.iter().zip(&view);
        let pixels = pixels.map(|(picture, view)| view.pixels(picture, &self.preprocessor));
        Ok(Sample::new(&key, text, pixels.collect()))
    }
}

impl InstructionStream {
    /// Starts at the first example; `turns` is how many of the examples of one picture are turns of
    /// one conversation, 1 for single questions.
    ///
    /// # Errors
    /// If the set has no examples.
    pub fn new(
        name: &str,
        set: Arc<dyn InstructionSet>,
        maker: Arc<InstructionMaker>,
        turns: usize,
        seed: u64,
    ) -> Result<Self, Error> {
        if set.num_examples() == 0 {
            return Err(Error::Empty { stream: format!("data set `{name}`") });
        }
        Ok(Self { name: name.to_owned(), set, maker, turns, seed, num_drawn: 0 })
    }

    /// Draws the examples of one sample, in the order of the set.
    fn draw(&self, rng: &mut SampleRng) -> Vec<usize> {
        let index = rng.below(self.set.num_examples());
        if self.turns < 2 {
            return vec![index];
        }
        let siblings = self.set.siblings(index).iter().map(|other| *other as usize);
        let mut others: Vec<_> = siblings.filter(|other| *other != index).collect();
        rng.shuffle(&mut others);
        others.truncate(self.turns - 1);
        others.push(index);
        others.sort_unstable();
        others
    }
}

impl Source for InstructionStream {
    fn next(&mut self) -> Result<Task, Error> {
        let mut rng = SampleRng::new(self.seed, self.num_drawn);
        let drawn = self.draw(&mut rng);
        self.num_drawn += 1;
        let (set, maker) = (Arc::clone(&self.set), Arc::clone(&self.maker));
        let name = self.name.clone();
        Ok(Box::new(move |rng| {
            let named = |key: &str| format!("{name}/{key}");
            let example = |index: &usize| {
                set.example(*index).map_err(|bad| BadSample::new(named(&bad.key), bad.why))
            };
            let first = example(&drawn[0])?;
            let further = drawn[1..].iter().map(|index| Ok(example(index)?.content));
            let further = further.collect::<Result<_, _>>()?;
            maker.make(Example { key: named(&first.key), ..first }, further, rng)
        }))
    }

    fn position(&self) -> Value {
        let position = Position {
            num_examples: self.set.num_examples(),
            seed: self.seed,
            num_drawn: self.num_drawn,
        };
        serde_json::to_value(position).expect("numbers can be written as JSON")
    }

    fn seek(&mut self, position: &Value) -> Result<(), Error> {
        let wrong = |reason: String| Error::Position {
            stream: format!("data set `{}`", self.name),
            reason,
        };
        let position = Position::deserialize(position).map_err(|error| wrong(error.to_string()))?;
        let expected = self.set.num_examples();
        if position.num_examples != expected {
            let found = position.num_examples;
            return Err(wrong(format!("it is of {found} examples, expected {expected}")));
        }
        if position.seed != self.seed {
            return Err(wrong("it has another seed".to_owned()));
        }
        self.num_drawn = position.num_drawn;
        Ok(())
    }
}

impl std::fmt::Debug for InstructionStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("InstructionStream")
            .field("name", &self.name)
            .field("num_examples", &self.set.num_examples())
            .field("num_drawn", &self.num_drawn)
            .finish_non_exhaustive()
    }
}
