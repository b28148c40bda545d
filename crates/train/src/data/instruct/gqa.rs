//! GQA: questions about the scene graphs of pictures.

use std::sync::Arc;

use serde::Deserialize;

use super::pairs::{Pair, Pairs};
use super::read::Id;
use super::{InstructionSet, Place, SHORT, read};
use crate::data::Error;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Record {
    image_id: Id,
    question: String,
    answer: String,
}

pub(super) fn open(place: &Place<'_>) -> Result<Arc<dyn InstructionSet>, Error> {
    let mut pairs = Pairs::new(place.images, SHORT);
    read::map(&place.files[0], |key, record: Record| {
        pairs.push(&Pair {
            key: &key,
            picture: Some(&format!("{}.jpg", record.image_id)),
            input: &record.question,
            target: &record.answer,
        });
    })?;
    Ok(pairs.finish())
}
