//! What the runs left behind: read from their raw logs alone.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use eval::report::Report;
use serde::Deserialize;
use train::run::StepMetrics;

use super::cells::Cell;
use super::kinds::Kind;
use super::plan::{Plan, PlannedPhase, PlannedRow};
use super::rows::BASELINE;
use super::statistics::{Mean, by_chance, mean};
use crate::probe::Probe;
use crate::report::Failure;

/// What may precede a question, and makes it no longer to understand.
const WISH: &str = "Answer the question using a single word or phrase. ";

/// A question: the benchmark and the index.
pub(super) type Question = (String, String);

/// What became of an answer.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Answer {
    benchmark: String,
    index: String,
    /// The category.
    pub(super) category: String,
    /// From 0 to 1.
    pub(super) score: f64,
}

/// One run.
#[derive(Clone, Debug)]
pub(super) struct RunResult {
    pub(super) seed: u64,
    /// The numbers of the paper's columns.
    pub(super) headlines: BTreeMap<String, f64>,
    pub(super) answers: BTreeMap<Question, Answer>,
    pub(super) probe: Option<Probe>,
    /// The steps of training.
    pub(super) steps: Vec<StepMetrics>,
}

/// The runs of a row.
#[derive(Clone, Debug)]
pub(super) struct RowResult {
    pub(super) row: PlannedRow,
    pub(super) runs: Vec<RunResult>,
}

/// Everything.
#[derive(Clone, Debug)]
pub(super) struct Results {
    pub(super) plan: Plan,
    pub(super) rows: Vec<RowResult>,
    /// What is known of each question.
    pub(super) questions: BTreeMap<Question, Asked>,
    /// The median seconds of a step of a phase, over all runs.
    step_seconds: BTreeMap<String, f64>,
}

/// What a question is like.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    /// How many words it has.
    pub(super) words: usize,
    /// What it takes.
    pub(super) kind: Option<Kind>,
}

/// How a row differs from another one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Gain {
    /// Over the seeds that both have, of 100.
    pub(super) over_seeds: Mean,
    /// By turning the signs of the questions' differences, each the mean over seeds.
    pub(super) p: f64,
    pub(super) questions: usize,
}

impl Results {
    /// Reads the logs of a run of `aki table1`.
    ///
    /// # Errors
    /// If there are none, or one is broken.
    pub(super) fn read(output: &Path) -> Result<Self> {
        let Some(plan) = Plan::read(&output.join("plan.json"))? else {
            let failure = Failure::new(format!("`{}` holds no plan.json", output.display()));
            return Err(failure.hint("`aki table1 --output DIR` makes one").into());
        };
        let mut rows = Vec::new();
        let mut questions = BTreeMap::new();
        for row in &plan.rows {
            let cells = (1..=plan.seeds).map(|seed| Cell::new(output, &row.name, seed));
            let mut runs = Vec::new();
            for cell in cells.filter(|cell| cell.finished("eval").is_some()) {
                runs.push(run(&cell)?);
                if questions.is_empty() {
                    questions = read_questions(&cell.answers())?;
                }
            }
            rows.push(RowResult { row: row.clone(), runs });
        }
        if rows.iter().all(|row| row.runs.is_empty()) {
            let failure = Failure::new(format!("no run in `{}` is finished", output.display()));
            return Err(failure.hint("the same command without --report goes on").into());
        }
        let step_seconds = step_seconds(&rows);
        Ok(Self { plan, rows, questions, step_seconds })
    }

    /// Returns the seconds of a row's training, if all its steps took as long as the middle one of
    /// their phase in all runs: what else the machine did meanwhile does not count.
    pub(super) fn seconds(&self, row: &PlannedRow) -> f64 {
        let of_phase = |phase: &PlannedPhase| {
            let step = self.step_seconds.get(&phase.name).copied().unwrap_or(0.0);
            step * phase.steps as f64
        };
        row.phases.iter().map(of_phase).sum()
    }

