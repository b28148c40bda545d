//! Checks the scorers against files of inputs and the outputs of the published scorers.

use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::Error;
use crate::rules::python::float_text;
use crate::rules::{
    MathQuestion, MathValue, Options, RuleSet, YesNo, infer, infer_letter, infer_text, parse_pair,
    strip_punctuation,
};
use crate::score::rating::{MmeMark, PopeMark, rate_llava, rate_mmvet, rate_pope, rate_whole_mme};

/// How far a number may be from the expected one, relative to it: the last bits of a sum.
const TOLERANCE: f64 = 1e-12;

/// One output that is not as expected.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Mismatch {
    /// Which case, counted from 0, or which part of the file.
    pub case: String,
    /// Which output.
    pub field: String,
    /// What the file says.
    pub expected: Value,
    /// What our scorer gives.
    pub found: Value,
    /// What it was given.
    pub input: Value,
}

/// What a self-test found.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SelfTest {
    /// What the file is about.
    pub kind: &'static str,
    /// The rule set that the cases were checked under, where they do not name their own.
    pub rules: Option<RuleSet>,
    /// How many outputs were compared.
    pub checks: usize,
    /// Those that are not as expected.
    pub mismatches: Vec<Mismatch>,
}

impl SelfTest {
    fn new(kind: &'static str) -> Self {
        Self { kind, rules: None, checks: 0, mismatches: Vec::new() }
    }

    fn check(&mut self, place: (&str, &str), expected: &Value, found: Value, input: &Value) {
        self.checks += 1;
        if !equal(expected, &found) {
            let (case, field) = (place.0.to_owned(), place.1.to_owned());
            let (expected, input) = (expected.clone(), input.clone());
            self.mismatches.push(Mismatch { case, field, expected, found, input });
        }
    }
}

/// Runs the scorers on every case of a file.
///
/// Four forms are known: cases of `can_infer` (`prediction`, `choices`), of yes and no
/// (`prediction`, `punct`, `extracted`), of `MathVista` (`line`, `res`, `hit`), and an object of
/// scorers (`mme`, `pope`, `mmvet`, `llava`, `llava_parse`). Cases of yes and no and of `MathVista` do not
/// say which rule set they were made with: without `rules` it is the one that fits them best, which
/// the result names.
///
/// # Errors
/// If the file is not JSON, or has none of these forms.
pub fn self_test(json: &str, rules: Option<RuleSet>) -> Result<SelfTest, Error> {
    let value: Value = serde_json::from_str(&quote_non_numbers(json))
        .map_err(|source| Error::SelfTestJson { source })?;
    match &value {
        Value::Array(cases) => {
            let Some(first) = cases.first() else { return Err(Error::SelfTestForm) };
            if first.get("choices").is_some() && first.get("line").is_none() {
                Ok(options(cases))
            } else if first.get("punct").is_some() || first.get("extracted").is_some() {
                Ok(fitting(cases, rules, yes_no))
            } else if first.get("line").is_some() {
                Ok(fitting(cases, rules, math))
            } else {
                Err(Error::SelfTestForm)
            }
        }
        Value::Object(scorers) => scorer_cases(scorers),
        _ => Err(Error::SelfTestForm),
    }
}

/// Python writes numbers that are none as words; JSON has no such words, so they become strings.
fn quote_non_numbers(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    let mut rest = json;
    let mut in_string = false;
    while let Some(c) = rest.chars().next() {
        if in_string && c == '\\' {
            let len = 1 + rest[1..].chars().next().map_or(0, char::len_utf8);
            out.push_str(&rest[..len]);
            rest = &rest[len..];
            continue;
        }
        in_string ^= c == '"';
        let words = ["-Infinity", "Infinity", "NaN"];
        if !in_string && let Some(word) = words.iter().find(|word| rest.starts_with(**word)) {
            out.extend(["\"", word, "\""]);
            rest = &rest[word.len()..];
            continue;
        }
        out.push(c);
        rest = &rest[c.len_utf8()..];
    }
    out
}

/// Returns `str()` of a value.
fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => "None".to_owned(),
        Value::Bool(true) => "True".to_owned(),
        Value::Bool(false) => "False".to_owned(),
        Value::Number(number) if number.is_f64() => {
            number.as_f64().map_or_else(String::new, float_text)
        }
        other => other.to_string(),
    }
}

fn options(cases: &[Value]) -> SelfTest {
    let mut test = SelfTest::new("can_infer");
    for (at, case) in cases.iter().enumerate() {
        let at = at.to_string();
        let answer = text(&case["prediction"]);
        let choices = case["choices"].as_object().cloned().unwrap_or_default();
        let options =
            Options::new(choices.iter().map(|(letter, value)| (letter.clone(), text(value))));
        for (name, rules) in [("head", RuleSet::Head), ("2025_03", RuleSet::March2025)] {
            let Some(expected) = case.get(name) else { continue };
            let or_false = |letter: Option<&str>| letter.map_or(Value::Bool(false), Value::from);
            for (field, found) in [
                ("option", infer_letter(rules, &answer, &options)),
                ("text", infer_text(rules, &answer, &options)),
                ("final", infer(rules, &answer, &options)),
            ] {
                if let Some(expected) = expected.get(field) {
                    let field = format!("{name}.{field}");
                    test.check((&at, &field), expected, or_false(found), case);
                }
            }
        }
    }
    test
}

