//! GQA: questions about the scene graphs of pictures.

use std::sync::Arc;

use serde::Deserialize;

use super::pairs::{Pair, Pairs};
use super::read::Id;
use super::{InstructionSet, SHORT, read};
use crate::data::Error;
use crate::recipe::DataRecipe;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Record {
    image_id: Id,
    question: String,
    answer: String,
}

pub(super) fn open(recipe: &DataRecipe) -> Result<Arc<dyn InstructionSet>, Error> {
    let [questions] = read::files(recipe, ["train_balanced_questions.json"])?;
    let mut pairs = Pairs::new(read::images(recipe)?, SHORT);
    read::map(&questions, |key, record: Record| {
        pairs.push(&Pair {
            key: &key,
            picture: Some(&format!("{}.jpg", record.image_id)),
            input: &record.question,
            target: &record.answer,
        });
    })?;
    Ok(pairs.finish())
}
