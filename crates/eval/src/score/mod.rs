//! From answers to the numbers of a benchmark.

mod choice;
mod graded;
mod math;
pub mod rating;
mod request;
mod yes_no;

use std::collections::HashMap;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

pub use self::request::Requests;
use crate::judge::Judge;
use crate::report::Table;
use crate::rules::RuleSet;
use crate::{Error, Family, MissingValues, Row};

/// A question without its images, as it is stored with the answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The name.
    pub index: String,
    /// The other cells.
    pub row: Row,
}

impl Serialize for Record {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let index = std::iter::once(("index", self.index.as_str()));
        serializer.collect_map(index.chain(self.row.iter()))
    }
}

impl<'de> Deserialize<'de> for Record {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut row = Row::deserialize(deserializer)?;
        let index = row.remove("index").ok_or_else(|| D::Error::missing_field("index"))?;
        Ok(Self { index, row })
    }
}

/// The questions of a benchmark and what was answered.
#[derive(Clone, Debug)]
pub struct Sheet {
    /// The name of the benchmark's file.
    pub name: String,
    /// How it is scored.
    pub family: Family,
    /// The questions in the file's order.
    pub records: Vec<Record>,
    /// The answers by index.
    pub answers: HashMap<String, String>,
}

/// How answers are read.
#[derive(Clone, Debug, Default)]
pub struct ScoreOptions {
    /// Which rules tell what an answer says.
    pub rules: RuleSet,
    /// Whether answers that a spreadsheet takes for nothing, such as None, become `nan`, which is
    /// what happens to them between the steps of `VLMEvalKit`.
    pub spreadsheet: bool,
    /// The words for judges.
    pub requests: Requests,
}

/// How it was found out what an answer says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Found {
    /// A rule says so.
    Rule,
    /// A judge says so.
    Judge,
    /// Nobody could tell; the answer counts as wrong.
    Nobody,
}

/// What became of one answer; of `MMBench` of one question in all its rotations.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Item {
    /// Which question.
    pub index: String,
    /// The category.
    pub category: String,
    /// What is right.
    pub expected: String,
    /// What the answer says.
    pub says: String,
    /// Who tells.
    pub found: Found,
    /// From 0 for wrong to 1 for right.
    pub score: f64,
}

/// A number that stands for a benchmark.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Headline {
    /// The column of the paper's tables, or the benchmark's name.
    pub column: String,
    /// What kind of number it is.
    pub metric: String,
    /// The number; none if there are no answers to make it of.
    pub value: Option<f64>,
    /// Whether it is made as the published numbers are: by the judge where one is needed, of all
    /// categories.
    pub comparable: bool,
}

/// The score of a benchmark.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Scored {
    /// The name of the benchmark's file.
    pub name: String,
    /// How it was scored.
    pub family: Family,
    /// The rules.
    pub rules: RuleSet,
    /// The judge, none if there was none.
    pub judge: Option<String>,
    /// The numbers that stand for it.
    pub headlines: Vec<Headline>,
    /// All numbers.
    pub tables: Vec<Table>,
    /// How many questions the benchmark has.
    pub questions: usize,
    /// How many were answered.
    pub answered: usize,
    /// How many answers neither a rule nor a judge could read.
    pub unparsed: usize,
    /// What should be known about the numbers.
    pub notes: Vec<String>,
    /// The answers in the file's order.
    #[serde(skip)]
    pub items: Vec<Item>,
}

/// What a scorer of a family brings.
struct Outcome {
    headlines: Vec<Headline>,
    tables: Vec<Table>,
    notes: Vec<String>,
    items: Vec<Item>,
    /// How many answers could not be read, where items are not answers.
    unparsed: Option<usize>,
}

/// One answered question.
#[derive(Clone, Copy, Debug)]
struct Answered<'s> {
    record: &'s Record,
    answer: &'s str,
}

