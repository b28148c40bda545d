//! What the tests share: the golden models, their prompt, and comparisons.

use std::collections::BTreeMap;
use std::path::PathBuf;

use checkpoint::Checkpoint;
use model::{Aki, AkiConfig, Device, Error, LoadOptions, NoTap, Tensor};
use sequence::{Layout, Role, TokenId};
use tempfile::TempDir;

/// The golden models.
pub(crate) const SETS: [&str; 3] = ["base", "gqa", "longrope"];
/// The id of `<image>` in the golden vocabulary.
pub(crate) const IMAGE: i64 = 501;
/// The id of `<|assistant|>`.
pub(crate) const ASSISTANT: i64 = 490;
/// The vision tokens of an image.
pub(crate) const VISION_TOKENS: usize = 8;

/// One prompt with everything that the decoder needs.
pub(crate) struct Prompt {
    pub(crate) ids: Vec<TokenId>,
    pub(crate) layout: Layout,
    pub(crate) pixels: Tensor,
}

/// Tensors of a checkpoint by name, to change some.
pub(crate) type Tensors = BTreeMap<String, checkpoint::Tensor>;

impl Prompt {
    /// Reads the prompt of a golden trace: system, image, question, `<|assistant|>`.
    pub(crate) fn of(set: &str) -> Self {
        let trace = open(set, "trace.safetensors");
        let ids = i64s(&trace, "input_ids");
        let image = ids.iter().position(|id| *id == IMAGE).expect("the prompt has an image");
        let mark = ids.len() - 1;
        assert_eq!(ids[mark], ASSISTANT);
        let layout = Layout::new()
            .text(Role::System, image)
            .image(VISION_TOKENS)
            .text(Role::User, mark - image - 1)
            .reply_mark();
        Self { ids: token_ids(&ids), layout, pixels: pixels(&trace) }
    }

    /// Appends a reply.
    pub(crate) fn reply(mut self, ids: &[i64]) -> Self {
        self.ids.extend(token_ids(ids));
        self.layout = self.layout.text(Role::Assistant, ids.len());
        self
    }

    /// Returns the decoder's input.
    pub(crate) fn embed(&self, aki: &Aki) -> Tensor {
        let features = aki.see(&self.pixels, &mut NoTap).expect("the pixels fit");
        let features: Vec<_> =
            (0..self.layout.num_images()).map(|i| features.get(i).expect("an image")).collect();
        aki.embed(&self.ids, &self.layout, &features).expect("ids, layout and image fit")
    }
}

/// Opens a file of a golden set.
pub(crate) fn open(set: &str, file: &str) -> Checkpoint {
    Checkpoint::open(path(set, file)).expect("the goldens are in the repository")
}

/// Returns the path of a file of a golden set.
pub(crate) fn path(set: &str, file: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../goldens")).join(set).join(file)
}

/// Reads the configuration of a golden model.
pub(crate) fn config(set: &str) -> AkiConfig {
    AkiConfig::from_json(&config_json(set)).expect("the configuration is sound")
}

/// Returns the text of a golden model's configuration.
pub(crate) fn config_json(set: &str) -> String {
    std::fs::read_to_string(path(set, "model/config.json")).expect("the golden has one")
}

/// Loads a golden model.
pub(crate) fn golden_model(set: &str) -> Aki {
    Aki::load(config(set), &open(set, "model"), LoadOptions::default()).expect("the model is sound")
}

/// Returns all tensors of a golden model.
pub(crate) fn tensors(set: &str) -> Tensors {
    let checkpoint = open(set, "model");
    let tensor = |name: &str| checkpoint.tensor(name).expect("it is listed").clone();
    checkpoint.names().map(|name| (name.to_owned(), tensor(name))).collect()
}

/// Writes tensors into a directory that is deleted when the first value is dropped.
pub(crate) fn save(tensors: &Tensors) -> (TempDir, Checkpoint) {
    let directory = tempfile::tempdir().expect("there is a place for temporary files");
    let named = tensors.iter().map(|(name, tensor)| (name.as_str(), tensor));
    checkpoint::save(directory.path(), named, usize::MAX).expect("the tensors are sound");
    let checkpoint = Checkpoint::open(directory.path()).expect("it was just written");
    (directory, checkpoint)
}

/// Loads a golden model whose tensors were changed.
pub(crate) fn load_changed(change: impl FnOnce(&mut Tensors)) -> Result<Aki, Error> {
    let mut tensors = tensors("base");
    change(&mut tensors);
    let (_directory, checkpoint) = save(&tensors);
    Aki::load(config("base"), &checkpoint, LoadOptions::default())
}

/// Returns the pixels of a golden batch. `// [images, 3, 56, 56]`
pub(crate) fn pixels(golden: &Checkpoint) -> Tensor {
    let shape = golden.tensor("pixel_values").expect("the golden has pixels").shape.clone();
    Tensor::from_vec(f32s(golden, "pixel_values"), shape, &Device::Cpu).expect("the shape fits")
}

/// Returns the elements of a tensor of floats.
pub(crate) fn f32s(golden: &Checkpoint, name: &str) -> Vec<f32> {
    let tensor = golden.tensor(name).unwrap_or_else(|| panic!("the golden lacks `{name}`"));
    tensor.to_f32_vec().expect("the elements are floats")
}

/// Returns the elements of a tensor of integers.
pub(crate) fn i64s(golden: &Checkpoint, name: &str) -> Vec<i64> {
    let tensor = golden.tensor(name).unwrap_or_else(|| panic!("the golden lacks `{name}`"));
    tensor.bytes.as_chunks().0.iter().map(|bytes| i64::from_le_bytes(*bytes)).collect()
}

/// Returns ids in the type of the model.
pub(crate) fn token_ids(ids: &[i64]) -> Vec<TokenId> {
    ids.iter().map(|id| TokenId(u32::try_from(*id).expect("ids are small"))).collect()
}

/// Returns all elements of a tensor.
pub(crate) fn elements(tensor: &Tensor) -> Vec<f32> {
    let flat = tensor.flatten_all().expect("it has a shape");
    flat.to_vec1().expect("the elements are f32")
}

/// Returns the largest difference, relative to the largest expected value.
pub(crate) fn relative_error(found: &[f32], expected: &[f32]) -> f32 {
    assert_eq!(found.len(), expected.len(), "the number of elements");
    let largest = expected.iter().fold(0.0_f32, |most, value| most.max(value.abs()));
    // Not `max`, which would drop a NaN.
    let differences = found.iter().zip(expected).map(|(a, b)| (a - b).abs());
    let most =
        differences.fold(0.0_f32, |most, d| if most.is_nan() || d <= most { most } else { d });
    most / largest
}
