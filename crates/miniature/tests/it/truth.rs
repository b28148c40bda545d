//! What is said about pictures is true, and what is true is what the pictures show.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use image::RgbImage;
use miniature::{
    Backdrop, Color, Quiz, QuizQuestion, Scene, Size, Split, View, WorldConfig, caption, generate,
};
use serde_json::Value;

use crate::files::{Nobody, json};
use crate::oracle;

/// The width and height of pictures here.
const SIDE: usize = 128;

/// Returns the pixels in which two pictures differ.
fn differing(one: &RgbImage, other: &RgbImage, least: u8) -> Vec<(u32, u32)> {
    let is_other = |a: &image::Rgb<u8>, b: &image::Rgb<u8>| {
        (0..3).any(|channel| a.0[channel].abs_diff(b.0[channel]) > least)
    };
    let pixels = one.enumerate_pixels().zip(other.pixels());
    pixels.filter(|((.., a), b)| is_other(a, b)).map(|((x, y, _), _)| (x, y)).collect()
}

/// Returns a scene with one of its objects in a colour that is far from its own.
fn recolored(scene: &Scene, number: usize) -> Scene {
    let mut scene = scene.clone();
    let object = &mut scene.objects[number];
    object.color = if object.color == Color::Black { Color::Yellow } else { Color::Black };
    scene
}

#[test]
fn bounds_are_those_of_what_is_drawn() {
    for view in [View::Flat, View::Room] {
        for index in 0..120 {
            let scene = Scene::make(view, Split::Training, 21, index);
            for object in &scene.objects {
                // Alone: what changes with its colour is the object, not its shadow. Pieces with
                // colours of their own are all far from this tint.
                let (backdrop, tint) = (Backdrop::Plain, [200, 0, 200]);
                let nothing = Scene { objects: Vec::new(), backdrop, tint, ..scene.clone() };
                let alone = Scene { objects: vec![object.clone()], ..nothing.clone() };
                let own = differing(&alone.draw(SIDE), &recolored(&alone, 0).draw(SIDE), 24);
                let all = differing(&alone.draw(SIDE), &nothing.draw(SIDE), 60);
                let found =
                    own.iter().chain(if view == View::Flat { all.iter() } else { [].iter() });
                let (mut low, mut high) = ([1.0_f32; 2], [0.0_f32; 2]);
                for (x, y) in found {
                    for (axis, at) in [*x, *y].into_iter().enumerate() {
                        low[axis] = low[axis].min(at as f32 / SIDE as f32);
                        high[axis] = high[axis].max((at + 1) as f32 / SIDE as f32);
                    }
                }
                let b = object.bounds;
                let said = [b.x, b.y, b.x + b.width, b.y + b.height];
                for (said, seen) in said.into_iter().zip([low[0], low[1], high[0], high[1]]) {
                    assert!((said - seen).abs() < 0.035, "{object:?}: {low:?} {high:?}");
                }
            }
        }
    }
}

#[test]
fn most_of_every_object_is_seen() {
    let mut least = BTreeMap::new();
    for view in [View::Flat, View::Room] {
        for index in 0..250 {
            let scene = Scene::make(view, Split::Test, 22, index);
            let picture = scene.draw(SIDE);
            for (number, object) in scene.objects.iter().enumerate() {
                let alone = Scene { objects: vec![object.clone()], ..scene.clone() };
                let whole =
                    differing(&alone.draw(SIDE), &recolored(&alone, 0).draw(SIDE), 24).len();
                let seen = differing(&picture, &recolored(&scene, number).draw(SIDE), 24).len();
                let share = seen as f32 / whole as f32;
                let least = least.entry(format!("{view:?}")).or_insert(1.0_f32);
                *least = least.min(share);
                assert!(share > 0.55, "{share} of {object:?} in {view:?} {index}");
            }
        }
    }
}

#[test]
fn every_question_of_a_quiz_has_the_answer_that_the_truth_gives() {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for seed in [31, 32, 33] {
        for index in 0..400 {
            let quiz = Quiz::make(seed, index);
            let scene = serde_json::to_value(&quiz.scene).expect("JSON");
            for QuizQuestion { topic, text, answer } in &quiz.questions {
                let found = oracle::answer(&scene, text);
                assert_eq!(found.as_deref(), Ok(answer.as_str()), "{text} {seed} {index}");
                *counts.entry(topic).or_default() += 1;
            }
        }
    }
    assert_eq!(counts.len(), 14, "{counts:?}");
    assert!(counts.values().all(|count| *count > 50), "{counts:?}");
}

#[test]
fn captions_name_what_there_is_and_as_many_as_there_are() {
    let mut num_relations = 0;
    for view in [View::Flat, View::Room] {
        for index in 0..400 {
            let scene = Scene::make(view, Split::Training, 23, index);
            let text = caption(&scene, 23, index);
            let scene = serde_json::to_value(&scene).expect("JSON");
            let (things, relation) = text.split_once('.').expect("a sentence");
            let behind = [" in a room", " on a meadow", " on a beach", " on squared paper"];
            let things = behind.iter().find_map(|end| things.strip_suffix(end)).unwrap_or(things);
            let openings = ["A picture of ", "There is ", "There are ", "The picture shows "];
            let things = openings.iter().find_map(|opening| things.strip_prefix(opening));
            let things = things.unwrap_or(text.split(" on ").next().expect("text")).to_lowercase();
            let things = things.split('.').next().expect("text").replace(" in a room", "");
            let mut total = 0;
            for thing in things.replace(" and ", ", ").split(", ") {
                let (number, words) = thing.split_once(' ').expect("a number and a name");
                let numbers = ["two", "three", "four", "five", "six", "seven", "eight"];
                let number = numbers.iter().position(|word| *word == number).map_or(1, |at| at + 2);
                assert_eq!(oracle::fitting(&scene, words).len(), number, "{thing} in {text}");
                total += number;
            }
            assert_eq!(scene["objects"].as_array().map(Vec::len), Some(total), "{text}");
            if let Some(said) = relation.strip_prefix(" The ") {
                let said = said.trim_end_matches('.').replace(" is ", " ");
                assert_eq!(oracle::statement(&scene, &said).as_deref(), Ok("yes"), "{text}");
                num_relations += 1;
            }
        }
    }
    assert!(num_relations > 50, "{num_relations}");
}

