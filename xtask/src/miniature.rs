//! The program end to end: the release binary's answers are those of the reference.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::workspace::{Workspace, cargo, output, read, run};

/// What has to work from end to end, beside answers.
const RUNS: &[&str] = &[
    "trace --image goldens/images/cat.jpg Why? --output target/miniature/trace.safetensors",
    "inspect --image goldens/images/cat.jpg Why? --mask target/miniature/mask.png",
    "convert miniature target/miniature/half --dtype bf16",
    "ask --model target/miniature/half --image goldens/images/cat.jpg Why? --max-new-tokens 4",
    "init --preset tiny --output target/miniature/random --tokenizer goldens/base/model",
    "ask --model target/miniature/random --image goldens/images/cat.jpg Why? --max-new-tokens 4",
];

/// Asks, traces and initialises with the program that README.md's first command builds.
pub(crate) fn check(workspace: &Workspace) -> Result<()> {
    cargo(workspace, &["build", "--quiet", "--release", "--package", "cli"])?;
    let aki = binary(workspace)?;
    let goldens: Value =
        serde_json::from_str(&read(&workspace.path("goldens/base/generate.json"))?)?;
    let goldens = goldens.as_array().context("generate.json is a list")?;
    for golden in goldens {
        ask(workspace, &aki, golden)?;
    }
    println!("{} answers are the reference's, token for token", goldens.len());
    let scratch = workspace.path("target/miniature");
    if scratch.exists() {
        std::fs::remove_dir_all(&scratch)?;
    }
    std::fs::create_dir_all(&scratch)?;
    for line in RUNS {
        let mut command = workspace.command(&aki.display().to_string());
        command.args(line.split(' '));
        run(command)?;
    }
    Ok(())
}

/// Returns the path of the release binary.
pub(crate) fn binary(workspace: &Workspace) -> Result<PathBuf> {
    let mut command = workspace.command("cargo");
    command.args(["metadata", "--format-version", "1", "--no-deps"]);
    let metadata: Value = serde_json::from_str(&output(command)?)?;
    let target = metadata["target_directory"].as_str().context("cargo names a target directory")?;
    Ok(Path::new(target).join("release").join(format!("aki{}", std::env::consts::EXE_SUFFIX)))
}

/// Asks one question of the goldens and compares the answer.
fn ask(workspace: &Workspace, aki: &Path, golden: &Value) -> Result<()> {
    let text = |key: &str| golden[key].as_str().with_context(|| format!("a golden has `{key}`"));
    let question = text("question")?;
    let new_ids = golden["new_ids"].as_array().context("a golden has `new_ids`")?;
    let image = format!("goldens/images/{}", text("image")?);
    let max = new_ids.len().to_string();
    let mut command: Command = workspace.command(&aki.display().to_string());
    let model = ["--model", "goldens/base/model"];
    command.args(["ask", "--json", "--image", &image, "--max-new-tokens", &max, question]);
    command.args(model);
    let answer: Value = serde_json::from_str(&output(command)?).context("the answer is JSON")?;
    for key in ["prompt_ids", "new_ids", "text"] {
        ensure!(
            answer[key] == golden[key],
            "`{key}` of the answer to \"{question}\" is {}, expected {}",
            answer[key],
            golden[key]
        );
    }
    Ok(())
}
