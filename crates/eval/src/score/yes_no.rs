//! Questions with yes and no.

use std::collections::BTreeMap;

use rayon::prelude::*;

use super::rating::{COGNITION, Mean, MmeMark, PERCEPTION, PopeMark, rate_mme, rate_pope, sum_mme};
use super::{Context, Found, Item, Outcome, headline};
use crate::Error;
use crate::report::Table;
use crate::rules::YesNo;

/// Reads every answer; the items come in order.
fn read(context: &Context<'_>) -> Result<Vec<Item>, Error> {
    let rules = context.options.rules;
    let read = |answered: &super::Answered<'_>| {
        let says = YesNo::extract(rules, answered.answer);
        let expected = answered.cell("answer").unwrap_or("nan");
        let found = if says == YesNo::Unknown { Found::Nobody } else { Found::Rule };
        let score = f64::from(u8::from(says.as_str() == expected));
        answered.item(expected, says.as_str(), (found, score))
    };
    let mut items: Vec<Item> = context.answers.par_iter().map(read).collect();
    let Some(judge) = context.judge else { return Ok(items) };
    let open: Vec<usize> =
        (0..items.len()).filter(|at| items[*at].found == Found::Nobody).collect();
    let tasks: Vec<_> =
        open.iter().map(|at| context.options.requests.yes_no(&context.answers[*at])).collect();
    let known = |says: YesNo| (says != YesNo::Unknown).then_some(says);
    let says = |_, reply: &str| known(YesNo::extract(rules, reply));
    let replies = judge.ask(&tasks, says, context.on_judged)?;
    for (at, says) in open.into_iter().zip(replies) {
        if let Some(says) = says {
            let item = &mut items[at];
            item.score = f64::from(u8::from(says.as_str() == item.expected));
            says.as_str().clone_into(&mut item.says);
            item.found = Found::Judge;
        }
    }
    Ok(items)
}

/// Scores MME.
pub(super) fn mme(context: &Context<'_>) -> Result<Outcome, Error> {
    let items = read(context)?;
    let marks: Vec<MmeMark<'_>> = context
        .answers
        .iter()
        .zip(&items)
        .map(|(answered, item)| MmeMark {
            category: answered.shown("category"),
            image: answered.shown("image_path"),
            hit: item.score > 0.0,
        })
        .collect();
    let scores = rate_mme(&marks);
    let (mut headlines, mut notes, mut rows) = (Vec::new(), odd(&items), Vec::new());
    for (column, name, half) in
        [("MME-P", "perception", &PERCEPTION[..]), ("MME-C", "cognition", &COGNITION[..])]
    {
        let (sum, missing) = sum_mme(&scores, half);
        let value = (missing.len() < half.len()).then_some(sum);
        let best = 200 * (half.len() - missing.len());
        let metric = if best > 0 { format!("points of {best}") } else { "no answers".to_owned() };
        headlines.push(headline(column, &metric, value, missing.is_empty()));
        if !missing.is_empty() {
            notes.push(format!("{name} has no answers of {}", missing.join(", ")));
        }
        rows.push((name.to_owned(), vec![value]));
    }
    rows.extend(scores.into_iter().map(|(name, score)| (name, vec![Some(score)])));
    let columns = vec!["points".to_owned()];
    let tables = vec![Table { name: "points".to_owned(), columns, rows }];
    Ok(Outcome { headlines, tables, notes, items, unparsed: None })
}

/// Scores POPE.
pub(super) fn pope(context: &Context<'_>) -> Result<Outcome, Error> {
    let items = read(context)?;
    let marks: Vec<PopeMark<'_>> = context
        .answers
        .iter()
        .zip(&items)
        .map(|(answered, item)| PopeMark {
            category: answered.cell("category"),
            expected_yes: item.expected == "Yes",
            said_yes: item.says == "Yes",
            hit: item.score > 0.0,
        })
        .collect();
    let splits = rate_pope(&marks);
    let rows = splits.iter().map(|(name, score)| {
        let figures = [score.f1, score.accuracy, score.precision, score.recall, score.yes];
        (name.clone(), figures.into_iter().chain([score.count as f64]).map(Some).collect())
    });
    let columns = ["F1", "accuracy", "precision", "recall", "yes ratio", "answers"];
    let table = Table {
        name: "splits".to_owned(),
        columns: columns.map(str::to_owned).into(),
        rows: rows.collect(),
    };
    let overall = splits.first().map(|(_, score)| *score).unwrap_or_default();
    let headlines = vec![
        headline("POPE", "F1", Some(overall.f1), true),
        headline("POPE accuracy", "accuracy", Some(overall.accuracy), true),
    ];
    Ok(Outcome { headlines, tables: vec![table], notes: odd(&items), items, unparsed: None })
}

/// Says how many questions can never be answered right.
fn odd(items: &[Item]) -> Vec<String> {
    let is_odd = |item: &&Item| !matches!(item.expected.as_str(), "Yes" | "No");
    let mut odd = items.iter().filter(is_odd);
    let Some(Item { index, expected, .. }) = odd.next() else { return Vec::new() };
    let count = 1 + odd.count();
    vec![format!(
        "{count} questions (the first is `{index}`, which expects `{expected}`) expect neither Yes nor \
         No, spelled so, and count as wrong whatever is answered, as in the published scorer"
    )]
}

/// Scores any other questions with yes and no.
pub(super) fn plain(context: &Context<'_>, name: &str) -> Result<Outcome, Error> {
    let items = read(context)?;
    let mut overall = Mean::default();
    let mut groups = [BTreeMap::new(), BTreeMap::new()];
    for (answered, item) in context.answers.iter().zip(&items) {
        overall.add(item.score);
        for (group, column) in groups.iter_mut().zip(["category", "l2-category"]) {
            if let Some(name) = answered.cell(column) {
                group.entry(name).or_insert_with(Mean::default).add(item.score);
            }
        }
    }
    let mut rows = vec![("Overall".to_owned(), vec![overall.percent()])];
    rows.extend(
        groups.iter().flatten().map(|(name, mean)| ((*name).to_owned(), vec![mean.percent()])),
    );
    let table = Table { name: "accuracy".to_owned(), columns: vec!["none".to_owned()], rows };
    let headlines = vec![headline(name, "accuracy", overall.percent(), true)];
    Ok(Outcome { headlines, tables: vec![table], notes: odd(&items), items, unparsed: None })
}
