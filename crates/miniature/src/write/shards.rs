//! `WebDataset` shards of captions: `kale`, `ocr`, `grounding`, `facts` with much of what
//! can be said, and `lessons` with one to three things in each picture, and
//! `regions` that say what is where, letter by letter.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::WorldConfig;
use super::files::{Counts, Job, encode, json};
use super::instruct::questions;
use crate::Error;
use crate::caption::{caption_with, details, inventory, lesson, place};
use crate::language::{Says, capital, phrase};
use crate::random::{Key, Stream};
use crate::scene::{Bounds, Object, Scene, Split, View, Writing, letters};

/// A set of captions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flavour {
    Kale,
    Ocr,
    Grounding,
    Facts,
    Lessons,
    Regions,
}

impl Flavour {
    const ALL: [Self; 6] =
        [Self::Kale, Self::Ocr, Self::Grounding, Self::Facts, Self::Lessons, Self::Regions];

    fn folder(self) -> &'static str {
        match self {
            Self::Kale => "kale",
            Self::Ocr => "ocr",
            Self::Grounding => "grounding",
            Self::Facts => "facts",
            Self::Lessons => "lessons",
            Self::Regions => "regions",
        }
    }

    /// The pool of scenes.
    fn pool(self) -> u64 {
        100 + self as u64
    }

    fn view(self, index: u64) -> View {
        match self {
            Self::Kale | Self::Grounding => {
                if index % 3 == 2 {
                    View::Room
                } else {
                    View::Flat
                }
            }
            Self::Ocr => View::Sign,
            Self::Lessons | Self::Regions => {
                [View::Flat, View::Sign, View::Room, View::Flat][(index % 4) as usize]
            }
            Self::Facts => match index % 20 {
                0..9 => View::Flat,
                9..13 => View::Room,
                13..18 => View::Sign,
                18 => View::Chart,
                _ => View::Diagram,
            },
        }
    }

    /// How many pictures a shard of the set holds, for each of the others.
    fn times(self) -> usize {
        match self {
            Self::Facts => 8,
            Self::Lessons => 4,
            Self::Regions => 6,
            _ => 1,
        }
    }

    /// The text of a sample, as the set publishes it.
    fn text(self, scene: &Scene, stream: &mut Stream) -> String {
        let caption = caption_with(scene, stream);
        match self {
            Self::Kale => caption,
            Self::Facts => facts(scene, stream),
            Self::Lessons => lesson(scene),
            Self::Regions => grounding(&caption, regions(scene).into_iter()),
            Self::Ocr => {
                let words: Vec<_> = scene.writing.iter().map(|w| w.text.as_str()).collect();
                let read = |text: String, granularity| Read { text, granularity };
                let all = [read(words.join(" "), 0), read(caption, 1)];
                serde_json::to_string(&all).unwrap_or_default()
            }
            Self::Grounding => {
                let object =
                    |object: &Object| (capital(&phrase(object, Says::NAME)), object.bounds);
                grounding(&caption, scene.objects.iter().map(object))
            }
        }
    }
}

/// Returns a caption and where in the picture things are, as BLIP3-grounding-50m has it.
fn grounding(caption: &str, regions: impl Iterator<Item = (String, Bounds)>) -> String {
    let region = |(phrase, bounds): (String, Bounds)| {
        let Bounds { x, y, width, height } = bounds;
        let (right, bottom) = (x + width, y + height);
        format!("{phrase} <bbox>[{x:.3}, {y:.3}][{right:.3}, {bottom:.3}]</bbox>")
    };
    let regions: Vec<_> = regions.map(region).collect();
    format!("[['{caption}', True, None], ['{}', False, 1.0]]", regions.join(", "))
}

/// Returns all that can be seen of every object and where it is, and every letter of a board, from
/// back to front.
fn regions(scene: &Scene) -> Vec<(String, Bounds)> {
    let object = |object: &Object| {
        let place = place(&object.bounds, scene.view == View::Room);
        (format!("{} {place}", details(object)), object.bounds)
    };
    let mut regions: Vec<_> = scene.objects.iter().map(object).collect();
    for Writing { text, color, board, place, bounds, .. } in &scene.writing {
        regions.push((format!("{} sign {}", board.word(), place.word()), *bounds));
        let letter = |(letter, bounds)| (format!("{} {letter}", color.word()), bounds);
        regions.extend(text.chars().zip(letters(text, bounds)).map(letter));
    }
    regions
}

/// Says much about a picture: what is where, or some questions with their answers.
pub(super) fn facts(scene: &Scene, stream: &mut Stream) -> String {
    if stream.chance(50) {
        return inventory(scene, stream);
    }
    let first = stream.below(2);
    let pairs = questions(scene, first, 8, stream).into_iter();
    pairs
        .map(|question| format!("{} {}", question.text, question.answer))
        .collect::<Vec<_>>()
        .join("\n")
}

/// A reading of a picture at some granularity.
#[derive(Serialize)]
struct Read {
    text: String,
    granularity: u8,
}

/// Returns the files of all sets.
pub(super) fn jobs(config: &WorldConfig) -> Vec<Job<'_>> {
    let (num_shards, num_samples) = config.size.shards();
    let mut jobs = Vec::new();
    for flavour in Flavour::ALL {
        let num_samples = num_samples * flavour.times();
        let folder = PathBuf::from(flavour.folder());
        for shard in 0..num_shards {
            let path = folder.join(format!("{shard:05}.tar"));
            let counts =
                Counts { pictures: num_samples, examples: num_samples, tests: 0, is_named: true };
            let make = move || tar(config, flavour, shard as u64);
            jobs.push(Job { path, make: Box::new(make), counts });
        }
        let path = folder.join("sizes.json");
        let sizes: BTreeMap<String, usize> =
            (0..num_shards).map(|shard| (format!("{shard:05}.tar"), num_samples)).collect();
        let counts = Counts { is_named: true, ..Counts::default() };
        let make = move || json(Path::new("sizes.json"), &sizes);
        jobs.push(Job { path, make: Box::new(make), counts });
    }
    jobs
}

/// Makes a shard.
fn tar(config: &WorldConfig, flavour: Flavour, shard: u64) -> Result<Vec<u8>, Error> {
    let num_samples = (config.size.shards().1 * flavour.times()) as u64;
    let mut builder = tar::Builder::new(Vec::new());
    let mut append = |name: &str, contents: &[u8]| {
        let mut header = tar::Header::new_gnu();
        header.set_size(contents.len() as u64);
        header.set_mode(0o644);
        let error = |source| Error::File { path: PathBuf::from(name), source };
        builder.append_data(&mut header, name, contents).map_err(error)
    };
    for index in shard * num_samples..(shard + 1) * num_samples {
        let pool = (flavour.pool(), index);
        let mut scene = Scene::of_pool(flavour.view(index), Split::Training, config.seed, pool);
        if flavour == Flavour::Lessons {
            scene = scene.with_few_things(1 + (index / 4 % 3) as usize);
        }
        let key = Key { seed: config.seed, place: !flavour.pool(), index, attempt: 0 };
        let text = flavour.text(&scene, &mut Stream::new(key));
        let picture = format!("{index:09}.jpg");
        append(&picture, &encode(&picture, &scene.draw(config.image_size))?)?;
        append(&format!("{index:09}.txt"), text.as_bytes())?;
    }
    let path = PathBuf::from(flavour.folder());
    builder.into_inner().map_err(|source| Error::File { path, source })
}
