//! LLaVA-150k, and conversations of one's own in its format: every answer is an example.

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
    from: Role,
    value: String,
}

/// Who speaks; other names than `LLaVA`'s own are those of the `OpenAI` API.
#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Role {
    #[serde(alias = "user")]
    Human,
    #[serde(alias = "assistant")]
    Gpt,
    System,
}

/// Reads the published file.
pub(super) fn open(place: &Place<'_>) -> Result<Arc<dyn InstructionSet>, Error> {
    let mut pairs = Pairs::new(place.images, "");
    let mut num_records = 0_u64;
    read::list(&place.files[0], None, |record: Record| {
        let name = num_records.to_string();
        num_records += 1;
        push(&mut pairs, &name, record);
    })?;
    Ok(pairs.finish())
}

/// Reads a file of one's own: a list, or a conversation on every line; each must have an answer.
pub(super) fn open_own(place: &Place<'_>) -> Result<Arc<dyn InstructionSet>, Error> {
    let mut pairs = Pairs::new(place.images, "");
    let mut without = None;
    read::records(&place.files[0], |at: &str, record: Record| {
        if push(&mut pairs, at, record) == 0 {
            without.get_or_insert_with(|| at.to_owned());
        }
    })?;
    if let Some(at) = without {
        let reason = format!("{at} has no turn of `human` with one of `gpt` after it");
        return Err(Error::UnusableFile { path: place.files[0].clone(), reason });
    }
    Ok(pairs.finish())
}

/// Takes up every answer of a conversation, which is called `name` if it does not say so itself;
/// returns how many there are.
fn push(pairs: &mut Pairs, name: &str, record: Record) -> usize {
    let id = record.id.unwrap_or_else(|| Id::Text(name.to_owned()));
    let turns = record.conversations.windows(2).enumerate();
    let answered =
        turns.filter(|(_, pair)| (pair[0].from, pair[1].from) == (Role::Human, Role::Gpt));
    let mut num_answers = 0;
    for (at, turns) in answered {
        num_answers += 1;
        pairs.push(&Pair {
            key: &format!("{id}/{at}"),
            picture: record.image.as_deref(),
            input: &without_image(&turns[0].value),
            target: &turns[1].value,
        });
    }
    num_answers
}

/// Removes the mark of the picture, which every example gets anew, with the line break around it.
fn without_image(text: &str) -> String {
    text.replace("<image>\n", "").replace("\n<image>", "").replace("<image>", "")
}
