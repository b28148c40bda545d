//! Held-out tests as the tables in which benchmarks are published.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::PathBuf;

use rayon::prelude::*;

use super::WorldConfig;
use super::files::{Counts, Job, encode};
use super::instruct::choices;
use crate::Error;
use crate::caption::places;
use crate::question::{Absent, Topic, ask, existence, statements};
use crate::random::{Key, Stream};
use crate::scene::{Color, Kind, Scene, Split, View};

/// A benchmark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Benchmark {
    Mme,
    Pope,
    MmBench,
    SeedBench,
    RealWorldQa,
    Mmmu,
    MathVista,
    MmVet,
    LlavaBench,
}

/// A line of a table, the index and the picture left out.
struct Row {
    question: String,
    options: Vec<String>,
    answer: String,
    category: &'static str,
}

/// Between the numbers of the copies of a question.
const COPIES: usize = 1_000_000;
/// Between the numbers of the first questions of two pictures.
const ROWS: usize = 8;
/// The letters of options.
const LETTERS: [&str; 4] = ["A", "B", "C", "D"];

impl Benchmark {
    const ALL: [Self; 9] = [
        Self::Mme,
        Self::Pope,
        Self::MmBench,
        Self::SeedBench,
        Self::RealWorldQa,
        Self::Mmmu,
        Self::MathVista,
        Self::MmVet,
        Self::LlavaBench,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Mme => "MME",
            Self::Pope => "POPE",
            Self::MmBench => "MMBench_DEV_EN",
            Self::SeedBench => "SEEDBench_IMG",
            Self::RealWorldQa => "RealWorldQA",
            Self::Mmmu => "MMMU_DEV_VAL",
            Self::MathVista => "MathVista_MINI",
            Self::MmVet => "MMVet",
            Self::LlavaBench => "LLaVABench",
        }
    }

    fn view(self, index: usize) -> View {
        let views: &[View] = match self {
            Self::Mme => &[View::Flat, View::Sign, View::Flat, View::Room],
            Self::Pope => &[View::Flat, View::Room],
            Self::MmBench => &[View::Flat, View::Sign, View::Room, View::Chart, View::Diagram],
            Self::SeedBench => &[View::Flat, View::Room, View::Sign],
            Self::RealWorldQa => &[View::Room, View::Flat],
            Self::Mmmu => &[View::Diagram, View::Chart],
            Self::MathVista => &[View::Chart, View::Flat],
            Self::MmVet => &[View::Flat, View::Sign, View::Room, View::Chart],
            Self::LlavaBench => &[View::Flat, View::Room, View::Flat],
        };
        views[index % views.len()]
    }

    /// Asks about a scene.
    fn rows(self, scene: &Scene, often: &[(Kind, Color)], stream: &mut Stream) -> Vec<Row> {
        match self {
            Self::Mme => mme(scene, stream),
            Self::Pope => pope(scene, often, stream),
            Self::MmVet => mm_vet(scene, stream),
            Self::LlavaBench => llava_bench(scene, stream),
            _ => self.choice(scene, stream).into_iter().collect(),
        }
    }

    /// Asks for a letter.
    fn choice(self, scene: &Scene, stream: &mut Stream) -> Option<Row> {
        for _ in 0..40 {
            let topic = stream.pick(Topic::of(scene.view));
            let Some(category) = self.category(topic) else { continue };
            let Some(question) = ask(scene, topic, true, stream) else { continue };
            let (options, right) = choices(&question, stream);
            let (question, answer) = (question.text, LETTERS[right].to_owned());
            return Some(Row { question, options, answer, category });
        }
        None
    }

    /// Returns the name of a category for a topic, if it is asked about.
    fn category(self, topic: Topic) -> Option<&'static str> {
        Some(match (self, topic) {
            (_, Topic::Existence | Topic::Position | Topic::Says | Topic::Number | Topic::Hue) => {
                return None;
            }
            (Self::SeedBench, Topic::Count) => "Instances Counting",
            (Self::SeedBench, Topic::Kind) => "Instance Identity",
            (Self::SeedBench, Topic::Side | Topic::Depth | Topic::Distance) => "Spatial Relation",
            (Self::SeedBench, Topic::Reading) => "Text Understanding",
            (Self::SeedBench, Topic::Chart | Topic::Arrow) => "Visual Reasoning",
            (Self::SeedBench, _) => "Instance Attributes",
            (Self::RealWorldQa, _) => "",
            (Self::MmVet, Topic::Reading) => "ocr",
            (Self::MmVet, Topic::Chart) => "ocr,math",
            (Self::MmVet, Topic::Side | Topic::Depth | Topic::Distance) => "rec,spat",
            (Self::MmVet, _) => "rec",
            (Self::LlavaBench, Topic::Side | Topic::Depth | Topic::Distance) => "complex",
            (Self::LlavaBench, _) => "conv",
            (Self::Mmmu, Topic::Arrow) => "Computer_Science",
            (Self::Mmmu, _) => "Economics",
            (Self::MathVista, Topic::Chart | Topic::Count) => "figure question answering",
            (Self::MathVista, _) => return None,
            (_, Topic::Count) => "object_localization",
            (_, Topic::Side | Topic::Depth | Topic::Distance) => "spatial_relationship",
            (_, Topic::Extent) => "attribute_comparison",
            (_, Topic::Reading) => "ocr",
            (_, Topic::Chart | Topic::Arrow) => "structuralized_imagetext_understanding",
            _ => "attribute_recognition",
        })
    }

    fn header(self) -> &'static str {
        match self {
            Self::Mme => "index\timage\timage_path\tquestion\tanswer\tcategory",
            Self::Pope | Self::MmVet => "index\timage\tquestion\tanswer\tcategory",
            Self::MmBench => {
                "index\tquestion\thint\tA\tB\tC\tD\tanswer\tcategory\timage\tsource\tl2-category\t\
                 comment\tsplit"
            }
            Self::SeedBench => "index\timage\tquestion\tA\tB\tC\tD\tanswer\tcategory",
            Self::RealWorldQa => "index\timage\tquestion\tA\tB\tC\tD\tanswer",
            Self::Mmmu => {
                "index\tid\timage\timage_path\tquestion\tA\tB\tC\tD\tanswer\tcategory\t\
                 l2-category\tsplit"
            }
            Self::MathVista => {
                "index\timage\tquestion\tquestion_type\tanswer_type\tchoices\tanswer\t\
                 answer_option\ttask\tskills"
            }
            Self::LlavaBench => "index\timage\tquestion\tanswer\tgpt4_ans\tcaption\tcategory",
        }
    }

    /// Writes a line; all but the first line of a picture may name that one instead of it.
    fn line(self, index: usize, image: &str, row: &Row) -> String {
        let Row { question, options, answer, category } = row;
        let option = |i: usize| options.get(i).map_or("", String::as_str);
        let all = [0, 1, 2, 3].map(option).join("\t");
        match self {
            Self::Mme => {
                // What both questions about a picture score together is found by this name.
                let picture = index / ROWS * ROWS;
                format!("{index}\t{image}\t{picture}.jpg\t{question}\t{answer}\t{category}\n")
            }
            Self::Pope | Self::MmVet => {
                format!("{index}\t{image}\t{question}\t{answer}\t{category}\n")
            }
            Self::MmBench => {
                let level = second_level(category);
                format!(
                    "{index}\t{question}\t\t{all}\t{answer}\t{category}\t{image}\tminiature\t\
                     {level}\t\tdev\n"
                )
            }
            Self::SeedBench => {
                format!("{index}\t{image}\t{question}\t{all}\t{answer}\t{category}\n")
            }
            Self::RealWorldQa => format!("{index}\t{image}\t{question}\t{all}\t{answer}\n"),
            Self::Mmmu => {
                let level =
                    if *category == "Economics" { "Business" } else { "Tech and Engineering" };
                format!(
                    "{index}\tvalidation_{category}_{index}\t{image}\t{index}.jpg\t\
                     <image 1> {question}\t{all}\t{answer}\t{category}\t{level}\tvalidation\n"
                )
            }
            Self::MathVista => math_vista(index, image, row),
            Self::LlavaBench => {
                let caption = option(0);
                format!("{index}\t{image}\t{question}\t{answer}\t{answer}\t{caption}\t{category}\n")
            }
        }
    }
}

