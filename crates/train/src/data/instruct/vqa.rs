//! `VQAv2`: questions about pictures of COCO and the answer that most people gave.

use std::collections::HashMap;
use std::sync::Arc;

use serde::Deserialize;

use super::pairs::{Pair, Pairs};
use super::texts::Interner;
use super::{InstructionSet, Place, SHORT, read};
use crate::data::Error;

#[derive(Deserialize)]
struct Record {
    question_id: u64,
    image_id: u64,
    question: String,
}

#[derive(Deserialize)]
struct Annotation {
    question_id: u64,
    multiple_choice_answer: String,
}

pub(super) fn open(place: &Place<'_>) -> Result<Arc<dyn InstructionSet>, Error> {
    let mut pairs = Pairs::new(place.images, SHORT);
    let mut answers = Interner::default();
    let mut answer_of = HashMap::new();
    read::list(&place.files[1], Some("annotations"), |record: Annotation| {
        answer_of.insert(record.question_id, answers.push(&record.multiple_choice_answer));
    })?;
    let mut num_unanswered = 0_u64;
    read::list(&place.files[0], Some("questions"), |record: Record| {
        let Some(answer) = answer_of.get(&record.question_id) else {
            num_unanswered += 1;
            return;
        };
        pairs.push(&Pair {
            key: &record.question_id.to_string(),
            picture: Some(&format!("COCO_train2014_{:012}.jpg", record.image_id)),
            input: &record.question,
            target: answers.get(*answer),
        });
    })?;
    if num_unanswered > 0 {
        let path = place.files[1].display();
        tracing::warn!(
            num_unanswered,
            "questions have no annotation in `{path}`, they are left out"
        );
    }
    Ok(pairs.finish())
}
