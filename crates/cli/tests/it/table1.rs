//! `aki table1` and `aki probe`, on the smallest world.

use std::fs;
use std::path::Path;

use crate::program::aki;

/// Writes two rows, and what they begin with, with some steps of few samples.
fn recipes(folder: &Path, steps: usize) {
    let known = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../recipes/table1/miniature");
    fs::create_dir_all(folder.join("start")).expect("a folder can be made");
    let text = fs::read_to_string(known.join("../start/connector.toml")).expect("it is there");
    let text = text.replace("micro_batch = 32", "micro_batch = 2");
    let text = text.replace("warmup_steps = 100", "warmup_steps = 1");
    let text = text.replace("steps = 3000", "steps = 5");
    fs::write(folder.join("start/connector.toml"), text).expect("a file can be written");
    for name in ["causal", "mma"] {
        let text =
            fs::read_to_string(known.join(format!("{name}.toml"))).expect("the recipe is there");
        let text = text.replace("micro_batch = 16", "micro_batch = 2");
        let steps = format!("warmup_steps = 2, steps = {steps}");
        let of_captions = text.replace("warmup_steps = 200, steps = 8000", &steps);
        let text = of_captions.replace("warmup_steps = 200, steps = 24000", &steps);
        fs::write(folder.join(format!("{name}.toml")), text).expect("a file can be written");
    }
}

/// Returns a tensor of a model, a line for each of its rows.
fn tensor(folder: &Path, name: &str) -> Vec<Vec<f32>> {
    let file = checkpoint::Checkpoint::open(folder).expect("a model is there");
    let tensor = file.tensor(name).expect("the tensor is there");
    let width = *tensor.shape.last().expect("it has a width");
    tensor.to_f32_vec().expect("it has numbers").chunks(width).map(<[f32]>::to_vec).collect()
}

#[test]
fn rows_begin_with_a_connector_that_was_trained_and_its_tokens_can_be_scattered() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    recipes(&path("rows"), 20);
    let rows = path("rows").display().to_string();
    let run = |output: &str, more: &[&str]| {
        let output = path(output).display().to_string();
        let fixed = ["table1", "--recipes", &rows, "--output", &output, "--world-size", "tiny"];
        let sizes = ["--questions", "1", "--pictures", "12", "--seeds", "2", "--dry-run"];
        aki(fixed.iter().chain(&sizes).chain(more))
    };
    let (latents, head) = ("vision_tokenizer.latents", "lang_model.lm_head.weight");
    let (embeddings, layer) =
        ("lang_model.model.embed_tokens.weight", "lang_model.model.layers.0.mlp.down_proj.weight");

    run("trained", &["--vision-tokens", "6"]).success();
    let at = |name: &str| path("trained").join("start").join(name);
    let connector = at("runs/connector/seed-1/train/checkpoint-00000005");
    for name in [latents, head] {
        let learned = tensor(&connector, name);
        assert!(learned != tensor(&at("encoder"), name), "{name} has learned nothing");
        assert!(learned == tensor(&at("seed-1"), name), "{name} is not taken over");
        assert!(learned == tensor(&at("seed-2"), name), "{name} is another in another seed");
    }
    for name in [embeddings, layer] {
        assert!(tensor(&at("seed-1"), name) != tensor(&at("seed-2"), name), "{name}");
    }
    assert_eq!(tensor(&at("seed-1"), latents).len(), 6);

    let world = path("trained").join("world").display().to_string();
    let output = path("kept").display().to_string();
    let kept = ["table1", "--output", &output, "--world", &world, "--connector", "kept"];
    let sizes = ["--rows", "causal", "--questions", "1", "--seeds", "2", "--dry-run"];
    aki(kept.iter().chain(&["--scatter", "--set", "batch.micro_batch=2"]).chain(&sizes)).success();
    let of_seed = |seed: &str| tensor(&path("kept").join("start").join(seed), latents);
    let (mut first, mut second) = (of_seed("seed-1"), of_seed("seed-2"));
    assert!(first != second, "both seeds have the same order");
    for rows in [&mut first, &mut second] {
        rows.sort_by(|a, b| a[0].total_cmp(&b[0]));
    }
    assert!(first == second, "these are other tokens");

    let error = aki(kept.iter().chain(&["--vision-tokens", "6"])).failure(2);
    assert!(error.contains("a connector that is kept"), "{error}");
}

