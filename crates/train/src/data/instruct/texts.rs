//! Many texts in little memory.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

/// Texts one after the other in one buffer.
#[derive(Debug, Default)]
pub(super) struct Texts {
    buffer: String,
    ends: Vec<usize>,
}

/// Texts of which equal ones are kept once.
#[derive(Debug, Default)]
pub(super) struct Interner {
    texts: Texts,
    /// The first text of every hash.
    by_hash: HashMap<u64, u32>,
}

impl Texts {
    /// Appends a text and returns its number.
    pub(super) fn push(&mut self, text: &str) -> usize {
        self.buffer.push_str(text);
        self.ends.push(self.buffer.len());
        self.ends.len() - 1
    }

    /// Returns a text by its number; nothing if there is none.
    pub(super) fn get(&self, index: usize) -> &str {
        let before = index.checked_sub(1).and_then(|before| self.ends.get(before));
        let start = before.copied().unwrap_or(0);
        self.ends.get(index).map_or("", |end| &self.buffer[start..*end])
    }

    /// Frees what was reserved for more.
    pub(super) fn shrink(&mut self) {
        self.buffer.shrink_to_fit();
        self.ends.shrink_to_fit();
    }
}

impl Interner {
    /// Returns the number of a text, which is appended if it is new.
    pub(super) fn push(&mut self, text: &str) -> u32 {
        let mut hasher = DefaultHasher::new();
        text.hash(&mut hasher);
        let texts = &mut self.texts;
        let first = *self.by_hash.entry(hasher.finish()).or_insert_with(|| texts.push(text) as u32);
        // Another text of the same hash is kept as often as it comes.
        if texts.get(first as usize) == text { first } else { texts.push(text) as u32 }
    }

    /// Returns a text by its number; nothing if there is none.
    pub(super) fn get(&self, index: u32) -> &str {
        self.texts.get(index as usize)
    }

    /// Frees what only further texts would need.
    pub(super) fn shrink(&mut self) {
        self.texts.shrink();
        self.by_hash = HashMap::new();
    }
}
