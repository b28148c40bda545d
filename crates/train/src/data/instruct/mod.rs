//! The eleven instruction sets, each read from the files in which it is published, and
//! conversations of one's own.
//!
//! A set keeps its annotations in memory, compactly; pictures are read when they are drawn. What an
//! example says may depend on the view of its picture, so text is made after the view is chosen.

mod aokvqa;
mod choices;
mod gqa;
mod llava;
mod ocrvqa;
mod pairs;
mod read;
mod refcoco;
mod regions;
mod scienceqa;
mod siblings;
mod stream;
mod texts;
mod vg;
mod vqa;
mod vsr;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::augment::FractionBox;
use super::{Augmentation, BadSample, Error, SampleRng};
use crate::recipe::DataRecipe;

pub use self::stream::{InstructionMaker, InstructionStream};

/// What precedes a question that a word or phrase answers.
const SHORT: &str = "Answer the question using a single word or phrase. ";
/// What precedes a question with options.
const LETTER: &str = "Answer with the option's letter from the given choices directly. ";
/// What precedes a box.
const REGION: &str = "Provide a short description for this region. ";

/// The examples of one data set.
pub trait InstructionSet: Send + Sync {
    /// Returns how many there are.
    fn num_examples(&self) -> usize;

    /// Returns one of them.
    ///
    /// # Errors
    /// If what the files say about it does not fit together.
    fn example(&self, index: usize) -> Result<Example, BadSample>;

    /// Returns the examples that are about the same picture, this one among them, where the set
    /// knows; none where it does not.
    fn siblings(&self, index: usize) -> &[u32] {
        let _ = index;
        &[]
    }
}

/// One example before its picture is read.
#[derive(Clone, Debug, PartialEq)]
pub struct Example {
    /// What it is called in its data set.
    pub key: String,
    /// Its picture, if it has one.
    pub image: Option<PathBuf>,
    /// What is asked and answered.
    pub content: Content,
}

/// What is asked and answered.
#[derive(Clone, Debug, PartialEq)]
pub enum Content {
    /// A text and the answer to it.
    Text {
        /// How to answer: what precedes the text, unless it has been said in the conversation.
        opening: &'static str,
        /// What the user says.
        input: String,
        /// What is answered.
        target: String,
    },
    /// A question that the letter of an option answers; the options come in any order.
    Choice {
        /// What the user says before the options.
        question: String,
        /// The options.
        choices: Vec<String>,
        /// Which one is right.
        answer: usize,
    },
    /// A part of the picture and what it shows.
    Region {
        /// Where it is.
        corners: FractionBox,
        /// What it shows.
        phrase: String,
    },
}

impl Content {
    /// Returns what the user says and what is answered, for a view of the picture. How to answer a
    /// text is said in the first turn of a conversation only, as in `LLaVA`-1.5's data.
    ///
    /// # Errors
    /// If there is no letter for an option, or no option for the answer.
    pub fn render(
        self,
        is_first: bool,
        view: Option<&Augmentation>,
        rng: &mut SampleRng,
    ) -> Result<(String, String), String> {
        match self {
            Self::Text { input, target, .. } if !is_first => Ok((input, target)),
            Self::Text { opening, input, target } => Ok((format!("{opening}{input}"), target)),
            Self::Choice { question, choices, answer } => {
                if answer >= choices.len() || choices.len() > usize::from(b'Z' - b'A') + 1 {
                    let len = choices.len();
                    return Err(format!("its answer is option {answer} of {len}, counted from 0"));
                }
                let letter = |at: usize| char::from(b'A' + at as u8);
                let mut order: Vec<_> = (0..choices.len()).collect();
                rng.shuffle(&mut order);
                let mut input = format!("{LETTER}{question}\nOptions:\n");
                for (at, choice) in order.iter().enumerate() {
                    input.extend([&*format!("{}. ", letter(at)), &choices[*choice], "\n"]);
                }
                let at = order.iter().position(|choice| *choice == answer).unwrap_or(answer);
                Ok((input, letter(at).to_string()))
            }
            Self::Region { corners, phrase } => {
                let [left, top, right, bottom] = view.map_or(corners, |view| view.place(corners));
                let corners = format!("[{left:.3}, {top:.3}][{right:.3}, {bottom:.3}]");
                Ok((format!("{REGION}<bbox>{corners}</bbox>"), phrase))
            }
        }
    }
}