/// Checks questions with their answers about pictures; returns how many there are.
fn check(scenes: &[Value], asked: &[(usize, String, String)]) -> usize {
    for (image, question, answer) in asked {
        let found = oracle::answer(&scenes[*image]["scene"], question);
        assert_eq!(found.as_deref(), Ok(answer.as_str()), "{question} of {image}");
    }
    asked.len()
}

fn text(of: &Value) -> String {
    of.as_str().expect("text").to_owned()
}

fn number(of: &Value) -> usize {
    usize::try_from(of.as_u64().expect("a number")).expect("a small number")
}

fn list(of: &Value) -> impl Iterator<Item = &Value> {
    of.as_array().expect("a list").iter()
}

/// The scenes of a pool.
fn scenes(folder: &Path, pool: &str) -> Vec<Value> {
    let path = folder.join(format!("truth/{pool}.jsonl"));
    fs::read_to_string(path).expect("a file").lines().map(json).collect()
}

#[test]
fn every_question_of_the_instruction_sets_has_the_answer_that_the_truth_gives() {
    let folder = tempfile::tempdir().expect("a folder");
    let only = ["truth", "vqa", "gqa", "ocrvqa", "aokvqa", "scienceqa", "vsr", "llava"];
    let config = WorldConfig {
        output: folder.path().to_owned(),
        seed: 5,
        size: Size::Small,
        image_size: 32,
        only: only.map(ToOwned::to_owned).into(),
    };
    generate(&config, &Nobody).expect("a world can be written");
    let read = |name: &str| fs::read_to_string(folder.path().join(name)).expect("a file");
    let key = |of: &Value| text(of).parse::<usize>().expect("a key") - 10_000_000;

    let train2014 = scenes(folder.path(), "train2014");
    let questions = json(&read("vqa/v2_OpenEnded_mscoco_train2014_questions.json"));
    let annotations = json(&read("vqa/v2_mscoco_train2014_annotations.json"));
    let pairs = list(&questions["questions"]).zip(list(&annotations["annotations"]));
    let vqa: Vec<_> = pairs
        .map(|(q, a)| {
            (number(&q["image_id"]), text(&q["question"]), text(&a["multiple_choice_answer"]))
        })
        .collect();
    assert!(check(&train2014, &vqa) > 6_000);

    let gqa = json(&read("gqa/train_balanced_questions.json"));
    let gqa: Vec<_> = gqa.as_object().expect("a map").values().collect();
    let gqa: Vec<_> = gqa
        .iter()
        .map(|q| (key(&q["imageId"]), text(&q["question"]), text(&q["answer"])))
        .collect();
    assert!(check(&scenes(folder.path(), "gqa"), &gqa) > 6_000);

    let books = json(&read("ocrvqa/dataset.json"));
    let books = books.as_object().expect("a map").iter();
    let ocrvqa: Vec<_> = books
        .flat_map(|(name, book)| {
            let image = name.parse::<usize>().expect("a key") - 10_000_000;
            let pairs = list(&book["questions"]).zip(list(&book["answers"]));
            pairs.map(move |(q, a)| (image, text(q), text(a))).collect::<Vec<_>>()
        })
        .collect();
    assert!(check(&scenes(folder.path(), "ocrvqa"), &ocrvqa) > 3_000);

    let train2017 = scenes(folder.path(), "train2017");
    let aokvqa = json(&read("aokvqa/aokvqa_v1p0_train.json"));
    let right = |of: &Value| text(&of["choices"][number(&of["correct_choice_idx"])]);
    let aokvqa: Vec<_> = list(&aokvqa)
        .map(|of| (number(&of["image_id"]), text(&of["question"]), right(of)))
        .collect();
    assert!(check(&train2017, &aokvqa) > 1_500);

    let science = json(&read("scienceqa/problems.json"));
    let science = science.as_object().expect("a map").iter();
    let science: Vec<_> = science
        .filter(|(_, problem)| !problem["image"].is_null())
        .map(|(name, problem)| {
            let right = text(&problem["choices"][number(&problem["answer"])]);
            let image = name.parse::<usize>().expect("a key") - 10_000_000;
            (image, text(&problem["question"]), right)
        })
        .collect();
    assert!(check(&scenes(folder.path(), "scienceqa"), &science) > 900);

    let mut num_statements = 0;
    for record in read("vsr/train-random.jsonl").lines().map(json) {
        let image: usize = text(&record["image"])[..12].parse().expect("a number");
        let caption = text(&record["caption"]);
        let said = caption.trim_start_matches("The ").trim_end_matches('.').replace(" is ", " ");
        let found = oracle::statement(&train2017[image]["scene"], &said);
        let expected = if record["label"] == 1 { "yes" } else { "no" };
        assert_eq!(found.as_deref(), Ok(expected), "{caption} of {image}");
        num_statements += 1;
    }
    assert!(num_statements > 500, "{num_statements}");
}
