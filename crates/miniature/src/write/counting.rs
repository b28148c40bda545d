//! Questions that take a look at every thing: how many have one mark, how many have two, how many have
//! the colour of another. Pictures and questions in GQA's format, and a table in MM-Vet's form.

use std::path::PathBuf;

use rayon::prelude::*;
use serde_json::{Map, Value, json};

use super::WorldConfig;
use super::benchmarks::base64;
use super::files::{Counts, Job, encode, json as encode_json};
use super::instruct::{key, truth};
use super::rockets::SHORT;
use crate::Error;
use crate::language::{Says, alike, plural};
use crate::random::{Key, Stream};
use crate::scene::{Object, Scene, Split};

/// Pictures to count in.
pub(super) struct Set {
    /// The folder; it is written where it is asked for by name, and no part of a world.
    pub(super) folder: &'static str,
    /// The pool of scenes.
    pool: u64,
    /// Whether every thing has a part of the picture to itself.
    on_grid: bool,
    /// The kinds of questions.
    asks: &'static [Counted],
}

/// Things anywhere and things on a grid, with questions of all kinds; and the pictures of the first,
/// in which only what has two marks is counted.
pub(super) const SETS: [Set; 3] = [
    Set { folder: "counting", pool: 401, on_grid: false, asks: &Counted::ALL },
    Set { folder: "counting-grid", pool: 402, on_grid: true, asks: &Counted::ALL },
    Set { folder: "counting-two-marks", pool: 401, on_grid: false, asks: &[Counted::TwoMarks] },
];
/// How many questions are asked about a picture to train on.
const QUESTIONS: usize = 6;
/// Between the numbers of the first questions of two pictures.
const ROWS: usize = 10;
/// What decides whether a thing is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Counted {
    /// Its kind, or its colour.
    OneMark,
    /// Its kind and its colour.
    TwoMarks,
    /// Whether it has the colour of one that is named by its kind.
    ColorOfAnother,
}

impl Counted {
    const ALL: [Self; 3] = [Self::OneMark, Self::TwoMarks, Self::ColorOfAnother];

    /// Returns what tables call it.
    fn category(self) -> &'static str {
        match self {
            Self::OneMark => "one mark",
            Self::TwoMarks => "two marks",
            Self::ColorOfAnother => "the color of another",
        }
    }

    /// Asks about a scene.
    fn ask(self, scene: &Scene, stream: &mut Stream) -> (String, usize) {
        let color = Says { color: true, ..Says::default() };
        let count = |wanted: &Object, says| {
            scene.objects.iter().filter(|other| alike(other, wanted, says)).count()
        };
        // What is looked for need not be there.
        let wanted = if stream.chance(50) {
            stream.pick(&scene.objects)
        } else {
            let kind = stream.pick(&scene.objects).kind;
            Object { kind, ..stream.pick(&scene.objects) }
        };
        let says = match self {
            Self::OneMark => stream.pick(&[Says::KIND, color]),
            Self::TwoMarks => Says::NAME,
            Self::ColorOfAnother => {
                let is_alone = |object: &&Object| count(object, Says::KIND) == 1;
                let alone: Vec<&Object> = scene.objects.iter().filter(is_alone).collect();
                // A crowd has one, unless there was no room for it.
                let named = alone.get(stream.below(alone.len().max(1)));
                let Some(named) = named else { return Self::TwoMarks.ask(scene, stream) };
                let text = format!("How many objects have the color of the {}?", named.kind.word());
                return (text, count(named, color));
            }
        };
        (format!("How many {} are there?", plural(&wanted, says)), count(&wanted, says))
    }
}

/// A question with its answer and what it takes.
struct Asked {
    text: String,
    answer: usize,
    about: Counted,
}

