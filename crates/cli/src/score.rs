//! `aki score`: what stored answers are worth.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use eval::endpoint::EndpointConfig;
use eval::judge::{Judge, JudgeCost};
use eval::report::{Comparison, Page, Report, Shown, benchmark_folders, csv, html, text};
use eval::rules::RuleSet;
use eval::run::{RunSettings, thumbnail};
use eval::score::{Item, Requests, ScoreOptions, Scored, Sheet, score};
use eval::{Dataset, MissingValues};

use rayon::prelude::*;
use serde::Serialize;

use crate::args::{ScoreArgs, ScoringArgs};
use crate::environment::Environment;
use crate::report::Failure;
use crate::{output, progress};

/// How large the images of a page are.
const THUMBNAIL: usize = 320;
/// Where a judge's replies are kept.
const JUDGE_CACHE: &str = "judge.jsonl";

/// Scores.
pub(crate) fn run(args: &ScoreArgs, environment: &Environment) -> Result<()> {
    if let Some(path) = &args.self_test {
        return self_test(path, args.scoring.rules);
    }
    let Some(answers) = &args.answers else {
        return Err(Failure::usage("no answers to score").into());
    };
    let (sheets, folder) = if answers.is_dir() {
        let read = |folder: &PathBuf| Sheet::read(folder).map(|(run, sheet)| (Some(run), sheet));
        let sheets = benchmark_folders(answers)?.iter().map(read).collect::<Result<Vec<_>, _>>()?;
        (sheets, Some(answers.as_path()))
    } else {
        let Some(questions) = &args.questions else {
            let failure = Failure::usage(format!("`{}` is a file of answers", answers.display()));
            return Err(failure.hint("name the benchmark's table with --questions").into());
        };
        let dataset = Dataset::open(questions, args.missing)?;
        dataset.notes.iter().for_each(|note| output::note(&format!("{}: {note}", dataset.name)));
        (vec![(None, Sheet::of_file(answers, dataset)?)], None)
    };
    let title = title(&sheets).unwrap_or_else(|| answers.display().to_string());
    let target = args.output.as_deref().or(folder);
    finish(title, &sheets, target, &args.scoring, environment)
}

/// What was asked, where that is known, and the answers.
pub(crate) type Asked = (Option<RunSettings>, Sheet);

/// Returns what a run is called.
pub(crate) fn title(sheets: &[Asked]) -> Option<String> {
    let run = sheets.first()?.0.as_ref()?;
    let attention = run.options.get("attention").map(|name| format!(", {name} attention"));
    Some(format!("{}{}", run.model, attention.unwrap_or_default()))
}

/// Scores answers, prints the report, and writes it to a folder if there is one.
pub(crate) fn finish(
    title: String,
    sheets: &[Asked],
    folder: Option<&Path>,
    args: &ScoringArgs,
    environment: &Environment,
) -> Result<()> {
    if let Some(folder) = folder {
        fs::create_dir_all(folder)
            .with_context(|| format!("cannot make `{}`", folder.display()))?;
    }
    let (scored, cost) = score_all(sheets, folder, args, environment)?;
    let mut report = Report::new(title, scored);
    report.price = cost.and_then(|cost| price(cost, &args.judge_prices));
    report.judge = cost;
    if let Some(folder) = folder {
        let write = |name: &str, content: String| {
            let path = folder.join(name);
            fs::write(&path, content).with_context(|| format!("cannot write `{}`", path.display()))
        };
        write("report.json", serde_json::to_string_pretty(&report)? + "\n")?;
        write("report.csv", csv(&report))?;
        write("scored.jsonl", item_lines(&report.benchmarks)?)?;
        let wrong = wrong_answers(&report.benchmarks, sheets, args.wrong);
        write("report.html", html(&report, Page { wrong: &wrong, comparison: None }))?;
    }
    if args.json { output::json(&report) } else { output::text(&text(&report, args.details)) }
}

/// Writes a page about a comparison: the second run's scores, and its wrong answers where the first
/// run was better.
pub(crate) fn comparison_page(
    path: &Path,
    comparison: &Comparison,
    (title, scored, sheets): (String, Vec<Scored>, &[Asked]),
    wrong: usize,
) -> Result<()> {
    let worse = |name: &str, index: &str| {
        let mut of_name = comparison.benchmarks.iter().filter(|known| known.benchmark == name);
        of_name.any(|known| known.changed.iter().any(|(at, a, b)| at == index && a > b))
    };
    let mut lost = scored.clone();
    for benchmark in &mut lost {
        let name = benchmark.name.clone();
        benchmark.items.retain(|item| worse(&name, &item.index));
    }
    let wrong = wrong_answers(&lost, sheets, wrong);
    let page = Page { wrong: &wrong, comparison: Some(comparison) };
    fs::write(path, html(&Report::new(title, scored), page))
        .with_context(|| format!("cannot write `{}`", path.display()))
}

