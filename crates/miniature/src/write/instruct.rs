//! The annotation files and pictures of the eleven instruction sets.
//!
//! The keys of records are in alphabetical order, so that every build of `serde_json` writes them
//! in the same one.

use std::path::{Path, PathBuf};

use rayon::prelude::*;
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::WorldConfig;
use super::files::{Counts, Job, encode, json as encode_json};
use crate::Error;
use crate::caption::caption_with;
use crate::language::{Says, a, phrase};
use crate::question::{Question, Topic, ask_freely, statement};
use crate::random::{Key, Stream};
use crate::refer::refer;
use crate::scene::{Object, Scene, Split, Texture, View};

/// Pictures that some sets share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pool {
    Train2014 = 1,
    Train2017,
    Gqa,
    OcrVqa,
    ScienceQa,
    Genome,
}

impl Pool {
    const ALL: [Self; 6] =
        [Self::Train2014, Self::Train2017, Self::Gqa, Self::OcrVqa, Self::ScienceQa, Self::Genome];

    /// The name of a picture, from the folder of the world on.
    fn picture(self, index: usize) -> String {
        match self {
            Self::Train2014 => format!("coco/train2014/COCO_train2014_{index:012}.jpg"),
            Self::Train2017 => format!("coco/train2017/{index:012}.jpg"),
            Self::Gqa => format!("gqa/images/{}.jpg", key(index)),
            Self::OcrVqa => format!("ocrvqa/images/{}.jpg", key(index)),
            Self::ScienceQa => format!("scienceqa/images/{}/image.png", key(index)),
            Self::Genome => format!("vg/images/{index}.jpg"),
        }
    }

    fn scene(self, seed: u64, index: usize) -> Scene {
        let view = match self {
            Self::OcrVqa => View::Sign,
            Self::ScienceQa => [View::Chart, View::Diagram, View::Flat, View::Room][index % 4],
            _ => [View::Flat, View::Room, View::Flat][index % 3],
        };
        Scene::of_pool(view, Split::Training, seed, (self as u64, index as u64))
    }
}

/// Keys that sort like the numbers they stand for.
pub(super) fn key(index: usize) -> String {
    format!("{:08}", 10_000_000 + index)
}

/// A set: its files, and how its examples are made.
struct Set {
    pool: Pool,
    files: &'static [&'static str],
    /// Returns the examples of a picture.
    examples: fn(&Scene, usize, &mut Stream) -> Vec<Value>,
    /// Returns the contents of the files.
    contents: fn(&[Value], &WorldConfig) -> Vec<Value>,
}

const SETS: [Set; 11] = [
    Set {
        pool: Pool::Train2014,
        files: &[
            "vqa/v2_OpenEnded_mscoco_train2014_questions.json",
            "vqa/v2_mscoco_train2014_annotations.json",
        ],
        examples: vqa,
        contents: vqa_files,
    },
    Set {
        pool: Pool::Gqa,
        files: &["gqa/train_balanced_questions.json"],
        examples: gqa,
        contents: map_file,
    },
    Set {
        pool: Pool::Train2017,
        files: &["vsr/train-random.jsonl"],
        examples: vsr,
        contents: list_file,
    },
    Set {
        pool: Pool::OcrVqa,
        files: &["ocrvqa/dataset.json"],
        examples: ocrvqa,
        contents: map_file,
    },
    Set {
        pool: Pool::Train2017,
        files: &["aokvqa/aokvqa_v1p0_train.json"],
        examples: aokvqa,
        contents: list_file,
    },
    Set {
        pool: Pool::ScienceQa,
        files: &["scienceqa/problems.json"],
        examples: scienceqa,
        contents: map_file,
    },
    Set {
        pool: Pool::Train2014,
        files: &["refcoco/finetune_refcoco_train.json"],
        examples: refcoco,
        contents: refcoco_file,
    },
    Set {
        pool: Pool::Train2014,
        files: &["refcoco/finetune_refcoco+_train.json"],
        examples: refcoco_plus,
        contents: refcoco_file,
    },
    Set {
        pool: Pool::Train2014,
        files: &["refcoco/finetune_refcocog_train.json"],
        examples: refcocog,
        contents: refcoco_file,
    },
    Set {
        pool: Pool::Genome,
        files: &["vg/region_descriptions.json", "vg/image_data.json"],
        examples: genome,
        contents: genome_files,
    },
    Set {
        pool: Pool::Train2017,
        files: &["llava/llava_instruct_150k.json"],
        examples: llava,
        contents: list_file,
    },
];

