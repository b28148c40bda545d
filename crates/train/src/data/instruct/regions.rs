//! Parts of pictures and what they show, in little memory.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::texts::Texts;
use super::{Content, Example, InstructionSet};
use crate::data::BadSample;

/// Parts of pictures and what they show. `N` holds a coordinate in pixels.
#[derive(Debug)]
pub(super) struct Regions<N> {
    folder: PathBuf,
    files: Texts,
    pictures: Vec<Picture>,
    /// Left, top, width and height.
    boxes: Vec<[N; 4]>,
    phrases: Texts,
}

/// The size of a picture in pixels, and the number of its first region.
#[derive(Clone, Copy, Debug)]
struct Picture {
    width: f64,
    height: f64,
    start: usize,
}

impl<N: Copy + Into<f64> + Send + Sync + 'static> Regions<N> {
    pub(super) fn new(folder: &Path) -> Self {
        Self {
            folder: folder.to_owned(),
            files: Texts::default(),
            pictures: Vec::new(),
            boxes: Vec::new(),
            phrases: Texts::default(),
        }
    }

    /// Appends a picture; the regions that follow are parts of it.
    pub(super) fn push_picture(&mut self, file: &str, width: f64, height: f64) {
        self.files.push(file);
        self.pictures.push(Picture { width, height, start: self.boxes.len() });
    }

    /// Appends a part of the last picture: its left, top, width and height in pixels.
    pub(super) fn push(&mut self, pixels: [N; 4], phrase: &str) {
        self.boxes.push(pixels);
        self.phrases.push(phrase);
    }

    /// Returns the set, once all of it has been read.
    pub(super) fn finish(mut self) -> Arc<dyn InstructionSet> {
        self.files.shrink();
        self.pictures.shrink_to_fit();
        self.boxes.shrink_to_fit();
        self.phrases.shrink();
        Arc::new(self)
    }
}

impl<N: Copy + Into<f64> + Send + Sync> InstructionSet for Regions<N> {
    fn num_examples(&self) -> usize {
        self.boxes.len()
    }

    fn example(&self, index: usize) -> Result<Example, BadSample> {
        // The last picture that starts before the region; one without regions starts where the
        // next one does.
        let after = self.pictures.partition_point(|picture| picture.start <= index);
        let at = after.saturating_sub(1);
        let file = self.files.get(at);
        let key = format!("{file}/{index}");
        let [left, top, wide, high] = self.boxes[index].map(Into::into);
        let Picture { width, height, .. } = self.pictures[at];
        let corners = [left / width, top / height, (left + wide) / width, (top + high) / height];
        let is_size = |length: f64| length > 0.0 && length.is_finite();
        if ![width, height, wide, high].into_iter().all(is_size) {
            let why = format!("its box is {wide} x {high} in a picture of {width} x {height}");
            return Err(BadSample::new(key, why));
        }
        let phrase = self.phrases.get(index).to_owned();
        let content = Content::Region { corners, phrase };
        Ok(Example { key, image: Some(self.folder.join(file)), content })
    }
}
