//! What goes wrong in a run leaves what was there, and says where that is.

use train::parallel::Alone;
use train::run::newest;

use super::support::{Feeder, Toy, Watch, run, run_with};

#[test]
fn a_loss_that_is_not_a_number_stops_the_run_and_names_the_last_checkpoint() {
    let directory = tempfile::tempdir().unwrap();
    let mut toy = Toy::new();
    toy.breaks_at = Some(12);
    let error = run(directory.path(), &mut toy, &mut Watch::default(), None).unwrap_err();
    let text = error.to_string().replace(&directory.path().display().to_string(), "RUN");
    assert_eq!(
        text,
        "the loss of step 6 is NaN, the last complete checkpoint is `RUN/checkpoint-00000004`; a \
         lower `lr` or other data may help"
    );
    assert_eq!(newest(directory.path()).unwrap().0.unwrap().state.step, 4);
}

#[test]
fn a_full_disk_stops_the_run_and_leaves_the_checkpoint_before() {
    let directory = tempfile::tempdir().unwrap();
    let mut toy = Toy::new();
    toy.saves = 1.into();
    let error = run(directory.path(), &mut toy, &mut Watch::default(), None).unwrap_err();
    let text = error.to_string().replace(&directory.path().display().to_string(), "RUN");
    assert_eq!(
        text,
        "the checkpoint of step 8 cannot be saved, the last complete checkpoint is \
         `RUN/checkpoint-00000004`; free some space and go on with --resume"
    );
    let mut cause = std::error::Error::source(&error);
    let mut causes = Vec::new();
    while let Some(error) = cause {
        causes.push(error.to_string());
        cause = error.source();
    }
    assert!(causes.iter().any(|cause| cause.starts_with("no space left")), "{causes:?}");
    // What was written of it does not fill the disk any longer.
    assert!(!directory.path().join("checkpoint-00000008.tmp").exists());
    let found = newest(directory.path()).unwrap().0.unwrap();
    let mut resumed = Toy::load(&found.path);
    let rest = run(directory.path(), &mut resumed, &mut Watch::default(), Some(found)).unwrap();
    assert!(rest.is_finished);
}

#[test]
fn a_checkpoint_of_another_model_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let mut watch = Watch { stop_at: Some(3), ..Watch::default() };
    run(directory.path(), &mut Toy::new(), &mut watch, None).unwrap();
    let mut found = newest(directory.path()).unwrap().0.unwrap();
    let steps = found.state.moment_steps.remove("scale").unwrap();
    found.state.moment_steps.insert("scales".to_owned(), steps);
    let error = run(directory.path(), &mut Toy::new(), &mut watch, Some(found)).unwrap_err();
    assert!(error.to_string().ends_with("`first_moment.scales` is missing"), "{error}");
}

#[test]
fn a_rate_of_what_is_not_trained_is_refused_before_the_first_step() {
    let directory = tempfile::tempdir().unwrap();
    let with = |scales: &str| {
        let settings = [format!("optimizer.lr_scale={scales}")];
        let run = (directory.path(), &settings[..], &mut Feeder::default());
        run_with(run, &mut Toy::new(), &mut Watch::default(), None, &mut Alone)
    };
    let error = with(r#"{"scal" = 0.1}"#).unwrap_err().to_string();
    assert!(error.starts_with("`optimizer.lr_scale` has `scal`, which no tensor"), "{error}");
    assert!(!directory.path().join("metrics.jsonl").exists());
    assert!(with(r#"{"scal*" = 0.1}"#).unwrap().is_finished);
}