/// Returns the files of all sets and their pictures.
pub(super) fn jobs(config: &WorldConfig) -> Result<Vec<Job<'_>>, Error> {
    let num_pictures = config.size.num_pictures();
    let mut jobs = Vec::new();
    for (number, set) in SETS.iter().enumerate() {
        let examples: Vec<Vec<Value>> = (0..num_pictures)
            .into_par_iter()
            .map(|index| {
                let place = 1_000 + number as u64;
                let key = Key { seed: config.seed, place, index: index as u64, attempt: 0 };
                let scene = set.pool.scene(config.seed, index);
                (set.examples)(&scene, index, &mut Stream::new(key))
            })
            .collect();
        let examples: Vec<Value> = examples.into_iter().flatten().collect();
        let num_examples = examples.len();
        let contents = (set.contents)(&examples, config);
        for (number, (file, contents)) in set.files.iter().zip(contents).enumerate() {
            let bytes = if Path::new(file).extension().is_some_and(|end| end == "jsonl") {
                lines(file, &contents)?
            } else {
                encode_json(Path::new(file), &contents)?
            };
            let examples = if number == 0 { num_examples } else { 0 };
            let counts = Counts { examples, is_named: true, ..Counts::default() };
            let make = move || Ok(bytes.clone());
            jobs.push(Job { path: PathBuf::from(file), make: Box::new(make), counts });
        }
    }
    for pool in Pool::ALL {
        let path = PathBuf::from(format!("truth/{}.jsonl", format!("{pool:?}").to_lowercase()));
        let scene = move |index| pool.scene(config.seed, index);
        jobs.push(truth(path, config, (move |index| pool.picture(index), scene)));
        for index in 0..num_pictures {
            let path = PathBuf::from(pool.picture(index));
            let counts = Counts { pictures: 1, ..Counts::default() };
            let make = move || {
                let scene = pool.scene(config.seed, index);
                encode(&pool.picture(index), &scene.draw(config.image_size))
            };
            jobs.push(Job { path, make: Box::new(make), counts });
        }
    }
    Ok(jobs)
}

/// Returns the file with everything that is true about pictures: what they are called, and their
/// scenes.
pub(super) fn truth<'a>(
    path: PathBuf,
    config: &'a WorldConfig,
    (picture, scene): (
        impl Fn(usize) -> String + Send + Sync + 'a,
        impl Fn(usize) -> Scene + Send + Sync + 'a,
    ),
) -> Job<'a> {
    let name = path.clone();
    let make = move || {
        let line =
            |index: usize| encode_json(&name, &Truth { file: picture(index), scene: scene(index) });
        let num_pictures = config.size.num_pictures();
        let lines: Vec<Vec<u8>> =
            (0..num_pictures).into_par_iter().map(line).collect::<Result<_, Error>>()?;
        Ok(lines.concat())
    };
    Job { path, make: Box::new(make), counts: Counts { is_named: true, ..Counts::default() } }
}

/// A picture and what is true about it.
#[derive(Serialize)]
struct Truth {
    file: String,
    scene: Scene,
}

/// Encodes a list as a record on every line.
fn lines(file: &str, list: &Value) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    for record in list.as_array().into_iter().flatten() {
        bytes.extend(encode_json(Path::new(file), record)?);
    }
    Ok(bytes)
}

/// Asks some questions about a scene, half of those for yes or no with each answer.
pub(super) fn questions(
    scene: &Scene,
    index: usize,
    num: usize,
    stream: &mut Stream,
) -> Vec<Question> {
    questions_about(Topic::of(scene.view), scene, (index, num), stream)
}

/// Asks questions about some topics: which scene it is, and how many.
fn questions_about(
    topics: &[Topic],
    scene: &Scene,
    (index, num): (usize, usize),
    stream: &mut Stream,
) -> Vec<Question> {
    let mut found: Vec<Question> = Vec::new();
    let mut is_yes = index.is_multiple_of(2);
    for _ in 0..num * 8 {
        if found.len() == num {
            break;
        }
        let topic = stream.pick(topics);
        let Some(question) = ask_freely(scene, topic, is_yes, stream) else { continue };
        if found.iter().all(|other| other.text != question.text) {
            if question.answer == "yes" || question.answer == "no" {
                is_yes = !is_yes;
            }
            found.push(question);
        }
    }
    found
}

