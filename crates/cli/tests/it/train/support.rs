//! A recipe over small files of every data set, and what a run leaves behind.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use serde_json::Value;
use tempfile::TempDir;

use super::originals::{self, Originals};
use crate::program::command;

/// The data, written once.
pub(crate) fn data() -> &'static Originals {
    static DATA: OnceLock<(TempDir, Originals)> = OnceLock::new();
    let (_, data) = DATA.get_or_init(|| {
        let folder = tempfile::tempdir().expect("a folder");
        let data = originals::write(folder.path());
        (folder, data)
    });
    data
}

/// A recipe and a place for its run.
pub(crate) struct Place {
    folder: TempDir,
}

impl Place {
    /// Writes a recipe.
    pub(crate) fn new(recipe: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join("recipe.toml"), recipe).expect("written");
        Self { folder }
    }

    pub(crate) fn recipe(&self) -> String {
        self.folder.path().join("recipe.toml").display().to_string()
    }

    pub(crate) fn run(&self) -> PathBuf {
        self.folder.path().join("run")
    }

    /// Returns the arguments that train here.
    pub(crate) fn args(&self, more: &[&str]) -> Vec<String> {
        let output = self.run().display().to_string();
        let args = ["train", &self.recipe(), "--output", &output, "--threads", "1"];
        args.iter().chain(more).map(|&arg| arg.to_owned()).collect()
    }

    /// Starts to train here.
    pub(crate) fn spawn(&self, more: &[&str]) -> Child {
        let mut command = command(self.args(more));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().expect("the program was built")
    }

    /// Returns every byte of a checkpoint that is learned.
    pub(crate) fn learned(&self, step: u64) -> [Vec<u8>; 2] {
        let path = self.run().join(format!("checkpoint-{step:08}"));
        ["model.safetensors", "optimizer.safetensors"]
            .map(|name| fs::read(path.join(name)).expect("the checkpoint is complete"))
    }

    /// Returns what the run learned by its metrics, without what a clock decides.
    pub(crate) fn metrics(&self) -> Vec<String> {
        let text = fs::read_to_string(self.run().join("metrics.jsonl")).expect("written");
        let line = |line: &str| {
            let mut value: Value = serde_json::from_str(line).expect("JSON");
            for key in ["samples_per_second", "tokens_per_second", "time"] {
                value.as_object_mut().expect("an object").remove(key);
            }
            value.to_string()
        };
        text.lines().map(line).collect()
    }
}

/// A recipe of captions, then instructions, 6 steps each.
pub(crate) fn two_phases() -> String {
    let tables = |toml: &str| toml.replace("[[data]]", "[[phases.data]]");
    format!(
        r#"
[model]
init = "miniature"
[checkpoints]
every = 1
[batch]
micro_batch = 2
accumulation = 2
[compute]
loader_threads = 2
[[phases]]
name = "captions"
stage = {{ kind = "captions", attention = "causal" }}
schedule = {{ lr = 1e-3, warmup_steps = 1, steps = 6 }}
{}
[[phases]]
name = "instructions"
stage = {{ kind = "instructions", attention = "mutual" }}
schedule = {{ lr = 1e-3, steps = 6 }}
{}
"#,
        tables(&data().captions_toml()),
        tables(&data().instructions_toml())
    )
}

/// Waits for a line of standard error that has a text in it.
pub(crate) fn wait_for(child: &mut Child, text: &str) {
    let lines = BufReader::new(child.stderr.as_mut().expect("piped")).lines();
    let found = lines.map_while(Result::ok).any(|line| line.contains(text));
    assert!(found, "`{text}` was never said");
}

/// Sends a signal.
pub(crate) fn signal(child: &Child, name: &str) {
    let id = child.id().to_string();
    let status = Command::new("kill").args([&format!("-{name}"), &id]).status();
    assert!(status.expect("kill runs").success());
}

/// Returns the values of a key in the metrics of a run.
pub(crate) fn curve(run: &Path, key: &str) -> Vec<f64> {
    let text = fs::read_to_string(run.join("metrics.jsonl")).expect("written");
    let value = |line| serde_json::from_str::<Value>(line).expect("JSON")[key].as_f64();
    text.lines().filter_map(value).collect()
}
