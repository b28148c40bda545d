//! The whole path in small: a world, a model, training, a benchmark, a question, as the guided tour
//! has it; a new kind of thing learned, as the page on adapters has it; and the scores of the model
//! that is built in.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::docs::marked_commands;
use crate::miniature::binary;
use crate::workspace::{Workspace, cargo, output, read, run};

/// The pages whose commands are run.
const TOUR: &str = "docs/src/tour.md";
const ADAPTERS: &str = "docs/src/adapters.md";
/// Where everything is written.
const SCRATCH: &str = "target/pocket";
/// The losses that a run has to have, by the instructions that it computes with.
const GOLDEN: &str = "goldens/pocket/curve.json";
/// How far losses may be off where other instructions are used.
const TOLERANCE: f64 = 2e-3;
/// The least scores of the built-in model on pictures of another seed: a little less than its card
/// says, because few are asked about here.
const LEAST: &str = "goldens/pocket/scores.json";
/// What makes the commands on adapters small.
const SMALLER: [(&str, &str); 4] = [
    ("--size small", "--size tiny"),
    ("--pictures 100", "--pictures 3"),
    ("lora.toml", "lora.toml --set schedule.steps=4 --set schedule.warmup_steps=1"),
    ("ask ", "ask --max-new-tokens 8 "),
];

/// Builds the program and runs the commands of the tour, shown as one would type them.
pub(crate) fn tour(workspace: &Workspace) -> Result<()> {
    let shell = Shell::new(workspace)?;
    shell.follow(TOUR, &[])
}

/// Runs both pages with plain instructions, and trains with those of this processor.
pub(crate) fn check(workspace: &Workspace) -> Result<()> {
    let shell = Shell::new(workspace)?;
    shell.with_level("portable").follow(TOUR, &[])?;
    let mut curves = BTreeMap::from([("portable", losses(&shell.path("run"))?)]);
    for level in ["avx2", "avx512"] {
        let train = "aki train recipes/miniature/pocket.toml --json --output";
        let line = format!("{train} {SCRATCH}/{level} > {SCRATCH}/{level}.json");
        if shell.has_level(level) {
            shell.with_level(level).type_in(&line)?;
            curves.insert(level, losses(&shell.path(level))?);
        }
    }
    shell.type_in(&format!(
        "aki train recipes/miniature/pocket.toml --json --output {SCRATCH}/native > \
         {SCRATCH}/native.json"
    ))?;
    compare_all(workspace, &curves, &losses(&shell.path("native"))?)?;
    shell.inside(ADAPTERS)?;
    let quiz = shell.command("aki quiz --seed 77 --pictures 120 --json");
    scores(workspace, quiz)
}

/// Types commands in with the release program.
struct Shell<'a> {
    workspace: &'a Workspace,
    /// The folder of the program.
    programs: PathBuf,
    level: Option<&'static str>,
    /// The folder that commands run in.
    folder: &'static str,
}

impl<'a> Shell<'a> {
    fn new(workspace: &'a Workspace) -> Result<Self> {
        cargo(workspace, &["build", "--quiet", "--release", "--package", "cli"])?;
        let aki = binary(workspace)?;
        let programs = aki.parent().context("the program is in a folder")?.to_owned();
        let scratch = workspace.path(SCRATCH);
        if scratch.exists() {
            fs::remove_dir_all(&scratch)?;
        }
        fs::create_dir_all(&scratch)?;
        Ok(Self { workspace, programs, level: None, folder: "." })
    }

    fn with_level(&self, level: &'static str) -> Self {
        Self { level: Some(level), programs: self.programs.clone(), ..*self }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.workspace.path(SCRATCH).join(name)
    }

    fn command(&self, line: &str) -> Command {
        let mut command = self.workspace.command("bash");
        command.current_dir(self.workspace.path(self.folder));
        // The program is found before any other of its name.
        command.args(["-euo", "pipefail", "-c", "PATH=\"$0:$PATH\"; eval \"$1\""]);
        command.arg(&self.programs).arg(line).env("AKI_THREADS", "2");
        if let Some(level) = self.level {
            command.env("AKI_CPU_LEVEL", level);
        }
        command
    }

