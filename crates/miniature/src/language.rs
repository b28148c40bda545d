//! Words for things: phrases that name one object, or several of a look.

use crate::scene::Object;

/// What a phrase says about an object.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "a phrase says any of them")]
pub(crate) struct Says {
    /// What it is.
    pub(crate) kind: bool,
    /// Its colour.
    pub(crate) color: bool,
    /// Its size.
    pub(crate) extent: bool,
    /// Its surface.
    pub(crate) texture: bool,
}

impl Says {
    /// What it is, and its colour.
    pub(crate) const NAME: Self = Self { kind: true, color: true, extent: false, texture: false };
}

/// Returns whether two objects are the same as far as a phrase goes.
pub(crate) fn alike(a: &Object, b: &Object, says: Says) -> bool {
    (!says.kind || a.kind == b.kind)
        && (!says.color || a.color == b.color)
        && (!says.extent || a.extent == b.extent)
        && (!says.texture || a.texture == b.texture)
}

/// Returns a phrase for an object, without an article.
pub(crate) fn phrase(object: &Object, says: Says) -> String {
    format!("{}{}", adjectives(object, says), if says.kind { object.kind.word() } else { "object" })
}

/// Returns a phrase for several objects of a look.
pub(crate) fn plural(object: &Object, says: Says) -> String {
    let noun = if says.kind { object.kind.plural() } else { "objects".to_owned() };
    format!("{}{noun}", adjectives(object, says))
}

fn adjectives(object: &Object, says: Says) -> String {
    let mut words = String::new();
    let mut add = |word: &str| {
        words.push_str(word);
        words.push(' ');
    };
    if says.extent {
        add(object.extent.word());
    }
    if says.texture {
        add(object.texture.word());
    }
    if says.color {
        add(object.color.word());
    }
    words
}

/// Returns a phrase with `a` or `an`.
pub(crate) fn a(phrase: &str) -> String {
    let article = if phrase.starts_with(['a', 'e', 'i', 'o', 'u']) { "an" } else { "a" };
    format!("{article} {phrase}")
}

/// Returns a number up to ten as a word.
pub(crate) fn number(number: usize) -> String {
    const WORDS: [&str; 11] =
        ["no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"];
    WORDS.get(number).map_or_else(|| number.to_string(), ToString::to_string)
}

/// Returns a list in words.
pub(crate) fn list(parts: &[String]) -> String {
    match parts {
        [] => String::new(),
        [one] => one.clone(),
        [rest @ .., last] => format!("{} and {last}", rest.join(", ")),
    }
}

/// Returns text with a capital at the start.
pub(crate) fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}