fn vqa(scene: &Scene, index: usize, stream: &mut Stream) -> Vec<Value> {
    let record = |(number, question): (usize, Question)| {
        let answer_type = match question.answer.as_str() {
            "yes" | "no" => "yes/no",
            _ if question.topic == Topic::Count => "number",
            _ => "other",
        };
        json!({"answer": question.answer, "answer_type": answer_type, "image_id": index,
            "question": question.text, "question_id": index * 1_000 + number})
    };
    questions(scene, index, 8, stream).into_iter().enumerate().map(record).collect()
}

fn vqa_files(examples: &[Value], _: &WorldConfig) -> Vec<Value> {
    let question = |of: &Value| {
        json!({"image_id": of["image_id"], "question": of["question"],
            "question_id": of["question_id"]})
    };
    let annotation = |of: &Value| {
        let one = |id: usize| json!({"answer": of["answer"], "answer_confidence": "yes", "answer_id": id});
        let answers: Vec<_> = (1..=10).map(one).collect();
        json!({"answer_type": of["answer_type"], "answers": answers, "image_id": of["image_id"],
            "multiple_choice_answer": of["answer"], "question_id": of["question_id"],
            "question_type": "none of the above"})
    };
    let (questions, annotations): (Vec<_>, Vec<_>) =
        examples.iter().map(|of| (question(of), annotation(of))).unzip();
    vec![
        json!({"data_subtype": "train2014", "data_type": "mscoco", "questions": questions,
            "task_type": "Open-Ended"}),
        json!({"annotations": annotations, "data_subtype": "train2014", "data_type": "mscoco"}),
    ]
}

fn gqa(scene: &Scene, index: usize, stream: &mut Stream) -> Vec<Value> {
    let record = |(number, question): (usize, Question)| {
        let Question { text, answer, .. } = question;
        json!({"key": format!("{}{number}", key(index)), "value": {"answer": answer,
            "fullAnswer": format!("The answer is {answer}."), "imageId": key(index),
            "isBalanced": true, "question": text}})
    };
    let topics = Topic::composed(scene.view);
    questions_about(topics, scene, (index, 8), stream).into_iter().enumerate().map(record).collect()
}

/// Puts records with a key into one map.
fn map_file(examples: &[Value], _: &WorldConfig) -> Vec<Value> {
    let mut map = Map::new();
    for example in examples {
        let key = example["key"].as_str().unwrap_or_default().to_owned();
        map.insert(key, example["value"].clone());
    }
    vec![Value::Object(map)]
}

fn list_file(examples: &[Value], _: &WorldConfig) -> Vec<Value> {
    vec![Value::Array(examples.to_vec())]
}

fn vsr(scene: &Scene, index: usize, stream: &mut Stream) -> Vec<Value> {
    let image = format!("{index:012}.jpg");
    let record = |number: usize| {
        let is_true = (index + number).is_multiple_of(2);
        let (caption, relation) = statement(scene, is_true, stream)?;
        Some(json!({"caption": caption, "image": image,
            "image_link": format!("http://images.cocodataset.org/train2017/{image}"),
            "label": u8::from(is_true), "relation": relation}))
    };
    (0..2).filter_map(record).collect()
}

fn ocrvqa(scene: &Scene, index: usize, stream: &mut Stream) -> Vec<Value> {
    let asked = questions(scene, index, 6, stream);
    let texts: Vec<_> = asked.iter().map(|question| question.text.clone()).collect();
    let answers: Vec<_> = asked.into_iter().map(|question| question.answer).collect();
    vec![json!({"key": key(index), "value": {"answers": answers, "authorName": "", "genre": "Sign",
        "imageURL": format!("{}.jpg", key(index)), "questions": texts, "split": 1, "title": ""}})]
}

/// Returns up to four choices and the number of the right one.
pub(super) fn choices(question: &Question, stream: &mut Stream) -> (Vec<String>, usize) {
    let mut wrong: Vec<String> = Vec::new();
    for choice in &question.wrong {
        if !wrong.contains(choice) {
            wrong.push(choice.clone());
        }
    }
    stream.shuffle(&mut wrong);
    wrong.truncate(3);
    let right = stream.below(wrong.len() + 1);
    wrong.insert(right, question.answer.clone());
    (wrong, right)
}

