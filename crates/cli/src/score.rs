//! `aki score`: what stored answers are worth.

mod shown;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use eval::endpoint::EndpointConfig;
use eval::judge::{Judge, JudgeCost};
use eval::report::{Comparison, Page, Report, benchmark_folders, csv, html, text};
use eval::rules::RuleSet;
use eval::run::RunSettings;
use eval::score::{Item, Requests, ScoreOptions, Scored, Sheet, score};
use eval::{Dataset, Error};
use rayon::prelude::*;
use serde::Serialize;

use crate::args::{ScoreArgs, ScoringArgs};
use crate::environment::Environment;
use crate::report::Failure;
use crate::{output, progress};

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
        if !answers.exists() {
            let failure =
                Failure::new(format!("no such file or directory: `{}`", answers.display()));
            return Err(failure.hint("expected the folder of a run, or a file of answers").into());
        }
        let Some(questions) = &args.questions else {
            let failure = Failure::usage(format!("`{}` is a file of answers", answers.display()));
            return Err(failure.hint("name the benchmark's table with --questions").into());
        };
        let dataset = Dataset::open(questions, args.missing)?;
        dataset.notes.iter().for_each(|note| output::note(&format!("{}: {note}", dataset.name)));
        (vec![(None, of_file(answers, dataset)?)], None)
    };
    let title = title(&sheets).unwrap_or_else(|| answers.display().to_string());
    let target = args.output.as_deref().or(folder);
    let sources = Sources { title, sheets: &sheets, datasets: &[] };
    finish(sources, target, &args.scoring, environment)
}

fn of_file(answers: &Path, dataset: Dataset) -> Result<Sheet> {
    Sheet::of_file(answers, dataset).map_err(|error| {
        if !matches!(error, Error::AnswersKind { .. }) {
            return error.into();
        }
        let hint = "save it as text with tabs; VLMEvalKit writes such files with PRED_FORMAT=tsv, and \
                    JSON with PRED_FORMAT=json";
        Failure::new(error.to_string()).hint(hint).into()
    })
}

/// What is scored.
pub(crate) struct Sources<'s> {
    /// What it is called.
    pub(crate) title: String,
    pub(crate) sheets: &'s [Asked],
    /// The tables that are open already.
    pub(crate) datasets: &'s [Dataset],
}

/// A run that was scored.
pub(crate) struct Run {
    pub(crate) title: String,
    pub(crate) sheets: Vec<Asked>,
    pub(crate) scored: Vec<Scored>,
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
    sources: Sources<'_>,
    folder: Option<&Path>,
    args: &ScoringArgs,
    environment: &Environment,
) -> Result<()> {
    let Sources { title, sheets, datasets } = sources;
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
        let shown = shown::wrong(&report.benchmarks, sheets, datasets, args.wrong);
        write("report.html", html(&report, Page { shown: &shown, ..Page::default() }))?;
    }
    if args.json { output::json(&report) } else { output::text(&text(&report, args.details)) }
}

/// Writes a page about a comparison: the scores of both runs, and answers that differ.
pub(crate) fn comparison_page(
    path: &Path,
    comparison: &Comparison,
    (first, second): (&Run, &Run),
    most: usize,
) -> Result<()> {
    let shown = shown::changed(comparison, (&first.sheets, &second.sheets), &second.scored, most);
    let report = |run: &Run| Report::new(run.title.clone(), run.scored.clone());
    let first = report(first);
    let page = Page { shown: &shown, comparison: Some(comparison), first: Some(&first) };
    fs::write(path, html(&report(second), page))
        .with_context(|| format!("cannot write `{}`", path.display()))
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
    // What was asked and never answered has no score; that must not hide the others'.
    let is_answered = |(_, sheet): &&Asked| !sheet.answers.is_empty();
    let any = sheets.iter().any(|asked| is_answered(&asked));
    for (_, sheet) in sheets {
        if any && sheet.answers.is_empty() {
            output::note(&format!("{}: no question is answered, so it has no score", sheet.name));
            continue;
        }
        let bar = progress::spinner(&format!("scoring {}", sheet.name));
        scored.push(score(sheet, &options, judge.as_ref(), &|| bar.inc(1)).map_err(hinted)?);
        bar.finish_and_clear();
    }
    Ok((scored, judge.map(|judge| judge.cost())))
}

/// Says what to do about an endpoint that refuses everything.
pub(crate) fn hinted(error: Error) -> anyhow::Error {
    let hint = match &error {
        Error::Endpoint { problem, .. } if problem.starts_with("status 401") => {
            "name the key with --judge-key or --endpoint-key, or in OPENAI_API_KEY"
        }
        Error::Endpoint { problem, .. } if problem.starts_with("status 404") => {
            "is the address complete (most end in /v1), and is there such a model?"
        }
        _ => return error.into(),
    };
    Failure::new(error.to_string()).hint(hint).into()
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
        timeout: Duration::from_secs(args.judge_timeout),
        notify: output::note,
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