/// Writes a line of `MathVista`: numbers are answered freely, everything else by choice.
fn math_vista(index: usize, image: &str, row: &Row) -> String {
    let Row { question, options, answer, category } = row;
    let right = LETTERS.iter().position(|letter| letter == answer).unwrap_or_default();
    let text = options.get(right).map_or("", String::as_str);
    let tail = format!("{text}\t{answer}\t{category}\t['numeric commonsense']\n");
    if text.parse::<usize>().is_ok() {
        let hint = "Hint: Please answer the question requiring an integer answer and provide the \
                    final value, e.g., 1, 2, 3, at the end.";
        let tail = format!("{text}\t\t{category}\t['numeric commonsense']\n");
        return format!(
            "{index}\t{image}\t\"{hint}\nQuestion: {question}\"\tfree_form\tinteger\t\t{tail}"
        );
    }
    let hint = "Hint: Please answer the question and provide the correct option letter, e.g., A, \
                B, C, D, at the end.";
    let lines: Vec<String> = options
        .iter()
        .zip(LETTERS)
        .map(|(option, letter)| format!("({letter}) {option}"))
        .collect();
    let quoted: Vec<String> = options.iter().map(|option| format!("'{option}'")).collect();
    let (lines, list) = (lines.join("\n"), quoted.join(", "));
    format!(
        "{index}\t{image}\t\"{hint}\nQuestion: {question}\nChoices:\n{lines}\"\tmulti_choice\ttext\t\
         [{list}]\t{tail}"
    )
}

