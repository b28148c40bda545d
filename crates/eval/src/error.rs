//! What can go wrong between a benchmark's file and its report.

use std::path::PathBuf;

/// What can go wrong between a benchmark's file and its report.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file cannot be read or written.
    #[error("cannot {action} `{}`", path.display())]
    File {
        /// What was tried: `read`, `write`.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A cell is not as it should be.
    #[error("`{}`, row {row} (line {line}), column `{column}`: {problem}", path.display())]
    Cell {
        /// The file.
        path: PathBuf,
        /// The row, counted from 1 after the header.
        row: usize,
        /// The line that the row starts on, counted from 1.
        line: u64,
        /// The column.
        column: String,
        /// What is wrong, and what was expected.
        problem: String,
    },
    /// A row is not as it should be.
    #[error("`{}`, row {row} (line {line}): {problem}", path.display())]
    Row {
        /// The file.
        path: PathBuf,
        /// The row, counted from 1 after the header.
        row: usize,
        /// The line that the row starts on, counted from 1.
        line: u64,
        /// What is wrong, and what was expected.
        problem: String,
    },
    /// A table lacks a column.
    #[error("`{}` has no column `{column}`, which {benchmark} needs; its columns are {found}", path.display())]
    MissingColumn {
        /// The file.
        path: PathBuf,
        /// The column.
        column: &'static str,
        /// The benchmark.
        benchmark: String,
        /// The columns that there are.
        found: String,
    },
    /// A table has nothing in it.
    #[error("`{}` has no {what}", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
        /// What there is none of.
        what: &'static str,
    },
    /// A parquet file cannot be read.
    #[error("cannot read `{}` as parquet", path.display())]
    Parquet {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: parquet::errors::ParquetError,
    },
    /// Nothing has the name of a benchmark.
    #[error("unknown benchmark `{name}`, expected one of {known} or a file")]
    UnknownBenchmark {
        /// What was asked for.
        name: String,
        /// The benchmarks.
        known: String,
    },
    /// It is not known how a table is scored.
    #[error("`{}` is no benchmark that is known by its name, and its columns are those of none: {found}", path.display())]
    UnknownForm {
        /// The file.
        path: PathBuf,
        /// Its columns.
        found: String,
    },
    /// Nothing has the name of a rule set.
    #[error("unknown rule set `{name}`, expected `2025-03` or `head`")]
    UnknownRuleSet {
        /// What was asked for.
        name: String,
    },
    /// MME is rated with all of its categories only.
    #[error("category `{category}` of MME has no answers")]
    MissingCategory {
        /// The category.
        category: String,
    },
    /// A file for a self-test is not JSON.
    #[error("the file for the self-test is not JSON")]
    SelfTestJson {
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// A file for a self-test has an unknown form.
    #[error(
        "the file for the self-test has none of the known forms: cases with `choices`, `punct` or \
         `line`, or an object of scorers"
    )]
    SelfTestForm,
    /// A file for a self-test names an unknown scorer.
    #[error(
        "unknown scorer `{name}` in the self-test, expected mme, pope, mmvet, llava or llava_parse"
    )]
    SelfTestScorer {
        /// The name.
        name: String,
    },
    /// A file of answers is of a kind that is not read.
    #[error("`{}` is {kind}, expected lines of JSON (.jsonl), JSON (.json) or a table with tabs (.tsv)", path.display())]
    AnswersKind {
        /// The file.
        path: PathBuf,
        /// What it is.
        kind: &'static str,
    },
    /// A file of predictions is not as it should be.
    #[error("`{}`, line {line}: {problem}", path.display())]
    Predictions {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
        /// What is wrong.
        problem: String,
    },
    /// A run was made otherwise than it is to go on.
    #[error("`{}` was made with `{field}` {found}, this run has {expected}", path.display())]
    OtherRun {
        /// The file that describes the run.
        path: PathBuf,
        /// What differs.
        field: String,
        /// What it was made with.
        found: String,
        /// What this run has.
        expected: String,
    },
    /// JSON cannot be read or written.
    #[error("`{}` is not valid", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// Runs that are merged or compared do not fit together.
    #[error("{problem}")]
    Mismatch {
        /// What does not fit, and where.
        problem: String,
    },
    /// An image cannot be used.
    #[error("the image of question `{index}` of {dataset} cannot be used: {problem}")]
    Image {
        /// The dataset.
        dataset: String,
        /// The question.
        index: String,
        /// What is wrong.
        problem: String,
    },
    /// An endpoint did not answer.
    #[error("no answer from `{url}`: {problem}")]
    Endpoint {
        /// The address.
        url: String,
        /// What it said, or what went wrong.
        problem: String,
        /// Whether it refused this request, and may answer others.
        refused: bool,
        /// Whether all that it said, each time, was nothing.
        empty: bool,
    },
    /// A model cannot go on.
    #[error("the model cannot compute: {problem}")]
    Model {
        /// Why.
        problem: String,
    },
    /// A run was stopped.
    #[error("interrupted")]
    Interrupted,
}
