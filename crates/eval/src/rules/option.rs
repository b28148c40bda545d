//! Which option an answer chooses.

use super::RuleSet;
use super::python::is_space;

/// What every gateway's failure says; such an answer chooses nothing.
pub(crate) const FAILURE: &str = "Failed to obtain answer via API";
/// Answers that refuse; they choose `Z`, which is never right.
const REFUSALS: [&str; 4] = [
    "Sorry, I can't help with images of people yet.",
    "I can't process this file.",
    "I'm sorry, but without the image provided",
    "Cannot determine the answer",
];
/// What no question has as an option: an answer that is none of them.
pub const NONE_OF_THEM: &str = "Z";
/// Read as white space.
const PUNCTUATION: &str = ".()[],:;!*#{}";
/// How near to the end a lone letter has to be, in words.
const NEAR_END: usize = 4;

/// Options by letter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Letter, text, and the text in lower case.
    options: Vec<(String, String, String)>,
}

impl Options {
    /// Returns options in this order.
    pub fn new<L: Into<String>, T: Into<String>>(
        options: impl IntoIterator<Item = (L, T)>,
    ) -> Self {
        let with_lower = |(letter, text): (L, T)| {
            let text = text.into();
            let lower = text.to_lowercase();
            (letter.into(), text, lower)
        };
        Self { options: options.into_iter().map(with_lower).collect() }
    }

    /// Returns letters and texts.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.options.iter().map(|(letter, text, _)| (letter.as_str(), text.as_str()))
    }

    /// Returns whether there are none.
    pub fn is_empty(&self) -> bool {
        self.options.is_empty()
    }

    fn position(&self, letter: &str) -> Option<usize> {
        self.options.iter().position(|(known, ..)| known == letter)
    }
}

/// Returns the letter that an answer chooses: the one it says, or that of the text it has.
pub fn infer<'o>(rules: RuleSet, answer: &str, options: &'o Options) -> Option<&'o str> {
    infer_letter(rules, answer, options).or_else(|| infer_text(rules, answer, options))
}

/// Returns the letter that an answer says, or `Z` if it refuses.
pub fn infer_letter<'o>(rules: RuleSet, answer: &str, options: &'o Options) -> Option<&'o str> {
    if answer.contains(FAILURE) {
        return None;
    }
    if REFUSALS.iter().any(|refusal| answer.contains(refusal)) {
        return Some(NONE_OF_THEM);
    }
    // Of each option the first word that is its letter.
    let mut firsts = vec![None; options.options.len()];
    let mut num_words = 0;
    let mut says_none = false;
    for word in answer.split(|c| is_space(c) || PUNCTUATION.contains(c)) {
        if word.is_empty() {
            continue;
        }
        if let Some(option) = options.position(word) {
            firsts[option].get_or_insert(num_words);
        }
        says_none |= word == NONE_OF_THEM;
        num_words += 1;
    }
    let mut found =
        firsts.iter().enumerate().filter_map(|(option, first)| Some((option, (*first)?)));
    match (found.next(), found.next()) {
        (Some((option, first)), None) => {
            let counts = match rules {
                RuleSet::March2025 => true,
                RuleSet::Head => first + NEAR_END >= num_words,
            };
            if counts {
                return Some(&options.options[option].0);
            }
        }
        (None, _) if says_none => return Some(NONE_OF_THEM),
        _ => {}
    }
    match rules {
        RuleSet::March2025 => None,
        RuleSet::Head => {
            let letter = announced(answer)?;
            options.position(letter).map(|option| options.options[option].0.as_str())
        }
    }
}

/// Returns the letter of the only option whose text an answer has.
pub fn infer_text<'o>(rules: RuleSet, answer: &str, options: &'o Options) -> Option<&'o str> {
    let answer = answer.to_lowercase();
    if rules == RuleSet::Head {
        let total: usize = options.options.iter().map(|(_, text, _)| text.chars().count()).sum();
        if answer.chars().count() > 2 * total {
            return None;
        }
    }
    let mut found = options.options.iter().filter(|(.., lower)| answer.contains(lower.as_str()));
    match (found.next(), found.next()) {
        (Some((letter, ..)), None) => Some(letter),
        _ => None,
    }
}

/// Returns the letter after the first "answer is", in any case and whatever follows the letter.
fn announced(answer: &str) -> Option<&'static str> {
    let starts = answer.char_indices().filter(|(_, c)| matches!(c, 'a' | 'A'));
    starts.map(|(at, _)| &answer[at..]).find_map(announced_at)
}

fn announced_at(text: &str) -> Option<&'static str> {
    let rest = spaces(word(text, "answer")?)?;
    let rest = spaces(word(rest, "is")?)?;
    match rest.trim_start_matches('*').chars().next()? {
        'a' | 'A' => Some("A"),
        'b' | 'B' => Some("B"),
        'c' | 'C' => Some("C"),
        'd' | 'D' => Some("D"),
        _ => None,
    }
}

/// Returns what follows a word in any case.
fn word<'t>(text: &'t str, word: &str) -> Option<&'t str> {
    let mut chars = text.chars();
    for expected in word.chars() {
        let c = chars.next()?;
        // The long s is an s of another case.
        if !(c.eq_ignore_ascii_case(&expected) || (expected == 's' && c == '\u{17f}')) {
            return None;
        }
    }
    Some(chars.as_str())
}

/// Returns what follows white space, of which there must be some.
fn spaces(text: &str) -> Option<&str> {
    let rest = text.trim_start_matches(is_space);
    (rest.len() < text.len()).then_some(rest)
}

/// Returns the letters that options may have.
pub fn letters() -> impl Iterator<Item = char> {
    'A'..='Z'
}
