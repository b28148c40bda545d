//! Whole runs over small files of every data set.

use std::fs;

use checkpoint::Checkpoint;
use serde_json::Value;

use super::support::{Place, curve, data, two_phases};
use crate::program::{aki, goldens};

#[test]
fn captions_then_instructions_train_to_a_model_that_answers() {
    let place = Place::new(&two_phases());
    let said = aki(place.args(&["--json"])).json();
    assert_eq!((&said["steps"], &said["is_finished"]), (&12.into(), &true.into()));
    let losses = curve(&place.run(), "training_loss");
    assert_eq!(losses.len(), 12);
    assert!(losses[5] < losses[0] && losses[11] < losses[6], "{losses:?}");
    let image = goldens("images/cat.jpg");
    let checkpoint = said["checkpoint"].as_str().expect("a path").to_owned();
    let ask = |model: &str| {
        let args = ["ask", "--model", model, "--image", &image, "Why?", "--max-new-tokens", "4"];
        aki(args).success()
    };
    // A run is a model, too: its newest checkpoint.
    assert_eq!(ask(&checkpoint), ask(&place.run().display().to_string()));
    for name in ["recipe.toml", "loss.svg", "metrics.jsonl"] {
        assert!(place.run().join(name).is_file(), "{name}");
    }
}

#[test]
fn a_run_starts_from_the_weights_of_another_run() {
    let first = Place::new(&two_phases());
    aki(first.args(&["--set", "phases.0.schedule.steps=1", "--set", "phases.1.schedule.steps=1"]))
        .success();
    let init = format!("model.init={}", first.run().display());
    let second = Place::new(&two_phases());
    aki(second.args(&["--set", &init, "--set", "model.start=sft_scratch"])).success();
    // The losses go on, the steps do not.
    let [first, second] = [first, second].map(|place| curve(&place.run(), "training_loss"));
    assert_eq!(second.len(), 12);
    assert!((first[0] - second[0]).abs() > 1e-3, "{first:?} {second:?}");
}

#[test]
fn what_a_file_of_trained_tensors_lacks_comes_from_a_base() {
    let short = ["--set", "phases.0.schedule.steps=2", "--set", "phases.1.schedule.steps=1"];
    let first = Place::new(&two_phases());
    aki(first.args(&short)).success();
    let whole = Checkpoint::open(first.run().join("checkpoint-00000003")).expect("complete");
    let file = first.run().with_file_name("trained.safetensors");
    let tensors = whole.names().filter(|name| !name.starts_with("vision_encoder."));
    let tensors = tensors.map(|name| (name, whole.tensor(name).expect("it has a name")));
    checkpoint::save_file(&file, tensors).expect("written");
    let starts = [vec![first.run()], vec![file, "miniature".into()]];
    let learned = starts.map(|start| {
        let settings = ["model.init", "model.base"].into_iter().zip(&start);
        let settings: Vec<_> =
            settings.map(|(key, path)| format!("{key}={}", path.display())).collect();
        let settings = settings.iter().flat_map(|setting| ["--set", setting]);
        let place = Place::new(&two_phases());
        aki(place.args(&short.into_iter().chain(settings).collect::<Vec<_>>())).success();
        place.learned(3)
    });
    assert!(learned[0] == learned[1]);
    assert!(learned[0] != first.learned(3));
}

#[test]
fn a_run_goes_on_in_another_directory() {
    let whole = Place::new(&two_phases());
    aki(whole.args(&["--set", "checkpoints.keep=20"])).success();
    let init = format!("model.init={}/checkpoint-00000003", whole.run().display());
    let rest = Place::new(&two_phases());
    aki(rest.args(&["--set", &init, "--set", "model.start=sft_resume"])).success();
    assert_eq!(rest.metrics().len(), 9);
    assert_eq!(rest.metrics(), whole.metrics()[3..]);
    assert!(rest.learned(12) == whole.learned(12));
}

#[test]
fn the_same_data_is_validated_and_the_same_question_is_asked_again() {
    let data = data();
    let (name, pattern) = &data.captions[0];
    let image = goldens("images/cat.jpg");
    let recipe = format!(
        r#"
model = {{ init = "miniature" }}
stage = {{ kind = "captions", attention = "causal", augment = false }}
batch = {{ micro_batch = 2 }}
schedule = {{ lr = 1e-3, steps = 4 }}
validation = {{ every = 2, batches = 2, data = [{{ name = "{name}", shards = [{pattern:?}] }}] }}
samples = {{ every = 2, images = [{image:?}], question = "What?", max_new_tokens = 3 }}
data = [{{ name = "{name}", shards = [{pattern:?}] }}]
"#
    );
    let place = Place::new(&recipe);
    aki(place.args(&[])).success();
    let validation = curve(&place.run(), "validation_loss");
    assert_eq!(validation.len(), 2);
    assert!(validation[1] < validation[0], "{validation:?}");
    let samples = fs::read_to_string(place.run().join("samples.jsonl")).expect("written");
    let steps: Vec<_> = samples
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("JSON")["step"].clone())
        .collect();
    assert_eq!(steps, [2, 4]);
    // Features that were kept give what features that are computed give.
    let cached = Place::new(&recipe);
    let folder = cached.run().with_file_name("features").display().to_string();
    let keep = format!("compute.feature_cache={folder}");
    aki(cached.args(&["--set", &keep])).success();
    let [computed, kept] = [&place, &cached].map(|place| curve(&place.run(), "training_loss"));
    for (a, b) in computed.iter().zip(&kept) {
        assert!((a - b).abs() < 1e-4 * b, "{computed:?} {kept:?}");
    }
    // Entries, their index, and the lock of who writes them.
    let files = fs::read_dir(folder).expect("the features are kept").count();
    assert_eq!(files, 3);
}

#[test]
fn every_row_of_table_1_trains() {
    let repository = concat!(env!("CARGO_MANIFEST_DIR"), "/../../");
    let inline = |tables: &str| {
        let tables = tables.split("[[data]]").map(|table| table.trim().replace('\n', ", "));
        let tables = tables.filter(|table| !table.is_empty());
        format!("[{}]", tables.map(|table| format!("{{ {table} }}")).collect::<Vec<_>>().join(", "))
    };
    let captions = inline(&data().captions_toml());
    let instructions = inline(&data().instructions_toml());
    let mut rows = 0;
    for entry in fs::read_dir(format!("{repository}recipes/table1")).expect("listed") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            // The rows in miniature, which `aki table1` runs.
            continue;
        }
        let recipe = fs::read_to_string(&path).expect("text");
        let kinds: Vec<_> = recipe.lines().filter(|line| line.starts_with("stage = ")).collect();
        let mut settings = vec!["model.init=miniature".to_owned()];
        for (phase, kind) in kinds.iter().enumerate() {
            let data = if kind.contains("captions") { &captions } else { &instructions };
            settings.push(format!("phases.{phase}.data={data}"));
            settings.push(format!("phases.{phase}.batch={{ micro_batch = 2 }}"));
            settings.push(format!("phases.{phase}.schedule={{ lr = 1e-3, steps = 1 }}"));
        }
        let place = Place::new(&recipe);
        let settings: Vec<_> = settings.iter().flat_map(|setting| ["--set", setting]).collect();
        aki(place.args(&settings)).success();
        let losses = curve(&place.run(), "training_loss");
        assert_eq!(losses.len(), kinds.len(), "{}", path.display());
        rows += 1;
    }
    assert_eq!(rows, 8);
}
