//! Writing checkpoints: random ones and converted ones.

use std::fs;

use checkpoint::{Checkpoint, Dtype};

use crate::program::{aki, goldens};

#[test]
fn init_writes_a_model_that_runs() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("model").display().to_string();
    let tokenizer = goldens("base/model");
    let args = ["init", "--preset", "tiny", "--dtype", "bf16", "--output", &path];
    aki(args.iter().chain(&["--tokenizer", &tokenizer])).success();
    let written = Checkpoint::open(&path).expect("open");
    let golden = Checkpoint::open(goldens("base/model")).expect("open");
    for name in golden.names() {
        let tensor = written.tensor(name).unwrap_or_else(|| panic!("{name} is missing"));
        assert_eq!(tensor.dtype, Dtype::Bf16);
        assert_eq!(tensor.shape, golden.tensor(name).expect("a golden").shape, "{name}");
    }
    let norm = written.tensor("lang_model.model.norm.weight").expect("the norm");
    assert_eq!(norm.to_f32_vec().expect("floats"), [1.0; 64]);
    let image = goldens("images/cat.jpg");
    aki(["ask", "--model", &path, "--image", &image, "Why?", "--max-new-tokens", "3"]).success();
}

#[test]
fn init_gives_the_same_files_for_the_same_seed() {
    let dir = tempfile::tempdir().expect("a directory");
    let weights = |name: &str, seed: &str| {
        let path = dir.path().join(name);
        let output = path.display().to_string();
        aki(["init", "--preset", "tiny", "--seed", seed, "--output", &output]).success();
        fs::read(path.join("model.safetensors")).expect("written")
    };
    let first = weights("a", "1");
    assert!(first == weights("b", "1"));
    assert!(first != weights("c", "2"));
}

/// Writes the tensors below a prefix under another one.
fn write_part(file: &std::path::Path, prefix: &str, theirs: &str) {
    let golden = Checkpoint::open(goldens("base/model")).expect("open");
    let part = golden.names().filter_map(|name| {
        let rest = name.strip_prefix(prefix)?;
        // A pretrained decoder knows nothing of added ids.
        let is_added = rest.contains("additional") || rest == "lm_head.bias";
        (!is_added).then(|| (format!("{theirs}{rest}"), golden.tensor(name).expect("listed")))
    });
    let part: Vec<_> = part.collect();
    checkpoint::save_file(file, part.iter().map(|(name, tensor)| (name.as_str(), *tensor)))
        .expect("written");
}

#[test]
fn init_starts_with_pretrained_backbones() {
    let dir = tempfile::tempdir().expect("a directory");
    let [vision, text, output] =
        ["vision.safetensors", "text.safetensors", "model"].map(|name| dir.path().join(name));
    write_part(&vision, "vision_encoder.", "vision_model.");
    write_part(&text, "lang_model.", "");
    let [vision, text, output] = [vision, text, output].map(|path| path.display().to_string());
    let args = ["init", "--preset", "tiny", "--dtype", "f32", "--output", &output];
    let said = aki(args.into_iter().chain(["--vision", &vision, "--text", &text])).success();
    assert!(said.contains("wrote"), "{said}");
    let (golden, written) = (goldens("base/model"), Checkpoint::open(&output).expect("open"));
    let golden = Checkpoint::open(golden).expect("open");
    let mut counts = [0, 0];
    for name in golden.names() {
        let [expected, found] = [&golden, &written].map(|it| it.tensor(name).expect("a tensor"));
        let is_new = name.starts_with("vision_tokenizer.") || name.contains("additional");
        counts[usize::from(is_new)] += 1;
        if is_new || name.ends_with("lm_head.bias") {
            assert_eq!(expected.shape, found.shape, "{name}");
        } else {
            assert!(expected.bytes[..] == found.bytes[..], "{name} is the backbone's");
        }
    }
    assert!(counts.iter().all(|count| *count > 4), "{counts:?}");

    // The two exchanged.
    let args = ["init", "--preset", "tiny", "--force", "--output", &output, "--text", &vision];
    let error = aki(args).failure(1);
    assert!(error.contains("has no tensor `model.embed_tokens.weight`"), "{error}");
    let args = ["init", "--preset", "aki-4b", "--force", "--output", &output, "--text", &text];
    let error = aki(args).failure(1);
    assert!(error.contains("has shape [544, 64], expected [32064, 3072]"), "{error}");
    let args = ["init", "--preset", "tiny", "--force", "--output", &output, "--vision", "./none"];
    let error = aki(args).failure(1);
    assert!(error.contains("--vision `./none`"), "{error}");
}

