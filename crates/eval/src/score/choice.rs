//! Questions with options.

use std::collections::BTreeMap;

use rayon::prelude::*;

use super::rating::{ChoiceMark, Mean, rate_choice, rate_cv_bench};
use super::{Answered, Context, Found, Outcome, headline};
use crate::report::Table;
use crate::rules::{NONE_OF_THEM, Options, infer, letters};
use crate::{Error, Family};

/// Between the numbers of the rotations of a question.
const ROTATIONS: u64 = 1_000_000;

/// What an answer chooses.
struct Chosen {
    letter: Option<String>,
    found: Found,
    expected: String,
}

impl Chosen {
    fn is_hit(&self) -> bool {
        self.letter.as_deref() == Some(&self.expected)
    }

    fn says(&self) -> &str {
        self.letter.as_deref().unwrap_or(NONE_OF_THEM)
    }
}

/// Returns the options and the letter of the right one.
fn options(answered: &Answered<'_>, is_mmmu: bool) -> (Options, String) {
    let row = &answered.record.row;
    let answer = answered.cell("answer").unwrap_or("nan");
    let mut cells: Vec<(String, &str)> = letters()
        .filter_map(|letter| {
            let text = row.get(letter.encode_utf8(&mut [0; 4]))?;
            Some((letter.to_string(), text))
        })
        .collect();
    let mut expected = answer.to_owned();
    if is_mmmu {
        if !row.contains("A") {
            // An open question is made one with two options.
            cells.retain(|(letter, _)| letter != "B");
            cells.insert(0, ("A".to_owned(), answer));
            cells.insert(1, ("B".to_owned(), "Other Answers"));
        }
        let is_letter = answer.len() == 1 && answer.as_bytes()[0].is_ascii_uppercase();
        if !is_letter {
            "A".clone_into(&mut expected);
        }
    }
    (Options::new(cells), expected)
}

/// Reads what answers choose, with the judge's help where `needs_judge` says so.
fn choose(
    context: &Context<'_>,
    is_mmmu: bool,
    needs_judge: impl Fn(&[Chosen]) -> Vec<usize>,
) -> Result<Vec<Chosen>, Error> {
    let rules = context.options.rules;
    let read = |answered: &Answered<'_>| {
        let (options, expected) = options(answered, is_mmmu);
        let letter = infer(rules, answered.answer, &options).map(str::to_owned);
        let found = if letter.is_some() { Found::Rule } else { Found::Nobody };
        Chosen { letter, found, expected }
    };
    let mut chosen: Vec<Chosen> = context.answers.par_iter().map(read).collect();
    let Some(judge) = context.judge else { return Ok(chosen) };
    let open = needs_judge(&chosen);
    let asked: Vec<(&Answered<'_>, Options)> = open
        .iter()
        .map(|at| (&context.answers[*at], options(&context.answers[*at], is_mmmu).0))
        .collect();
    let tasks: Vec<_> = asked
        .iter()
        .map(|(answered, options)| context.options.requests.choice(answered, options))
        .collect();
    let replies = judge.ask(
        &tasks,
        |at, reply| infer(rules, reply, &asked[at].1).map(str::to_owned),
        context.on_judged,
    )?;
    for (at, letter) in open.into_iter().zip(replies) {
        if letter.is_some() {
            chosen[at].letter = letter;
            chosen[at].found = Found::Judge;
        }
    }
    Ok(chosen)
}

fn all_unread(chosen: &[Chosen]) -> Vec<usize> {
    (0..chosen.len()).filter(|at| chosen[*at].letter.is_none()).collect()
}

fn mark<'s>(answered: &Answered<'s>, hit: bool) -> ChoiceMark<'s> {
    ChoiceMark {
        split: answered.cell("split").unwrap_or("none"),
        level: answered.cell("l2-category"),
        category: answered.cell("category"),
        hit,
    }
}

/// Returns the share of right answers in one of the splits, the first one that there is.
fn overall(table: &Table, splits: &[&str]) -> (Option<f64>, String) {
    let named = splits.iter().find(|split| table.columns.iter().any(|column| column == *split));
    let split = named.map_or_else(
        || table.columns.first().cloned().unwrap_or_default(),
        |split| (*split).to_owned(),
    );
    let metric = if split == "none" { "accuracy".to_owned() } else { format!("accuracy, {split}") };
    (table.figure("Overall", &split), metric)
}

/// Scores questions one by one.
pub(super) fn plain(context: &Context<'_>, family: Family, name: &str) -> Result<Outcome, Error> {
    let is_mmmu = family == Family::Mmmu;
    let chosen = choose(context, is_mmmu, all_unread)?;
    let marks: Vec<ChoiceMark<'_>> = context
        .answers
        .iter()
        .zip(&chosen)
        .map(|(answer, chosen)| mark(answer, chosen.is_hit()))
        .collect();
    let table = rate_choice(&marks);
    let splits: &[&str] = if is_mmmu { &["test", "validation"] } else { &[] };
    let (value, metric) = overall(&table, splits);
    let column = match family {
        Family::SeedBench => "SEED-I",
        Family::RealWorldQa => "RealWorldQA",
        Family::Mmmu => "MMMU",
        _ => name,
    };
    let items = context.answers.iter().zip(&chosen).map(|(answered, chosen)| {
        let score = f64::from(u8::from(chosen.is_hit()));
        answered.item(&chosen.expected, chosen.says(), (chosen.found, score))
    });
    Ok(Outcome {
        headlines: vec![headline(column, &metric, value, true)],
        items: items.collect(),
        tables: vec![table],
        notes: Vec::new(),
        unparsed: None,
    })
}

