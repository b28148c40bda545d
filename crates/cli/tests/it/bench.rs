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
