//! Answers of `MathVista`.

use super::RuleSet;
use super::option::{Options, infer};
use super::python::{float, float_text, int, is_space, list, split};

/// A value as Python has it.
#[derive(Clone, Debug)]
pub enum MathValue {
    /// Nothing: what could not be read.
    None,
    /// An integer, as digits.
    Int(String),
    /// A number.
    Float(f64),
    /// Text.
    Text(String),
}

impl PartialEq for MathValue {
    /// Compares as Python does.
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::None, Self::None) => true,
            (Self::Int(a), Self::Int(b)) | (Self::Text(a), Self::Text(b)) => a == b,
            #[allow(clippy::float_cmp, reason = "the rule is equality, without a tolerance")]
            (Self::Float(a), Self::Float(b)) => a == b,
            #[allow(clippy::float_cmp, reason = "the rule is equality, without a tolerance")]
            (Self::Int(a), Self::Float(b)) | (Self::Float(b), Self::Int(a)) => {
                a.parse::<f64>().is_ok_and(|a| a == *b)
            }
            _ => false,
        }
    }
}

impl MathValue {
    /// Returns `str()` of it.
    pub fn to_text(&self) -> String {
        match self {
            Self::None => "None".to_owned(),
            Self::Int(digits) => digits.clone(),
            Self::Float(value) => float_text(*value),
            Self::Text(text) => text.clone(),
        }
    }

    /// Returns whether Python takes it for false.
    pub fn is_falsy(&self) -> bool {
        match self {
            Self::None => true,
            Self::Int(digits) => digits == "0",
            Self::Float(value) => *value == 0.0,
            Self::Text(text) => text.is_empty(),
        }
    }

    fn int(&self) -> Option<Self> {
        match self {
            Self::Int(_) => Some(self.clone()),
            // The part before the point.
            Self::Float(value) if value.is_finite() => {
                int(&format!("{:.0}", value.trunc())).map(Self::Int)
            }
            Self::None | Self::Float(_) => None,
            Self::Text(text) => int(text).map(Self::Int),
        }
    }

    fn float(&self) -> Option<Self> {
        match self {
            Self::None => None,
            Self::Int(digits) => digits.parse().ok().map(Self::Float),
            Self::Float(_) => Some(self.clone()),
            Self::Text(text) => float(text).map(Self::Float),
        }
    }
}

/// What the rules read of a question.
#[derive(Clone, Debug)]
pub struct MathQuestion {
    /// Whether an option is to be chosen.
    pub is_choice: bool,
    /// `integer`, `float`, `text` or `list`.
    pub answer_type: String,
    /// The right answer.
    pub answer: MathValue,
    /// The letter of the right option.
    pub answer_option: String,
    /// The options.
    pub options: Options,
}

impl MathQuestion {
    /// Returns the options that a list literal names, by letter; none if it is no list.
    pub fn options_of(literal: &str) -> Option<Options> {
        let letters = ('A'..='Z').map(String::from);
        Some(Options::new(letters.zip(list(literal)?)))
    }

    /// Returns what needs no judge: any letter that an answer chooses, right or wrong, or a number
    /// that is right.
    pub fn prefetch(&self, rules: RuleSet, prediction: &MathValue) -> Option<MathValue> {
        if self.is_choice {
            return self.letter(rules, prediction).map(MathValue::Text);
        }
        let (found, expected) = self.values(prediction);
        (found == expected).then_some(found)
    }

    /// Returns whether an extracted answer is right.
    pub fn is_hit(&self, rules: RuleSet, extracted: &MathValue) -> bool {
        if self.is_choice {
            return self
                .letter(rules, extracted)
                .is_some_and(|letter| letter == self.answer_option);
        }
        let (found, expected) = self.values(extracted);
        found == expected
    }

    /// Returns whether no answer is right: the published rule reads neither texts nor lists.
    pub fn is_never_right(&self) -> bool {
        let is_number = matches!(self.answer_type.as_str(), "integer" | "float");
        !self.is_choice && !is_number && self.answer.to_text() != "None"
    }

    fn letter(&self, rules: RuleSet, answer: &MathValue) -> Option<String> {
        infer(rules, &answer.to_text(), &self.options).map(str::to_owned)
    }

    /// Returns what the answer and the right answer are compared as.
    fn values(&self, answer: &MathValue) -> (MathValue, MathValue) {
        let read = match self.answer_type.as_str() {
            "integer" => MathValue::int,
            "float" => MathValue::float,
            // The published rule compares the word None with the answer, whatever was said.
            _ => {
                return (
                    MathValue::Text("None".to_owned()),
                    MathValue::Text(self.answer.to_text()),
                );
            }
        };
        let Some(found) = read(answer) else { return (MathValue::None, self.answer.clone()) };
        let expected = read(&self.answer).unwrap_or_else(|| self.answer.clone());
        (found, expected)
    }
}

/// Returns the answer in a reply, where no judge extracts it: an option's letter, or the last
/// number; and whether there is one.
pub fn extract_locally(question: &MathQuestion, reply: &str) -> (String, bool) {
    if question.is_choice {
        // The rules looked for a letter already.
        return (reply.to_owned(), false);
    }
    let number = |word: &str| {
        let word = word.trim_matches(|c: char| !c.is_ascii_digit() && c != '-' && c != '.');
        let word = word.trim_end_matches(['.', '-']).replace(',', "");
        float(&word).map(|_| word)
    };
    let found = split(reply).filter_map(number).last();
    match (question.answer_type.as_str(), found) {
        ("integer", Some(word)) => match float(&word) {
            // "14.0" is an integer in all but its spelling.
            Some(value) if value.fract() == 0.0 && value.is_finite() => {
                (format!("{value:.0}"), true)
            }
            _ => (word, true),
        },
        ("float", Some(word)) => (word, true),
        ("integer" | "float", None) => (reply.trim_matches(is_space).to_owned(), false),
        _ => (reply.trim_matches(is_space).to_owned(), true),
    }
}
