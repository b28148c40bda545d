//! Which answers a page shows, with their questions and images.

use std::collections::HashMap;

use eval::report::{Change, Comparison, Shown};
use eval::run::{RunSettings, thumbnail};
use eval::score::{Item, Record, Scored, Sheet};
use eval::{Dataset, Family, MissingValues, Question};

use super::Asked;

/// How large the images of a page are.
const THUMBNAIL: usize = 320;
/// Between the numbers of the rotations of a question of `MMBench`.
const ROTATIONS: u64 = 1_000_000;

/// Returns the first wrong answers of every benchmark, with their images where the table that they
/// come from is still there.
pub(super) fn wrong(
    benchmarks: &[Scored],
    sheets: &[Asked],
    datasets: &[Dataset],
    most: usize,
) -> Vec<Shown> {
    let mut shown = Vec::new();
    for scored in benchmarks.iter().filter(|_| most > 0) {
        let Some(source) = Source::find(&scored.name, sheets, datasets) else { continue };
        let wrong = scored.items.iter().filter(|item| item.score < 1.0).take(most);
        shown.extend(wrong.map(|item| source.show(item, None)));
    }
    shown
}

/// Returns the first answers of every benchmark that differ between two runs, those that became
/// worse and those that became better in turn.
pub(super) fn changed(
    comparison: &Comparison,
    (first, second): (&[Asked], &[Asked]),
    scored: &[Scored],
    most: usize,
) -> Vec<Shown> {
    let mut shown = Vec::new();
    for difference in comparison.benchmarks.iter().filter(|_| most > 0) {
        let name = &difference.benchmark;
        let Some(source) = Source::find(name, second, &[]) else { continue };
        let Some(before) = Source::find(name, first, &[]) else { continue };
        let Some(scored) = scored.iter().find(|scored| scored.name == *name) else { continue };
        let items: HashMap<&str, &Item> =
            scored.items.iter().map(|item| (item.index.as_str(), item)).collect();
        let of = |change: Change| {
            let is_worse = change == Change::Worse;
            let changed = difference.changed.iter().filter(move |(_, a, b)| (a > b) == is_worse);
            changed.take(most).map(move |(index, ..)| (index, change))
        };
        for (index, change) in of(Change::Worse).chain(of(Change::Better)) {
            let Some(item) = items.get(index.as_str()) else { continue };
            shown.push(source.show(item, Some((before.answer(index), change))));
        }
    }
    shown
}

/// A benchmark's answers and questions, and its table if that is there.
struct Source<'s> {
    sheet: &'s Sheet,
    records: HashMap<&'s str, &'s Record>,
    table: Table<'s>,
}

enum Table<'s> {
    Open(&'s Dataset),
    Opened(Box<Dataset>),
    None,
}

impl<'s> Source<'s> {
    fn find(name: &str, sheets: &'s [Asked], datasets: &'s [Dataset]) -> Option<Self> {
        let (run, sheet) = sheets.iter().find(|(_, sheet)| sheet.name == name)?;
        let records = sheet.records.iter().map(|record| (record.index.as_str(), record)).collect();
        let table = if let Some(dataset) = datasets.iter().find(|dataset| dataset.name == name) {
            Table::Open(dataset)
        } else {
            let opened = run.as_ref().and_then(|run: &RunSettings| {
                Dataset::open(&run.data, MissingValues::default()).ok()
            });
            opened.map_or(Table::None, |dataset| Table::Opened(Box::new(dataset)))
        };
        Some(Self { sheet, records, table })
    }

    fn dataset(&self) -> Option<&Dataset> {
        match &self.table {
            Table::Open(dataset) => Some(dataset),
            Table::Opened(dataset) => Some(dataset),
            Table::None => None,
        }
    }

    /// Returns an answer; of `MMBench` in every rotation.
    fn answer(&self, index: &str) -> String {
        let answer = |index: &str| self.sheet.answers.get(index).cloned();
        let base: Option<u64> = index.parse().ok();
        let Some(base) = base.filter(|_| self.sheet.family == Family::MmBench) else {
            return answer(index).unwrap_or_default();
        };
        let rotations = (0..26).map(|rotation| (base + rotation * ROTATIONS).to_string());
        rotations.map_while(|index| answer(&index)).collect::<Vec<_>>().join(" · ")
    }

    fn images(&self, index: &str) -> Vec<String> {
        let found = self.dataset().and_then(|dataset| {
            let known: &Question = dataset.questions.iter().find(|known| known.index == index)?;
            dataset.images(known).ok()
        });
        let small = |file: &Vec<u8>| thumbnail(file, THUMBNAIL);
        found.iter().flatten().filter_map(small).collect()
    }

    fn show(&self, item: &Item, other: Option<(String, Change)>) -> Shown {
        let record = self.records.get(item.index.as_str());
        let cell = |name: &str| record.and_then(|record| record.row.get(name));
        Shown {
            benchmark: self.sheet.name.clone(),
            item: item.clone(),
            question: cell("question").unwrap_or_default().to_owned(),
            options: record.map(|record| options(self.sheet.family, record)).unwrap_or_default(),
            answer: self.answer(&item.index),
            other,
            images: self.images(&item.index),
        }
    }
}

/// Returns the options of a question by letter.
fn options(family: Family, record: &Record) -> Vec<(String, String)> {
    let letters = || ('A'..='Z').map(String::from);
    if family == Family::CvBench {
        let choices = record.row.get("choices").unwrap_or("[]");
        let choices: Vec<String> = serde_json::from_str(choices).unwrap_or_default();
        return letters().zip(choices).collect();
    }
    if !family.is_choice() {
        return Vec::new();
    }
    letters()
        .filter_map(|letter| Some((letter.clone(), record.row.get(&letter)?.to_owned())))
        .collect()
}
