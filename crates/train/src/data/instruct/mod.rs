//! The eleven instruction sets, each read from the files in which it is published.
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
mod stream;
mod texts;
mod vg;
mod vqa;
mod vsr;

use std::path::PathBuf;
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
    /// Returns what the user says and what is answered, for a view of the picture.
    ///
    /// # Errors
    /// If there is no letter for an option, or no option for the answer.
    pub fn render(
        self,
        view: Option<&Augmentation>,
        rng: &mut SampleRng,
    ) -> Result<(String, String), String> {
        match self {
            Self::Text { input, target } => Ok((input, target)),
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

type Open = fn(&DataRecipe) -> Result<Arc<dyn InstructionSet>, Error>;

/// The sets by name.
const SETS: [(&str, Open); 11] = [
    ("vqa", vqa::open),
    ("gqa", gqa::open),
    ("vsr", vsr::open),
    ("ocrvqa", ocrvqa::open),
    ("aokvqa", aokvqa::open),
    ("scienceqa", scienceqa::open),
    ("refcoco", refcoco::open),
    ("refcoco+", refcoco::open),
    ("refcocog", refcoco::open),
    ("vg", vg::open),
    ("llava150k", llava::open),
];

/// Returns the names of the sets.
pub fn names() -> Vec<&'static str> {
    SETS.iter().map(|(name, _)| *name).collect()
}

/// Reads the annotations of the set that a recipe names.
///
/// # Errors
/// If there is no such set, a file or the folder of the pictures is missing, or a file is not what
/// it should be.
pub fn open(recipe: &DataRecipe) -> Result<Arc<dyn InstructionSet>, Error> {
    match SETS.iter().find(|(name, _)| *name == recipe.name) {
        Some((_, open)) => open(recipe),
        None => Err(Error::UnknownSet { name: recipe.name.clone(), known: names() }),
    }
}
