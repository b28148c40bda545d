//! Whole benchmarks against the numbers of the published scorers.

use std::collections::HashMap;

use eval::rules::RuleSet;
use eval::score::{Found, Record, ScoreOptions, Scored, Sheet, score};
use eval::{Dataset, Family, MissingValues, Row};
use serde_json::Value;

fn golden() -> Value {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../goldens/scoring/benchmarks.json");
    let text = std::fs::read_to_string(path).expect("the golden is part of the project");
    serde_json::from_str(&text).expect("the golden is JSON")
}

pub(crate) fn sheet(name: &str, family: Family, rows: &[(&[(&str, &str)], &str)]) -> Sheet {
    let mut answers = HashMap::new();
    let mut records = Vec::new();
    for (at, (cells, answer)) in rows.iter().enumerate() {
        let mut row: Row =
            cells.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect();
        let index = row.remove("index").unwrap_or_else(|| at.to_string());
        answers.insert(index.clone(), (*answer).to_owned());
        records.push(Record { index, row });
    }
    Sheet { name: name.to_owned(), family, records, answers }
}

fn scored(sheet: &Sheet, rules: RuleSet) -> Scored {
    let options = ScoreOptions { rules, ..ScoreOptions::default() };
    score(sheet, &options, None, &|| ()).expect("there are answers")
}

#[test]
fn every_number_of_a_benchmark_is_the_published_scorers() {
    let golden = golden();
    let mut checks = 0;
    for (name, case) in golden.as_object().unwrap() {
        let sheet = Sheet {
            name: name.clone(),
            family: serde_json::from_value(case["family"].clone()).unwrap(),
            records: serde_json::from_value(case["records"].clone()).unwrap(),
            answers: serde_json::from_value(case["answers"].clone()).unwrap(),
        };
        for (rules, tables) in case["expected"].as_object().unwrap() {
            let scored = scored(&sheet, rules.parse().unwrap());
            for (table, rows) in tables.as_object().unwrap() {
                let ours = scored.tables.iter().find(|ours| ours.name == *table).unwrap();
                for (row, columns) in rows.as_object().unwrap() {
                    for (column, expected) in columns.as_object().unwrap() {
                        let found = ours.figure(row, column).unwrap();
                        let difference = (found - expected.as_f64().unwrap()).abs();
                        assert!(
                            difference < 1e-9,
                            "{name} {rules} {table} {row} {column}: {found}"
                        );
                        checks += 1;
                    }
                }
            }
        }
    }
    assert_eq!(checks, 92);
}

#[test]
fn a_question_of_mmbench_is_right_in_all_rotations_or_not_at_all() {
    let cells = |index: &'static str, answer: &'static str| {
        [("index", index), ("answer", answer), ("A", "cat"), ("B", "dog"), ("split", "dev")]
    };
    let (a, b, c, d) =
        (cells("1", "A"), cells("1000001", "B"), cells("2", "A"), cells("1000002", "B"));
    let sheet =
        sheet("MMBench", Family::MmBench, &[(&a, "A"), (&b, "B"), (&c, "A"), (&d, "no idea")]);
    let scored = scored(&sheet, RuleSet::March2025);
    assert_eq!(scored.headlines[0].value, Some(50.0));
    assert_eq!((scored.items.len(), scored.unparsed), (2, 1));
    assert_eq!(scored.items[1].says, "A Z");
    assert_eq!(scored.items[1].found, Found::Nobody);
    assert_eq!(scored.tables[1].figure("Overall", "dev"), Some(75.0));
}

#[test]
fn cv_bench_takes_the_letter_and_nothing_else() {
    let row = |source: &'static str| [("source", source), ("answer", "(A)"), ("task", "Count")];
    let (ade, coco, omni) = (row("ADE20K"), row("COCO"), row("Omni3D"));
    let rows: [(&[(&str, &str)], &str); 5] =
        [(&ade, "A"), (&ade, "A."), (&coco, "A"), (&omni, "(A)"), (&omni, "A")];
    let scored = scored(&sheet("CV-Bench", Family::CvBench, &rows), RuleSet::March2025);
    let values: Vec<Option<f64>> = scored.headlines.iter().map(|headline| headline.value).collect();
    assert_eq!(values, [Some(75.0), Some(50.0)]);
    assert_eq!(scored.unparsed, 2);
}

