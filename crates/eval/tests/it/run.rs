//! Runs that are stopped, go on, are spread and put together.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::ops::ControlFlow;
use std::path::Path;

use eval::run::{
    Answerer, Images, Job, Merged, Observer, OnReply, Prediction, Reply, RunSettings, Selection,
    Shard, Store, ask, merge,
};
use eval::score::Sheet;
use eval::{Dataset, Error, MissingValues};

use crate::data::base64;

/// Answers with how many images there are, up to a number of questions.
struct Parrot {
    most: usize,
}

impl Answerer for Parrot {
    fn answer(
        &mut self,
        jobs: &[Job],
        images: &Images<'_>,
        on_reply: &mut OnReply<'_>,
    ) -> Result<(), Error> {
        for (at, job) in jobs.iter().enumerate().take(self.most) {
            let answer = format!("{} image", images(job)?.len());
            if on_reply(at, Reply { answer: Ok(answer), ..Reply::empty() })
                == ControlFlow::Break(())
            {
                break;
            }
        }
        Ok(())
    }
}

#[derive(Default)]
struct Silent {
    begun: Cell<(usize, usize)>,
}

impl Observer for Silent {
    fn begin(&self, _: &str, total: usize, answered: usize) {
        self.begun.set((total, answered));
    }

    fn advance(&self, _: &Prediction) {}

    fn is_interrupted(&self) -> bool {
        false
    }
}

/// Ten questions about five images.
fn dataset(dir: &Path) -> Dataset {
    let mut text = "index\timage\tquestion\tanswer\tcategory\n".to_owned();
    for at in 0..10_u8 {
        let long = "very ".repeat(usize::from(at % 3));
        let image = base64(at % 5);
        writeln!(text, "{at}\t{image}\tIs it {long}{at}?\tYes\trandom")
            .expect("a string takes everything");
    }
    let path = dir.join("POPE.tsv");
    fs::write(&path, text).expect("a file can be written");
    Dataset::open(&path, MissingValues::Pandas).expect("the table is good")
}

fn settings(dataset: &Dataset, model: &str) -> RunSettings {
    RunSettings {
        benchmark: dataset.name.clone(),
        family: dataset.family,
        data: dataset.path().to_owned(),
        checksum: dataset.checksum.clone(),
        model: model.to_owned(),
        options: BTreeMap::from([("attention".to_owned(), "mutual".to_owned())]),
    }
}

fn run(
    dataset: &Dataset,
    folder: &Path,
    selection: &Selection,
    most: usize,
) -> (usize, (usize, usize)) {
    let settings = settings(dataset, "m");
    let mut store =
        Store::open(folder, &settings, dataset, selection.shard).expect("the folder can be made");
    let watch = Silent::default();
    let asked = ask(dataset, selection, &mut store, &mut Parrot { most }, &watch)
        .expect("a parrot answers");
    (asked.asked, watch.begun.get())
}

#[test]
fn a_run_goes_on_where_it_was_stopped() {
    let dir = tempfile::tempdir().unwrap();
    let dataset = dataset(dir.path());
    let folder = dir.path().join("run/POPE");
    let all = Selection::default();
    assert_eq!(run(&dataset, &folder, &all, 4), (4, (10, 0)));
    // A kill cut the last line short.
    let path = folder.join("predictions.jsonl");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, &text[..text.len() - 9]).unwrap();
    assert_eq!(run(&dataset, &folder, &all, 100), (7, (10, 3)));
    assert_eq!(run(&dataset, &folder, &all, 100), (0, (10, 10)));
    let (_, sheet) = Sheet::read(&folder).unwrap();
    assert_eq!((sheet.records.len(), sheet.answers.len()), (10, 10));
    assert_eq!(sheet.answers["3"], "1 image");
    assert_eq!(fs::read_to_string(&path).unwrap().lines().count(), 10);
}

#[test]
fn a_run_with_another_model_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let dataset = dataset(dir.path());
    let folder = dir.path().join("POPE");
    run(&dataset, &folder, &Selection::default(), 1);
    let other = settings(&dataset, "other");
    let error = Store::open(&folder, &other, &dataset, Shard::default()).unwrap_err().to_string();
    assert!(
        error.ends_with("run.json` was made with `model` `m`, this run has `other`"),
        "{error}"
    );
    let mut other = settings(&dataset, "m");
    other.options.insert("short".to_owned(), "true".to_owned());
    let error = Store::open(&folder, &other, &dataset, Shard::default()).unwrap_err().to_string();
    assert!(error.ends_with("with `short` `(nothing)`, this run has `true`"), "{error}");
}

#[test]
fn shards_make_the_whole_together() {
    let dir = tempfile::tempdir().unwrap();
    let dataset = dataset(dir.path());
    let mut runs = Vec::new();
    for number in 1..=3 {
        let shard = Shard { number, total: 3 };
        let run_dir = dir.path().join(format!("part-{number}"));
        let selection = Selection { shard, limit: Some(8), ..Selection::default() };
        let (asked, _) = run(&dataset, &run_dir.join("POPE"), &selection, 100);
        assert_eq!(asked, if number == 3 { 2 } else { 3 });
        runs.push(run_dir);
    }
    let whole = dir.path().join("whole");
    let expected = Merged { name: "POPE".to_owned(), answers: 8, questions: 10 };
    assert_eq!(merge(&runs, &whole).unwrap(), [expected]);
    let (_, sheet) = Sheet::read(&whole.join("POPE")).unwrap();
    assert_eq!((sheet.records.len(), sheet.answers.len()), (10, 8));
    // The merged run goes on like any other.
    assert_eq!(run(&dataset, &whole.join("POPE"), &Selection::default(), 100), (2, (10, 8)));
}

#[test]
fn a_limit_leaves_both_parts_of_cv_bench() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/cv_bench/halves");
    let dataset = Dataset::open(&folder, MissingValues::Pandas).unwrap();
    let of_part = |part| {
        let parts = dataset.questions.iter().map(|question| question.row.get("type"));
        parts.filter(|found| *found == Some(part)).count()
    };
    let (plane, space) = (of_part("2D"), of_part("3D"));
    assert!(plane >= 2 && space >= 1 && plane + space == dataset.questions.len());
    for (limit, expected) in [(1, 2), (2, 2 + space.min(2)), (9, plane + space)] {
        let selection = Selection { limit: Some(limit), ..Selection::default() };
        assert_eq!(eval::run::num_selected(&dataset, &selection), expected, "{limit}");
    }
}

#[test]
fn questions_about_one_image_come_together_and_long_ones_first() {
    let dir = tempfile::tempdir().unwrap();
    let dataset = dataset(dir.path());
    let folder = dir.path().join("POPE");
    run(&dataset, &folder, &Selection::default(), 100);
    let text = fs::read_to_string(folder.join("predictions.jsonl")).unwrap();
    let order: Vec<Prediction> =
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let images: Vec<usize> =
        order.iter().map(|prediction| prediction.index.parse::<usize>().unwrap() % 5).collect();
    assert!(images.chunks(2).all(|pair| pair[0] == pair[1]), "{images:?}");
    assert!(order[0].prompt.contains("very very"));
    assert!(order[0].prompt.starts_with("<image>Is it"));
}

#[test]
fn a_shard_is_a_number_and_a_total() {
    assert_eq!("2/4".parse(), Ok(Shard { number: 2, total: 4 }));
    for wrong in ["0/4", "5/4", "1", "a/b", "1/0"] {
        assert!(wrong.parse::<Shard>().is_err(), "{wrong}");
    }
}
