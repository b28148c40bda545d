//! The cells of a row, in two pieces of memory: tables have millions of them.

use std::fmt;
use std::sync::Arc;

use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

/// The cells of a row by column; those that are missing are left out.
#[derive(Clone)]
pub struct Row {
    /// The names of the columns, which all rows of a table share.
    columns: Arc<[String]>,
    /// The cells, one after the other.
    text: Box<str>,
    /// Where each column's cell is in the text.
    spans: Box<[Span]>,
}

/// Where a cell starts and ends; a missing one ends before it starts.
pub(super) type Span = (u32, u32);
/// The place of a missing cell.
pub(super) const MISSING: Span = (u32::MAX, 0);

impl Row {
    /// Returns a row of cells that lie in a text one after the other.
    pub(super) fn of_parts(columns: Arc<[String]>, text: &str, spans: &[Span]) -> Self {
        Self { columns, text: text.into(), spans: spans.into() }
    }

    /// Returns the cell of a column, none if it is missing.
    pub fn get(&self, column: &str) -> Option<&str> {
        let at = self.columns.iter().position(|name| name == column)?;
        self.cell(at)
    }

    /// Returns whether there is a cell in a column.
    pub fn contains(&self, column: &str) -> bool {
        self.get(column).is_some()
    }

    /// Returns the cells with their columns' names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        let cells = self.columns.iter().enumerate();
        cells.filter_map(|(at, name)| Some((name.as_str(), self.cell(at)?)))
    }

    /// Takes a cell out.
    pub fn remove(&mut self, column: &str) -> Option<String> {
        let at = self.columns.iter().position(|name| name == column)?;
        let cell = self.cell(at)?.to_owned();
        self.spans[at] = MISSING;
        Some(cell)
    }

    fn cell(&self, at: usize) -> Option<&str> {
        let (start, end) = *self.spans.get(at)?;
        self.text.get(start as usize..end as usize)
    }
}

impl fmt::Debug for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

impl PartialEq for Row {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for Row {}

impl<N: Into<String>, C: AsRef<str>> FromIterator<(N, C)> for Row {
    fn from_iter<I: IntoIterator<Item = (N, C)>>(cells: I) -> Self {
        let (mut columns, mut text, mut spans) = (Vec::new(), String::new(), Vec::new());
        for (name, cell) in cells {
            let start = text.len();
            text.push_str(cell.as_ref());
            columns.push(name.into());
            // Cells are far below 4 GiB together: tables refuse longer ones.
            spans.push((start as u32, text.len() as u32));
        }
        Self { columns: columns.into(), text: text.into(), spans: spans.into() }
    }
}

impl<'de> Deserialize<'de> for Row {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Cells;

        impl<'de> Visitor<'de> for Cells {
            type Value = Row;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of texts")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Row, A::Error> {
                let mut cells: Vec<(String, String)> = Vec::new();
                while let Some(cell) = map.next_entry()? {
                    cells.push(cell);
                }
                Ok(cells.into_iter().collect())
            }
        }

        deserializer.deserialize_map(Cells)
    }
}