#[test]
fn init_divides_the_weights_into_files() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().display().to_string();
    let args = ["init", "--preset", "tiny", "--output", &path, "--max-shard-size", "300KB"];
    let said = aki(args).success();
    let shards = fs::read_dir(dir.path())
        .expect("listed")
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| name.ends_with(".safetensors"))
        .count();
    assert!(shards > 1);
    assert!(said.contains(&format!("in {shards} files")), "{said}");
    assert!(dir.path().join("model.safetensors.index.json").is_file());
    assert!(said.contains("no tokenizer was written"), "{said}");
    assert!(Checkpoint::open(dir.path()).expect("open").len() > 10);
}

#[test]
fn convert_keeps_every_value_that_the_type_can_hold() {
    let dir = tempfile::tempdir().expect("a directory");
    let [half, whole] = ["half", "whole"].map(|name| dir.path().join(name).display().to_string());
    aki(["convert", &goldens("base/model"), &half, "--dtype", "bf16"]).success();
    aki(["convert", &half, &whole, "--dtype", "f32"]).success();
    let original = Checkpoint::open(goldens("base/model")).expect("open");
    let (half, whole) =
        (Checkpoint::open(half).expect("open"), Checkpoint::open(whole).expect("open"));
    assert_eq!(whole.len(), original.len());
    for name in original.names() {
        let expected =
            original.tensor(name).expect("a tensor").to_dtype(Dtype::Bf16).expect("bf16");
        assert_eq!(*half.tensor(name).expect(name).bytes, *expected.bytes, "{name}");
        let back = whole.tensor(name).expect(name).to_f32_vec().expect("floats");
        assert_eq!(back, expected.to_f32_vec().expect("floats"), "{name}");
    }
}

#[test]
fn convert_copies_what_lies_beside_the_weights() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("out").display().to_string();
    aki(["convert", "miniature", &path]).success();
    let image = goldens("images/cat.jpg");
    let ask = |model: &str| {
        let args = ["ask", "--model", model, "--image", &image, "Why?", "--max-new-tokens", "6"];
        aki(args).success()
    };
    assert_eq!(ask(&path), ask("miniature"));
}

#[test]
fn convert_does_not_write_over_its_input() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().display().to_string();
    fs::copy(goldens("base/model/model.safetensors"), dir.path().join("model.safetensors"))
        .expect("copied");
    let error = aki(["convert", &path, &path, "--force"]).failure(2);
    assert!(error.starts_with("error: input and output are the same directory"), "{error}");
}

