//! A folder of questions that take a look at every thing.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use miniature::{Object, Scene, Split, WorldConfig, generate};
use serde_json::Value;

use crate::files::{Nobody, config, json};
use crate::oracle;

#[test]
fn a_folder_to_count_in_is_written_only_if_it_is_named() {
    let all = ["one mark", "the color of another", "two marks"];
    written("counting", &all);
    written("counting-grid", &all);
    written("counting-two-marks", &["two marks"]);
}

fn written(name: &str, expected: &[&str]) {
    let folder = tempfile::tempdir().expect("a folder");
    let config = WorldConfig { only: vec![name.to_owned()], ..config(folder.path(), 1) };
    let summary = generate(&config, &Nobody).expect("it can be written");
    assert_eq!((summary.pictures, summary.examples), (24, 144));
    assert_eq!(summary.tests, 12 * expected.len());
    let [table, questions, truth] =
        ["test/MMVet_counting.tsv", "train_balanced_questions.json", "truth.jsonl"]
            .map(|file| format!("{name}/{file}"));
    assert_eq!(summary.files, [table.as_str(), questions.as_str(), truth.as_str()]);

    let read = |name: &str| fs::read_to_string(folder.path().join(name)).expect("a file");
    let truths: Vec<Value> = read(&truth).lines().map(json).collect();
    let records = json(&read(&questions));
    let records = records.as_object().expect("GQA's records");
    assert_eq!(records.len(), 144);
    let mut answers: BTreeMap<&str, usize> = BTreeMap::new();
    for record in records.values() {
        let image = format!("{name}/images/{}.jpg", record["imageId"].as_str().expect("a name"));
        assert!(folder.path().join(&image).is_file(), "{image}");
        let truth = truths.iter().find(|truth| truth["file"] == *image).expect("the truth");
        let said = |name: &str| record[name].as_str().expect("text");
        let found = oracle::answer(&truth["scene"], said("question"));
        assert_eq!(found.as_deref(), Ok(said("answer")), "{record}");
        *answers.entry(said("answer")).or_default() += 1;
    }
    // No answer is right without a look at the picture much more than half of the time.
    assert!(answers.len() > 4 && answers.values().all(|num| *num < 80), "{answers:?}");

    let text = read(&table);
    let mut lines = text.lines();
    assert_eq!(lines.next(), Some("index\timage\tquestion\tanswer\tcategory"));
    let mut categories: BTreeMap<&str, usize> = BTreeMap::new();
    for line in lines {
        let cells: Vec<&str> = line.split('\t').collect();
        let [index, image, question, answer, category] = cells[..] else { panic!("{line}") };
        *categories.entry(category).or_default() += 1;
        // As it is asked in training, or a model may say nothing, or not stop.
        let asked = question.strip_prefix("Answer the question using a single word or phrase. ");
        let asked = asked.expect("the words of training");
        assert!(asked.starts_with("How many ") && answer.parse::<u8>().is_ok(), "{line}");
        let first = index.parse::<usize>().expect("a number") / 10 * 10;
        assert!(image.len() > 100 || image == first.to_string(), "{index} has {image}");
    }
    assert_eq!(categories, expected.iter().map(|name| (*name, 12)).collect());
}

#[test]
fn on_a_grid_every_thing_lies_in_a_part_of_its_own() {
    for index in 0..200 {
        let scene = Scene::crowd(Split::Training, 3, index, true);
        let part = |object: &Object| {
            let b = object.bounds;
            let ends = [b.x, b.y, b.x + b.width, b.y + b.height];
            let [left, top, right, bottom] = ends.map(|at| (at * 4.0).clamp(0.0, 3.999));
            // What is a little wider than its part reaches into the next by that alone.
            let is_within =
                right.floor() - left.floor() <= 1.0 && bottom.floor() - top.floor() <= 1.0;
            assert!(is_within && b.width < 0.27 && b.height < 0.27, "{b:?}");
            b.middle().map(|at| (at * 4.0) as i32)
        };
        let parts: Vec<[i32; 2]> = scene.objects.iter().map(part).collect();
        let different: BTreeSet<[i32; 2]> = parts.iter().copied().collect();
        assert_eq!(different.len(), parts.len(), "{parts:?}");
    }
}