impl<'s> Answered<'s> {
    fn cell(&self, name: &str) -> Option<&'s str> {
        self.record.row.get(name)
    }

    /// Returns a cell as Python shows it, which is nan where there is none.
    fn shown(&self, name: &str) -> &'s str {
        self.cell(name).unwrap_or("nan")
    }

    fn item(&self, expected: &str, says: &str, (found, score): (Found, f64)) -> Item {
        Item {
            index: self.record.index.clone(),
            category: self.cell("category").or(self.cell("task")).unwrap_or_default().to_owned(),
            expected: expected.to_owned(),
            says: says.to_owned(),
            found,
            score,
        }
    }
}

/// What scorers work with.
struct Context<'s> {
    answers: Vec<Answered<'s>>,
    options: &'s ScoreOptions,
    judge: Option<&'s Judge>,
    on_judged: &'s (dyn Fn() + Sync),
}

/// Scores a benchmark; `on_judged` is called after every answer that a judge read.
///
/// # Errors
/// If no answer belongs to a question, or the judge cannot be asked.
pub fn score(
    sheet: &Sheet,
    options: &ScoreOptions,
    judge: Option<&Judge>,
    on_judged: &(dyn Fn() + Sync),
) -> Result<Scored, Error> {
    let read = |answer: &'_ str| options.spreadsheet && MissingValues::Pandas.is_missing(answer);
    let answered = sheet.records.iter().filter_map(|record| {
        let answer = sheet.answers.get(&record.index)?;
        Some(Answered { record, answer: if read(answer) { "nan" } else { answer } })
    });
    let context = Context { answers: answered.collect(), options, judge, on_judged };
    if sheet.answers.is_empty() {
        let (count, name) = (sheet.records.len(), &sheet.name);
        let problem = format!("none of the {count} questions of {name} has an answer");
        return Err(Error::Mismatch { problem });
    }
    if context.answers.is_empty() {
        let problem = format!(
            "none of the {} answers belongs to one of the {} questions of {}",
            sheet.answers.len(),
            sheet.records.len(),
            sheet.name
        );
        return Err(Error::Mismatch { problem });
    }
    let outcome = match sheet.family {
        Family::Mme => yes_no::mme(&context),
        Family::Pope => yes_no::pope(&context),
        Family::YesNo => yes_no::plain(&context, &sheet.name),
        Family::MmBench => choice::circular(&context, &sheet.name),
        Family::SeedBench | Family::RealWorldQa | Family::Mmmu | Family::Choice => {
            choice::plain(&context, sheet.family, &sheet.name)
        }
        Family::CvBench => Ok(choice::cv_bench(&context)),
        Family::MathVista => math::score(&context),
        Family::MmVet => graded::mm_vet(&context),
        Family::LlavaBench => graded::llava_bench(&context),
    }?;
    let counted = || outcome.items.iter().filter(|item| item.found == Found::Nobody).count();
    let unparsed = outcome.unparsed.unwrap_or_else(counted);
    let mut notes = outcome.notes;
    let answered = context.answers.len();
    if answered < sheet.records.len() {
        notes.push(format!("{} of {} questions are answered", answered, sheet.records.len()));
    }
    let unknown = sheet.answers.len() - answered;
    if unknown > 0 {
        notes.push(format!("{unknown} answers belong to no question and are left out"));
    }
    Ok(Scored {
        name: sheet.name.clone(),
        family: sheet.family,
        rules: options.rules,
        judge: judge.map(|judge| judge.model().to_owned()),
        headlines: outcome.headlines,
        tables: outcome.tables,
        questions: sheet.records.len(),
        answered,
        unparsed,
        notes,
        items: outcome.items,
    })
}

/// Returns a number for the paper's column.
fn headline(column: &str, metric: &str, value: Option<f64>, comparable: bool) -> Headline {
    Headline { column: column.to_owned(), metric: metric.to_owned(), value, comparable }
}
