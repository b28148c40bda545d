//! Streams mixed by weights, and whole phases of data as a recipe gives them.

use std::collections::{BTreeMap, HashSet};

use prompt::{ChatTemplate, Tokenizer};
use serde_json::{Value, json};
use tempfile::{TempDir, tempdir};
use train::data::{
    BoxHandling, Error, Loader, LoaderConfig, Mixed, Mixture, Part, Sample, SampleRng,
    SegmentOrder, Source, SourceContext, Task, check_data, open_source,
};
use train::recipe::{DataRecipe, Recipe, Stage, StageKind};

use super::instruct::recipe;
use super::originals::{self, Originals};
use super::support::{VISION_TOKENS, bare_sample, golden, preprocessor, tokenizer};

/// Counts, and says how far it is.
struct Counter {
    name: &'static str,
    next: u64,
}

impl Source for Counter {
    fn next(&mut self) -> Result<Task, Error> {
        let key = format!("{}/{}", self.name, self.next);
        self.next += 1;
        Ok(Box::new(move |rng| Ok(bare_sample(key, rng))))
    }

    fn position(&self) -> Value {
        json!(self.next)
    }

    fn seek(&mut self, position: &Value) -> Result<(), Error> {
        self.next = position.as_u64().expect("a number was saved");
        Ok(())
    }
}

