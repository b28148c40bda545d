//! Weights in blocks of few bits.

use std::collections::BTreeMap;

use checkpoint::{Bytes, Checkpoint, Dtype, GgufPlan, TensorSpec};
use kernels::BlockFormat;
use model::{Aki, LoadOptions, Quantization, quantization};
use sequence::AttentionPolicy;

use crate::support::{self, Prompt, SETS, Tensors};

/// Quantises every matrix whose rows are whole blocks, or else whole blocks of four bits.
fn quantized(set: &str, dtype: Dtype) -> Tensors {
    let mut tensors = support::tensors(set);
    for (name, tensor) in &mut tensors {
        let &[rows, width] = tensor.shape.as_slice() else { continue };
        let dtype = if width.is_multiple_of(dtype.block_len()) { dtype } else { Dtype::Q4_0 };
        if name.ends_with("weight") && rows >= 16 && width.is_multiple_of(dtype.block_len()) {
            let format = match dtype {
                Dtype::Q8_0 => BlockFormat::Q8_0,
                Dtype::Q4_0 => BlockFormat::Q4_0,
                Dtype::Q4K => BlockFormat::Q4K,
                _ => BlockFormat::Q6K,
            };
            let values = tensor.to_f32_vec().expect("the goldens are floats");
            let mut bytes = vec![0; format.num_bytes(values.len())];
            kernels::quantize(format, &values, &mut bytes);
            tensor.dtype = dtype;
            tensor.bytes = Bytes::from(bytes);
        }
    }
    tensors
}

/// Writes tensors as a GGUF file, and opens it.
fn saved(tensors: &Tensors) -> Checkpoint {
    let directory = tempfile::tempdir().expect("there is a place for temporary files");
    let specs = tensors.iter().map(|(name, tensor)| TensorSpec {
        name: name.clone(),
        dtype: tensor.dtype,
        shape: tensor.shape.clone(),
    });
    let plan = GgufPlan::new(specs, BTreeMap::new()).expect("the tensors are sound");
    let path = directory.path().join("model.gguf");
    plan.write(&path, |spec, sink| sink.put(&tensors[&spec.name].bytes)).expect("there is room");
    Checkpoint::open(&path).expect("it was just written")
}

fn logits(aki: &Aki, set: &str) -> Vec<f32> {
    let prompt = Prompt::of(set);
    let plan = AttentionPolicy::ModalityMutual.plan(&prompt.layout);
    let logits = aki.logits_of(&prompt.embed(aki), &plan);
    support::elements(&logits.expect("the plan fits"))
}

fn probabilities(logits: &[f32]) -> Vec<f64> {
    let largest = logits.iter().fold(f32::NEG_INFINITY, |largest, v| largest.max(*v));
    let all: Vec<f64> = logits.iter().map(|v| f64::from(v - largest).exp()).collect();
    let total: f64 = all.iter().sum();
    all.into_iter().map(|p| p / total).collect()
}

fn likeliest(logits: &[f32]) -> Option<usize> {
    (0..logits.len()).max_by(|a, b| logits[*a].total_cmp(&logits[*b]))
}

/// Returns the mean divergence of the found distributions from the expected ones, and how many rows
/// have the same likeliest id.
fn compared(found: &[f32], expected: &[f32], vocab: usize) -> (f64, f64) {
    let rows = found.len() / vocab;
    let (mut divergence, mut same) = (0.0, 0);
    for (found, expected) in found.chunks_exact(vocab).zip(expected.chunks_exact(vocab)) {
        same += usize::from(likeliest(found) == likeliest(expected));
        for (q, p) in probabilities(found).iter().zip(probabilities(expected)) {
            divergence += p * (p / q).ln();
        }
    }
    (divergence / rows as f64, same as f64 / rows as f64)
}

#[test]
fn few_bits_give_nearly_the_distribution_of_all() {
    // Twice the largest divergence of the three, and somewhat less than the fewest equal rows, all in
    // `longrope`: random weights have flat distributions, whose likeliest id changes easily.
    let bounds = [(Dtype::Q8_0, 2.6e-3, 0.8), (Dtype::Q4_0, 0.38, 0.2), (Dtype::Q4K, 0.39, 0.2)];
    for (dtype, most, fewest) in bounds {
        for set in SETS {
            let config = support::config(set);
            let vocab = config.initial_tokenizer_len + config.num_added_tokens;
            let aki = Aki::load(config, &saved(&quantized(set, dtype)), LoadOptions::default());
            let found = logits(&aki.expect("it is sound"), set);
            let expected = support::f32s(&support::open(set, "trace.safetensors"), "mutual.logits");
            let (divergence, same) = compared(&found, &expected, vocab);
            assert!(divergence < most, "{set} in {dtype}: {divergence:e}");
            assert!(
                divergence > most / 50.0,
                "{set} in {dtype}: {divergence:e}, so nothing changed"
            );
            assert!(same >= fewest, "{set} in {dtype}: {same}");
        }
    }
}

