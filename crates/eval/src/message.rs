//! What a model is asked: the benchmark's own words, and where the images go.

use std::fmt::Write;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::rules::letters;
use crate::{Family, Question, Row};

/// A part of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// Text.
    Text(String),
    /// One of the question's images, counted from 0.
    Image(usize),
}

/// Which images of a question are shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ImageUse {
    /// The first one, as the authors' code does: later ones leave nothing behind.
    #[default]
    First,
    /// All of them.
    All,
}

impl FromStr for ImageUse {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        match name {
            "first" => Ok(Self::First),
            "all" => Ok(Self::All),
            _ => Err("expected `first` or `all`".to_owned()),
        }
    }
}

/// How a message becomes the model's prompt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Form {
    /// As the authors' adapter for `VLMEvalKit` does: `<s><|system|>`, and nothing between
    /// `<image>` and the text.
    Adapter,
    /// As the authors' script for CV-Bench does: `<s> <|system|>`. The line break that it has after
    /// `<image>` is a part of the message.
    Script,
}

/// What may be asked otherwise than the authors did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MessageOptions {
    /// Which images are shown.
    pub images: ImageUse,
    /// Whether questions with yes and no begin with a wish for a short answer.
    pub short: bool,
    /// Whether the text comes before the images, for models that were trained so.
    pub text_first: bool,
}

/// What is said before questions with yes and no, if a short answer is wished for.
const SHORT: &str = "\nAnswer the question using a single word or phrase. ";

/// Returns what is asked.
pub fn message(
    family: Family,
    question: &Question,
    num_images: usize,
    options: MessageOptions,
) -> Vec<Part> {
    let mut text = text(family, &question.row);
    if options.short && matches!(family, Family::Mme | Family::Pope | Family::YesNo) {
        text.insert_str(0, SHORT);
    }
    let parts = if family == Family::Mmmu && text.contains(MARK) {
        place(&text, num_images)
    } else {
        (0..num_images).map(Part::Image).chain([Part::Text(text)]).collect()
    };
    let mut parts = match options.images {
        ImageUse::All => parts,
        ImageUse::First => keep_first(parts),
    };
    if options.text_first {
        parts.sort_by_key(|part| matches!(part, Part::Image(_)));
    }
    if form(family) == Form::Script { break_lines(parts) } else { parts }
}

/// Puts a line break after every image.
fn break_lines(parts: Vec<Part>) -> Vec<Part> {
    let mut broken = Vec::new();
    let mut after_image = false;
    for part in parts {
        match part {
            Part::Text(text) if std::mem::take(&mut after_image) => {
                broken.push(Part::Text(format!("\n{text}")));
            }
            Part::Text(_) => broken.push(part),
            Part::Image(_) => {
                if std::mem::replace(&mut after_image, true) {
                    broken.push(Part::Text("\n".to_owned()));
                }
                broken.push(part);
            }
        }
    }
    if after_image {
        broken.push(Part::Text("\n".to_owned()));
    }
    broken
}

/// Returns how the model's prompt is made of a message.
pub fn form(family: Family) -> Form {
    if family == Family::CvBench { Form::Script } else { Form::Adapter }
}

/// Returns the text of a message with `<image>` in the place of every image.
pub fn spell(parts: &[Part]) -> String {
    let mut text = String::new();
    for part in parts {
        match part {
            Part::Text(words) => text.push_str(words),
            Part::Image(_) => text.push_str("<image>"),
        }
    }
    text
}

fn keep_first(parts: Vec<Part>) -> Vec<Part> {
    let mut seen = false;
    let keep = |part: &Part| match part {
        Part::Text(_) => true,
        Part::Image(_) => !std::mem::replace(&mut seen, true),
    };
    parts.into_iter().filter(keep).collect()
}

fn text(family: Family, row: &Row) -> String {
    let cell = |name: &str| row.get(name);
    let question = cell("question").unwrap_or_default();
    match family {
        Family::CvBench => {
            let choices = cell("choices").unwrap_or("[]");
            let choices: Vec<String> = serde_json::from_str(choices).unwrap_or_default();
            let options: Vec<String> =
                letters().zip(choices).map(|(letter, text)| format!("{letter}. {text}")).collect();
            let options = options.join("\n");
            format!(
                "Answer with the option's letter from the given choices directly. {question}\n\
                 Options:\n{options}\n"
            )
        }
        _ if family.is_choice() => choice(question, cell("hint"), row),
        _ => question.to_owned(),
    }
}

/// Asks for one of the options, as `VLMEvalKit` does.
fn choice(question: &str, hint: Option<&str>, row: &Row) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    if let Some(hint) = hint {
        let _ = writeln!(text, "Hint: {hint}");
    }
    let _ = writeln!(text, "Question: {question}");
    let mut has_options = false;
    for letter in letters() {
        let Some(option) = row.get(letter.encode_utf8(&mut [0; 4]) as &str) else { continue };
        if !std::mem::replace(&mut has_options, true) {
            text.push_str("Options:\n");
        }
        let _ = writeln!(text, "{letter}. {option}");
    }
    if has_options {
        text.push_str("Please select the correct answer from the options above. \n");
    }
    text
}

