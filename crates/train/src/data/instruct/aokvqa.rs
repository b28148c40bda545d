//! A-OKVQA: questions with options that take knowledge of the world.

use std::sync::Arc;

use serde::Deserialize;

use super::choices::{Choice, Choices};
use super::{InstructionSet, Place, read};
use crate::data::Error;

#[derive(Deserialize)]
struct Record {
    #[serde(default)]
    question_id: Option<String>,
    image_id: u64,
    question: String,
    choices: Vec<String>,
    correct_choice_idx: usize,
}

pub(super) fn open(place: &Place<'_>) -> Result<Arc<dyn InstructionSet>, Error> {
    let folder = place.images.to_owned();
    let mut questions = Vec::new();
    read::list(&place.files[0], None, |record: Record| {
        questions.push(Choice {
            key: record.question_id.unwrap_or_else(|| questions.len().to_string()),
            picture: Some(format!("{:012}.jpg", record.image_id)),
            question: record.question,
            choices: record.choices,
            answer: record.correct_choice_idx,
        });
    })?;
    Ok(Arc::new(Choices { folder, questions }))
}
