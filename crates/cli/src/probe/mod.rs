//! `aki probe`: how well the place and the looks of the thing that a question asks for can be read, by a linear
//! rule, from the image's tokens in every layer.
//!
//! Pictures are of scenes that are kept for tests; the question never says what is read. And whether a
//! token alone knows that what it lies on is counted.

mod ridge;
mod tokens;

use std::fmt::Write;
use std::fs;

use anyhow::{Context, Result};
use miniature::{Color, Extent, Object, Scene, Split, View};
use model::{Sequence, Tap, Tensor};
use prompt::{ChatTemplate, Message, Part, RgbImage};
use sequence::AttentionPolicy;
use serde::{Deserialize, Serialize};

use self::ridge::{Ridge, center, products};
use crate::args::ProbeArgs;
use crate::environment::Environment;
use crate::output;
use crate::runtime::Runtime;

/// What decides which pictures are shown.
const SEED: u64 = 1_000_003;
/// The width and height of pictures.
const PICTURE: usize = 192;
/// The penalties that are tried, as shares of the mean square of the features; for each kind of target
/// the one counts that predicts the last fifth of what is learned best.
const PENALTIES: [f64; 4] = [1e-3, 1e-2, 1e-1, 1.0];
/// The targets: one for each colour, then right and down, then size.
const NUM_TARGETS: usize = Color::ALL.len() + 3;

/// Which of the targets have a penalty of their own: colour, place, size.
const GROUPS: [(usize, usize); 3] = [
    (0, Color::ALL.len()),
    (Color::ALL.len(), Color::ALL.len() + 2),
    (Color::ALL.len() + 2, NUM_TARGETS),
];

/// What can be read in one layer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Layer {
    /// `input`, or the number of the decoder's layer, counted from 1.
    pub(crate) name: String,
    /// What can be read of the thing that is asked for.
    pub(crate) asked: Read,
    /// What can be read of another thing in the picture.
    pub(crate) other: Read,
    /// How well a token alone says whether what it lies on is counted: the area under the curve of hits
    /// and false alarms, 0.5 by guessing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) counted: Option<f64>,
}

/// What can be read of a thing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Read {
    /// How often the colour is right.
    pub(crate) color: f64,
    /// How often the size is right.
    pub(crate) size: f64,
    /// The share of the variance of the place that is explained.
    pub(crate) place: f64,
}

/// What a probe found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Probe {
    /// How many pictures were learned from.
    pub(crate) learned: usize,
    /// How many were kept to test.
    pub(crate) tested: usize,
    /// What always saying the most common colour and size would reach.
    pub(crate) chance: Read,
    /// From the decoder's input on.
    pub(crate) layers: Vec<Layer>,
}

/// Probes a model.
pub(crate) fn run(args: &ProbeArgs, environment: &Environment) -> Result<()> {
    let runtime = Runtime::load(&args.model.model, &args.compute, environment)?;
    let asking = Asking {
        policy: args.policy.attention,
        text_first: args.text_first,
        pictures: args.pictures,
    };
    let found = probe(&runtime, asking)?;
    if let Some(path) = &args.output {
        let write = || format!("cannot write `{}`", path.display());
        // Beside its place first: a kill leaves all of it or nothing.
        let temporary = path.with_extension("tmp");
        fs::write(&temporary, serde_json::to_string_pretty(&found)? + "\n").with_context(write)?;
        fs::rename(&temporary, path).with_context(write)?;
    }
    if args.json { output::json(&found) } else { output::text(&table(&found)) }
}

/// Writes down what was found.
fn table(probe: &Probe) -> String {
    let mut text = format!(
        "learned from {} pictures, tested on {}; of 100\n\n{:<10}{:>24}{:>24}{:>10}\n{:<10}",
        probe.learned, probe.tested, "", "what is asked for", "another thing", "a token", "layer"
    );
    let head = format!("{:>8}{:>8}{:>8}", "colour", "size", "place");
    let line = |read: &Read| {
        let Read { color, size, place } = read;
        format!("{:>8.1}{:>8.1}{:>8.1}", 100.0 * color, 100.0 * size, 100.0 * place)
    };
    // Writing to a string cannot fail.
    let _ = writeln!(text, "{head}{head}{:>10}", "counted");
    let counted =
        |of: Option<f64>| of.map_or_else(String::new, |of| format!("{:>10.1}", 100.0 * of));
    for layer in &probe.layers {
        let (asked, other) = (line(&layer.asked), line(&layer.other));
        let _ = writeln!(text, "{:<10}{asked}{other}{}", layer.name, counted(layer.counted));
    }
    let (chance, guessing) = (line(&probe.chance), counted(Some(0.5)));
    let _ = writeln!(text, "{:<10}{chance}{chance}{guessing}", "guessing");
    text
}

