//! The commands give what the reference implementation gives.

use checkpoint::Checkpoint;
use serde_json::Value;

use crate::program::{aki, golden_json, goldens};

const SETS: [&str; 3] = ["base", "gqa", "longrope"];

/// The largest difference relative to the largest expected value.
const TOLERANCE: f32 = 1e-5;

fn text(value: &Value) -> &str {
    value.as_str().expect("a string")
}

#[test]
fn ask_answers_token_for_token_as_the_reference() {
    for set in SETS {
        for golden in golden_json(&format!("{set}/generate.json")).as_array().expect("a list") {
            let image = goldens(&format!("images/{}", text(&golden["image"])));
            let model = goldens(&format!("{set}/model"));
            let max = golden["new_ids"].as_array().expect("a list").len().to_string();
            let question = text(&golden["question"]);
            let args = ["ask", "--model", &model, "--image", &image, question];
            let answer = aki(args.iter().chain(&["--max-new-tokens", &max, "--json"])).json();
            for key in ["prompt_ids", "new_ids", "text"] {
                assert_eq!(answer[key], golden[key], "{key} of {question} ({set})");
            }
            for key in ["load_ms", "image_ms", "prefill_ms", "decode_ms", "tokens_per_second"] {
                assert!(answer["timings"][key].is_f64(), "{key}");
            }
        }
    }
}

#[test]
fn every_level_of_instructions_answers_token_for_token_as_the_reference() {
    for level in kernels::Level::available() {
        for set in SETS {
            let golden = &golden_json(&format!("{set}/generate.json"))[0];
            let image = goldens(&format!("images/{}", text(&golden["image"])));
            let model = goldens(&format!("{set}/model"));
            let max = golden["new_ids"].as_array().expect("a list").len().to_string();
            let question = text(&golden["question"]);
            let args = ["ask", "--model", &model, "--image", &image, question, "--json"];
            let more = ["--max-new-tokens", &max, "--cpu-features", level.name()];
            let answer = aki(args.iter().chain(&more)).json();
            assert_eq!(answer["new_ids"], golden["new_ids"], "{} ({set})", level.name());
        }
    }
}

#[test]
fn trace_computes_what_the_reference_does_at_every_level_of_instructions() {
    for level in kernels::Level::available() {
        for set in SETS {
            let golden = Checkpoint::open(goldens(&format!("{set}/trace.safetensors")));
            let golden = golden.expect("open");
            let case = &golden_json(&format!("{set}/generate.json"))[0];
            let image = goldens(&format!("images/{}", text(&case["image"])));
            let dir = tempfile::tempdir().expect("a directory");
            let output = dir.path().join("trace.safetensors").display().to_string();
            let model = goldens(&format!("{set}/model"));
            let args = ["trace", "--model", &model, "--image", &image, text(&case["question"])];
            let more = ["--output", &output, "--cpu-features", level.name()];
            aki(args.iter().chain(&more)).success();
            let traced = Checkpoint::open(&output).expect("open");
            let what = format!("{set}, {}", level.name());
            for name in golden.names().filter(|name| !name.starts_with("causal.")) {
                let plain = name.strip_prefix("mutual.").unwrap_or(name);
                assert_equal(&golden, name, &traced, plain, &what);
            }
        }
    }
}

#[test]
fn trace_writes_what_the_reference_computes() {
    for set in SETS {
        let golden = Checkpoint::open(goldens(&format!("{set}/trace.safetensors"))).expect("open");
        let case = &golden_json(&format!("{set}/generate.json"))[0];
        let image = goldens(&format!("images/{}", text(&case["image"])));
        for policy in ["mutual", "causal"] {
            let dir = tempfile::tempdir().expect("a directory");
            let output = dir.path().join("trace.safetensors").display().to_string();
            let model = goldens(&format!("{set}/model"));
            let question = text(&case["question"]);
            let args = ["trace", "--model", &model, "--image", &image, question];
            aki(args.iter().chain(&["--attention", policy, "--output", &output])).success();
            let traced = Checkpoint::open(&output).expect("open");
            let mut num_compared = 0;
            for name in golden.names() {
                let other = if policy == "mutual" { "causal." } else { "mutual." };
                if name.starts_with(other) {
                    continue;
                }
                let plain = name.strip_prefix(&format!("{policy}.")).unwrap_or(name);
                assert_equal(&golden, name, &traced, plain, set);
                num_compared += 1;
            }
            assert_eq!(traced.len(), num_compared + 1, "and `positions`");
            let positions = traced.tensor("positions").expect("positions");
            let expected: Vec<u8> = (0..70_i64).flat_map(i64::to_le_bytes).collect();
            assert_eq!((&*positions.shape, &*positions.bytes), (&[1, 70][..], &*expected));
        }
    }
}

