//! The golden model as a learner.

use std::collections::BTreeMap;

use checkpoint::{Checkpoint, Dtype};
use kernels::BlockFormat;
use model::AkiConfig;
use sequence::AttentionPolicy;
use train::Learner;
use train::data::Sample;
use train::learner::{AkiFiles, AkiLearner, AkiTraining};
use train::optimizer::{AdamW, AdamWConfig};
use train::parallel::{Alone, Plan};
use train::recipe::{LoraRecipe, Recipe};
use train::step::Accumulator;

use super::support::RECIPE;
use crate::data::support::{encoder, golden};

fn files(folder: &std::path::Path) -> AkiFiles {
    let config = std::fs::read_to_string(folder.join("config.json")).expect("a configuration");
    AkiFiles {
        config: AkiConfig::from_json(&config).expect("it is valid"),
        weights: Checkpoint::open(folder).expect("weights"),
        beside: vec![("tokenizer.json".to_owned(), b"{}".to_vec())],
    }
}

/// Loads the golden model with changes to a recipe.
fn learner(change: impl FnOnce(&mut AkiTraining)) -> AkiLearner {
    let recipe = Recipe::parse(RECIPE, "recipe.toml", &[]).expect("it is valid");
    let mut training = AkiTraining::from(&recipe);
    change(&mut training);
    let mut learner = AkiLearner::load(files(&golden("base/model")), training).expect("it loads");
    learner.set_attention(AttentionPolicy::ModalityMutual);
    learner
}

/// Returns samples of an image and a text, of text alone, and of a text before an image.
fn samples() -> Vec<Sample> {
    let image_text = encoder(|_| {});
    let text_image = encoder(|config| config.order = train::data::SegmentOrder::TextImage);
    let pixels = |seed: usize| (0..3 * 56 * 56).map(|i| ((i * seed) as f32 * 0.01).sin()).collect();
    vec![
        Sample::new("a", image_text.caption("a red cube").unwrap(), vec![pixels(1)]),
        Sample::new("b", image_text.instruction("Why?", "No.", false).unwrap(), Vec::new()),
        Sample::new(
            "c",
            image_text.instruction("What is it?", "two", true).unwrap(),
            vec![pixels(2)],
        ),
        Sample::new("d", text_image.instruction("What?", "a park", true).unwrap(), vec![pixels(3)]),
    ]
}

fn gradients(learner: &AkiLearner, batch: &[Sample]) -> (BTreeMap<String, Vec<f32>>, f32, usize) {
    let mut all = BTreeMap::new();
    let loss = learner
        .gradients(batch, &mut |name, gradient| {
            all.insert(name.to_owned(), gradient);
            Ok(())
        })
        .expect("it computes");
    (all, loss.mean, loss.num_labels)
}

/// Does some steps.
fn learn(learner: &AkiLearner, steps: usize) {
    let mut optimizer = AdamW::new(AdamWConfig::default());
    let plan = Plan::new(learner.parameters(), 1).expect("one process");
    for _ in 0..steps {
        let mut gradients = Accumulator::new(&plan, &Alone);
        gradients.add(learner, &samples(), &mut Alone).expect("it computes");
        let report = gradients.reduce(&mut Alone).expect("alone");
        let how = (report.grad_norm, 1e-3);
        gradients.apply(learner, &mut optimizer, how, &mut Alone).expect("it has all");
    }
}

#[test]
fn a_batch_of_mixed_layouts_learns_what_its_samples_teach_one_by_one() {
    let learner = learner(|_| {});
    let batch = samples();
    let (together, mean, num_labels) = gradients(&learner, &batch);
    let mut sums: BTreeMap<String, Vec<f32>> = BTreeMap::new();
    let mut loss = 0.0;
    for sample in &batch {
        let (one, mean, labels) = gradients(&learner, std::slice::from_ref(sample));
        let share = labels as f32 / num_labels as f32;
        loss += mean * share;
        for (name, gradient) in one {
            let sum = sums.entry(name).or_insert_with(|| vec![0.0; gradient.len()]);
            sum.iter_mut().zip(gradient).for_each(|(sum, value)| *sum += share * value);
        }
    }
    assert!((loss - mean).abs() < 1e-5 * mean, "{loss} {mean}");
    assert_eq!(sums.len(), learner.parameters().len());
    for (name, sum) in sums {
        let largest = sum.iter().fold(0.0_f32, |most, value| most.max(value.abs()));
        let close = |(a, b): (&f32, &f32)| (a - b).abs() <= 1e-5 * largest;
        assert!(sum.iter().zip(&together[&name]).all(close), "{name}");
    }
}

#[test]
fn a_batch_in_which_nothing_is_to_be_learned_teaches_nothing() {
    let learner = learner(|_| {});
    let mut batch = samples();
    for sample in &mut batch {
        sample.labels.fill(None);
    }
    let (gradients, _, num_labels) = gradients(&learner, &batch);
    assert_eq!((gradients.len(), num_labels), (0, 0));
    assert_eq!(learner.loss(&batch).unwrap().num_labels, 0);
}

