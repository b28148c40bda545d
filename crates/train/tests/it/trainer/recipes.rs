//! Recipes: all of ours are valid, and a wrong one says where and what else.

use std::path::{Path, PathBuf};

use sequence::AttentionPolicy;
use train::data::SegmentOrder;
use train::recipe::{Recipe, StageKind, Start};

use super::support::RECIPE;

fn ours() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../recipes");
    let mut found = Vec::new();
    for folder in [folder.clone(), folder.join("table1")] {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            found.extend(path.extension().is_some_and(|e| e == "toml").then_some(path));
        }
    }
    found.sort();
    found
}

#[test]
fn every_recipe_of_the_repository_resolves_to_a_recipe() {
    let all = ours();
    assert!(all.len() >= 10, "{all:?}");
    for path in all {
        let recipe = Recipe::open(&path, &[]).unwrap();
        let (resolved, phases) = recipe.resolve().unwrap();
        let text = resolved.to_toml().unwrap();
        let again = Recipe::parse(&text, "recipe.toml", &[]).unwrap();
        assert_eq!(again.resolve().unwrap(), (resolved, phases), "{}", path.display());
        assert_eq!(again.fingerprint().unwrap(), recipe.fingerprint().unwrap());
    }
}

#[test]
fn the_rows_of_table_1_are_those_of_the_paper() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../recipes/table1");
    for (row, orders, policies) in [
        ("causal", "it|it", "causal|causal"),
        ("cca", "it|it", "concentric|concentric"),
        ("without-text-image-pt", "it|ti it", "causal|causal"),
        ("without-image-text-pt", "ti|ti it", "causal|causal"),
        ("without-text-image-sft", "ti it|it", "causal|causal"),
        ("without-image-text-sft", "ti it|ti", "causal|causal"),
        ("dot", "ti it|ti it", "causal|causal"),
        ("mma", "it|it", "causal|mutual"),
    ] {
        let recipe = Recipe::open(&folder.join(format!("{row}.toml")), &[]).unwrap();
        let (_, phases) = recipe.resolve().unwrap();
        for (kind, orders, policy) in [StageKind::Captions, StageKind::Instructions]
            .into_iter()
            .zip(orders.split('|'))
            .zip(policies.split('|'))
            .map(|((kind, orders), policy)| (kind, orders, policy))
        {
            let of_kind: Vec<_> = phases.iter().filter(|p| p.stage.kind == kind).collect();
            let short = |order| if order == SegmentOrder::ImageText { "it" } else { "ti" };
            let found: Vec<_> = of_kind.iter().map(|phase| short(phase.stage.order)).collect();
            assert_eq!(found.join(" "), orders, "{row}");
            let policy: AttentionPolicy = policy.parse().unwrap();
            assert!(of_kind.iter().all(|phase| phase.stage.attention == policy), "{row}");
            let sets = if kind == StageKind::Captions { 3 } else { 11 };
            assert!(of_kind.iter().all(|phase| phase.data.len() == sets), "{row}");
        }
    }
}

#[test]
fn the_papers_values_are_in_the_recipes() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../recipes");
    let pretrain = Recipe::open(&folder.join("pretrain.toml"), &[]).unwrap();
    let phase = &pretrain.resolve().unwrap().1[0];
    assert_eq!(phase.batch.micro_batch * phase.batch.accumulation, 192);
    assert_eq!((phase.schedule.steps, phase.schedule.warmup_steps), (52_080, 2000));
    assert_eq!(phase.stage.max_text_tokens(), 128);
    let instruct = Recipe::open(&folder.join("instruct.toml"), &[]).unwrap();
    assert_eq!(instruct.model.start, Start::SftScratch);
    let phase = &instruct.resolve().unwrap().1[0];
    assert_eq!((phase.schedule.steps, phase.schedule.warmup_steps), (50_000, 150));
    assert_eq!((phase.schedule.lr, phase.schedule.min_lr), (2e-5, 1e-6));
    assert_eq!(phase.data.len(), 11);
    let weights: f64 = phase.data.iter().map(|data| data.weight).sum();
    assert!((weights - 1.0).abs() < 1e-9, "{weights}");
}

