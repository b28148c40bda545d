//! The table, the tests, and what explains them: from raw logs to Markdown and a page.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use eval::PAPER;

use super::kinds::Kind;
use super::page::{Block, Line, Scale, html, markdown, svg};
use super::plan::Plan;
use super::probes;
use super::results::{Answer, Gain, Question, Results, RowResult, RunResult};
use super::rows::BASELINE;
use super::statistics::{Mean, mean};
use crate::args::ConnectorStart;

/// The row that is explained.
const EXPLAINED: &str = "mma";
/// A category with fewer questions says too little.
const LEAST_QUESTIONS: usize = 20;
/// How many categories are shown from either end.
const SHOWN: usize = 10;
/// The columns of differences of rows.
const DIFFERENCES: [&str; 4] = ["row", "difference", "questions", "p"];
/// The columns of what is asked of both rows.
const COMPARED: [&str; 5] = ["causal", "MMA", "difference", "questions", "p"];
/// The points of a line of losses.
const POINTS: usize = 120;
/// Up to so many words a question is short, and up to so many middling.
const WORDS: [usize; 2] = [8, 14];

/// Writes `table1.md`, `table1.html` and the figures.
///
/// # Errors
/// If a log cannot be read, or a file not written.
pub(super) fn write(output: &Path, beside: &[Results]) -> Result<()> {
    let results = Results::read(output)?;
    let blocks = blocks(&results, output, beside);
    let title = if results.plan.asks_the_worlds() {
        "Table 1 in miniature".to_owned()
    } else {
        format!("Table 1 in miniature, asked {}", results.plan.tests.display())
    };
    let title = title.as_str();
    let images = output.join("images");
    fs::create_dir_all(&images)
        .with_context(|| format!("cannot make directory `{}`", images.display()))?;
    let put = |path: std::path::PathBuf, text: String| {
        fs::write(&path, text).with_context(|| format!("cannot write `{}`", path.display()))
    };
    for block in &blocks {
        if let Block::Figure { name, .. } = block {
            put(images.join(format!("{name}.svg")), svg(block))?;
        }
    }
    put(output.join("table1.md"), markdown(title, &blocks, "images"))?;
    put(output.join("table1.html"), html(title, &blocks))
}

fn blocks(results: &Results, output: &Path, beside: &[Results]) -> Vec<Block> {
    // The figures of several reports may lie in one folder.
    let name = output.file_name().unwrap_or_default().to_string_lossy();
    let mut blocks = vec![introduction(results)];
    blocks.extend(table(results));
    blocks.extend(tests(results));
    blocks.extend(beside_explained(results));
    blocks.extend(last_losses(results));
    blocks.extend(kinds(results));
    blocks.extend(lengths(results));
    blocks.extend(probes::blocks(results, &name));
    blocks.extend(sizes(results, beside));
    blocks.extend(losses(results, &name));
    blocks.extend(reproduce(results, output));
    blocks
}

fn introduction(results: &Results) -> Block {
    let plan = &results.plan;
    let finished: usize = results.rows.iter().map(|row| row.runs.len()).sum();
    let all = plan.rows.len() as u64 * plan.seeds;
    Block::Text(format!(
        "{finished} of {all} runs are finished: {} rows, {} seeds each, {} steps a phase. Every run has \
         {:.2} million parameters ({} decoder layers, {} vision tokens) and begins with {}; the encoder is frozen. Every \
         phase of a kind has the same data and the same number of steps: {:.1} % of the recipes'. Everything \
         below was computed from the logs in the run's folder.",
        plan.rows.len(),
        plan.seeds,
        plan.steps_of_phases(),
        plan.parameters as f64 / 1e6,
        plan.layers,
        plan.vision_tokens,
        beginning(plan),
        100.0 * plan.share,
    ))
}

/// Says what the runs begin with.
fn beginning(plan: &Plan) -> String {
    let encoder = &plan.encoder;
    let taken = match plan.connector {
        ConnectorStart::Trained => format!(
            "the vision encoder of `{encoder}`, a connector and a head that were trained until each vision \
             token named its part of the picture"
        ),
        ConnectorStart::Kept => {
            format!("vision encoder, connector, embeddings and head of `{encoder}`")
        }
        ConnectorStart::Random => format!("the vision encoder of `{encoder}`"),
    };
    let scattered = if plan.scatter { " (the tokens in a random order)" } else { "" };
    format!(
        "{taken}{scattered}, and for the rest with the same random numbers in every row of a seed"
    )
}

