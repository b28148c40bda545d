//! LLaVA-150k: conversations about pictures of COCO, of which every answer is an example.

use std::sync::Arc;

use serde::Deserialize;

use super::pairs::{Pair, Pairs};
use super::read::Id;
use super::{InstructionSet, Place, read};
use crate::data::Error;

#[derive(Deserialize)]
struct Record {
    #[serde(default)]
    id: Option<Id>,
    #[serde(default)]
    image: Option<String>,
    conversations: Vec<Turn>,
}

#[derive(Deserialize)]
struct Turn {
    from: String,
    value: String,
}

pub(super) fn open(place: &Place<'_>) -> Result<Arc<dyn InstructionSet>, Error> {
    let mut pairs = Pairs::new(place.images, "");
    let mut num_records = 0_u64;
    read::list(&place.files[0], None, |record: Record| {
        let id = record.id.unwrap_or(Id::Number(num_records));
        num_records += 1;
        for (at, turns) in record.conversations.windows(2).enumerate() {
            if (turns[0].from.as_str(), turns[1].from.as_str()) != ("human", "gpt") {
                continue;
            }
            pairs.push(&Pair {
                key: &format!("{id}/{at}"),
                picture: record.image.as_deref(),
                input: &without_image(&turns[0].value),
                target: &turns[1].value,
            });
        }
    })?;
    Ok(pairs.finish())
}

/// Removes the mark of the picture, which every example gets anew, with the line break around it.
fn without_image(text: &str) -> String {
    text.replace("<image>\n", "").replace("\n<image>", "").replace("<image>", "")
}
