//! How many steps fit into the time: measured, not guessed.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use train::recipe::StageKind;

use super::rows::{Row, before, of_paper, share_of, stretches};
use crate::args::{ConnectorStart, Table1Args};
use crate::report::Failure;

/// The share of the time that is planned with: the rest is for what nobody can foresee.
const CAREFUL: f64 = 0.95;
/// A phase of fewer steps is not worth its while.
const LEAST_STEPS: u64 = 20;

/// How long things take, while as many models as planned are at work at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Measured {
    /// A step of captions.
    pub(super) captions: f64,
    /// A step of instructions.
    pub(super) instructions: f64,
    /// An answer.
    pub(super) answer: f64,
    /// Making the world, the models to start with, and these measurements.
    pub(super) spent: f64,
}

impl Measured {
    fn step(&self, kind: StageKind) -> f64 {
        if kind == StageKind::Instructions { self.instructions } else { self.captions }
    }
}

/// A phase of a row.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct PlannedPhase {
    pub(super) name: String,
    pub(super) steps: u64,
    pub(super) seconds: f64,
}

/// A row of the table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct PlannedRow {
    pub(super) name: String,
    pub(super) label: String,
    /// Who reads whom when it is asked.
    pub(super) policy: String,
    /// Whether it is asked with the text first.
    pub(super) text_first: bool,
    pub(super) phases: Vec<PlannedPhase>,
}

impl PlannedRow {
    /// Returns the seconds of training.
    pub(super) fn seconds(&self) -> f64 {
        self.phases.iter().map(|phase| phase.seconds).sum()
    }

    /// Returns whether it is the same training, however long that takes.
    fn is_trained_as(&self, other: &Self) -> bool {
        let phases = |row: &Self| -> Vec<(String, u64)> {
            row.phases.iter().map(|phase| (phase.name.clone(), phase.steps)).collect()
        };
        let asked = |row: &Self| (row.name.clone(), row.policy.clone(), row.text_first);
        asked(self) == asked(other) && phases(self) == phases(other)
    }

    /// Returns the steps of all phases.
    pub(super) fn steps(&self) -> u64 {
        self.phases.iter().map(|phase| phase.steps).sum()
    }
}

/// What is done.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Plan {
    pub(super) hours: f64,
    /// The steps of the longest phase, if they were asked for in place of hours.
    #[serde(default)]
    pub(super) steps: Option<u64>,
    pub(super) seeds: u64,
    pub(super) processes: usize,
    /// Which share of the recipes' steps every phase has.
    pub(super) share: f64,
    pub(super) questions: usize,
    pub(super) pictures: usize,
    pub(super) encoder: String,
    pub(super) connector: ConnectorStart,
    pub(super) scatter: bool,
    /// The folder of the world whose benchmarks are asked.
    #[serde(default = "the_worlds")]
    pub(super) tests: PathBuf,
    pub(super) sets: Vec<String>,
    pub(super) layers: usize,
    pub(super) vision_tokens: usize,
    pub(super) parameters: u64,
    pub(super) measured: Measured,
    pub(super) rows: Vec<PlannedRow>,
}

/// What the model is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sizes {
    pub(super) layers: usize,
    pub(super) vision_tokens: usize,
    pub(super) parameters: u64,
    /// How many questions every model is asked.
    pub(super) asked: usize,
}

impl Plan {
    /// Plans the steps that are asked for, or as many as fit, the same share of every phase's.
    ///
    /// # Errors
    /// If too few fit.
    pub(super) fn make(
        args: &Table1Args,
        rows: &[Row],
        (processes, sizes): (usize, Sizes),
        measured: Measured,
    ) -> Result<Self> {
        let share = match args.steps {
            Some(steps) => steps as f64 / longest(rows)? as f64,
            None => share_that_fits(args, rows, (processes, sizes), measured)?,
        };
        let rows = rows.iter().map(|row| planned(row, share, measured)).collect::<Result<_>>()?;
        Ok(Self {
            hours: args.hours,
            steps: args.steps,
            seeds: args.seeds,
            processes,
            share,
            questions: args.questions,
            pictures: args.pictures,
            encoder: args.encoder.clone(),
            connector: args.connector,
            scatter: args.scatter,
            tests: args.tests.clone(),
            sets: args.sets.clone(),
            layers: sizes.layers,
            vision_tokens: sizes.vision_tokens,
            parameters: sizes.parameters,
            measured,
            rows,
        })
    }