/// Returns a mean with its interval.
pub(super) fn shown(mean: Option<Mean>) -> String {
    match mean {
        None => String::new(),
        Some(Mean { mean, interval: None }) => format!("{mean:.1}"),
        Some(Mean { mean, interval: Some(interval) }) => format!("{mean:.1} ± {interval:.1}"),
    }
}

/// Returns the mean with its sign.
fn signed(mean: Mean) -> String {
    let sign = if mean.mean > 0.0 { "+" } else { "" };
    format!("{sign}{}", shown(Some(mean)))
}

fn texts<const N: usize>(cells: [&str; N]) -> Vec<String> {
    cells.map(str::to_owned).into()
}

/// Returns the mean over columns of the share of the best possible, of 100, of every run.
fn overall(row: &RowResult) -> Option<Mean> {
    let of_run = |headlines: &std::collections::BTreeMap<String, f64>| {
        let shares: Vec<f64> = PAPER
            .iter()
            .filter_map(|paper| Some(100.0 * headlines.get(paper.column)? / paper.best))
            .collect();
        mean(&shares).map(|mean| mean.mean)
    };
    let values: Vec<f64> = row.runs.iter().filter_map(|run| of_run(&run.headlines)).collect();
    mean(&values)
}

fn table(results: &Results) -> Vec<Block> {
    // The world's own questions keep the paper's layout, others have the columns that they fill.
    let is_there = |paper: &&eval::PaperScore| {
        results.plan.asks_the_worlds()
            || results.rows.iter().any(|row| row.mean(paper.column).is_some())
    };
    let columns: Vec<&eval::PaperScore> = PAPER.iter().filter(is_there).collect();
    let head = ["row", "seeds", "steps", "time"].into_iter();
    let head = head.chain(columns.iter().map(|paper| paper.column)).chain(["mean"]);
    let seconds = |row: &RowResult| results.seconds(&row.row);
    let base = results.baseline().map(seconds).filter(|seconds| *seconds > 0.0);
    let line = |row: &RowResult| {
        let time = base.map_or_else(
            || format!("{:.2} h", seconds(row) / 3600.0),
            |base| format!("{:.1} x", seconds(row) / base),
        );
        let count = row.runs.len().to_string();
        let mut cells = vec![row.row.label.clone(), count, row.row.steps().to_string(), time];
        let of_column = |paper: &&eval::PaperScore| {
            row.mean(paper.column).map_or_else(|| "–".to_owned(), |mean| shown(Some(mean)))
        };
        cells.extend(columns.iter().map(of_column));
        cells.push(shown(overall(row)));
        cells
    };
    let rows = results.rows.iter().filter(|row| !row.runs.is_empty()).map(line).collect();
    let note = "Means over seeds with 95 % confidence intervals (Student's distribution); time is that \
                of training by the middle step of each phase, beside the causal row's; the last column is \
                the mean of all columns, each of the best that it can be. LLaVA-W, MM-Vet and MathV-mini are scored without a \
                judge here, by the rules of `aki score`, and do not compare with the paper's. – stands where \
                the world has no such questions.";
    vec![
        Block::Heading("The table".to_owned()),
        Block::Table { head: head.map(str::to_owned).collect(), rows },
        Block::Text(note.to_owned()),
        Block::Text(verdict(results)),
    ]
}

/// Says in how many columns the explained row is above the baseline.
fn verdict(results: &Results) -> String {
    let (Some(row), Some(base)) = (results.row(EXPLAINED), results.baseline()) else {
        return "The rows to be compared are not finished.".to_owned();
    };
    let (mut above, mut below, mut all) = (0, 0, 0);
    for paper in &PAPER {
        if let (Some(ours), Some(theirs)) = (row.mean(paper.column), base.mean(paper.column)) {
            all += 1;
            above += usize::from(ours.mean > theirs.mean);
            below += usize::from(ours.mean < theirs.mean);
        }
    }
    let gain = row.gain(base, &|_, _| true);
    let over_all = gain.map_or_else(String::new, |gain| {
        let Mean { mean, interval } = gain.over_seeds;
        let doubt = match interval {
            _ if gain.p >= 0.05 => ", which may be chance",
            Some(interval) if mean.abs() < interval => ", which other seeds may turn",
            _ => "",
        };
        format!(
            " Over all {} questions the difference is {} points (p = {:.4}{doubt}).",
            gain.questions,
            signed(gain.over_seeds),
            gain.p
        )
    });
    format!(
        "{} is above the causal row in {above} of {all} columns and below it in {below}.{over_all}",
        row.row.label
    )
}