fn aokvqa(scene: &Scene, index: usize, stream: &mut Stream) -> Vec<Value> {
    let mut found = Vec::new();
    for (number, question) in questions(scene, index, 2, stream).into_iter().enumerate() {
        let (choices, right) = choices(&question, stream);
        let answers: Vec<_> = (0..10).map(|_| question.answer.clone()).collect();
        found.push(json!({"choices": choices, "correct_choice_idx": right,
            "difficult_direct_answer": false, "direct_answers": answers, "image_id": index,
            "question": question.text, "question_id": format!("{index}-{number}"),
            "rationales": [caption_with(scene, stream)], "split": "train"}));
    }
    found
}

fn scienceqa(scene: &Scene, index: usize, stream: &mut Stream) -> Vec<Value> {
    let problem = |question: &Question, key: String, hint: &str, stream: &mut Stream| {
        let (choices, answer) = choices(question, stream);
        let image = if key.ends_with('t') { Value::Null } else { json!("image.png") };
        json!({"key": key, "value": {"answer": answer, "choices": choices, "grade": "grade1",
            "hint": hint, "image": image, "question": question.text, "split": "train",
            "subject": "natural science"}})
    };
    let mut found = Vec::new();
    if let Some(question) = questions(scene, index, 1, stream).first() {
        found.push(problem(question, key(index), "Look at the picture.", stream));
    }
    let text = without_picture(stream);
    found.push(problem(&text, format!("{}t", key(index)), "", stream));
    found
}

/// Asks something that needs no picture.
fn without_picture(stream: &mut Stream) -> Question {
    let digits = |numbers: Vec<usize>| numbers.iter().map(ToString::to_string).collect();
    let (one, two) = (1 + stream.below(5), 1 + stream.below(4));
    let (text, answer, wrong): (String, String, Vec<String>) = match stream.below(3) {
        0 => {
            let wrong = digits((1..10).filter(|sum| *sum != one + two).collect());
            (format!("What is {one} plus {two}?"), (one + two).to_string(), wrong)
        }
        1 => {
            let (low, high) = (stream.below(50), 50 + stream.below(50));
            ("Which number is larger?".to_owned(), high.to_string(), digits(vec![low]))
        }
        _ => {
            let word = stream.pick(&crate::scene::WORDS);
            let letter = &word[..1];
            let mut wrong: Vec<String> = crate::scene::WORDS
                .iter()
                .filter(|other| !other.starts_with(letter))
                .map(|other| (*other).to_owned())
                .collect();
            stream.shuffle(&mut wrong);
            (format!("Which word starts with {letter}?"), word.to_owned(), wrong)
        }
    };
    Question { topic: Topic::Reading, text, answer, wrong }
}

/// Returns a region of the picture, in fractions of it.
fn region(object: &Object, text: &str) -> Value {
    let bounds = object.bounds;
    json!({"caption": text, "height": bounds.height, "width": bounds.width, "x": bounds.x,
        "y": bounds.y})
}

/// Describes every object of a scene for which there are words.
fn regions(
    scene: &Scene,
    index: usize,
    mut words: impl FnMut(&Object) -> Option<String>,
) -> Vec<Value> {
    let record = |object: &Object| {
        let text = words(object)?;
        Some(json!({"image_id": index, "region": region(object, &text)}))
    };
    scene.objects.iter().filter_map(record).collect()
}

fn refcoco(scene: &Scene, index: usize, stream: &mut Stream) -> Vec<Value> {
    regions(scene, index, |object| refer(scene, object, Says::default(), stream))
}

fn refcoco_plus(scene: &Scene, index: usize, stream: &mut Stream) -> Vec<Value> {
    regions(scene, index, |object| {
        let name = refer(scene, object, Says::default(), stream)?;
        (!name.contains(" on the ") && !name.contains(" at the ")).then_some(name)
    })
}

/// Everything that can be said of an object.
fn fully(object: &Object) -> String {
    let texture = object.texture != Texture::Plain;
    a(&phrase(object, Says { extent: true, texture, ..Says::NAME }))
}

fn refcocog(scene: &Scene, index: usize, _: &mut Stream) -> Vec<Value> {
    let side = |object: &Object| {
        let [x, _] = object.bounds.middle();
        match x {
            x if x < 0.38 => " on the left side",
            x if x > 0.62 => " on the right side",
            _ => " in the middle",
        }
    };
    regions(scene, index, |object| Some(format!("{}{}", fully(object), side(object))))
}

