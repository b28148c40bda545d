//! `MathVista`.

use super::rating::{MathMark, rate_math};
use super::{Answered, Context, Found, Outcome, headline};
use crate::Error;
use crate::report::Table;
use crate::rules::python::list;
use crate::rules::{FAILURE, MathQuestion, MathValue, extract_locally};

fn question(answered: &Answered<'_>) -> MathQuestion {
    MathQuestion {
        is_choice: answered.cell("question_type") == Some("multi_choice"),
        answer_type: answered.cell("answer_type").unwrap_or_default().to_owned(),
        answer: MathValue::Text(answered.shown("answer").to_owned()),
        answer_option: answered.cell("answer_option").unwrap_or_default().to_owned(),
        options: answered.cell("choices").and_then(MathQuestion::options_of).unwrap_or_default(),
    }
}

fn by_rule(known: bool) -> Found {
    if known { Found::Rule } else { Found::Nobody }
}

/// Scores `MathVista`; without a judge the answer is looked for by a rule of our own.
pub(super) fn score(context: &Context<'_>) -> Result<Outcome, Error> {
    let rules = context.options.rules;
    let questions: Vec<MathQuestion> = context.answers.iter().map(question).collect();
    let mut results: Vec<Option<MathValue>> = Vec::new();
    let mut prefetched = Vec::new();
    for (question, answered) in questions.iter().zip(&context.answers) {
        let said = MathValue::Text(answered.answer.to_owned());
        // A number that Python takes for false is asked for again.
        let found = question.prefetch(rules, &said).filter(|value| !value.is_falsy());
        prefetched.push(found.is_some());
        results.push(found);
    }
    let mut found: Vec<Found> = prefetched.iter().map(|known| by_rule(*known)).collect();
    let open: Vec<usize> = (0..results.len()).filter(|at| !prefetched[*at]).collect();
    if let Some(judge) = context.judge {
        let tasks: Vec<_> =
            open.iter().map(|at| context.options.requests.math(&context.answers[*at])).collect();
        // Whatever a judge says is the answer, but that it could not be asked.
        let read = |_, reply: &str| (!reply.contains(FAILURE)).then(|| reply.to_owned());
        let replies = judge.ask(&tasks, read, context.on_judged)?;
        for (at, reply) in open.into_iter().zip(replies) {
            found[at] = if reply.is_some() { Found::Judge } else { Found::Nobody };
            results[at] = reply.map(MathValue::Text);
        }
    } else {
        for at in open {
            let (extracted, known) = extract_locally(&questions[at], context.answers[at].answer);
            found[at] = by_rule(known);
            results[at] = Some(MathValue::Text(extracted));
        }
    }
    let (mut marks, mut items) = (Vec::new(), Vec::new());
    for (at, (question, answered)) in questions.iter().zip(&context.answers).enumerate() {
        let result = results[at].take().unwrap_or(MathValue::Text(String::new()));
        let hit = question.is_hit(rules, &result);
        let skills = answered.cell("skills").unwrap_or_default();
        marks.push(MathMark {
            task: answered.shown("task"),
            skills: list(skills).unwrap_or_else(|| vec![skills.to_owned()]),
            prefetched: prefetched[at],
            hit,
        });
        let expected = if question.is_choice {
            question.answer_option.clone()
        } else {
            question.answer.to_text()
        };
        let score = f64::from(u8::from(hit));
        items.push(answered.item(&expected, &result.to_text(), (found[at], score)));
    }
    let counts = rate_math(&marks);
    let percent = |part: usize, whole: usize| part as f64 / whole as f64 * 100.0;
    let rows = counts.iter().map(|(name, count)| {
        let (total, early, hits) = (count.total, count.prefetched, count.hits);
        let figures =
            [percent(hits, total), total as f64, early as f64, hits as f64, percent(early, total)];
        (name.clone(), figures.map(Some).into())
    });
    let columns = ["accuracy", "answers", "without judge", "right", "without judge, share"];
    let table = Table {
        name: "tasks and skills".to_owned(),
        columns: columns.map(str::to_owned).into(),
        rows: rows.collect(),
    };
    let value = table.figure("Overall", "accuracy");
    let mut notes = Vec::new();
    let metric = if context.judge.is_some() { "accuracy" } else { "accuracy, rule-extracted" };
    if context.judge.is_none() {
        notes.push(
            "no judge: answers that are no plain number or letter were extracted by a rule (the last \
             number, the option); published numbers use a judge"
                .to_owned(),
        );
    }
    let lists = questions.iter().filter(|question| question.is_never_right()).count();
    if lists > 0 {
        notes.push(format!(
            "{lists} questions for a text or a list count as wrong whatever is answered, as in the \
             published scorer"
        ));
    }
    let headlines = vec![headline("MathV-mini", metric, value, context.judge.is_some())];
    Ok(Outcome { headlines, tables: vec![table], notes, items, unparsed: None })
}
