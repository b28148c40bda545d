//! VSR: statements on where things are in a picture, made into questions.

use std::sync::Arc;

use serde::Deserialize;

use super::pairs::{Pair, Pairs};
use super::{InstructionSet, Place, SHORT, read};
use crate::data::Error;

#[derive(Deserialize)]
struct Statement {
    image_link: String,
    caption: String,
    label: u8,
}

pub(super) fn open(place: &Place<'_>) -> Result<Arc<dyn InstructionSet>, Error> {
    let mut pairs = Pairs::new(place.images, SHORT);
    read::lines(&place.files[0], |line, record: Statement| {
        let question = ask(&record.caption);
        pairs.push(&Pair {
            key: &line.to_string(),
            picture: Some(file_of(&record.image_link)),
            input: &format!("Is {question} Please answer yes or no."),
            target: if record.label == 0 { "no" } else { "yes" },
        });
    })?;
    Ok(pairs.finish())
}

/// Returns the folder and the name that a link ends with.
fn file_of(link: &str) -> &str {
    let name = link.rfind('/');
    let folder = name.and_then(|name| link[..name].rfind('/'));
    folder.map_or(link, |folder| &link[folder + 1..])
}

/// Makes the end of a question out of a statement: `The cat is on the bed.` gives `the cat on the
/// bed?`. As in the authors' code an `is` inside a word is lost too.
fn ask(statement: &str) -> String {
    let parts = statement.split("is").map(|part| {
        let part = part.to_lowercase().replace('.', "?");
        part.trim().to_owned()
    });
    parts.collect::<Vec<_>>().join(" ")
}
