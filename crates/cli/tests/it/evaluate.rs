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
    assert_eq!(said, "POPE: 48 of 48 questions are answered\n");
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

/// Returns what was asked, in the order of the questions; nothing may have failed.
fn prompts(run: &str, benchmark: &str) -> Vec<String> {
    let path = Path::new(run).join(benchmark).join("predictions.jsonl");
    let text = std::fs::read_to_string(path).expect("the run has answers");
    let prompt = |line: &str| {
        let line: serde_json::Value = serde_json::from_str(line).expect("a line is JSON");
        assert_eq!(line["error"], serde_json::Value::Null, "{line}");
        let index = line["index"].as_str().and_then(|index| index.parse::<usize>().ok());
        let prompt = line["prompt"].as_str().expect("a prompt is text");
        (index.expect("an index is a number"), prompt.to_owned())
    };
    let mut lines: Vec<(usize, String)> = text.lines().map(prompt).collect();
    lines.sort();
    lines.into_iter().map(|(_, prompt)| prompt).collect()
}

#[test]
fn every_benchmark_is_asked_as_the_authors_did() {
    let dir = tempfile::tempdir().unwrap();
    let data = world(dir.path());
    let run = dir.path().join("run").display().to_string();
    let args = ["eval", "--data", &data, "--max-new-tokens", "2", "--no-score", "--output", &run];
    aki(args).success();
    let choose = "Please select the correct answer from the options above. \n";
    for (benchmark, start, end) in [
        ("MME", "<image>", " Please answer yes or no."),
        ("MMBench_DEV_EN", "<image>Question: ", choose),
        ("SEEDBench_IMG", "<image>Question: ", choose),
        ("RealWorldQA", "<image>Question: ", choose),
        ("POPE", "<image>Is there ", "?"),
        ("MMVet", "<image>", ""),
        ("LLaVABench", "<image>", ""),
        ("MathVista_MINI", "<image>Hint: ", ""),
        (
            "CV-Bench",
            "<image>\nAnswer with the option's letter from the given choices directly. ",
            "\n",
        ),
    ] {
        let prompts = prompts(&run, benchmark);
        assert!(!prompts.is_empty());
        for prompt in prompts {
            assert!(prompt.starts_with(start) && prompt.ends_with(end), "{benchmark}: {prompt:?}");
            assert_eq!(prompt.matches("<image>").count(), 1);
        }
    }
    for prompt in prompts(&run, "MMMU_DEV_VAL") {
        assert!(prompt.starts_with("Question: ") && prompt.contains("<image>"), "{prompt:?}");
    }
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
