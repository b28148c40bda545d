//! Small but true files of every data set, as they are published, with little pictures.
//!
//! This file needs nothing of its crate, only `image`, `serde_json` and `tar`, so that tests of
//! other crates can include it by its path:
//!
//! ```text
//! #[path = "../../../train/tests/it/data/originals.rs"]
//! mod originals;
//! ```
//!
//! [`write`] makes this, and returns where everything is:
//!
//! ```text
//! vqa/v2_OpenEnded_mscoco_train2014_questions.json  vqa/v2_mscoco_train2014_annotations.json
//! gqa/train_balanced_questions.json                 gqa/images/2370799.jpg
//! vsr/train-random.jsonl
//! ocrvqa/dataset.json                               ocrvqa/images/0684842688.jpg
//! aokvqa/aokvqa_v1p0_train.json
//! scienceqa/problems.json                           scienceqa/images/7/image.png
//! refcoco/finetune_{refcoco,refcoco+,refcocog}_train.json
//! vg/region_descriptions.json  vg/image_data.json   vg/images/1.jpg
//! llava/llava_instruct_150k.json
//! coco/{train2014,train2017,val2017}/
//! kale/{00000..00001}.tar  ocr/{00000..00001}.tar  grounding/{00000..00001}.tar
//! ```
#![allow(dead_code, reason = "every test takes what it needs")]

use std::fs;
use std::io::Cursor;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

/// The width and height of every picture.
pub(crate) const SIZE: (u32, u32) = (40, 30);
/// How many shards a caption set has, and how many samples each of them has.
pub(crate) const SHARDS: (usize, usize) = (2, 6);
/// The eleven sets and their weights in the paper.
pub(crate) const WEIGHTS: [(&str, f64); 11] = [
    ("vqa", 0.103),
    ("gqa", 0.103),
    ("vsr", 0.026),
    ("ocrvqa", 0.103),
    ("aokvqa", 0.103),
    ("scienceqa", 0.103),
    ("refcoco", 0.103),
    ("refcoco+", 0.103),
    ("refcocog", 0.103),
    ("vg", 0.047),
    ("llava150k", 0.103),
];

/// Where everything is.
#[derive(Clone, Debug)]
pub(crate) struct Originals {
    /// The eleven instruction sets.
    pub(crate) sets: Vec<OriginalSet>,
    /// `kale`, `ocr` and `grounding`, and the pattern of their shards.
    pub(crate) captions: Vec<(&'static str, String)>,
}

/// Where an instruction set is.
#[derive(Clone, Debug)]
pub(crate) struct OriginalSet {
    /// Its name in a recipe.
    pub(crate) name: &'static str,
    /// Its weight in the paper.
    pub(crate) weight: f64,
    /// Its annotation files, in the order of a recipe.
    pub(crate) files: Vec<PathBuf>,
    /// The folder of its pictures.
    pub(crate) images: PathBuf,
}

impl Originals {
    /// Returns a set by its name.
    pub(crate) fn set(&self, name: &str) -> &OriginalSet {
        self.sets.iter().find(|set| set.name == name).expect("it is one of the eleven")
    }

    /// Returns the `[[data]]` tables of the instruction sets.
    pub(crate) fn instructions_toml(&self) -> String {
        let quoted = |path: &PathBuf| format!("{:?}", path.display().to_string());
        let table = |set: &OriginalSet| {
            let OriginalSet { name, weight, files, images } = set;
            let files: Vec<_> = files.iter().map(quoted).collect();
            let (files, images) = (files.join(", "), quoted(images));
            format!(
                "[[data]]\nname = \"{name}\"\nweight = {weight}\nfiles = [{files}]\nimages = {images}\n"
            )
        };
        self.sets.iter().map(table).collect()
    }