    /// Reads the plan of a run, none if there is none yet.
    ///
    /// # Errors
    /// If it cannot be read.
    pub(super) fn read(path: &Path) -> Result<Option<Self>> {
        let read = || format!("cannot read `{}`", path.display());
        if !path.is_file() {
            return Ok(None);
        }
        let text = fs::read_to_string(path).with_context(read)?;
        Ok(Some(serde_json::from_str(&text).with_context(read)?))
    }

    /// Refuses to go on with another plan. More rows and more seeds are none where every row has the
    /// steps that were asked for, whatever time they take.
    ///
    /// # Errors
    /// If something else was asked for.
    pub(super) fn go_on(self, args: &Table1Args, rows: &[Row]) -> Result<Self> {
        let names =
            |names: &mut dyn Iterator<Item = &String>| names.cloned().collect::<Vec<_>>().join(",");
        let more = self.with_more(args, rows)?;
        let pairs = [
            ("hours", self.hours.to_string(), args.hours.to_string()),
            ("steps", or_none(self.steps), or_none(args.steps)),
            ("seeds", more.seeds.to_string(), args.seeds.to_string()),
            ("questions", self.questions.to_string(), args.questions.to_string()),
            ("pictures", self.pictures.to_string(), args.pictures.to_string()),
            ("encoder", self.encoder.clone(), args.encoder.clone()),
            ("connector", shown(self.connector), shown(args.connector)),
            ("scatter", self.scatter.to_string(), args.scatter.to_string()),
            ("tests", self.tests.display().to_string(), args.tests.display().to_string()),
            ("set", self.sets.join(" "), args.sets.join(" ")),
            (
                "rows",
                names(&mut more.rows.iter().map(|row| &row.name)),
                names(&mut rows.iter().map(|row| &row.name)),
            ),
        ];
        for (option, known, wanted) in pairs {
            if known != wanted {
                let message = format!(
                    "the run in `{}` was begun with --{option} {known}, this one has {wanted}",
                    args.output.display()
                );
                let hint = match self.steps {
                    Some(_) => {
                        "give the same again to go on, with more rows or seeds if you want them, or \
                         choose another --output"
                    }
                    None => "give the same again to go on, or choose another --output",
                };
                return Err(Failure::new(message).hint(hint).into());
            }
        }
        Ok(more)
    }

    /// Returns the plan with the rows and seeds that are asked for, if that leaves those it has as
    /// they are; else the plan as it is.
    fn with_more(&self, args: &Table1Args, rows: &[Row]) -> Result<Self> {
        let Some(steps) = self.steps.filter(|_| args.seeds >= self.seeds) else {
            return Ok(self.clone());
        };
        let share = steps as f64 / longest(rows)? as f64;
        let rows: Vec<PlannedRow> =
            rows.iter().map(|row| planned(row, share, self.measured)).collect::<Result<_>>()?;
        let is_left = |row: &PlannedRow| rows.iter().any(|other| other.is_trained_as(row));
        if self.rows.iter().all(is_left) {
            return Ok(Self { seeds: args.seeds, share, rows, ..self.clone() });
        }
        Ok(self.clone())
    }

    /// Returns whether the world's own benchmarks are asked.
    pub(super) fn asks_the_worlds(&self) -> bool {
        self.tests == the_worlds()
    }

    /// Returns the steps of the longest phase.
    pub(super) fn longest(&self) -> u64 {
        let phases = self.rows.iter().flat_map(|row| &row.phases);
        phases.map(|phase| phase.steps).max().unwrap_or(0)
    }

    /// Returns the steps of phases in words, from few to many.
    pub(super) fn steps_of_phases(&self) -> String {
        let phases = self.rows.iter().flat_map(|row| &row.phases);
        let steps: BTreeSet<u64> = phases.map(|phase| phase.steps).collect();
        let steps: Vec<String> = steps.iter().map(u64::to_string).collect();
        steps.join(" or ")
    }

    /// Returns the command that does the same on any machine, however fast, without where the world
    /// and other recipes than the paper's are.
    pub(super) fn command(&self) -> String {
        let Self { seeds, questions, pictures, encoder, layers, .. } = self;
        let steps = self.longest();
        let mut out = format!("aki table1 --steps {steps} --seeds {seeds} --encoder {encoder}");
        let mut add = |more: String| out.extend([" ", &more]);
        add(format!("--connector {}", shown(self.connector)));
        if self.scatter {
            add("--scatter".to_owned());
        }
        if self.connector != ConnectorStart::Kept {
            add(format!("--vision-tokens {}", self.vision_tokens));
        }
        add(format!("--layers {layers} --questions {questions} --pictures {pictures}"));
        if !self.asks_the_worlds() {
            add(format!("--tests {}", self.tests.display()));
        }
        self.sets.iter().for_each(|set| add(format!("--set {set}")));
        let rows: Vec<&str> = self.rows.iter().map(|row| row.name.as_str()).collect();
        if !rows.iter().copied().eq(of_paper()) {
            add(format!("--rows {}", rows.join(",")));
        }
        out
    }

