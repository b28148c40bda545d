//! Questions about held-out scenes, one at a time: what a model's scores are measured with.

use crate::caption::names;
use crate::question::{Topic, ask_freely};
use crate::random::{Key, Stream};
use crate::scene::{Kind, Scene, Split, View};

/// The pool of scenes that are asked about.
const POOL: u64 = 300;
/// The pool of scenes with something new.
const NEW_POOL: u64 = 301;

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

    /// Makes the quiz of a number on [`Kind::NEW`], which no world has: all questions are about it.
    pub fn on_new(seed: u64, index: u64) -> Self {
        let scene = Scene::with_new(Kind::NEW, Split::Test, seed, (NEW_POOL, index));
        let mut stream = Stream::new(Key { seed, place: !NEW_POOL, index, attempt: 0 });
        let mut topics = Topic::of(View::Flat).to_vec();
        topics.sort();
        topics.dedup();
        topics.retain(|topic| *topic != Topic::Existence);
        let word = Kind::NEW.word();
        let is_there = scene.objects.iter().any(|object| object.kind == Kind::NEW);
        let mut questions = vec![QuizQuestion {
            topic: Topic::Existence.name(),
            text: is_there_new(),
            answer: if is_there { "yes" } else { "no" }.to_owned(),
        }];
        for (number, topic) in topics.into_iter().enumerate().filter(|_| is_there) {
            let is_yes = (index as usize + number).is_multiple_of(2);
            let ask = || ask_freely(&scene, topic, is_yes, &mut stream);
            let asked = std::iter::repeat_with(ask).take(60).flatten();
            let mut about = asked.filter(|it| it.text.contains(word) || it.answer == word);
            questions.extend(about.next().map(|asked| QuizQuestion {
                topic: topic.name(),
                text: asked.text,
                answer: asked.answer,
            }));
        }
        let names = names(&scene).into_iter().filter(|name| name.ends_with(word)).collect();
        Self { scene, questions, names }
    }
}

/// Asks whether there is something new.
pub(crate) fn is_there_new() -> String {
    format!("Is there a {} in the image?", Kind::NEW.word())
}