    /// Returns the `[[data]]` tables of the caption sets.
    pub(crate) fn captions_toml(&self) -> String {
        let table = |(name, pattern): &(&str, String)| {
            format!("[[data]]\nname = \"{name}\"\nshards = [{pattern:?}]\n")
        };
        self.captions.iter().map(table).collect()
    }
}

/// Writes all of it into a folder.
pub(crate) fn write(root: &Path) -> Originals {
    for (folder, names) in [
        ("coco/train2014", &["COCO_train2014_000000458752.jpg", "COCO_train2014_000000581857.jpg"]),
        ("coco/train2017", &["000000299207.jpg", "000000033471.jpg"]),
        ("coco/val2017", &["000000296471.jpg", "000000296472.jpg"]),
        ("gqa/images", &["2370799.jpg", "n161313.jpg"]),
        ("ocrvqa/images", &["0684842688.jpg", "0743466896.png"]),
        ("scienceqa/images", &["7/image.png", "9/image.png"]),
        ("vg/images", &["1.jpg", "2.jpg"]),
    ] {
        for (number, name) in names.iter().enumerate() {
            put(root.join(folder).join(name), &picture(name, number + folder.len()));
        }
    }
    short_answers(root);
    choices(root);
    regions(root);
    conversations(root);
    let set = |(name, weight): (&'static str, f64)| {
        let (files, images) = places(name);
        let files = files.iter().map(|file| root.join(file)).collect();
        OriginalSet { name, weight, files, images: root.join(images) }
    };
    let captions = [("kale", plain as fn(usize) -> String), ("ocr", ocr), ("grounding", grounding)];
    Originals {
        sets: WEIGHTS.into_iter().map(set).collect(),
        captions: captions.map(|(name, text)| (name, shards(root, name, text))).to_vec(),
    }
}

/// Returns the annotation files and the folder of pictures of a set.
fn places(name: &str) -> (&'static [&'static str], &'static str) {
    match name {
        "vqa" => (
            &[
                "vqa/v2_OpenEnded_mscoco_train2014_questions.json",
                "vqa/v2_mscoco_train2014_annotations.json",
            ],
            "coco/train2014",
        ),
        "gqa" => (&["gqa/train_balanced_questions.json"], "gqa/images"),
        "vsr" => (&["vsr/train-random.jsonl"], "coco"),
        "ocrvqa" => (&["ocrvqa/dataset.json"], "ocrvqa/images"),
        "aokvqa" => (&["aokvqa/aokvqa_v1p0_train.json"], "coco/train2017"),
        "scienceqa" => (&["scienceqa/problems.json"], "scienceqa/images"),
        "refcoco" => (&["refcoco/finetune_refcoco_train.json"], "coco/train2014"),
        "refcoco+" => (&["refcoco/finetune_refcoco+_train.json"], "coco/train2014"),
        "refcocog" => (&["refcoco/finetune_refcocog_train.json"], "coco/train2014"),
        "vg" => (&["vg/region_descriptions.json", "vg/image_data.json"], "vg/images"),
        _ => (&["llava/llava_instruct_150k.json"], "coco/train2017"),
    }
}

/// `VQAv2`, GQA, VSR, OCR-VQA.
fn short_answers(root: &Path) {
    let info = json!({"description": "VQA v2.0", "year": 2017, "version": "2.0"});
    let questions = json!({
        "info": info,
        "task_type": "Open-Ended",
        "data_type": "mscoco",
        "license": {"name": "CC BY 4.0", "url": "http://creativecommons.org/licenses/by/4.0/"},
        "data_subtype": "train2014",
        "questions": [
            {"image_id": 458_752, "question": "What is this photo taken looking through?", "question_id": 458_752_000},
            {"image_id": 458_752, "question": "What position is this man playing?", "question_id": 458_752_001},
            {"image_id": 581_857, "question": "Is this a café?", "question_id": 581_857_000},
        ],
    });
    let annotation = |id: u64, image: u64, answer: &str| {
        let given = json!([{"answer": answer, "answer_confidence": "yes", "answer_id": 1},
            {"answer": "netting", "answer_confidence": "maybe", "answer_id": 2}]);
        json!({"question_type": "what", "multiple_choice_answer": answer, "answers": given,
            "image_id": image, "answer_type": "other", "question_id": id})
    };
    // In another order than the questions.
    let annotations = json!({
        "info": info,
        "annotations": [
            annotation(581_857_000, 581_857, "yes"),
            annotation(458_752_000, 458_752, "net"),
            annotation(458_752_001, 458_752, "pitcher"),
        ],
    });
    put_json(root.join(places("vqa").0[0]), &questions);
    put_json(root.join(places("vqa").0[1]), &annotations);
    let gqa = json!({
        "07333408": {"semantic": [{"operation": "select", "dependencies": [], "argument": "wall (722332)"}],
            "entailed": ["07333406"], "equivalent": ["07333408"], "question": "What is on the white wall?",
            "imageId": "2370799", "isBalanced": true, "groups": {"global": null, "local": "14-wall_on,s"},
            "answer": "pipe", "semanticStr": "select: wall (722332)",
            "annotations": {"answer": {"0": "722332"}, "question": {"4:6": "722332"}, "fullAnswer": {}},
            "types": {"detailed": "relS", "semantic": "rel", "structural": "query"},
            "fullAnswer": "The pipe is on the wall."},
        "18945471": {"question": "Is the fence in front of the dog?", "imageId": "n161313", "isBalanced": true,
            "answer": "no", "fullAnswer": "No, the fence is behind the dog."},
    });
    put_json(root.join(places("gqa").0[0]), &gqa);
    let statement = |folder: &str, image: &str, caption: &str, label: u8| {
        let link = format!("http://images.cocodataset.org/{folder}/{image}");
        let record = json!({"image": image, "image_link": link, "caption": caption, "label": label,
            "relation": "on", "annotator_id": 1, "vote_true_validator_id": [2], "vote_false_validator_id": []});
        format!("{record}\n")
    };
    let statements = [
        statement("train2017", "000000299207.jpg", "The cat is on the Bed.", 1),
        statement("val2017", "000000296471.jpg", "The dish is left of the cup.", 0),
    ];
    put(root.join(places("vsr").0[0]), statements.concat().as_bytes());
    let book = |split: u8, url: &str, questions: &[&str], answers: &[&str]| {
        json!({"authorName": "A. Writer", "genre": "Travel", "title": "A Title", "questions": questions,
            "imageURL": format!("http://ecx.images-amazon.com/images/I/{url}"), "answers": answers, "split": split})
    };
    let books = json!({
        "0684842688": book(1, "51GbJt4aRxL.jpg", &["Who wrote this book?", "What is the title?"], &["A. Writer", "A Title"]),
        "0743466896": book(1, "41QcYXL3.SX_.png", &["Is this a comics book?"], &["No"]),
        "0000000000": book(2, "51.jpg", &["Who validates?"], &["nobody"]),
        "0000000001": book(3, "51.jpg", &["Who tests?"], &["nobody"]),
    });
    put_json(root.join(places("ocrvqa").0[0]), &books);
}

