//! What reports say.

use eval::Family;
use eval::report::{Change, Page, Report, Shown, compare, comparison_text, csv, html, text};
use eval::score::{ScoreOptions, Scored, score};

use crate::score::sheet;

fn pope(answers: [&str; 4]) -> Scored {
    let yes = [("question", "Is it?"), ("answer", "Yes"), ("category", "random")];
    let no = [("question", "Is it?"), ("answer", "No"), ("category", "popular")];
    let [a, b, c, d] = answers;
    let rows: [(&[(&str, &str)], &str); 4] = [(&yes, a), (&yes, b), (&no, c), (&no, d)];
    score(&sheet("POPE", Family::Pope, &rows), &ScoreOptions::default(), None, &|| ())
        .expect("there are answers")
}

#[test]
fn the_table_has_the_papers_rows_beside_the_scores() {
    let report = Report::new("a model".to_owned(), vec![pope(["Yes", "maybe", "No", "Yes"])]);
    insta::assert_snapshot!(text(&report, true), @r"
    a model

                   score  AKI-4B   MMA  answers  unread  what
    POPE              50    86.9  82.7        4       1  F1
    POPE accuracy     50                                 accuracy

    AKI-4B and MMA: the paper's tables 2 and 1.

    POPE, splits

               F1  accuracy  precision  recall  yes ratio  answers
    Overall    50        50         50      50         50        4
    random   66.7        50        100      50         50        2
    popular     0        50          0       0         50        2
    ");
}

#[test]
fn every_number_is_in_the_values_with_commas() {
    let report = Report::new("a model".to_owned(), vec![pope(["Yes", "maybe", "No", "Yes"])]);
    let csv = csv(&report);
    assert!(csv.starts_with(
        "benchmark,rules,judge,table,line,column,value\nPOPE,2025-03,,headline,POPE,F1,50\n"
    ));
    assert!(csv.contains("\nPOPE,2025-03,,counts,unparsed,,1\n"));
    assert!(csv.contains("\nPOPE,2025-03,,splits,popular,yes ratio,50\n"));
}

#[test]
fn two_runs_are_compared_question_by_question() {
    let (a, b) = (pope(["Yes", "No", "No", "Yes"]), pope(["Yes", "Yes", "No", "No"]));
    let comparison = compare(("first", &[a]), ("second", &[b]));
    let pope = &comparison.benchmarks[0];
    assert_eq!((pope.first, pope.second, pope.pairs), (50.0, 100.0, 4));
    assert_eq!((pope.better_first, pope.better_second, pope.p), (0, 2, 0.5));
    assert!(
        comparison_text(&comparison)
            .contains("POPE  50  100  +50.0      4       0       2  0.5000")
    );
}

#[test]
fn a_page_holds_everything_and_no_answer_can_break_out_of_it() {
    let scored = pope(["Yes", "maybe", "No", "Yes"]);
    let wrong: Vec<Shown> = scored
        .items
        .iter()
        .filter(|item| item.score < 1.0)
        .map(|item| Shown {
            benchmark: "POPE".to_owned(),
            item: item.clone(),
            question: "Is it?".to_owned(),
            options: vec![("A".to_owned(), "<b>".to_owned())],
            answer: "<script>alert(1)</script>".to_owned(),
            other: None,
            images: vec!["data:image/jpeg;base64,AAAA".to_owned()],
        })
        .collect();
    assert_eq!(wrong.len(), 2);
    let report = Report::new("a <model>".to_owned(), vec![scored]);
    let page = html(&report, Page { shown: &wrong, ..Page::default() });
    assert!(page.contains("a &lt;model&gt;") && !page.contains("<script>alert"));
    assert!(page.contains("<b>A</b> &lt;b&gt;</li>"));
    assert_eq!(page.matches("<article").count(), 2);
    assert_eq!(page.matches("data-kind=\"unread\"").count(), 1);
    assert!(page.contains("src=\"data:image/jpeg;base64,AAAA\""));
    // The paper's numbers for POPE, and how far F1 is from the first.
    assert!(page.contains("<td>86.9</td><td class=\"extra\">-36.9</td><td>82.7</td>"));
    assert!(!page.contains("http"));
}

#[test]
fn a_page_about_two_runs_has_both_scores_and_both_answers() {
    let (a, b) = (pope(["Yes", "No", "No", "Yes"]), pope(["Yes", "Yes", "No", "No"]));
    let (first, second) = (std::slice::from_ref(&a), std::slice::from_ref(&b));
    let comparison = compare(("first", first), ("second", second));
    let categories = &comparison.benchmarks[0].categories;
    let random = categories.iter().find(|part| part.name == "random").unwrap();
    assert_eq!((random.first, random.second, random.pairs), (50.0, 100.0, 2));
    let shown = [Shown {
        benchmark: "POPE".to_owned(),
        item: b.items[1].clone(),
        question: "Is it?".to_owned(),
        options: Vec::new(),
        answer: "Yes".to_owned(),
        other: Some(("No".to_owned(), Change::Better)),
        images: Vec::new(),
    }];
    let first = Report::new("first".to_owned(), vec![a]);
    let page = Page { shown: &shown, comparison: Some(&comparison), first: Some(&first) };
    let page = html(&Report::new("second".to_owned(), vec![b]), page);
    assert!(page.contains("<td>50.0</td><td class=\"own\">100.0</td>"), "{page}");
    assert!(
        page.contains("<td>POPE · random</td><td>50.0</td><td>100.0</td><td>+50.0</td><td>2</td>")
    );
    assert!(page.contains("<b>A</b> No</pre>") && page.contains("<b>B</b> Yes</pre>"));
    assert!(page.contains("data-kind=\"better\""));
}