fn refusal(text: &str, settings: &[&str]) -> String {
    let settings: Vec<_> = settings.iter().map(|&setting| setting.to_owned()).collect();
    let recipe = Recipe::parse(text, "my.toml", &settings);
    recipe.and_then(|recipe| recipe.resolve()).unwrap_err().to_string()
}

#[test]
fn a_wrong_key_is_refused_with_its_line_and_a_suggestion() {
    let misspelled = RECIPE.replace("micro_batch = 3", "micro_batches = 3");
    assert_eq!(
        refusal(&misspelled, &[]),
        "my.toml:8: unknown key `micro_batches`, did you mean `micro_batch`?"
    );
    let misspelled = RECIPE.replace("\"causal\"", "\"causl\"");
    let text = refusal(&misspelled, &[]);
    assert!(text.starts_with("my.toml:18: ") && text.contains("`causl`"), "{text}");
    let misspelled = RECIPE.replace("\"captions\"", "\"caption\"");
    assert_eq!(
        refusal(&misspelled, &[]),
        "my.toml:18: unknown value `caption`, did you mean `captions`?"
    );
    let text = refusal(&RECIPE.replace("init = \"nothing\"", ""), &[]);
    assert_eq!(text, "my.toml:2: key `init` is missing");
}

#[test]
fn values_that_make_no_sense_are_refused() {
    for (from, to, expected) in [
        ("lr = 0.05", "lr = 0.0", "phase `first`: `lr` is 0, expected a number above 0"),
        (
            "min_lr = 0.001",
            "min_lr = 0.1",
            "phase `first`: `min_lr` is 0.1, expected 0 to `lr`, which is 0.05",
        ),
        ("steps = 10", "steps = 0", "phase `first`: `steps` is 0, expected at least 1"),
        (
            "micro_batch = 3",
            "micro_batch = 0",
            "phase `first`: `micro_batch` is 0, expected at least 1",
        ),
        (
            "[[data]]\nname = \"kale\"",
            "",
            "phase `first` has no `data`, neither of its own nor in common",
        ),
    ] {
        assert_eq!(refusal(&RECIPE.replacen(from, to, 1), &[]), expected);
    }
    let scales = r#"optimizer.lr_scale={"*" = 0.5, "vision_tokenizer.*" = -1}"#;
    assert_eq!(
        refusal(RECIPE, &[scales]),
        "phase `first`: `lr_scale` of `vision_tokenizer.*` is -1, expected a number from 0 on"
    );
}

#[test]
fn settings_of_the_command_line_change_the_recipe() {
    let settings = ["batch.micro_batch=5", "phases.1.schedule.lr=0.5", "model.init=other"];
    let recipe = Recipe::parse(RECIPE, "my.toml", &settings.map(str::to_owned)).unwrap();
    let (_, phases) = recipe.resolve().unwrap();
    assert_eq!(phases[0].batch.micro_batch, 5);
    assert!((phases[1].schedule.lr - 0.5).abs() < f64::EPSILON);
    assert_eq!(recipe.model.init, "other");
    assert_eq!(
        refusal(RECIPE, &["batch.micro_bach=5"]),
        "my.toml with --set batch.micro_bach=5: unknown key `micro_bach`, did you mean `micro_batch`?"
    );
    assert_eq!(
        refusal(RECIPE, &["batch"]),
        "--set `batch` has no `=`, expected `path.to.key=value`"
    );
    assert_eq!(
        refusal(RECIPE, &["phases.2.name=a"]),
        "--set `phases.2.name=a`: `phases` is a list of 2, expected a place in it"
    );
}

