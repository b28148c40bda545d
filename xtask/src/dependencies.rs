//! Who may depend on whom: the rules of ARCHITECTURE.md, checked against `cargo metadata`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::workspace::{Workspace, output, read};

/// Which of our crates each of them may name in its Cargo.toml.
const ALLOWED: &[(&str, &[&str])] = &[
    ("sequence", &[]),
    ("checkpoint", &[]),
    ("kernels", &[]),
    ("prompt", &["sequence"]),
    ("model", &["sequence", "checkpoint", "kernels"]),
    ("engine", &["model", "sequence"]),
    ("train", &["sequence", "checkpoint", "kernels", "prompt", "model"]),
    ("miniature", &["prompt", "checkpoint"]),
    ("eval", &["prompt"]),
    ("server", &["engine", "prompt", "sequence"]),
    (
        "cli",
        &[
            "sequence",
            "checkpoint",
            "kernels",
            "prompt",
            "model",
            "engine",
            "train",
            "miniature",
            "eval",
            "server",
        ],
    ),
    ("xtask", &[]),
];

/// Libraries that must not be reachable from some crates, directly or through others.
const UNREACHABLE: &[(&str, &[&str])] = &[
    ("candle-core", &["sequence", "checkpoint", "kernels", "prompt"]),
    ("candle-nn", &["sequence", "checkpoint", "kernels", "prompt"]),
    ("tokenizers", &["sequence", "checkpoint", "kernels", "model", "engine"]),
    ("image", &["sequence", "checkpoint", "kernels", "model", "engine"]),
    ("clap", &["sequence", "checkpoint", "kernels", "prompt", "model", "engine"]),
];

/// Libraries whose own dependencies are their affair: candle brings `tokenizers` along for its
/// quantised formats, and `model` still sees nothing of it.
const OPAQUE: &[&str] = &["candle-core"];

/// Libraries that only some crates may name in their Cargo.toml.
const ONLY_IN: &[(&str, &[&str])] = &[
    ("anyhow", &["cli", "xtask"]),
    ("candle-core", &["model", "engine", "train"]),
    ("candle-nn", &["model"]),
];

/// The part of `cargo metadata` that the rules read.
struct Graph {
    /// Package id to name.
    names: BTreeMap<String, String>,
    /// Package id to the ids of its normal and build dependencies.
    edges: BTreeMap<String, Vec<String>>,
    /// Our packages: name to id.
    ours: BTreeMap<String, String>,
    /// Our packages: name to the names in their Cargo.toml, dev-dependencies left out.
    declared: BTreeMap<String, Vec<String>>,
}

/// Checks every rule.
pub(crate) fn check(workspace: &Workspace) -> Result<()> {
    let mut command = workspace.command("cargo");
    command.args(["metadata", "--format-version", "1", "--all-features", "--locked"]);
    let graph = Graph::parse(&serde_json::from_str(&output(command)?)?)?;
    let violations = graph.violations();
    ensure!(violations.is_empty(), "{}", violations.join("\n"));
    unused(workspace)
}

impl Graph {
    fn parse(metadata: &Value) -> Result<Self> {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
        let members: BTreeSet<String> =
            list(&metadata["workspace_members"]).iter().map(text).collect();
        ensure!(!members.is_empty(), "`cargo metadata` names no members of the workspace");
        let mut graph = Self {
            names: BTreeMap::new(),
            edges: BTreeMap::new(),
            ours: BTreeMap::new(),
            declared: BTreeMap::new(),
        };
        for package in list(&metadata["packages"]) {
            let (id, name) = (text(&package["id"]), text(&package["name"]));
            if members.contains(&id) {
                let normal = list(&package["dependencies"])
                    .iter()
                    .filter(|dependency| dependency["kind"] != "dev")
                    .map(|dependency| text(&dependency["name"]))
                    .collect();
                graph.ours.insert(name.clone(), id.clone());
                graph.declared.insert(name.clone(), normal);
            }
            graph.names.insert(id, name);
        }
        for node in list(&metadata["resolve"]["nodes"]) {
            let normal = list(&node["deps"])
                .iter()
                .filter(|dep| list(&dep["dep_kinds"]).iter().any(|kind| kind["kind"] != "dev"))
                .map(|dep| text(&dep["pkg"]))
                .collect();
            graph.edges.insert(text(&node["id"]), normal);
        }
        Ok(graph)
    }

