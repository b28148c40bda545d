//! Questions about held-out scenes, one at a time: what a model's scores are measured with.

use crate::caption::names;
use crate::question::{Topic, ask_freely};
use crate::random::{Key, Stream};
use crate::scene::{Scene, Split, View};

/// The pool of scenes that are asked about.
const POOL: u64 = 300;

/// A held-out scene and what is asked about it.
#[derive(Clone, Debug, PartialEq)]
pub struct Quiz {
    /// The scene; [`Scene::split`] of it is [`Split::Test`].
    pub scene: Scene,
    /// Questions, one for every topic that the scene has an answer to.
    pub questions: Vec<QuizQuestion>,
    /// The kinds of objects in it, with their colours: what a caption should name.
    pub names: Vec<String>,
}

/// A question with its answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuizQuestion {
    /// What it is about, such as `count`.
    pub topic: &'static str,
    /// The question.
    pub text: String,
    /// The answer, a word or a short phrase.
    pub answer: String,
}

impl Quiz {
    /// Makes the quiz of a number; no training scene of any seed shows what its scene shows.
    pub fn make(seed: u64, index: u64) -> Self {
        let views = [View::Flat, View::Sign, View::Room, View::Flat];
        let view = views[(index % views.len() as u64) as usize];
        let scene = Scene::of_pool(view, Split::Test, seed, (POOL, index));
        let mut stream = Stream::new(Key { seed, place: !POOL, index, attempt: 0 });
        let mut topics = Topic::of(view).to_vec();
        topics.sort();
        topics.dedup();
        let question = |(number, topic): (usize, Topic)| {
            let is_yes = (index as usize / views.len() + number).is_multiple_of(2);
            let ask = || ask_freely(&scene, topic, is_yes, &mut stream);
            let asked = std::iter::repeat_with(ask).take(20).flatten().next()?;
            Some(QuizQuestion { topic: topic.name(), text: asked.text, answer: asked.answer })
        };
        let questions = topics.into_iter().enumerate().filter_map(question).collect();
        let names = names(&scene);
        Self { scene, questions, names }
    }
}