    /// Returns a row by its name, if it has a finished run.
    pub(super) fn row(&self, name: &str) -> Option<&RowResult> {
        self.rows.iter().find(|row| row.row.name == name && !row.runs.is_empty())
    }

    /// Returns the row that others are compared with.
    pub(super) fn baseline(&self) -> Option<&RowResult> {
        self.row(BASELINE)
    }
}

impl RunResult {
    /// Returns the mean loss of the last tenth of the last phase.
    pub(super) fn last_loss(&self) -> Option<f64> {
        let phase = &self.steps.last()?.phase;
        let of_phase = self.steps.iter().rev().take_while(|step| step.phase == *phase);
        let losses: Vec<f64> = of_phase.map(|step| step.training_loss).collect();
        let last = &losses[..losses.len().div_ceil(10)];
        Some(last.iter().sum::<f64>() / last.len() as f64)
    }
}

impl RowResult {
    /// Returns the run of a seed, if it is finished.
    pub(super) fn run_of(&self, seed: u64) -> Option<&RunResult> {
        self.runs.iter().find(|run| run.seed == seed)
    }

    /// Returns the mean of a column over seeds.
    pub(super) fn mean(&self, column: &str) -> Option<Mean> {
        let values: Vec<f64> =
            self.runs.iter().filter_map(|run| run.headlines.get(column).copied()).collect();
        mean(&values)
    }

    /// Returns the share of right answers, of 100, to questions that are wanted.
    pub(super) fn share(&self, wanted: &dyn Fn(&Question, &Answer) -> bool) -> Option<Mean> {
        let of_run = |run: &RunResult| {
            let scores: Vec<f64> = run
                .answers
                .iter()
                .filter(|(question, answer)| wanted(question, answer))
                .map(|(_, answer)| answer.score)
                .collect();
            (!scores.is_empty()).then(|| 100.0 * scores.iter().sum::<f64>() / scores.len() as f64)
        };
        mean(&self.runs.iter().filter_map(of_run).collect::<Vec<_>>())
    }

    /// Compares with another row, on questions that are wanted and seeds that both have.
    pub(super) fn gain(
        &self,
        other: &Self,
        wanted: &dyn Fn(&Question, &Answer) -> bool,
    ) -> Option<Gain> {
        let mut questions: BTreeMap<&Question, (f64, usize)> = BTreeMap::new();
        let mut seeds = Vec::new();
        for run in &self.runs {
            let Some(base) = other.run_of(run.seed) else { continue };
            let (mut sum, mut count) = (0.0, 0_usize);
            for (question, answer) in &run.answers {
                let Some(known) = base.answers.get(question) else { continue };
                if !wanted(question, answer) {
                    continue;
                }
                let difference = answer.score - known.score;
                let entry = questions.entry(question).or_default();
                *entry = (entry.0 + difference, entry.1 + 1);
                (sum, count) = (sum + difference, count + 1);
            }
            if count > 0 {
                seeds.push(100.0 * sum / count as f64);
            }
        }
        let differences: Vec<f64> =
            questions.values().map(|(sum, count)| sum / *count as f64).collect();
        let over_seeds = mean(&seeds)?;
        Some(Gain { over_seeds, p: by_chance(&differences), questions: differences.len() })
    }
}

/// Returns the median seconds of a step of each phase, over all runs.
fn step_seconds(rows: &[RowResult]) -> BTreeMap<String, f64> {
    let mut times: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    for run in rows.iter().flat_map(|row| &row.runs) {
        for pair in run.steps.windows(2).filter(|pair| pair[0].phase == pair[1].phase) {
            times.entry(&pair[1].phase).or_default().push(pair[1].time - pair[0].time);
        }
    }
    let median = |mut times: Vec<f64>| {
        times.sort_by(f64::total_cmp);
        times[times.len() / 2]
    };
    times.into_iter().map(|(phase, times)| (phase.to_owned(), median(times))).collect()
}

