//! The files of a world.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::oracle::fitting;
use miniature::{Error, Observer, Size, Summary, WorldConfig, generate};

/// The digest of the names and bytes of all files of a tiny world.
const PINNED: &str = "4651097deb328e58d9e563b2c46a13250072c5a3a4e022b4f3c736cae2bd4d72";
/// That of another seed, with pictures of another size.
const OTHER: (u64, usize, &str) =
    (7, 101, "25a2e94bea582e303d7263dc8cd32dd5699b45a0b90af2862516c99aa52634ab");

/// Watches nothing.
pub(crate) struct Nobody;

impl Observer for Nobody {
    fn begin(&self, _: usize) {}
    fn advance(&self) {}
    fn is_interrupted(&self) -> bool {
        false
    }
}

/// Stops after some files.
struct Impatient(std::sync::atomic::AtomicUsize);

impl Observer for Impatient {
    fn begin(&self, _: usize) {}
    fn advance(&self) {}
    fn is_interrupted(&self) -> bool {
        self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed) >= 3
    }
}

pub(crate) fn config(folder: &Path, seed: u64) -> WorldConfig {
    WorldConfig {
        output: folder.to_owned(),
        seed,
        size: Size::Tiny,
        image_size: 48,
        only: Vec::new(),
    }
}

fn write(folder: &Path, threads: usize) -> Summary {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads");
    pool.install(|| generate(&config(folder, 1), &Nobody)).expect("a world can be written")
}

/// Returns every file of a folder.
fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut pending = vec![folder.to_owned()];
    while let Some(at) = pending.pop() {
        for entry in fs::read_dir(at).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                pending.push(path);
            } else {
                let name = path.strip_prefix(folder).expect("inside").display().to_string();
                found.insert(name, fs::read(&path).expect("a file"));
            }
        }
    }
    found
}

/// Returns the digest of the names and bytes of files.
fn digest(files: &BTreeMap<String, Vec<u8>>) -> String {
    let mut digest = Sha256::new();
    for (name, bytes) in files {
        digest.update(name.replace('\\', "/"));
        digest.update(bytes);
    }
    format!("{:x}", digest.finalize())
}

#[test]
fn a_seed_and_a_size_give_the_same_bytes_every_time() {
    let (seed, image_size, pinned) = OTHER;
    let folder = tempfile::tempdir().expect("a folder");
    let config = WorldConfig { image_size, ..config(folder.path(), seed) };
    generate(&config, &Nobody).expect("a world can be written");
    let found = digest(&files(folder.path()));
    assert_eq!(found, pinned, "other bytes need another VERSION in write/mod.rs");
}

#[test]
fn the_number_of_threads_changes_nothing_and_a_stopped_world_is_gone_on_with() {
    let folders = [0; 3].map(|_| tempfile::tempdir().expect("a folder"));
    let one = write(folders[0].path(), 1);
    assert_eq!(one, write(folders[1].path(), 4));
    let whole = files(folders[0].path());
    assert!(whole == files(folders[1].path()), "the bytes differ");
    assert_eq!(digest(&whole), PINNED, "other bytes need another VERSION in write/mod.rs");

    let stopped = generate(&config(folders[2].path(), 1), &Impatient(0.into()));
    assert!(matches!(stopped, Err(Error::Interrupted)));
    assert!(files(folders[2].path()).len() < whole.len());
    assert_eq!(write(folders[2].path(), 2), one);
    assert!(whole == files(folders[2].path()), "the bytes differ");
}

#[test]
fn a_folder_of_another_world_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("world.json"), "{\"seed\":2}\n").expect("a file");
    let error = generate(&config(folder.path(), 1), &Nobody).expect_err("it is another world");
    assert!(error.to_string().contains("found {\"seed\":2}"), "{error}");
}

#[test]
fn questions_for_yes_or_no_are_balanced_and_options_are_circular() {
    let folder = tempfile::tempdir().expect("a folder");
    write(folder.path(), 2);
    let read = |name: &str| fs::read_to_string(folder.path().join(name)).expect("a file");
    let annotations = read("vqa/v2_mscoco_train2014_annotations.json");
    let count = |answer: &str| {
        annotations.matches(&format!("\"multiple_choice_answer\":\"{answer}\"")).count() as f64
    };
    let share = count("yes") / (count("yes") + count("no"));
    assert!((0.45..=0.55).contains(&share), "{share}");
    let mme = read("test/MME.tsv");
    assert_eq!(mme.matches("\tYes\t").count(), mme.matches("\tNo\t").count());
    // Both questions about a picture name it alike: a picture counts when both are answered rightly.
    let mut of_picture: BTreeMap<(&str, &str), Vec<&str>> = BTreeMap::new();
    for row in mme.lines().skip(1) {
        let row: Vec<&str> = row.split('\t').collect();
        of_picture.entry((row[5], row[2])).or_default().push(row[4]);
    }
    assert!(of_picture.values().all(|answers| *answers == ["Yes", "No"]), "{of_picture:?}");

    let table = read("test/MMBench_DEV_EN.tsv");
    let rows: Vec<Vec<&str>> = table.lines().skip(1).map(|l| l.split('\t').collect()).collect();
    let right = |row: &[&str]| {
        let letter = ["A", "B", "C", "D"].iter().position(|l| *l == row[7]).expect("a letter");
        row[3 + letter].to_owned()
    };
    let copies: Vec<_> = rows.iter().filter(|row| row[0].len() > 6).collect();
    assert!(copies.len() >= rows.len() / 2);
    for copy in copies {
        let first = rows.iter().find(|row| row[0] == copy[9]).expect("a copy names its first");
        assert_eq!(right(copy), right(first));
        assert_ne!(copy[7], first[7]);
    }
}

/// Parses JSON.
pub(crate) fn json(text: &str) -> Value {
    serde_json::from_str(text).expect("JSON")
}

#[test]
fn a_folder_that_is_asked_for_is_written_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    let only = |name: &str| WorldConfig { only: vec![name.to_owned()], ..config(folder.path(), 1) };
    generate(&only("text"), &Nobody).expect("a world can be written");
    let names: Vec<String> = files(folder.path()).into_keys().collect();
    assert_eq!(names, ["text/world.txt", "world.json"]);
    let error = generate(&only("vqa2"), &Nobody).expect_err("there is no such folder");
    assert!(error.to_string().contains("`vqa2`, expected one of `aokvqa`, `coco`"), "{error}");
}

#[test]
fn a_quiz_is_about_a_held_out_scene_and_knows_the_answers() {
    for index in 0..24 {
        let quiz = miniature::Quiz::make(3, index);
        assert_eq!(quiz.scene.split(), miniature::Split::Test);
        assert!(!quiz.questions.is_empty());
        for question in &quiz.questions {
            let miniature::QuizQuestion { topic, text, answer } = question;
            if *topic == "count" {
                let words = text.trim_start_matches("How many ").split_once(" are there");
                let words = words.or_else(|| text[9..].split_once(" can you")).expect("a count").0;
                let scene = serde_json::to_value(&quiz.scene).expect("JSON");
                assert_eq!(fitting(&scene, words).len().to_string(), *answer, "{text}");
            }
            let is_yes_or_no = ["existence", "position", "says", "number", "hue"].contains(topic);
            assert_eq!(is_yes_or_no, answer == "yes" || answer == "no", "{text} {answer}");
        }
    }
}