/// Returns the pictures of a set to train on, their questions, and the table.
pub(super) fn jobs<'a>(set: &'static Set, config: &'a WorldConfig) -> Vec<Job<'a>> {
    let num_pictures = config.size.num_pictures();
    let mut jobs: Vec<Job<'_>> = (0..num_pictures)
        .map(|index| {
            let path = PathBuf::from(set.picture(index));
            let scene = move || set.scene(config, Split::Training, index);
            let make = move || encode(&set.picture(index), &scene().draw(config.image_size));
            let counts = Counts { pictures: 1, ..Counts::default() };
            Job { path, make: Box::new(make), counts }
        })
        .collect();
    let at = |name: &str| PathBuf::from(format!("{}/{name}", set.folder));
    let questions = "train_balanced_questions.json";
    let examples = num_pictures * QUESTIONS;
    let counts = Counts { examples, is_named: true, ..Counts::default() };
    let make = move || encode_json(questions.as_ref(), &set.training(config));
    jobs.push(Job { path: at(questions), make: Box::new(make), counts });
    let scene = move |index| set.scene(config, Split::Training, index);
    jobs.push(truth(at("truth.jsonl"), config, (|index| set.picture(index), scene)));
    let tests = config.size.num_tests() * set.asks.len();
    let counts = Counts { tests, is_named: true, ..Counts::default() };
    let path = at("test/MMVet_counting.tsv");
    jobs.push(Job { path, make: Box::new(move || set.table(config)), counts });
    jobs
}

impl Set {
    /// The name of a picture, from the folder of the world on.
    fn picture(&self, index: usize) -> String {
        format!("{}/images/{}.jpg", self.folder, key(index))
    }

    fn scene(&self, config: &WorldConfig, split: Split, index: usize) -> Scene {
        Scene::crowd_of_pool(split, config.seed, (self.pool, index as u64), self.on_grid)
    }

    /// Asks every kind of question of the set so often about a scene, none twice if others can be
    /// found.
    fn asked(
        &self,
        config: &WorldConfig,
        split: Split,
        (index, times): (usize, usize),
    ) -> (Scene, Vec<Asked>) {
        let scene = self.scene(config, split, index);
        let place = !(self.pool << 1 | u64::from(split == Split::Test));
        let mut stream =
            Stream::new(Key { seed: config.seed, place, index: index as u64, attempt: 0 });
        let mut found: Vec<Asked> = Vec::new();
        for about in self.asks.repeat(times) {
            for attempt in 0.. {
                let (text, answer) = about.ask(&scene, &mut stream);
                if attempt == 8 || found.iter().all(|other| other.text != text) {
                    found.push(Asked { text, answer, about });
                    break;
                }
            }
        }
        (scene, found)
    }

    fn training(&self, config: &WorldConfig) -> Value {
        let records = |index: usize| {
            let times = QUESTIONS / self.asks.len();
            let (_, found) = self.asked(config, Split::Training, (index, times));
            let record = move |(number, asked): (usize, Asked)| {
                let Asked { text, answer, .. } = asked;
                let record = json!({"answer": answer.to_string(),
                    "fullAnswer": format!("The answer is {answer}."), "imageId": key(index),
                    "isBalanced": true, "question": text});
                (format!("{}{number}", key(index)), record)
            };
            found.into_iter().enumerate().map(record).collect::<Vec<_>>()
        };
        let records: Vec<Vec<(String, Value)>> =
            (0..config.size.num_pictures()).into_par_iter().map(records).collect();
        Value::Object(records.into_iter().flatten().collect::<Map<_, _>>())
    }

    fn table(&self, config: &WorldConfig) -> Result<Vec<u8>, Error> {
        let lines = |index: usize| {
            let (scene, found) = self.asked(config, Split::Test, (index, 1));
            let picture = base64(&encode("picture.jpg", &scene.draw(config.image_size))?);
            let line = |(number, asked): (usize, &Asked)| {
                let Asked { text, answer, about } = asked;
                let first = (index * ROWS).to_string();
                let image = if number == 0 { &picture } else { &first };
                let index = index * ROWS + number;
                // As questions in GQA's format are asked in training: without these words a model that
                // knows no others may say nothing, or not stop.
                format!("{index}\t{image}\t{SHORT}{text}\t{answer}\t{}\n", about.category())
            };
            Ok(found.iter().enumerate().map(line).collect())
        };
        let lines: Vec<String> = (0..config.size.num_tests())
            .into_par_iter()
            .map(lines)
            .collect::<Result<_, Error>>()?;
        Ok(format!("index\timage\tquestion\tanswer\tcategory\n{}", lines.concat()).into_bytes())
    }
}
