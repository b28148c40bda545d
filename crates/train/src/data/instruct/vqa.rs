//! `VQAv2`: questions about pictures of COCO and the answer that most people gave.

use std::collections::HashMap;
use std::sync::Arc;

use serde::Deserialize;

use super::pairs::{Pair, Pairs};
use super::texts::Interner;
use super::{InstructionSet, SHORT, read};
use crate::data::Error;
use crate::recipe::DataRecipe;

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

pub(super) fn open(recipe: &DataRecipe) -> Result<Arc<dyn InstructionSet>, Error> {
    let [questions, annotations] = read::files(
        recipe,
        ["v2_OpenEnded_mscoco_train2014_questions.json", "v2_mscoco_train2014_annotations.json"],
    )?;
    let mut pairs = Pairs::new(read::images(recipe)?, SHORT);
    let mut answers = Interner::default();
    let mut answer_of = HashMap::new();
    read::list(&annotations, Some("annotations"), |record: Annotation| {
        answer_of.insert(record.question_id, answers.push(&record.multiple_choice_answer));
    })?;
    let mut num_unanswered = 0_u64;
    read::list(&questions, Some("questions"), |record: Record| {
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
        let path = annotations.display();
        tracing::warn!(
            num_unanswered,
            "questions have no annotation in `{path}`, they are left out"
        );
    }
    Ok(pairs.finish())
}