#[test]
fn what_is_saved_is_the_model_bit_for_bit() {
    let learner = learner(|_| {});
    let before = learner.loss(&samples()).unwrap().mean;
    learn(&learner, 3);
    let loss = learner.loss(&samples()).unwrap();
    assert!(loss.mean < before, "{} {before}", loss.mean);
    let folder = tempfile::tempdir().unwrap();
    learner.save(folder.path()).unwrap();
    let recipe = Recipe::parse(RECIPE, "recipe.toml", &[]).unwrap();
    let mut again = AkiLearner::load(files(folder.path()), AkiTraining::from(&recipe)).unwrap();
    again.set_attention(AttentionPolicy::ModalityMutual);
    assert_eq!(again.loss(&samples()).unwrap(), loss);
    assert_eq!(std::fs::read(folder.path().join("tokenizer.json")).unwrap(), b"{}");
    // What is frozen is not touched.
    let [saved, golden] =
        [folder.path(), &golden("base/model")].map(|p| Checkpoint::open(p).unwrap());
    assert_eq!(saved.len(), golden.len());
    for name in golden.names().filter(|name| name.starts_with("vision_encoder.")) {
        assert_eq!(*saved.tensor(name).unwrap().bytes, *golden.tensor(name).unwrap().bytes);
    }
}

fn adapted(training: &mut AkiTraining) {
    training.model.frozen = vec!["*".to_owned()];
    let targets = vec!["lang_model.*.qkv_proj".to_owned(), "lang_model.*.down_proj".to_owned()];
    training.lora = Some(LoraRecipe { rank: 4, alpha: 8.0, targets });
}

#[test]
fn adapters_are_merged_into_what_is_saved_and_come_back_as_they_were() {
    let learner = learner(adapted);
    assert_eq!(learner.parameters().len(), 2 * 2 * 3);
    learn(&learner, 5);
    let loss = learner.loss(&samples()).unwrap().mean;
    let folder = tempfile::tempdir().unwrap();
    learner.save(folder.path()).unwrap();
    let mut restored = self::learner(adapted);
    assert!((restored.loss(&samples()).unwrap().mean - loss).abs() > 1e-2);
    restored.restore(folder.path()).unwrap();
    assert_eq!(restored.loss(&samples()).unwrap().mean.to_bits(), loss.to_bits());
    let recipe = Recipe::parse(RECIPE, "recipe.toml", &[]).unwrap();
    let mut merged = AkiLearner::load(files(folder.path()), AkiTraining::from(&recipe)).unwrap();
    merged.set_attention(AttentionPolicy::ModalityMutual);
    let found = merged.loss(&samples()).unwrap().mean;
    assert!((found - loss).abs() < 1e-5 * loss, "{found} {loss}");
}

/// Returns the golden model with a frozen matrix in blocks of eight bits.
fn quantized() -> AkiFiles {
    const NAME: &str = "lang_model.model.layers.0.mlp.gate_up_proj.weight";
    let mut files = files(&golden("base/model"));
    let tensor = files.weights.tensor(NAME).expect("it is there");
    let values = tensor.to_f32_vec().expect("floats");
    let mut bytes = vec![0; BlockFormat::Q8_0.num_bytes(values.len())];
    kernels::quantize(BlockFormat::Q8_0, &values, &mut bytes);
    let blocks =
        checkpoint::Tensor { dtype: Dtype::Q8_0, shape: tensor.shape.clone(), bytes: bytes.into() };
    files.weights = Checkpoint::from_tensors([(NAME.to_owned(), blocks)]).over(files.weights);
    files
}

#[test]
fn a_run_that_starts_with_blocks_goes_on_with_what_it_saved() {
    let recipe = Recipe::parse(RECIPE, "recipe.toml", &[]).unwrap();
    let load = |files: AkiFiles| {
        let mut training = AkiTraining::from(&recipe);
        training.model.frozen.push("lang_model.model.layers.0.*".to_owned());
        let mut learner = AkiLearner::load(files, training).unwrap();
        learner.set_attention(AttentionPolicy::ModalityMutual);
        learner
    };
    let learner = load(quantized());
    let loss = learner.loss(&samples()).unwrap().mean;
    let whole = self::learner(|_| {});
    let expected = whole.loss(&samples()).unwrap().mean;
    assert!((loss - expected).abs() < 1e-2 * expected, "{loss}, expected {expected}");
    let folder = tempfile::tempdir().unwrap();
    learner.save(folder.path()).unwrap();
    let saved = load(files(folder.path()));
    assert_eq!(saved.loss(&samples()).unwrap().mean.to_bits(), loss.to_bits());
}

#[test]
fn adapters_that_no_layer_can_have_are_refused() {
    let recipe = Recipe::parse(RECIPE, "recipe.toml", &[]).unwrap();
    let mut training = AkiTraining::from(&recipe);
    training.lora =
        Some(LoraRecipe { rank: 4, alpha: 8.0, targets: vec!["qkv_project".to_owned()] });
    let error = AkiLearner::load(files(&golden("base/model")), training).unwrap_err();
    assert_eq!(
        error.to_string(),
        "no layer matches `lora.targets`: qkv_project; a target is a layer's name without `.weight`"
    );
}

#[test]
fn features_that_were_kept_give_the_same_loss() {
    let folder = tempfile::tempdir().unwrap();
    let loss = learner(|_| {}).loss(&samples()).unwrap().mean;
    let mut of_runs = Vec::new();
    for _ in 0..2 {
        let mut cached = learner(|_| {});
        assert!(cached.cache_features(folder.path(), 0).unwrap());
        let found = cached.loss(&samples()).unwrap().mean;
        assert!((found - loss).abs() < 1e-5 * loss, "{found} {loss}");
        of_runs.push(found.to_bits());
    }
    assert_eq!(of_runs[0], of_runs[1]);
    let mut trained = learner(|training| training.model.frozen.clear());
    assert!(!trained.cache_features(folder.path(), 0).unwrap());
}
