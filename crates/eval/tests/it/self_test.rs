//! The scorers against cases whose outputs come from the published scorers.

use eval::rules::RuleSet;
use eval::{SelfTest, self_test};

fn golden(name: &str) -> String {
    let path = format!("{}/../../goldens/scoring/{name}.json", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(path).expect("the golden is part of the project")
}

fn check(name: &str) -> SelfTest {
    self_test(&golden(name), None).expect("the golden has a known form")
}

#[test]
fn every_scorer_gives_the_published_outputs() {
    for (name, checks) in [("can_infer", 162), ("yorn", 38), ("mathvista", 26), ("scorers", 101)] {
        let test = check(name);
        assert_eq!(test.mismatches, [], "{name}");
        assert_eq!(test.checks, checks, "{name}");
    }
}

#[test]
fn what_differs_is_named_with_its_input() {
    let wrong = golden("yorn").replace(r#""extracted": "Unknown""#, r#""extracted": "Yes""#);
    let test = self_test(&wrong, None).unwrap();
    assert_eq!(test.mismatches.len(), 7);
    let first = &test.mismatches[0];
    assert_eq!((first.case.as_str(), first.field.as_str()), ("4", "extracted"));
    assert_eq!((first.expected.as_str(), first.found.as_str()), (Some("Yes"), Some("Unknown")));
    assert_eq!(first.input["prediction"], "**Yes**");
}

#[test]
fn cases_of_mathvista_choose_the_rule_set_that_fits() {
    // The letter is too far from the end for the rules of today.
    let case = |hit| {
        format!(
            r#"[{{"line": {{"prediction": "", "question_type": "multi_choice", "answer_type": "text",
                "answer": "x", "choices": "['x', 'y']", "answer_option": "B"}},
                "res": "B is what I would choose here", "hit": {hit}}}]"#
        )
    };
    for (hit, rules) in [(true, RuleSet::March2025), (false, RuleSet::Head)] {
        let test = self_test(&case(hit), None).unwrap();
        assert_eq!((test.mismatches.len(), test.rules), (0, Some(rules)));
    }
    assert_eq!(self_test(&case(true), Some(RuleSet::Head)).unwrap().mismatches.len(), 1);
}

#[test]
fn full_stops_after_digits_are_kept_by_the_rules_of_today_only() {
    let stops = "1. ".repeat(33);
    let case = |stop: &str, extracted: &str| {
        let (prediction, punct) = (format!("{stops}yes."), format!("{stops}yes{stop}"));
        let punct = if stop.is_empty() { punct } else { punct.replacen("1. ", "1 ", 32) };
        let case = serde_json::json!([
            { "prediction": prediction, "punct": punct, "extracted": extracted },
        ]);
        case.to_string()
    };
    // Full stops of numbers use up those that are removed, so that the one after yes stays.
    for (json, rules) in
        [(case(".", "Unknown"), RuleSet::March2025), (case("", "Yes"), RuleSet::Head)]
    {
        let test = self_test(&json, None).unwrap();
        assert_eq!((test.mismatches, test.rules), (vec![], Some(rules)));
    }
}

#[test]
fn a_file_of_another_form_is_refused() {
    for (json, expected) in [
        ("[", "the file for the self-test is not JSON"),
        ("[]", "the file for the self-test has none of the known forms"),
        ("[{\"a\": 1}]", "the file for the self-test has none of the known forms"),
        ("{\"bleu\": {}}", "unknown scorer `bleu` in the self-test"),
    ] {
        let error = self_test(json, None).unwrap_err().to_string();
        assert!(error.starts_with(expected), "{error}");
    }
}
