//! `aki table1`: the rows of the paper's Table 1, trained and asked in miniature.
//!
//! Everything is done by other commands of this program, as a user would: `aki miniature` makes the
//! world, `aki train` trains each run by a recipe that lies beside it, `aki eval` asks. What is here
//! plans, starts them, probes the models, and reports from what they left behind.

mod cells;
mod kinds;
mod page;
mod plan;
mod probes;
mod report;
mod results;
mod rows;
mod start;
mod statistics;

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result};
use engine::CancelToken;
use train::recipe::Recipe;
use train::run::StepMetrics;

use self::cells::{Cell, MAX_NEW_TOKENS, Task, call};
use self::plan::{Measured, Plan, PlannedRow, Sizes};
use self::results::Results;
use self::rows::{Row, RunOf, Stretch, before, in_order};
use self::start::Source;
use crate::args::{ConnectorStart, Table1Args, WorldSize};
use crate::environment::Environment;
use crate::interrupt::Interrupt;
use crate::load::Model;
use crate::report::Failure;
use crate::{output, progress};

/// What Ctrl-C says.
const STOPPING: &str = "stopping after the steps and answers under way; the same command goes on";
/// The steps that are measured in every phase, and those at its start that are not counted.
const MEASURED: (u64, usize) = (12, 4);
/// The questions that are asked to measure.
const ASKED: usize = 24;
/// What decides the world.
const WORLD_SEED: &str = "11";
/// The width and height of its pictures.
const PICTURE: &str = "192";

/// Trains, asks, probes and reports.
pub(crate) fn run(args: &Table1Args, environment: &Environment) -> Result<()> {
    if args.report {
        return report(args);
    }
    let rows = rows::rows(args)?;
    possible(args, environment)?;
    let cancel = Interrupt::install()?.arm_with(STOPPING);
    let work = Work { args, environment, rows: &rows, cancel, start: Instant::now() };
    let path = args.output.join("plan.json");
    let plan = if let Some(known) = Plan::read(&path)? {
        let plan = known.go_on(args, &rows)?;
        work.prepare()?;
        plan
    } else {
        work.plan()?
    };
    if !args.dry_run {
        cells::put(&path, &(serde_json::to_string_pretty(&plan)? + "\n"))?;
    }
    output::text(&plan.text())?;
    if args.dry_run {
        return Ok(());
    }
    work.all(&plan)?;
    report(args)
}

/// Says what cannot work before a world is drawn.
fn possible(args: &Table1Args, environment: &Environment) -> Result<()> {
    args.device.open()?;
    Model::locate(&args.encoder, environment)?.config()?;
    match args.connector {
        ConnectorStart::Trained => {
            rows::connector(args)?.phases()?;
        }
        ConnectorStart::Kept if args.vision_tokens.is_some() => {
            let message = "a connector that is kept has its own number of vision tokens";
            let hint = "leave out --vision-tokens, or take `--connector trained`";
            return Err(Failure::usage(message).hint(hint).into());
        }
        ConnectorStart::Kept | ConnectorStart::Random => {}
    }
    Ok(())
}

fn report(args: &Table1Args) -> Result<()> {
    let beside: Vec<Results> =
        args.beside.iter().map(|path| Results::read(path)).collect::<Result<_>>()?;
    report::write(&args.output, &beside)?;
    let name = |name: &str| args.output.join(name).display().to_string();
    output::line(&format!("wrote {} and {}", name("table1.md"), name("table1.html")))
}

/// What is to be done.
struct Work<'a> {
    args: &'a Table1Args,
    environment: &'a Environment,
    rows: &'a [Row],
    cancel: CancelToken,
    start: Instant,
}