#[test]
fn mathvista_without_a_judge_takes_the_last_number_and_says_so() {
    let number = [("question_type", "free_form"), ("answer_type", "integer"), ("answer", "14")];
    let list = [("question_type", "free_form"), ("answer_type", "list"), ("answer", "[1, 2]")];
    let rows: [(&[(&str, &str)], &str); 4] =
        [(&number, "14"), (&number, "Of 20 there are 14."), (&number, "many"), (&list, "[1, 2]")];
    let scored = scored(&sheet("MathVista", Family::MathVista, &rows), RuleSet::March2025);
    assert_eq!(scored.headlines[0].value, Some(50.0));
    assert_eq!(scored.headlines[0].metric, "accuracy, rule-extracted");
    assert!(!scored.headlines[0].comparable);
    assert_eq!((scored.unparsed, scored.notes.len()), (1, 2));
}

#[test]
fn answers_that_spreadsheets_lose_are_lost_if_that_is_wanted() {
    let cells = [("answer", "A"), ("A", "None of them"), ("B", "nan")];
    let mut options = ScoreOptions::default();
    let sheet = sheet("choices", Family::Choice, &[(&cells, "NA")]);
    let value = |options: &ScoreOptions| {
        score(&sheet, options, None, &|| ()).unwrap().items[0].says.clone()
    };
    assert_eq!(value(&options), "Z");
    options.spreadsheet = true;
    assert_eq!(value(&options), "B");
}

#[test]
fn only_mmbench_stands_in_the_papers_column_of_mmbench() {
    let cells = [("index", "7"), ("question", "?"), ("answer", "A"), ("A", "x"), ("B", "y")];
    for (name, column) in [("MMBench_mini", "MMB"), ("AI2D_circular", "AI2D_circular")] {
        let sheet = sheet(name, Family::MmBench, &[(&cells, "A")]);
        assert_eq!(scored(&sheet, RuleSet::March2025).headlines[0].column, column);
    }
}

#[test]
fn questions_that_expect_neither_yes_nor_no_are_said() {
    let good = [("question", "?"), ("answer", "Yes"), ("category", "random")];
    let odd = [("question", "?"), ("answer", "yes"), ("category", "random")];
    let sheet = sheet("POPE", Family::Pope, &[(&good, "Yes"), (&odd, "Yes")]);
    let notes = scored(&sheet, RuleSet::March2025).notes;
    assert!(
        notes[0].starts_with("1 questions (the first is `1`, which expects `yes`)"),
        "{notes:?}"
    );
}

#[test]
fn files_of_answers_of_several_kinds_are_read() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    let image = crate::data::base64(1);
    let table = format!(
        "index\timage\tquestion\tanswer\tcategory\n0\t{image}\t?\tYes\trandom\n\
         1\t0\t?\tNo\trandom\n"
    );
    std::fs::write(path("POPE.tsv"), table).unwrap();
    let read = |name: &str, text: &str| {
        std::fs::write(path(name), text).unwrap();
        let dataset = Dataset::open(&path("POPE.tsv"), MissingValues::Pandas).unwrap();
        Sheet::of_file(&path(name), dataset)
    };
    for (name, text) in [
        ("a.jsonl", "{\"index\":\"0\",\"answer\":\"Yes\"}\n{\"index\":\"1\",\"answer\":\"7\"}\n"),
        ("b.jsonl", "{\"index\":0,\"prediction\":\"Yes\"}\n{\"index\":1,\"prediction\":7}\n"),
        ("c.json", "[{\"index\":0,\"prediction\":\"Yes\"},{\"index\":1,\"prediction\":\"7\"}]"),
        ("d.tsv", "index\tprediction\n0\tYes\n1\t7\n"),
    ] {
        let answers = read(name, text).unwrap().answers;
        assert_eq!((&*answers["0"], &*answers["1"]), ("Yes", "7"), "{name}");
    }
    let error = read("e.xlsx", "PK").unwrap_err().to_string();
    assert!(error.contains("is a spreadsheet, expected lines of JSON"), "{error}");
}

#[test]
fn answers_to_other_questions_are_no_answers() {
    let cells = [("answer", "Yes")];
    let mut sheet = sheet("yes", Family::YesNo, &[(&cells, "yes")]);
    sheet.answers.insert("x".to_owned(), "no".to_owned());
    assert_eq!(
        scored(&sheet, RuleSet::Head).notes,
        ["1 answers belong to no question and are left out"]
    );
    sheet.answers.remove("0");
    let error = score(&sheet, &ScoreOptions::default(), None, &|| ()).unwrap_err();
    assert_eq!(error.to_string(), "none of the 1 answers belongs to one of the 1 questions of yes");
}
