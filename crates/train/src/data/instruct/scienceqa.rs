//! `ScienceQA`: questions with options out of schoolbooks, with a picture or without.

use std::sync::Arc;

use serde::Deserialize;

use super::choices::{Choice, Choices};
use super::{InstructionSet, Place, read};
use crate::data::Error;

#[derive(Deserialize)]
struct Problem {
    question: String,
    choices: Vec<String>,
    answer: usize,
    #[serde(default)]
    hint: Option<String>,
    #[serde(default)]
    image: Option<String>,
    split: String,
}

pub(super) fn open(place: &Place<'_>) -> Result<Arc<dyn InstructionSet>, Error> {
    let folder = place.images.to_owned();
    let mut questions = Vec::new();
    read::map(&place.files[0], |key, problem: Problem| {
        if problem.split != "train" {
            return;
        }
        let hint = problem.hint.filter(|hint| !hint.is_empty());
        let hint = hint.as_deref().unwrap_or("N/A");
        questions.push(Choice {
            picture: problem
                .image
                .filter(|image| !image.is_empty())
                .map(|image| format!("{key}/{image}")),
            key,
            question: format!("{}\nContext: {hint}", problem.question),
            choices: problem.choices,
            answer: problem.answer,
        });
    })?;
    Ok(Arc::new(Choices { folder, questions }))
}