/// Returns a difference, marked where it is hardly chance.
fn marked(gain: Gain) -> String {
    format!("{}{}", signed(gain.over_seeds), if gain.p < 0.05 { " *" } else { "" })
}

fn gain_cells(gain: &Gain) -> [String; 3] {
    [signed(gain.over_seeds), gain.questions.to_string(), format!("{:.4}", gain.p)]
}

fn tests(results: &Results) -> Vec<Block> {
    let Some(base) = results.baseline() else { return Vec::new() };
    let benchmarks: BTreeSet<&str> = base
        .runs
        .iter()
        .flat_map(|run| run.answers.keys().map(|(benchmark, _)| benchmark.as_str()))
        .collect();
    let others = || results.rows.iter().filter(|row| row.row.name != BASELINE);
    let whole = |row: &RowResult| {
        let gain = row.gain(base, &|_, _| true)?;
        Some(std::iter::once(row.row.label.clone()).chain(gain_cells(&gain)).collect())
    };
    let parts = |row: &RowResult| {
        let of = |benchmark: &&str| {
            row.gain(base, &|question, _| question.0 == **benchmark)
                .map_or_else(String::new, marked)
        };
        let cells = benchmarks.iter().map(of);
        (!row.runs.is_empty())
            .then(|| std::iter::once(row.row.label.clone()).chain(cells).collect())
    };
    let head = std::iter::once("row").chain(benchmarks.iter().copied());
    vec![
        Block::Heading("Paired tests against the causal row".to_owned()),
        Block::Text(
            "The difference of mean scores, of 100, of runs with the same seed, with its interval over \
             seeds; p: how often turning the signs of the questions' differences at random makes as \
             large a difference. So p says what other questions would do to these runs, and the interval \
             what other runs would do to these questions; a difference that both allow is none."
                .to_owned(),
        ),
        Block::Table { head: texts(DIFFERENCES), rows: others().filter_map(whole).collect() },
        Block::Text(
            "The same by benchmark; * where p is below 0.05. The tests are many: of those where nothing \
             differs, one in twenty has it."
                .to_owned(),
        ),
        Block::Table {
            head: head.map(str::to_owned).collect(),
            rows: others().filter_map(parts).collect(),
        },
    ]
}

/// Shows every row beside the explained one, over all questions.
fn beside_explained(results: &Results) -> Vec<Block> {
    let Some(explained) = results.row(EXPLAINED) else { return Vec::new() };
    let line = |row: &RowResult| {
        let gain = row.gain(explained, &|_, _| true)?;
        Some(std::iter::once(row.row.label.clone()).chain(gain_cells(&gain)).collect())
    };
    let others = results.rows.iter().filter(|row| row.row.name != EXPLAINED);
    vec![
        Block::Heading(format!("Every row beside {}", explained.row.label)),
        Block::Table { head: texts(DIFFERENCES), rows: others.filter_map(line).collect() },
    ]
}

/// Shows the losses at the end of training, beside the baseline's of the same seeds.
fn last_losses(results: &Results) -> Vec<Block> {
    let Some(base) = results.baseline() else { return Vec::new() };
    let exact = |mean: Mean, sign: &str| {
        let interval = mean.interval.map_or_else(String::new, |width| format!(" ± {width:.3}"));
        // A zero has no sign.
        let value = (mean.mean * 1e3).round() / 1e3 + 0.0;
        format!("{}{value:.3}{interval}", if value > 0.0 { sign } else { "" })
    };
    let line = |row: &RowResult| {
        let losses: Vec<f64> = row.runs.iter().filter_map(RunResult::last_loss).collect();
        let differences = row
            .runs
            .iter()
            .filter_map(|run| Some(run.last_loss()? - base.run_of(run.seed)?.last_loss()?));
        let differences: Vec<f64> = differences.collect();
        let beside = match mean(&differences) {
            Some(difference) if row.row.name != BASELINE => exact(difference, "+"),
            _ => String::new(),
        };
        Some(vec![row.row.label.clone(), exact(mean(&losses)?, ""), beside])
    };
    vec![
        Block::Heading("Losses at the end".to_owned()),
        Block::Text(
            "The mean training loss of the last tenth of the last phase, most of whose questions a run has \
             not met before, and its difference from that of the causal run of the same seed. It tells runs \
             apart whose answers do not differ yet."
                .to_owned(),
        ),
        Block::Table {
            head: texts(["row", "loss", "beside the causal row"]),
            rows: results.rows.iter().filter_map(line).collect(),
        },
    ]
}

