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
fn every_command_that_computes_takes_instructions_and_threads() {
    let commands = ["ask", "chat", "trace", "convert", "train", "eval", "quiz", "serve", "bench"];
    for command in commands {
        let help = aki([command, "--help"]).success();
        assert!(help.contains("--cpu-features <LEVEL>"), "{command}");
        assert!(help.contains("--threads <N>"), "{command}");
        let error = aki([command, "--cpu-features", "sse9"]).failure(2);
        let expected = "this processor has no instruction level `sse9`, expected one of `portable`";
        assert!(error.contains(expected), "{command}: {error}");
    }
}

#[test]
fn instructions_that_the_processor_lacks_are_refused() {
    let ask = |level: &str| {
        ["ask", "Why?", "--max-new-tokens", "1", "--cpu-features", level].map(str::to_owned)
    };
    for level in kernels::Level::ALL {
        if level.is_available() {
            // The option counts more than the variable.
            aki_with(ask(level.name()), &[("AKI_CPU_LEVEL", "portable")], b"").success();
            continue;
        }
        let error = aki(ask(level.name())).failure(2);
        let expected = format!("this processor has no instruction level `{}`", level.name());
        assert!(error.contains(&expected), "{error}");
        let error = aki_with(["ask", "x"], &[("AKI_CPU_LEVEL", level.name())], b"").failure(1);
        assert!(error.contains("cannot use the instructions of `AKI_CPU_LEVEL`"), "{error}");
        assert!(error.contains(&expected), "{error}");
    }
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