fn mixture(weights: &[(&'static str, f64)], seed: u64) -> Result<Mixture, Error> {
    let part = |(name, weight): &(&'static str, f64)| Mixed {
        name: (*name).to_owned(),
        weight: *weight,
        source: Box::new(Counter { name, next: 0 }),
    };
    Mixture::new(weights.iter().map(part).collect(), seed)
}

fn keys(source: &mut dyn Source, num_tasks: u64) -> Vec<String> {
    let key = |index| {
        let made = source.next().unwrap()(&mut SampleRng::new(0, index));
        made.map_or_else(|bad| format!("bad {}", bad.key), |sample| sample.key)
    };
    (0..num_tasks).map(key).collect()
}

/// Counts keys by what is before the first slash.
fn shares(keys: &[String]) -> BTreeMap<&str, usize> {
    let mut shares = BTreeMap::new();
    for key in keys {
        *shares.entry(key.split('/').next().unwrap()).or_default() += 1;
    }
    shares
}

fn stage(kind: StageKind) -> Stage {
    Stage {
        kind,
        attention: sequence::AttentionPolicy::Causal,
        order: SegmentOrder::ImageText,
        max_text_tokens: None,
        augment: true,
        augment_boxes: BoxHandling::Moved,
    }
}

fn context(seed: u64) -> SourceContext {
    let (template, preprocessor) = (ChatTemplate::default(), preprocessor());
    SourceContext::new(tokenizer("base"), template, preprocessor, VISION_TOKENS, seed)
}

fn captions(originals: &Originals) -> Vec<DataRecipe> {
    let recipe = |(name, pattern): &(&str, String)| DataRecipe {
        name: (*name).to_owned(),
        weight: 1.0,
        shards: vec![pattern.clone()],
        files: Vec::new(),
        images: None,
        turns: 1,
    };
    originals.captions.iter().map(recipe).collect()
}

fn instructions(originals: &Originals) -> Vec<DataRecipe> {
    originals.sets.iter().map(recipe).collect()
}

fn written() -> (TempDir, Originals) {
    let dir = tempdir().unwrap();
    let originals = originals::write(dir.path());
    (dir, originals)
}

fn spelled(sample: &Sample) -> String {
    tokenizer("base").decode(&sample.ids, false)
}

#[test]
fn streams_are_chosen_by_their_weights_whatever_these_add_up_to() {
    const NUM_DRAWN: u64 = 20_000;
    let weights = [("a", 5.0), ("b", 3.0), ("c", 2.0)];
    let found = keys(&mut mixture(&weights, 1).unwrap(), NUM_DRAWN);
    for (name, weight) in weights {
        let share = shares(&found)[name] as f64 / NUM_DRAWN as f64;
        // Four standard deviations.
        assert!((share - weight / 10.0).abs() < 0.015, "{name}: {share}");
    }
    let scaled = weights.map(|(name, weight)| (name, weight * 0.25));
    assert_eq!(keys(&mut mixture(&scaled, 1).unwrap(), 500), found[..500]);
    assert_ne!(keys(&mut mixture(&weights, 2).unwrap(), 500), found[..500]);
    // Each stream goes on where it was: nothing of it is lost.
    let of_a: Vec<_> = found.iter().filter(|key| key.starts_with('a')).take(3).collect();
    assert_eq!(of_a, ["a/0", "a/1", "a/2"]);
}

#[test]
fn choices_do_not_repeat_with_those_before_them() {
    let found = keys(&mut mixture(&[("a", 1.0), ("b", 1.0)], 3).unwrap(), 4000);
    let is_a = |key: &String| key.starts_with('a');
    let same = found.windows(2).filter(|pair| is_a(&pair[0]) == is_a(&pair[1])).count();
    assert!((1850..2150).contains(&same), "{same}");
}

#[test]
fn a_mixture_goes_on_from_any_place() {
    // Numbers that are long to write.
    let weights = [("a", 0.7 / 3.0), ("b", 0.1 + 0.2), ("c", 0.1 / 7.0)];
    let mut source = mixture(&weights, 5).unwrap();
    let all = keys(&mut mixture(&weights, 5).unwrap(), 60);
    for at in 0..30 {
        let mut other = mixture(&weights, 5).unwrap();
        let saved = source.position().to_string();
        other.seek(&serde_json::from_str(&saved).unwrap()).unwrap();
        assert_eq!(keys(&mut other, 30), all[at..at + 30], "{at}");
        keys(&mut source, 1);
    }
    let weights = [("a", 0.7), ("b", 0.2), ("c", 0.1)];
    let position = mixture(&weights, 5).unwrap().position();
    let error = |weights: &[(&'static str, f64)], seed| {
        mixture(weights, seed).unwrap().seek(&position).unwrap_err().to_string()
    };
    assert_eq!(
        error(&[("a", 0.7), ("d", 0.3)], 5),
        "the saved position does not belong to the mixture of data sets: it is of `a` of weight 0.7, `b` of \
         weight 0.2, `c` of weight 0.1, expected `a` of weight 0.7, `d` of weight 0.3; start the run anew or \
         restore its data and settings"
    );
    assert!(error(&weights, 6).contains("it has another seed"));
    let error = source.seek(&json!({"x": 1})).unwrap_err().to_string();
    assert!(error.contains("unknown field `x`"), "{error}");
}

#[test]
fn a_weight_that_is_no_share_is_an_error() {
    for (weight, found) in [(0.0, "0"), (-1.0, "-1"), (f64::NAN, "NaN"), (f64::INFINITY, "inf")] {
        let error = mixture(&[("a", 1.0), ("b", weight)], 0).unwrap_err().to_string();
        let expected = format!("`weight` is {found} for data set `b`, expected a number above 0");
        assert_eq!(error, expected);
    }
    assert_eq!(
        mixture(&[], 0).unwrap_err().to_string(),
        "a mixture of no data sets has no samples"
    );
}

#[test]
fn captions_of_three_sets_come_out_of_their_shards() {
    let (_dir, originals) = written();
    let mut source =
        open_source(&captions(&originals), &stage(StageKind::Captions), &context(1)).unwrap();
    let mut texts = BTreeMap::new();
    for index in 0..200 {
        let sample = source.next().unwrap()(&mut SampleRng::new(0, index)).unwrap();
        assert_eq!(sample.pixels.len(), 1);
        texts.insert(sample.key.clone(), spelled(&sample));
    }
    // Every sample of every set was drawn, under its own name and with its own caption.
    assert_eq!(texts.len(), 36);
    for (key, text) in [
        ("kale/00001.tar/000000007", "A picture of 7 things."),
        ("ocr/00000.tar/000000003", "the text STOP 3"),
        ("grounding/00001.tar/000000011", "A cat beside 11 boxes."),
    ] {
        assert_eq!(texts[key], format!("<s><image> {text}<|endofchunk|><|endoftext|>"), "{key}");
    }
}

#[test]
fn instructions_of_eleven_sets_come_by_their_weights() {
    const NUM_DRAWN: u64 = 3000;
    let (_dir, originals) = written();
    let data = instructions(&originals);
    let stage = stage(StageKind::Instructions);
    let found = keys(&mut *open_source(&data, &stage, &context(1)).unwrap(), NUM_DRAWN);
    let shares = shares(&found);
    for (name, weight) in originals::WEIGHTS {
        let share = shares[name] as f64 / NUM_DRAWN as f64;
        assert!((share - weight).abs() < 0.025, "{name}: {share}");
    }
    // Within a set every example is as likely as any other.
    let of_vqa = found.iter().filter(|key| *key == "vqa/458752001").count();
    assert!((75..135).contains(&of_vqa), "{of_vqa}");
    assert_eq!(keys(&mut *open_source(&data, &stage, &context(1)).unwrap(), 50), found[..50]);
    assert_ne!(keys(&mut *open_source(&data, &stage, &context(2)).unwrap(), 50), found[..50]);
    let part = Part { index: 1, count: 2 };
    let other = SourceContext { part, ..context(1) };
    assert_ne!(keys(&mut *open_source(&data, &stage, &other).unwrap(), 50), found[..50]);
}

/// Returns the samples of one set until one has `key`.
fn sample(originals: &Originals, name: &str, key: &str, stage: &Stage) -> Sample {
    let data = [recipe(originals.set(name))];
    let mut source = open_source(&data, stage, &context(0)).unwrap();
    (0..200)
        .map(|index| source.next().unwrap()(&mut SampleRng::new(0, index)).unwrap())
        .find(|sample| sample.key == key)
        .expect("every example is drawn at some time")
}

#[test]
fn a_stage_says_where_the_image_is_and_how_long_a_text_may_be() {
    let (_dir, originals) = written();
    let instruct = stage(StageKind::Instructions);
    let key = "gqa/07333408";
    let text = spelled(&sample(&originals, "gqa", key, &instruct));
    let question = "Answer the question using a single word or phrase. What is on the white wall?";
    let end = format!("<|user|> \n<image> \n{question}<|end|><|assistant|> pipe<|endoftext|>");
    let plain = |text: &str| text.replace([' ', '\n'], "");
    assert!(plain(&text).ends_with(&plain(&end)), "{text}");
    let order = Stage { order: SegmentOrder::TextImage, ..instruct.clone() };
    let text = spelled(&sample(&originals, "gqa", key, &order));
    let end = format!("<|user|>{question}<image><|end|><|assistant|> pipe<|endoftext|>");
    assert!(plain(&text).ends_with(&plain(&end)), "{text}");
    let short = Stage { max_text_tokens: Some(20), ..instruct };
    let cut = sample(&originals, "gqa", key, &short);
    assert_eq!((cut.ids.len(), cut.num_labels()), (20, 0));
    let captions_of = |stage: &Stage| {
        let data = &captions(&originals)[..1];
        let mut source = open_source(data, stage, &context(0)).unwrap();
        spelled(&source.next().unwrap()(&mut SampleRng::new(0, 0)).unwrap())
    };
    let order = Stage { order: SegmentOrder::TextImage, ..stage(StageKind::Captions) };
    assert!(captions_of(&order).ends_with("things.<image><|endofchunk|><|endoftext|>"));
}

#[test]
fn a_sample_without_a_picture_is_text_alone() {
    let (_dir, originals) = written();
    let stage = stage(StageKind::Instructions);
    let alone = sample(&originals, "scienceqa", "scienceqa/8", &stage);
    assert_eq!((alone.pixels.len(), alone.layout.num_images()), (0, 0));
    assert!(!spelled(&alone).contains("<image>"));
    let seen = sample(&originals, "scienceqa", "scienceqa/7", &stage);
    assert_eq!((seen.pixels.len(), seen.layout.num_images()), (1, 1));
}

#[test]
fn a_stage_says_whether_views_are_random_and_boxes_move() {
    let (_dir, originals) = written();
    let data = [recipe(originals.set("refcoco"))];
    let texts = |stage: &Stage| {
        let mut source = open_source(&data, stage, &context(0)).unwrap();
        let mut all: Vec<_> = (0..60)
            .map(|index| source.next().unwrap()(&mut SampleRng::new(0, index)).unwrap())
            .map(|sample| {
                (spelled(&sample), sample.pixels[0].iter().map(|v| v.to_bits()).collect())
            })
            .collect::<Vec<(String, Vec<u32>)>>();
        all.sort();
        all.dedup_by(|a, b| a.0 == b.0);
        let num_texts = all.len();
        all.dedup_by(|a, b| a.1 == b.1);
        (num_texts, all.len())
    };
    let moved = stage(StageKind::Instructions);
    assert!(texts(&moved).0 > 20);
    let reference = Stage { augment_boxes: BoxHandling::Reference, ..moved.clone() };
    assert_eq!(texts(&reference).0, 2);
    // Two examples of one picture.
    assert_eq!(texts(&Stage { augment: false, ..moved }), (2, 1));
}

#[test]
fn a_phase_comes_out_alike_on_any_number_of_threads_and_from_any_batch() {
    let (dir, originals) = written();
    // A picture that is gone is replaced, always by the same sample.
    std::fs::remove_file(dir.path().join("gqa/images/n161313.jpg")).unwrap();
    for (data, stage) in [
        (instructions(&originals), stage(StageKind::Instructions)),
        (captions(&originals), stage(StageKind::Captions)),
    ] {
        let load = |num_threads: usize, position: Option<&Value>, num_batches: usize| {
            let source = open_source(&data, &stage, &context(9)).unwrap();
            let config = LoaderConfig { seed: 4, num_threads, ..LoaderConfig::default() };
            let mut loader = Loader::start(source, config, position).unwrap();
            (0..num_batches).map(|_| loader.next_batch(7).unwrap()).collect::<Vec<_>>()
        };
        let whole = load(1, None, 12);
        if data.len() == 11 {
            assert!(whole.iter().map(|batch| batch.bad).sum::<usize>() > 0);
        }
        for at in [0, 1, 5, 10] {
            let rest = load(3, Some(&whole[at].position), 11 - at);
            for (batch, expected) in rest.iter().zip(&whole[at + 1..]) {
                assert_eq!(batch.samples, expected.samples, "{at}");
                assert_eq!(batch.bad, expected.bad);
            }
        }
    }
}

#[test]
fn data_that_cannot_be_a_stage_is_an_error_before_the_first_sample() {
    let (_dir, originals) = written();
    let error = |data: &[DataRecipe], kind| {
        let error = open_source(data, &stage(kind), &context(0)).err().expect("it cannot be");
        // It is seen without reading, too.
        let checked = check_data(data, kind).err().map(|error| error.to_string());
        (checked, error.to_string())
    };
    let seen = |(checked, error): (Option<String>, String)| {
        assert_eq!(checked.as_ref(), Some(&error));
        error
    };
    let (captions, instructions) = (captions(&originals), instructions(&originals));
    assert_eq!(
        seen(error(&instructions, StageKind::Captions)),
        "unknown data set `vqa`, expected one of captions, kale, ocr, grounding"
    );
    let message = seen(error(&captions, StageKind::Instructions));
    assert!(message.starts_with("unknown data set `kale`, expected one of vqa, gqa"), "{message}");
    let whole = Stage { augment: false, ..stage(StageKind::Regions) };
    let kale = &captions[..1];
    let opened = open_source(kale, &whole, &context(0)).err().map(|error| error.to_string());
    let checked = check_data(kale, StageKind::Regions).err().map(|error| error.to_string());
    assert_eq!(
        seen((checked, opened.expect("it cannot be"))),
        "unknown data set `kale`, expected one of grounding"
    );
    let views =
        "`augment` is true, expected false where regions are learned, whose boxes do not move";
    assert_eq!(error(kale, StageKind::Regions).1, views);
    let bare = DataRecipe { shards: Vec::new(), ..captions[0].clone() };
    assert_eq!(
        seen(error(&[bare], StageKind::Captions)),
        "data set `kale` has no `shards`, expected files or addresses, with brace patterns"
    );
    let weightless = DataRecipe { weight: 0.0, ..instructions[0].clone() };
    assert_eq!(
        seen(error(&[weightless], StageKind::Instructions)),
        "`weight` is 0 for data set `vqa`, expected a number above 0"
    );
    let shards = vec!["{0..1.tar".to_owned()];
    let braces = DataRecipe { shards, ..captions[0].clone() };
    assert!(seen(error(&[braces], StageKind::Captions)).contains("expected a `}` for every `{`"));
    for (turns, data, kind, expected) in [
        (0, &instructions, StageKind::Instructions, "at least 1"),
        (2, &captions, StageKind::Captions, "1 where no questions are learned"),
    ] {
        let data = DataRecipe { turns, ..data[0].clone() };
        let message = seen(error(&[data], kind));
        assert_eq!(message, format!("`turns` is {turns}, expected {expected}"));
    }
    let gone = DataRecipe { images: Some("gone".into()), ..instructions[0].clone() };
    assert!(seen(error(&[gone], StageKind::Instructions)).contains("`gone` is no folder"));
    assert!(error(&[], StageKind::Captions).1.ends_with("has no samples"));
    std::fs::write(&originals.set("scienceqa").files[0], "{}").unwrap();
    let empty = [recipe(originals.set("scienceqa"))];
    let expected = (None, "data set `scienceqa` has no samples".to_owned());
    assert_eq!(error(&empty, StageKind::Instructions), expected);
    for (data, kind) in [(instructions, StageKind::Instructions), (captions, StageKind::Captions)] {
        check_data(&data, kind).unwrap();
    }
}

#[test]
fn questions_about_one_picture_are_turns_of_one_sample() {
    let dir = tempdir().unwrap();
    let originals = originals::write(dir.path());
    let data = DataRecipe { turns: 3, ..recipe(originals.set("vqa")) };
    let mut source = open_source(&[data], &stage(StageKind::Instructions), &context(1)).unwrap();
    let sample = |_| (source.next().unwrap())(&mut SampleRng::new(0, 0)).unwrap();
    let samples: Vec<_> = (0..40).map(sample).collect();
    let tokenizer = tokenizer("base");
    let mut seen = HashSet::new();
    for sample in &samples {
        assert_eq!(sample.layout.num_images(), 1);
        seen.insert(tokenizer.decode(&sample.ids, false));
    }
    // One picture has two questions, the other one; how to answer is said once.
    let short = "Answer the question using a single word or phrase. ";
    let ends = [
        format!(
            "{short}What is this photo taken looking through?<|end|><|assistant|> net<|end|>\
             <|user|> What position is this man playing?<|end|><|assistant|> pitcher<|endoftext|>"
        ),
        format!("\n{short}Is this a café?<|end|><|assistant|> yes<|endoftext|>"),
    ];
    assert_eq!(seen.len(), ends.len(), "{seen:?}");
    for end in &ends {
        assert!(seen.iter().any(|text| text.ends_with(end)), "{end} in {seen:?}");
    }
}

#[test]
fn a_position_of_other_annotations_is_an_error() {
    let (_dir, originals) = written();
    let data = [recipe(originals.set("gqa"))];
    let open = || open_source(&data, &stage(StageKind::Instructions), &context(0)).unwrap();
    let position = open().position();
    std::fs::write(
        &originals.set("gqa").files[0],
        r#"{"7": {"imageId": "2370799", "question": "a", "answer": "b"}}"#,
    )
    .unwrap();
    let message = open().seek(&position).unwrap_err().to_string();
    let expected = "to data set `gqa`: it is of 2 examples, expected 1; start the run anew";
    assert!(message.contains(expected), "{message}");
}

#[test]
fn recipes_and_documentation_name_the_sets_with_their_files_as_published() {
    let (_dir, originals) = written();
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
    let name_of = |path: &std::path::PathBuf| path.file_name().unwrap().display().to_string();
    let page = std::fs::read_to_string(format!("{root}/docs/src/data.md")).unwrap();
    for set in &originals.sets {
        let files: Vec<_> = set.files.iter().map(|file| format!("`{}`", name_of(file))).collect();
        let row = format!("| `{}` | {} |", set.name, files.join(", "));
        assert!(page.contains(&row), "{row}");
    }
    for recipe in ["instruct.toml", "pretrain.toml"] {
        let path = format!("{root}/recipes/{recipe}");
        let (_, phases) = Recipe::open(path.as_ref(), &[]).unwrap().resolve().unwrap();
        for phase in phases {
            for data in &phase.data {
                let opened = open_source(std::slice::from_ref(data), &phase.stage, &context(0));
                assert!(!matches!(opened, Err(Error::UnknownSet { .. })), "{}", data.name);
                if phase.stage.kind == StageKind::Instructions {
                    let set = originals.set(&data.name);
                    assert!(data.files.iter().map(name_of).eq(set.files.iter().map(name_of)));
                    assert!((data.weight - set.weight).abs() < 1e-9);
                }
            }
        }
    }
    let toml = originals.instructions_toml() + &originals.captions_toml();
    let data: BTreeMap<String, Vec<DataRecipe>> = toml::from_str(&toml).unwrap();
    assert_eq!(data["data"], [instructions(&originals), captions(&originals)].concat());
}

#[test]
fn a_text_ends_with_what_the_vocabulary_has_for_it() {
    let end_of = |json: String| {
        let tokenizer = Tokenizer::from_bytes(json.as_bytes()).unwrap();
        let template = ChatTemplate::default();
        SourceContext::new(tokenizer, template, preprocessor(), VISION_TOKENS, 0).end
    };
    let json = std::fs::read_to_string(golden("base/model/tokenizer.json")).unwrap();
    assert_eq!(end_of(json.clone()), "<|endoftext|>");
    assert_eq!(end_of(json.replace("<|endoftext|>", "<|another|>")), "</s>");
}