/// Returns the group of a category of `MMBench`.
fn second_level(category: &str) -> &'static str {
    match category {
        "attribute_comparison" | "spatial_relationship" => {
            "finegrained_perception (cross-instance)"
        }
        "structuralized_imagetext_understanding" => "logic_reasoning",
        _ => "finegrained_perception (instance-level)",
    }
}

/// Returns the tables.
pub(super) fn jobs(config: &WorldConfig) -> Vec<Job<'_>> {
    let job = |benchmark: Benchmark| {
        let path = PathBuf::from(format!("test/{}.tsv", benchmark.name()));
        let often = benchmark.often(config);
        let rows = |index| benchmark.asked(config, index, &often).1.len();
        let tests = (0..config.size.num_tests()).map(rows).sum();
        let counts = Counts { tests, is_named: true, ..Counts::default() };
        Job { path, make: Box::new(move || benchmark.table(config, &often)), counts }
    };
    Benchmark::ALL.map(job).into()
}

impl Benchmark {
    fn scene(self, config: &WorldConfig, index: usize) -> Scene {
        let place = (200 + self as u64, index as u64);
        Scene::of_pool(self.view(index), Split::Test, config.seed, place)
    }

    /// Returns what is in the pictures of the test, what is in most of them first, where that is
    /// asked about.
    fn often(self, config: &WorldConfig) -> Vec<(Kind, Color)> {
        let mut counts: BTreeMap<(Kind, Color), usize> = BTreeMap::new();
        let num_scenes = if self == Self::Pope { config.size.num_tests() } else { 0 };
        for index in 0..num_scenes {
            let objects = self.scene(config, index).objects;
            let names: BTreeSet<_> = objects.iter().map(|it| (it.kind, it.color)).collect();
            for name in names {
                *counts.entry(name).or_default() += 1;
            }
        }
        let mut often: Vec<_> = counts.into_iter().collect();
        often.sort_by_key(|(_, num)| Reverse(*num));
        often.into_iter().map(|(name, _)| name).collect()
    }

    /// Makes a scene and what is asked about it.
    fn asked(
        self,
        config: &WorldConfig,
        index: usize,
        often: &[(Kind, Color)],
    ) -> (Scene, Vec<Row>) {
        let scene = self.scene(config, index);
        let place = 2_000 + self as u64;
        let key = Key { seed: config.seed, place, index: index as u64, attempt: 0 };
        let rows = self.rows(&scene, often, &mut Stream::new(key));
        (scene, rows)
    }

    fn table(self, config: &WorldConfig, often: &[(Kind, Color)]) -> Result<Vec<u8>, Error> {
        let lines = |index: usize| {
            let (scene, rows) = self.asked(config, index, often);
            let picture = base64(&encode("picture.jpg", &scene.draw(config.image_size))?);
            let mut lines = String::new();
            for (number, row) in rows.iter().enumerate() {
                // Indices are below the number of the first copies.
                let index = index * ROWS + number;
                let copies = if self == Self::MmBench { row.options.len() } else { 1 };
                for copy in 0..copies {
                    let first = index.to_string();
                    let image = if copy == 0 { &picture } else { &first };
                    let row = turned(row, copy);
                    lines.push_str(&self.line(copy * COPIES + index, image, &row));
                }
            }
            Ok(lines)
        };
        let num_tests = config.size.num_tests();
        let lines: Vec<String> =
            (0..num_tests).into_par_iter().map(lines).collect::<Result<_, Error>>()?;
        Ok(format!("{}\n{}", self.header(), lines.concat()).into_bytes())
    }
}

