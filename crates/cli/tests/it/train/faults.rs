//! Whatever ends a run, it goes on as if nothing had been.
#![cfg(unix)]

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc::channel;
use std::time::Duration;

use checkpoint::{Checkpoint, Dtype};

use super::support::{Place, data, signal, two_phases, wait_for};
use crate::program::{aki, command};

const STEPS: u64 = 12;

#[test]
fn a_run_that_is_killed_again_and_again_learns_what_an_undisturbed_one_learns() {
    let whole = Place::new(&two_phases());
    aki(whole.args(&[])).success();
    let killed = Place::new(&two_phases());
    // Moments all over the run: while it starts, computes and writes checkpoints, which it does
    // after every step.
    let mut state = 7_u64;
    let mut num_killed = 0;
    for _ in 0..12 {
        state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
        let moment = Duration::from_micros(30_000 + (state >> 33) % 400_000);
        let resume = ["--resume"];
        let mut child = killed.spawn(if killed.run().is_dir() { &resume } else { &[] });
        let (_never, clock) = channel::<()>();
        let _ = clock.recv_timeout(moment);
        // It may have finished.
        num_killed += usize::from(child.try_wait().expect("a process").is_none());
        child.kill().expect("killed");
        child.wait().expect("it ends");
    }
    assert!(num_killed > 3, "{num_killed}");
    aki(killed.args(&["--resume"])).success();
    assert_eq!(killed.metrics(), whole.metrics());
    assert!(killed.learned(STEPS) == whole.learned(STEPS));
}

#[test]
fn ctrl_c_writes_a_checkpoint_and_the_run_goes_on_from_it() {
    let precision = ["--set", "compute.precision=bf16", "--set", "compute.recompute=true"];
    let settings = [&precision[..], &["--set", "checkpoints.every=100"]].concat();
    let whole = Place::new(&two_phases());
    aki(whole.args(&settings)).success();
    let place = Place::new(&two_phases());
    let mut child = place.spawn(&settings);
    wait_for(&mut child, "step 2 of 12");
    signal(&child, "INT");
    let stderr = child.stderr.take().expect("piped");
    let said = std::io::read_to_string(stderr).expect("text");
    assert_eq!(child.wait().expect("it ends").code(), Some(130), "{said}");
    assert!(said.contains("--resume goes on"), "{said}");
    assert!(said.contains("Ctrl-C again ends at once"), "{said}");
    assert!(place.metrics().len() < STEPS as usize);
    aki(place.args(&[&settings[..], &["--resume"]].concat())).success();
    assert_eq!(place.metrics(), whole.metrics());
    assert!(place.learned(STEPS) == whole.learned(STEPS));
}

/// Returns a place whose run was stopped by Ctrl-C after some steps.
fn stopped() -> Place {
    let place = Place::new(&two_phases());
    let mut child = place.spawn(&[]);
    wait_for(&mut child, "step 2 of 12");
    signal(&child, "INT");
    let stderr = child.stderr.take().expect("piped");
    std::io::read_to_string(stderr).expect("text");
    child.wait().expect("it ends");
    place
}