/// A-OKVQA and `ScienceQA`.
fn choices(root: &Path) {
    let questions = json!([
        {"split": "train", "image_id": 299_207, "question_id": "22MexNkBPpdZGX6sxbxVBH",
            "question": "What is the man by the bags awaiting?",
            "choices": ["skateboarder", "train", "delivery", "cab"], "correct_choice_idx": 3,
            "direct_answers": ["ride", "ride", "bus"], "difficult_direct_answer": false,
            "rationales": ["A train would not be on the street.", "He is waiting."]},
        {"split": "train", "image_id": 33_471, "question_id": "2Aq5RiEn7eyfWjEbpuYy4b",
            "question": "What is behind the bus?", "choices": ["sea", "tree", "wall", "car"],
            "correct_choice_idx": 0, "direct_answers": ["sea"], "rationales": ["It is blue."]},
    ]);
    put_json(root.join(places("aokvqa").0[0]), &questions);
    let problem = |question: &str, hint: &str, image: Option<&str>, split: &str| {
        json!({"question": question, "choices": ["ice", "steam"], "answer": 1, "hint": hint, "image": image,
            "task": "closed choice", "grade": "grade2", "subject": "natural science", "topic": "physics",
            "category": "Matter", "skill": "Identify", "lecture": "A lecture.", "solution": "Look.", "split": split})
    };
    let problems = json!({
        "7": problem("Which is hotter?", "Compare them.", Some("image.png"), "train"),
        "8": problem("Which is a gas?", "", None, "train"),
        "9": problem("Which is left out?", "", Some("image.png"), "val"),
        "10": problem("Which is left out too?", "", None, "test"),
    });
    put_json(root.join(places("scienceqa").0[0]), &problems);
}