#[test]
fn what_does_not_decide_what_is_learned_may_change_in_a_run() {
    let recipe = |settings: &[&str]| {
        let settings: Vec<_> = settings.iter().map(|&setting| setting.to_owned()).collect();
        Recipe::parse(RECIPE, "my.toml", &settings).unwrap()
    };
    let original = recipe(&[]);
    for setting in ["model.init=other", "checkpoints.keep=1", "compute.loader_threads=7"] {
        let changed = recipe(&[setting]);
        assert_eq!(original.difference(&changed).unwrap(), None, "{setting}");
        assert_eq!(original.fingerprint().unwrap(), changed.fingerprint().unwrap(), "{setting}");
    }
    for (setting, key) in [
        ("seed=1", "seed"),
        ("batch.micro_batch=5", "phases.0.batch.micro_batch"),
        ("phases.1.schedule.lr=0.5", "phases.1.schedule.lr"),
        ("model.frozen=[]", "model.frozen.0"),
        ("compute.recompute=true", "compute.recompute"),
    ] {
        let changed = recipe(&[setting]);
        assert_eq!(original.difference(&changed).unwrap().as_deref(), Some(key), "{setting}");
        assert_ne!(original.fingerprint().unwrap(), changed.fingerprint().unwrap(), "{setting}");
    }
}

/// A recipe that has every key.
const ALL_KEYS: &str = r#"
seed = 1
[model]
init = "a"
base = "b"
start = "scratch"
frozen = []
[lora]
rank = 1
alpha = 1.0
targets = ["c"]
[compute]
precision = "f32"
recompute = false
loader_threads = 1
feature_cache = "d"
[checkpoints]
every = 1
keep = 1
[stage]
kind = "captions"
attention = "causal"
order = "image-text"
max_text_tokens = 8
augment = true
augment_boxes = "moved"
[batch]
micro_batch = 1
accumulation = 1
[schedule]
decay = "cosine"
lr = 1.0
min_lr = 0.0
warmup_steps = 0
steps = 1
[optimizer]
betas = [0.9, 0.9]
eps = 1e-8
weight_decay = 0.0
no_weight_decay = []
clip_norm = 1.0
lr_scale = { "vision_tokenizer.*" = 0.1 }
[validation]
every = 1
batches = 1
data = []
[samples]
every = 1
images = []
question = "e"
max_new_tokens = 1
[[data]]
name = "kale"
weight = 1.0
shards = ["f"]
files = ["g"]
images = "h"
[[phases]]
name = "i"
"#;

#[test]
fn every_key_is_in_the_guide() {
    let recipe = Recipe::parse(ALL_KEYS, "all.toml", &[]).unwrap();
    // None is forgotten above: what is written out has no key that was not given.
    let given: toml::Table = toml::from_str(ALL_KEYS).unwrap();
    let written: toml::Table = toml::from_str(&recipe.to_toml().unwrap()).unwrap();
    assert_eq!(written, given);
    let unknown = refusal("nothing = 1\n[model]\ninit = \"\"", &[]);
    let known = unknown.split_once("one of ").map_or("", |(_, keys)| keys);
    assert_eq!(known.split(", ").count(), given.len(), "{unknown}");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/src/train.md");
    let guide = std::fs::read_to_string(path).unwrap();
    for (name, value) in &given {
        let (listed, keys) = match value {
            toml::Value::Table(table) => (false, table.keys().cloned().collect()),
            toml::Value::Array(tables) => {
                (true, tables[0].as_table().unwrap().keys().cloned().collect())
            }
            _ => (false, vec![]),
        };
        let own = if listed { format!("`[[{name}]]`") } else { format!("`{name}") };
        assert!(guide.contains(&own), "{name}");
        for key in keys {
            let key = if listed { format!("`{key}`") } else { format!("`{name}.{key}`") };
            assert!(guide.contains(&key), "{key}");
        }
    }
}