/// Where the files of a set are; all of them are there.
struct Place<'a> {
    /// As many as are published, in their order.
    files: &'a [PathBuf],
    images: &'a Path,
}

/// A set that can be read.
struct Known {
    name: &'static str,
    /// The annotation files as they are published; those of one's own may have any name.
    files: &'static [&'static str],
    open: fn(&Place<'_>) -> Result<Arc<dyn InstructionSet>, Error>,
}

/// The name of conversations of one's own.
const OWN: &str = "llava";

static SETS: [Known; 12] = [
    Known {
        name: "vqa",
        files: &[
            "v2_OpenEnded_mscoco_train2014_questions.json",
            "v2_mscoco_train2014_annotations.json",
        ],
        open: vqa::open,
    },
    Known { name: "gqa", files: &["train_balanced_questions.json"], open: gqa::open },
    Known { name: "vsr", files: &["train-random.jsonl"], open: vsr::open },
    Known { name: "ocrvqa", files: &["dataset.json"], open: ocrvqa::open },
    Known { name: "aokvqa", files: &["aokvqa_v1p0_train.json"], open: aokvqa::open },
    Known { name: "scienceqa", files: &["problems.json"], open: scienceqa::open },
    Known { name: "refcoco", files: &["finetune_refcoco_train.json"], open: refcoco::open },
    Known { name: "refcoco+", files: &["finetune_refcoco+_train.json"], open: refcoco::open },
    Known { name: "refcocog", files: &["finetune_refcocog_train.json"], open: refcoco::open },
    Known { name: "vg", files: &["region_descriptions.json", "image_data.json"], open: vg::open },
    Known { name: "llava150k", files: &["llava_instruct_150k.json"], open: llava::open },
    Known { name: OWN, files: &["conversations.jsonl"], open: llava::open_own },
];

/// Returns the names of the sets.
pub fn names() -> Vec<&'static str> {
    SETS.iter().map(|known| known.name).collect()
}

/// Reads the annotations of the set that a recipe names.
///
/// # Errors
/// As [`check`], or if a file is not what it should be.
pub fn open(recipe: &DataRecipe) -> Result<Arc<dyn InstructionSet>, Error> {
    let (known, place) = find(recipe)?;
    (known.open)(&place)
}

/// Checks that a recipe names a set whose files are there. Those of one's own are read, because
/// they were written by hand and are small.
///
/// # Errors
/// If there is no such set, or a file or the folder of the pictures is missing, or a file of one's
/// own is not what it should be.
pub fn check(recipe: &DataRecipe) -> Result<(), Error> {
    let (known, place) = find(recipe)?;
    if known.name == OWN {
        (known.open)(&place)?;
    }
    Ok(())
}

fn find(recipe: &DataRecipe) -> Result<(&'static Known, Place<'_>), Error> {
    let name = &recipe.name;
    let Some(known) = SETS.iter().find(|known| known.name == name) else {
        return Err(Error::UnknownSet { name: name.clone(), known: names() });
    };
    if recipe.files.len() != known.files.len() {
        let (found, expected) = (recipe.files.len(), known.files.to_vec());
        return Err(Error::NumFiles { name: name.clone(), found, expected });
    }
    let missing = recipe.files.iter().zip(known.files).find(|(path, _)| !path.exists());
    if let Some((path, file)) = missing {
        let expected = if name == OWN {
            "conversations in LLaVA's format".to_owned()
        } else {
            format!("`{file}` as it is published")
        };
        return Err(Error::MissingFile { name: name.clone(), path: path.clone(), expected });
    }
    let missing = |reason| Error::MissingImages { name: name.clone(), reason };
    match &recipe.images {
        None => Err(missing("the recipe gives no folder".to_owned())),
        Some(folder) if !folder.is_dir() => {
            Err(missing(format!("`{}` is no folder", folder.display())))
        }
        Some(images) => Ok((known, Place { files: &recipe.files, images })),
    }
}