/// How a model is asked.
#[derive(Clone, Copy, Debug)]
struct Asking {
    policy: AttentionPolicy,
    text_first: bool,
    pictures: usize,
}

/// A picture, and two things in it.
struct Case {
    scene: Scene,
    asked: Object,
    other: Object,
}

/// Makes the cases: scenes with a thing that is alone of its kind, and another one.
fn cases(count: usize) -> Vec<Case> {
    let case = |index: u64| {
        let scene = Scene::make(View::Flat, Split::Test, SEED, index);
        let alone = |object: &&Object| {
            scene.objects.iter().filter(|known| known.kind == object.kind).count() == 1
        };
        let found: Vec<Object> = scene.objects.iter().filter(alone).cloned().collect();
        let at = index as usize % found.len().max(1);
        let asked = found.get(at)?.clone();
        // What is alone has a kind of its own.
        let others: Vec<&Object> = found.iter().filter(|one| one.kind != asked.kind).collect();
        let other = others.get(index as usize / 3 % others.len().max(1)).copied()?.clone();
        Some(Case { scene, asked, other })
    };
    (0..).filter_map(case).take(count).collect()
}

/// Trains probes on a model, and tests them.
///
/// # Errors
/// If the model cannot compute, or its numbers are none.
fn probe(runtime: &Runtime, asking: Asking) -> Result<Probe> {
    let learned = asking.pictures.max(10);
    let cases = cases(learned + learned.div_ceil(4));
    let mut layers: Vec<(String, Vec<Vec<f32>>)> = Vec::new();
    for case in &cases {
        let question = format!("What color is the {}?", case.asked.kind.word());
        let found = features(runtime, (&case.scene, &question), asking)?;
        for (at, (name, row)) in found.into_iter().enumerate() {
            if at == layers.len() {
                layers.push((name, Vec::with_capacity(cases.len())));
            }
            layers[at].1.push(row);
        }
    }
    let asked: Vec<&Object> = cases.iter().map(|case| &case.asked).collect();
    let other: Vec<&Object> = cases.iter().map(|case| &case.other).collect();
    let counted = tokens::probe(runtime, asking)?;
    let read = |((name, mut rows), counted): ((String, Vec<Vec<f32>>), f64)| {
        center(&mut rows, learned);
        let (seen, kept) = rows.split_at(learned);
        let inner = Inner { seen: products(seen, seen), kept: products(kept, seen) };
        let (asked, other) = (inner.read(&asked)?, inner.read(&other)?);
        Ok(Layer { name, asked, other, counted: Some(counted) })
    };
    let layers = layers.into_iter().zip(counted).map(read).collect::<Result<_>>()?;
    Ok(Probe { learned, tested: cases.len() - learned, chance: chance(&asked, learned), layers })
}

/// Returns the image's tokens, one after the other, in every layer, where a question is asked about a
/// scene.
fn features(
    runtime: &Runtime,
    (scene, question): (&Scene, &str),
    asking: Asking,
) -> Result<Vec<(String, Vec<f32>)>> {
    let drawn = scene.draw(PICTURE).into_raw();
    let picture = RgbImage::new(PICTURE, PICTURE, drawn)
        .context("a picture has three values for every pixel")?;
    let vision = runtime.see(&picture)?;
    let question = format!("Answer the question using a single word or phrase. {question}");
    // As in training.
    let content = if asking.text_first {
        vec![Part::Text(format!("{question}\n")), Part::Image]
    } else {
        vec![Part::Image, Part::Text(format!("\n{question}"))]
    };
    let template = ChatTemplate::default();
    let count = runtime.config.num_vision_tokens;
    let encoded = template.encode(&runtime.tokenizer, &[Message::user(content)], count)?;
    let place = encoded.layout.images().next().context("the question has an image")?;
    let plan = asking.policy.plan(&encoded.layout);
    let embeddings = runtime.aki.embed(&encoded.ids, &encoded.layout, &[vision])?;
    let mut recorder = Recorder { start: place.start, len: place.len(), found: Vec::new() };
    recorder.record("input".to_owned(), &embeddings)?;
    let mut batch = [Sequence { plan: &plan, cache: None }];
    let mut failure = Ok(());
    let mut watch = Watch { recorder: &mut recorder, failure: &mut failure };
    runtime.aki.forward(&embeddings, &mut batch, &mut watch)?;
    failure?;
    Ok(recorder.found)
}

