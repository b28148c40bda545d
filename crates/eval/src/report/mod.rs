//! What was found, for people and for programs.

mod compare;
mod html;
mod table;
mod text;

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

pub use self::compare::{CategoryDifference, Comparison, Difference, compare};
pub use self::html::{Change, Page, Shown, html};
pub use self::table::Table;
pub use self::text::{comparison_text, csv, text};
use crate::judge::JudgeCost;
use crate::score::Scored;
use crate::{Error, PAPER, PaperScore};

/// The scores of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// What was asked: a model and how it was asked.
    pub title: String,
    /// The benchmarks in the order of the paper's tables.
    pub benchmarks: Vec<Scored>,
    /// What the judge cost, none if there was none.
    pub judge: Option<JudgeCost>,
    /// What the judge cost in money, as far as prices are known.
    pub price: Option<f64>,
}

impl Report {
    /// Returns a report with its benchmarks in the order of the paper's tables.
    pub fn new(title: String, mut benchmarks: Vec<Scored>) -> Self {
        let order = |scored: &Scored| {
            let column = scored.headlines.first().map(|headline| headline.column.as_str());
            let known = PAPER.iter().position(|paper| Some(paper.column) == column);
            (known.unwrap_or(PAPER.len()), scored.name.clone())
        };
        benchmarks.sort_by_key(order);
        Self { title, benchmarks, judge: None, price: None }
    }
}

/// Returns the paper's numbers for a column.
pub fn paper(column: &str) -> Option<&'static PaperScore> {
    PAPER.iter().find(|score| score.column == column)
}

/// Returns the folders of a run's benchmarks.
///
/// # Errors
/// If there are none.
pub fn benchmark_folders(run: &Path) -> Result<Vec<PathBuf>, Error> {
    crate::run::folders(run)
}
