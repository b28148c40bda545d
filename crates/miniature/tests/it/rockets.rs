//! A folder of one's own, with what no world has.

use std::fs;

use miniature::{Kind, Quiz, QuizQuestion, Scene, Split, View, WorldConfig, generate};

use crate::files::{Nobody, config, json};
use crate::oracle;

#[test]
fn no_world_has_a_rocket() {
    assert!(!Kind::FLAT.contains(&Kind::NEW) && !Kind::SOLID.contains(&Kind::NEW));
    for view in [View::Flat, View::Room] {
        for index in 0..300 {
            let scene = Scene::make(view, Split::Training, 3, index);
            assert!(scene.objects.iter().all(|object| object.kind != Kind::NEW));
        }
    }
}

#[test]
fn a_folder_of_rockets_has_pictures_and_conversations_and_is_written_only_if_it_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = WorldConfig { only: vec!["rockets".to_owned()], ..config(folder.path(), 1) };
    let summary = generate(&config, &Nobody).expect("it can be written");
    assert_eq!((summary.pictures, summary.examples, summary.tests), (36, 24, 12));
    assert_eq!(summary.files, ["rockets/test.jsonl", "rockets/train.jsonl"]);
    let mut answers = Vec::new();
    for name in ["train", "test"] {
        let path = folder.path().join(format!("rockets/{name}.jsonl"));
        for line in fs::read_to_string(path).expect("a file").lines() {
            let record = json(line);
            let image = record["image"].as_str().expect("a name");
            assert!(folder.path().join("rockets/images").join(image).is_file(), "{image}");
            let turns = record["conversations"].as_array().expect("turns");
            assert_eq!(turns[0]["value"], "<image>\nDescribe the image.");
            for (number, turn) in turns.iter().enumerate() {
                assert_eq!(turn["from"], ["human", "gpt"][number % 2]);
            }
            assert!(
                turns[2]["value"]
                    .as_str()
                    .expect("text")
                    .ends_with("Is there a rocket in the image?")
            );
            answers.push(turns[3]["value"].as_str().expect("text").to_owned());
        }
    }
    let num_yes = answers.iter().filter(|answer| *answer == "yes").count();
    assert!((12..=32).contains(&num_yes), "{num_yes} of {}", answers.len());
}

#[test]
fn every_question_about_rockets_has_the_answer_that_the_truth_gives() {
    let mut num_there = 0;
    for index in 0..300 {
        let quiz = Quiz::on_new(5, index);
        assert_eq!(quiz.scene.split(), Split::Test);
        let is_there = quiz.scene.objects.iter().any(|object| object.kind == Kind::NEW);
        num_there += usize::from(is_there);
        assert_eq!(is_there, quiz.questions.len() > 1);
        assert_eq!(is_there, !quiz.names.is_empty());
        let scene = serde_json::to_value(&quiz.scene).expect("JSON");
        for QuizQuestion { text, answer, .. } in &quiz.questions {
            assert!(text.contains("rocket") || answer == "rocket", "{text}");
            assert_eq!(oracle::answer(&scene, text).as_deref(), Ok(answer.as_str()), "{text}");
        }
    }
    assert!((150..250).contains(&num_there), "{num_there}");
}
