//! Free answers, which a judge grades.

use std::collections::BTreeSet;

use super::rating::{rate_llava, rate_mmvet};
use super::{Context, Found, Item, Outcome, headline};
use crate::Error;
use crate::report::Table;
use crate::rules::{parse_pair, python};

/// Scores MM-Vet; without a judge an answer has the share of the expected parts that are in it.
pub(super) fn mm_vet(context: &Context<'_>) -> Result<Outcome, Error> {
    let mut items: Vec<Item> = Vec::new();
    if let Some(judge) = context.judge {
        let tasks: Vec<_> = context
            .answers
            .iter()
            .map(|answered| context.options.requests.mm_vet(answered))
            .collect();
        let read =
            |_, reply: &str| python::float(reply).filter(|grade| (0.0..=1.0).contains(grade));
        let grades = judge.ask(&tasks, read, context.on_judged)?;
        for (answered, grade) in context.answers.iter().zip(grades) {
            let found = if grade.is_some() { Found::Judge } else { Found::Nobody };
            let (grade, says) = (grade.unwrap_or_default(), answered.answer);
            items.push(answered.item(answered.shown("answer"), says, (found, grade)));
        }
    } else {
        for answered in &context.answers {
            let expected = answered.shown("answer");
            let grade = share(expected, answered.answer);
            items.push(answered.item(expected, answered.answer, (Found::Rule, grade)));
        }
    }
    let marks: Vec<(&str, f64)> = context
        .answers
        .iter()
        .zip(&items)
        .map(|(answered, item)| (answered.shown("category"), item.score))
        .collect();
    let (coarse, fine) = rate_mmvet(&marks);
    let table = |name: &str, lines: Vec<(String, usize, f64)>| Table {
        name: name.to_owned(),
        columns: ["points", "answers"].map(str::to_owned).into(),
        rows: lines
            .into_iter()
            .map(|(name, count, points)| (name, vec![Some(points), Some(count as f64)]))
            .collect(),
    };
    let tables = vec![table("capabilities", coarse), table("combinations", fine)];
    let value = tables[0].figure("Overall", "points");
    let judged = context.judge.is_some();
    let metric = if judged { "points of 100" } else { "exact matching, of 100" };
    let notes = unjudged(judged, "exact matching of the expected parts");
    let headlines = vec![headline("MM-Vet", metric, value, judged)];
    Ok(Outcome { headlines, tables, notes, items, unparsed: None })
}

/// Returns the share of the expected parts that an answer has: all of those with AND between them,
/// the best of those with OR between them.
fn share(expected: &str, answer: &str) -> f64 {
    let answer = answer.to_lowercase();
    let of_all = |all: &str| {
        let parts: Vec<&str> = all.split("<AND>").collect();
        let has = |part: &&&str| answer.contains(&part.trim().to_lowercase());
        parts.iter().filter(has).count() as f64 / parts.len() as f64
    };
    expected.split("<OR>").map(of_all).fold(0.0, f64::max)
}

/// Scores LLaVA-Bench; without a judge by the words that an answer shares with the reference.
pub(super) fn llava_bench(context: &Context<'_>) -> Result<Outcome, Error> {
    let judged = context.judge.is_some();
    let mut pairs: Vec<(f64, f64)> = Vec::new();
    if let Some(judge) = context.judge {
        let tasks: Vec<_> = context
            .answers
            .iter()
            .map(|answered| context.options.requests.llava_bench(answered))
            .collect();
        let replies = judge.ask(&tasks, |_, reply| Some(parse_pair(reply)), context.on_judged)?;
        pairs.extend(replies.into_iter().map(|pair| pair.unwrap_or((-1.0, -1.0))));
    } else {
        for answered in &context.answers {
            pairs.push((10.0, 10.0 * overlap(answered.shown("gpt4_ans"), answered.answer)));
        }
    }
    let (mut marks, mut items) = (Vec::new(), Vec::new());
    for (answered, (reference, model)) in context.answers.iter().zip(&pairs) {
        marks.push((answered.shown("category"), *reference, *model));
        let found = match (judged, *reference < 0.0) {
            (true, true) => Found::Nobody,
            (true, false) => Found::Judge,
            (false, _) => Found::Rule,
        };
        let score = (model / 10.0).clamp(0.0, 1.0);
        items.push(answered.item(answered.shown("gpt4_ans"), answered.answer, (found, score)));
    }
    let rows = rate_llava(&marks).into_iter().map(|(name, relative, model, reference)| {
        (name, vec![Some(relative), Some(model), Some(reference)])
    });
    let columns = ["relative", "model", "reference"];
    let table = Table {
        name: "scores".to_owned(),
        columns: columns.map(str::to_owned).into(),
        rows: rows.collect(),
    };
    let metric = if judged { "relative score" } else { "shared words, of 100" };
    let mut notes = unjudged(judged, "the words that answer and reference share (F1)");
    let failed = items.iter().filter(|item| item.found == Found::Nobody).count();
    // The published scorer gives 100 where no review can be read: -1 of -1.
    let value = table.figure("overall", "relative").filter(|_| failed < items.len());
    if failed > 0 {
        notes.push(format!(
            "{failed} reviews have no two scores in their first line; each counts as -1 for both \
             sides, as in the published scorer"
        ));
    }
    let headlines = vec![headline("LLaVA-W", metric, value, judged)];
    Ok(Outcome { headlines, tables: vec![table], notes, items, unparsed: None })
}

fn unjudged(judged: bool, instead: &str) -> Vec<String> {
    if judged {
        return Vec::new();
    }
    vec![format!("no judge: the score is {instead}; it does not compare with published numbers")]
}

/// Returns the F1 of the words of an answer against those of a reference.
fn overlap(reference: &str, answer: &str) -> f64 {
    let words = |text: &str| -> BTreeSet<String> {
        let lower = text.to_lowercase();
        let split = lower.split(|c: char| !c.is_alphanumeric());
        split.filter(|word| !word.is_empty()).map(str::to_owned).collect()
    };
    let (reference, answer) = (words(reference), words(answer));
    let shared = reference.intersection(&answer).count();
    let all = reference.len() + answer.len();
    if all == 0 { 0.0 } else { 2.0 * shared as f64 / all as f64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[allow(clippy::float_cmp, reason = "these are exact")]
    fn an_answer_has_the_share_of_the_expected_parts() {
        for (expected, answer, grade) in [
            ("-1<AND>-5", "x = -1 or x = -5", 1.0),
            ("-1<AND>-5", "x = -5", 0.5),
            ("cat<OR>a dog<AND>a bone", "A bone, and a Dog", 1.0),
            ("cat", "a bird", 0.0),
        ] {
            assert_eq!(share(expected, answer), grade, "{expected}");
        }
    }

    #[test]
    #[allow(clippy::float_cmp, reason = "these are exact")]
    fn shared_words_count_once_and_in_any_case() {
        assert_eq!(overlap("A red, red ball", "a ball"), 0.8);
        assert_eq!(overlap("", ""), 0.0);
    }
}
