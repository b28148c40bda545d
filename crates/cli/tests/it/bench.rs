//! `aki bench`.

use serde_json::Value;

use crate::program::{aki, goldens};

#[test]
fn every_phase_is_measured() {
    let model = goldens("base/model");
    let args =
        ["bench", "-m", &model, "--json", "--repeat", "2", "--new-tokens", "3", "--batch", "2"];
    let report: Value = serde_json::from_str(&aki(args).success()).unwrap();
    let names: Vec<_> = report["rows"].as_array().unwrap().iter().map(|row| &row["name"]).collect();
    let (first, second) = ("first token", "first token, image seen");
    assert_eq!(names, ["image", "prefill of 68", first, second, "decode of 3", "decode of 2 x 3"]);
    for row in report["rows"].as_array().unwrap() {
        let [best, median, worst] =
            ["best_ms", "median_ms", "worst_ms"].map(|key| row[key].as_f64().unwrap());
        assert!(0.0 < best && best <= median && median <= worst, "{row}");
        assert!(row["per_second"].as_f64().unwrap() > 0.0, "{row}");
    }
    assert!(report["read_bytes_per_second"].as_f64().unwrap() > 1e6);
    for (row, rates) in [
        ("image", [false, true]),
        ("prefill of 68", [false, true]),
        ("decode of 3", [true, false]),
        ("decode of 2 x 3", [true, true]),
    ] {
        let row = report["rows"].as_array().unwrap().iter().find(|it| it["name"] == row).unwrap();
        let found = ["read_bytes_per_second", "operations_per_second"].map(|key| &row[key]);
        assert_eq!(found.map(|rate| rate.as_f64().is_some_and(|rate| rate > 0.0)), rates, "{row}");
    }
    assert_eq!((&report["quantize"], &report["kv_cache"]), (&Value::Null, &"f32".into()));
    assert!(report["weight_bytes"].as_u64().unwrap() > 100_000);
    assert!(report["operations_per_second"].as_f64().unwrap() > 1e6);
}

#[test]
fn the_table_has_what_was_asked_for() {
    let model = goldens("base/model");
    let args = ["bench", "-m", &model, "--repeat", "1", "--text-tokens", "5", "prefill"];
    let table = aki(args).success();
    assert!(table.contains("prefill of 13"), "{table}");
    assert!(!table.contains("decode"), "{table}");
}

#[test]
fn training_is_measured_without_a_model() {
    let args = ["bench", "--json", "--repeat", "1", "--decoder", "7m", "--model", "/nowhere"];
    let report = aki(args.into_iter().chain(["train"])).success();
    let report: Value = serde_json::from_str(&report).unwrap();
    let rows = report["rows"].as_array().unwrap();
    let names: Vec<_> = rows.iter().map(|row| &row["name"]).collect();
    assert_eq!(names, ["train 7M f32", "train 7M bf16"]);
    assert!(rows.iter().all(|row| row["per_second"].as_f64().unwrap() > 0.0), "{report}");
    assert!(report["model"].is_null() && report["load_ms"].is_null(), "{report}");
}

#[test]
fn counts_that_make_no_sense_are_refused() {
    let error = aki(["bench", "--repeat", "0"]).failure(2);
    assert!(error.contains("`repeat` is 0, expected a number from 1 to 1048576"), "{error}");
    let error = aki(["bench", "--text-tokens", "2"]).failure(2);
    assert!(error.contains("`text-tokens` is 2, expected a number from 3"), "{error}");
    let error = aki(["bench", "--text-tokens", "100000"]).failure(1);
    assert!(error.contains("the model's context is"), "{error}");
}

#[test]
fn the_forms_that_were_asked_for_are_measured() {
    let model = goldens("base/model");
    let args = ["bench", "-m", &model, "--json", "--repeat", "1", "--new-tokens", "2", "decode"];
    let more = ["--quantize", "q4_0", "--kv-cache", "q8_0"];
    let report = aki(args.iter().chain(&more)).json();
    assert_eq!((&report["quantize"], &report["kv_cache"]), (&"q4_0".into(), &"q8_0".into()));
    let whole = aki(args).json();
    let bytes = |report: &Value| report["weight_bytes"].as_u64().unwrap();
    assert!(bytes(&report) < bytes(&whole), "{} of {}", bytes(&report), bytes(&whole));
}

#[test]
fn fewer_bits_are_compared_with_f32() {
    let args = ["bench", "--json", "--repeat", "2", "--new-tokens", "6", "quality"];
    let report = aki(args).json();
    let rows = report["quality"].as_array().unwrap();
    let of = |weights: &str, kv_cache: &str| {
        let mut rows = rows.iter();
        rows.find(|row| row["weights"] == weights && row["kv_cache"] == kv_cache).unwrap()
    };
    let number = |row: &Value, key: &str| row[key].as_f64().unwrap();
    for row in rows {
        assert_eq!(row["tokens"], 12);
        assert!((0.0..=1.0).contains(&number(row, "top1_agreement")), "{row}");
        let kl = ["mean_kl", "p99_kl", "max_kl"].map(|key| number(row, key));
        assert!(0.0 < kl[0] && kl[0] <= kl[2] && kl[1] <= kl[2], "{row}");
    }
    // More bits are closer.
    let kl = |weights| number(of(weights, "f32"), "mean_kl");
    assert!(kl("q8_0") < kl("q4_0"), "{rows:?}");
    assert!(number(of("f32", "f16"), "mean_kl") < number(of("f32", "q8_0"), "mean_kl"), "{rows:?}");
    let bits = |weights| number(of(weights, "f32"), "bits_per_weight");
    assert!((bits("bf16") - 16.0).abs() < 0.01 && bits("q8_0") < bits("bf16"), "{rows:?}");
}