fn run(cell: &Cell) -> Result<RunResult> {
    let path = cell.answers().join("report.json");
    let broken = || format!("cannot read `{}`", path.display());
    let report: Report =
        serde_json::from_slice(&fs::read(&path).with_context(broken)?).with_context(broken)?;
    let headlines = report.benchmarks.iter().flat_map(|scored| &scored.headlines);
    let headlines =
        headlines.filter_map(|headline| Some((headline.column.clone(), headline.value?)));
    let answers = lines::<Answer>(&cell.answers().join("scored.jsonl"))?.into_iter();
    let answers =
        answers.map(|answer| ((answer.benchmark.clone(), answer.index.clone()), answer)).collect();
    let probe = fs::read(cell.probe()).ok().and_then(|json| serde_json::from_slice(&json).ok());
    // Lines of validations have no phase.
    let steps = lines::<serde_json::Value>(&cell.trained().join("metrics.jsonl"))?;
    let steps =
        steps.into_iter().filter_map(|line| serde_json::from_value::<StepMetrics>(line).ok());
    Ok(RunResult {
        seed: cell.seed,
        headlines: headlines.collect(),
        answers,
        probe,
        steps: steps.collect(),
    })
}

/// Refuses answers that lack some: `aki eval` goes on where a question could not be asked, but a mean
/// of those that could be is no score of a row.
///
/// # Errors
/// If a question has no answer, with the first reason.
pub(super) fn refuse_unanswered(answers: &Path) -> Result<()> {
    #[derive(Deserialize)]
    struct Asked {
        index: String,
        error: Option<String>,
    }
    for folder in eval::report::benchmark_folders(answers)? {
        let path = folder.join("predictions.jsonl");
        let all = lines::<Asked>(&path)?;
        let failed = all.iter().filter_map(|asked| Some((&asked.index, asked.error.as_ref()?)));
        let failed: Vec<(&String, &String)> = failed.collect();
        if let Some((index, why)) = failed.first() {
            let first = why.lines().next().unwrap_or_default();
            let (some, all) = (failed.len(), all.len());
            let failure = Failure::new(format!(
                "`{}`: {some} of {all} questions have no answer; that of index {index}: {first}",
                path.display()
            ));
            return Err(failure.hint("the same command asks them again").into());
        }
    }
    Ok(())
}

fn lines<T: serde::de::DeserializeOwned>(path: &Path) -> Result<Vec<T>> {
    let read = || format!("cannot read `{}`", path.display());
    let text = fs::read_to_string(path).with_context(read)?;
    let lines = text.lines().filter(|line| !line.is_empty());
    lines.map(|line| serde_json::from_str(line).with_context(read)).collect()
}

/// Reads the questions of every benchmark.
fn read_questions(answers: &Path) -> Result<BTreeMap<Question, Asked>> {
    let mut questions = BTreeMap::new();
    for folder in eval::report::benchmark_folders(answers)? {
        let benchmark = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        for row in lines::<BTreeMap<String, String>>(&folder.join("questions.jsonl"))? {
            if let (Some(index), Some(question)) = (row.get("index"), row.get("question")) {
                let words = question.trim_start_matches(WISH).split_whitespace().count();
                let asked = Asked { words, kind: Kind::of(question) };
                questions.insert((benchmark.clone(), index.clone()), asked);
            }
        }
    }
    Ok(questions)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_that_lack_some_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let of = folder.path().join("POPE");
        fs::create_dir(&of).unwrap();
        let put = |last: &str| {
            fs::write(of.join("run.json"), "{}").unwrap();
            let lines = format!("{{\"index\":\"1\",\"answer\":\"yes\"}}\n{last}\n");
            fs::write(of.join("predictions.jsonl"), lines).unwrap();
            refuse_unanswered(folder.path())
        };
        put(r#"{"index":"7","answer":""}"#).unwrap();
        let error = put(r#"{"index":"7","answer":"","error":"row 7: no memory\n  0: main"}"#);
        let said = error.unwrap_err().to_string();
        assert!(
            said.ends_with("1 of 2 questions have no answer; that of index 7: row 7: no memory")
        );
    }
}