/// Keeps some rows of every layer.
struct Recorder {
    start: usize,
    len: usize,
    found: Vec<(String, Vec<f32>)>,
}

impl Recorder {
    fn record(&mut self, name: String, value: &Tensor) -> Result<()> {
        let rows = value.narrow(0, self.start, self.len)?;
        self.found.push((name, rows.flatten_all()?.to_dtype(model::DType::F32)?.to_vec1()?));
        Ok(())
    }
}

/// Watches a forward pass, which cannot fail for our sake.
struct Watch<'w> {
    recorder: &'w mut Recorder,
    failure: &'w mut Result<()>,
}

impl Tap for Watch<'_> {
    fn tensor(&mut self, name: &str, value: &Tensor) {
        let is_layer = name.starts_with("layer.") || name == "final_norm";
        if is_layer && self.failure.is_ok() {
            // The decoder counts from 0, and names what leaves the last layer by its norm.
            let number = self.recorder.found.len().to_string();
            *self.failure = self.recorder.record(number, value);
        }
    }
}

/// The inner products of the features of one layer.
struct Inner {
    /// Of those that are learned from.
    seen: Vec<f64>,
    /// Of those that are kept with those.
    kept: Vec<f64>,
}

impl Inner {
    /// Learns what some pictures show of a thing, and tests it on the others.
    fn read(&self, things: &[&Object]) -> Result<Read> {
        let learned = self.seen.len().isqrt();
        let targets: Vec<f64> = things.iter().flat_map(|thing| targets(thing)).collect();
        // The penalty is chosen without the pictures that are kept.
        let part = learned * 4 / 5;
        let block = |rows: std::ops::Range<usize>| -> Vec<f64> {
            rows.flat_map(|row| &self.seen[row * learned..row * learned + part]).copied().collect()
        };
        let (inside, outside) = (block(0..part), block(part..learned));
        let mut best = [(f64::INFINITY, 0_usize); GROUPS.len()];
        for (number, penalty) in PENALTIES.into_iter().enumerate() {
            let fit = Ridge::fit(&inside, &targets[..part * NUM_TARGETS], part, penalty)?;
            let mut errors = [0.0; GROUPS.len()];
            for (row, expected) in
                outside.chunks(part).zip(targets[part * NUM_TARGETS..].chunks(NUM_TARGETS))
            {
                let found = fit.predict(row);
                for (error, group) in errors.iter_mut().zip(GROUPS) {
                    *error += squared(&found[group.0..group.1], &expected[group.0..group.1]);
                }
            }
            for (best, error) in best.iter_mut().zip(errors) {
                if error < best.0 {
                    *best = (error, number);
                }
            }
        }
        let mut predicted: Vec<Vec<f64>> = vec![vec![0.0; NUM_TARGETS]; self.kept.len() / learned];
        let is_best = |number: usize| best.iter().any(|best| best.1 == number);
        for (number, penalty) in PENALTIES.into_iter().enumerate().filter(|(at, _)| is_best(*at)) {
            let fit = Ridge::fit(&self.seen, &targets[..learned * NUM_TARGETS], learned, penalty)?;
            for (predicted, row) in predicted.iter_mut().zip(self.kept.chunks(learned)) {
                let found = fit.predict(row);
                let chosen = best.iter().zip(GROUPS).filter(|(best, _)| best.1 == number);
                for (_, group) in chosen {
                    predicted[group.0..group.1].copy_from_slice(&found[group.0..group.1]);
                }
            }
        }
        Ok(judge(&predicted, &targets[learned * NUM_TARGETS..]))
    }
}

