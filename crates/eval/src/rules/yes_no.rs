//! Whether an answer says yes or no.

use std::fmt;

use super::RuleSet;
use super::python::{is_digit, split};

/// What each is read as: nothing, or a space.
const PUNCTUATION: [char; 21] = [
    ';', '/', '[', ']', '"', '{', '}', '(', ')', '=', '+', '\\', '_', '-', '>', '<', '@', '`', ',',
    '?', '!',
];
/// How many full stops are removed.
const MAX_STOPS: usize = 32;

/// What an answer says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum YesNo {
    /// Yes, and not no.
    Yes,
    /// No, and not yes.
    No,
    /// Neither, or both.
    Unknown,
}

impl YesNo {
    /// Returns what an answer says.
    pub fn extract(rules: RuleSet, answer: &str) -> Self {
        let text = strip_punctuation(rules, &answer.to_lowercase());
        let (mut yes, mut no) = (false, false);
        for word in split(&text) {
            yes |= word == "yes";
            no |= word == "no";
        }
        match (yes, no) {
            (true, false) => Self::Yes,
            (false, true) => Self::No,
            _ => Self::Unknown,
        }
    }

    /// Returns the word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Yes => "Yes",
            Self::No => "No",
            Self::Unknown => "Unknown",
        }
    }
}

impl fmt::Display for YesNo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Removes punctuation, or puts a space in its place, as the scorers of visual question answering
/// do.
pub fn strip_punctuation(rules: RuleSet, text: &str) -> String {
    let has_thousands = has_digit_comma_digit(text);
    let mut removed = [false; PUNCTUATION.len()];
    for (removed, mark) in removed.iter_mut().zip(PUNCTUATION) {
        *removed = has_thousands || is_beside_space(text, mark);
    }
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match PUNCTUATION.iter().position(|mark| *mark == c) {
            None => out.push(c),
            Some(mark) if removed[mark] => {}
            Some(_) => out.push(' '),
        }
    }
    strip_stops(rules, &out)
}

/// Removes full stops that are beside no digit, as far as there are not too many.
///
/// The pattern of the paper's time has a slip in it (`(?!<=` in place of `(?<!`): what stands before
/// a full stop never mattered then.
fn strip_stops(rules: RuleSet, text: &str) -> String {
    if !text.contains('.') {
        return text.to_owned();
    }
    let mut out = String::with_capacity(text.len());
    let mut before = None;
    let mut num_removed = 0;
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        let after_digit = rules == RuleSet::Head && before.is_some_and(is_digit);
        let beside_digit = after_digit || chars.peek().copied().is_some_and(is_digit);
        if c == '.' && num_removed < MAX_STOPS && !beside_digit {
            num_removed += 1;
        } else {
            out.push(c);
        }
        before = Some(c);
    }
    out
}

/// Returns whether a mark, which is ASCII, has a space before or after it anywhere.
fn is_beside_space(text: &str, mark: char) -> bool {
    let bytes = text.as_bytes();
    text.bytes().enumerate().any(|(at, byte)| {
        byte == mark as u8
            && (bytes.get(at + 1) == Some(&b' ') || (at > 0 && bytes[at - 1] == b' '))
    })
}

fn has_digit_comma_digit(text: &str) -> bool {
    text.match_indices(',').any(|(at, _)| {
        text[..at].chars().next_back().is_some_and(is_digit)
            && text[at + 1..].chars().next().is_some_and(is_digit)
    })
}
