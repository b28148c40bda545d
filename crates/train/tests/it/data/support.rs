//! What the tests of the data share.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use checkpoint::Checkpoint;
use prompt::{ChatTemplate, Preprocessor, Tokenizer};
use sequence::{Layout, Role, TokenId};
use train::data::shards::StoreOptions;
use train::data::webdataset::Make;
use train::data::{
    BadSample, Encoder, EncoderConfig, Sample, SampleRng, Shards, Source, Target, WebDataset,
    WebDatasetConfig,
};

/// The golden models.
pub(crate) const SETS: [&str; 3] = ["base", "gqa", "longrope"];
/// The vision tokens of an image in the goldens.
pub(crate) const VISION_TOKENS: usize = 8;

/// Returns the path of a file of the goldens.
pub(crate) fn golden(file: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../goldens")).join(file)
}

/// Returns the tokenizer of a golden model.
pub(crate) fn tokenizer(set: &str) -> Tokenizer {
    Tokenizer::open(golden(&format!("{set}/model"))).expect("the goldens have a tokenizer")
}

/// Returns an encoder of the golden vocabulary with changed settings.
pub(crate) fn encoder(change: impl FnOnce(&mut EncoderConfig)) -> Encoder {
    let mut config = EncoderConfig::instructions(VISION_TOKENS);
    "</s>".clone_into(&mut config.end);
    change(&mut config);
    Encoder::new(tokenizer("base"), ChatTemplate::default(), config).expect("all tokens are there")
}

/// Reads integers of a golden file, one list for each row.
pub(crate) fn rows(set: &str, name: &str) -> Vec<Vec<i64>> {
    let file = Checkpoint::open(golden(&format!("{set}/train_batch.safetensors")))
        .expect("the goldens are in the repository");
    let tensor = file.tensor(name).expect("the golden has it");
    let width = *tensor.shape.last().expect("it has rows");
    let (values, _) = tensor.bytes.as_chunks::<8>();
    let values: Vec<_> = values.iter().map(|bytes| i64::from_le_bytes(*bytes)).collect();
    values.chunks(width).map(<[i64]>::to_vec).collect()
}

/// Returns a tar file of these members.
pub(crate) fn tar_of<N: AsRef<str>>(members: &[(N, &[u8])]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, contents) in members {
        let mut header = tar::Header::new_gnu();
        header.set_size(contents.len() as u64);
        header.set_mode(0o644);
        builder.append_data(&mut header, name.as_ref(), *contents).expect("memory takes it all");
    }
    builder.into_inner().expect("memory takes it all")
}

/// Returns a shard of `num_samples` samples `s{shard}-{number}`, of several lengths.
pub(crate) fn shard(shard: usize, num_samples: usize) -> Vec<u8> {
    let mut members = Vec::new();
    for number in 0..num_samples {
        let key = format!("s{shard}-{number}");
        let image = format!("{key}.jpg {}", "x".repeat(97 * number)).into_bytes();
        members.push((format!("{key}.jpg"), image));
        members.push((format!("{key}.txt"), key.into_bytes()));
    }
    let members: Vec<_> =
        members.iter().map(|(name, contents)| (name.as_str(), contents.as_slice())).collect();
    tar_of(&members)
}

/// Writes shards of so many samples into a folder, and returns their pattern.
pub(crate) fn write_shards(dir: &Path, sizes: &[usize]) -> String {
    for (index, size) in sizes.iter().enumerate() {
        let path = dir.join(format!("{index:05}.tar"));
        std::fs::write(path, shard(index, *size)).expect("the folder can be written to");
    }
    format!("{}/{{00000..{:05}}}.tar", dir.display(), sizes.len() - 1)
}

/// Returns a sample of nothing but a key and some random numbers.
pub(crate) fn bare_sample(key: String, rng: &mut SampleRng) -> Sample {
    let id = rng.below(1000) as u32;
    Sample {
        key,
        ids: vec![TokenId(id)],
        layout: Layout::new().text(Role::System, 1),
        labels: vec![Some(id)],
        pixels: vec![vec![rng.unit() as f32]],
        target: Target::Text,
    }
}

/// Makes samples of shards without looking into them; incomplete ones are bad.
pub(crate) fn bare_make() -> Arc<Make> {
    Arc::new(|raw, rng| match (&raw.image, &raw.text) {
        (Some(image), Some(text)) if image.starts_with(text) => Ok(bare_sample(raw.key, rng)),
        _ => Err(BadSample::new(raw.key, "it is incomplete")),
    })
}

/// Opens shards as a stream of bare samples.
pub(crate) fn open(pattern: &str, config: WebDatasetConfig) -> WebDataset {
    let shards =
        Shards::find(&[pattern.to_owned()], StoreOptions::new()).expect("the pattern is sound");
    WebDataset::new(shards, config, bare_make()).expect("the settings are sound")
}

/// Returns the names of the next samples of a stream, without data set and shard.
pub(crate) fn keys(source: &mut dyn Source, num_samples: usize) -> Vec<String> {
    let key = |index| {
        let task = source.next().expect("the stream goes on");
        let key = match task(&mut SampleRng::new(0, index)) {
            Ok(sample) => sample.key,
            Err(bad) => format!("bad {}", bad.key),
        };
        key.rsplit('/').next().expect("there is a last part").to_owned()
    };
    (0..num_samples as u64).map(key).collect()
}

/// Returns a preprocessor of tiny pictures.
pub(crate) fn preprocessor() -> Preprocessor {
    Preprocessor { image_size: 6, mean: [0.5; 3], std: [0.5; 3] }
}
