//! All that is said in the world, as plain text: what its tokenizer is trained on.

use std::path::PathBuf;

use rayon::prelude::*;

use super::WorldConfig;
use super::files::{Counts, Job};
use super::instruct::{questions, sentence};
use super::shards::facts;
use crate::caption::caption_with;
use crate::question::Question;
use crate::random::{Key, Stream};
use crate::scene::{Scene, Split, View};

/// The pool of scenes that are talked about.
const POOL: u64 = 120;
/// How many scenes are talked about.
const NUM_SCENES: u64 = 4_000;

/// What is said to a model around every question; in the text often enough for its words to be
/// tokens of their own.
const AROUND: [&str; 8] = [
    "A chat between a curious user and an artificial intelligence assistant. The assistant gives \
     helpful, detailed, and polite answers to the user's questions.",
    "Answer the question using a single word or phrase.",
    "Answer with the option's letter from the given choices directly.",
    "Please select the correct answer from the options above.",
    "Provide a short description for this region.",
    "Hint: Please answer the question requiring an integer answer and provide the final value, \
     e.g., 1, 2, 3, at the end.",
    "Hint: Please answer the question and provide the correct option letter, e.g., A, B, C, D, at \
     the end.",
    "Describe the image. What can you see in the image? Write a short description of the image. \
     Please answer yes or no. Question: Options: Context: N/A Look at the picture. bbox",
];

/// Returns the file `text/world.txt`.
pub(super) fn job(config: &WorldConfig) -> Job<'_> {
    let make = move || {
        let said = |index: u64| {
            // Words on signs are left out, so that they are spelled.
            let view = [View::Flat, View::Room, View::Flat, View::Chart, View::Diagram]
                [(index % 5) as usize];
            let scene = Scene::of_pool(view, Split::Training, config.seed, (POOL, index));
            let key = Key { seed: config.seed, place: !POOL, index, attempt: 0 };
            let mut stream = Stream::new(key);
            let around = AROUND[(index / 8) as usize % AROUND.len()];
            let caption = caption_with(&scene, &mut stream);
            let facts = facts(&scene, &mut stream);
            let asked = questions(&scene, index as usize, 4, &mut stream);
            let answers: Vec<String> = asked
                .iter()
                .map(|question| {
                    let Question { topic, answer, .. } = question;
                    format!("{answer}\n{}\n", sentence(*topic, answer))
                })
                .collect();
            format!("{caption}\n{facts}\n{}{around}\n", answers.concat())
        };
        let texts: Vec<String> = (0..NUM_SCENES).into_par_iter().map(said).collect();
        let signs = "What does the sign say? It says\nDoes the sign at the top say\nDoes the sign \
                     at the bottom say\nin letters that says\n";
        Ok([texts.concat(), signs.repeat(200)].concat().into_bytes())
    };
    let counts = Counts { is_named: true, ..Counts::default() };
    Job { path: PathBuf::from("text/world.txt"), make: Box::new(make), counts }
}