fn targets(thing: &Object) -> [f64; NUM_TARGETS] {
    let mut values = [0.0; NUM_TARGETS];
    let colors = Color::ALL.len();
    if let Some(at) = Color::ALL.iter().position(|color| *color == thing.color) {
        values[at] = 1.0;
    }
    let [x, y] = thing.bounds.middle();
    values[colors] = f64::from(x);
    values[colors + 1] = f64::from(y);
    values[colors + 2] = f64::from(u8::from(thing.extent == Extent::Large));
    values
}

fn squared(found: &[f64], expected: &[f64]) -> f64 {
    found.iter().zip(expected).map(|(a, b)| (a - b).powi(2)).sum()
}

/// Compares predictions with what is true.
fn judge(predicted: &[Vec<f64>], targets: &[f64]) -> Read {
    let colors = Color::ALL.len();
    let truth: Vec<&[f64]> = targets.chunks(NUM_TARGETS).collect();
    let count = predicted.len() as f64;
    let share = |is_right: &dyn Fn(&[f64], &[f64]) -> bool| {
        let right = predicted.iter().zip(&truth).filter(|(found, known)| is_right(found, known));
        right.count() as f64 / count
    };
    let color = share(&|found, known| largest(&found[..colors]) == largest(&known[..colors]));
    let size = share(&|found, known| (found[colors + 2] > 0.5) == (known[colors + 2] > 0.5));
    let explained = |at: usize| {
        let mean = truth.iter().map(|known| known[at]).sum::<f64>() / count;
        let total: f64 = truth.iter().map(|known| (known[at] - mean).powi(2)).sum();
        let pairs = predicted.iter().zip(&truth);
        let left: f64 = pairs.map(|(found, known)| (found[at] - known[at]).powi(2)).sum();
        1.0 - left / total.max(1e-12)
    };
    Read { color, size, place: f64::midpoint(explained(colors), explained(colors + 1)) }
}

fn largest(values: &[f64]) -> usize {
    let best = values.iter().enumerate().max_by(|(_, a), (_, b)| a.total_cmp(b));
    best.map_or(0, |(at, _)| at)
}

/// Returns what the most common colour and size of those that are learned from reach on the others.
fn chance(things: &[&Object], learned: usize) -> Read {
    let (seen, kept) = things.split_at(learned);
    let colors =
        Color::ALL.map(|color| seen.iter().filter(|one| one.color == color).count() as f64);
    let common = Color::ALL[largest(&colors)];
    let large = 2 * seen.iter().filter(|one| one.extent == Extent::Large).count() > seen.len();
    let share = |count: usize| count as f64 / kept.len().max(1) as f64;
    Read {
        color: share(kept.iter().filter(|one| one.color == common).count()),
        size: share(kept.iter().filter(|one| (one.extent == Extent::Large) == large).count()),
        place: 0.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_thing_that_is_asked_for_is_alone_of_its_kind_and_the_other_is_another() {
        for case in cases(50) {
            let same = case.scene.objects.iter().filter(|one| one.kind == case.asked.kind);
            assert_eq!(same.count(), 1);
            assert_ne!(case.other.kind, case.asked.kind);
            assert_eq!(case.scene.split(), Split::Test);
        }
    }

    #[test]
    fn a_probe_finds_what_features_hold_and_nothing_that_they_do_not() {
        let cases = cases(250);
        let asked: Vec<&Object> = cases.iter().map(|case| &case.asked).collect();
        let other: Vec<&Object> = cases.iter().map(|case| &case.other).collect();
        let mut rows: Vec<Vec<f32>> = asked
            .iter()
            .map(|thing| targets(thing).iter().map(|value| *value as f32).collect())
            .collect();
        center(&mut rows, 200);
        let (seen, kept) = rows.split_at(200);
        let inner = Inner { seen: products(seen, seen), kept: products(kept, seen) };
        let (of_asked, of_other) = (inner.read(&asked).unwrap(), inner.read(&other).unwrap());
        assert!(of_asked.color > 0.95 && of_asked.place > 0.95, "{of_asked:?}");
        assert!(of_other.color < 0.4 && of_other.place < 0.4, "{of_other:?}");
    }
}
