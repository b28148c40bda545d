//! `aki eval` and `aki score`, on the benchmarks of a small world.

use std::path::Path;

use crate::program::{aki, goldens};

/// Writes a small world and returns the folder of its benchmarks.
fn world(dir: &Path) -> String {
    let output = dir.join("world").display().to_string();
    aki(["miniature", "--output", &output, "--seed", "1", "--size", "tiny"]).success();
    format!("{output}/test")
}

#[test]
fn a_benchmark_is_asked_in_parts_put_together_scored_again_and_compared() {
    let dir = tempfile::tempdir().unwrap();
    let data = world(dir.path());
    let folder = |name: &str| dir.path().join(name).display().to_string();
    let ask = |output: &str, more: &[&str]| {
        let fixed = ["eval", "POPE", "--data", &data, "--max-new-tokens", "6", "--output", output];
        aki(fixed.iter().chain(more)).success()
    };
    let (whole, first, second, merged) =
        (folder("whole"), folder("first"), folder("second"), folder("merged"));
    // Stopped after some, gone on with, one at a time.
    ask(&whole, &["--limit", "7", "--batch", "1", "--no-score"]);
    let report = ask(&whole, &["--batch", "1"]);
    assert!(report.contains("\nPOPE "), "{report}");
    for (output, shard) in [(&first, "1/2"), (&second, "2/2")] {
        ask(output, &["--shard", shard, "--no-score"]);
    }
    let said = aki(["eval", "--merge", &first, &second, "--output", &merged]).success();
    assert_eq!(said, "POPE: 48 answers\n");
    let a = aki(["score", &whole, "--json"]).json();
    let b = aki(["score", &merged, "--json"]).json();
    assert_eq!(a["benchmarks"], b["benchmarks"]);
    assert_eq!(a["benchmarks"][0]["answered"], 48);
    for name in ["report.json", "report.csv", "report.html", "scored.jsonl"] {
        assert!(Path::new(&merged).join(name).exists(), "{name}");
    }
    let page = std::fs::read_to_string(Path::new(&merged).join("report.html")).unwrap();
    assert!(page.contains("src=\"data:image/jpeg;base64,"));
    let compared = aki(["eval", "--compare", &whole, &merged, "--json"]).json();
    assert_eq!(compared["benchmarks"][0]["pairs"], 48);
    assert_eq!(compared["benchmarks"][0]["changed"].as_array().unwrap().len(), 0);
    let other = ["eval", "POPE", "--data", &data, "--max-new-tokens", "6", "--short", "-o", &whole];
    let error = aki(other).failure(1);
    assert!(error.contains("was made with `short` `false`, this run has `true`"), "{error}");
    assert!(error.contains("hint: choose another --output"), "{error}");
}

#[test]
fn a_list_says_what_is_there_and_where_the_rest_is() {
    let dir = tempfile::tempdir().unwrap();
    let data = world(dir.path());
    std::fs::remove_file(Path::new(&data).join("MMVet.tsv")).unwrap();
    let list = aki(["eval", "--list", "--data", &data]).success();
    assert!(list.contains("POPE             48 questions, POPE"), "{list}");
    assert!(list.contains("CV-Bench         "), "{list}");
    assert!(list.contains("MMVet            missing, get it from https://"), "{list}");
    assert!(list.contains("the file is not the published one: its MD5 is "), "{list}");
}

#[test]
fn the_scorers_pass_their_own_test() {
    for name in ["can_infer", "yorn", "mathvista", "scorers"] {
        let test = aki(["score", "--self-test", &goldens(&format!("scoring/{name}.json"))]).json();
        assert_eq!(test["mismatches"].as_array().unwrap().len(), 0, "{name}");
    }
}
