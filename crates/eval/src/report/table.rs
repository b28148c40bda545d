//! Figures by name.

use serde::{Deserialize, Serialize};

/// Figures in lines and columns; those are missing that would be means of nothing.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Table {
    /// What the figures are.
    pub name: String,
    /// What the columns are.
    pub columns: Vec<String>,
    /// Lines by name.
    pub rows: Vec<(String, Vec<Option<f64>>)>,
}

impl Table {
    /// Returns a figure by the names of its line and its column.
    pub fn figure(&self, row: &str, column: &str) -> Option<f64> {
        let at = self.columns.iter().position(|name| name == column)?;
        let (_, figures) = self.rows.iter().find(|(name, _)| name == row)?;
        figures.get(at).copied().flatten()
    }
}