/// Returns the first wrong answers of every benchmark, with their images where the table that they
/// come from is still there.
fn wrong_answers(benchmarks: &[Scored], sheets: &[Asked], most: usize) -> Vec<Shown> {
    let mut shown = Vec::new();
    for scored in benchmarks.iter().filter(|_| most > 0) {
        let Some((run, sheet)) = sheets.iter().find(|(_, sheet)| sheet.name == scored.name) else {
            continue;
        };
        let missing = MissingValues::default();
        let dataset = run.as_ref().and_then(|run| Dataset::open(&run.data, missing).ok());
        let wrong = scored.items.iter().filter(|item| item.score < 1.0).take(most);
        for item in wrong {
            let row = sheet.records.iter().find(|record| record.index == item.index);
            let question = row.and_then(|record| record.row.get("question"));
            let images = dataset.as_ref().and_then(|dataset| {
                let known = dataset.questions.iter().find(|known| known.index == item.index)?;
                dataset.images(known).ok()
            });
            let small = |file: &Vec<u8>| thumbnail(file, THUMBNAIL);
            shown.push(Shown {
                benchmark: scored.name.clone(),
                item: item.clone(),
                question: question.unwrap_or_default().to_owned(),
                answer: sheet.answers.get(&item.index).cloned().unwrap_or_default(),
                images: images.iter().flatten().filter_map(small).collect(),
            });
        }
    }
    shown
}

/// A line about an answer.
#[derive(Serialize)]
struct ItemLine<'i> {
    benchmark: &'i str,
    #[serde(flatten)]
    item: &'i Item,
}

/// Returns what became of every answer, one JSON object on each line.
fn item_lines(benchmarks: &[Scored]) -> Result<String> {
    let mut lines = String::new();
    for Scored { name, items, .. } in benchmarks {
        let line = |item| serde_json::to_string(&ItemLine { benchmark: name, item });
        for line in items.par_iter().map(line).collect::<Result<Vec<_>, _>>()? {
            lines.push_str(&line);
            lines.push('\n');
        }
    }
    Ok(lines)
}

/// Scores every benchmark.
pub(crate) fn score_all(
    sheets: &[Asked],
    folder: Option<&Path>,
    args: &ScoringArgs,
    environment: &Environment,
) -> Result<(Vec<Scored>, Option<JudgeCost>)> {
    let options = ScoreOptions {
        rules: args.rules.unwrap_or_default(),
        spreadsheet: args.spreadsheet_answers,
        requests: match &args.judge_requests {
            None => Requests::default(),
            Some(folder) => Requests::read(folder)?,
        },
    };
    let judge = judge(args, folder, environment)?;
    let mut scored = Vec::new();
    for (_, sheet) in sheets {
        let bar = progress::spinner(&format!("scoring {}", sheet.name));
        scored.push(score(sheet, &options, judge.as_ref(), &|| bar.inc(1))?);
        bar.finish_and_clear();
    }
    Ok((scored, judge.map(|judge| judge.cost())))
}

fn judge(
    args: &ScoringArgs,
    folder: Option<&Path>,
    environment: &Environment,
) -> Result<Option<Judge>> {
    let Some(url) = &args.judge else { return Ok(None) };
    let config = EndpointConfig {
        key: args.judge_key.clone().or_else(|| environment.openai_key.clone()),
        concurrency: args.judge_concurrency,
        retries: args.judge_retries,
        timeout: Duration::from_mins(5),
        ..EndpointConfig::new(url, &args.judge_model)
    };
    let cache = folder.unwrap_or(Path::new(".")).join(JUDGE_CACHE);
    Ok(Some(Judge::open(config, &cache)?))
}

fn price(cost: JudgeCost, prices: &[f64]) -> Option<f64> {
    let [read, rest @ ..] = prices else { return None };
    let written = rest.first().unwrap_or(read);
    let usage = cost.usage;
    let millions = |tokens: u64| tokens as f64 / 1e6;
    Some(millions(usage.prompt_tokens) * read + millions(usage.completion_tokens) * written)
}

/// Checks the scorers against a file; differences are the output and a failure.
fn self_test(path: &Path, rules: Option<RuleSet>) -> Result<()> {
    let json =
        fs::read_to_string(path).with_context(|| format!("cannot read `{}`", path.display()))?;
    let test = eval::self_test(&json, rules)
        .with_context(|| format!("cannot use `{}`", path.display()))?;
    output::json(&test)?;
    match test.mismatches.len() {
        0 => Ok(()),
        wrong => Err(Failure::new(format!("{wrong} of {} outputs differ", test.checks)).into()),
    }
}