/// Shows the explained row beside the baseline on some questions; nothing if there are none.
fn compared(
    results: &Results,
    name: String,
    wanted: &dyn Fn(&Question, &Answer) -> bool,
) -> Option<(Gain, Vec<String>)> {
    let (row, base) = (results.row(EXPLAINED)?, results.baseline()?);
    let gain = row.gain(base, wanted)?;
    let cells = [name, shown(base.share(wanted)), shown(row.share(wanted))];
    let cells = cells.into_iter().chain(gain_cells(&gain)).collect();
    Some((gain, cells))
}

/// Shows which kinds of question gain, and which categories most and least.
fn kinds(results: &Results) -> Vec<Block> {
    let (Some(row), Some(_)) = (results.row(EXPLAINED), results.baseline()) else {
        return Vec::new();
    };
    let of_kind = |kind: Kind| {
        let is_kind = |question: &Question, _: &Answer| {
            results.questions.get(question).is_some_and(|asked| asked.kind == Some(kind))
        };
        Some(compared(results, kind.name().to_owned(), &is_kind)?.1)
    };
    let names: BTreeSet<(&str, &str)> = row
        .runs
        .iter()
        .flat_map(|run| &run.answers)
        .map(|(question, answer)| (question.0.as_str(), answer.category.as_str()))
        .collect();
    let of_category = |(benchmark, category): (&str, &str)| {
        compared(results, format!("{benchmark}, {category}"), &|question, answer| {
            question.0 == benchmark && answer.category == category
        })
    };
    let mut gains: Vec<(Gain, Vec<String>)> = names.into_iter().filter_map(of_category).collect();
    gains.retain(|(gain, _)| gain.questions >= LEAST_QUESTIONS);
    gains.sort_by(|(a, _), (b, _)| b.over_seeds.mean.total_cmp(&a.over_seeds.mean));
    let count = gains.len();
    let is_end = |at: usize| at < SHOWN || at + SHOWN >= count;
    let ends = gains.into_iter().enumerate().filter(|(at, _)| is_end(*at));
    let head = |first: &str| texts([first]).into_iter().chain(texts(COMPARED)).collect();
    vec![
        Block::Heading("Which kinds of question gain".to_owned()),
        Block::Text(
            "All benchmarks together, by what an answer takes: how many things it has to bring together."
                .to_owned(),
        ),
        Block::Table {
            head: head("a question about"),
            rows: Kind::ALL.into_iter().filter_map(of_kind).collect(),
        },
        Block::Text(format!(
            "Categories with at least {LEAST_QUESTIONS} questions, from the largest gain of MMA over \
             the causal row to the largest loss; the first and the last {SHOWN}."
        )),
        Block::Table {
            head: head("category"),
            rows: ends.map(|(_, (_, cells))| cells).collect(),
        },
    ]
}

/// Shows how the gain goes with the length of questions.
fn lengths(results: &Results) -> Vec<Block> {
    let [short, middling] = WORDS;
    let mut rows = Vec::new();
    for (name, range) in [
        (format!("up to {short} words"), 0..short + 1),
        (format!("{} to {middling} words", short + 1), short + 1..middling + 1),
        (format!("more than {middling} words"), middling + 1..usize::MAX),
    ] {
        let wanted = |question: &Question, _: &Answer| {
            results.questions.get(question).is_some_and(|asked| range.contains(&asked.words))
        };
        rows.extend(compared(results, name, &wanted).map(|(_, cells)| cells));
    }
    if rows.is_empty() {
        return Vec::new();
    }
    vec![
        Block::Heading("Short questions and long ones".to_owned()),
        Block::Table {
            head: texts(["question"]).into_iter().chain(texts(COMPARED)).collect(),
            rows,
        },
    ]
}