    /// Returns the plan as text.
    pub(super) fn text(&self) -> String {
        let Measured { captions, instructions, answer, .. } = self.measured;
        let mut out = format!(
            "{} rows x {} seeds, {} at once, {:.1} % of the recipes' steps: {:.2} s a step of \
             captions, {:.2} s of instructions, {:.3} s an answer\n\n",
            self.rows.len(),
            self.seeds,
            self.processes,
            100.0 * self.share,
            captions,
            instructions,
            answer,
        );
        let base = self.rows.first().map_or(1.0, PlannedRow::seconds).max(1e-9);
        for row in &self.rows {
            let phases: Vec<String> =
                row.phases.iter().map(|phase| format!("{} {}", phase.name, phase.steps)).collect();
            let seconds = row.seconds();
            // Writing to a string cannot fail.
            let _ = writeln!(
                out,
                "{:<24} {:>6.2} h {:>5.1} x   {}",
                row.label,
                seconds / 3600.0,
                seconds / base,
                phases.join(", ")
            );
        }
        out
    }
}

/// Returns the folder of the world's own benchmarks.
fn the_worlds() -> PathBuf {
    "test".into()
}

/// Returns the share of the recipes' steps that fits into the hours.
fn share_that_fits(
    args: &Table1Args,
    rows: &[Row],
    (processes, sizes): (usize, Sizes),
    measured: Measured,
) -> Result<f64> {
    let mut full = 0.0;
    let mut shortest = u64::MAX;
    let all = stretches(rows);
    for stretch in &all {
        let known = before(rows, &all, *stretch).map_or(0, |first| first.num_phases);
        let phases = rows[stretch.row].phases()?;
        for phase in &phases[known..stretch.num_phases] {
            full += phase.schedule.steps as f64 * measured.step(phase.stage.kind);
            shortest = shortest.min(phase.schedule.steps);
        }
    }
    let runs = rows.len() as f64 * args.seeds as f64;
    let at_once = processes as f64;
    let full = full * args.seeds as f64 / at_once;
    let asked = runs * sizes.asked as f64 * measured.answer / at_once;
    let room = args.hours * 3600.0 * CAREFUL - measured.spent - asked;
    let share = (room / full).min(1.0);
    if share * (shortest as f64) < LEAST_STEPS as f64 {
        let least = full * LEAST_STEPS as f64 / shortest as f64 + measured.spent + asked;
        let hours = least / 3600.0 / CAREFUL;
        let message = format!(
            "{} hours are too few for {} rows and {} seeds",
            args.hours,
            rows.len(),
            args.seeds
        );
        let hint = format!(
            "it takes {hours:.1} hours at least; fewer --rows, --seeds or --questions take less"
        );
        return Err(Failure::new(message).hint(hint).into());
    }
    Ok(share)
}

/// Returns the steps of the longest phase of the recipes.
fn longest(rows: &[Row]) -> Result<u64> {
    let mut longest = 1;
    for row in rows {
        longest = row.phases()?.iter().fold(longest, |most, phase| most.max(phase.schedule.steps));
    }
    Ok(longest)
}

/// Returns a number as it is shown.
fn or_none(number: Option<u64>) -> String {
    number.map_or_else(|| "(none)".to_owned(), |number| number.to_string())
}

/// Returns what the command line calls it.
fn shown(connector: ConnectorStart) -> String {
    connector.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
}