    fn violations(&self) -> Vec<String> {
        let mut violations = Vec::new();
        for (name, declared) in &self.declared {
            let Some((_, allowed)) = ALLOWED.iter().find(|(known, _)| known == name) else {
                violations.push(format!("crate `{name}` has no rule in xtask/src/dependencies.rs"));
                continue;
            };
            for dependency in declared {
                if self.ours.contains_key(dependency) && !allowed.contains(&dependency.as_str()) {
                    violations.push(format!("`{name}` must not depend on `{dependency}`"));
                }
                let only = ONLY_IN.iter().find(|(library, _)| library == dependency);
                if only.is_some_and(|(_, homes)| !homes.contains(&name.as_str())) {
                    violations.push(format!("`{name}` must not name `{dependency}`"));
                }
            }
        }
        for (library, crates) in UNREACHABLE {
            for name in *crates {
                if let Some(id) = self.ours.get(*name)
                    && self.reaches(id, library)
                {
                    violations.push(format!("`{library}` must not be reachable from `{name}`"));
                }
            }
        }
        violations
    }

    fn reaches(&self, from: &str, library: &str) -> bool {
        let mut seen = BTreeSet::new();
        let mut pending = vec![from];
        while let Some(id) = pending.pop() {
            let name = self.names.get(id).map_or("", String::as_str);
            if name == library {
                return true;
            }
            if seen.insert(id) && !OPAQUE.contains(&name) {
                pending.extend(self.edges.get(id).into_iter().flatten().map(String::as_str));
            }
        }
        false
    }
}

/// Checks that every dependency of our crates is mentioned in their sources.
fn unused(workspace: &Workspace) -> Result<()> {
    let sources = workspace.files("rs")?;
    let mut violations = Vec::new();
    for dir in workspace.crates()? {
        let manifest = read(&dir.join("Cargo.toml"))?;
        let sources: String = sources
            .iter()
            .filter(|path| path.starts_with(&dir))
            .map(|path| read(path))
            .collect::<Result<_>>()?;
        for name in dependency_names(&manifest) {
            if !mentions(&sources, &name.replace('-', "_")) {
                let dir = Path::new(&dir).file_name().context("a crate has a name")?.display();
                violations.push(format!("`{dir}` does not use its dependency `{name}`"));
            }
        }
    }
    ensure!(violations.is_empty(), "{}", violations.join("\n"));
    Ok(())
}

/// Returns the names in the dependency tables of a manifest.
fn dependency_names(manifest: &str) -> Vec<&str> {
    let mut inside = false;
    let mut names = Vec::new();
    for line in manifest.lines() {
        if line.starts_with('[') {
            inside = line.trim_end_matches(']').ends_with("dependencies");
        } else if inside && let Some(name) = line.split(['.', '=', ' ']).next() {
            names.push(name);
        }
    }
    names.retain(|name| !name.is_empty() && !name.starts_with('#'));
    names
}

/// Returns whether an identifier occurs as a word.
fn mentions(sources: &str, identifier: &str) -> bool {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    sources.match_indices(identifier).any(|(at, _)| {
        let before = sources[..at].chars().next_back();
        let after = sources[at + identifier.len()..].chars().next();
        !before.is_some_and(is_word) && !after.is_some_and(is_word)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metadata(model_needs: &str) -> Value {
        let package = |name: &str, dependencies: &[&str]| {
            let dependencies: Vec<_> = dependencies
                .iter()
                .map(|name| serde_json::json!({ "name": name, "kind": null }))
                .collect();
            serde_json::json!({ "id": name, "name": name, "dependencies": dependencies })
        };
        let node = |name: &str, to: &[&str]| {
            let deps: Vec<_> = to
                .iter()
                .map(|to| serde_json::json!({ "pkg": to, "dep_kinds": [{ "kind": null }] }))
                .collect();
            serde_json::json!({ "id": name, "deps": deps })
        };
        serde_json::json!({
            "workspace_members": ["model", "prompt"],
            "packages": [
                package("model", &[model_needs]),
                package("prompt", &["tokenizers"]),
                package("tokenizers", &[]),
                package("helper", &["tokenizers"]),
            ],
            "resolve": { "nodes": [
                node("model", &[model_needs]),
                node("prompt", &["tokenizers"]),
                node("helper", &["tokenizers"]),
            ] },
        })
    }

    #[test]
    fn a_crate_must_not_name_a_crate_above_it() {
        let violations = Graph::parse(&metadata("prompt")).unwrap().violations();
        assert!(violations.contains(&"`model` must not depend on `prompt`".to_owned()));
    }

    #[test]
    fn a_library_must_not_be_reached_through_another() {
        let violations = Graph::parse(&metadata("helper")).unwrap().violations();
        assert_eq!(violations, ["`tokenizers` must not be reachable from `model`"]);
    }

    #[test]
    fn words_are_found_whole() {
        assert!(mentions("use rand::Rng;", "rand"));
        assert!(!mentions("use rand_distr::Normal;", "rand"));
    }
}
