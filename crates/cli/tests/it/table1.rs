//! `aki table1` and `aki probe`, on the smallest world.

use std::fs;
use std::path::Path;

use crate::program::aki;

/// Writes two rows with few steps of few samples.
fn recipes(folder: &Path) {
    let known = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../recipes/table1/miniature");
    fs::create_dir_all(folder).expect("a folder can be made");
    for name in ["causal", "mma"] {
        let text =
            fs::read_to_string(known.join(format!("{name}.toml"))).expect("the recipe is there");
        let text = text.replace("micro_batch = 32", "micro_batch = 2");
        let text = text.replace("warmup_steps = 100, steps = 6000", "warmup_steps = 2, steps = 20");
        fs::write(folder.join(format!("{name}.toml")), text).expect("a file can be written");
    }
}

#[test]
fn the_table_is_planned_trained_asked_probed_and_gone_on_with() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).display().to_string();
    let (rows, output) = (path("rows"), path("table1"));
    recipes(Path::new(&rows));
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
    for part in ["| MMA | 2 | 40 |", "± ", "Paired tests", "another thing", "Learning curves"] {
        assert!(report.contains(part), "{part}: {report}");
    }
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