fn assert_equal(golden: &Checkpoint, name: &str, traced: &Checkpoint, plain: &str, set: &str) {
    let expected = golden.tensor(name).expect("a golden");
    let found = traced.tensor(plain).unwrap_or_else(|| panic!("{plain} is not traced"));
    assert_eq!((found.dtype, &found.shape), (expected.dtype, &expected.shape), "{plain}");
    if expected.dtype != checkpoint::Dtype::F32 {
        assert_eq!(*found.bytes, *expected.bytes, "{plain} ({set})");
        return;
    }
    let (found, expected) = (found.to_f32_vec().expect("f32"), expected.to_f32_vec().expect("f32"));
    let largest = expected.iter().fold(0.0_f32, |max, value| max.max(value.abs()));
    let furthest = found.iter().zip(&expected).fold(0.0_f32, |max, (a, b)| max.max((a - b).abs()));
    assert!(furthest <= TOLERANCE * largest, "{plain} is {furthest} of {largest} off ({set})");
}

#[test]
fn tokenize_gives_the_reference_s_ids() {
    for golden in golden_json("base/tokenize.json").as_array().expect("a list") {
        let text = text(&golden["text"]);
        let model = goldens("base/model");
        let args = ["tokenize", "--model", &model, "--text", text];
        assert_eq!(aki(args).json(), golden["ids"], "{text:?}");
        assert_eq!(aki(args.iter().chain(&["--bos"])).json(), golden["ids_with_bos"], "{text:?}");
    }
}

#[test]
fn preprocess_gives_the_reference_s_pixels() {
    let golden = Checkpoint::open(goldens("base/preprocess.safetensors")).expect("open");
    let dir = tempfile::tempdir().expect("a directory");
    let output = dir.path().join("pixels.safetensors").display().to_string();
    for file in ["coffee.png", "camera_gray.png", "astronaut_rgba.png", "one_pixel.png"] {
        let image = goldens(&format!("images/{file}"));
        let model = goldens("base/model");
        aki(["preprocess", "--model", &model, &image, "--size", "56", "--output", &output])
            .success();
        let pixels = Checkpoint::open(&output).expect("open");
        let expected = golden.tensor(&format!("{file}.56")).expect("a golden");
        let found = pixels.tensor("pixel_values").expect("pixel_values");
        assert_eq!((found.dtype, &found.shape), (expected.dtype, &expected.shape));
        assert_eq!(*found.bytes, *expected.bytes, "{file}");
    }
}

#[test]
fn preprocess_resizes_to_the_size_that_is_asked_for() {
    let golden = Checkpoint::open(goldens("base/preprocess.safetensors")).expect("open");
    let dir = tempfile::tempdir().expect("a directory");
    let output = dir.path().join("pixels.safetensors").display().to_string();
    let image = goldens("images/coffee.png");
    aki(["preprocess", &image, "--size", "384", "--output", &output]).success();
    let pixels = Checkpoint::open(&output).expect("open");
    let found = pixels.tensor("pixel_values").expect("pixel_values").to_f32_vec().expect("f32");
    let expected = golden.tensor("coffee.png.384").expect("a golden").to_f32_vec().expect("f32");
    // The golden has every 8th row and column.
    let places = (0..3 * 48 * 48).map(|at| (at / (48 * 48), at / 48 % 48, at % 48));
    let sampled = places.map(|(channel, y, x)| found[(channel * 384 + y * 8) * 384 + x * 8]);
    assert_eq!(sampled.collect::<Vec<_>>(), expected);
}

#[test]
fn a_stop_string_ends_the_answer_before_it() {
    let image = goldens("images/coffee.png");
    let question = "Describe the scene of this image.";
    let args = ["ask", "--image", &image, question, "--max-new-tokens", "40", "--json"];
    let whole = aki(args).json();
    let whole = text(&whole["text"]);
    let stop = "descri";
    let answer = aki(args.iter().chain(&["--stop", stop])).json();
    assert_eq!(text(&answer["text"]), whole.split(stop).next().expect("a start"));
    assert_eq!(answer["finish_reason"], "stop");
}

#[test]
fn one_beam_is_greedy_and_a_seed_repeats_itself() {
    let image = goldens("images/coffee.png");
    let ask = |extra: &[&str]| {
        // A question that the model knows: what it says to others depends on the last bits.
        let question = "Describe the scene of this image.";
        let args = ["ask", "--image", &image, question, "--max-new-tokens", "8", "--json"];
        aki(args.iter().chain(extra)).json()["new_ids"].clone()
    };
    assert_eq!(ask(&["--beams", "1"]), ask(&[]));
    let warm = ["--temperature", "1.5", "--top-p", "0.95", "--seed", "7"];
    assert_eq!(ask(&warm), ask(&warm));
    assert_ne!(ask(&warm), ask(&[]));
    assert_eq!(ask(&["--beams", "3"]).as_array().map(Vec::len), Some(8));
}

#[test]
fn an_image_may_come_from_standard_input() {
    let path = goldens("images/coffee.png");
    let bytes = std::fs::read(&path).expect("the image exists");
    let args = |image| ["ask", "--image", image, "Why?", "--max-new-tokens", "4"];
    let piped = crate::program::aki_with(args("-"), &[], &bytes).success();
    assert_eq!(piped, aki(args(&path)).success());
}