#[test]
fn the_table_is_planned_trained_asked_probed_and_gone_on_with() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).display().to_string();
    let (rows, output) = (path("rows"), path("table1"));
    recipes(Path::new(&rows), 20);
    let fixed = ["table1", "--recipes", &rows, "--output", &output, "--world-size", "tiny"];
    let sizes = ["--questions", "1", "--pictures", "12", "--seeds", "2", "--processes", "2"];
    let run = |more: &[&str]| aki(fixed.iter().chain(&sizes).chain(more));

    let error = run(&["--hours", "0.0001"]).failure(1);
    assert!(error.contains("0.0001 hours are too few for 2 rows and 2 seeds"), "{error}");
    assert!(error.contains("hours at least"), "{error}");

    let said = run(&["--hours", "5"]).success();
    assert!(said.contains("2 rows x 2 seeds, 2 at once, 100.0 % of the recipes' steps"), "{said}");
    let at = |name: &str| Path::new(&output).join(name);
    let scores = fs::read(at("runs/mma/seed-2/eval/scored.jsonl")).unwrap();
    let report = fs::read_to_string(at("table1.md")).unwrap();
    assert!(report.contains("4 of 4 runs are finished"), "{report}");
    for part in [
        "| MMA | 2 | 40 | 1.0 x |",
        "± ",
        "Paired tests",
        "beside MMA",
        "Losses at the end",
        "another thing",
        "Learning curves",
    ] {
        assert!(report.contains(part), "{part}: {report}");
    }
    for part in ["one thing: colour", "| MMA | ", "by what an answer takes"] {
        assert!(report.contains(part), "{part}: {report}");
    }
    aki(["table1", "--report", "--output", &output, "--beside", &output]).success();
    let beside = fs::read_to_string(at("table1.md")).unwrap();
    let (_, sizes) = beside.split_once("## Other sizes").expect("there are other sizes");
    assert_eq!(sizes.matches("| MMA | 6 layers, 48 vision tokens |").count(), 2, "{sizes}");
    let page = fs::read_to_string(at("table1.html")).unwrap();
    assert!(page.contains("<svg") && !page.contains("http://localhost"));

    // A run that was lost is done again, to the same answers; the others are not.
    fs::remove_dir_all(at("runs/mma/seed-2")).unwrap();
    let before =
        fs::metadata(at("runs/mma/seed-1/train/metrics.jsonl")).unwrap().modified().unwrap();
    run(&["--hours", "5"]).success();
    let after =
        fs::metadata(at("runs/mma/seed-1/train/metrics.jsonl")).unwrap().modified().unwrap();
    assert_eq!(fs::read(at("runs/mma/seed-2/eval/scored.jsonl")).unwrap(), scores);
    assert_eq!(before, after);

    // Captions were learned once for both rows; alone, a recipe gives the same.
    assert!(at("shared/runs/causal-1/seed-2/train/checkpoint-00000020").is_dir());
    let (recipe, alone) = (at("runs/mma/seed-2/recipe.toml"), path("alone"));
    let recipe = recipe.display().to_string();
    aki(["train", &recipe, "--output", &alone, "--threads", "1"]).success();
    let weights = |run: &Path| fs::read(run.join("checkpoint-00000040/model.safetensors")).unwrap();
    assert!(weights(Path::new(&alone)) == weights(&at("runs/mma/seed-2/train")));
    let lines = |run: &Path| fs::read_to_string(run.join("metrics.jsonl")).unwrap().lines().count();
    assert_eq!(lines(&at("runs/mma/seed-2/train")), 40);

    let shared = at("shared/runs/causal-1/seed-1/train").display().to_string();
    let (other, causal) = (path("other"), at("runs/causal/seed-1/train").display().to_string());
    let after = ["train", &recipe, "--output", &other, "--after"];
    let error = aki(after.iter().chain(&[shared.as_str()])).failure(1);
    assert!(error.contains("`seed`"), "{error}");
    let same = at("runs/mma/seed-1/recipe.toml").display().to_string();
    let error = aki(["train", &same, "--output", &other, "--after", &causal]).failure(1);
    assert!(error.contains("attention"), "{error}");

    let nothing = path("nothing");
    let error = aki(["train", &same, "--output", &other, "--after", &nothing]).failure(1);
    assert!(error.contains("hint: expected a run"), "{error}");
    let error = aki(["table1", "--output", &other, "--encoder", &nothing]).failure(1);
    assert!(error.contains("nothing") && !Path::new(&other).exists(), "{error}");

    let error = run(&["--hours", "6"]).failure(1);
    assert!(error.contains("was begun with --hours 5, this one has 6"), "{error}");
    let error = aki(["table1", "--report", "--output", &path("nothing")]).failure(1);
    assert!(error.contains("holds no plan.json"), "{error}");
}

#[cfg(unix)]
#[test]
fn an_interruption_reaches_what_is_trained_which_leaves_a_checkpoint() {
    use std::process::{Command, Stdio};
    use std::time::{Duration, Instant};

    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    recipes(&path("rows"), 1_000_000);
    let (rows, output) = (path("rows").display().to_string(), path("table1").display().to_string());
    let fixed = ["table1", "--recipes", &rows, "--output", &output, "--world-size", "tiny"];
    let sizes = ["--questions", "1", "--seeds", "1", "--processes", "1", "--hours", "1000000"];
    let mut child = crate::program::command(fixed.iter().chain(&sizes))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program was built");
    let train = path("table1").join("shared/runs/causal-1/seed-1/train");
    let begun = Instant::now();
    while fs::read_to_string(train.join("metrics.jsonl")).map_or(0, |text| text.lines().count()) < 3
    {
        assert!(begun.elapsed() < Duration::from_mins(5), "nothing is trained");
        assert!(child.try_wait().unwrap().is_none(), "it has ended");
        std::thread::park_timeout(Duration::from_millis(50));
    }
    let id = child.id().to_string();
    assert!(Command::new("kill").args(["-INT", &id]).status().expect("kill runs").success());
    let output = child.wait_with_output().expect("the program ends");
    assert_eq!(output.status.code(), Some(130), "{}", String::from_utf8_lossy(&output.stderr));
    let steps = fs::read_to_string(train.join("metrics.jsonl")).unwrap().lines().count();
    // Sooner than the recipe has one.
    assert!(steps < 200, "{steps} steps");
    let checkpoint = train.join(format!("checkpoint-{steps:08}"));
    assert!(checkpoint.join("model.safetensors").is_file(), "no {}", checkpoint.display());
}

#[test]
fn image_tokens_know_what_is_asked_for_only_where_they_can_read_the_question() {
    let probe = |attention: &str| {
        aki(["probe", "--pictures", "12", "--attention", attention, "--json"]).json()
    };
    let (causal, mutual) = (probe("causal"), probe("mutual"));
    assert_eq!(causal["layers"][0], mutual["layers"][0], "no policy changes the input");
    assert_ne!(causal["layers"][1], mutual["layers"][1]);
    assert_eq!(causal["layers"][0]["name"], "input");
    assert_eq!((&causal["learned"], &causal["tested"]), (&12.into(), &3.into()));
}