fn yes_no(cases: &[Value], rules: RuleSet) -> SelfTest {
    let mut test = SelfTest::new("yorn");
    test.rules = Some(rules);
    for (at, case) in cases.iter().enumerate() {
        let at = at.to_string();
        let answer = text(&case["prediction"]);
        if let Some(expected) = case.get("punct") {
            let found = strip_punctuation(rules, &answer.to_lowercase()).into();
            test.check((&at, "punct"), expected, found, case);
        }
        if let Some(expected) = case.get("extracted") {
            let found = YesNo::extract(rules, &answer).as_str().into();
            test.check((&at, "extracted"), expected, found, case);
        }
    }
    test
}

fn math_value(value: &Value) -> MathValue {
    match value {
        Value::Null => MathValue::None,
        Value::Number(number) if number.is_f64() => {
            MathValue::Float(number.as_f64().unwrap_or_default())
        }
        Value::Number(number) => MathValue::Int(number.to_string()),
        other => MathValue::Text(text(other)),
    }
}

/// Checks cases under the rules, or under those that fit them best.
fn fitting(
    cases: &[Value],
    rules: Option<RuleSet>,
    check: fn(&[Value], RuleSet) -> SelfTest,
) -> SelfTest {
    if let Some(rules) = rules {
        return check(cases, rules);
    }
    let (ours, head) = (check(cases, RuleSet::March2025), check(cases, RuleSet::Head));
    if head.mismatches.len() < ours.mismatches.len() { head } else { ours }
}

fn math(cases: &[Value], rules: RuleSet) -> SelfTest {
    let mut test = SelfTest::new("mathvista");
    test.rules = Some(rules);
    for (at, case) in cases.iter().enumerate() {
        let at = at.to_string();
        let line = &case["line"];
        let choices = match &line["choices"] {
            Value::Array(items) => {
                let letters = ('A'..='Z').map(String::from);
                Some(Options::new(letters.zip(items.iter().map(text))))
            }
            other => MathQuestion::options_of(&text(other)),
        };
        let question = MathQuestion {
            is_choice: line["question_type"] == "multi_choice",
            answer_type: text(&line["answer_type"]),
            answer: math_value(&line["answer"]),
            answer_option: text(&line["answer_option"]),
            options: choices.unwrap_or_default(),
        };
        if let Some(expected) = case.get("prefetch") {
            let found = match question.prefetch(rules, &math_value(&line["prediction"])) {
                None => Value::Bool(false),
                Some(MathValue::None) => Value::Null,
                Some(MathValue::Int(digits)) => {
                    serde_json::from_str(&digits).unwrap_or(Value::String(digits))
                }
                Some(MathValue::Float(value)) if value.is_finite() => value.into(),
                Some(MathValue::Float(value)) => infinite(value).into(),
                Some(MathValue::Text(text)) => text.into(),
            };
            test.check((&at, "prefetch"), expected, found, case);
        }
        if let Some(expected) = case.get("hit") {
            let extracted = case.get("res").or_else(|| line.get("res")).unwrap_or(&Value::Null);
            let found = question.is_hit(rules, &math_value(extracted));
            test.check((&at, "hit"), expected, found.into(), case);
        }
    }
    test
}

/// Returns the word that Python's JSON has for a number that is none.
fn infinite(value: f64) -> &'static str {
    if value.is_nan() {
        "NaN"
    } else if value > 0.0 {
        "Infinity"
    } else {
        "-Infinity"
    }
}

fn scorer_cases(scorers: &Map<String, Value>) -> Result<SelfTest, Error> {
    let mut test = SelfTest::new("scorers");
    for (name, given) in scorers {
        // A set may come in several parts: `mme`, `mme_2`.
        let base = name.trim_end_matches(|c: char| c.is_ascii_digit() || c == '_');
        match base {
            "mme" => mme(&mut test, name, given),
            "pope" => pope(&mut test, name, given),
            "mmvet" => mmvet(&mut test, name, given),
            "llava" => llava(&mut test, name, given),
            "llava_parse" => llava_parse(&mut test, name, given),
            _ => return Err(Error::SelfTestScorer { name: name.clone() }),
        }
    }
    if test.checks == 0 { Err(Error::SelfTestForm) } else { Ok(test) }
}

fn rows(given: &Value) -> &[Value] {
    given["rows"].as_array().map_or(&[], Vec::as_slice)
}

fn string<'v>(row: &'v Value, field: &str) -> &'v str {
    row[field].as_str().unwrap_or_default()
}

