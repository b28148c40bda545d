//! A folder of one's own, as somebody could have made it: pictures with a kind of thing that no world
//! has, and conversations about them in `LLaVA`'s format, one on each line.

use std::path::PathBuf;

use rayon::prelude::*;
use serde_json::{Value, json};

use super::WorldConfig;
use super::files::{Counts, Job, encode, json as encode_json};
use super::instruct::questions;
use crate::Error;
use crate::caption::caption_with;
use crate::quiz::is_there_new;
use crate::random::{Key, Stream};
use crate::scene::{Kind, Scene, Split};

/// The folder; it is written where it is asked for by name, and no part of a world.
pub(super) const FOLDER: &str = "rockets";
/// The pool of scenes.
const POOL: u64 = 400;
/// How many questions are asked about a picture, beside the one for what is new.
const NUM_QUESTIONS: usize = 5;
/// What is said before a question that a word answers.
pub(super) const SHORT: &str = "Answer the question using a single word or phrase. ";

/// Returns the pictures and the two files.
pub(super) fn jobs(config: &WorldConfig) -> Vec<Job<'_>> {
    let mut jobs = Vec::new();
    for (split, num) in
        [(Split::Training, config.size.num_own_pictures()), (Split::Test, config.size.num_tests())]
    {
        for index in 0..num {
            let name = picture(split, index);
            let path = PathBuf::from(format!("{FOLDER}/images/{name}"));
            let counts = Counts { pictures: 1, ..Counts::default() };
            let make = move || encode(&name, &scene(config, split, index).draw(config.image_size));
            jobs.push(Job { path, make: Box::new(make), counts });
        }
        let (name, counts) = match split {
            Split::Training => ("train", Counts { examples: num, ..Counts::default() }),
            Split::Test => ("test", Counts { tests: num, ..Counts::default() }),
        };
        let path = PathBuf::from(format!("{FOLDER}/{name}.jsonl"));
        let counts = Counts { is_named: true, ..counts };
        let make = move || {
            let line = |index| encode_json(name.as_ref(), &conversation(config, split, index));
            let lines: Vec<Vec<u8>> =
                (0..num).into_par_iter().map(line).collect::<Result<_, Error>>()?;
            Ok(lines.concat())
        };
        jobs.push(Job { path, make: Box::new(make), counts });
    }
    jobs
}

fn picture(split: Split, index: usize) -> String {
    let word = if split == Split::Test { "test" } else { "train" };
    format!("{word}-{index:04}.jpg")
}

fn scene(config: &WorldConfig, split: Split, index: usize) -> Scene {
    Scene::with_new(Kind::NEW, split, config.seed, (POOL, index as u64))
}

/// Talks about a picture: a description, whether there is what is new, and some questions.
fn conversation(config: &WorldConfig, split: Split, index: usize) -> Value {
    let scene = scene(config, split, index);
    let place = !(POOL << 1 | u64::from(split == Split::Test));
    let mut stream = Stream::new(Key { seed: config.seed, place, index: index as u64, attempt: 0 });
    let turn = |from: &str, value: String| json!({"from": from, "value": value});
    let is_there = scene.objects.iter().any(|object| object.kind == Kind::NEW);
    let mut turns = vec![
        turn("human", "<image>\nDescribe the image.".to_owned()),
        turn("gpt", caption_with(&scene, &mut stream)),
        turn("human", format!("{SHORT}{}", is_there_new())),
        turn("gpt", if is_there { "yes" } else { "no" }.to_owned()),
    ];
    for question in questions(&scene, index, NUM_QUESTIONS, &mut stream) {
        turns.push(turn("human", format!("{SHORT}{}", question.text)));
        turns.push(turn("gpt", question.answer));
    }
    let name = picture(split, index);
    json!({"conversations": turns, "id": name.trim_end_matches(".jpg"), "image": name})
}
