//! OCR-VQA: questions about book covers.

use std::sync::Arc;

use serde::Deserialize;

use super::pairs::{Pair, Pairs};
use super::{InstructionSet, Place, SHORT, read};
use crate::data::Error;

/// The split that is for training.
const TRAIN: u8 = 1;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Book {
    split: u8,
    #[serde(rename = "imageURL")]
    image_url: String,
    questions: Vec<String>,
    answers: Vec<String>,
}

pub(super) fn open(place: &Place<'_>) -> Result<Arc<dyn InstructionSet>, Error> {
    let mut pairs = Pairs::new(place.images, SHORT);
    read::map(&place.files[0], |key, book: Book| {
        if book.split != TRAIN {
            return;
        }
        let picture = format!("{key}{}", extension(&book.image_url));
        for (at, (question, answer)) in book.questions.iter().zip(&book.answers).enumerate() {
            let key = format!("{key}/{at}");
            pairs.push(&Pair {
                key: &key,
                picture: Some(&picture),
                input: question,
                target: answer,
            });
        }
    })?;
    Ok(pairs.finish())
}

/// Returns the extension of the file at an address, with its dot.
fn extension(url: &str) -> &str {
    let name = url.rsplit('/').next().unwrap_or_default();
    name.rfind('.').map_or("", |dot| &name[dot..])
}