impl Work<'_> {
    fn world(&self) -> PathBuf {
        self.args.world.clone().unwrap_or_else(|| self.args.output.join("world"))
    }

    /// The benchmarks that are asked.
    fn tests(&self) -> PathBuf {
        self.world().join(&self.args.tests)
    }

    fn start_of(&self, seed: u64) -> PathBuf {
        self.args.output.join("start").join(format!("seed-{seed}"))
    }

    fn processes(&self) -> usize {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        self.args.processes.unwrap_or(cores).max(1)
    }

    /// Returns how many threads each process has.
    fn threads(&self) -> usize {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        (cores / self.processes()).max(1)
    }

    /// Returns what says what a process computes with.
    fn compute(&self, threads: usize) -> Vec<String> {
        let (threads, device) = (threads.to_string(), self.args.device.to_string());
        words(["--threads", &threads, "--device", &device])
    }

    /// Makes the world and the models to start with, as far as they are not there.
    fn prepare(&self) -> Result<()> {
        if self.args.world.is_none() {
            let size = match self.args.world_size {
                WorldSize::Tiny => "tiny",
                WorldSize::Small => "small",
                WorldSize::Full => "full",
            };
            let spinner = progress::spinner("drawing the world");
            let world = self.world().display().to_string();
            let fixed = ["miniature", "--output", &world, "--size", size, "--seed", WORLD_SEED];
            let mut line = words(fixed.iter().chain(&["--image-size", PICTURE]));
            line.extend(["--only".to_owned(), self.folders()?.join(",")]);
            call(&line, &self.args.output.join("world.log"), &self.cancel)?;
            spinner.finish_and_clear();
        }
        // A folder without benchmarks is told of before anything is trained.
        self.shortest()?;
        let more = self.args.connector;
        let trained = (more == ConnectorStart::Trained).then(|| self.connector()).transpose()?;
        let name =
            trained.map_or_else(|| self.args.encoder.clone(), |run| run.display().to_string());
        let source = Source { name: &name, more, scatter: self.args.scatter };
        for seed in 1..=self.args.seeds {
            let options = (self.args, self.environment);
            start::write(&self.start_of(seed), seed, &source, options)?;
        }
        Ok(())
    }

    /// Returns the folders of the world that are read: a whole world has many more pictures.
    fn folders(&self) -> Result<Vec<String>> {
        let mut folders = self.rows.iter().map(Row::folders).collect::<Result<Vec<_>>>()?.concat();
        if self.args.connector == ConnectorStart::Trained {
            folders.extend(rows::connector(self.args)?.folders()?);
        }
        folders.extend(rows::folder_of(&self.args.tests));
        folders.sort();
        folders.dedup();
        Ok(folders)
    }

    /// Trains the connector, if that is not done yet, and returns its run.
    fn connector(&self) -> Result<PathBuf> {
        let folder = self.args.output.join("start");
        let cell = Cell::new(&folder, "connector", 1);
        if cell.finished("train").is_none() {
            let spinner = progress::spinner("training the connector");
            let encoder =
                Source { name: &self.args.encoder, more: ConnectorStart::Random, scatter: false };
            let start = folder.join("encoder");
            start::write(&start, cell.seed, &encoder, (self.args, self.environment))?;
            let (world, share) = (&self.world(), 1.0);
            let run = RunOf { seed: cell.seed, share, world, start: &start };
            let recipe = rows::connector(self.args)?.recipe(&run, 1)?;
            cell.put(&cell.recipe(), &recipe.to_toml()?)?;
            // Nothing else is at work yet.
            let line = self.train_with(&cell, self.threads() * self.processes());
            cell.part("train", |log| call(&line, log, &self.cancel))?;
            spinner.finish_and_clear();
        }
        Ok(cell.trained())
    }

    /// Measures what steps and answers cost, and plans.
    fn plan(&self) -> Result<Plan> {
        self.prepare()?;
        let spinner = progress::spinner("measuring steps and answers");
        let processes = self.processes();
        let row = &self.rows[0];
        let trials: Vec<Task<usize>> = (0..processes).map(Task::free).collect();
        let folder = self.args.output.join("trial");
        if folder.is_dir() {
            std::fs::remove_dir_all(&folder)
                .with_context(|| format!("cannot remove `{}`", folder.display()))?;
        }
        let cell = |number: usize| Cell::new(&folder, &row.name, number as u64 + 1);
        cells::all(&trials, processes, |number| {
            let cell = cell(*number);
            let mut recipe = self.recipe(row, &cell, 1.0, usize::MAX)?;
            recipe.model.init = self.start_of(1).display().to_string();
            for schedule in recipe.phases.iter_mut().filter_map(|phase| phase.schedule.as_mut()) {
                (schedule.steps, schedule.warmup_steps) = (MEASURED.0, 1);
            }
            cell.put(&cell.recipe(), &recipe.to_toml()?)?;
            cell.part("train", |log| call(&self.train(&cell, None), log, &self.cancel))?;
            let (policy, text_first) = row.asked()?;
            let ask = self.ask(&cell, (&policy, text_first), ASKED);
            cell.part("eval", |log| {
                call(&words(ask.iter().chain(&[self.shortest()?])), log, &self.cancel)
            })
        })?;
        let measured = self.measured(row, &cell(0))?;
        spinner.finish_and_clear();
        let model = Model::Files { dir: self.start_of(1), weights: self.start_of(1) };
        let config = model.config()?;
        let shapes = config.tensor_shapes();
        let parameters: usize =
            shapes.iter().map(|(_, shape)| shape.iter().product::<usize>()).sum();
        let sizes = Sizes {
            layers: config.text.num_hidden_layers,
            vision_tokens: config.num_vision_tokens,
            parameters: parameters as u64,
            asked: self.num_questions()?,
        };
        Plan::make(self.args, self.rows, (processes, sizes), measured)
    }

    /// Returns the benchmark to measure answers with: POPE's are the shortest.
    fn shortest(&self) -> Result<String> {
        let found = eval::catalog(&self.tests()).into_iter().filter(|found| found.path.is_some());
        let names: Vec<String> = found.map(|found| found.name).collect();
        let first = names.iter().find(|name| *name == "POPE").or(names.first());
        first.cloned().ok_or_else(|| {
            let failure =
                Failure::new(format!("`{}` holds no benchmark to ask", self.tests().display()));
            let hint = "--tests names a folder of the world, such as `counting/test`; what is no part \
                        of a world, `aki miniature --only counting` adds to it, with the seed and the \
                        sizes in its world.json";
            failure.hint(hint).into()
        })
    }

    /// Counts the questions that every model is asked.
    fn num_questions(&self) -> Result<usize> {
        let found = eval::catalog(&self.tests());
        let paths = found.into_iter().filter_map(|found| found.path);
        paths
            .map(|path| {
                let dataset = eval::Dataset::open(&path, eval::MissingValues::default())?;
                // `MMBench` counts a question once and asks it in every rotation, CV-Bench has two
                // parts.
                let times = match dataset.family {
                    eval::Family::MmBench => 4,
                    eval::Family::CvBench => 2,
                    _ => 1,
                };
                Ok(dataset.questions.len().min(self.args.questions.saturating_mul(times)))
            })
            .sum()
    }

    /// Reads what a trial took.
    fn measured(&self, row: &Row, cell: &Cell) -> Result<Measured> {
        let path = cell.trained().join("metrics.jsonl");
        let text = std::fs::read_to_string(&path)
            .with_context(|| format!("cannot read `{}`", path.display()))?;
        let steps: Vec<StepMetrics> =
            text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        let (mut captions, mut instructions) = (0.0_f64, 0.0_f64);
        for phase in row.phases()? {
            let times: Vec<f64> = steps
                .iter()
                .filter(|step| step.phase == phase.name)
                .map(|step| step.time)
                .skip(MEASURED.1)
                .collect();
            let [first, .., last] = times[..] else { continue };
            let seconds = (last - first) / (times.len() - 1) as f64;
            let is_instruction = phase.stage.kind == train::recipe::StageKind::Instructions;
            let known = if is_instruction { &mut instructions } else { &mut captions };
            *known = known.max(seconds);
        }
        // A row of one kind has no steps of the other.
        let (captions, instructions) = (captions.max(1e-3), instructions.max(captions).max(1e-3));
        let asked = cell.finished("eval").map_or(0.0, |done| done.seconds);
        let answer = asked / ASKED as f64;
        Ok(Measured { captions, instructions, answer, spent: self.start.elapsed().as_secs_f64() })
    }

    /// Does every run, what several rows begin with once and before them; seed after seed, so that
    /// what is finished early compares.
    fn all(&self, plan: &Plan) -> Result<()> {
        let all = in_order(self.rows);
        let firsts: Vec<Option<usize>> = all
            .iter()
            .map(|stretch| {
                let first = before(self.rows, &all, *stretch);
                first.and_then(|first| all.iter().position(|it| *it == first))
            })
            .collect();
        let bar = progress::things("runs", all.len() as u64 * plan.seeds);
        let tasks: Vec<Task<(usize, u64)>> = (1..=plan.seeds)
            .flat_map(|seed| (0..all.len()).map(move |stretch| (stretch, seed)))
            .map(|(stretch, seed)| {
                let of_seed = (seed - 1) as usize * all.len();
                let after = firsts[stretch].map(|first| of_seed + first);
                Task { what: (stretch, seed), after }
            })
            .collect();
        cells::all(&tasks, plan.processes, |(stretch, seed)| {
            let first = firsts[*stretch].map(|first| self.cell(all[first], *seed));
            self.one(plan, (all[*stretch], *seed), first.as_ref())?;
            bar.inc(1);
            let label = &self.rows[all[*stretch].row].label;
            if all[*stretch].is_whole {
                bar.suspend(|| output::note(&format!("{label}, seed {seed}: finished")));
            }
            Ok(())
        })?;
        bar.finish_and_clear();
        Ok(())
    }

    /// Returns where a stretch of a row is.
    fn cell(&self, stretch: Stretch, seed: u64) -> Cell {
        let name = &self.rows[stretch.row].name;
        if stretch.is_whole {
            return Cell::new(&self.args.output, name, seed);
        }
        let name = format!("{name}-{}", stretch.num_phases);
        Cell::new(&self.args.output.join("shared"), &name, seed)
    }

    /// Trains a stretch after `first`, asks and probes it if it is a whole row.
    fn one(
        &self,
        plan: &Plan,
        (stretch, seed): (Stretch, u64),
        first: Option<&Cell>,
    ) -> Result<()> {
        let (row, planned) = (&self.rows[stretch.row], &plan.rows[stretch.row]);
        let cell = self.cell(stretch, seed);
        let run = self.recipe(row, &cell, plan.share, stretch.num_phases)?;
        cell.put(&cell.recipe(), &run.to_toml()?)?;
        let line = self.train(&cell, first);
        cell.part("train", |log| call(&line, log, &self.cancel))?;
        if !stretch.is_whole {
            return Ok(());
        }
        let asked = (planned.policy.as_str(), planned.text_first);
        cell.part("eval", |log| {
            call(&self.ask(&cell, asked, plan.questions), log, &self.cancel)?;
            results::refuse_unanswered(&cell.answers())
        })?;
        cell.part("probe", |log| call(&self.probe(&cell, planned), log, &self.cancel))
    }

    /// Returns the recipe of a run.
    fn recipe(&self, row: &Row, cell: &Cell, share: f64, num_phases: usize) -> Result<Recipe> {
        let run = RunOf {
            seed: cell.seed,
            share,
            world: &self.world(),
            start: &self.start_of(cell.seed),
        };
        row.recipe(&run, num_phases)
    }

    fn train(&self, cell: &Cell, first: Option<&Cell>) -> Vec<String> {
        let mut line = self.train_with(cell, self.threads());
        if let Some(first) = first {
            line.extend(words(["--after", &first.trained().display().to_string()]));
        }
        line
    }

    fn train_with(&self, cell: &Cell, threads: usize) -> Vec<String> {
        let (recipe, trained) = (cell.recipe(), cell.trained());
        let mut line = words(["train", &recipe.display().to_string(), "--output"]);
        line.push(trained.display().to_string());
        line.extend(self.compute(threads));
        if trained.is_dir() {
            line.push("--resume".to_owned());
        }
        line
    }

    fn ask(&self, cell: &Cell, (policy, text_first): (&str, bool), limit: usize) -> Vec<String> {
        let path = |path: &Path| path.display().to_string();
        let mut line = words(["eval", "--model", &path(&cell.trained())]);
        line.extend(words(["--data", &path(&self.tests())]));
        line.extend(words(["--output", &path(&cell.answers()), "--limit", &limit.to_string()]));
        line.extend(words(["--attention", policy, "--max-new-tokens", MAX_NEW_TOKENS]));
        line.extend(words(["--original-images", "--wrong", "20"]));
        line.extend(self.compute(self.threads()));
        if text_first {
            line.push("--text-first".to_owned());
        }
        line
    }

    fn probe(&self, cell: &Cell, planned: &PlannedRow) -> Vec<String> {
        let path = |path: &Path| path.display().to_string();
        let mut line = words(["probe", "--model", &path(&cell.trained())]);
        line.extend(words(["--attention", &planned.policy, "--output", &path(&cell.probe())]));
        line.extend(words(["--pictures", &self.args.pictures.to_string()]));
        line.extend(self.compute(self.threads()));
        if planned.text_first {
            line.push("--text-first".to_owned());
        }
        line
    }
}

fn words<T: ToString>(words: impl IntoIterator<Item = T>) -> Vec<String> {
    words.into_iter().map(|word| word.to_string()).collect()
}
