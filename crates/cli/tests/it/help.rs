//! Help, suggestions and completions.

use crate::program::{aki, aki_with, command};

const COMMANDS: [&str; 18] = [
    "ask",
    "chat",
    "inspect",
    "trace",
    "tokenize",
    "preprocess",
    "init",
    "convert",
    "train",
    "miniature",
    "eval",
    "score",
    "quiz",
    "table1",
    "probe",
    "serve",
    "bench",
    "completions",
];

#[test]
fn the_help_lists_every_command_and_says_what_the_built_in_model_is() {
    let help = aki(["--help"]).success();
    for command in COMMANDS {
        assert!(help.contains(&format!("\n  {command} ")), "{command}");
    }
    assert!(help.contains("nothing of photographs"));
}

#[test]
fn the_help_of_every_command_has_an_example() {
    for command in COMMANDS {
        let help = aki([command, "--help"]).success();
        assert!(help.contains("Example"), "{command}");
        assert!(help.contains(&format!("aki {command} ")), "{command}");
    }
}

#[test]
fn a_misspelt_command_gets_a_suggestion() {
    let error = aki(["tokenise"]).failure(2);
    assert!(error.contains("a similar subcommand exists: 'tokenize'"), "{error}");
    let error = aki(["ask", "--imagee", "x", "y"]).failure(2);
    assert!(error.contains("'--image"), "{error}");
}

#[test]
fn completions_are_written_for_every_shell() {
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let script = aki(["completions", shell]).success();
        assert!(script.contains("tokenize"), "{shell}");
    }
}

#[test]
fn a_reader_that_went_away_is_no_failure() {
    use std::process::Stdio;
    let mut child = command(["completions", "bash"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program was built");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("the program ends");
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    assert!(output.status.success());
}

#[test]
fn a_number_of_threads_that_makes_no_sense_is_refused() {
    let error = aki(["ask", "x", "--threads", "0"]).failure(2);
    assert_eq!(error, "error: `threads` is 0, expected a number from 1 to 1024\n");
    let error = aki_with(["ask", "x"], &[("AKI_THREADS", "many")], b"").failure(2);
    assert!(error.contains("`AKI_THREADS` is `many`"), "{error}");
}

#[test]
fn the_built_in_model_has_a_card_that_says_what_it_does_not_know() {
    let said = aki(["inspect", "miniature"]).success();
    assert!(said.contains("Photographs are outside its world"), "{said}");
    assert_eq!(said, aki(["inspect", "--model", "miniature"]).success());
}

#[test]
fn a_quiz_counts_by_topic() {
    let report = aki(["quiz", "--pictures", "4", "--seed", "5", "--json"]).json();
    let topics = report["topics"].as_object().expect("an object");
    assert!(["existence", "count", "color", "reading"].iter().all(|t| topics.contains_key(*t)));
    assert!(topics.values().all(|score| score["right"].as_u64() <= score["asked"].as_u64()));
}