#[test]
fn a_full_disk_ends_the_run_and_loses_nothing() {
    let whole = Place::new(&two_phases());
    aki(whole.args(&[])).success();
    let place = stopped();
    let before = place.metrics();
    let aki_path = command::<&str>([]).get_program().to_owned();
    // No file may be larger than a megabyte, which the weights are; that is an error and no signal.
    let output = Command::new("sh")
        .args(["-c", "trap '' XFSZ; ulimit -f 2000; exec \"$0\" \"$@\""])
        .arg(aki_path)
        .args(place.args(&["--resume"]))
        .stdin(Stdio::null())
        .output()
        .expect("sh runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("cannot be saved, the last complete checkpoint is `"), "{said}");
    assert!(place.metrics().starts_with(&before));
    let unfinished = fs::read_dir(place.run()).expect("listed").filter(|entry| {
        let name = entry.as_ref().expect("an entry").file_name();
        name.to_string_lossy().ends_with(".tmp")
    });
    assert_eq!(unfinished.count(), 0);
    aki(place.args(&["--resume"])).success();
    assert_eq!(place.metrics(), whole.metrics());
    assert!(place.learned(STEPS) == whole.learned(STEPS));
}

#[test]
fn a_loss_that_is_not_a_number_ends_the_run_and_names_the_last_checkpoint() {
    let place = Place::new(&two_phases());
    let settings =
        ["--set", "phases.1.schedule.lr=1e38", "--set", "phases.1.optimizer.clip_norm=0"];
    let said = aki(place.args(&settings)).failure(1);
    assert!(said.contains("error: the ") && said.contains("a lower `lr`"), "{said}");
    assert!(said.contains("the last complete checkpoint is `"), "{said}");
    assert!(place.learned(6)[0].len() > 1000);
}

#[test]
fn a_shard_that_is_gone_is_passed_over() {
    let (name, pattern) = &data().captions[0];
    let recipe = |pattern: &str| {
        format!(
            r#"
model = {{ init = "miniature" }}
stage = {{ kind = "captions", attention = "causal" }}
batch = {{ micro_batch = 2 }}
schedule = {{ lr = 1e-3, steps = 3 }}
data = [{{ name = "{name}", shards = [{pattern:?}] }}]
"#
        )
    };
    let more = pattern.replace("..00001}", "..00003}");
    assert_ne!(&more, pattern);
    let place = Place::new(&recipe(&more));
    let run = aki(place.args(&[]));
    assert!(run.stderr.contains("00002.tar") || run.stderr.contains("00003.tar"), "{}", run.stderr);
    run.success();
    let place = Place::new(&recipe(&pattern.replace("{00000..00001}", "{00007..00008}")));
    let said = aki(place.args(&[])).failure(1);
    assert!(said.contains("no shard of"), "{said}");
}

#[test]
fn a_run_with_adapters_goes_on_too_and_every_checkpoint_has_them_merged_in() {
    let lora = "[lora]\nrank = 2\nalpha = 4.0\ntargets = [\"lang_model.*_proj\"]\n";
    let recipe = two_phases().replace("[compute]", &format!("{lora}[compute]"));
    let recipe = recipe.replace("init = \"miniature\"", "init = \"miniature\"\nfrozen = [\"*\"]");
    let whole = Place::new(&recipe);
    aki(whole.args(&[])).success();
    let place = Place::new(&recipe);
    let mut child = place.spawn(&[]);
    wait_for(&mut child, "step 7 of 12");
    child.kill().expect("killed");
    child.wait().expect("it ends");
    aki(place.args(&["--resume"])).success();
    assert_eq!(place.metrics(), whole.metrics());
    assert!(place.learned(STEPS) == whole.learned(STEPS));
    let init = Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/miniature/model.gguf");
    let init = Checkpoint::open(init).expect("the built-in model is there");
    let saved = Checkpoint::open(place.run().join("checkpoint-00000012")).expect("complete");
    for (name, changes) in [
        ("lang_model.model.layers.1.self_attn.qkv_proj.weight", true),
        ("lang_model.model.embed_tokens.weight", false),
    ] {
        // Blocks of few bits are trained from as bfloat16.
        let start = model::widened(init.tensor(name).expect("it is there").clone());
        let a = start.to_dtype(Dtype::Bf16).expect("floats");
        let b = saved.tensor(name).expect("it is there");
        assert_eq!(*a.bytes != *b.bytes, changes, "{name}");
    }
}

#[test]
fn two_processes_do_not_train_in_one_directory() {
    let place = Place::new(&two_phases().replace("steps = 6", "steps = 300"));
    let mut child = place.spawn(&[]);
    wait_for(&mut child, "checkpoint-00000001");
    let said = aki(place.args(&["--resume"])).failure(1);
    child.kill().expect("killed");
    child.wait().expect("it ends");
    assert!(said.contains("error: another process trains in `"), "{said}");
}