#[test]
fn convert_quantizes_into_a_file_that_answers() {
    let dir = tempfile::tempdir().expect("a directory");
    let image = goldens("images/cat.jpg");
    for (kind, decoder, head) in [
        ("q8_0", Dtype::Q8_0, Dtype::Q8_0),
        ("q4_0", Dtype::Q4_0, Dtype::Q8_0),
        ("q4_k", Dtype::Q8_0, Dtype::Q8_0),
    ] {
        let path = dir.path().join(kind).display().to_string();
        let said = aki(["convert", &goldens("base/model"), &path, "--quantize", kind]).success();
        // The golden model's rows are too short for the larger blocks.
        assert_eq!(said.contains("became Q8_0: the rows are no"), kind != "q8_0", "{said}");
        assert!(said.contains("kept their type"), "{said}");
        let written = Checkpoint::open(&path).expect("open");
        let dtype = |name: &str| written.tensor(name).expect("it is there").dtype;
        assert_eq!(dtype("lang_model.model.layers.0.self_attn.o_proj.weight"), decoder);
        assert_eq!(dtype("lang_model.lm_head.weight"), head);
        // 136 elements are no whole blocks.
        assert_eq!(dtype("lang_model.model.layers.0.mlp.down_proj.weight"), Dtype::F32);
        assert_eq!(dtype("lang_model.model.norm.weight"), Dtype::F32);
        assert_eq!(dtype("vision_tokenizer.layers.0.0.to_out.weight"), Dtype::Q8_0);
        // The vision encoder's 104 are filled up with zeros.
        let inner = "vision_encoder.encoder.layers.0.mlp.fc2.weight";
        assert_eq!(dtype(inner), Dtype::Q8_0);
        let shape = |of: &Checkpoint| of.tensor(inner).expect("it is there").shape.clone();
        assert_eq!(shape(&written), [48, 128]);
        assert_eq!(written.metadata()["general.architecture"], "aki");
        for model in [path.clone(), format!("{path}/model.gguf")] {
            let args = ["ask", "--model", &model, "--image", &image, "Why?"];
            let found = aki(args.iter().chain(&["--max-new-tokens", "3", "--json"])).json();
            assert_eq!(found["new_ids"].as_array().expect("ids").len(), 3, "{found}");
        }
        let whole = dir.path().join(format!("{kind}-whole")).display().to_string();
        aki(["convert", &path, &whole]).success();
        let restored = Checkpoint::open(&whole).expect("open");
        let name = "lang_model.model.layers.0.self_attn.o_proj.weight";
        let golden = Checkpoint::open(goldens("base/model")).expect("open");
        assert_eq!((shape(&restored), shape(&golden)), (vec![48, 104], vec![48, 104]));
        let values = |from: &Checkpoint| from.tensor(name).expect("named").to_f32_vec();
        let (found, expected) = (values(&restored).expect("f32"), values(&golden).expect("f32"));
        let largest = expected.iter().fold(0.0_f32, |l, v| l.max(v.abs()));
        let is_close = |(a, b): (&f32, &f32)| (a - b).abs() < largest / 7.0;
        assert!(found.iter().zip(&expected).all(is_close) && found != expected);
    }
}

#[test]
fn convert_writes_gguf_without_quantizing_and_refuses_blocks_in_safetensors() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().display().to_string();
    aki(["convert", "miniature", &path, "--format", "gguf", "--dtype", "bf16"]).success();
    let written = Checkpoint::open(dir.path().join("model.gguf")).expect("open");
    assert!(
        written.names().all(|name| written.tensor(name).is_some_and(|t| t.dtype == Dtype::Bf16))
    );
    aki(["ask", "--model", &path, "Why?", "--max-new-tokens", "2"]).success();
    let args = ["convert", "miniature", &path, "--format", "safetensors", "--quantize", "q8_0"];
    let error = aki(args).failure(2);
    assert!(error.contains("safetensors files cannot hold blocks of few bits"), "{error}");
}

#[test]
fn quantizing_while_loading_answers_as_the_converted_file_does() {
    let dir = tempfile::tempdir().expect("a directory");
    let image = goldens("images/cat.jpg");
    for kind in ["q8_0", "q6_k", "q5_k", "q4_k", "q4_0"] {
        let path = dir.path().join(kind).display().to_string();
        aki(["convert", "miniature", &path, "--quantize", kind]).success();
        for kv_cache in ["auto", "q8_0"] {
            let ask = |model: &[&str]| {
                let args = ["ask", "--image", &image, "Describe the image.", "--json"];
                let more = ["--max-new-tokens", "8", "--kv-cache", kv_cache];
                aki(args.iter().chain(&more).chain(model)).json()["new_ids"].clone()
            };
            let expected = ask(&["--model", &path]);
            assert_eq!(ask(&["--quantize", kind]), expected, "{kind}, {kv_cache}");
        }
    }
}
