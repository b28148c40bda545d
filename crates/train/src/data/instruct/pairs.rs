//! Texts and the answers to them, in little memory.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::siblings::Siblings;
use super::texts::{Interner, Texts};
use super::{Content, Example, InstructionSet};
use crate::data::BadSample;

/// Texts and the answers to them.
#[derive(Debug)]
pub(super) struct Pairs {
    folder: PathBuf,
    /// What every input opens with.
    opening: &'static str,
    keys: Texts,
    inputs: Texts,
    /// The name of each picture, if there is one.
    pictures: Vec<Option<u32>>,
    targets: Vec<u32>,
    picture_names: Interner,
    target_texts: Interner,
    siblings: Siblings,
}

/// A text and the answer to it.
pub(super) struct Pair<'a> {
    /// What it is called.
    pub(super) key: &'a str,
    /// The file of its picture in the folder, if it has one.
    pub(super) picture: Option<&'a str>,
    /// What the user says after the opening.
    pub(super) input: &'a str,
    /// What is answered.
    pub(super) target: &'a str,
}

impl Pairs {
    pub(super) fn new(folder: &Path, opening: &'static str) -> Self {
        Self {
            folder: folder.to_owned(),
            opening,
            keys: Texts::default(),
            inputs: Texts::default(),
            pictures: Vec::new(),
            targets: Vec::new(),
            picture_names: Interner::default(),
            target_texts: Interner::default(),
            siblings: Siblings::default(),
        }
    }

    pub(super) fn push(&mut self, pair: &Pair<'_>) {
        self.keys.push(pair.key);
        self.inputs.push(pair.input);
        self.pictures.push(pair.picture.map(|name| self.picture_names.push(name)));
        self.targets.push(self.target_texts.push(pair.target));
    }

    /// Returns the set, once all of it has been read.
    pub(super) fn finish(mut self) -> Arc<dyn InstructionSet> {
        self.keys.shrink();
        self.inputs.shrink();
        self.pictures.shrink_to_fit();
        self.targets.shrink_to_fit();
        self.picture_names.shrink();
        self.target_texts.shrink();
        self.siblings = Siblings::new(&self.pictures);
        Arc::new(self)
    }
}

impl InstructionSet for Pairs {
    fn num_examples(&self) -> usize {
        self.targets.len()
    }

    fn example(&self, index: usize) -> Result<Example, BadSample> {
        let picture = self.pictures[index].map(|name| self.picture_names.get(name));
        Ok(Example {
            key: self.keys.get(index).to_owned(),
            image: picture.map(|name| self.folder.join(name)),
            content: Content::Text {
                opening: self.opening,
                input: self.inputs.get(index).to_owned(),
                target: self.target_texts.get(self.targets[index]).to_owned(),
            },
        })
    }

    fn siblings(&self, index: usize) -> &[u32] {
        self.pictures[index].map_or(&[], |picture| self.siblings.of(picture))
    }
}