fn number(row: &Value, field: &str) -> f64 {
    row[field].as_f64().unwrap_or(f64::NAN)
}

/// Returns whether a row says that it is right, as a truth value or as a number.
fn is_hit(row: &Value) -> bool {
    row["score"].as_bool().unwrap_or_else(|| number(row, "score") > 0.0)
}

fn mme(test: &mut SelfTest, name: &str, given: &Value) {
    let mark = |row| MmeMark {
        category: string(row, "category"),
        image: string(row, "image_path"),
        hit: is_hit(row),
    };
    let marks: Vec<MmeMark<'_>> = rows(given).iter().map(mark).collect();
    let found: Map<String, Value> = match rate_whole_mme(&marks) {
        Ok(scores) => scores.into_iter().map(|(name, score)| (name, score.into())).collect(),
        Err(error) => [("error".to_owned(), error.to_string().into())].into_iter().collect(),
    };
    let expected = given["result"].as_object().cloned().unwrap_or_default();
    let mut fields: Vec<&String> = expected.keys().chain(found.keys()).collect();
    fields.sort();
    fields.dedup();
    for field in fields {
        let expected = expected.get(field).unwrap_or(&Value::Null);
        // A table of one line has lists of one.
        let expected = expected.get(0).unwrap_or(expected);
        let found = found.get(field).cloned().unwrap_or_default();
        test.check((name, field), expected, found, &Value::Null);
    }
}

/// Compares lines that have a name each, in whatever order.
fn lines(test: &mut SelfTest, name: &str, expected: &Value, (key, found): (&str, Vec<Value>)) {
    let expected = expected.as_array().cloned().unwrap_or_default();
    test.check((name, "number of lines"), &expected.len().into(), found.len().into(), &Value::Null);
    for line in &expected {
        let label = text(&line[key]);
        let same = found.iter().find(|found| found[key] == line[key]);
        for (field, value) in line.as_object().into_iter().flatten() {
            let found = same.and_then(|found| found.get(field)).cloned().unwrap_or_default();
            let place = format!("{label}.{field}");
            test.check((name, &place), value, found, &Value::Null);
        }
    }
}

fn pope<'v>(test: &mut SelfTest, name: &str, given: &'v Value) {
    let mark = |row: &'v Value| PopeMark {
        category: row["category"].as_str(),
        expected_yes: string(row, "answer") == "Yes",
        said_yes: string(row, "extracted") == "Yes",
        hit: is_hit(row),
    };
    let marks: Vec<PopeMark<'_>> = rows(given).iter().map(mark).collect();
    let found = rate_pope(&marks).into_iter().map(|(split, score)| {
        json!({
            "split": split, "Overall": score.f1, "acc": score.accuracy,
            "precision": score.precision, "recall": score.recall,
        })
    });
    lines(test, name, &given["result"], ("split", found.collect()));
}

fn mmvet(test: &mut SelfTest, name: &str, given: &Value) {
    let marks: Vec<(&str, f64)> =
        rows(given).iter().map(|row| (string(row, "category"), number(row, "score"))).collect();
    let (coarse, fine) = rate_mmvet(&marks);
    for (field, found) in [("result", coarse), ("fine", fine)] {
        let Some(expected) = given.get(field) else { continue };
        let found = found.into_iter().map(
            |(category, total, points)| json!({"Category": category, "tot": total, "acc": points}),
        );
        lines(test, &format!("{name}.{field}"), expected, ("Category", found.collect()));
    }
}

fn llava(test: &mut SelfTest, name: &str, given: &Value) {
    let mark = |row| (string(row, "category"), number(row, "gpt4_score"), number(row, "score"));
    let marks: Vec<(&str, f64, f64)> = rows(given).iter().map(mark).collect();
    let found = rate_llava(&marks).into_iter().map(|(split, relative, model, reference)| {
        json!({
            "split": split, "Relative Score (main)": relative, "VLM Score": model,
            "GPT4 Score": reference,
        })
    });
    lines(test, name, &given["result"], ("split", found.collect()));
}

fn llava_parse(test: &mut SelfTest, name: &str, given: &Value) {
    for (at, case) in given.as_array().into_iter().flatten().enumerate() {
        let (reference, model) = parse_pair(&text(&case["review"]));
        let value =
            |score: f64| if score.is_finite() { score.into() } else { infinite(score).into() };
        let found = Value::Array(vec![value(reference), value(model)]);
        test.check((&format!("{name}.{at}"), "scores"), &case["scores"], found, case);
    }
}

/// Compares values, numbers up to the last bits of a sum.
fn equal(expected: &Value, found: &Value) -> bool {
    match (expected, found) {
        (Value::Number(a), Value::Number(b)) => {
            let (a, b) = (a.as_f64().unwrap_or(f64::NAN), b.as_f64().unwrap_or(f64::NAN));
            (a - b).abs() <= TOLERANCE * a.abs().max(b.abs())
        }
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| equal(a, b))
        }
        _ => expected == found,
    }
}