/// What stands in MMMU's texts where an image goes, before its number.
const MARK: &str = "<image ";

/// Puts images where a text has marks such as `<image 2>`; a mark of another form, or of an image
/// that there is not, stays text.
fn place(text: &str, num_images: usize) -> Vec<Part> {
    let mut parts = Vec::new();
    let mut words = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(MARK) {
        words.push_str(&rest[..at]);
        let after = &rest[at + MARK.len()..];
        let mut chars = after.chars();
        let number = chars.next().and_then(|c| c.to_digit(10)).map(|number| number as usize);
        match number {
            Some(number) if chars.next() == Some('>') && (1..=num_images).contains(&number) => {
                if !words.is_empty() {
                    parts.push(Part::Text(std::mem::take(&mut words)));
                }
                parts.push(Part::Image(number - 1));
                rest = chars.as_str();
            }
            _ => {
                words.push_str(MARK);
                rest = after;
            }
        }
    }
    words.push_str(rest);
    if !words.is_empty() {
        parts.push(Part::Text(words));
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Place;

    fn question(cells: &[(&str, &str)]) -> Question {
        let row = cells.iter().copied();
        let place = Place { offset: 0, line: 2 };
        Question { index: "1".to_owned(), row: row.collect(), image: None, place, number: 1 }
    }

    fn spelled(
        family: Family,
        cells: &[(&str, &str)],
        images: usize,
        options: MessageOptions,
    ) -> String {
        let spell = |part| match part {
            Part::Text(text) => text,
            Part::Image(number) => format!("<{number}>"),
        };
        message(family, &question(cells), images, options).into_iter().map(spell).collect()
    }

    const ALL: MessageOptions =
        MessageOptions { images: ImageUse::All, short: false, text_first: false };

    #[test]
    fn options_that_are_missing_are_left_out() {
        let cells = [("question", "Which?"), ("A", "x"), ("C", "z"), ("hint", "look")];
        assert_eq!(
            spelled(Family::MmBench, &cells, 1, ALL),
            "<0>Hint: look\nQuestion: Which?\nOptions:\nA. x\nC. z\nPlease select the correct \
             answer from the options above. \n"
        );
        assert_eq!(
            spelled(Family::Mmmu, &[("question", "How many?")], 1, ALL),
            "<0>Question: How many?\n"
        );
    }

    #[test]
    fn images_of_mmmu_stand_where_they_are_named() {
        let cells =
            [("question", "Is <image 2> like <image 1> or <image 2>, <image 9> or <image x>?")];
        assert_eq!(
            spelled(Family::Mmmu, &cells, 2, ALL),
            "Question: Is <1> like <0> or <1>, <image 9> or <image x>?\n"
        );
        // The authors' adapter shows the image that comes first.
        assert_eq!(
            spelled(Family::Mmmu, &cells, 2, MessageOptions::default()),
            "Question: Is <1> like  or , <image 9> or <image x>?\n"
        );
    }

    #[test]
    fn the_text_comes_first_where_a_model_was_trained_so() {
        let options = MessageOptions { text_first: true, ..ALL };
        let cells = [("question", "Is <image 2> like <image 1>?")];
        assert_eq!(spelled(Family::MmVet, &[("question", "Is it?")], 1, options), "Is it?<0>");
        assert_eq!(spelled(Family::Mmmu, &cells, 2, options), "Question: Is  like ?\n<1><0>");
    }

    #[test]
    fn a_short_answer_is_asked_for_where_it_is_yes_or_no() {
        let options = MessageOptions { short: true, ..ALL };
        let cells = [("question", "Is it?")];
        assert_eq!(
            spelled(Family::Pope, &cells, 1, options),
            "<0>\nAnswer the question using a single word or phrase. Is it?"
        );
        assert_eq!(spelled(Family::MmVet, &cells, 1, options), "<0>Is it?");
    }

    #[test]
    fn cv_bench_is_asked_in_the_words_of_the_authors() {
        let cells = [("question", "How many?"), ("choices", r#"["1","2"]"#)];
        assert_eq!(
            spelled(Family::CvBench, &cells, 1, ALL),
            "<0>\nAnswer with the option's letter from the given choices directly. How many?\n\
             Options:\nA. 1\nB. 2\n"
        );
        let options = MessageOptions { text_first: true, ..ALL };
        assert_eq!(
            spelled(Family::CvBench, &[("question", "Is it?")], 1, options),
            "Answer with the option's letter from the given choices directly. Is it?\n\
             Options:\n\n<0>\n"
        );
    }
}