/// Shows gains beside those of models of other sizes, of the rows that these have.
fn sizes(results: &Results, beside: &[Results]) -> Vec<Block> {
    if beside.is_empty() {
        return Vec::new();
    }
    let others: BTreeSet<&str> = beside
        .iter()
        .flat_map(|results| results.rows.iter().map(|row| row.row.name.as_str()))
        .filter(|name| *name != BASELINE)
        .collect();
    let lines = |results: &Results, name: &str| {
        let row = results.row(name)?;
        let gain = row.gain(results.baseline()?, &|_, _| true)?;
        let Plan { layers, vision_tokens, scatter, parameters, .. } = &results.plan;
        let order = if *scatter { ", in a random order" } else { "" };
        let cells = [
            row.row.label.clone(),
            format!("{layers} layers, {vision_tokens} vision tokens{order}"),
            format!("{:.2}", *parameters as f64 / 1e6),
            row.row.steps().to_string(),
        ];
        Some(cells.into_iter().chain(gain_cells(&gain)).collect())
    };
    let rows = others.iter().flat_map(|name| {
        std::iter::once(results).chain(beside).filter_map(|results| lines(results, name))
    });
    vec![
        Block::Heading("Other sizes".to_owned()),
        Block::Text(
            "The difference from the causal row of the same size, over all questions.".to_owned(),
        ),
        Block::Table {
            head: texts([
                "row",
                "model",
                "million parameters",
                "steps",
                "difference",
                "questions",
                "p",
            ]),
            rows: rows.collect(),
        },
    ]
}

/// Draws the losses of every row, the mean over seeds, smoothed.
fn losses(results: &Results, name: &str) -> Vec<Block> {
    let lines: Vec<Line> = results
        .rows
        .iter()
        .filter(|row| !row.runs.is_empty())
        .map(|row| {
            let last = row.runs.iter().filter_map(|run| run.steps.last()).map(|last| last.step);
            let last = last.max().unwrap_or(1).max(1);
            let wide = last.div_ceil(POINTS as u64).max(1);
            let mut sums = vec![(0.0, 0_u32); last.div_ceil(wide) as usize];
            for step in row.runs.iter().flat_map(|run| &run.steps) {
                let sum = &mut sums[((step.step.max(1) - 1) / wide) as usize];
                *sum = (sum.0 + step.training_loss, sum.1 + 1);
            }
            let points = sums.iter().enumerate().filter(|(_, (_, count))| *count > 0);
            let points = points.map(|(at, (sum, count))| {
                ((at as f64 + 0.5) * wide as f64, sum / f64::from(*count))
            });
            (row.row.label.clone(), points.collect())
        })
        .collect();
    vec![
        Block::Heading("Learning curves".to_owned()),
        Block::Figure {
            name: format!("{name}-losses"),
            x: "step".to_owned(),
            y: "training loss, mean over seeds".to_owned(),
            scale: Scale::Logarithmic,
            lines,
        },
        Block::Text(
            "Losses of different orders do not compare: with the text first a caption is learned without \
             the image."
                .to_owned(),
        ),
    ]
}

fn reproduce(results: &Results, output: &Path) -> Vec<Block> {
    let example = results.rows.iter().find(|row| !row.runs.is_empty());
    let name = example.map_or("causal", |row| row.row.name.as_str());
    let folder = output.display();
    vec![
        Block::Heading("Doing it again".to_owned()),
        Block::Text(format!(
            "`{}` does all of it and goes on where it was stopped. One run \
             alone: the same with `--dry-run` makes the world and what runs begin with, and `aki train \
             {folder}/runs/{name}/seed-1/recipe.toml --output again` gives the same \
             weights on the same machine. `runs/ROW/seed-N` has the recipe, `train/metrics.jsonl`, every \
             answer (`eval/*/predictions.jsonl`), every score (`eval/scored.jsonl`) and the probe \
             (`probe.json`); `plan.json` has what was measured and planned; `aki table1 --report` makes \
             this page of them.",
            results.plan.command(),
        )),
    ]
}