fn refcoco_file(examples: &[Value], config: &WorldConfig) -> Vec<Value> {
    let side = config.image_size as f64;
    let pixels =
        |value: &Value| (value.as_f64().unwrap_or_default() * side * 100.0).round() / 100.0;
    let mut images = Vec::new();
    let mut annotations = Vec::new();
    for (id, example) in examples.iter().enumerate() {
        let (image, region) = (&example["image_id"], &example["region"]);
        let number = image.as_u64().unwrap_or_default();
        let [x, y, width, height] = ["x", "y", "width", "height"].map(|name| pixels(&region[name]));
        images.push(json!({"caption": region["caption"],
            "file_name": format!("COCO_train2014_{number:012}.jpg"), "height": config.image_size,
            "id": id, "original_id": image, "width": config.image_size}));
        annotations.push(json!({"area": width * height, "bbox": [x, y, width, height],
            "category_id": 1, "id": id, "image_id": id, "iscrowd": 0}));
    }
    vec![json!({"annotations": annotations, "categories": [{"id": 1, "name": "object"}],
        "images": images, "info": [], "licenses": []})]
}

fn genome(scene: &Scene, index: usize, _: &mut Stream) -> Vec<Value> {
    let found = regions(scene, index, |object| Some(fully(object)));
    vec![json!({"image_id": index, "regions": found})]
}

fn genome_files(examples: &[Value], config: &WorldConfig) -> Vec<Value> {
    let side = config.image_size;
    let pixels = |value: &Value| (value.as_f64().unwrap_or_default() * side as f64).round() as i64;
    let mut id = 0;
    let mut descriptions = Vec::new();
    let mut sizes = Vec::new();
    for example in examples {
        let image = &example["image_id"];
        let mut found = Vec::new();
        for record in example["regions"].as_array().into_iter().flatten() {
            let region = &record["region"];
            let [x, y, width, height] =
                ["x", "y", "width", "height"].map(|name| pixels(&region[name]));
            found.push(json!({"height": height, "image_id": image, "phrase": region["caption"],
                "region_id": id, "width": width, "x": x, "y": y}));
            id += 1;
        }
        descriptions.push(json!({"id": image, "regions": found}));
        sizes.push(json!({"height": side, "image_id": image, "url": format!("{image}.jpg"),
            "width": side}));
    }
    vec![Value::Array(descriptions), Value::Array(sizes)]
}

fn llava(scene: &Scene, index: usize, stream: &mut Stream) -> Vec<Value> {
    let image = format!("{index:012}.jpg");
    let turn = |from: &str, value: String| json!({"from": from, "value": value});
    let ask_for = stream.pick(&[
        "Describe the image.",
        "What can you see in the image?",
        "Write a short description of the image.",
    ]);
    let mut turns = vec![
        turn("human", format!("<image>\n{ask_for}")),
        turn("gpt", caption_with(scene, stream)),
    ];
    for question in questions(scene, index, 6, stream) {
        let is_short = question.answer == "yes" || question.answer == "no";
        if !is_short && stream.chance(40) {
            let (choices, right) = choices(&question, stream);
            turns.push(turn("human", with_options(&question.text, &choices)));
            turns.push(turn("gpt", ["A", "B", "C", "D"][right].to_owned()));
        } else {
            let answer = sentence(question.topic, &question.answer);
            turns.push(turn("human", question.text));
            turns.push(turn("gpt", answer));
        }
    }
    vec![json!({"conversations": turns, "id": format!("{index:012}"), "image": image})]
}

/// Asks with options, as benchmarks are put to models.
fn with_options(question: &str, choices: &[String]) -> String {
    let options: Vec<String> = choices
        .iter()
        .zip(["A", "B", "C", "D"])
        .map(|(choice, letter)| format!("{letter}. {choice}"))
        .collect();
    let options = options.join("\n");
    format!(
        "Question: {question}\nOptions:\n{options}\nPlease select the correct answer from the \
         options above. \n"
    )
}

/// Answers in a sentence, as in a conversation.
pub(super) fn sentence(topic: Topic, answer: &str) -> String {
    match topic {
        _ if answer == "yes" || answer == "no" => {
            format!("{}.", crate::language::capital(answer))
        }
        Topic::Count if answer == "1" => "There is 1.".to_owned(),
        Topic::Count => format!("There are {answer}."),
        Topic::Kind => format!("It is {}.", a(answer)),
        Topic::Reading => format!("It says {answer}."),
        Topic::Depth | Topic::Distance => format!("The {answer} is closer."),
        _ => format!("It is {answer}."),
    }
}