/// Scores questions that come in every rotation of their options: all have to be right.
pub(super) fn circular(context: &Context<'_>, name: &str) -> Result<Outcome, Error> {
    let mut groups: BTreeMap<u64, Vec<usize>> = BTreeMap::new();
    for (at, answered) in context.answers.iter().enumerate() {
        let number: u64 = answered.record.index.parse().unwrap_or(u64::MAX);
        groups.entry(number % ROTATIONS).or_default().push(at);
    }
    // A group is lost with its first wrong letter; only then is the judge not needed.
    let is_wrong = |chosen: &Chosen| chosen.letter.is_some() && !chosen.is_hit();
    let undecided = |chosen: &[Chosen]| {
        let open = groups.values().filter(|group| !group.iter().any(|at| is_wrong(&chosen[*at])));
        open.flatten().copied().filter(|at| chosen[*at].letter.is_none()).collect()
    };
    let chosen = choose(context, false, undecided)?;
    let vanilla: Vec<ChoiceMark<'_>> = context
        .answers
        .iter()
        .zip(&chosen)
        .map(|(answer, chosen)| mark(answer, chosen.is_hit()))
        .collect();
    let (mut marks, mut items) = (Vec::new(), Vec::new());
    for answered in &context.answers {
        let number: u64 = answered.record.index.parse().unwrap_or(u64::MAX);
        if number >= ROTATIONS {
            continue;
        }
        let group = &groups[&number];
        let hit = group.iter().all(|at| chosen[*at].is_hit());
        marks.push(mark(answered, hit));
        let join = |part: fn(&Chosen) -> &str| {
            group.iter().map(|at| part(&chosen[*at])).collect::<Vec<_>>().join(" ")
        };
        let found = |found| group.iter().any(|at| chosen[*at].found == found);
        let found = [Found::Nobody, Found::Judge].into_iter().find(|kind| found(*kind));
        let judged = (found.unwrap_or(Found::Rule), f64::from(u8::from(hit)));
        items.push(answered.item(&join(|chosen| &chosen.expected), &join(Chosen::says), judged));
    }
    let mut table = rate_choice(&marks);
    "accuracy, all rotations right".clone_into(&mut table.name);
    let mut single = rate_choice(&vanilla);
    "accuracy, every rotation by itself".clone_into(&mut single.name);
    let (value, metric) = overall(&table, &["dev"]);
    let unparsed = chosen.iter().filter(|chosen| chosen.found == Found::Nobody).count();
    let mut notes = Vec::new();
    if marks.len() < groups.len() {
        let lost = groups.len() - marks.len();
        notes.push(format!(
            "{lost} questions are not answered in their first rotation and do not count"
        ));
    }
    Ok(Outcome {
        // Other tables come in rotations, too.
        headlines: vec![headline(
            if name.to_lowercase().contains("mmbench") { "MMB" } else { name },
            &metric,
            value,
            true,
        )],
        tables: vec![table, single],
        notes,
        items,
        unparsed: Some(unparsed),
    })
}

/// Scores CV-Bench as its script does: an answer is right if it is the letter and nothing else.
pub(super) fn cv_bench(context: &Context<'_>) -> Outcome {
    let (mut marks, mut items, mut unparsed) = (Vec::new(), Vec::new(), 0);
    let mut tasks: BTreeMap<&str, Mean> = BTreeMap::new();
    for answered in &context.answers {
        let expected = answered.cell("answer").unwrap_or_default().replace(['(', ')'], "");
        let hit = answered.answer == expected;
        marks.push((answered.cell("source").unwrap_or_default(), hit));
        let score = f64::from(u8::from(hit));
        if let Some(task) = answered.cell("task") {
            tasks.entry(task).or_default().add(score);
        }
        let is_letter =
            answered.answer.len() == 1 && answered.answer.as_bytes()[0].is_ascii_uppercase();
        unparsed += usize::from(!is_letter);
        let found = if is_letter { Found::Rule } else { Found::Nobody };
        items.push(answered.item(&expected, answered.answer, (found, score)));
    }
    let score = rate_cv_bench(&marks);
    let mut rows: Vec<(String, Vec<Option<f64>>)> = [
        ("Overall", score.combined),
        ("2D, mean of its sources", score.flat),
        ("3D", score.spatial),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), vec![value]))
    .collect();
    rows.extend(score.sources.iter().map(|(name, value)| (name.clone(), vec![Some(*value)])));
    rows.extend(tasks.iter().map(|(name, mean)| ((*name).to_owned(), vec![mean.percent()])));
    let table = Table { name: "accuracy".to_owned(), columns: vec!["none".to_owned()], rows };
    let has = |source: &str| marks.iter().any(|(name, _)| *name == source);
    let whole = has("ADE20K") && has("COCO");
    let headlines = vec![
        headline("CV-2D", "mean accuracy of ADE20K and COCO", score.flat, whole),
        headline("CV-3D", "accuracy, Omni3D", score.spatial, true),
    ];
    Outcome { headlines, tables: vec![table], notes: Vec::new(), items, unparsed: Some(unparsed) }
}