fn planned(row: &Row, share: f64, measured: Measured) -> Result<PlannedRow> {
    let phase = |phase: train::recipe::Phase| {
        let steps = share_of(phase.schedule.steps, share);
        let seconds = steps as f64 * measured.step(phase.stage.kind);
        PlannedPhase { name: phase.name, steps, seconds }
    };
    let (policy, text_first) = row.asked()?;
    let phases = row.phases()?.into_iter().map(phase).collect();
    let (name, label) = (row.name.clone(), row.label.clone());
    Ok(PlannedRow { name, label, policy, text_first, phases })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::Cli;
    use crate::args::Command;
    use crate::table1::rows::rows;
    use clap::Parser;

    fn args(more: &[&str]) -> Table1Args {
        let line = ["aki", "table1"].iter().chain(more);
        match Cli::try_parse_from(line).unwrap().command {
            Command::Table1(args) => *args,
            other => panic!("{other:?}"),
        }
    }

    fn plan(more: &[&str]) -> Result<Plan> {
        let args = args(more);
        let measured = Measured { captions: 0.5, instructions: 1.0, answer: 0.01, spent: 100.0 };
        let sizes = Sizes { layers: 4, vision_tokens: 32, parameters: 1, asked: 3900 };
        Plan::make(&args, &rows(&args).unwrap(), (2, sizes), measured)
    }

    #[test]
    fn a_plan_fills_its_time_and_gives_every_phase_of_a_kind_the_same_steps() {
        let plan = plan(&["--hours", "10"]).unwrap();
        // Four phases of captions and ten of instructions, of three seeds, two at once.
        let [captions, instructions] = [0, 1].map(|at| plan.rows[0].phases[at].steps as f64);
        let training = (4.0 * 0.5 * captions + 10.0 * 1.0 * instructions) * 3.0 / 2.0;
        let asking = 24.0 * 3900.0 * 0.01 / 2.0;
        let whole = training + asking + 100.0;
        assert!((whole - 36_000.0 * CAREFUL).abs() < 100.0, "{whole}");
        assert!((3.0 * captions - instructions).abs() < 3.0, "{captions}, {instructions}");
        assert_eq!(plan.steps_of_phases(), format!("{captions} or {instructions}"));
        let dot = plan.rows.iter().find(|row| row.name == "dot").unwrap();
        assert_eq!(dot.steps(), 2 * plan.rows[0].steps());
        assert!(plan.text().contains("2.0 x"), "{}", plan.text());
    }

    #[test]
    fn too_little_time_is_refused_with_how_much_it_takes() {
        let error = plan(&["--hours", "0.2"]).unwrap_err();
        assert_eq!(error.to_string(), "0.2 hours are too few for 8 rows and 3 seeds");
    }

    #[test]
    fn the_command_of_a_plan_does_the_same() {
        let again = |known: &Plan| {
            let line = known.command();
            let words: Vec<&str> = line.split(' ').skip(2).collect();
            let again = plan(&words).unwrap();
            assert_eq!(again.steps, Some(known.longest()), "{line}");
            assert_eq!(again.rows, known.rows, "{line}");
            let same = Plan { hours: known.hours, steps: known.steps, share: known.share, ..again };
            assert_eq!(same, *known, "{line}");
        };
        let changed = ["--connector", "kept", "--scatter", "--set", "seed=2"];
        again(&plan(&[&["--hours", "9.5"], &changed[..]].concat()).unwrap());
        let sizes = ["--layers", "4", "--vision-tokens", "32", "--rows", "causal,mma"];
        again(&plan(&[&["--steps", "777"], &sizes[..]].concat()).unwrap());
    }

    #[test]
    fn another_plan_is_not_gone_on_with() {
        let known = plan(&["--hours", "10"]).unwrap();
        let other = args(&["--hours", "10", "--seeds", "4"]);
        let error = known.go_on(&other, &rows(&other).unwrap()).unwrap_err().to_string();
        assert!(error.contains("was begun with --seeds 3, this one has 4"), "{error}");
    }

    #[test]
    fn rows_and_seeds_are_added_where_steps_are_given() {
        let begun = ["--steps", "800", "--rows", "causal,mma"];
        let known = plan(&begun).unwrap();
        let go_on = |words: &[&str]| {
            let other = args(words);
            known.clone().go_on(&other, &rows(&other).unwrap())
        };
        assert_eq!(go_on(&begun).unwrap(), known);
        let more = ["--steps", "800", "--rows", "causal,cca,mma", "--seeds", "5"];
        let same = plan(&more).unwrap();
        assert_eq!(go_on(&more).unwrap(), same);
        assert_eq!(same.rows.len(), 3);

        let refused = |words: &[&str], says: &str| {
            let error = go_on(words).unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
        };
        refused(&["--steps", "800", "--rows", "causal"], "--rows causal,mma, this one has causal");
        let fewer = ["--steps", "800", "--rows", "causal,mma", "--seeds", "2"];
        refused(&fewer, "--seeds 3, this one has 2");
        refused(&["--steps", "900", "--rows", "causal,mma"], "--steps 800, this one has 900");
    }
}
