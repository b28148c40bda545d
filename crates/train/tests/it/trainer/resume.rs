//! A run that is stopped anywhere and resumed is the run that was not.

use std::fs;
use std::path::Path;

use serde_json::Value;
use train::run::newest;

use super::support::{Toy, Watch, run};

fn lines(directory: &Path) -> Vec<Value> {
    let text = fs::read_to_string(directory.join("metrics.jsonl")).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// What of the metrics does not depend on the clock.
fn learned(directory: &Path) -> Vec<String> {
    let keys = ["step", "training_loss", "validation_loss", "learning_rate", "gradient_norm"];
    let more = ["phase", "bad_samples", "samples"];
    let of = |line: &Value| keys.iter().chain(&more).map(|key| line[*key].to_string()).collect();
    lines(directory).iter().map(of).map(|all: Vec<_>| all.join(" ")).collect()
}

fn names(directory: &Path) -> Vec<String> {
    let names = fs::read_dir(directory).unwrap().map(|e| e.unwrap().file_name());
    let mut names: Vec<_> = names.map(|name| name.into_string().unwrap()).collect();
    names.retain(|name| !name.starts_with("events."));
    names.sort();
    names
}

#[test]
fn a_run_stopped_after_any_step_goes_on_bit_for_bit() {
    let whole = tempfile::tempdir().unwrap();
    let mut toy = Toy::new();
    let outcome = run(whole.path(), &mut toy, &mut Watch::default(), None).unwrap();
    assert!(outcome.is_finished);
    assert_eq!((outcome.step, outcome.losses.len()), (18, 18));
    assert!(outcome.losses[17] < outcome.losses[0], "{:?}", outcome.losses);
    for stop in 1..18 {
        let parts = tempfile::tempdir().unwrap();
        let mut watch = Watch { stop_at: Some(stop), ..Watch::default() };
        let first = run(parts.path(), &mut Toy::new(), &mut watch, None).unwrap();
        assert!(!first.is_finished);
        let (found, broken) = newest(parts.path()).unwrap();
        assert!(broken.is_empty());
        let found = found.unwrap();
        assert_eq!(found.state.step, stop);
        let mut resumed = Toy::load(&found.path);
        let second = run(parts.path(), &mut resumed, &mut Watch::default(), Some(found)).unwrap();
        // Those of the first process went through decimal digits.
        let own = stop as usize..;
        assert_eq!(second.losses[own.clone()], outcome.losses[own], "stopped after step {stop}");
        assert_eq!(resumed.bits(), toy.bits(), "stopped after step {stop}");
        assert_eq!(learned(parts.path()), learned(whole.path()), "stopped after step {stop}");
    }
}

#[test]
fn what_came_after_the_checkpoint_is_forgotten() {
    let whole = tempfile::tempdir().unwrap();
    run(whole.path(), &mut Toy::new(), &mut Watch::default(), None).unwrap();
    let parts = tempfile::tempdir().unwrap();
    let mut watch = Watch { stop_at: Some(7), ..Watch::default() };
    run(parts.path(), &mut Toy::new(), &mut watch, None).unwrap();
    // As if the process had been killed after step 7, before its checkpoint was complete.
    let late = parts.path().join("checkpoint-00000007");
    fs::rename(&late, parts.path().join("checkpoint-00000007.tmp")).unwrap();
    let (found, _) = newest(parts.path()).unwrap();
    let found = found.unwrap();
    assert_eq!(found.state.step, 4);
    let mut toy = Toy::load(&found.path);
    run(parts.path(), &mut toy, &mut Watch::default(), Some(found)).unwrap();
    assert_eq!(learned(parts.path()), learned(whole.path()));
}

#[test]
fn a_run_leaves_its_last_checkpoints_and_nothing_unfinished() {
    let directory = tempfile::tempdir().unwrap();
    let mut watch = Watch::default();
    run(directory.path(), &mut Toy::new(), &mut watch, None).unwrap();
    let saved: Vec<_> =
        watch.saved.iter().map(|p| p.file_name().unwrap().to_str().unwrap()).collect();
    let steps = [4, 8, 10, 12, 16, 18].map(|step| format!("checkpoint-{step:08}"));
    assert_eq!(saved, steps);
    assert_eq!(
        names(directory.path()),
        [
            "checkpoint-00000016",
            "checkpoint-00000018",
            "loss.svg",
            "metrics.jsonl",
            "samples.jsonl"
        ]
    );
    assert_eq!(watch.steps[17].bad_samples, 17);
    assert_eq!(watch.steps[17].samples, 18 * 6);
}

#[test]
fn broken_checkpoints_are_passed_over() {
    let directory = tempfile::tempdir().unwrap();
    run(directory.path(), &mut Toy::new(), &mut Watch::default(), None).unwrap();
    let last = directory.path().join("checkpoint-00000018");
    let moments = directory.path().join("checkpoint-00000016/optimizer.safetensors");
    for (file, broken) in [(last.join("model.safetensors"), 1), (moments, 2)] {
        let bytes = fs::read(&file).unwrap();
        fs::write(&file, &bytes[..bytes.len() - 1]).unwrap();
        let (found, errors) = newest(directory.path()).unwrap();
        assert_eq!(errors.len(), broken);
        assert_eq!(found.map(|found| found.state.step), (broken == 1).then_some(16));
        let text = errors[broken - 1].to_string();
        assert!(text.contains("bytes, expected"), "{text}");
    }
    fs::remove_file(last.join("state.json")).unwrap();
    assert_eq!(newest(directory.path()).unwrap().1.len(), 2);
}