    fn type_in(&self, line: &str) -> Result<()> {
        println!("$ {line}");
        let start = Instant::now();
        run(self.command(line))?;
        println!("({:.1} s)", start.elapsed().as_secs_f32());
        Ok(())
    }

    /// Types the marked commands of a page in, changed in some places.
    fn follow(&self, page: &str, changes: &[(&str, &str)]) -> Result<()> {
        let text = read(&self.workspace.path(page))?;
        let commands = marked_commands(&text);
        ensure!(!commands.is_empty(), "{page} has no commands");
        for command in commands {
            let changed =
                changes.iter().fold(command.to_owned(), |line, (from, to)| line.replace(from, to));
            self.type_in(&changed)?;
        }
        Ok(())
    }

    /// Follows a page in small, in a folder that has the recipes and nothing else.
    fn inside(&self, page: &str) -> Result<()> {
        const FOLDER: &str = "target/pocket/adapters";
        const RECIPE: &str = "recipes/miniature/lora.toml";
        let recipe = self.workspace.path(FOLDER).join(RECIPE);
        fs::create_dir_all(recipe.parent().unwrap_or(Path::new("")))?;
        fs::copy(self.workspace.path(RECIPE), &recipe)?;
        Self { folder: FOLDER, programs: self.programs.clone(), ..*self }.follow(page, &SMALLER)
    }

    /// Returns whether this processor has the instructions.
    fn has_level(&self, level: &'static str) -> bool {
        let mut command = self.with_level(level).command("aki tokenize x");
        command.output().is_ok_and(|output| output.status.success())
    }
}

/// Returns the training losses of a run.
fn losses(run: &Path) -> Result<Vec<f64>> {
    let text = read(&run.join("metrics.jsonl"))?;
    let lines = text.lines().map(serde_json::from_str::<Value>);
    let lines: Vec<Value> = lines.collect::<Result<_, _>>()?;
    Ok(lines.iter().filter_map(|line| line["training_loss"].as_f64()).collect())
}

/// Compares curves with the golden ones: bit by bit where the instructions are the same.
fn compare_all(
    workspace: &Workspace,
    found: &BTreeMap<&str, Vec<f64>>,
    native: &[f64],
) -> Result<()> {
    let path = workspace.path(GOLDEN);
    if !path.exists() {
        fs::write(&path, format!("{}\n", json!(found)))?;
        println!("wrote {GOLDEN}, which was missing");
    }
    let golden: BTreeMap<String, Vec<f64>> = serde_json::from_str(&read(&path)?)?;
    let portable = golden.get("portable").context("there is a curve of portable instructions")?;
    for (level, losses) in found {
        match golden.get(*level).filter(|_| cfg!(target_arch = "x86_64")) {
            Some(golden) => compare(level, (losses, golden), 0.0)?,
            None => compare(level, (losses, portable), TOLERANCE)?,
        }
        compare(level, (losses, portable), TOLERANCE)?;
    }
    compare("this processor", (native, portable), TOLERANCE)?;
    let names: Vec<_> = found.keys().copied().collect();
    println!("{} losses are the golden ones with {}", portable.len(), names.join(", "));
    Ok(())
}

/// Compares losses step by step.
fn compare(level: &str, (found, expected): (&[f64], &[f64]), tolerance: f64) -> Result<()> {
    ensure!(found.len() == expected.len(), "{} steps, expected {}", found.len(), expected.len());
    for (step, (found, expected)) in found.iter().zip(expected).enumerate() {
        ensure!(
            (found - expected).abs() <= tolerance * expected,
            "with the instructions of {level} the loss of step {} is {found}, expected {expected} \
             within {tolerance}",
            step + 1
        );
    }
    Ok(())
}

/// Asks the built-in model about pictures that it never saw.
fn scores(workspace: &Workspace, quiz: Command) -> Result<()> {
    let report: Value = serde_json::from_str(&output(quiz)?)?;
    let least: Value = serde_json::from_str(&read(&workspace.path(LEAST))?)?;
    for (group, least) in least.as_object().context("the scores are an object")? {
        let found = report["groups"][group].as_f64().context("the quiz has every group")?;
        let least = least.as_f64().context("a score is a number")?;
        ensure!(found >= least, "{group}: {found} %, expected at least {least} %");
        println!("{group}: {found} %");
    }
    Ok(())
}
