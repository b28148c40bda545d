//! What is wrong is said before anything is trained.

use std::fs;

use super::support::{Place, data, two_phases};
use crate::program::{aki, aki_with};

#[test]
fn a_missing_annotation_file_stops_before_the_first_step_and_leaves_nothing() {
    let missing = data().sets[0].files[0].display().to_string() + ".gone";
    let place = Place::new(&two_phases());
    let setting = format!("phases.1.data.0.files.0={missing}");
    let said = aki(place.args(&["--set", &setting])).failure(1);
    assert!(said.contains(&format!("has no file `{missing}`")), "{said}");
    assert!(!place.run().exists());
}

#[test]
fn a_directory_that_holds_something_is_refused() {
    let place = Place::new(&two_phases());
    fs::create_dir(place.run()).expect("made");
    fs::write(place.run().join("mine.txt"), "mine").expect("written");
    let said = aki(place.args(&[])).failure(1);
    assert!(said.contains("is not empty; --resume goes on with the run in it"), "{said}");
    assert_eq!(fs::read_dir(place.run()).expect("listed").count(), 1);
}

#[test]
fn a_run_does_not_go_on_with_another_recipe() {
    let place = Place::new(&two_phases());
    let short = ["--set", "phases.0.schedule.steps=1", "--set", "phases.1.schedule.steps=1"];
    aki(place.args(&short)).success();
    let said = aki(place.args(&["--resume"])).failure(1);
    assert!(said.contains("`phases.0.schedule.steps` differs"), "{said}");
    // What decides nothing may change.
    let more = ["--resume", "--set", "checkpoints.keep=1"];
    aki(place.args(&[&short[..], &more].concat())).success();
    let recipe = fs::read_to_string(place.run().join("recipe.toml")).expect("written");
    assert!(recipe.contains("keep = 1"), "{recipe}");
}

#[test]
fn there_is_nothing_to_go_on_with_where_no_run_is() {
    let place = Place::new(&two_phases());
    let said = aki(place.args(&["--resume"])).failure(1);
    assert!(said.contains("no run in `"), "{said}");
}

#[test]
fn a_dry_run_prints_a_recipe_and_figures_and_writes_nothing() {
    let place = Place::new(&two_phases());
    let said = aki(place.args(&["--dry-run"])).success();
    for line in [
        "# phase        captions: 6 steps of 4 samples in each process\n",
        "# parameters   3,669,986 trained, 1,600,480 frozen\n",
    ] {
        assert!(said.contains(line), "{said}");
    }
    assert!(!place.run().exists());
    // What it prints is the same recipe.
    let again = Place::new(&said);
    let comments = |text: &str| text.lines().filter(|line| !line.starts_with('#')).count();
    let repeated = aki(again.args(&["--dry-run"])).success();
    assert_eq!(comments(&repeated), comments(&said));
}

#[test]
fn a_key_that_is_none_is_refused_with_a_suggestion() {
    let place = Place::new(&two_phases().replace("micro_batch", "micro_bach"));
    let said = aki(place.args(&[])).failure(1);
    assert!(said.contains("unknown key `micro_bach`, did you mean `micro_batch`?"), "{said}");
    assert!(!place.run().exists());
}

#[test]
fn what_a_launcher_says_is_checked_before_anything_is_written() {
    let place = Place::new(&two_phases());
    let run = |rank: &str, world: &str| {
        let launcher = [("RANK", rank), ("WORLD_SIZE", world)];
        let said = aki_with(place.args(&[]), &launcher, b"").failure(1);
        assert!(!place.run().exists());
        said
    };
    assert_eq!(
        run("2", "2").lines().next(),
        Some(
            "error: environment variable `RANK` is `2`, expected a number below 2, the number of processes"
        )
    );
    let expected = if cfg!(feature = "mpi") {
        "MPI says that this is process 0 of 1, torchrun says 0 of 2; start them with mpirun"
    } else {
        "2 processes were started, but this program is built without MPI; build it with `cargo \
         build --release -p cli --features mpi`"
    };
    let said = run("0", "2");
    assert!(said.contains(expected), "{said}");
}
