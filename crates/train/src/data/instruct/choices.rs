//! Questions with options.

use std::path::PathBuf;

use super::{Content, Example, InstructionSet};
use crate::data::BadSample;

/// Questions with options; there are few enough of them to be kept as they are.
#[derive(Debug)]
pub(super) struct Choices {
    pub(super) folder: PathBuf,
    pub(super) questions: Vec<Choice>,
}

/// A question with options.
#[derive(Debug)]
pub(super) struct Choice {
    /// What it is called.
    pub(super) key: String,
    /// The file of its picture in the folder, if it has one.
    pub(super) picture: Option<String>,
    /// What the user says before the options.
    pub(super) question: String,
    /// The options.
    pub(super) choices: Vec<String>,
    /// Which one is right.
    pub(super) answer: usize,
}

impl InstructionSet for Choices {
    fn num_examples(&self) -> usize {
        self.questions.len()
    }

    fn example(&self, index: usize) -> Result<Example, BadSample> {
        let Choice { key, picture, question, choices, answer } = &self.questions[index];
        Ok(Example {
            key: key.clone(),
            image: picture.as_ref().map(|name| self.folder.join(name)),
            content: Content::Choice {
                question: question.clone(),
                choices: choices.clone(),
                answer: *answer,
            },
        })
    }
}