/// `RefCOCO`, `RefCOCO+`, `RefCOCOg`, Visual Genome.
fn regions(root: &Path) {
    for (name, captions) in [
        ("refcoco", ["the lady with the blue shirt", "left man"]),
        ("refcoco+", ["lady in blue", "man in hat"]),
        ("refcocog", ["a woman who wears a blue shirt", "the man beside her"]),
    ] {
        let image = |id: usize| {
            json!({"file_name": "COCO_train2014_000000581857.jpg", "height": SIZE.1, "width": SIZE.0, "id": id,
                "original_id": 581_857, "caption": captions[id], "dataset_name": name, "tokens_negative": [[0, 3]]})
        };
        let annotation = |id: usize, bbox: [f64; 4]| {
            json!({"area": 12.5, "iscrowd": 0, "image_id": id, "category_id": 1, "id": id, "bbox": bbox,
                "original_id": 1_719_310, "tokens_positive": [[0, 8]]})
        };
        let file = json!({
            "info": [], "licenses": [],
            "images": [image(0), image(1)],
            "annotations": [annotation(0, [10.0, 7.5, 20.0, 15.0]), annotation(1, [1.33, 2.0, 5.55, 3.01])],
            "categories": [{"supercategory": "person", "id": 1, "name": "person"}],
        });
        put_json(root.join(places(name).0[0]), &file);
    }
    let region = |id: usize, image: usize, [x, y, width, height]: [usize; 4], phrase: &str| json!({"region_id": id, "width": width, "height": height, "image_id": image, "phrase": phrase, "y": y, "x": x});
    let descriptions = json!([
        {"regions": [region(1382, 1, [4, 3, 20, 15], "the clock is green in colour"),
            region(1383, 1, [0, 0, 40, 30], "a street")], "id": 1},
        {"regions": [], "id": 3},
        {"regions": [region(1384, 2, [20, 6, 10, 9], "a shade of a car")], "id": 2},
    ]);
    let size = |id: usize| {
        json!({"width": SIZE.0, "url": format!("https://cs.stanford.edu/people/rak248/VG_100K_2/{id}.jpg"),
            "height": SIZE.1, "image_id": id, "coco_id": null, "flickr_id": null})
    };
    put_json(root.join(places("vg").0[0]), &descriptions);
    put_json(root.join(places("vg").0[1]), &json!([size(1), size(2), size(3)]));
}

/// LLaVA-150k.
fn conversations(root: &Path) {
    let turn = |from: &str, value: &str| json!({"from": from, "value": value});
    let records = json!([
        {"id": "000000033471", "image": "000000033471.jpg", "conversations": [
            turn("human", "<image>\nWhat are the colors of the bus in the image?"),
            turn("gpt", "The bus in the image is white and red."),
            turn("human", "What feature can be seen on the back?"),
            turn("gpt", "The back of the bus features an advertisement.")]},
        {"id": "000000299207", "image": "000000299207.jpg", "conversations": [
            turn("human", "Write a detailed description of the given image.\n<image>"),
            turn("gpt", "A man stands beside two bags.")]},
    ]);
    put_json(root.join(places("llava150k").0[0]), &records);
}

fn plain(number: usize) -> String {
    format!("  A picture of {number} things.\n")
}

fn ocr(number: usize) -> String {
    json!([{"text": "a sign", "granularity": 0}, {"text": format!("the text STOP {number}"), "granularity": 1}]).to_string()
}

fn grounding(number: usize) -> String {
    format!(
        "[['A cat beside {number} boxes.', True, None], ['A cat <bbox>[0.1, 0.2][0.3, 0.4]</bbox>', False, 1.5]]"
    )
}

/// Writes the shards of a caption set and returns their pattern.
fn shards(root: &Path, name: &str, text: fn(usize) -> String) -> String {
    let (num_shards, num_samples) = SHARDS;
    for shard in 0..num_shards {
        let mut builder = tar::Builder::new(Vec::new());
        let mut append = |name: String, contents: &[u8]| {
            let mut header = tar::Header::new_gnu();
            header.set_size(contents.len() as u64);
            header.set_mode(0o644);
            builder.append_data(&mut header, name, contents).expect("memory takes it all");
        };
        for sample in 0..num_samples {
            let number = shard * num_samples + sample;
            append(format!("{number:09}.jpg"), &picture("x.jpg", number));
            append(format!("{number:09}.txt"), text(number).as_bytes());
        }
        let shard_file = builder.into_inner().expect("memory takes it all");
        put(root.join(name).join(format!("{shard:05}.tar")), &shard_file);
    }
    format!("{}/{name}/{{00000..{:05}}}.tar", root.display(), num_shards - 1)
}

/// Returns a picture of the format of its name; other numbers give other pictures.
fn picture(name: &str, number: usize) -> Vec<u8> {
    let format = image::ImageFormat::from_path(name).expect("the name has a known end");
    let shade = |x: u32, y: u32| [(x * 6) as u8, (y * 8) as u8, (number * 37 % 256) as u8];
    let picture = image::RgbImage::from_fn(SIZE.0, SIZE.1, |x, y| image::Rgb(shade(x, y)));
    let mut file = Cursor::new(Vec::new());
    picture.write_to(&mut file, format).expect("memory takes it all");
    file.into_inner()
}

fn put_json(path: PathBuf, value: &Value) {
    put(path, value.to_string().as_bytes());
}

fn put(path: PathBuf, contents: &[u8]) {
    let folder = path.parent().expect("it is in a folder");
    fs::create_dir_all(folder).expect("the folder can be made");
    fs::write(path, contents).expect("the folder can be written to");
}