#[test]
fn blocks_are_multiplied_where_they_lie_and_widened_when_asked() {
    let tensors = quantized("base", Dtype::Q8_0);
    let checkpoint = saved(&tensors);
    let load = |dtype| {
        let options = LoadOptions { dtype, ..LoadOptions::default() };
        let aki = Aki::load(support::config("base"), &checkpoint, options);
        logits(&aki.expect("it is sound"), "base")
    };
    let (in_place, widened) = (load(None), load(Some(Dtype::F32)));
    let error = support::relative_error(&in_place, &widened);
    // What rounding activations to eight bits costs.
    assert!((1e-5..6e-2).contains(&error), "{error:e}");
}

#[test]
fn quantizing_while_loading_is_quantizing_the_file() {
    for mix in Quantization::ALL {
        let mut tensors = support::tensors("base");
        let mut bytes = 0;
        for (name, tensor) in &mut tensors {
            *tensor = padded(name, tensor);
            if let Some(dtype) = mix.choose(name, &tensor.shape).dtype() {
                *tensor = quantization::converted(tensor, dtype).expect("floats become blocks");
            }
            bytes += tensor.bytes.len();
        }
        let inner = "vision_encoder.encoder.layers.2.mlp.fc2.weight";
        assert_eq!((tensors[inner].dtype, tensors[inner].shape[1]), (Dtype::Q8_0, 128));
        let from_file =
            Aki::load(support::config("base"), &saved(&tensors), LoadOptions::default()).unwrap();
        let options = LoadOptions { quantization: Some(mix), ..LoadOptions::default() };
        let checkpoint = support::open("base", "model");
        let while_loading = Aki::load(support::config("base"), &checkpoint, options).unwrap();
        assert_eq!(logits(&while_loading, "base"), logits(&from_file, "base"), "{mix:?}");
        // Matrices are nearly all of a model.
        let (found, same) = (while_loading.footprint(), from_file.footprint());
        assert_eq!(found, same, "{mix:?}");
        let matrices = found.all().bytes;
        assert!(matrices < bytes && matrices > bytes / 2, "{mix:?}: {matrices} of {bytes}");
    }
}

/// Returns a tensor in the shape that it has in files of blocks.
fn padded(name: &str, tensor: &checkpoint::Tensor) -> checkpoint::Tensor {
    quantization::resized(tensor, &quantization::padded_shape(name, &tensor.shape))
}

#[test]
fn inner_layers_with_zeros_after_them_give_the_same() {
    let mut tensors = support::tensors("base");
    let padded = tensors.iter().map(|(name, tensor)| (name.clone(), padded(name, tensor)));
    let padded: Tensors = padded.collect();
    let changed = padded.iter().filter(|(name, tensor)| tensor.shape != tensors[*name].shape);
    assert_eq!(changed.count(), 3 * 3, "three tensors of each of three layers");
    let of = |tensors: &Tensors| {
        let aki =
            Aki::load(support::config("base"), &saved(tensors), LoadOptions::default()).unwrap();
        logits(&aki, "base")
    };
    let error = support::relative_error(&of(&padded), &of(&tensors));
    assert!(error < 1e-6, "{error:e}");
    // One more is not what the files have that are padded.
    let name = "vision_encoder.encoder.layers.0.mlp.fc1.bias";
    let larger = quantization::resized(&tensors[name], &[105]);
    tensors.insert(name.to_owned(), larger);
    let error = Aki::load(support::config("base"), &saved(&tensors), LoadOptions::default());
    let error = error.expect_err("it is too large").to_string();
    assert!(error.contains(name) && error.contains("105"), "{error}");
}

#[test]
fn a_tensor_in_blocks_becomes_one_of_other_blocks_or_of_floats() {
    let values: Vec<f32> = (0..3 * 512_u16).map(|i| (f32::from(i) * 0.37).sin()).collect();
    let bytes = Bytes::from(values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<_>>());
    let tensor = checkpoint::Tensor { dtype: Dtype::F32, shape: vec![3, 512], bytes };
    for from in Dtype::BLOCKS {
        let blocks = quantization::converted(&tensor, from).unwrap();
        assert_eq!((blocks.dtype, Some(blocks.bytes.len())), (from, from.num_bytes(&[3, 512])));
        for to in Dtype::BLOCKS.into_iter().chain([Dtype::F32, Dtype::Bf16]) {
            let found = quantization::converted(&blocks, to).unwrap();
            let found = quantization::converted(&found, Dtype::F32).unwrap().to_f32_vec().unwrap();
            let error = support::relative_error(&found, &values);
            assert!(error < 0.15, "{from} to {to}: {error}");
        }
    }
    let odd = checkpoint::Tensor { shape: vec![3 * 512 / 3, 3], ..tensor };
    let error = quantization::converted(&odd, Dtype::Q8_0).unwrap_err().to_string();
    assert!(error.contains("F32") && error.contains("Q8_0"), "{error}");
}
