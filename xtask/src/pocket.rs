//! The whole path in small: a world, a model, training, a test, a question; and the scores of the
//! model that is built in.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::miniature::binary;
use crate::workspace::{Workspace, cargo, output, read, run};

/// Where everything is written.
const SCRATCH: &str = "target/pocket";
/// The losses that a run has to have.
const GOLDEN: &str = "goldens/pocket/curve.json";
/// How far losses may be off where other instructions are used.
const TOLERANCE: f64 = 2e-3;
/// The least scores of the built-in model on pictures of another seed: a little less than its card
/// says, because few are asked about here.
const LEAST: &str = "goldens/pocket/scores.json";

/// Runs it all with plain instructions, and trains with those of this processor.
pub(crate) fn check(workspace: &Workspace) -> Result<()> {
    cargo(workspace, &["build", "--quiet", "--release", "--package", "cli"])?;
    let aki = binary(workspace)?;
    let scratch = workspace.path(SCRATCH);
    if scratch.exists() {
        std::fs::remove_dir_all(&scratch)?;
    }
    let call = |line: &str| -> Command {
        let mut command = workspace.command(&aki.display().to_string());
        command.args(line.split(' ')).env("AKI_THREADS", "2");
        command
    };
    let world = "miniature --size tiny --seed 3 --image-size 96 --output target/pocket/world";
    run(call(world))?;
    let start = "init --preset miniature --seed 1 --tokenizer crates/cli/assets/miniature";
    run(call(&format!("{start} --dtype f32 --output target/pocket/start")))?;
    let train = |name: &str, level: Option<&str>| {
        let mut command = call("train recipes/miniature/pocket.toml --json --output");
        command.arg(format!("{SCRATCH}/{name}"));
        if let Some(level) = level {
            command.env("AKI_CPU_LEVEL", level);
        }
        output(command)?;
        losses(&scratch.join(name))
    };
    let found = train("portable", Some("portable"))?;
    let golden = workspace.path(GOLDEN);
    if !golden.exists() {
        std::fs::write(&golden, format!("{}\n", json!(found)))?;
        println!("wrote {GOLDEN}, which was missing");
    }
    let expected: Vec<f64> = serde_json::from_str(&read(&golden)?)?;
    let is_exact = cfg!(target_arch = "x86_64");
    compare(&found, &expected, if is_exact { 0.0 } else { TOLERANCE })?;
    compare(&train("native", None)?, &expected, TOLERANCE)?;
    println!("{} losses are the golden ones", expected.len());
    let model = format!("{SCRATCH}/portable");
    output(call(&format!("quiz --model {model} --pictures 4 --json")))?;
    run(call(&format!("ask --model {model} --image docs/src/images/miniature-flat.png Why?")))?;
    scores(workspace, call("quiz --seed 77 --pictures 60 --json"))
}

/// Returns the training losses of a run.
fn losses(run: &Path) -> Result<Vec<f64>> {
    let text = read(&run.join("metrics.jsonl"))?;
    let lines = text.lines().map(serde_json::from_str::<Value>);
    let lines: Vec<Value> = lines.collect::<Result<_, _>>()?;
    Ok(lines.iter().filter_map(|line| line["training_loss"].as_f64()).collect())
}

/// Compares losses step by step.
fn compare(found: &[f64], expected: &[f64], tolerance: f64) -> Result<()> {
    ensure!(found.len() == expected.len(), "{} steps, expected {}", found.len(), expected.len());
    for (step, (found, expected)) in found.iter().zip(expected).enumerate() {
        ensure!(
            (found - expected).abs() <= tolerance * expected,
            "the loss of step {} is {found}, expected {expected} within {tolerance}",
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