/// Returns a question with its options moved on, each to the letter before it.
fn turned(row: &Row, by: usize) -> Row {
    let Row { question, options, answer, category } = row;
    let mut options = options.clone();
    let mut answer = answer.clone();
    if by > 0 {
        let right = LETTERS.iter().position(|letter| *letter == answer).unwrap_or_default();
        let len = options.len();
        options.rotate_left(by);
        LETTERS[(right + len - by) % len].clone_into(&mut answer);
    }
    Row { question: question.clone(), options, answer, category }
}

/// Asks for `Yes` and for `No` about the same.
fn mme(scene: &Scene, stream: &mut Stream) -> Vec<Row> {
    let topics: &[(Topic, &str)] = if scene.view == View::Sign {
        &[(Topic::Says, "OCR")]
    } else {
        &[
            (Topic::Existence, "existence"),
            (Topic::Count, "count"),
            (Topic::Position, "position"),
            (Topic::Color, "color"),
        ]
    };
    for _ in 0..40 {
        let (topic, category) = stream.pick(topics);
        let both = match topic {
            Topic::Count | Topic::Color => {
                ask(scene, topic, true, stream).and_then(|asked| statements(&asked, stream))
            }
            _ => {
                let mut one = |is_yes| ask(scene, topic, is_yes, stream).map(|asked| asked.text);
                one(true).zip(one(false))
            }
        };
        let Some((yes, no)) = both else { continue };
        let row = |question: String, answer: &str| {
            let question = format!("{question} Please answer yes or no.");
            Row { question, options: Vec::new(), answer: answer.to_owned(), category }
        };
        return vec![row(yes, "Yes"), row(no, "No")];
    }
    Vec::new()
}

/// Asks once for what is there, and for something absent of every sort.
fn pope(scene: &Scene, often: &[(Kind, Color)], stream: &mut Stream) -> Vec<Row> {
    let mut rows = Vec::new();
    for (absent, answer, category) in [
        (None, "Yes", "adversarial,popular,random"),
        (Some(Absent::Adversarial), "No", "adversarial"),
        (Some(Absent::Popular(often)), "No", "popular"),
        (Some(Absent::Random), "No", "random"),
    ] {
        if let Some(question) = existence(scene, absent, stream) {
            let answer = answer.to_owned();
            rows.push(Row { question, options: Vec::new(), answer, category });
        }
    }
    rows
}

/// Asks freely.
fn mm_vet(scene: &Scene, stream: &mut Stream) -> Vec<Row> {
    for _ in 0..40 {
        let topic = stream.pick(Topic::of(scene.view));
        let Some(category) = Benchmark::MmVet.category(topic) else { continue };
        let Some(asked) = ask(scene, topic, true, stream) else { continue };
        let (question, answer) = (asked.text, asked.answer);
        return vec![Row { question, options: Vec::new(), answer, category }];
    }
    Vec::new()
}

/// Asks for a description, and freely about one thing; what can be seen stands in for the caption.
fn llava_bench(scene: &Scene, stream: &mut Stream) -> Vec<Row> {
    let caption = places(scene);
    let detail = Row {
        question: "Describe the image in detail.".to_owned(),
        options: vec![caption.clone()],
        answer: caption.clone(),
        category: "detail",
    };
    let mut rows = vec![detail];
    for _ in 0..40 {
        let topic = stream.pick(Topic::of(scene.view));
        let Some(category) = Benchmark::LlavaBench.category(topic) else { continue };
        let Some(asked) = ask(scene, topic, true, stream) else { continue };
        let (question, answer) = (asked.text, asked.answer);
        rows.push(Row { question, options: vec![caption], answer, category });
        break;
    }
    rows
}

/// Encodes bytes as base64.
pub(super) fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let byte = |i: usize| u32::from(chunk.get(i).copied().unwrap_or_default());
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for digit in 0..4 {
            let value = (bits >> (18 - 6 * digit)) & 63;
            let letter = if digit <= chunk.len() { DIGITS[value as usize] } else { b'=' };
            // Writing to a string cannot fail.
            let _ = text.write_char(char::from(letter));
        }
    }
    text
}
